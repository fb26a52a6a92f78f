//! ModifyVpcTenancy: guests to come need no host of their own any more.

use awan_model::vpc::{Tenancy, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_vpc::brief;
use crate::error::{Result, invalid_value, missing};

pub fn modify_vpc_tenancy(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyVpcTenancyRequest,
) -> Result<ec2::ModifyVpcTenancyResult> {
    let ec2::ModifyVpcTenancyRequest { vpc_id, instance_tenancy, dry_run: _ } = req;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let wanted = instance_tenancy.ok_or_else(|| missing("InstanceTenancy"))?;
    // EC2 knows the way back only.
    if wanted != "default" {
        return Err(invalid_value(brief(&wanted), "instanceTenancy"));
    }
    tx.put(Vpc { tenancy: Tenancy::Shared, ..(*vpc).clone() });
    Ok(ec2::ModifyVpcTenancyResult { return_value: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn guests_of_a_dedicated_vpc_are_dedicated_until_it_is_not() {
        let mut cloud = Cloud::new();
        let ask = [("CidrBlock", "10.7.0.0/16"), ("InstanceTenancy", "dedicated")];
        let made = cloud.tenant("acme").call("CreateVpc", &ask).expect("makes");
        assert!(made.contains("<instanceTenancy>dedicated</instanceTenancy>"), "{made}");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let ask = [("VpcId", vpc.as_str()), ("CidrBlock", "10.7.0.0/24")];
        let made = cloud.tenant("acme").call("CreateSubnet", &ask).expect("makes");
        let subnet = Cloud::ids(&made, "subnetId").remove(0);
        let launch = |cloud: &mut Cloud| {
            let id = cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("launches").remove(0);
            let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
            Cloud::ids(&shown, "tenancy").remove(0)
        };
        assert_eq!(launch(&mut cloud), "dedicated");
        cloud.tenant("other").run_with(&[]).expect_err("the only host is acme's own");
        let ask = [("VpcId", vpc.as_str()), ("InstanceTenancy", "default")];
        cloud.tenant("acme").call("ModifyVpcTenancy", &ask).expect("changes");
        assert_eq!(launch(&mut cloud), "default");
        let ask = [ask[0], ("InstanceTenancy", "dedicated")];
        let refusal = cloud.tenant("acme").call("ModifyVpcTenancy", &ask).expect_err("not that way");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
    }
}
