//! ListRules: those of one kind that have the tags and the state which a request names.

use awan_model::recycle_bin::{LockState, RetentionRule, Scope, TagPattern};
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::describe::{Page, plain_token, unplain_token};
use crate::error::{Result, invalid};
use crate::rbin::{View, kind, patterns, view};

const LOCK_STATES: [&str; 3] = ["locked", "pending_unlock", "unlocked"];

pub fn list_rules(tx: &mut Tx<Tenant>, req: rbin::ListRulesRequest) -> Result<rbin::ListRulesResponse> {
    let rbin::ListRulesRequest {
        max_results,
        next_token,
        resource_type,
        resource_tags,
        lock_state: wanted_state,
        exclude_resource_tags,
    } = req;
    let kind = kind(resource_type.as_deref())?;
    let tagged = patterns(resource_tags, 50, "ResourceTags")?;
    let except = patterns(exclude_resource_tags, 5, "ExcludeResourceTags")?;
    if wanted_state.as_deref().is_some_and(|state| !LOCK_STATES.contains(&state)) {
        return Err(invalid(format!("LockState is one of {}.", LOCK_STATES.join(", "))));
    }
    let token = next_token.as_deref().map(unplain_token);
    let page =
        Page::new(tx, &format!("ListRules {}", kind.as_str()), (max_results, token.as_deref()), (1, 1000), false)?;
    let now = tx.now();
    let fits = |rule: &RetentionRule| {
        let state = rule.lock_state(now).map(LockState::as_str);
        rule.kind == kind
            && has(&rule.scope, &tagged, &except)
            && (wanted_state.is_none() || wanted_state.as_deref() == state)
    };
    let mut all = tx.list::<RetentionRule>();
    all.retain(|rule| fits(rule));
    let (some, next) = page.cut(all, |rule| rule.id.clone());
    Ok(rbin::ListRulesResponse {
        rules: some.iter().map(|rule| summary(rule, now)).collect(),
        next_token: next.as_deref().map(plain_token),
    })
}

/// Whether all of these tags are a rule's.
fn has(scope: &Scope, tagged: &[TagPattern], except: &[TagPattern]) -> bool {
    let none: &[TagPattern] = &[];
    let (own, left_out) = match scope {
        Scope::Tagged(all) => (all.as_slice(), none),
        Scope::Region { except } => (none, except.as_slice()),
    };
    tagged.iter().all(|tag| own.contains(tag)) && except.iter().all(|tag| left_out.contains(tag))
}

fn summary(rule: &RetentionRule, now: awan_state::Millis) -> rbin::RuleSummary {
    let View { identifier, description, retention_period, lock_state, rule_arn, .. } = view(rule, now);
    rbin::RuleSummary { identifier, description, retention_period, lock_state, rule_arn }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn rules_come_in_pages_by_kind_tags_and_state() {
        let mut cloud = Cloud::new();
        let tag = |key: &str| format!(r#"[{{"ResourceTagKey":"{key}","ResourceTagValue":"1"}}]"#);
        let lock = r#","LockConfiguration":{"UnlockDelay":{"UnlockDelayValue":7,"UnlockDelayUnit":"DAYS"}}"#;
        let image = cloud.tenant("acme").keep("EC2_IMAGE", 1, "");
        let tagged = cloud.tenant("acme").keep("EBS_SNAPSHOT", 2, &format!(r#","ResourceTags":{}"#, tag("a")));
        let except = cloud.tenant("acme").keep("EBS_SNAPSHOT", 3, &format!(r#","ExcludeResourceTags":{}"#, tag("b")));
        let locked = cloud.tenant("acme").keep("EBS_SNAPSHOT", 4, lock);
        let ask = |cloud: &mut Cloud, who: &str, kind: &str, more: &str| {
            let body = format!(r#"{{"ResourceType":"{kind}"{more}}}"#);
            let told = cloud.tenant(who).rbin("ListRules", &[], &[], &body)?;
            let rules = told["Rules"].as_array().expect("a list").iter();
            let ids: Vec<String> = rules.map(|rule| rule["Identifier"].as_str().expect("has one").to_owned()).collect();
            Ok::<_, String>((ids, told["NextToken"].as_str().map(str::to_owned)))
        };
        let mut all = vec![tagged.clone(), except.clone(), locked.clone()];
        all.sort();
        for (who, kind, more, expected) in [
            ("acme", "EC2_IMAGE", String::new(), vec![image]),
            ("acme", "EBS_SNAPSHOT", String::new(), all.clone()),
            ("acme", "EBS_SNAPSHOT", format!(r#","ResourceTags":{}"#, tag("a")), vec![tagged]),
            ("acme", "EBS_SNAPSHOT", format!(r#","ResourceTags":{}"#, tag("b")), vec![]),
            ("acme", "EBS_SNAPSHOT", format!(r#","ExcludeResourceTags":{}"#, tag("b")), vec![except]),
            ("acme", "EBS_SNAPSHOT", r#","LockState":"locked""#.to_owned(), vec![locked]),
            ("acme", "EBS_SNAPSHOT", r#","LockState":"unlocked""#.to_owned(), vec![]),
            ("other", "EBS_SNAPSHOT", String::new(), vec![]),
        ] {
            assert_eq!(ask(&mut cloud, who, kind, &more), Ok((expected, None)), "{who} {kind} {more}");
        }
        let (first, token) = ask(&mut cloud, "acme", "EBS_SNAPSHOT", r#","MaxResults":2"#).expect("lists");
        let token = token.expect("there is more");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)), "{token}");
        let next = format!(r#","NextToken":"{token}""#);
        let (rest, end) = ask(&mut cloud, "acme", "EBS_SNAPSHOT", &next).expect("goes on");
        assert_eq!(([first, rest].concat(), end), (all, None));
        for (kind, more, code) in [
            ("EC2_IMAGE", next.as_str(), "InvalidNextToken"),
            ("EC2_IMAGE", r#","MaxResults":0"#, "InvalidParameterValue"),
            ("EC2_IMAGE", r#","LockState":"open""#, "InvalidParameterValue"),
            ("x", "", "InvalidParameterValue"),
        ] {
            let refusal = ask(&mut cloud, "acme", kind, more).expect_err(more);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
