//! ModifySecurityGroupRules: rules keep their ids and say something else. All of them change, or none does.

use awan_model::group::Rule;
use awan_model::id::RuleId;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::beyond;
use super::rules::{self, Draft, Flat};
use crate::error::{Code, Result, combination, invalid, missing, refuse};

pub fn modify_security_group_rules(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifySecurityGroupRulesRequest,
) -> Result<ec2::ModifySecurityGroupRulesResult> {
    let ec2::ModifySecurityGroupRulesRequest { group_id, security_group_rules, dry_run: _ } = req;
    let mut group = rules::group(tx, group_id, None)?;
    if security_group_rules.is_empty() {
        return Err(missing("SecurityGroupRule"));
    }
    if security_group_rules.len() > rules::RULES_MAX * 2 {
        return Err(invalid("More rules are named than a group can have"));
    }
    let mut changed = Vec::new();
    for ec2::SecurityGroupRuleUpdate { security_group_rule_id, security_group_rule } in security_group_rules {
        let id: RuleId = security_group_rule_id.ok_or_else(|| missing("SecurityGroupRuleId"))?.parse()?;
        let at = group.rules.iter().position(|r| r.id == id).ok_or_else(|| rules::no_such_rule(&id))?;
        if changed.contains(&at) {
            return Err(invalid(format!("The security group rule ID '{id}' is given twice")));
        }
        let draft = draft(tx, &group, security_group_rule.unwrap_or_default())?;
        let Draft { traffic, peer, description } = draft;
        if group.rules[at].peer != peer {
            beyond::must_be_there(tx, &peer)?;
        }
        group.rules[at] = Rule { traffic, peer, description, ..group.rules[at].clone() };
        changed.push(at);
    }
    for at in changed {
        let rule = &group.rules[at];
        if group.rules.iter().filter(|other| other.same(rule)).count() > 1 {
            let message = format!("the specified rule \"{}\" already exists", rules::words(rule));
            return Err(refuse(Code::InvalidPermissionDuplicate, message));
        }
    }
    rules::must_have_room(tx, &group)?;
    tx.put(group);
    Ok(ec2::ModifySecurityGroupRulesResult { r#return: Some(true) })
}

fn draft(
    tx: &mut Tx<Tenant>,
    group: &awan_model::group::SecurityGroup,
    rule: ec2::SecurityGroupRuleRequest,
) -> Result<Draft> {
    let ec2::SecurityGroupRuleRequest {
        ip_protocol,
        from_port,
        to_port,
        cidr_ipv4,
        cidr_ipv6,
        prefix_list_id,
        referenced_group_id,
        description,
    } = rule;
    let d = || description.clone();
    let permission = ec2::IpPermission {
        ip_protocol,
        from_port,
        to_port,
        user_id_group_pairs: referenced_group_id
            .map(|id| ec2::UserIdGroupPair { group_id: Some(id), description: d(), ..Default::default() })
            .into_iter()
            .collect(),
        ip_ranges: cidr_ipv4.map(|c| ec2::IpRange { description: d(), cidr_ip: Some(c) }).into_iter().collect(),
        ipv6_ranges: cidr_ipv6.map(|c| ec2::Ipv6Range { description: d(), cidr_ipv6: Some(c) }).into_iter().collect(),
        prefix_list_ids: prefix_list_id
            .map(|id| ec2::PrefixListId { description: d(), prefix_list_id: Some(id) })
            .into_iter()
            .collect(),
    };
    let mut drafts = rules::drafts(tx, group, vec![permission], Flat::default())?;
    match (drafts.pop(), drafts.pop()) {
        (Some(one), None) => Ok(one),
        _ => Err(combination("A security group rule has exactly one source or destination")),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rule_keeps_its_id_and_says_something_else() {
        let mut cloud = Cloud::new();
        let group = cloud.tenant("acme").default_group();
        let made = cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &Cloud::smtp_rule(&group)).expect("adds");
        let id = Cloud::ids(&made, "securityGroupRuleId").remove(0);
        let change = |cloud: &mut Cloud, account: &str, cidr: &str, protocol: &str| {
            let ask = [
                ("GroupId", group.as_str()),
                ("SecurityGroupRule.1.SecurityGroupRuleId", &id),
                ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", protocol),
                ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "443"),
                ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "443"),
                ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", cidr),
                ("SecurityGroupRule.1.SecurityGroupRule.Description", "web"),
            ];
            cloud.tenant(account).call("ModifySecurityGroupRules", &ask)
        };
        let foreign = change(&mut cloud, "other", "10.0.0.0/8", "tcp").expect_err("foreign");
        assert!(foreign.starts_with("InvalidGroup.NotFound"), "{foreign}");
        change(&mut cloud, "acme", "10.0.0.0/8", "tcp").expect("changes");
        let ask = [("SecurityGroupRuleId.1", id.as_str())];
        let shown = cloud.tenant("acme").call("DescribeSecurityGroupRules", &ask).expect("answers");
        for part in ["<fromPort>443</fromPort>", "<cidrIpv4>10.0.0.0/8</cidrIpv4>", "<description>web</description>"] {
            assert!(shown.contains(part), "{shown}");
        }
        let bad = change(&mut cloud, "acme", "10.0.0.0/99", "tcp").expect_err("no range");
        assert!(bad.starts_with("InvalidParameterValue"), "{bad}");
        cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &Cloud::smtp_rule(&group)).expect("is free again");
        let again = [
            ("GroupId", group.as_str()),
            ("SecurityGroupRule.1.SecurityGroupRuleId", id.as_str()),
            ("SecurityGroupRule.1.SecurityGroupRule.IpProtocol", "tcp"),
            ("SecurityGroupRule.1.SecurityGroupRule.FromPort", "25"),
            ("SecurityGroupRule.1.SecurityGroupRule.ToPort", "25"),
            ("SecurityGroupRule.1.SecurityGroupRule.CidrIpv4", "192.0.2.0/24"),
        ];
        let refusal = cloud.tenant("acme").call("ModifySecurityGroupRules", &again).expect_err("is there");
        assert!(refusal.starts_with("InvalidPermission.Duplicate"), "{refusal}");
    }
}
