//! CreateSnapshot: what a volume holds at one moment after the request and before its host is done, which is soon.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::SnapshotId;
use awan_model::recycle_bin::Binned;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_snapshots::shown;
use crate::error::{Code, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::{bytes, tagging};

/// EC2's quota is 100,000; here all of them are kept in memory.
const SNAPSHOTS_MAX: usize = 10_000;
const DESCRIPTION_MAX: usize = 255;

pub fn create_snapshot(tx: &mut Tx<Tenant>, req: ec2::CreateSnapshotRequest) -> Result<ec2::Snapshot> {
    let ec2::CreateSnapshotRequest { description, outpost_arn, volume_id, tag_specifications, location, dry_run: _ } =
        req;
    refuse_if(outpost_arn.is_some(), "OutpostArn")?;
    regional(location.as_deref())?;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    let tags = tagging::specified(&tag_specifications, "snapshot", &["snapshot"])?;
    room_for(tx, 1)?;
    let description = described(description)?;
    let snapshot = of_volumes(tx, &[volume], |_| description.clone())?.remove(0);
    tagging::add(tx, snapshot.id.as_str(), &tags)?;
    Ok(shown(&snapshot, tags))
}

/// There are no local zones.
pub fn regional(location: Option<&str>) -> Result<()> {
    match location {
        None | Some("regional") => Ok(()),
        Some("local") => refuse_if(true, "Location"),
        Some(other) => Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "Location")),
    }
}

pub fn described(description: Option<String>) -> Result<String> {
    let description = description.unwrap_or_default();
    if description.chars().count() > DESCRIPTION_MAX {
        return Err(invalid(format!("A description has at most {DESCRIPTION_MAX} characters")));
    }
    Ok(description)
}

pub fn room_for(tx: &mut Tx<Tenant>, more: usize) -> Result<()> {
    let there = tx.list::<Snapshot>().len() + tx.list::<Binned<Snapshot>>().len();
    if there + more > SNAPSHOTS_MAX {
        return Err(refuse(Code::SnapshotLimitExceeded, "The maximum number of snapshots has been reached."));
    }
    Ok(())
}

/// A snapshot with what it takes from nobody: its owner, its id, and that it is private.
pub fn new(tx: &mut Tx<Tenant>, size_gib: u32, description: String, bytes: Bytes) -> Snapshot {
    Snapshot {
        home: tx.home().clone(),
        id: SnapshotId::made(tx.new_id(SnapshotId::PREFIX)),
        volume: None,
        size_gib,
        description,
        bytes,
        phase: Phase::Completed,
        encrypted: false,
        copy_of: None,
        public: false,
        blocked: false,
        shared_with: BTreeSet::new(),
        lock: None,
        started: tx.now(),
        upload: None,
    }
}

/// Of all of them at one moment, in their order.
pub fn of_volumes(
    tx: &mut Tx<Tenant>,
    volumes: &[Arc<Volume>],
    description: impl Fn(&Volume) -> String,
) -> Result<Vec<Snapshot>> {
    let taken = bytes::take(tx, volumes)?;
    let mut snapshots = Vec::new();
    for (volume, (bytes, phase)) in volumes.iter().zip(taken) {
        let blank = new(tx, volume.size_gib, description(volume), bytes);
        let snapshot = Snapshot { volume: Some(volume.id.clone()), phase, encrypted: volume.key.is_some(), ..blank };
        tx.put(snapshot.clone());
        snapshots.push(snapshot);
    }
    Ok(snapshots)
}

#[cfg(test)]
mod tests {
    use awan_model::import::Merged;
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn what_a_volume_held_is_kept_as_long_as_something_begins_as_it() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let mut snapshots = Vec::new();
        for _ in 0..2 {
            let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
            assert_eq!(Cloud::ids(&made, "status"), ["pending"]);
            snapshots.push(Cloud::ids(&made, "snapshotId").remove(0));
        }
        let with = |cloud: &mut Cloud, name, value| {
            let ask = [("Owner.1", "self"), ("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant("acme").call("DescribeSnapshots", &ask).expect("answers");
            Cloud::ids(&shown, "snapshotId").len()
        };
        let all = [("status", "pending"), ("status", "completed"), ("progress", "0%"), ("progress", "100%")];
        assert_eq!(all.map(|(name, value)| with(&mut cloud, name, value)), [2, 0, 2, 0]);
        cloud.settle();
        assert_eq!(all.map(|(name, value)| with(&mut cloud, name, value)), [0, 2, 0, 2]);
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("Owner.1", "self")]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "status"), ["completed", "completed"]);
        let layers = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            let mut volumes = plans.values().flat_map(|plan| &plan.volumes);
            let of = volumes.find(|planned| planned.id.as_str() == volume);
            of.map(|of| of.layers.iter().map(|layer| (layer.generation, layer.kept)).collect::<Vec<_>>())
        };
        assert_eq!(layers(&cloud), Some(vec![(1, true), (2, true)]));
        // The volume is a child of the second, and that of the first.
        for snapshot in &snapshots {
            cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", snapshot)]).expect("deletes");
        }
        cloud.settle();
        assert_eq!((layers(&cloud), cloud.contents()), (Some(vec![(2, true)]), 1), "their files have become one");
        cloud.audit();
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let last = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.settle();
        assert_eq!((layers(&cloud), cloud.contents()), (None, 1), "the snapshot outlives its volume");
        cloud.audit();
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &last)]).expect("deletes");
        cloud.settle();
        assert_eq!(cloud.contents(), 0);
        cloud.audit();
    }

    #[test]
    fn a_volume_has_any_number_of_snapshots_and_is_read_through_few_files() {
        any_number(&mut Cloud::new());
    }

    #[test]
    fn so_has_one_that_is_encrypted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        any_number(&mut cloud);
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("Owner.1", "self")]).expect("answers");
        assert!(Cloud::ids(&shown, "encrypted").iter().all(|encrypted| encrypted == "true"), "{shown}");
    }

    fn any_number(cloud: &mut Cloud) {
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let snapshot = |cloud: &mut Cloud| cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]);
        // Faster than their host can merge, there are no more than are read in a reasonable time.
        for _ in 0..128 {
            snapshot(cloud).expect("makes");
        }
        let refusal = snapshot(cloud).expect_err("too fast");
        assert!(refusal.starts_with("SnapshotCreationPerVolumeRateExceeded: "), "{refusal}");
        let depth = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
            plans.values().flat_map(|plan| &plan.volumes).map(|planned| planned.layers.len()).max()
        };
        for _ in 0..4 {
            for _ in 0..16 {
                cloud.settle();
            }
            assert!(depth(cloud) <= Some(21), "{:?}", depth(cloud));
            cloud.audit();
            for _ in 0..50 {
                snapshot(cloud).expect("makes");
            }
        }
        cloud.settle();
        assert_eq!(cloud.contents(), 328, "all of them stay");
        cloud.audit();
    }

    #[test]
    fn what_cannot_be_merged_keeps_no_other_from_it_and_is_tried_again() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        for (full, minutes) in [(true, 10), (false, 24 * 60)] {
            cloud.unmerged = Some(Merged::Failed { why: "no".into(), full });
            let all = cloud.contents() + 3;
            for _ in 0..3 {
                cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
                cloud.settle();
            }
            for snapshot in cloud.snapshots("acme") {
                cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshot)]).expect("deletes");
            }
            cloud.settle();
            assert_eq!(cloud.contents(), all, "nothing was merged, and nothing waits for it");
            cloud.unmerged = None;
            cloud.pass(minutes * 60_000 - 1);
            cloud.settle();
            assert_eq!(cloud.contents(), all, "{full}");
            cloud.pass(1);
            cloud.settle();
            assert_eq!(cloud.contents(), 1, "{full}");
            cloud.audit();
        }
    }

    #[test]
    fn a_snapshot_tells_of_its_volume_and_only_to_its_owner() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let ask = [
            ("VolumeId", volume.as_str()),
            ("Description", "nightly"),
            ("TagSpecification.1.ResourceType", "snapshot"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "one"),
        ];
        let made = cloud.tenant("acme").call("CreateSnapshot", &ask).expect("makes");
        assert!(made.contains("<description>nightly</description>") && made.contains("<value>one</value>"), "{made}");
        assert_eq!(Cloud::ids(&made, "volumeId"), std::slice::from_ref(&volume));
        let id = Cloud::ids(&made, "snapshotId").remove(0);
        let refusal = cloud.tenant("other").call("CreateSnapshot", &ask).expect_err("a foreign volume");
        assert_eq!(refusal, format!("InvalidVolume.NotFound: The volume '{volume}' does not exist."));
        for action in ["DescribeSnapshots", "DeleteSnapshot"] {
            let key = if action == "DeleteSnapshot" { "SnapshotId" } else { "SnapshotId.1" };
            let refusal = cloud.tenant("other").call(action, &[(key, &id)]).expect_err("a foreign snapshot");
            assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{id}' does not exist."));
        }
        for (key, value, code) in [
            ("VolumeId", "vol-1", "InvalidVolumeID.Malformed"),
            ("Location", "local", "UnsupportedOperation"),
            ("Location", "moon", "InvalidParameterValue"),
            ("OutpostArn", "arn:x", "UnsupportedOperation"),
        ] {
            let mut ask: Vec<_> = ask.iter().copied().filter(|(k, _)| *k != key).collect();
            ask.push((key, value));
            let refusal = cloud.tenant("acme").call("CreateSnapshot", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        cloud.audit();
    }
}
