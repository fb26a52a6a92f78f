//! RevokeSecurityGroupEgress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn revoke_security_group_egress(
    tx: &mut Tx<Tenant>,
    req: ec2::RevokeSecurityGroupEgressRequest,
) -> Result<ec2::RevokeSecurityGroupEgressResult> {
    let ec2::RevokeSecurityGroupEgressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        security_group_rule_ids,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, None)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let drafts = rules::revoked_drafts(tx, &group, &security_group_rule_ids, ip_permissions, flat)?;
    let (revoked, unknown_ip_permissions) = rules::revoke(tx, group, true, &security_group_rule_ids, drafts)?;
    Ok(ec2::RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        unknown_ip_permissions,
        revoked_security_group_rules: revoked,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_rule_that_allows_everything_out_can_go() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let rule = Cloud::smtp_rule(&group);
        let told = cloud.tenant("acme").call("RevokeSecurityGroupEgress", &rule).expect("is no mistake here");
        assert!(told.contains("<unknownIpPermissionSet><item>"), "{told}");
        let all = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ];
        cloud.tenant("acme").call("RevokeSecurityGroupEgress", &all).expect("removes");
        let left = cloud
            .tenant("acme")
            .call("DescribeSecurityGroupRules", &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", &group)]);
        assert_eq!(Cloud::ids(&left.expect("answers"), "isEgress"), ["false"], "the rule among members stays");
    }
}
