//! DeleteNatGateway. Its address is free again and stays; routes to it stay and lead nowhere. It is shown for a while.

use awan_model::interface::NetworkInterface;
use awan_model::nat::NatGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::{network, token};

pub fn delete_nat_gateway(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteNatGatewayRequest,
) -> Result<ec2::DeleteNatGatewayResult> {
    let ec2::DeleteNatGatewayRequest { dry_run: _, nat_gateway_id } = req;
    let gateway = tx.get::<NatGateway>(&nat_gateway_id.ok_or_else(|| missing("NatGatewayId"))?.parse()?)?;
    let answer = ec2::DeleteNatGatewayResult { nat_gateway_id: Some(gateway.id.to_string()) };
    if gateway.deleted.is_some() {
        return Ok(answer);
    }
    let eni = tx.get::<NetworkInterface>(&gateway.interface)?;
    network::remove_interface(tx, &eni);
    token::forget(tx, "CreateNatGateway", gateway.client_token.as_deref());
    let deleted = Some(tx.now());
    tx.put(NatGateway { deleted, client_token: None, ..(*gateway).clone() });
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_gateway_is_shown_for_an_hour_and_holds_nothing() {
        let mut cloud = Cloud::new();
        let one = |made: &str, element: &str| Cloud::ids(made, element).remove(0);
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let subnet = one(&call("DescribeSubnets", &[]).expect("answers"), "subnetId");
        let address = one(&call("AllocateAddress", &[]).expect("allocates"), "allocationId");
        let ask = [("SubnetId", subnet.as_str()), ("AllocationId", address.as_str())];
        let id = one(&call("CreateNatGateway", &ask).expect("makes"), "natGatewayId");
        let table = one(&call("DescribeRouteTables", &[]).expect("answers"), "routeTableId");
        let route = [("RouteTableId", table.as_str()), ("DestinationCidrBlock", "9.0.0.0/8"), ("NatGatewayId", &id)];
        call("CreateRoute", &route).expect("makes");
        for _ in 0..2 {
            call("DeleteNatGateway", &[("NatGatewayId", &id)]).expect("deletes");
        }
        assert!(call("CreateRoute", &route).is_ok_and(|_| false) || call("ReplaceRoute", &route).is_err());
        let tables = call("DescribeRouteTables", &[]).expect("answers");
        assert_eq!(tables.matches("blackhole").count(), 1, "{tables}");
        let shown = call("DescribeNatGateways", &[("NatGatewayId.1", &id)]).expect("is shown still");
        assert_eq!(one(&shown, "state"), "deleted");
        call("ReleaseAddress", &[("AllocationId", &address)]).expect("is free");
        call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("is empty");
        cloud.audit();
        cloud.pass(crate::reconcile::VISIBLE_MS + 1);
        cloud.settle();
        let gone = cloud.tenant("acme").call("DescribeNatGateways", &[("NatGatewayId.1", &id)]).expect_err("gone");
        assert_eq!(gone, format!("NatGatewayNotFound: The Nat Gateway {id} was not found"));
    }
}
