//! AuthorizeSecurityGroupEgress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules::{self, Flat};
use crate::error::Result;

pub fn authorize_security_group_egress(
    tx: &mut Tx<Tenant>,
    req: ec2::AuthorizeSecurityGroupEgressRequest,
) -> Result<ec2::AuthorizeSecurityGroupEgressResult> {
    let ec2::AuthorizeSecurityGroupEgressRequest {
        cidr_ip: cidr,
        from_port,
        group_id,
        ip_permissions,
        ip_protocol: protocol,
        source_security_group_name: source_group_name,
        source_security_group_owner_id: source_group_owner,
        to_port,
        tag_specifications,
        dry_run: _,
    } = req;
    let group = rules::group(tx, group_id, None)?;
    let flat = Flat { protocol, from_port, to_port, cidr, source_group_name, source_group_owner };
    let drafts = rules::drafts(tx, &group, ip_permissions, flat)?;
    let security_group_rules = rules::authorize(tx, group, true, drafts, &tag_specifications)?;
    Ok(ec2::AuthorizeSecurityGroupEgressResult { r#return: Some(true), security_group_rules })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_egress_rule_is_no_ingress_rule() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let rule = Cloud::smtp_rule(&group);
        let made = cloud.tenant("acme").call("AuthorizeSecurityGroupEgress", &rule).expect("adds");
        assert_eq!(Cloud::ids(&made, "isEgress"), ["true"]);
        let twice = cloud.tenant("acme").call("AuthorizeSecurityGroupEgress", &rule).expect_err("twice");
        assert!(twice.starts_with("InvalidPermission.Duplicate"), "{twice}");
        cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &rule).expect("the other direction is free");
        let foreign = cloud.tenant("other").call("AuthorizeSecurityGroupEgress", &rule).expect_err("foreign");
        assert!(foreign.starts_with("InvalidGroup.NotFound"), "{foreign}");
    }
}
