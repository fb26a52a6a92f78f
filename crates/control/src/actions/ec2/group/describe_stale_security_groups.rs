//! DescribeStaleSecurityGroups. A rule is stale when it names a group beyond a connection that is gone; rules here name
//! groups of their own VPC, and a group that is named cannot be deleted, so none ever is.

use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Page;
use crate::error::{Result, missing};

pub fn describe_stale_security_groups(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeStaleSecurityGroupsRequest,
) -> Result<ec2::DescribeStaleSecurityGroupsResult> {
    let ec2::DescribeStaleSecurityGroupsRequest { dry_run: _, max_results, next_token, vpc_id } = req;
    tx.get::<Vpc>(&vpc_id.ok_or_else(|| missing("VpcId"))?.parse()?)?;
    Page::new(tx, "DescribeStaleSecurityGroups", (max_results, next_token.as_deref()), (5, 255), false)?;
    Ok(ec2::DescribeStaleSecurityGroupsResult::default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn no_rule_is_stale() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let mut ask = |account: &str| cloud.tenant(account).call("DescribeStaleSecurityGroups", &[("VpcId", &vpc)]);
        assert!(Cloud::ids(&ask("acme").expect("answers"), "groupId").is_empty());
        assert!(ask("other").expect_err("foreign").starts_with("InvalidVpcID.NotFound"));
    }
}
