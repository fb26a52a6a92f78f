//! DescribeFleets. A fleet of type instant, and there are no others, is shown to who names it only.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::describe::{Filters, Page};
use crate::error::Result;

const FILTERS: &[&str] =
    &["activity-status", "excess-capacity-termination-policy", "fleet-state", "replace-unhealthy-instances", "type"];

pub fn describe_fleets(tx: &mut Tx<Tenant>, req: ec2::DescribeFleetsRequest) -> Result<ec2::DescribeFleetsResult> {
    let ec2::DescribeFleetsRequest { dry_run: _, max_results, next_token, fleet_ids, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page = Page::new(tx, "DescribeFleets", (max_results, next_token.as_deref()), (1, 1000), false)?;
    let mut found = fleet_ids.iter().map(|id| shown::fleet(tx, id)).collect::<Result<Vec<_>>>()?;
    found.dedup_by(|a, b| a.id == b.id);
    let (found, next_token) = page.cut(found, |fleet| fleet.id.clone());
    let mut fleets = Vec::new();
    for fleet in found {
        let one = shown::described(tx, &fleet)?;
        let values = |name: &str| match name {
            "activity-status" => vec![shown::ACTIVITY.into()],
            "excess-capacity-termination-policy" => one.excess_capacity_termination_policy.iter().cloned().collect(),
            // Filters have the states with other dashes than answers.
            "fleet-state" => one.fleet_state.iter().flat_map(|s| [s.clone(), s.replace('_', "-")]).collect(),
            "replace-unhealthy-instances" => vec!["false".into()],
            _ => vec!["instant".into()],
        };
        if filters.match_all(values) {
            fleets.push(one);
        }
    }
    Ok(ec2::DescribeFleetsResult { next_token, fleets })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_fleet_that_is_not_there_is_told_by_its_code() {
        let mut cloud = Cloud::new();
        for (id, code) in [
            ("fleet-00000000-0000-4000-8000-000000000000", "InvalidFleetId.NotFound"),
            ("fleet-0123", "InvalidFleetId.Malformed"),
        ] {
            let refusal = cloud.tenant("acme").call("DescribeFleets", &[("FleetId.1", id)]).expect_err(id);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let shown = cloud.tenant("acme").call("DescribeFleets", &[]).expect("answers");
        assert!(shown.contains("<fleetSet/>"), "{shown}");
    }
}
