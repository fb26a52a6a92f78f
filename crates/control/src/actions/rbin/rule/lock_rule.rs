//! LockRule: a rule cannot be changed or deleted until some days after it is unlocked. Rules: "Lock a Recycle Bin retention
//! rule" in the EBS User Guide.

use awan_model::recycle_bin::{LockState, RetentionRule, RuleLock};
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::{Result, invalid, missing};
use crate::rbin::{View, delay_days, rule, view, wrong_state};

pub fn lock_rule(tx: &mut Tx<Tenant>, req: rbin::LockRuleRequest) -> Result<rbin::LockRuleResponse> {
    let rbin::LockRuleRequest { identifier, lock_configuration } = req;
    let (old, now) = (rule(tx, identifier.as_deref())?, tx.now());
    let delay_days = delay_days(&old.scope, lock_configuration.ok_or_else(|| missing("LockConfiguration"))?)?;
    if old.lock_state(now) == Some(LockState::Locked) {
        return Err(wrong_state(format!("The retention rule '{}' is locked already.", old.id)));
    }
    // It can be locked again before the delay is over, so a shorter one would be a way around it.
    let pending = old.lock_state(now) == Some(LockState::PendingUnlock);
    if let Some(lock) = old.lock.as_ref().filter(|lock| pending && lock.delay_days != delay_days) {
        let message = format!("The unlock delay of '{}' is {} days and can't be changed.", old.id, lock.delay_days);
        return Err(invalid(message));
    }
    let rule = RetentionRule { lock: Some(RuleLock { delay_days, unlocked: None }), ..(*old).clone() };
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
        lock_end_time: _,
        rule_arn,
    } = view(&rule, now);
    Ok(rbin::LockRuleResponse {
        identifier,
        description,
        resource_type,
        retention_period,
        resource_tags,
        status,
        lock_configuration,
        lock_state,
        rule_arn,
        exclude_resource_tags,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_a_rule_that_keeps_everything_can_be_locked_and_its_delay_stays() {
        let mut cloud = Cloud::new();
        let tag = r#"[{"ResourceTagKey":"a","ResourceTagValue":"1"}]"#;
        let tagged = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, &format!(r#","ResourceTags":{tag}"#));
        let except = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, &format!(r#","ExcludeResourceTags":{tag}"#));
        let all = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let lock = |cloud: &mut Cloud, id: &str, days: u32| {
            let delay = format!(r#"{{"UnlockDelayValue":{days},"UnlockDelayUnit":"DAYS"}}"#);
            let body = format!(r#"{{"LockConfiguration":{{"UnlockDelay":{delay}}}}}"#);
            cloud.tenant("acme").rbin("LockRule", &[("identifier", id)], &[], &body)
        };
        for id in [&tagged, &except] {
            assert!(lock(&mut cloud, id, 7).expect_err("not all").starts_with("InvalidParameterValue"));
        }
        let told = lock(&mut cloud, &all, 7).expect("locks");
        assert_eq!(told["LockState"], "locked");
        assert_eq!(told["LockConfiguration"]["UnlockDelay"]["UnlockDelayValue"], 7);
        assert!(lock(&mut cloud, &all, 7).expect_err("is locked").starts_with("INVALID_RULE_STATE"));
        cloud.tenant("acme").rbin("UnlockRule", &[("identifier", &all)], &[], "").expect("unlocks");
        assert!(lock(&mut cloud, &all, 8).expect_err("another delay").starts_with("InvalidParameterValue"));
        assert_eq!(lock(&mut cloud, &all, 7).expect("locks again")["LockState"], "locked");
        cloud.tenant("acme").rbin("UnlockRule", &[("identifier", &all)], &[], "").expect("unlocks");
        cloud.pass(7 * 24 * 60 * 60 * 1000);
        assert_eq!(lock(&mut cloud, &all, 8).expect("it is as one that never was")["LockState"], "locked");
    }
}
