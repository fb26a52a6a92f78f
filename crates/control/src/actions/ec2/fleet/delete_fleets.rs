//! DeleteFleets: each by itself, with its instances. A deleted fleet is shown for two days.

use awan_model::fleet::Fleet;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shown;
use crate::actions::ec2::instance::terminate_instances::terminate_instances;
use crate::error::{Error, Result, invalid, missing};

/// Source: DeleteFleets, EC2 API reference: instant fleets of one request.
const FLEETS_MAX: usize = 25;

pub fn delete_fleets(tx: &mut Tx<Tenant>, req: ec2::DeleteFleetsRequest) -> Result<ec2::DeleteFleetsResult> {
    let ec2::DeleteFleetsRequest { dry_run: _, fleet_ids, terminate_instances } = req;
    let terminate = terminate_instances.ok_or_else(|| missing("TerminateInstances"))?;
    if fleet_ids.is_empty() {
        return Err(missing("FleetId"));
    }
    if fleet_ids.len() > FLEETS_MAX {
        return Err(invalid(format!("At most {FLEETS_MAX} fleets of type instant can be deleted at once")));
    }
    let mut result = ec2::DeleteFleetsResult::default();
    for id in fleet_ids {
        match tx.attempt(|tx| delete(tx, &id, terminate)) {
            Ok(done) => result.successful_fleet_deletions.push(done),
            Err(Error::Refusal(refusal)) => {
                let code = match refusal.code {
                    "InvalidFleetId.NotFound" => "fleetIdDoesNotExist",
                    "InvalidFleetId.Malformed" => "fleetIdMalformed",
                    _ => "fleetNotInDeletableState",
                };
                result.unsuccessful_fleet_deletions.push(ec2::DeleteFleetErrorItem {
                    error: Some(ec2::DeleteFleetError { code: Some(code.into()), message: Some(refusal.message) }),
                    fleet_id: Some(id),
                });
            }
            Err(fault @ Error::Fault(_)) => return Err(fault),
        }
    }
    Ok(result)
}

fn delete(tx: &mut Tx<Tenant>, id: &str, terminate: bool) -> Result<ec2::DeleteFleetSuccessItem> {
    let fleet = shown::fleet(tx, id)?;
    if !terminate {
        return Err(invalid("A fleet of type instant is deleted with its instances: TerminateInstances must be true"));
    }
    let before = shown::state_of(tx, &fleet);
    let running = shown::running(tx, &fleet);
    if !running.is_empty() {
        let instance_ids = running.iter().map(|i| i.id.to_string()).collect();
        terminate_instances(tx, ec2::TerminateInstancesRequest { instance_ids, ..Default::default() })?;
    }
    let deleted = fleet.deleted.or(Some(tx.now()));
    let fleet = Fleet { deleted, ..(*fleet).clone() };
    let after = shown::state_of(tx, &fleet);
    tx.put(fleet);
    Ok(ec2::DeleteFleetSuccessItem {
        current_fleet_state: Some(after.into()),
        previous_fleet_state: Some(before.into()),
        fleet_id: Some(id.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_fleet_goes_with_its_instances_and_each_by_itself() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "amazon")]).expect("answers");
        let image = Cloud::ids(&shown, "imageId").remove(0);
        let ask = [("LaunchTemplateName", "web"), ("LaunchTemplateData.ImageId", image.as_str())];
        cloud.tenant("acme").call("CreateLaunchTemplate", &ask).expect("makes");
        let ask = [
            ("Type", "instant"),
            ("TargetCapacitySpecification.TotalTargetCapacity", "2"),
            ("TargetCapacitySpecification.DefaultTargetCapacityType", "on-demand"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "web"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "1"),
        ];
        let made = cloud.tenant("acme").call("CreateFleet", &ask).expect("launches");
        let id = Cloud::ids(&made, "fleetId").remove(0);
        cloud.settle();
        let which = [("FleetId.1", id.as_str()), ("FleetId.2", "fleet-1"), ("TerminateInstances", "true")];
        let theirs = cloud.tenant("other").call("DeleteFleets", &which).expect("tells");
        assert_eq!(Cloud::ids(&theirs, "code"), ["fleetIdDoesNotExist", "fleetIdMalformed"]);
        let done = cloud.tenant("acme").call("DeleteFleets", &which).expect("deletes one");
        assert_eq!(Cloud::ids(&done, "currentFleetState"), ["deleted_terminating"], "{done}");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeFleets", &[("FleetId.1", &id)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "fleetState"), ["deleted"]);
        let left = cloud.tenant("acme").call("DescribeFleetInstances", &[("FleetId", &id)]).expect("answers");
        assert!(left.contains("<activeInstanceSet/>"), "{left}");
        let since = [("FleetId", id.as_str()), ("StartTime", "2026-01-01T00:00:00Z")];
        let told = cloud.tenant("acme").call("DescribeFleetHistory", &since).expect("answers");
        let kinds = Cloud::ids(&told, "eventSubType");
        assert_eq!(kinds, ["submitted", "active", "launched", "launched", "deleted"], "{told}");
        cloud.audit();
    }
}
