//! DescribeInstanceCreditSpecifications: of the instances that are named, or of all with unlimited credits.

use awan_model::id::InstanceId;
use awan_model::instance::Instance;
use awan_model::options::Credits;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{credits, view};
use crate::describe::{Filters, Page};
use crate::error::{Result, invalid};

const FILTERS: &[&str] = &["instance-id"];
const IDS_MAX: usize = 1_000;

pub fn describe_instance_credit_specifications(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceCreditSpecificationsRequest,
) -> Result<ec2::DescribeInstanceCreditSpecificationsResult> {
    let ec2::DescribeInstanceCreditSpecificationsRequest { dry_run: _, filters, instance_ids, max_results, next_token } =
        req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !instance_ids.is_empty();
    if instance_ids.len() > IDS_MAX {
        return Err(invalid(format!("A request can name at most {IDS_MAX} instances")));
    }
    let asked = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeInstanceCreditSpecifications", asked, (5, 1000), named)?;
    let found = if named { view::by_ids(tx, &instance_ids)? } else { tx.list::<Instance>() };
    let mut kept = Vec::new();
    for instance in found {
        match credits::of(tx, &instance) {
            None if named => return Err(credits::not_supported(&instance)),
            Some(chosen)
                if (named || chosen == Credits::Unlimited) && filters.match_all(|_| vec![instance.id.to_string()]) =>
            {
                kept.push((instance.id.clone(), chosen));
            }
            _ => {}
        }
    }
    let (kept, next_token) = page.cut(kept, |(id, _)| id.clone());
    let shown = |(id, chosen): (InstanceId, Credits)| ec2::InstanceCreditSpecification {
        instance_id: Some(id.to_string()),
        cpu_credits: Some(chosen.as_str().into()),
    };
    let instance_credit_specifications = kept.into_iter().map(shown).collect();
    Ok(ec2::DescribeInstanceCreditSpecificationsResult { instance_credit_specifications, next_token })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn all_that_are_unlimited_are_shown_or_those_that_are_named() {
        let mut cloud = Cloud::new();
        let unlimited = cloud.tenant("acme").launch();
        let standard = [("CreditSpecification.CpuCredits", "standard")];
        let standard = cloud.tenant("acme").run_with(&standard).expect("launches").remove(0);
        let large = cloud.tenant("acme").run_with(&[("InstanceType", "m5.large")]).expect("launches").remove(0);
        let mut ask = |ask: &[(&str, &str)]| cloud.tenant("acme").call("DescribeInstanceCreditSpecifications", ask);
        assert_eq!(Cloud::ids(&ask(&[]).expect("answers"), "instanceId"), [unlimited]);
        let shown = ask(&[("InstanceId.1", &standard)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "cpuCredits"), ["standard"]);
        let refusal = ask(&[("InstanceId.1", &large)]).expect_err("has none");
        assert!(refusal.starts_with("InstanceCreditSpecification.NotSupported"), "{refusal}");
    }
}
