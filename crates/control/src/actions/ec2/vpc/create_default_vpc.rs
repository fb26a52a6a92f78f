//! CreateDefaultVpc: where the first one was deleted.

use awan_model::installation::Installation;
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_vpcs::shown;
use crate::error::{Code, Result, refuse};
use crate::network;

pub fn create_default_vpc(
    tx: &mut Tx<Tenant>,
    req: ec2::CreateDefaultVpcRequest,
) -> Result<ec2::CreateDefaultVpcResult> {
    let ec2::CreateDefaultVpcRequest { dry_run: _ } = req;
    if tx.list::<Vpc>().iter().any(|vpc| vpc.is_default) {
        let message = "A Default VPC already exists for this account in this region.";
        return Err(refuse(Code::DefaultVpcAlreadyExists, message));
    }
    super::create_vpc::must_have_room(tx)?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let vpc = network::default_vpc(tx, &zones)?;
    Ok(ec2::CreateDefaultVpcResult { vpc: Some(shown(&vpc, Vec::new())) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_deleted_default_vpc_comes_back_whole() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let refusal = call("CreateDefaultVpc", &[]).expect_err("has one");
        assert!(refusal.starts_with("DefaultVpcAlreadyExists: A Default VPC already exists"), "{refusal}");
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        for subnet in Cloud::ids(&call("DescribeSubnets", &[]).expect("answers"), "subnetId") {
            call("DeleteSubnet", &[("SubnetId", &subnet)]).expect("deletes");
        }
        let shown = call("DescribeInternetGateways", &[]).expect("answers");
        let gateway = Cloud::ids(&shown, "internetGatewayId").remove(0);
        let both = [("InternetGatewayId", gateway.as_str()), ("VpcId", vpc.as_str())];
        call("DetachInternetGateway", &both).expect("detaches");
        call("DeleteVpc", &[("VpcId", &vpc)]).expect("deletes");
        let none = call("CreateDefaultSubnet", &[("AvailabilityZone", "us-east-1a")]).expect_err("no VPC");
        assert!(none.starts_with("DefaultVpcDoesNotExist"), "{none}");
        let made = call("CreateDefaultVpc", &[]).expect("makes");
        assert!(made.contains("<isDefault>true</isDefault>"), "{made}");
        let subnets = call("DescribeSubnets", &[]).expect("answers");
        assert_eq!(Cloud::ids(&subnets, "defaultForAz"), ["true", "true", "true"]);
        cloud.tenant("acme").run();
        cloud.audit();
    }
}
