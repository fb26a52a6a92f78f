//! RestoreSnapshotFromRecycleBin: as it was, and for whom it was.

use awan_model::image::SnapshotAccess;
use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_snapshots;
use crate::error::{Result, missing};
use crate::{recycle_bin, sharing};

pub fn restore_snapshot_from_recycle_bin(
    tx: &mut Tx<Tenant>,
    req: ec2::RestoreSnapshotFromRecycleBinRequest,
) -> Result<ec2::RestoreSnapshotFromRecycleBinResult> {
    let ec2::RestoreSnapshotFromRecycleBinRequest { snapshot_id, dry_run: _ } = req;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let binned = recycle_bin::find::<Snapshot>(tx, &id)?;
    // What was chosen about public snapshots meanwhile holds for it too.
    let blocked = sharing::access(tx).snapshots == SnapshotAccess::BlockAll;
    let snapshot = Snapshot { blocked, ..binned.what.clone() };
    recycle_bin::restore(tx, snapshot.clone());
    let ec2::Snapshot {
        snapshot_id,
        description,
        encrypted,
        owner_id,
        progress,
        start_time,
        state,
        volume_id,
        volume_size,
        ..
    } = describe_snapshots::shown(&snapshot, Vec::new());
    Ok(ec2::RestoreSnapshotFromRecycleBinResult {
        snapshot_id,
        outpost_arn: None,
        description,
        encrypted,
        owner_id,
        progress,
        start_time,
        state,
        volume_id,
        volume_size,
        sse_type: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    /// A snapshot of a machine's root.
    fn snapshot(cloud: &mut Cloud) -> String {
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        Cloud::ids(&made, "snapshotId").remove(0)
    }

    fn ask(cloud: &mut Cloud, action: &str, id: &str) -> Result<String, String> {
        cloud.tenant("acme").call(action, &[("SnapshotId", id)])
    }

    fn binned(cloud: &mut Cloud) -> Vec<String> {
        Cloud::ids(&cloud.tenant("acme").call("ListSnapshotsInRecycleBin", &[]).expect("lists"), "snapshotId")
    }

    #[test]
    fn what_is_in_the_bin_is_no_snapshot_until_it_is_restored_with_all_that_it_had() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let id = snapshot(&mut cloud);
        cloud.settle();
        let other = cloud.tenant("other").account();
        let tag = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "1")];
        cloud.tenant("acme").call("CreateTags", &tag).expect("tags");
        let share = [("SnapshotId", id.as_str()), ("OperationType", "add"), ("UserId.1", &other)];
        cloud.tenant("acme").call("ModifySnapshotAttribute", &share).expect("shares");
        let shown =
            |cloud: &mut Cloud, who: &str| cloud.tenant(who).call("DescribeSnapshots", &[("SnapshotId.1", &id)]);
        let before = shown(&mut cloud, "acme").expect("shows");
        assert!(ask(&mut cloud, "RestoreSnapshotFromRecycleBin", &id).expect_err("is not there").contains("NotFound"));
        ask(&mut cloud, "DeleteSnapshot", &id).expect("deletes");
        cloud.settle();
        cloud.audit();
        assert_eq!((binned(&mut cloud), cloud.contents()), (vec![id.clone()], 1));
        let zone = ("AvailabilityZone", "us-east-1a");
        let copy = [("SourceSnapshotId", id.as_str()), ("SourceRegion", "us-east-1")];
        for (who, action, ask) in [
            ("acme", "DescribeSnapshots", &[("SnapshotId.1", id.as_str())][..]),
            ("other", "DescribeSnapshots", &[("SnapshotId.1", &id)]),
            ("acme", "DeleteSnapshot", &[("SnapshotId", &id)]),
            ("acme", "CreateVolume", &[("SnapshotId", &id), zone]),
            ("other", "CreateVolume", &[("SnapshotId", &id), zone]),
            ("acme", "CopySnapshot", &copy),
            ("acme", "ModifySnapshotAttribute", &share),
            ("acme", "LockSnapshot", &[("SnapshotId", &id), ("LockMode", "governance"), ("LockDuration", "1")]),
            ("other", "RestoreSnapshotFromRecycleBin", &[("SnapshotId", &id)]),
        ] {
            let refusal = cloud.tenant(who).call(action, ask).expect_err(action);
            assert!(refusal.starts_with("InvalidSnapshot.NotFound"), "{who} {action}: {refusal}");
        }
        let blocks = cloud.tenant("acme").ebs("ListSnapshotBlocks", &[("snapshotId", &id)], &[], &[], b"");
        assert!(blocks.expect_err("is gone").starts_with("InvalidSnapshot.NotFound"));
        let tags = |cloud: &mut Cloud| {
            let ask = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", id.as_str())];
            Cloud::ids(&cloud.tenant("acme").call("DescribeTags", &ask).expect("answers"), "key")
        };
        assert_eq!(tags(&mut cloud), ["a", "aws:recycle-bin:resource-in-bin"]);
        let more = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "b"), ("Tag.1.Value", "2")];
        cloud.tenant("acme").call("CreateTags", &more).expect("can be tagged");
        cloud.tenant("acme").call("DeleteTags", &more).expect("and not");
        assert!(cloud.tenant("other").call("CreateTags", &more).expect_err("another's").contains("NotFound"));
        let told = ask(&mut cloud, "RestoreSnapshotFromRecycleBin", &id).expect("restores");
        assert_eq!(
            (Cloud::ids(&told, "status"), Cloud::ids(&told, "snapshotId")),
            (vec!["completed".into()], vec![id.clone()])
        );
        let inside = |xml: &str| xml.split_once("<snapshotSet>").map(|(_, rest)| rest.to_owned());
        let after = shown(&mut cloud, "acme").expect("shows");
        assert_eq!(inside(&after), inside(&before), "its tags too");
        shown(&mut cloud, "other").expect("is shared again");
        assert!(binned(&mut cloud).is_empty());
        cloud.tenant("acme").call("CreateVolume", &[("SnapshotId", &id), zone]).expect("makes a volume of it");
        cloud.audit();
    }

    #[test]
    fn the_rule_that_keeps_longest_at_the_deletion_says_how_long() {
        let mut cloud = Cloud::new();
        let short = cloud.tenant("acme").keep("EBS_SNAPSHOT", 1, "");
        let tagged = r#","ResourceTags":[{"ResourceTagKey":"keep","ResourceTagValue":"long"}]"#;
        let long = cloud.tenant("acme").keep("EBS_SNAPSHOT", 3, tagged);
        cloud.tenant("acme").keep("EC2_IMAGE", 300, "");
        let (plain, kept) = (snapshot(&mut cloud), snapshot(&mut cloud));
        let tag = [("ResourceId.1", kept.as_str()), ("Tag.1.Key", "keep"), ("Tag.1.Value", "long")];
        cloud.tenant("acme").call("CreateTags", &tag).expect("tags");
        for id in [&plain, &kept] {
            ask(&mut cloud, "DeleteSnapshot", id).expect("deletes");
        }
        // It was not complete yet, and becomes so.
        cloud.settle();
        for instance in cloud.tenant("acme").instances() {
            cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        }
        cloud.settle();
        cloud.audit();
        for rule in [&short, &long] {
            cloud.tenant("acme").rbin("DeleteRule", &[("identifier", rule)], &[], "").expect("deletes");
        }
        cloud.pass(DAY - 1);
        cloud.settle();
        assert_eq!(binned(&mut cloud).len(), 2);
        cloud.pass(1);
        assert_eq!(binned(&mut cloud), [kept.as_str()], "even before it is swept");
        assert!(ask(&mut cloud, "RestoreSnapshotFromRecycleBin", &plain).expect_err("is over").contains("NotFound"));
        cloud.settle();
        cloud.audit();
        assert_eq!(cloud.contents(), 1);
        let told = ask(&mut cloud, "RestoreSnapshotFromRecycleBin", &kept).expect("restores");
        assert_eq!(Cloud::ids(&told, "status"), ["completed"]);
        cloud.pass(3 * DAY);
        cloud.settle();
        assert_eq!((cloud.snapshots("acme"), cloud.contents()), (vec![kept.clone()], 1), "it is no more in the bin");
        ask(&mut cloud, "DeleteSnapshot", &kept).expect("is deleted for good");
        cloud.settle();
        assert_eq!((binned(&mut cloud).len(), cloud.contents()), (0, 0));
        let tags = cloud.tenant("acme").call("DescribeTags", &[]).expect("answers");
        assert!(Cloud::ids(&tags, "key").is_empty(), "{tags}");
        cloud.audit();
    }

    #[test]
    fn what_is_not_matched_locked_or_never_whole_is_not_kept() {
        let mut cloud = Cloud::new();
        let except = r#","ExcludeResourceTags":[{"ResourceTagKey":"scratch"}]"#;
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, except);
        let id = snapshot(&mut cloud);
        cloud.tenant("acme").call("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "scratch")]).expect("tags");
        let lock = [("SnapshotId", id.as_str()), ("LockMode", "governance"), ("LockDuration", "1")];
        cloud.tenant("acme").call("LockSnapshot", &lock).expect("locks");
        let refusal = ask(&mut cloud, "DeleteSnapshot", &id).expect_err("is locked");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        ask(&mut cloud, "UnlockSnapshot", &id).expect("unlocks");
        ask(&mut cloud, "DeleteSnapshot", &id).expect("deletes");
        let started = cloud.started("acme", 1);
        ask(&mut cloud, "DeleteSnapshot", &started).expect("deletes");
        assert!(binned(&mut cloud).is_empty());
        let written = cloud.written("acme", 1, &[0]);
        ask(&mut cloud, "DeleteSnapshot", &written).expect("deletes");
        assert_eq!(binned(&mut cloud), [written]);
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn a_restored_snapshot_is_as_hidden_as_all_others_are_now() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        let id = snapshot(&mut cloud);
        let public = [("SnapshotId", id.as_str()), ("OperationType", "add"), ("UserGroup.1", "all")];
        cloud.tenant("acme").call("ModifySnapshotAttribute", &public).expect("is public");
        ask(&mut cloud, "DeleteSnapshot", &id).expect("deletes");
        cloud.tenant("acme").call("EnableSnapshotBlockPublicAccess", &[("State", "block-all-sharing")]).expect("hides");
        ask(&mut cloud, "RestoreSnapshotFromRecycleBin", &id).expect("restores");
        assert!(cloud.tenant("other").call("DescribeSnapshots", &[("SnapshotId.1", &id)]).is_err());
        cloud.tenant("acme").call("DisableSnapshotBlockPublicAccess", &[]).expect("shows");
        cloud.tenant("other").call("DescribeSnapshots", &[("SnapshotId.1", &id)]).expect("sees");
        cloud.settle();
        cloud.audit();
    }
}
