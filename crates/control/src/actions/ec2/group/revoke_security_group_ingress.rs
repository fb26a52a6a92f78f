//! RevokeSecurityGroupIngress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn revoke_security_group_ingress(
    tx: &mut Tx<Tenant>,
    req: ec2::RevokeSecurityGroupIngressRequest,
) -> Result<ec2::RevokeSecurityGroupIngressResult> {
    let ec2::RevokeSecurityGroupIngressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        group_name,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        security_group_rule_ids,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, group_name)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let drafts = rules::revoked_drafts(tx, &group, &security_group_rule_ids, ip_permissions, flat)?;
    let (revoked, unknown_ip_permissions) = rules::revoke(tx, group, false, &security_group_rule_ids, drafts)?;
    Ok(ec2::RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        unknown_ip_permissions,
        revoked_security_group_rules: revoked,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rule_goes_by_its_id_and_only_with_its_own_group() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let rule = Cloud::smtp_rule(&group);
        let made = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &rule).expect("adds");
        let id = Cloud::ids(&made, "securityGroupRuleId").remove(0);
        let by_id = [("GroupId", group.as_str()), ("SecurityGroupRuleId.1", id.as_str())];
        let foreign = cloud.tenant("other").call("RevokeSecurityGroupIngress", &by_id).expect_err("foreign");
        assert!(foreign.starts_with("InvalidGroup.NotFound"), "{foreign}");
        let other = cloud.tenant("acme").call("RevokeSecurityGroupEgress", &by_id).expect_err("an ingress rule");
        assert!(other.starts_with("InvalidSecurityGroupRuleId.NotFound"), "{other}");
        let both = [("GroupId", group.as_str()), ("SecurityGroupRuleId.1", id.as_str()), ("FromPort", "25")];
        let refusal = cloud.tenant("acme").call("RevokeSecurityGroupIngress", &both).expect_err("named twice");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
        cloud.tenant("acme").call("RevokeSecurityGroupIngress", &by_id).expect("removes");
        let twice = cloud.tenant("acme").call("RevokeSecurityGroupIngress", &by_id).expect_err("gone");
        assert!(twice.starts_with("InvalidSecurityGroupRuleId.NotFound"), "{twice}");
    }
}
