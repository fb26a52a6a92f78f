//! DescribeFleetInstances: those that a fleet launched and that are not terminated.

use awan_model::instance::{Health, VmReport};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::describe::{Filters, Page};
use crate::error::{Result, missing};

pub fn describe_fleet_instances(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeFleetInstancesRequest,
) -> Result<ec2::DescribeFleetInstancesResult> {
    let ec2::DescribeFleetInstancesRequest { dry_run: _, max_results, next_token, fleet_id, filters } = req;
    let filters = Filters::new(&filters, &["instance-type"])?;
    let page = Page::new(tx, "DescribeFleetInstances", (max_results, next_token.as_deref()), (1, 1000), false)?;
    let fleet = shown::fleet(tx, &fleet_id.ok_or_else(|| missing("FleetId"))?)?;
    let mut found = shown::running(tx, &fleet);
    found.retain(|i| filters.match_all(|_| vec![i.instance_type.clone()]));
    let (found, next_token) = page.cut(found, |i| i.id.clone());
    let active_instances = found
        .iter()
        .map(|i| {
            let health = tx.find::<VmReport>(&i.id).map(|report| report.health);
            let health = if health == Some(Health::Impaired) { "unhealthy" } else { "healthy" };
            ec2::ActiveInstance {
                instance_id: Some(i.id.to_string()),
                instance_type: Some(i.instance_type.clone()),
                spot_instance_request_id: None,
                instance_health: Some(health.into()),
            }
        })
        .collect();
    Ok(ec2::DescribeFleetInstancesResult { active_instances, next_token, fleet_id: Some(fleet.id.clone()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_instances_of_nobodys_fleet_are_not_there() {
        let mut cloud = Cloud::new();
        let ask = [("FleetId", "fleet-00000000-0000-4000-8000-000000000000")];
        let refusal = cloud.tenant("acme").call("DescribeFleetInstances", &ask).expect_err("not there");
        assert!(refusal.starts_with("InvalidFleetId.NotFound"), "{refusal}");
    }
}
