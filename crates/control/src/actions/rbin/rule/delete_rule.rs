//! DeleteRule. What is in the bin stays there as long as it was to.

use awan_model::recycle_bin::RetentionRule;
use awan_state::{Tenant, Tx};
use awan_wire::rbin;

use crate::error::Result;
use crate::rbin::changeable;

pub fn delete_rule(tx: &mut Tx<Tenant>, req: rbin::DeleteRuleRequest) -> Result<rbin::DeleteRuleResponse> {
    let rbin::DeleteRuleRequest { identifier } = req;
    let rule = changeable(tx, identifier.as_deref())?;
    tx.remove::<RetentionRule>(&rule.id);
    Ok(rbin::DeleteRuleResponse {})
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_rule_that_is_deleted_is_gone() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").keep("EC2_IMAGE", 7, "");
        let mut delete = |who: &str| cloud.tenant(who).rbin("DeleteRule", &[("identifier", &id)], &[], "");
        assert!(delete("other").expect_err("another's").starts_with("RULE_NOT_FOUND"));
        delete("acme").expect("deletes");
        assert!(delete("acme").expect_err("gone").starts_with("RULE_NOT_FOUND"));
    }
}
