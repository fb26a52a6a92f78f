//! CreateRule: what is deleted from now on, and is what the rule says, is kept in the recycle bin.

use std::collections::BTreeMap;

use awan_model::recycle_bin::{RetentionRule, RuleLock};
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::{Result, missing};
use crate::rbin::{
    PENDING, RULES_MAX, View, days, delay_days, described, few_have_its_tags, full, kind, new_id, scope, tag, tags,
    view,
};

pub fn create_rule(tx: &mut Tx<Tenant>, req: rbin::CreateRuleRequest) -> Result<rbin::CreateRuleResponse> {
    let rbin::CreateRuleRequest {
        retention_period,
        description,
        tags: own_tags,
        resource_type,
        resource_tags,
        lock_configuration,
        exclude_resource_tags,
    } = req;
    let kind = kind(resource_type.as_deref())?;
    let days = days(kind, retention_period.ok_or_else(|| missing("RetentionPeriod"))?)?;
    let scope = scope(resource_tags, exclude_resource_tags)?;
    let delay_days = lock_configuration.map(|lock| delay_days(&scope, lock)).transpose()?;
    let lock = delay_days.map(|delay_days| RuleLock { delay_days, unlocked: None });
    let mut given = BTreeMap::new();
    tag(&mut given, own_tags)?;
    let description = described(description)?;
    if tx.list::<RetentionRule>().len() >= RULES_MAX {
        return Err(full(format!("There are {RULES_MAX} retention rules already.")));
    }
    let (home, id, created) = (tx.home().clone(), new_id(tx), tx.now());
    let rule = RetentionRule { home, id, kind, days, description, scope, lock, tags: given, created };
    few_have_its_tags(tx, &rule)?;
    tx.put(rule.clone());
    let View {
        identifier,
        description,
        resource_type,
        retention_period,
        resource_tags,
        exclude_resource_tags,
        status: _,
        lock_configuration,
        lock_state,
        lock_end_time: _,
        rule_arn,
    } = view(&rule, created);
    Ok(rbin::CreateRuleResponse {
        identifier,
        retention_period,
        description,
        tags: tags(&rule),
        resource_type,
        resource_tags,
        status: Some(PENDING.into()),
        lock_configuration,
        lock_state,
        rule_arn,
        exclude_resource_tags,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    const WEEK: &str = r#""RetentionPeriod":{"RetentionPeriodValue":7,"RetentionPeriodUnit":"DAYS"}"#;

    #[test]
    fn a_rule_is_shown_as_it_was_made() {
        let mut cloud = Cloud::new();
        let account = cloud.tenant("acme").account();
        let made = cloud.tenant("acme").rule(&format!(
            r#"{WEEK},"ResourceType":"EBS_SNAPSHOT","Description":"a b","Tags":[{{"Key":"k","Value":"v"}}],
            "ResourceTags":[{{"ResourceTagKey":"a","ResourceTagValue":"1"}},{{"ResourceTagKey":"b"}}]"#
        ));
        let made = made.expect("makes");
        let id = made["Identifier"].as_str().expect("an identifier").to_owned();
        assert_eq!(id.len(), 11);
        let mut expected = serde_json::json!({
            "Identifier": id, "Description": "a b", "ResourceType": "EBS_SNAPSHOT", "Status": "pending",
            "RetentionPeriod": {"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"},
            "ResourceTags": [{"ResourceTagKey": "a", "ResourceTagValue": "1"}, {"ResourceTagKey": "b"}],
            "ExcludeResourceTags": [], "Tags": [{"Key": "k", "Value": "v"}],
            "RuleArn": format!("arn:aws:rbin:us-east-1:{account}:rule/{id}"),
        });
        assert_eq!(made, expected);
        let got = cloud.tenant("acme").rbin("GetRule", &[("identifier", &id)], &[], "").expect("shows");
        let members = expected.as_object_mut().expect("an object");
        members.remove("Tags");
        members.insert("Status".into(), "available".into());
        assert_eq!(got, expected);
    }

    #[test]
    fn what_ec2_refuses_is_refused_and_makes_no_rule() {
        let mut cloud = Cloud::new();
        let kind = r#""ResourceType":"EC2_IMAGE""#;
        let period = |days: &str, unit: &str| {
            format!(r#"{kind},"RetentionPeriod":{{"RetentionPeriodValue":{days},"RetentionPeriodUnit":"{unit}"}}"#)
        };
        let lock = |days: &str| {
            format!(r#""LockConfiguration":{{"UnlockDelay":{{"UnlockDelayValue":{days},"UnlockDelayUnit":"DAYS"}}}}"#)
        };
        let tag = r#"{"ResourceTagKey":"a","ResourceTagValue":"1"}"#;
        for (body, code) in [
            (kind.to_owned(), "MissingParameter"),
            (WEEK.to_owned(), "MissingParameter"),
            (format!(r#"{},"ResourceType":"EBS_VOLUME""#, WEEK.replace('7', "8")), "InvalidParameterValue"),
            (format!(r#"{WEEK},"ResourceType":"INSTANCE""#), "InvalidParameterValue"),
            (period("0", "DAYS"), "InvalidParameterValue"),
            (period("366", "DAYS"), "InvalidParameterValue"),
            (period("7", "HOURS"), "InvalidParameterValue"),
            (format!("{WEEK},{kind},{}", lock("6")), "InvalidParameterValue"),
            (format!("{WEEK},{kind},{}", lock("31")), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},{},"ResourceTags":[{tag}]"#, lock("7")), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},{},"ExcludeResourceTags":[{tag}]"#, lock("7")), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"ResourceTags":[{tag}],"ExcludeResourceTags":[{tag}]"#), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"ExcludeResourceTags":[{}]"#, [tag; 6].join(",")), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"ResourceTags":[{}]"#, [tag; 51].join(",")), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"ResourceTags":[{{"ResourceTagKey":""}}]"#), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"Description":"a\tb""#), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"Description":"{}""#, "a".repeat(256)), "InvalidParameterValue"),
            (format!(r#"{WEEK},{kind},"Tags":[{{"Key":"aws:a","Value":""}}]"#), "InvalidParameterValue"),
        ] {
            let refusal = cloud.tenant("acme").rule(&body).expect_err(&body);
            assert!(refusal.starts_with(code), "{body}: {refusal}");
        }
        let list = |cloud: &mut Cloud| cloud.tenant("acme").rbin("ListRules", &[], &[], &format!("{{{kind}}}"));
        assert_eq!(list(&mut cloud).expect("lists")["Rules"], serde_json::json!([]));
        for _ in 0..5 {
            cloud.tenant("acme").rule(&format!(r#"{WEEK},{kind},"ResourceTags":[{tag}]"#)).expect("makes");
        }
        let refusal = cloud.tenant("acme").rule(&format!(r#"{WEEK},{kind},"ResourceTags":[{tag}]"#));
        assert!(refusal.expect_err("a sixth").starts_with("SERVICE_QUOTA_EXCEEDED"));
        for _ in 5..250 {
            cloud.tenant("acme").rule(&format!("{WEEK},{kind}")).expect("makes");
        }
        let refusal = cloud.tenant("acme").rule(&format!("{WEEK},{kind}")).expect_err("one more");
        assert!(refusal.starts_with("SERVICE_QUOTA_EXCEEDED"), "{refusal}");
        cloud.tenant("other").rule(&format!("{WEEK},{kind}")).expect("has a bin of its own");
    }
}
