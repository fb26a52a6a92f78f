//! How much hosts keep of an account's disks for its snapshots, added up as that changes: what they cost.
//!
//! Those in the recycle bin cost like others. What several snapshots hold alike is counted once, what only volumes begin as is not, nor is what lies below in another
//! account's snapshot or came with an image of everybody's.
//!
//! **Invariant:** [`note`] runs at the end of every transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::ImageId;
use awan_model::import::Content;
use awan_model::recycle_bin::Binned;
use awan_model::snapshot::{Bytes, Phase, Snapshot, SnapshotUsage};
use awan_state::{Home, Ref, System, Tx};

use crate::recycle_bin;

/// What meter events call it.
pub fn resource(home: &Home) -> String {
    format!("snapshots-{}-{}", home.account(), home.region())
}

/// Writes the sums that this transaction changed.
pub fn note(tx: &mut Tx<System>) {
    let of_snapshot = |s: &Arc<Snapshot>| (s.phase, s.bytes.clone());
    let of_content = |c: &Arc<Content>| (c.kept_bytes(), c.below().cloned());
    let mut homes = BTreeSet::new();
    for (before, after) in recycle_bin::changed::<Snapshot>(tx) {
        if before.as_ref().map(of_snapshot) != after.as_ref().map(of_snapshot) {
            homes.extend(before.or(after).map(|snapshot| snapshot.home.clone()));
        }
    }
    for (before, after) in tx.changed::<Content>() {
        if before.as_ref().map(of_content) != after.as_ref().map(of_content) {
            homes.extend(before.or(after).map(|content| content.home.clone()));
        }
    }
    for home in homes {
        write(tx, &home);
    }
}

/// The sums of all accounts, of a store whose last program did not add them up.
pub fn recount(tx: &mut Tx<System>) {
    let homes: BTreeSet<_> = recycle_bin::all::<Snapshot>(tx).iter().map(|snapshot| snapshot.home.clone()).collect();
    for home in homes {
        write(tx, &home);
    }
}

fn write(tx: &mut Tx<System>, home: &Home) {
    let at = Ref::<SnapshotUsage>::new(home, &SnapshotUsage::ID.into());
    let (old, bytes) = (tx.find_at(&at), bytes(tx, home));
    if bytes == 0 {
        tx.remove(&at);
    } else if old.is_none_or(|old| old.bytes != bytes) {
        tx.put(SnapshotUsage { home: home.clone(), id: SnapshotUsage::ID.into(), bytes });
    }
}

/// What an account's snapshots of a region take.
pub fn bytes(tx: &mut Tx<System>, home: &Home) -> u64 {
    let completed = |snapshot: &Snapshot| match &snapshot.bytes {
        Bytes::Image(id) if snapshot.phase == Phase::Completed => Some(id.clone()),
        _ => None,
    };
    let mut roots: Vec<_> = tx.all_in::<Snapshot>(home).iter().filter_map(|snapshot| completed(snapshot)).collect();
    roots.extend(tx.all_in::<Binned<Snapshot>>(home).iter().filter_map(|binned| completed(&binned.what)));
    let (mut counted, mut bytes) = (BTreeSet::<ImageId>::new(), 0_u64);
    for root in roots {
        let mut next = Some(root);
        while let Some(id) = next.filter(|id| !counted.contains(id)) {
            let content = tx.find_in::<Content>(home, &id);
            bytes = bytes.saturating_add(content.as_ref().map_or(0, |content| content.kept_bytes()));
            next = content.and_then(|content| content.below().cloned());
            counted.insert(id);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use awan_model::import::ImportPhase;

    use super::*;
    use crate::testing::Cloud;

    fn sum(cloud: &Cloud) -> u64 {
        let all = cloud.control.db.read(System, Tx::all::<SnapshotUsage>);
        all.iter().map(|usage| usage.bytes).sum()
    }

    #[test]
    fn what_snapshots_hold_is_counted_once_and_as_long_as_one_holds_it() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let mut snapshots = Vec::new();
        for expected in [1_000, 2_000] {
            let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
            snapshots.extend(Cloud::ids(&made, "snapshotId"));
            assert_eq!(sum(&cloud), expected - 1_000, "nothing is kept yet");
            cloud.settle();
            assert_eq!(sum(&cloud), expected);
            cloud.audit();
        }
        let copy = [("SourceSnapshotId", snapshots[1].as_str()), ("SourceRegion", "us-east-1")];
        let copied = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        cloud.settle();
        assert_eq!(sum(&cloud), 2_000, "a copy is of the same bytes");
        snapshots.extend(Cloud::ids(&copied, "snapshotId"));
        // The first goes, and what was overwritten in it with it, once it is merged.
        for (snapshot, expected) in snapshots.iter().zip([1_000, 1_000, 0]) {
            cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", snapshot)]).expect("deletes");
            cloud.settle();
            assert_eq!(sum(&cloud), expected);
            cloud.audit();
        }
        assert!(cloud.contents() > 0, "its volume begins as what was kept");
        let container = ("DiskContainer.Url", "http://192.0.2.1/disk");
        let ask = [("DiskContainer.Format", "raw"), container];
        cloud.tenant("acme").call("ImportSnapshot", &ask).expect("begins");
        cloud.report_content(&ImportPhase::Waiting { size_gib: 1 });
        assert_eq!(sum(&cloud), 0);
        cloud.settle();
        assert_eq!(sum(&cloud), 1 << 30, "an imported disk is as large as its room");
        cloud.audit();
    }

    #[test]
    fn what_is_in_the_recycle_bin_costs_until_it_is_gone() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 1, "");
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let snapshot = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshot)]).expect("deletes");
        assert_eq!(sum(&cloud), 0, "nothing is kept yet");
        cloud.settle();
        assert_eq!(sum(&cloud), 1_000);
        cloud.audit();
        cloud.pass(24 * 60 * 60 * 1000);
        cloud.settle();
        assert_eq!(sum(&cloud), 0);
        cloud.audit();
    }
}
