//! DeleteEgressOnlyInternetGateway. Routes to it stay and lead nowhere.

use awan_model::egress_only::EgressOnlyGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};
use crate::{network, token};

pub fn delete_egress_only_internet_gateway(
    tx: &mut Tx<Tenant>,
    req: ec2::DeleteEgressOnlyInternetGatewayRequest,
) -> Result<ec2::DeleteEgressOnlyInternetGatewayResult> {
    let ec2::DeleteEgressOnlyInternetGatewayRequest { dry_run: _, egress_only_internet_gateway_id } = req;
    let id = egress_only_internet_gateway_id.ok_or_else(|| missing("EgressOnlyInternetGatewayId"))?;
    let gateway = tx.get::<EgressOnlyGateway>(&id.parse()?)?;
    token::forget(tx, "CreateEgressOnlyInternetGateway", gateway.client_token.as_deref());
    network::remove::<EgressOnlyGateway>(tx, &gateway.id);
    Ok(ec2::DeleteEgressOnlyInternetGatewayResult { return_code: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_gateway_is_gone() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let made = call("CreateEgressOnlyInternetGateway", &[("VpcId", &vpc), ("ClientToken", "once")]).expect("makes");
        let id = Cloud::ids(&made, "egressOnlyInternetGatewayId").remove(0);
        let this = [("EgressOnlyInternetGatewayId", id.as_str())];
        call("DeleteEgressOnlyInternetGateway", &this).expect("deletes");
        let refusal = call("DeleteEgressOnlyInternetGateway", &this).expect_err("gone");
        assert_eq!(refusal, format!("InvalidGatewayID.NotFound: The eigw ID '{id}' does not exist"));
        call("CreateEgressOnlyInternetGateway", &[("VpcId", &vpc), ("ClientToken", "once")]).expect("makes another");
        cloud.audit();
    }
}
