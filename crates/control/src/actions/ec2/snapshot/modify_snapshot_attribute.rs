//! ModifySnapshotAttribute: who else may make volumes of a snapshot.

use awan_model::image::SnapshotAccess;
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, combination, missing, refuse, refuse_if};
use crate::keys;
use crate::sharing::{self, Change};

pub fn modify_snapshot_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifySnapshotAttributeRequest) -> Result<()> {
    let ec2::ModifySnapshotAttributeRequest {
        attribute,
        create_volume_permission,
        group_names,
        operation_type,
        snapshot_id,
        user_ids,
        dry_run: _,
    } = req;
    refuse_if(attribute.is_some_and(|a| a != "createVolumePermission"), "Attribute")?;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let mut snapshot = (*sharing::own::<Snapshot>(tx, &id, "snapshot")?).clone();
    let ec2::CreateVolumePermissionModifications { add, remove } = create_volume_permission.unwrap_or_default();
    let listed = |list: Vec<ec2::CreateVolumePermission>| {
        list.into_iter().map(|p| sharing::who(p.user_id, p.group)).collect::<Result<Vec<_>>>()
    };
    let flat = Change::flat(operation_type.as_deref(), user_ids, group_names)?;
    let change = flat.and(Change { add: listed(add)?, remove: listed(remove)? });
    if change.is_empty() {
        return Err(missing("CreateVolumePermission"));
    }
    if !change.add.is_empty() && !change.remove.is_empty() {
        return Err(combination("Permissions can be added or removed, not both in one request"));
    }
    let access = sharing::access(tx).snapshots;
    if change.makes_public() && access != SnapshotAccess::Unblocked {
        let message = "You can't publicly share this snapshot because block public access is enabled for this \
                       account and Region.";
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    if snapshot.encrypted && !change.add.is_empty() {
        return Err(keys::cannot_be_shared());
    }
    change.apply(&mut snapshot.public, &mut snapshot.shared_with)?;
    tx.put(snapshot);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_encrypted_is_shared_with_nobody() {
        let mut cloud = Cloud::new();
        let other = cloud.tenant("other").account();
        let ask = [("AvailabilityZone", "us-east-1a"), ("Size", "1"), ("Encrypted", "true")];
        let volume = Cloud::ids(&cloud.tenant("acme").call("CreateVolume", &ask).expect("makes"), "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let snapshot = Cloud::ids(&made, "snapshotId").remove(0);
        let refused = "InvalidParameter: Encrypted snapshots with EBS default key cannot be shared";
        for who in [("UserId.1", other.as_str()), ("UserGroup.1", "all")] {
            let ask = [("SnapshotId", snapshot.as_str()), ("OperationType", "add"), who];
            let refusal = cloud.tenant("acme").call("ModifySnapshotAttribute", &ask).expect_err("is encrypted");
            assert_eq!(refusal, refused);
        }
        let id = cloud.tenant("acme").run_with(&[
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ]);
        let id = id.expect("launches").remove(0);
        let ask = [("InstanceId", id.as_str()), ("Name", "secret"), ("NoReboot", "true")];
        let image = Cloud::ids(&cloud.tenant("acme").call("CreateImage", &ask).expect("makes"), "imageId").remove(0);
        let shown = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &image)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "encrypted"), ["true"]);
        let ask = [("ImageId", image.as_str()), ("LaunchPermission.Add.1.UserId", &other)];
        let refusal = cloud.tenant("acme").call("ModifyImageAttribute", &ask).expect_err("is encrypted");
        assert_eq!(refusal, refused);
        cloud.settle();
        // What is launched from it, and from a copy of it, is encrypted too.
        let ask = [("SourceImageId", image.as_str()), ("SourceRegion", "us-east-1"), ("Name", "copy")];
        let copy = Cloud::ids(&cloud.tenant("acme").call("CopyImage", &ask).expect("copies"), "imageId").remove(0);
        for image in [image, copy] {
            let id = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches").remove(0);
            let of_it = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", id.as_str())];
            let shown = cloud.tenant("acme").call("DescribeVolumes", &of_it).expect("answers");
            assert_eq!(Cloud::ids(&shown, "encrypted"), ["true"]);
        }
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn a_shared_snapshot_is_seen_and_copied_by_those_it_is_shared_with() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let made = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        let own = Cloud::ids(&made, "snapshotId").remove(0);
        let other = cloud.tenant("other").account();
        let by_id = [("SnapshotId.1", own.as_str())];
        let permission = |operation: &'static str, user: &str| {
            [
                ("SnapshotId", own.clone()),
                ("Attribute", "createVolumePermission".into()),
                ("OperationType", operation.into()),
                (if user == "all" { "UserGroup.1" } else { "UserId.1" }, user.to_owned()),
            ]
        };
        let modify = |cloud: &mut Cloud, who: &str, operation: &'static str, user: &str| {
            let ask = permission(operation, user);
            let ask: Vec<_> = ask.iter().map(|(k, v)| (*k, v.as_str())).collect();
            cloud.tenant(who).call("ModifySnapshotAttribute", &ask)
        };
        assert!(cloud.tenant("other").call("DescribeSnapshots", &by_id).is_err());
        modify(&mut cloud, "acme", "add", &other).expect("shares");
        cloud.tenant("other").call("DescribeSnapshots", &by_id).expect("sees");
        assert!(cloud.tenant("third").call("DescribeSnapshots", &by_id).is_err());
        let refusal = modify(&mut cloud, "other", "add", &other).expect_err("is not theirs");
        assert_eq!(refusal, format!("AuthFailure: Not authorized for snapshot:{own}"));
        let refusal = modify(&mut cloud, "third", "add", &other).expect_err("is not there");
        assert!(refusal.starts_with("InvalidSnapshot.NotFound"), "{refusal}");
        let refusal = modify(&mut cloud, "acme", "add", "12").expect_err("no account");
        assert!(refusal.starts_with("InvalidAMIAttributeItemValue"), "{refusal}");
        let mine = [("SourceSnapshotId", own.as_str()), ("SourceRegion", "us-east-1")];
        cloud.tenant("other").call("CopySnapshot", &mine).expect("copies");
        modify(&mut cloud, "acme", "remove", &other).expect("takes it back");
        assert!(cloud.tenant("other").call("DescribeSnapshots", &by_id).is_err());
        modify(&mut cloud, "acme", "add", "all").expect("for everybody");
        cloud.tenant("third").call("DescribeSnapshots", &by_id).expect("sees");
        cloud.tenant("acme").call("EnableSnapshotBlockPublicAccess", &[("State", "block-all-sharing")]).expect("hides");
        assert!(cloud.tenant("third").call("DescribeSnapshots", &by_id).is_err());
        let refusal = modify(&mut cloud, "acme", "add", "all").expect_err("is blocked");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        let state = cloud.tenant("acme").call("GetSnapshotBlockPublicAccessState", &[]).expect("answers");
        assert_eq!(Cloud::ids(&state, "state"), ["block-all-sharing"]);
        cloud.tenant("acme").call("DisableSnapshotBlockPublicAccess", &[]).expect("shows");
        cloud.tenant("third").call("DescribeSnapshots", &by_id).expect("sees again");
        let reset = [("SnapshotId", own.as_str()), ("Attribute", "createVolumePermission")];
        cloud.tenant("acme").call("ResetSnapshotAttribute", &reset).expect("resets");
        assert!(cloud.tenant("third").call("DescribeSnapshots", &by_id).is_err());
        cloud.audit();
    }
}
