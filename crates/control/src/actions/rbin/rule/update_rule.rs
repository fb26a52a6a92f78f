//! UpdateRule: for what is deleted from now on. What is in the bin stays there as long as it was to.

use awan_model::recycle_bin::{RetentionRule, Scope};
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::{Result, invalid};
use crate::rbin::{PENDING, View, changeable, days, described, few_have_its_tags, scope, view};

pub fn update_rule(tx: &mut Tx<Tenant>, req: rbin::UpdateRuleRequest) -> Result<rbin::UpdateRuleResponse> {
    let rbin::UpdateRuleRequest {
        identifier,
        retention_period,
        description,
        resource_type,
        resource_tags,
        exclude_resource_tags,
    } = req;
    let old = changeable(tx, identifier.as_deref())?;
    if resource_type.is_some_and(|kind| kind != old.kind.as_str()) {
        return Err(invalid("The ResourceType of a retention rule can't be changed."));
    }
    let mut rule = RetentionRule::clone(&old);
    if let Some(period) = retention_period {
        rule.days = days(rule.kind, period)?;
    }
    rule.description = described(description)?.or(rule.description);
    let is_tagged = matches!(rule.scope, Scope::Tagged(_));
    if (is_tagged && !exclude_resource_tags.is_empty()) || (!is_tagged && !resource_tags.is_empty()) {
        return Err(invalid("Tag-level rules have ResourceTags, Region-level rules ExcludeResourceTags."));
    }
    if !resource_tags.is_empty() || !exclude_resource_tags.is_empty() {
        rule.scope = scope(resource_tags, exclude_resource_tags)?;
        few_have_its_tags(tx, &rule)?;
    }
    tx.put(rule.clone());
    let View {
        identifier,
        description,
        resource_type,
        retention_period,
        resource_tags,
        exclude_resource_tags,
        status: _,
        lock_configuration: _,
        lock_state,
        lock_end_time,
        rule_arn,
    } = view(&rule, tx.now());
    Ok(rbin::UpdateRuleResponse {
        identifier,
        retention_period,
        description,
        resource_type,
        resource_tags,
        status: Some(PENDING.into()),
        lock_state,
        lock_end_time,
        rule_arn,
        exclude_resource_tags,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_a_request_names_is_changed_and_no_more() {
        let mut cloud = Cloud::new();
        let tags = r#","Description":"old","ResourceTags":[{"ResourceTagKey":"a","ResourceTagValue":"1"}]"#;
        let tagged = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, tags);
        let all = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let mut update =
            |id: &str, body: &str| cloud.tenant("acme").rbin("UpdateRule", &[("identifier", id)], &[], body);
        let two = r#"{"RetentionPeriod":{"RetentionPeriodValue":2,"RetentionPeriodUnit":"DAYS"}}"#;
        let told = update(&tagged, two).expect("updates");
        assert_eq!((&told["Status"], &told["Description"]), (&"pending".into(), &"old".into()));
        assert_eq!(told["RetentionPeriod"]["RetentionPeriodValue"], 2);
        let one = r#"[{"ResourceTagKey":"b","ResourceTagValue":"2"}]"#;
        let told = update(&tagged, &format!(r#"{{"Description":"new","ResourceTags":{one}}}"#)).expect("updates");
        assert_eq!((&told["Description"], &told["ResourceTags"][0]["ResourceTagKey"]), (&"new".into(), &"b".into()));
        let told = update(&all, &format!(r#"{{"ExcludeResourceTags":{one}}}"#)).expect("updates");
        assert_eq!(told["ExcludeResourceTags"][0]["ResourceTagValue"], "2");
        for (id, body) in [
            (&tagged, format!(r#"{{"ExcludeResourceTags":{one}}}"#)),
            (&all, format!(r#"{{"ResourceTags":{one}}}"#)),
            (&all, r#"{"ResourceType":"EC2_IMAGE"}"#.to_owned()),
            (&all, two.replace('2', "400")),
        ] {
            let refusal = update(id, &body).expect_err(&body);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        let shown = cloud.tenant("acme").rbin("GetRule", &[("identifier", &tagged)], &[], "").expect("shows");
        assert_eq!(shown["RetentionPeriod"]["RetentionPeriodValue"], 2);
    }
}
