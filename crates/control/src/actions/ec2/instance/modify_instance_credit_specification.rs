//! ModifyInstanceCreditSpecification: each instance by itself; the answer says of which it went wrong.
//!
//! Record only: CPU credits are neither metered nor do they throttle anything.

use awan_model::instance::Instance;
use awan_model::options::{Credits, Options};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::credits;
use super::modify_instance_attribute::must_be_there;
use crate::error::{Error, Result, missing};

pub fn modify_instance_credit_specification(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstanceCreditSpecificationRequest,
) -> Result<ec2::ModifyInstanceCreditSpecificationResult> {
    // The same change twice is the same change, so the token has nothing to prevent.
    let ec2::ModifyInstanceCreditSpecificationRequest { dry_run: _, client_token: _, instance_credit_specifications } =
        req;
    if instance_credit_specifications.is_empty() {
        return Err(missing("InstanceCreditSpecification"));
    }
    let mut wanted = Vec::new();
    for ec2::InstanceCreditSpecificationRequest { instance_id, cpu_credits } in instance_credit_specifications {
        let id = instance_id.ok_or_else(|| missing("InstanceCreditSpecification.InstanceId"))?;
        let name = cpu_credits.ok_or_else(|| missing("InstanceCreditSpecification.CpuCredits"))?;
        wanted.push((id, credits::named(&name)?));
    }
    let mut answer = ec2::ModifyInstanceCreditSpecificationResult::default();
    for (id, chosen) in wanted {
        match set(tx, &id, chosen) {
            Ok(()) => answer
                .successful_instance_credit_specifications
                .push(ec2::SuccessfulInstanceCreditSpecificationItem { instance_id: Some(id) }),
            Err(Error::Refusal(refusal)) => {
                let error = ec2::UnsuccessfulInstanceCreditSpecificationItemError {
                    code: Some(refusal.code.into()),
                    message: Some(refusal.message),
                };
                let item =
                    ec2::UnsuccessfulInstanceCreditSpecificationItem { instance_id: Some(id), error: Some(error) };
                answer.unsuccessful_instance_credit_specifications.push(item);
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(answer)
}

fn set(tx: &mut Tx<Tenant>, id: &str, chosen: Credits) -> Result<()> {
    let instance = tx.get::<Instance>(&id.parse()?)?;
    must_be_there(tx, &instance)?;
    credits::of(tx, &instance).ok_or_else(|| credits::not_supported(&instance))?;
    let options = Options { credits: Some(chosen), ..instance.options.clone() };
    tx.put(Instance { options, ..(*instance).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_cannot_be_changed_is_told_by_instance() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let large = cloud.tenant("acme").run_with(&[("InstanceType", "m5.large")]).expect("launches").remove(0);
        let foreign = cloud.tenant("other").run();
        let names: Vec<_> = (1..=4)
            .map(|n| {
                let of = |member: &str| format!("InstanceCreditSpecification.{n}.{member}");
                (of("InstanceId"), of("CpuCredits"))
            })
            .collect();
        let ids = [id.as_str(), &large, &foreign, "x"];
        let ask: Vec<_> =
            names.iter().zip(ids).flat_map(|((i, c), id)| [(i.as_str(), id), (c.as_str(), "standard")]).collect();
        let answer = cloud.tenant("acme").call("ModifyInstanceCreditSpecification", &ask).expect("answers");
        assert_eq!(
            Cloud::ids(&answer, "code"),
            ["InstanceCreditSpecification.NotSupported", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"]
        );
        let shown = cloud
            .tenant("acme")
            .call("DescribeInstanceCreditSpecifications", &[("InstanceId.1", &id)])
            .expect("answers");
        assert_eq!(Cloud::ids(&shown, "cpuCredits"), ["standard"]);
    }
}
