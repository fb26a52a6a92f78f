//! DescribeSecurityGroupReferences: VPCs on the other side of a connection whose rules name a group. Rules here name
//! groups of their own VPC only, so no other VPC does.

use awan_model::group::SecurityGroup;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};

pub fn describe_security_group_references(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSecurityGroupReferencesRequest,
) -> Result<ec2::DescribeSecurityGroupReferencesResult> {
    let ec2::DescribeSecurityGroupReferencesRequest { dry_run: _, group_id } = req;
    if group_id.is_empty() {
        return Err(missing("GroupId"));
    }
    for id in &group_id {
        tx.get::<SecurityGroup>(&id.parse()?)?;
    }
    Ok(ec2::DescribeSecurityGroupReferencesResult::default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn no_other_vpc_names_a_group() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let mut ask =
            |account: &str| cloud.tenant(account).call("DescribeSecurityGroupReferences", &[("GroupId.1", &group)]);
        assert!(Cloud::ids(&ask("acme").expect("answers"), "groupId").is_empty());
        assert!(ask("other").expect_err("foreign").starts_with("InvalidGroup.NotFound"));
    }
}
