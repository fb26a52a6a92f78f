//! CreateRoute. The one route that a network can have beside its own: everything else goes to the internet gateway.

use awan_model::gateway::InternetGateway;
use awan_model::id::InternetGatewayId;
use awan_model::route::{Route, RouteTable, Target};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;
use ipnet::Ipv4Net;

use crate::actions::ec2::vpc::create_vpc::network_of;
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if, unsupported};

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
    for (there, name) in [
        (destination_prefix_list_id, "DestinationPrefixListId"),
        (vpc_endpoint_id, "VpcEndpointId"),
        (transit_gateway_id, "TransitGatewayId"),
        (local_gateway_id, "LocalGatewayId"),
        (carrier_gateway_id, "CarrierGatewayId"),
        (core_network_arn, "CoreNetworkArn"),
        (odb_network_arn, "OdbNetworkArn"),
        (destination_ipv6_cidr_block, "DestinationIpv6CidrBlock"),
        (egress_only_internet_gateway_id, "EgressOnlyInternetGatewayId"),
        (instance_id, "InstanceId"),
        (network_interface_id, "NetworkInterfaceId"),
        (vpc_peering_connection_id, "VpcPeeringConnectionId"),
        (nat_gateway_id, "NatGatewayId"),
    ] {
        refuse_if(there.is_some(), name)?;
    }
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let destination = destination_of(destination_cidr_block)?;
    must_lead_out(tx, &table, &destination)?;
    let target = gateway(tx, &table, &gateway_id.ok_or_else(|| missing("GatewayId"))?)?;
    let mut table = (*table).clone();
    match table.routes.iter().find(|r| r.destination == destination) {
        Some(there) if there.target == target => {}
        Some(_) => return Err(already(&destination)),
        None => {
            table.routes.push(Route { destination, target });
            tx.put(table);
        }
    }
    Ok(ec2::CreateRouteResult { r#return: Some(true) })
}

pub fn destination_of(text: Option<String>) -> Result<Ipv4Net> {
    network_of(&text.ok_or_else(|| missing("DestinationCidrBlock"))?, "destinationCidrBlock")
}

pub fn already(destination: &Ipv4Net) -> crate::error::Error {
    refuse(Code::RouteAlreadyExists, format!("The route identified by {destination} already exists."))
}

/// Hosts send all that leaves the VPC one way, so no other destination could be kept.
fn must_lead_out(tx: &mut Tx<Tenant>, table: &RouteTable, destination: &Ipv4Net) -> Result<()> {
    let vpc = tx.get::<Vpc>(&table.vpc)?;
    if vpc.cidr == *destination {
        return Err(already(destination));
    }
    if vpc.cidr.contains(destination) {
        return Err(invalid(format!(
            "The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR blocks. \
             This route can target only an interface or an instance."
        )));
    }
    if destination.prefix_len() != 0 {
        return Err(unsupported("DestinationCidrBlock other than 0.0.0.0/0"));
    }
    Ok(())
}

/// The internet gateway that a route names.
pub fn gateway(tx: &mut Tx<Tenant>, table: &RouteTable, id: &str) -> Result<Target> {
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

#[cfg(test)]
mod tests {
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    /// Whether the host lets the guests of the only VPC with guests out.
    fn lets_out(cloud: &Cloud) -> bool {
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        plans.values().next().expect("a host").network.vpcs[0].subnets.iter().any(|subnet| subnet.internet)
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
            ("8.8.8.0/24", "GatewayId", gateway.as_str(), "UnsupportedOperation: The parameter DestinationCidrBlock"),
            ("172.31.0.0/16", "GatewayId", &gateway, "RouteAlreadyExists: The route identified by 172.31.0.0/16"),
            ("172.31.1.0/24", "GatewayId", &gateway, "InvalidParameterValue: The destination CIDR block 172.31.1.0/24"),
            ("0.0.0.0/0", "NatGatewayId", "nat-00000000000000001", "UnsupportedOperation: The parameter NatGatewayId"),
            ("0.0.0.0/0", "GatewayId", "igw-00000000000000001", "InvalidGatewayID.NotFound: The gateway ID 'igw-0"),
            ("0.0.0.0/0", "GatewayId", "local", "InvalidParameterValue"),
            ("everywhere", "GatewayId", &gateway, "InvalidParameterValue: Value (everywhere) for parameter"),
        ] {
            let ask = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", destination), (name, target)];
            let refusal = cloud.tenant("acme").call("CreateRoute", &ask).expect_err(destination);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
