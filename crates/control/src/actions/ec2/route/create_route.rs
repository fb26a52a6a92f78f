//! CreateRoute. The most specific route of a packet counts, but none leads away what is for the VPC itself.

use awan_model::route::{Destination, Route, RouteTable};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::target::{Asked, Where, is_local, must_suit};
use crate::actions::ec2::prefix_list::lists::usable;
use crate::error::{Code, Error, Result, missing, refuse, unsupported};

/// EC2's quota per table was 50 for long; who asks gets more.
const ROUTES_MAX: usize = 100;

pub fn create_route(tx: &mut Tx<Tenant>, req: ec2::CreateRouteRequest) -> Result<ec2::CreateRouteResult> {
    let ec2::CreateRouteRequest {
        destination_prefix_list_id,
        vpc_endpoint_id,
        transit_gateway_id,
        local_gateway_id,
        carrier_gateway_id,
        core_network_arn,
        odb_network_arn,
        dry_run: _,
        route_table_id,
        destination_cidr_block,
        gateway_id,
        destination_ipv6_cidr_block,
        egress_only_internet_gateway_id,
        instance_id,
        network_interface_id,
        vpc_peering_connection_id,
        nat_gateway_id,
    } = req;
    let begin = Where { destination_cidr_block, destination_ipv6_cidr_block, destination_prefix_list_id };
    let asked = Asked {
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
    };
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let destination = begin.destination()?;
    must_lead_out(tx, &table, &destination)?;
    let target = asked.target(tx, &table)?;
    must_suit(tx, &destination, &target)?;
    let mut table = (*table).clone();
    let new = Route { destination: destination.clone(), target: target.clone() };
    match table.routes.iter().find(|r| r.destination == destination) {
        Some(there) if there.target == target => {}
        Some(_) => return Err(already(&destination)),
        None if room(tx, &table.routes) + room(tx, std::slice::from_ref(&new)) > ROUTES_MAX => {
            let message = "The maximum number of routes has been reached.";
            return Err(refuse(Code::RouteLimitExceeded, message));
        }
        None => {
            table.routes.push(new);
            tx.put(table);
        }
    }
    Ok(ec2::CreateRouteResult { r#return: Some(true) })
}

/// A prefix list takes as much as it may once have.
fn room(tx: &mut Tx<Tenant>, routes: &[Route]) -> usize {
    let of = |route: &Route, tx: &mut Tx<Tenant>| match &route.destination {
        Destination::PrefixList(id) => usable(tx, id).map_or(1, |list| list.max_entries.into()),
        Destination::Ipv4(_) | Destination::Ipv6(_) => 1,
    };
    routes.iter().map(|route| of(route, tx)).sum()
}

fn already(destination: &Destination) -> Error {
    refuse(Code::RouteAlreadyExists, format!("The route identified by {destination} already exists."))
}

/// Within the VPC all packets go their own way.
fn must_lead_out(tx: &mut Tx<Tenant>, table: &RouteTable, destination: &Destination) -> Result<()> {
    let vpc = tx.get::<Vpc>(&table.vpc)?;
    if is_local(&vpc, destination) {
        return Err(already(destination));
    }
    match destination {
        Destination::Ipv4(net) if vpc.cidrs().any(|cidr| cidr.contains(net)) => {
            Err(unsupported("DestinationCidrBlock that is more specific than one of this VPC's CIDR blocks"))
        }
        Destination::Ipv6(net) if vpc.ipv6.iter().any(|range| range.cidr.contains(net)) => {
            Err(unsupported("DestinationIpv6CidrBlock that is more specific than one of this VPC's CIDR blocks"))
        }
        Destination::PrefixList(id) => usable(tx, id).map(drop),
        Destination::Ipv4(_) | Destination::Ipv6(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use awan_model::plan::Way;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    /// Whether the host lets the guests of the only VPC with guests out.
    fn lets_out(cloud: &Cloud) -> bool {
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        plans.values().next().expect("a host").network.vpcs[0].subnets.iter().any(|subnet| !subnet.ways.is_empty())
    }

    #[test]
    fn a_subnet_leads_out_while_a_route_to_an_attached_gateway_says_so() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let vpc = one(&call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]), "vpcId");
        let subnet = one(&call("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.7.0.0/24")]), "subnetId");
        let gateway = one(&call("CreateInternetGateway", &[]), "internetGatewayId");
        let of_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let table = one(&call("DescribeRouteTables", &of_vpc), "routeTableId");
        cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches");
        assert!(!lets_out(&cloud));
        let route =
            [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "0.0.0.0/0"), ("GatewayId", gateway.as_str())];
        let refusal = cloud.tenant("acme").call("CreateRoute", &route).expect_err("is not attached");
        assert!(refusal.ends_with("belong to different networks"), "{refusal}");
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
        cloud.tenant("acme").call("AttachInternetGateway", &both).expect("attaches");
        assert!(!lets_out(&cloud));
        for _ in 0..2 {
            cloud.tenant("acme").call("CreateRoute", &route).expect("the same again is fine");
            assert!(lets_out(&cloud));
        }
        cloud.tenant("acme").call("DetachInternetGateway", &both).expect("detaches");
        assert!(!lets_out(&cloud));
        cloud.tenant("acme").call("AttachInternetGateway", &both).expect("attaches");
        assert!(lets_out(&cloud));
        cloud.tenant("acme").call("DeleteRoute", &route[..2]).expect("deletes");
        assert!(!lets_out(&cloud));
        cloud.audit();
    }

    #[test]
    fn what_hosts_could_not_keep_is_refused() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        let (table, gateway) =
            (Cloud::ids(&shown, "routeTableId").remove(0), Cloud::ids(&shown, "gatewayId").remove(1));
        for (destination, name, target, expected) in [
            (
                "172.31.0.0/16",
                "GatewayId",
                gateway.as_str(),
                "RouteAlreadyExists: The route identified by 172.31.0.0/16",
            ),
            ("172.31.1.0/24", "GatewayId", &gateway, "UnsupportedOperation: The parameter DestinationCidrBlock"),
            (
                "0.0.0.0/0",
                "NatGatewayId",
                "nat-00000000000000001",
                "InvalidNatGatewayID.NotFound: The natGateway ID 'nat-",
            ),
            ("0.0.0.0/0", "TransitGatewayId", "tgw-00000000000000001", "UnsupportedOperation: The parameter Transit"),
            ("0.0.0.0/0", "InstanceId", "i-00000000000000001", "InvalidInstanceID.NotFound"),
            ("0.0.0.0/0", "GatewayId", "igw-00000000000000001", "InvalidGatewayID.NotFound: The gateway ID 'igw-0"),
            ("0.0.0.0/0", "GatewayId", "local", "InvalidParameterValue"),
            ("::/0", "GatewayId", &gateway, "InvalidParameterValue: Value (::/0) for parameter"),
            ("everywhere", "GatewayId", &gateway, "InvalidParameterValue: Value (everywhere) for parameter"),
        ] {
            let ask = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", destination), (name, target)];
            let refusal = cloud.tenant("acme").call("CreateRoute", &ask).expect_err(destination);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }

    #[test]
    fn the_most_specific_route_counts_and_one_to_an_interface_lets_nothing_out() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        let table = Cloud::ids(&shown, "routeTableId").remove(0);
        let instance = cloud.tenant("acme").run();
        let mut make = |destination: &str, name: &str, target: &str| {
            let ask = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", destination), (name, target)];
            cloud.tenant("acme").call("CreateRoute", &ask)
        };
        make("128.0.0.0/1", "InstanceId", &instance).expect("makes");
        let both =
            make("9.0.0.0/8", "InstanceId", &instance).and(make("9.0.0.0/8", "GatewayId", "igw-00000000000000001"));
        assert!(both.expect_err("no such gateway").starts_with("InvalidGatewayID.NotFound"));
        let out = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            plans.values().next().expect("a host").network.vpcs[0].subnets[0].through(&Way::Internet)
        };
        let nets: Vec<_> = out(&cloud).iter().map(ToString::to_string).collect();
        assert_eq!(
            nets,
            ["0.0.0.0/5", "8.0.0.0/8", "10.0.0.0/7", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/2"]
        );
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        assert!(shown.contains(&format!("<instanceId>{instance}</instanceId>")), "{shown}");
        assert!(!shown.contains("blackhole"), "{shown}");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        assert_eq!(shown.matches("blackhole").count(), 2, "{shown}");
        cloud.audit();
    }
}
