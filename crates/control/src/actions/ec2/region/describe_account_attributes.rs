//! DescribeAccountAttributes.

use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::address::allocate_address::ADDRESSES_MAX;
use crate::actions::ec2::instance::launch::GROUPS_MAX;
use crate::error::{Result, invalid_value};

pub fn describe_account_attributes(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeAccountAttributesRequest,
) -> Result<ec2::DescribeAccountAttributesResult> {
    let ec2::DescribeAccountAttributesRequest { dry_run: _, attribute_names } = req;
    let default_vpc = tx.list::<Vpc>().iter().find(|v| v.is_default).map_or("none".to_owned(), |v| v.id.to_string());
    let all = [
        ("default-vpc", default_vpc),
        ("max-elastic-ips", ADDRESSES_MAX.to_string()),
        // EC2: no longer a limit; it answers with the old default.
        ("max-instances", "20".into()),
        ("supported-platforms", "VPC".into()),
        ("vpc-max-elastic-ips", ADDRESSES_MAX.to_string()),
        ("vpc-max-security-groups-per-interface", GROUPS_MAX.to_string()),
    ];
    if let Some(unknown) = attribute_names.iter().find(|name| !all.iter().any(|(known, _)| known == *name)) {
        return Err(invalid_value(unknown.chars().take(64).collect::<String>().escape_debug(), "attributeName"));
    }
    let wanted =
        all.into_iter().filter(|(name, _)| attribute_names.is_empty() || attribute_names.iter().any(|n| n == name));
    let shown = |(name, value): (&str, String)| ec2::AccountAttribute {
        attribute_name: Some(name.into()),
        attribute_values: vec![ec2::AccountAttributeValue { attribute_value: Some(value) }],
    };
    Ok(ec2::DescribeAccountAttributesResult { account_attributes: wanted.map(shown).collect() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_vpc_is_named() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let shown = cloud
            .tenant("acme")
            .call("DescribeAccountAttributes", &[("AttributeName.1", "default-vpc")])
            .expect("answers");
        assert_eq!(Cloud::ids(&shown, "attributeValue"), [vpc]);
    }
    #[test]
    fn all_attributes_of_ec2_have_a_value() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeAccountAttributes", &[]).expect("answers");
        let names = Cloud::ids(&shown, "attributeName");
        assert_eq!(names.len(), 6);
        for name in &names {
            let one = cloud.tenant("acme").call("DescribeAccountAttributes", &[("AttributeName.1", name)]);
            assert_eq!(Cloud::ids(&one.expect(name), "attributeName"), std::slice::from_ref(name));
        }
    }
}
