//! GetRule.

use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::{View, rule, view};

pub fn get_rule(tx: &mut Tx<Tenant>, req: rbin::GetRuleRequest) -> Result<rbin::GetRuleResponse> {
    let rbin::GetRuleRequest { identifier } = req;
    let (rule, now) = (rule(tx, identifier.as_deref())?, tx.now());
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
    Ok(rbin::GetRuleResponse {
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
    fn a_rule_is_its_accounts_own() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let mut get = |who: &str, id: &str| cloud.tenant(who).rbin("GetRule", &[("identifier", id)], &[], "");
        assert_eq!(get("acme", &id).expect("shows")["RetentionPeriod"]["RetentionPeriodValue"], 7);
        for (who, id, code) in [
            ("other", id.as_str(), "RULE_NOT_FOUND: The retention rule"),
            ("acme", "00000000000", "RULE_NOT_FOUND: The retention rule '00000000000' does not exist."),
            ("acme", "a/b", "InvalidParameterValue"),
            ("acme", "", "InvalidParameterValue"),
        ] {
            let refusal = get(who, id).expect_err(id);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
