//! How much hosts keep of an account's disks for its snapshots, added up as that changes: what they cost.
//!
//! Those in the recycle bin cost like others. What several snapshots hold alike is counted once, what only volumes begin as
//! is not, nor is what came with an image of everybody's. What another account or region has kept, of which this one has a
//! copy or a child, costs there, as long as a snapshot there holds it; then here.
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
    if homes.is_empty() {
        return;
    }
    // What nobody there holds any more costs those who still do.
    let usages = tx.all::<SnapshotUsage>();
    loop {
        let is_next =
            |usage: &&Arc<SnapshotUsage>| !homes.contains(&usage.home) && !usage.elsewhere.is_disjoint(&homes);
        let others: Vec<_> = usages.iter().filter(is_next).map(|usage| usage.home.clone()).collect();
        if others.is_empty() {
            break;
        }
        homes.extend(others);
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
    let (old, new) = (tx.find_at(&at), usage(tx, home));
    if new.bytes == 0 && new.elsewhere.is_empty() {
        tx.remove(&at);
    } else if old.is_none_or(|old| *old != new) {
        tx.put(new);
    }
}

/// What an account's snapshots of a region take.
pub fn bytes(tx: &mut Tx<System>, home: &Home) -> u64 {
    usage(tx, home).bytes
}

fn usage(tx: &mut Tx<System>, home: &Home) -> SnapshotUsage {
    let all = held(tx, home);
    let elsewhere: BTreeSet<Home> = all.iter().map(|content| &content.home).filter(|of| *of != home).cloned().collect();
    let theirs: BTreeSet<ImageId> = elsewhere
        .iter()
        .flat_map(|of| held(tx, of).into_iter().filter(|content| content.home == *of))
        .map(|content| content.id.clone())
        .collect();
    let own = all.iter().filter(|content| content.home == *home || !theirs.contains(&content.id));
    let bytes = own.map(|content| content.kept_bytes()).fold(0, u64::saturating_add);
    SnapshotUsage { home: home.clone(), id: SnapshotUsage::ID.into(), bytes, elsewhere }
}

/// All that an account's snapshots of a region hold, wherever it is from.
fn held(tx: &mut Tx<System>, home: &Home) -> Vec<Arc<Content>> {
    let completed = |snapshot: &Snapshot| match &snapshot.bytes {
        Bytes::Image(id) if snapshot.phase == Phase::Completed => Some(id.clone()),
        _ => None,
    };
    let mut roots: Vec<_> = tx.all_in::<Snapshot>(home).iter().filter_map(|snapshot| completed(snapshot)).collect();
    roots.extend(tx.all_in::<Binned<Snapshot>>(home).iter().filter_map(|binned| completed(&binned.what)));
    let (mut seen, mut held) = (BTreeSet::<ImageId>::new(), Vec::new());
    for root in roots {
        let mut next = Some(root);
        while let Some(id) = next.filter(|id| !seen.contains(id)) {
            let content = tx.find_in::<Content>(home, &id);
            let content = content.or_else(|| tx.find_by::<Content>(Content::INDEX, id.as_str()));
            next = content.as_ref().and_then(|content| content.below().cloned());
            held.extend(content);
            seen.insert(id);
        }
    }
    held
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

    fn of(cloud: &Cloud, account: &str) -> u64 {
        let all = cloud.control.db.read(System, Tx::all::<SnapshotUsage>);
        all.iter().filter(|usage| usage.home.account() == account).map(|usage| usage.bytes).sum()
    }

    /// What one tenant lets another copy.
    fn let_copy(cloud: &mut Cloud, from: &'static str, snapshot: &str, to: &'static str) -> String {
        let account = cloud.tenant(to).account();
        let ask = [("SnapshotId", snapshot), ("Attribute", "createVolumePermission")];
        let ask = [ask[0], ask[1], ("OperationType", "add"), ("UserId.1", account.as_str())];
        cloud.tenant(from).call("ModifySnapshotAttribute", &ask).expect("shares");
        let copy = [("SourceSnapshotId", snapshot), ("SourceRegion", "us-east-1")];
        let copied = cloud.tenant(to).call("CopySnapshot", &copy).expect("copies");
        Cloud::ids(&copied, "snapshotId").remove(0)
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
        // What an account lets another copy costs the other when it has none itself any more.
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let shared = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.settle();
        assert_eq!(sum(&cloud), 1_000, "what went before is part of it");
        let other = cloud.tenant("other").account();
        let copied = let_copy(&mut cloud, "acme", &shared, "other");
        assert_eq!((sum(&cloud), of(&cloud, &other)), (1_000, 0));
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &shared)]).expect("deletes");
        cloud.settle();
        assert_eq!((sum(&cloud), of(&cloud, &other)), (1_000, 1_000));
        cloud.audit();
        cloud.tenant("other").call("DeleteSnapshot", &[("SnapshotId", &copied)]).expect("deletes");
        cloud.settle();
        assert_eq!(sum(&cloud), 0);
        cloud.audit();
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

    #[test]
    fn what_two_copied_of_a_third_and_of_each_other_costs_them_both_once_the_third_has_none() {
        let mut cloud = Cloud::new();
        let names = ["acme", "other", "third"];
        let snapshots = names.map(|name| {
            cloud.tenant(name).run();
            let volumes = cloud.tenant(name).call("DescribeVolumes", &[]).expect("answers");
            let volume = Cloud::ids(&volumes, "volumeId").remove(0);
            let made = cloud.tenant(name).call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
            Cloud::ids(&made, "snapshotId").remove(0)
        });
        cloud.settle();
        for (from, to) in [(0, 1), (0, 2), (1, 2), (2, 1)] {
            let_copy(&mut cloud, names[from], &snapshots[from], names[to]);
        }
        cloud.settle();
        let accounts = names.map(|name| cloud.tenant(name).account());
        let sums = |cloud: &Cloud| accounts.each_ref().map(|account| of(cloud, account));
        assert_eq!(sums(&cloud), [1_000; 3], "what each has itself costs no other");
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshots[0])]).expect("deletes");
        cloud.settle();
        assert_eq!(sums(&cloud), [0, 2_000, 2_000]);
        cloud.audit();
    }
}
