//! UpdateSecurityGroupRuleDescriptionsIngress.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::rules;
use crate::error::Result;

pub fn update_security_group_rule_descriptions_ingress(
    tx: &mut Tx<Tenant>,
    req: ec2::UpdateSecurityGroupRuleDescriptionsIngressRequest,
) -> Result<ec2::UpdateSecurityGroupRuleDescriptionsIngressResult> {
    let ec2::UpdateSecurityGroupRuleDescriptionsIngressRequest {
        dry_run: _,
        group_id,
        group_name,
        ip_permissions,
        security_group_rule_descriptions,
    } = req;
    let group = rules::group(tx, group_id, group_name)?;
    rules::describe(tx, group, false, ip_permissions, security_group_rule_descriptions)?;
    Ok(ec2::UpdateSecurityGroupRuleDescriptionsIngressResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rule_is_described_by_its_id_or_by_what_it_says() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let rule = Cloud::smtp_rule(&group);
        let made = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &rule).expect("adds");
        let id = Cloud::ids(&made, "securityGroupRuleId").remove(0);
        let mut call = |account: &str, ask: &[(&str, &str)]| {
            cloud.tenant(account).call("UpdateSecurityGroupRuleDescriptionsIngress", ask)?;
            let shown = cloud.tenant("acme").call("DescribeSecurityGroupRules", &[("SecurityGroupRuleId.1", &id)])?;
            Ok::<_, String>(Cloud::ids(&shown, "description"))
        };
        let by_id = [
            ("GroupId", group.as_str()),
            ("SecurityGroupRuleDescription.1.SecurityGroupRuleId", &id),
            ("SecurityGroupRuleDescription.1.Description", "mail"),
        ];
        assert!(call("other", &by_id).expect_err("foreign").starts_with("InvalidGroup.NotFound"));
        assert_eq!(call("acme", &by_id).expect("describes"), ["mail"]);
        let text = [("IpPermissions.1.IpRanges.1.Description", "post")];
        let by_words: Vec<_> = rule.iter().chain(&text).copied().collect();
        assert_eq!(call("acme", &by_words).expect("describes"), ["post"]);
        assert_eq!(call("acme", &rule).expect("forgets"), Vec::<String>::new());
        let mut other = rule;
        other[2].1 = "24";
        let absent = "InvalidPermission.NotFound: The specified rule does not exist in this security group.";
        assert_eq!(call("acme", &other).expect_err("no such rule"), absent);
        assert!(call("acme", &by_id[..1]).expect_err("nothing").starts_with("MissingParameter"));
    }
}
