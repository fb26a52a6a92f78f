//! DeletePlacementGroup: of a group that no instance is in.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::placement_group::PlacementGroup;
use awan_model::tag::Tags;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_placement_groups::by_name;
use crate::error::{Code, Result, missing, refuse};

pub fn delete_placement_group(tx: &mut Tx<Tenant>, req: ec2::DeletePlacementGroupRequest) -> Result<()> {
    let ec2::DeletePlacementGroupRequest { dry_run: _, group_name } = req;
    let group = by_name(tx, &group_name.ok_or_else(|| missing("groupName"))?)?;
    for instance in tx.list::<Instance>().iter().filter(|i| i.options.group.as_ref() == Some(&group.id)) {
        let report = tx.find::<VmReport>(&instance.id);
        if state(instance, report.as_deref()) != State::Terminated {
            let message =
                format!("The placement group '{}' is in use and may not be deleted.", group.name.escape_debug());
            return Err(refuse(Code::InvalidPlacementGroupInUse, message));
        }
    }
    tx.remove::<PlacementGroup>(&group.id);
    tx.remove::<Tags>(&group.id.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_group_goes_after_its_instances() {
        let mut cloud = Cloud::new();
        let named = [("GroupName", "g")];
        cloud.tenant("acme").call("CreatePlacementGroup", &[named[0], ("Strategy", "spread")]).expect("makes");
        let id = cloud.tenant("acme").run_with(&[("Placement.GroupName", "g")]).expect("launches").remove(0);
        cloud.settle();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        let refusal = cloud.tenant("acme").call("DeletePlacementGroup", &named).expect_err("is shutting down");
        assert_eq!(refusal, "InvalidPlacementGroup.InUse: The placement group 'g' is in use and may not be deleted.");
        cloud.settle();
        let refusal = cloud.tenant("other").call("DeletePlacementGroup", &named).expect_err("foreign");
        assert!(refusal.starts_with("InvalidPlacementGroup.Unknown"), "{refusal}");
        cloud.tenant("acme").call("DeletePlacementGroup", &named).expect("deletes");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        assert!(shown.contains("<groupName/>") || shown.contains("<groupName></groupName>"), "{shown}");
        cloud.audit();
    }
}
