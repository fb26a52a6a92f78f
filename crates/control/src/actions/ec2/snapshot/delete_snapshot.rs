//! DeleteSnapshot. Volumes that were made of it live on; an image that is registered of it does not let it go. Where a rule says
//! so, it can be restored.

use awan_model::image::Image;
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::{recycle_bin, sharing};

pub fn delete_snapshot(tx: &mut Tx<Tenant>, req: ec2::DeleteSnapshotRequest) -> Result<()> {
    let ec2::DeleteSnapshotRequest { snapshot_id, dry_run: _ } = req;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let snapshot = sharing::own::<Snapshot>(tx, &id, "snapshot")?;
    let id = &snapshot.id;
    if snapshot.is_locked(tx.now()) {
        return Err(refuse(Code::OperationNotPermitted, format!("The snapshot {id} is locked and cannot be deleted")));
    }
    // Only what is one's own can be registered, so no foreign image can be in the way.
    if let Some(image) = tx.list::<Image>().iter().find(|image| image.snapshots().any(|s| s == id)) {
        let message = format!("The snapshot {id} is currently in use by {}", image.id);
        return Err(refuse(Code::InvalidSnapshotInUse, message));
    }
    recycle_bin::remove_snapshot(tx, &snapshot);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_snapshot_outlives_its_volume_and_goes_when_its_owner_says_so() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let id = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        let ask = [("Owner.1", "self")];
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "snapshotId"), std::slice::from_ref(&id));
        let dry = [("SnapshotId", id.as_str()), ("DryRun", "true")];
        let told = cloud.tenant("acme").call("DeleteSnapshot", &dry).expect_err("a dry run");
        assert!(told.starts_with("DryRunOperation"), "{told}");
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &id)]).expect("deletes");
        let refusal = cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &id)]).expect_err("gone");
        assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{id}' does not exist."));
        cloud.settle();
        cloud.audit();
        assert_eq!(cloud.contents(), 0, "what it held is gone");
    }
}
