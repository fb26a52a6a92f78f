//! How the records of a network come and go together: the operator makes default VPCs, tenants their own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::gateway::InternetGateway;
use awan_model::group::{Peer, Rule, SecurityGroup, Traffic};
use awan_model::id::{GroupId, InternetGatewayId, RouteTableId, RuleId, SubnetId, VpcId};
use awan_model::interface::NetworkInterface;
use awan_model::route::{Destination, Route, RouteTable, Target};
use awan_model::subnet::Subnet;
use awan_model::tag::Tags;
use awan_model::token::ClientToken;
use awan_model::vpc::{Tenancy, Vpc};
use awan_state::{Record, Tenant, Tx};
use ipnet::Ipv4Net;

use crate::actions::ec2::endpoint::endpoints::leave_table;
use crate::actions::ec2::flow_log::delete_flow_logs::remove_of;
use crate::actions::ec2::interface::create_network_interface;
use crate::error::{Code, Error, Result, refuse};
use crate::token;

mod edge;
pub mod ipv6;

pub use edge::{acl, add_subnet, complete, leave_acl, remove_acl, serve};

/// Source: "Default VPCs", Amazon VPC documentation: 172.31.0.0/16 with a /20 in each zone.
pub fn default_vpc(tx: &mut Tx<Tenant>, zones: &[String]) -> Result<Vpc> {
    let cidr = Ipv4Net::new(Ipv4Addr::new(172, 31, 0, 0), 16).map_err(Error::fault)?;
    let gateway = InternetGatewayId::made(tx.new_id(InternetGatewayId::PREFIX));
    let routes = vec![Route {
        destination: Destination::Ipv4(Ipv4Net::default()),
        target: Target::InternetGateway(gateway.clone()),
    }];
    let vpc = vpc(tx, cidr, true, Tenancy::Shared, routes);
    let (home, created) = (tx.home().clone(), tx.now());
    tx.put(InternetGateway { home, id: gateway, vpc: Some(vpc.id.clone()), created });
    default_subnets(tx, &vpc, zones)?;
    Ok(vpc)
}

/// A VPC with what each has: a main route table and a default group. The default one also gives its guests public names.
pub fn vpc(tx: &mut Tx<Tenant>, cidr: Ipv4Net, is_default: bool, tenancy: Tenancy, routes: Vec<Route>) -> Vpc {
    let (home, created) = (tx.home().clone(), tx.now());
    let id = VpcId::made(tx.new_id(VpcId::PREFIX));
    let dhcp_options = Some(edge::default_options(tx));
    let (dns_support, dns_hostnames) = (true, is_default);
    let secondary = Vec::new();
    let vpc = Vpc {
        home,
        id: id.clone(),
        cidr,
        secondary,
        ipv6: Vec::new(),
        is_default,
        dhcp_options,
        dns_support,
        dns_hostnames,
        tenancy,
        created,
    };
    tx.put(vpc.clone());
    let table = route_table(tx, &id);
    tx.put(RouteTable { main: true, routes, ..table });
    default_group(tx, &id);
    edge::default_acl(tx, &id);
    vpc
}

/// A table that serves nobody yet and knows only the local route; not stored.
pub fn route_table(tx: &mut Tx<Tenant>, vpc: &VpcId) -> RouteTable {
    RouteTable {
        home: tx.home().clone(),
        id: RouteTableId::made(tx.new_id(RouteTableId::PREFIX)),
        vpc: vpc.clone(),
        main: false,
        associations: Vec::new(),
        routes: Vec::new(),
        client_token: None,
        created: tx.now(),
    }
}

/// One in each of these zones that has none: the operator may add zones later.
pub fn default_subnets(tx: &mut Tx<Tenant>, vpc: &Vpc, zones: &[String]) -> Result<()> {
    for zone in zones {
        let there = tx.list::<Subnet>();
        if !there.iter().any(|s| s.vpc == vpc.id && s.zone == *zone && s.default_for_zone) {
            default_subnet(tx, vpc, zone)?;
        }
    }
    Ok(())
}

/// A /20 of the VPC's range, where one is free.
pub fn default_subnet(tx: &mut Tx<Tenant>, vpc: &Vpc, zone: &str) -> Result<Option<Subnet>> {
    let (home, created) = (tx.home().clone(), tx.now());
    let there = tx.list::<Subnet>();
    let free = |cidr: &Ipv4Net| !there.iter().any(|s| s.vpc == vpc.id && overlap(&s.cidr, cidr));
    let Some(cidr) = vpc.cidr.subnets(20).map_err(Error::fault)?.find(free) else { return Ok(None) };
    let id = SubnetId::made(tx.new_id(SubnetId::PREFIX));
    let (vpc, zone) = (vpc.id.clone(), zone.to_owned());
    let subnet = Subnet {
        home,
        id,
        vpc,
        cidr,
        ipv6: None,
        zone,
        default_for_zone: true,
        map_public_ip: true,
        assign_ipv6: false,
        created,
    };
    add_subnet(tx, subnet.clone());
    Ok(Some(subnet))
}

/// Of two networks that share an address, one contains the other.
pub fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

/// Lets its own members in and everything out, as EC2's does.
fn default_group(tx: &mut Tx<Tenant>, vpc: &VpcId) {
    let (home, created) = (tx.home().clone(), tx.now());
    let id = GroupId::made(tx.new_id(GroupId::PREFIX));
    let mut rule = |egress, peer| {
        let id = RuleId::made(tx.new_id(RuleId::PREFIX));
        Rule { id, egress, traffic: Traffic::All, peer, description: None }
    };
    let rules = vec![rule(false, Peer::Group(id.clone())), rule(true, Peer::Ipv4(Ipv4Net::default()))];
    let (name, description) = (SecurityGroup::DEFAULT.to_owned(), "default VPC security group".to_owned());
    tx.put(SecurityGroup { home, id, vpc: vpc.clone(), name, description, rules, created });
}

/// Removes a record, its tags, and the logs of its traffic.
pub fn remove<R: Record<Writer = Tenant>>(tx: &mut Tx<Tenant>, id: &R::Id) {
    remove_of(tx, &id.to_string());
    tx.remove::<Tags>(&id.to_string());
    tx.remove::<R>(id);
}

/// Removes a group, its rules, and the tags of both.
pub fn remove_group(tx: &mut Tx<Tenant>, group: &SecurityGroup) {
    for rule in &group.rules {
        tx.remove::<Tags>(&rule.id.to_string());
    }
    remove::<SecurityGroup>(tx, &group.id);
}

/// Removes an interface, sets its elastic addresses free, and forgets the request that made it.
pub fn remove_interface(tx: &mut Tx<Tenant>, eni: &NetworkInterface) {
    for ip in eni.addresses() {
        free_elastic(tx, eni, ip);
    }
    if let Some(token) = &eni.client_token {
        tx.remove::<ClientToken>(&token::id(create_network_interface::TOKEN, token));
    }
    remove::<NetworkInterface>(tx, &eni.id);
}

/// Takes secondary addresses from an interface.
pub fn remove_addresses(tx: &mut Tx<Tenant>, eni: &NetworkInterface, gone: &[Ipv4Addr]) {
    let mut left = eni.clone();
    left.secondary.retain(|ip| !gone.contains(ip));
    for ip in gone {
        free_elastic(tx, eni, *ip);
    }
    tx.put(left);
}

fn free_elastic(tx: &mut Tx<Tenant>, eni: &NetworkInterface, ip: Ipv4Addr) {
    if let Some(address) = elastic_of(tx, eni, ip) {
        tx.put(Address { association: None, ..(*address).clone() });
    }
}

/// The elastic address in front of a private one.
pub fn elastic_of(tx: &mut Tx<Tenant>, eni: &NetworkInterface, ip: Ipv4Addr) -> Option<Arc<Address>> {
    let id = tx.lookup(Address::BY_INTERFACE, &Address::on(&eni.id, ip))?;
    tx.find::<Address>(&id.parse().ok()?)
}

/// Refuses to change an interface that another resource lives on.
pub fn must_be_ones_own(eni: &NetworkInterface) -> Result<()> {
    let whose = match &eni.gateway {
        Some(gateway) => format!("the NAT gateway {gateway}"),
        None if eni.requester_managed => "a VPC endpoint".to_owned(),
        None => return Ok(()),
    };
    let message = format!("You do not have permission to change '{}': it belongs to {whose}.", eni.id);
    Err(refuse(Code::OperationNotPermitted, message))
}

/// The gateway that is attached to a VPC.
pub fn gateway_of(tx: &mut Tx<Tenant>, vpc: &VpcId) -> Option<Arc<InternetGateway>> {
    tx.list::<InternetGateway>().into_iter().find(|gateway| gateway.vpc.as_ref() == Some(vpc))
}

/// Removes a route table, its tags, and the memory of the request that made it.
pub fn remove_table(tx: &mut Tx<Tenant>, table: &RouteTable) {
    leave_table(tx, &table.id);
    if let Some(token) = &table.client_token {
        tx.remove::<ClientToken>(&token::id("CreateRouteTable", token));
    }
    remove::<RouteTable>(tx, &table.id);
}
