//! GetDefaultCreditSpecification.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{credits, metadata};
use crate::error::Result;

pub fn get_default_credit_specification(
    tx: &mut Tx<Tenant>,
    req: ec2::GetDefaultCreditSpecificationRequest,
) -> Result<ec2::GetDefaultCreditSpecificationResult> {
    let ec2::GetDefaultCreditSpecificationRequest { dry_run: _, instance_family } = req;
    let family = credits::family(tx, instance_family)?;
    let chosen = metadata::account(tx).credits_of(&family);
    let instance_family_credit_specification = credits::family_shown(&family, chosen);
    Ok(ec2::GetDefaultCreditSpecificationResult { instance_family_credit_specification })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_family_of_burstable_types_has_a_default() {
        let mut cloud = Cloud::new();
        let mut ask =
            |family: &str| cloud.tenant("acme").call("GetDefaultCreditSpecification", &[("InstanceFamily", family)]);
        assert_eq!(Cloud::ids(&ask("t2").expect("answers"), "cpuCredits"), ["standard"]);
        assert_eq!(Cloud::ids(&ask("t3").expect("answers"), "cpuCredits"), ["unlimited"]);
        assert!(ask("m5").expect_err("not burstable").starts_with("InvalidParameterValue"));
    }
}
