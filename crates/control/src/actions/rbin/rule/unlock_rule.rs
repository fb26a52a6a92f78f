//! UnlockRule: it can be changed when the delay is over that it was locked with.

use awan_model::recycle_bin::{LockState, RetentionRule, RuleLock};
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::{View, rule, view, wrong_state};

pub fn unlock_rule(tx: &mut Tx<Tenant>, req: rbin::UnlockRuleRequest) -> Result<rbin::UnlockRuleResponse> {
    let rbin::UnlockRuleRequest { identifier } = req;
    let (old, now) = (rule(tx, identifier.as_deref())?, tx.now());
    let Some(lock) = old.lock.as_ref().filter(|lock| lock.state(now) == LockState::Locked) else {
        return Err(wrong_state(format!("The retention rule '{}' is not locked.", old.id)));
    };
    let lock = RuleLock { unlocked: Some(now), ..lock.clone() };
    let rule = RetentionRule { lock: Some(lock), ..(*old).clone() };
    tx.put(rule.clone());
    let View {
        identifier,
        description,
        resource_type,
        retention_period,
        resource_tags,
        exclude_resource_tags,
        status,
        lock_configuration,
        lock_state,
        lock_end_time,
        rule_arn,
    } = view(&rule, now);
    Ok(rbin::UnlockRuleResponse {
        identifier,
        description,
        resource_type,
        retention_period,
        resource_tags,
        status,
        lock_configuration,
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
    fn a_rule_that_was_locked_is_changed_when_the_delay_is_over_and_not_before() {
        let mut cloud = Cloud::new();
        let lock = r#","LockConfiguration":{"UnlockDelay":{"UnlockDelayValue":7,"UnlockDelayUnit":"DAYS"}}"#;
        let id = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, lock);
        let ask = |cloud: &mut Cloud, action: &str, body: &str| {
            cloud.tenant("acme").rbin(action, &[("identifier", &id)], &[], body)
        };
        let refused = |cloud: &mut Cloud| {
            for (action, body) in [("UpdateRule", r#"{"Description":"a"}"#), ("DeleteRule", "")] {
                let refusal = ask(cloud, action, body).expect_err(action);
                assert!(refusal.starts_with("INVALID_RULE_STATE"), "{refusal}");
            }
        };
        assert_eq!(ask(&mut cloud, "GetRule", "").expect("shows")["LockState"], "locked");
        refused(&mut cloud);
        let told = ask(&mut cloud, "UnlockRule", "").expect("unlocks");
        let week = 7 * 24 * 60 * 60 * 1000;
        assert_eq!((&told["LockState"], &told["LockEndTime"]), (&"pending_unlock".into(), &(1_796_126_400.0).into()));
        assert!(ask(&mut cloud, "UnlockRule", "").expect_err("twice").starts_with("INVALID_RULE_STATE"));
        cloud.pass(week - 1);
        refused(&mut cloud);
        cloud.pass(1);
        let shown = ask(&mut cloud, "GetRule", "").expect("shows");
        assert_eq!((&shown["LockState"], &shown["LockEndTime"]), (&"unlocked".into(), &serde_json::Value::Null));
        ask(&mut cloud, "UpdateRule", r#"{"Description":"a"}"#).expect("updates");
        ask(&mut cloud, "DeleteRule", "").expect("deletes");
    }
}
