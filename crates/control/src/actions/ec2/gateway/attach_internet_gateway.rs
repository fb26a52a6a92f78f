//! AttachInternetGateway. A VPC has at most one.

use awan_model::gateway::InternetGateway;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, missing, refuse};
use crate::network;

pub fn attach_internet_gateway(tx: &mut Tx<Tenant>, req: ec2::AttachInternetGatewayRequest) -> Result<()> {
    let ec2::AttachInternetGatewayRequest { dry_run: _, internet_gateway_id, vpc_id } = req;
    let id = internet_gateway_id.ok_or_else(|| missing("InternetGatewayId"))?;
    let gateway = tx.get::<InternetGateway>(&id.parse()?)?;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    if let Some(other) = &gateway.vpc {
        let message = format!("resource {} is already attached to network {other}", gateway.id);
        return Err(refuse(Code::AlreadyAssociated, message));
    }
    if network::gateway_of(tx, &vpc.id).is_some() {
        return Err(invalid(format!("Network {} already has an internet gateway attached", vpc.id)));
    }
    tx.put(InternetGateway { vpc: Some(vpc.id.clone()), ..(*gateway).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn one_gateway_for_one_vpc() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let mut gateway = || {
            let made = cloud.tenant("acme").call("CreateInternetGateway", &[]).expect("makes");
            Cloud::ids(&made, "internetGatewayId").remove(0)
        };
        let (a, b) = (gateway(), gateway());
        let mut attach = |gateway: &str| {
            cloud.tenant("acme").call("AttachInternetGateway", &[("InternetGatewayId", gateway), ("VpcId", &vpc)])
        };
        attach(&a).expect("attaches");
        let already = format!("Resource.AlreadyAssociated: resource {a} is already attached to network {vpc}");
        assert_eq!(attach(&a).expect_err("twice"), already);
        let second = format!("InvalidParameterValue: Network {vpc} already has an internet gateway attached");
        assert_eq!(attach(&b).expect_err("a second"), second);
        let ask = [("Filter.1.Name", "attachment.vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let shown = cloud.tenant("acme").call("DescribeInternetGateways", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "internetGatewayId"), [a]);
    }
}
