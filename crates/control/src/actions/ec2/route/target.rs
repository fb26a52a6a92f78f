//! What a route can lead to: the one that a request names, and whether it is still there.

use awan_model::egress_only::EgressOnlyGateway;
use awan_model::endpoint::Endpoint;
use awan_model::gateway::InternetGateway;
use awan_model::id::{InstanceId, InterfaceId, InternetGatewayId, NatGatewayId, VpcId};
use awan_model::instance::Instance;
use awan_model::interface::NetworkInterface;
use awan_model::nat::NatGateway;
use awan_model::peering::State;
use awan_model::prefix_list::Family;
use awan_model::route::{Destination, RouteTable, Target};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use ipnet::Ipv6Net;

use crate::actions::ec2::instance::view::only_interface;
use crate::actions::ec2::peering::peerings;
use crate::actions::ec2::prefix_list::lists::usable;
use crate::actions::ec2::vpc::create_vpc::{brief, network_of};
use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse, refuse_if, unsupported};

/// The members of a request that say where a route begins.
pub struct Where {
    pub destination_cidr_block: Option<String>,
    pub destination_ipv6_cidr_block: Option<String>,
    pub destination_prefix_list_id: Option<String>,
}

impl Where {
    pub fn destination(self) -> Result<Destination> {
        let Self { destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id } = self;
        match (destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id) {
            (Some(text), None, None) => network_of(&text, "destinationCidrBlock").map(Destination::Ipv4),
            (None, Some(text), None) => {
                let net = text.parse::<Ipv6Net>();
                let wrong = || invalid_value(brief(&text), "destinationIpv6CidrBlock");
                net.map(|net| Destination::Ipv6(net.trunc())).map_err(|_| wrong())
            }
            (None, None, Some(id)) => Ok(Destination::PrefixList(id.parse()?)),
            (None, None, None) => Err(missing("DestinationCidrBlock")),
            _ => Err(combination(
                "The request must contain exactly one of destinationCidrBlock, destinationIpv6CidrBlock or \
                 destinationPrefixListId",
            )),
        }
    }
}

/// How EC2's messages call the member of a destination.
pub fn member_of(destination: &Destination) -> &'static str {
    match destination {
        Destination::Ipv4(_) => "destination-cidr-block",
        Destination::Ipv6(_) => "destination-ipv6-cidr-block",
        Destination::PrefixList(_) => "destination-prefix-list-id",
    }
}

/// Whether a destination is one of the VPC's own ranges, whose route is local and stays.
pub fn is_local(vpc: &Vpc, destination: &Destination) -> bool {
    match destination {
        Destination::Ipv4(net) => vpc.cidrs().any(|cidr| cidr == *net),
        Destination::Ipv6(net) => vpc.ipv6.iter().any(|range| range.cidr == *net),
        Destination::PrefixList(_) => false,
    }
}

/// The members of a request that say where a route leads.
pub struct Asked {
    pub gateway_id: Option<String>,
    pub nat_gateway_id: Option<String>,
    pub network_interface_id: Option<String>,
    pub instance_id: Option<String>,
    pub vpc_peering_connection_id: Option<String>,
    pub egress_only_internet_gateway_id: Option<String>,
    pub vpc_endpoint_id: Option<String>,
    pub transit_gateway_id: Option<String>,
    pub local_gateway_id: Option<String>,
    pub carrier_gateway_id: Option<String>,
    pub core_network_arn: Option<String>,
    pub odb_network_arn: Option<String>,
}

impl Asked {
    /// The one target that is named.
    pub fn target(self, tx: &mut Tx<Tenant>, table: &RouteTable) -> Result<Target> {
        let Self {
            gateway_id,
            nat_gateway_id,
            network_interface_id,
            instance_id,
            vpc_peering_connection_id,
            egress_only_internet_gateway_id,
            vpc_endpoint_id,
            transit_gateway_id,
            local_gateway_id,
            carrier_gateway_id,
            core_network_arn,
            odb_network_arn,
        } = self;
        for (there, name) in [
            (vpc_endpoint_id, "VpcEndpointId"),
            (transit_gateway_id, "TransitGatewayId"),
            (local_gateway_id, "LocalGatewayId"),
            (carrier_gateway_id, "CarrierGatewayId"),
            (core_network_arn, "CoreNetworkArn"),
            (odb_network_arn, "OdbNetworkArn"),
        ] {
            refuse_if(there.is_some(), name)?;
        }
        type Find = fn(&mut Tx<Tenant>, &RouteTable, &str) -> Result<Target>;
        let all: [(Option<String>, Find); 6] = [
            (gateway_id, gateway),
            (nat_gateway_id, nat_gateway),
            (network_interface_id, interface),
            (instance_id, instance),
            (vpc_peering_connection_id, peering),
            (egress_only_internet_gateway_id, egress_only),
        ];
        let mut named = all.iter().filter_map(|(id, find)| id.as_ref().map(|id| (id, find)));
        match (named.next(), named.next()) {
            (Some((id, find)), None) => find(tx, table, id),
            (None, _) => Err(missing("GatewayId")),
            (Some(_), Some(_)) => Err(combination(
                "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, \
                 vpcPeeringConnectionId or instanceId",
            )),
        }
    }
}

fn must_share(table: &RouteTable, vpc: &VpcId, kind: &str, id: &str) -> Result<()> {
    if *vpc == table.vpc {
        return Ok(());
    }
    let table = &table.id;
    Err(invalid(format!("route table {table} and {kind} {id} belong to different networks")))
}

fn gateway(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    if id.starts_with("vgw-") {
        return Err(unsupported("GatewayId of a virtual private gateway"));
    }
    if id == "local" {
        return Err(invalid("The target 'local' is only for the local route."));
    }
    let id: InternetGatewayId = id.parse()?;
    let Some(gateway) = tx.find::<InternetGateway>(&id) else {
        return Err(refuse(Code::InvalidGatewayIdNotFound, format!("The gateway ID '{id}' does not exist")));
    };
    if gateway.vpc.as_ref() != Some(&table.vpc) {
        let table = &table.id;
        return Err(invalid(format!("route table {table} and network gateway {id} belong to different networks")));
    }
    Ok(Target::InternetGateway(id))
}

fn nat_gateway(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: NatGatewayId = id.parse()?;
    let Some(gateway) = tx.find::<NatGateway>(&id).filter(|gateway| gateway.deleted.is_none()) else {
        let message = format!("The natGateway ID '{id}' does not exist");
        return Err(refuse(Code::InvalidNatGatewayIdNotFound, message));
    };
    must_share(table, &gateway.vpc, "NAT gateway", id.as_str())?;
    Ok(Target::NatGateway(id))
}

/// EC2 takes one that waits, too: its routes lead nowhere until it is active.
fn peering(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let known = peerings::read(tx, &id.parse()?)?;
    let (home, id) = (tx.home().clone(), &known.peering.id);
    if !matches!(known.state, State::PendingAcceptance | State::Active) {
        return Err(invalid(format!("The VPC peering connection {id} is {}", known.state)));
    }
    let ends = [(&known.peering.home, &known.peering.side.vpc), (&known.peering.peer, &known.peering.peer_vpc)];
    if !ends.contains(&(&home, &table.vpc)) {
        let table = &table.id;
        return Err(invalid(format!(
            "route table {table} and VPC peering connection {id} belong to different networks"
        )));
    }
    Ok(Target::VpcPeering(id.clone()))
}

fn egress_only(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let gateway = tx.get::<EgressOnlyGateway>(&id.parse()?)?;
    must_share(table, &gateway.vpc, "egress-only internet gateway", gateway.id.as_str())?;
    Ok(Target::EgressOnly(gateway.id.clone()))
}

fn interface(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: InterfaceId = id.parse()?;
    let eni = tx.get::<NetworkInterface>(&id)?;
    must_share(table, &eni.vpc, "interface", id.as_str())?;
    Ok(Target::NetworkInterface(id))
}

/// EC2 wants one interface only; which of several is meant, the request cannot say.
fn instance(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
    let id: InstanceId = id.parse()?;
    let instance = tx.get::<Instance>(&id)?;
    let eni = only_interface(tx, &instance)?;
    interface(tx, table, eni.id.as_str())
}

/// Some targets are for one family. NAT gateways have no NAT64 here, for which alone EC2 takes IPv6 to them.
pub fn must_suit(tx: &mut Tx<Tenant>, destination: &Destination, target: &Target) -> Result<()> {
    let ipv6 = match destination {
        Destination::Ipv4(_) => false,
        Destination::Ipv6(_) => true,
        Destination::PrefixList(id) => usable(tx, id)?.family == Family::Ipv6,
    };
    match target {
        Target::EgressOnly(_) if !ipv6 => Err(invalid("An egress-only internet gateway is for IPv6 only.")),
        Target::NatGateway(_) if ipv6 => Err(unsupported("NatGatewayId for an IPv6 destination")),
        _ => Ok(()),
    }
}

/// Whether a target is there, and where packets could come to.
pub fn is_active(tx: &mut Tx<Tenant>, table: &RouteTable, target: &Target) -> bool {
    match target {
        Target::InternetGateway(id) => {
            tx.find::<InternetGateway>(id).is_some_and(|g| g.vpc.as_ref() == Some(&table.vpc))
        }
        Target::NatGateway(id) => tx.find::<NatGateway>(id).is_some_and(|g| g.deleted.is_none()),
        Target::NetworkInterface(id) => tx.find::<NetworkInterface>(id).is_some_and(|eni| eni.attachment.is_some()),
        Target::VpcPeering(id) => peerings::serves(tx, id, &table.vpc),
        Target::EgressOnly(id) => tx.find::<EgressOnlyGateway>(id).is_some(),
        Target::Endpoint(id) => tx.find::<Endpoint>(id).is_some_and(|endpoint| endpoint.serves(&table.id)),
        Target::Blackhole => false,
    }
}

#[cfg(test)]
mod tests {
    use awan_model::plan::Way;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn routes_lead_to_peers_and_gateways_while_these_are_there_and_lists_hold_them() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let mut vpc = |cidr| one(&call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes"), "vpcId");
        let (a, b, c) = (vpc("10.1.0.0/16"), vpc("10.2.0.0/16"), vpc("10.3.0.0/16"));
        let table = one(&call("CreateRouteTable", &[("VpcId", &a)]).expect("makes"), "routeTableId");
        let mut peer = |from: &str, to: &str| {
            let ask = [("VpcId", from), ("PeerVpcId", to)];
            one(&call("CreateVpcPeeringConnection", &ask).expect("asks"), "vpcPeeringConnectionId")
        };
        let (ab, cb) = (peer(&a, &b), peer(&c, &b));
        let gateway = call("CreateEgressOnlyInternetGateway", &[("VpcId", &a)]).expect("makes");
        let gateway = one(&gateway, "egressOnlyInternetGatewayId");
        let list = [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "98")];
        let list = one(&call("CreateManagedPrefixList", &list).expect("makes"), "prefixListId");
        let mut add = |destination: (&str, &str), target: (&str, &str)| {
            call("CreateRoute", &[("RouteTableId", &table), destination, target])
        };
        let (to_ab, to_gateway) =
            (("VpcPeeringConnectionId", ab.as_str()), ("EgressOnlyInternetGatewayId", gateway.as_str()));
        add(("DestinationCidrBlock", "10.2.0.0/16"), to_ab).expect("waits");
        add(("DestinationIpv6CidrBlock", "::/0"), to_gateway).expect("goes out");
        add(("DestinationPrefixListId", &list), to_ab).expect("waits");
        for (destination, target, expected) in [
            (("DestinationCidrBlock", "0.0.0.0/0"), to_gateway, "InvalidParameterValue: An egress-only"),
            (
                ("DestinationCidrBlock", "10.9.0.0/16"),
                ("VpcPeeringConnectionId", cb.as_str()),
                "InvalidParameterValue: route",
            ),
            (("DestinationIpv6CidrBlock", "10.0.0.0/8"), to_gateway, "InvalidParameterValue: Value (10.0.0.0/8) for"),
            (("DestinationPrefixListId", "pl-00000000000000001"), to_ab, "InvalidPrefixListID.NotFound"),
            (("DestinationPrefixListId", "pl-63a5400a"), ("VpcEndpointId", "vpce-1"), "UnsupportedOperation"),
        ] {
            let refusal = add(destination, target).expect_err(expected);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
        let states = |shown: &str| Cloud::ids(shown, "state").join(" ");
        let this = [("RouteTableId.1", table.as_str())];
        let shown = call("DescribeRouteTables", &this).expect("answers");
        assert_eq!(states(&shown), "active blackhole active blackhole");
        call("AcceptVpcPeeringConnection", &[to_ab]).expect("accepts");
        let shown = call("DescribeRouteTables", &this).expect("answers");
        assert_eq!(states(&shown), "active active active active");
        let held = call("DeleteManagedPrefixList", &[("PrefixListId", &list)]).expect_err("is in use");
        assert!(held.starts_with("DependencyViolation"), "{held}");
        let users = call("GetManagedPrefixListAssociations", &[("PrefixListId", &list)]).expect("answers");
        assert_eq!(Cloud::ids(&users, "resourceId"), [table.as_str()]);
        call("DeleteEgressOnlyInternetGateway", &[to_gateway]).expect("deletes");
        call("DeleteVpcPeeringConnection", &[to_ab]).expect("deletes");
        let shown = call("DescribeRouteTables", &this).expect("answers");
        assert_eq!(states(&shown), "active blackhole blackhole blackhole");
        for destination in [("DestinationIpv6CidrBlock", "::/0"), ("DestinationPrefixListId", list.as_str())] {
            call("DeleteRoute", &[("RouteTableId", table.as_str()), destination]).expect("deletes");
        }
        call("DeleteManagedPrefixList", &[("PrefixListId", &list)]).expect("is free");
        cloud.audit();
    }

    #[test]
    fn a_list_leads_away_what_would_go_out_and_lets_out_what_would_not() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let shown = call("DescribeRouteTables", &[]);
        let (vpc, table, gateway) =
            (one(&shown, "vpcId"), one(&shown, "routeTableId"), Cloud::ids(&shown, "gatewayId").remove(1));
        let peer = one(&call("CreateVpc", &[("CidrBlock", "10.2.0.0/16")]), "vpcId");
        let pcx = call("CreateVpcPeeringConnection", &[("VpcId", &vpc), ("PeerVpcId", &peer)]);
        let pcx = one(&pcx, "vpcPeeringConnectionId");
        let list =
            [("PrefixListName", "a"), ("AddressFamily", "IPv4"), ("MaxEntries", "9"), ("Entry.1.Cidr", "0.0.0.0/1")];
        let list = one(&call("CreateManagedPrefixList", &list), "prefixListId");
        let (of, to) = (("RouteTableId", table.as_str()), ("DestinationPrefixListId", list.as_str()));
        call("CreateRoute", &[of, to, ("VpcPeeringConnectionId", &pcx)]);
        let out = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            let internet = plans.values().next().expect("a host").network.vpcs[0].subnets[0].through(&Way::Internet);
            internet.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(out(&cloud), "128.0.0.0/1");
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        call("DeleteRoute", &[of, ("DestinationCidrBlock", "0.0.0.0/0")]);
        call("ReplaceRoute", &[of, to, ("GatewayId", &gateway)]);
        assert_eq!(out(&cloud), "0.0.0.0/1");
    }
}
