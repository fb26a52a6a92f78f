//! DeregisterImage. Instances that were launched from it live on. Where a rule says so, it can be restored.

use std::collections::BTreeSet;

use awan_model::id::{ImageId, SnapshotId};
use awan_model::image::{Image, Protection};
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::{recycle_bin, sharing};

pub fn deregister_image(tx: &mut Tx<Tenant>, req: ec2::DeregisterImageRequest) -> Result<ec2::DeregisterImageResult> {
    let ec2::DeregisterImageRequest { image_id, delete_associated_snapshots, dry_run: _ } = req;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let protected = match image.details.protection {
        Protection::Off => false,
        Protection::On | Protection::OnWithCooldown => true,
        Protection::Cooling(until) => tx.now() < until,
    };
    if protected {
        let message = format!("The image '{id}' is protected from deregistration.");
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    recycle_bin::remove_image(tx, &image);
    let mut results = Vec::new();
    if delete_associated_snapshots == Some(true) {
        let snapshots: BTreeSet<_> = image.snapshots().cloned().collect();
        results.extend(snapshots.iter().map(|snapshot| delete(tx, &id, snapshot)));
    }
    Ok(ec2::DeregisterImageResult { r#return: Some(true), delete_snapshot_results: results })
}

fn delete(tx: &mut Tx<Tenant>, gone: &ImageId, id: &SnapshotId) -> ec2::DeleteSnapshotReturnCode {
    let used = tx.list::<Image>().iter().any(|image| image.id != *gone && image.snapshots().any(|s| s == id));
    let now = tx.now();
    let code = match tx.find::<Snapshot>(id) {
        None => "missing-permissions",
        Some(_) if used => "skipped",
        Some(snapshot) if snapshot.is_locked(now) => "client-error",
        Some(snapshot) => {
            recycle_bin::remove_snapshot(tx, &snapshot);
            "success"
        }
    };
    ec2::DeleteSnapshotReturnCode { snapshot_id: Some(id.to_string()), return_code: Some(code.into()) }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_image_takes_its_snapshots_along_if_it_is_told_to() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let mut made = Vec::new();
        for name in ["one", "two"] {
            let ask = [("InstanceId", instance.as_str()), ("Name", name), ("NoReboot", "true")];
            let image = cloud.tenant("acme").call("CreateImage", &ask).expect("makes");
            made.push(Cloud::ids(&image, "imageId").remove(0));
        }
        let own = [("Owner.1", "self")];
        let count = |cloud: &mut Cloud| {
            Cloud::ids(&cloud.tenant("acme").call("DescribeSnapshots", &own).expect("answers"), "snapshotId").len()
        };
        assert_eq!(count(&mut cloud), 2);
        cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &made[0])]).expect("goes");
        assert_eq!(count(&mut cloud), 2);
        let ask = [("ImageId", made[1].as_str()), ("DeleteAssociatedSnapshots", "true")];
        let gone = cloud.tenant("acme").call("DeregisterImage", &ask).expect("goes");
        assert_eq!(Cloud::ids(&gone, "returnCode"), ["success"], "{gone}");
        assert_eq!(count(&mut cloud), 1);
        let refusal = cloud.tenant("acme").call("DeregisterImage", &ask).expect_err("gone");
        assert!(refusal.starts_with("InvalidAMIID.NotFound"), "{refusal}");
        let public = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let refusal = cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &Cloud::ids(&public, "imageId")[0])]);
        assert!(refusal.expect_err("another's").starts_with("AuthFailure"));
        cloud.audit();
    }
}
