//! DescribeVpcAttribute.

use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_vpc::brief;
use crate::error::{Result, invalid_value, missing};

pub fn describe_vpc_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVpcAttributeRequest,
) -> Result<ec2::DescribeVpcAttributeResult> {
    let ec2::DescribeVpcAttributeRequest { attribute, vpc_id, dry_run: _ } = req;
    let vpc = tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    let flag = |value| Some(ec2::AttributeBooleanValue { value: Some(value) });
    let mut out = ec2::DescribeVpcAttributeResult { vpc_id: Some(vpc.id.to_string()), ..Default::default() };
    match attribute.as_deref().ok_or_else(|| missing("Attribute"))? {
        "enableDnsSupport" => out.enable_dns_support = flag(vpc.dns_support),
        "enableDnsHostnames" => out.enable_dns_hostnames = flag(vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => out.enable_network_address_usage_metrics = flag(false),
        other => return Err(invalid_value(brief(other), "attribute")),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_vpc_of_ones_own_resolves_names_and_gives_none() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        for (attribute, expected) in [
            ("enableDnsSupport", "<enableDnsSupport><value>true</value>"),
            ("enableDnsHostnames", "<enableDnsHostnames><value>false</value>"),
            ("enableNetworkAddressUsageMetrics", "<enableNetworkAddressUsageMetrics><value>false</value>"),
        ] {
            let ask = [("VpcId", vpc.as_str()), ("Attribute", attribute)];
            let shown = cloud.tenant("acme").call("DescribeVpcAttribute", &ask).expect("answers");
            assert!(shown.contains(expected), "{shown}");
        }
        let ask = [("VpcId", vpc.as_str()), ("Attribute", "colour")];
        let refusal = cloud.tenant("acme").call("DescribeVpcAttribute", &ask).expect_err("no such attribute");
        assert_eq!(refusal, "InvalidParameterValue: Value (colour) for parameter attribute is invalid.");
    }
}
