//! DeleteInternetGateway.

use awan_model::gateway::InternetGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, dependency, missing};
use crate::network;

pub fn delete_internet_gateway(tx: &mut Tx<Tenant>, req: ec2::DeleteInternetGatewayRequest) -> Result<()> {
    let ec2::DeleteInternetGatewayRequest { dry_run: _, internet_gateway_id } = req;
    let id = internet_gateway_id.ok_or_else(|| missing("InternetGatewayId"))?;
    let gateway = tx.get::<InternetGateway>(&id.parse()?)?;
    if gateway.vpc.is_some() {
        let id = &gateway.id;
        return Err(dependency(format!("The internetGateway '{id}' has dependencies and cannot be deleted.")));
    }
    network::remove::<InternetGateway>(tx, &gateway.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_gateway_is_gone() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
        let id = Cloud::ids(&made, "internetGatewayId").remove(0);
        let ask = [("InternetGatewayId", id.as_str())];
        cloud.tenant("acme").call("DeleteInternetGateway", &ask).expect("deletes");
        let refusal = cloud.tenant("acme").call("DeleteInternetGateway", &ask).expect_err("gone");
        let expected = format!("InvalidInternetGatewayID.NotFound: The internetGateway ID '{id}' does not exist");
        assert_eq!(refusal, expected);
    }
}
