//! ModifyDefaultCreditSpecification: what launches of a family have in a region where they do not say.
//!
//! Record only: CPU credits are neither metered nor do they throttle anything.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{credits, metadata};
use crate::error::{Result, missing};

pub fn modify_default_credit_specification(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyDefaultCreditSpecificationRequest,
) -> Result<ec2::ModifyDefaultCreditSpecificationResult> {
    let ec2::ModifyDefaultCreditSpecificationRequest { dry_run: _, instance_family, cpu_credits } = req;
    let family = credits::family(tx, instance_family)?;
    let chosen = credits::named(&cpu_credits.ok_or_else(|| missing("CpuCredits"))?)?;
    let instance_family_credit_specification = credits::family_shown(&family, chosen);
    let mut options = metadata::account(tx);
    options.credits.insert(family, chosen);
    tx.put(options);
    Ok(ec2::ModifyDefaultCreditSpecificationResult { instance_family_credit_specification })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn launches_follow_the_default_of_their_account() {
        let mut cloud = Cloud::new();
        let set = [("InstanceFamily", "t3"), ("CpuCredits", "standard")];
        cloud.tenant("acme").call("ModifyDefaultCreditSpecification", &set).expect("sets");
        let credits = |cloud: &mut Cloud, account: &str, ask: &[(&str, &str)]| {
            let id = cloud.tenant(account).run_with(ask).expect("launches").remove(0);
            let ask = [("InstanceId.1", id.as_str())];
            let shown = cloud.tenant(account).call("DescribeInstanceCreditSpecifications", &ask).expect("answers");
            Cloud::ids(&shown, "cpuCredits").remove(0)
        };
        assert_eq!(credits(&mut cloud, "acme", &[]), "standard");
        assert_eq!(credits(&mut cloud, "acme", &[("CreditSpecification.CpuCredits", "unlimited")]), "unlimited");
        assert_eq!(credits(&mut cloud, "other", &[]), "unlimited");
        let wrong = [("InstanceFamily", "t3"), ("CpuCredits", "some")];
        let refusal = cloud.tenant("acme").call("ModifyDefaultCreditSpecification", &wrong).expect_err("unknown");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
    }
}
