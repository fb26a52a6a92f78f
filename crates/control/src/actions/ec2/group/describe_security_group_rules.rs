//! DescribeSecurityGroupRules.

use std::collections::BTreeSet;

use awan_model::group::SecurityGroup;
use awan_model::id::RuleId;
use awan_state::{Missing, Tenant, Tx};
use awan_wire::ec2;

use super::{beyond, rules};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

pub fn describe_security_group_rules(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSecurityGroupRulesRequest,
) -> Result<ec2::DescribeSecurityGroupRulesResult> {
    let ec2::DescribeSecurityGroupRulesRequest {
        filters,
        security_group_rule_ids,
        dry_run: _,
        next_token,
        max_results,
    } = req;
    let filters = Filters::new(&filters, &["tag:*", "group-id", "security-group-rule-id"])?;
    let named = !security_group_rule_ids.is_empty();
    let page = Page::new(tx, "DescribeSecurityGroupRules", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut wanted = BTreeSet::new();
    for id in &security_group_rule_ids {
        let id: RuleId = id.parse()?;
        if tx.lookup(SecurityGroup::BY_RULE, id.as_str()).is_none() {
            let message = format!("The security group rule ID '{id}' does not exist");
            return Err(Missing { code: "InvalidSecurityGroupRuleId.NotFound", message }.into());
        }
        wanted.insert(id);
    }
    let groups = tx.list::<SecurityGroup>();
    let all = groups.iter().flat_map(|g| g.rules.iter().map(|r| (g.clone(), r.clone())));
    let mut kept = Vec::new();
    for (group, rule) in all.filter(|(_, rule)| !named || wanted.contains(&rule.id)) {
        let tags = tagging::of(tx, rule.id.as_str());
        let values = |name: &str| match name {
            "group-id" => vec![group.id.to_string()],
            "security-group-rule-id" => vec![rule.id.to_string()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((group, rule, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(_, rule, _)| rule.id.clone());
    let states = beyond::states(tx, kept.iter().map(|(_, rule, _)| rule));
    let shown = kept.iter().map(|(g, r, tags)| rules::shown(g, r, &states, tagging::shown(tags)));
    let security_group_rules = shown.collect();
    Ok(ec2::DescribeSecurityGroupRulesResult { security_group_rules, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn every_rule_has_an_id() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeSecurityGroupRules", &[]).expect("answers");
        let ids = Cloud::ids(&shown, "securityGroupRuleId");
        assert_eq!(ids.len(), 2);
        let foreign = cloud.tenant("other").call("DescribeSecurityGroupRules", &[("SecurityGroupRuleId.1", &ids[0])]);
        assert!(foreign.expect_err("foreign").starts_with("InvalidSecurityGroupRuleId.NotFound"));
    }
}
