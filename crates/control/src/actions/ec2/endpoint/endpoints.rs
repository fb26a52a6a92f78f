//! Endpoints as requests change them and answers show them, and the services that they lead to.

use std::net::Ipv4Addr;

use awan_model::endpoint::{Endpoint, Way};
use awan_model::group::SecurityGroup;
use awan_model::id::{EndpointId, GroupId, InterfaceId, RouteTableId, SubnetId};
use awan_model::interface::NetworkInterface;
use awan_model::prefix_list::PrefixList;
use awan_model::route::{Destination, Route, RouteTable, Target};
use awan_model::subnet::Subnet;
use awan_model::vpc::Vpc;
use awan_state::{Home, Tenant, Tx};
use awan_wire::{ec2, shape};

use crate::actions::ec2::instance::launch;
use crate::actions::ec2::interface::addresses::{Free, Wanted};
use crate::actions::ec2::interface::draft::{self, Draft};
use crate::error::{Code, Result, invalid, refuse};
use crate::network;

const POLICY_MAX: usize = 20_480;
/// What EC2 says where no policy is written.
const ALLOW_ALL: &str =
    r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

/// A service of the region, and whether it is reached through a gateway.
pub struct Service {
    pub short: &'static str,
    pub gateway: bool,
}

pub const SERVICES: [Service; 6] = [
    Service { short: "dynamodb", gateway: true },
    Service { short: "ec2", gateway: false },
    Service { short: "iam", gateway: false },
    Service { short: "s3", gateway: true },
    Service { short: "ssm", gateway: false },
    Service { short: "sts", gateway: false },
];

impl Service {
    pub fn name(&self, home: &Home) -> String {
        format!("com.amazonaws.{}.{}", home.region(), self.short)
    }

    pub fn kind(&self) -> &'static str {
        if self.gateway { "Gateway" } else { "Interface" }
    }

    pub fn dns_name(&self, home: &Home) -> String {
        // One for all regions.
        if self.short == "iam" {
            return "iam.amazonaws.com".into();
        }
        format!("{}.{}.amazonaws.com", self.short, home.region())
    }
}

pub fn no_such_service(name: &str) -> crate::error::Error {
    let shown: String = name.chars().take(100).collect();
    refuse(Code::InvalidServiceName, format!("The Vpc Endpoint Service '{}' does not exist", shown.escape_debug()))
}

pub fn policy_of(text: String) -> Result<String> {
    let is_object = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| json.is_object());
    if text.len() > POLICY_MAX || !is_object {
        return Err(refuse(Code::InvalidPolicyDocument, "The policy document is not valid JSON."));
    }
    Ok(text)
}

pub fn tables(tx: &mut Tx<Tenant>, vpc: &Vpc, ids: &[String]) -> Result<Vec<RouteTableId>> {
    let mut out = Vec::new();
    for id in ids {
        let table = tx.get::<RouteTable>(&id.parse()?)?;
        if table.vpc != vpc.id {
            return Err(invalid(format!("route table {} and VPC {} belong to different networks", table.id, vpc.id)));
        }
        if !out.contains(&table.id) {
            out.push(table.id.clone());
        }
    }
    Ok(out)
}

/// The groups that a request names, or the VPC's default one.
pub fn groups(tx: &mut Tx<Tenant>, vpc: &Vpc, ids: &[String]) -> Result<Vec<GroupId>> {
    launch::groups(tx, &vpc.id, ids, &[])
}

pub fn subnets(tx: &mut Tx<Tenant>, vpc: &Vpc, ids: &[String]) -> Result<Vec<SubnetId>> {
    let (mut out, mut zones) = (Vec::new(), Vec::new());
    for id in ids {
        let subnet = tx.get::<Subnet>(&id.parse()?)?;
        if subnet.vpc != vpc.id {
            return Err(invalid(format!("The subnet {} and VPC {} belong to different networks", subnet.id, vpc.id)));
        }
        if out.contains(&subnet.id) {
            continue;
        }
        zones.push(subnet.zone.clone());
        out.push(subnet.id.clone());
    }
    zones.sort();
    if zones.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(refuse(
            Code::DuplicateSubnetsInSameZone,
            "Found another VPC endpoint subnet in the availability zone",
        ));
    }
    Ok(out)
}

/// The interface of an endpoint in a subnet. It is the endpoint's, and nobody attaches or deletes it.
pub fn interface(tx: &mut Tx<Tenant>, id: &EndpointId, subnet: &SubnetId, groups: &[GroupId]) -> Result<InterfaceId> {
    let subnet = tx.get::<Subnet>(subnet)?;
    draft::must_have_room(tx)?;
    let wanted = Wanted::read(&subnet, None, Vec::new(), None)?;
    let description = format!("VPC Endpoint Interface {id}");
    let draft = Draft { subnet, groups: groups.to_vec(), wanted, description };
    let addresses = draft.wanted.take(tx, &mut Free::default(), &draft.subnet)?;
    let eni = draft::put(tx, &draft, addresses, None, None);
    let made = tx.get::<NetworkInterface>(&eni)?;
    tx.put(NetworkInterface { requester_managed: true, ..(*made).clone() });
    Ok(eni)
}

pub fn remove_interface(tx: &mut Tx<Tenant>, id: &InterfaceId) {
    if let Some(eni) = tx.find::<NetworkInterface>(id) {
        network::remove_interface(tx, &eni);
    }
}

/// Names of the service mean the endpoint, in this VPC.
pub fn must_take_names(tx: &mut Tx<Tenant>, vpc: &Vpc, service: &str, but: Option<&EndpointId>) -> Result<()> {
    if !(vpc.dns_support && vpc.dns_hostnames) {
        return Err(refuse(
            Code::InvalidParameter,
            format!(
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {}",
                vpc.id
            ),
        ));
    }
    let takes = |e: &Endpoint| matches!(e.way, Way::Interface { private_dns: true, .. });
    if tx.list::<Endpoint>().iter().any(|e| e.vpc == vpc.id && e.service == service && Some(&e.id) != but && takes(e)) {
        return Err(refuse(
            Code::InvalidParameter,
            format!(
                "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {service} in the VPC {}",
                vpc.id
            ),
        ));
    }
    Ok(())
}

/// The names of an endpoint that has interfaces in these zones, with the addresses that each means: its own, one for
/// each zone, and the service's, which is the endpoint's inside the VPC if that takes names (`private`).
pub fn names(endpoint: &Endpoint, at: &[(String, Ipv4Addr)], private: bool) -> Vec<(String, Vec<Ipv4Addr>)> {
    let Some(service) = SERVICES.iter().find(|s| s.name(&endpoint.home) == endpoint.service) else { return Vec::new() };
    let (id, domain) = (&endpoint.id, format!("{}.{}.vpce.amazonaws.com", service.short, endpoint.home.region()));
    let all: Vec<_> = at.iter().map(|(_, ip)| *ip).collect();
    let mut names = vec![(format!("{id}.{domain}"), all.clone())];
    names.extend(at.iter().map(|(zone, ip)| (format!("{id}-{zone}.{domain}"), vec![*ip])));
    let takes = matches!(endpoint.way, Way::Interface { private_dns: true, .. });
    names.extend((takes && private).then(|| (service.dns_name(&endpoint.home), all)));
    names
}

/// The routes that endpoints give to a table.
pub fn routes(tx: &mut Tx<Tenant>, table: &RouteTable) -> Vec<Route> {
    let lists = PrefixList::of_services(tx.home());
    let route = |endpoint: &Endpoint| {
        let list = lists.iter().find(|list| list.name == endpoint.service)?;
        let destination = Destination::PrefixList(list.id.clone());
        Some(Route { destination, target: Target::Endpoint(endpoint.id.clone()) })
    };
    tx.list::<Endpoint>().iter().filter(|e| e.serves(&table.id)).filter_map(|e| route(e)).collect()
}

/// A table that goes is no endpoint's any more.
pub fn leave_table(tx: &mut Tx<Tenant>, id: &RouteTableId) {
    for endpoint in tx.list::<Endpoint>().into_iter().filter(|e| e.serves(id)) {
        let mut changed = (*endpoint).clone();
        if let Way::Gateway { tables } = &mut changed.way {
            tables.retain(|table| table != id);
        }
        tx.put(changed);
    }
}

pub fn shown(tx: &mut Tx<Tenant>, endpoint: &Endpoint, tags: Vec<ec2::Tag>) -> ec2::VpcEndpoint {
    let Endpoint { home, id, vpc, service, way, policy, client_token: _, created } = endpoint;
    let common = ec2::VpcEndpoint {
        vpc_endpoint_id: Some(id.to_string()),
        vpc_id: Some(vpc.to_string()),
        service_name: Some(service.clone()),
        // In small letters, unlike its own documentation.
        state: Some("available".into()),
        policy_document: Some(policy.clone().unwrap_or_else(|| ALLOW_ALL.into())),
        ip_address_type: Some("ipv4".into()),
        requester_managed: Some(false),
        creation_timestamp: Some(shape::Timestamp((*created).try_into().unwrap_or(i64::MAX))),
        tags,
        owner_id: Some(home.account().into()),
        service_region: Some(home.region().into()),
        ..Default::default()
    };
    match way {
        Way::Gateway { tables } => ec2::VpcEndpoint {
            vpc_endpoint_type: Some("Gateway".into()),
            route_table_ids: tables.iter().map(ToString::to_string).collect(),
            private_dns_enabled: Some(false),
            ..common
        },
        Way::Interface { interfaces, groups, private_dns } => {
            let enis = interfaces.iter().filter_map(|(_, eni)| tx.find::<NetworkInterface>(eni));
            let at: Vec<_> = enis.map(|eni| (eni.zone.clone(), eni.private_ip)).collect();
            let dns_record_ip_type = Some("ipv4".into());
            ec2::VpcEndpoint {
                vpc_endpoint_type: Some("Interface".into()),
                subnet_ids: interfaces.iter().map(|(subnet, _)| subnet.to_string()).collect(),
                network_interface_ids: interfaces.iter().map(|(_, eni)| eni.to_string()).collect(),
                groups: groups.iter().map(|group| named(tx, group)).collect(),
                private_dns_enabled: Some(*private_dns),
                dns_options: Some(ec2::DnsOptions { dns_record_ip_type, ..Default::default() }),
                dns_entries: names(endpoint, &at, true)
                    .into_iter()
                    .map(|(name, _)| ec2::DnsEntry { dns_name: Some(name), ..Default::default() })
                    .collect(),
                ..common
            }
        }
    }
}

fn named(tx: &mut Tx<Tenant>, group: &GroupId) -> ec2::SecurityGroupIdentifier {
    let group_name = tx.find::<SecurityGroup>(group).map(|g| g.name.clone());
    ec2::SecurityGroupIdentifier { group_id: Some(group.to_string()), group_name }
}
