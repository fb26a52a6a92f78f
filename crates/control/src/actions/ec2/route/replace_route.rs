//! ReplaceRoute: another target for a destination that has one.

use awan_model::route::RouteTable;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::target::{Asked, Where, is_local, must_suit};
use crate::error::{Result, invalid, missing, refuse_both, unsupported};

pub fn replace_route(tx: &mut Tx<Tenant>, req: ec2::ReplaceRouteRequest) -> Result<()> {
    let ec2::ReplaceRouteRequest {
        destination_prefix_list_id,
        vpc_endpoint_id,
        local_target,
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
    let table = tx.get::<RouteTable>(&route_table_id.ok_or_else(|| missing("RouteTableId"))?.parse()?)?;
    let destination = begin.destination()?;
    let local = local_target == Some(true);
    refuse_both((gateway_id.is_some(), "GatewayId"), (local, "LocalTarget"))?;
    let to_local = local || gateway_id.as_deref() == Some("local");
    if is_local(&*tx.get::<Vpc>(&table.vpc)?, &destination) {
        // It is local already; nothing else can have it.
        return if to_local { Ok(()) } else { Err(unsupported("GatewayId for the local route")) };
    }
    if to_local {
        return Err(invalid("The target 'local' is only for the local route."));
    }
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
    let target = asked.target(tx, &table)?;
    must_suit(tx, &destination, &target)?;
    let mut changed = (*table).clone();
    let Some(route) = changed.routes.iter_mut().find(|r| r.destination == destination) else {
        return Err(invalid(format!(
            "There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
        )));
    };
    route.target = target;
    tx.put(changed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_route_moves_to_the_gateway_that_is_attached_now() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        let (table, old) = (Cloud::ids(&shown, "routeTableId").remove(0), Cloud::ids(&shown, "gatewayId").remove(1));
        let vpc = Cloud::ids(&shown, "vpcId").remove(0);
        let made = cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
        let new = Cloud::ids(&made, "internetGatewayId").remove(0);
        for (action, gateway) in [("DetachInternetGateway", &old), ("AttachInternetGateway", &new)] {
            cloud.tenant("acme").call(action, &[("InternetGatewayId", gateway), ("VpcId", &vpc)]).expect(action);
        }
        let ask = |destination| {
            [("RouteTableId", table.as_str()), ("DestinationCidrBlock", destination), ("GatewayId", new.as_str())]
        };
        let refusal = cloud.tenant("acme").call("CreateRoute", &ask("0.0.0.0/0")).expect_err("is taken");
        assert_eq!(refusal, "RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists.");
        cloud.tenant("acme").call("ReplaceRoute", &ask("0.0.0.0/0")).expect("replaces");
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "gatewayId"), ["local", &new]);
        assert!(!shown.contains("blackhole"), "{shown}");
        let refusal = cloud.tenant("acme").call("ReplaceRoute", &ask("9.0.0.0/8")).expect_err("none");
        assert!(refusal.starts_with("InvalidParameterValue: There is no route defined for '9.0.0.0/8'"), "{refusal}");
        let ask4 = ask("0.0.0.0/0");
        let egress_only = cloud.tenant("acme").call("CreateEgressOnlyInternetGateway", &[("VpcId", &vpc)]);
        let egress_only = Cloud::ids(&egress_only.expect("makes"), "egressOnlyInternetGatewayId").remove(0);
        let to = [ask4[0], ask4[1], ("EgressOnlyInternetGatewayId", egress_only.as_str())];
        let refusal = cloud.tenant("acme").call("ReplaceRoute", &to).expect_err("is for IPv6");
        assert_eq!(refusal, "InvalidParameterValue: An egress-only internet gateway is for IPv6 only.");
        let local = [ask("172.31.0.0/16")[0], ask("172.31.0.0/16")[1], ("LocalTarget", "true")];
        cloud.tenant("acme").call("ReplaceRoute", &local).expect("is so already");
    }
}
