//! DescribeLockedSnapshots: one's own that have a lock, be it over.

use awan_model::snapshot::{Lock, Snapshot};
use awan_state::{Millis, Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::describe::{Filters, Page};
use crate::error::Result;

pub fn describe_locked_snapshots(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeLockedSnapshotsRequest,
) -> Result<ec2::DescribeLockedSnapshotsResult> {
    let ec2::DescribeLockedSnapshotsRequest { filters, max_results, next_token, snapshot_ids, dry_run: _ } = req;
    let filters = Filters::new(&filters, &["lock-state"])?;
    let named = !snapshot_ids.is_empty();
    let page = Page::new(tx, "DescribeLockedSnapshots", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &snapshot_ids {
        found.push(tx.get::<Snapshot>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<Snapshot>();
    }
    let now = tx.now();
    let state = |snapshot: &Snapshot| snapshot.lock.as_ref().map(|lock| lock.state(now).to_owned());
    found.retain(|snapshot| state(snapshot).is_some());
    found.retain(|snapshot| filters.match_all(|_| state(snapshot).into_iter().collect()));
    let (kept, next_token) = page.cut(found, |snapshot| snapshot.id.clone());
    let shown = |snapshot: &Snapshot| Some(shown(snapshot, snapshot.lock.as_ref()?, now));
    let snapshots = kept.iter().filter_map(|snapshot| shown(snapshot)).collect();
    Ok(ec2::DescribeLockedSnapshotsResult { snapshots, next_token })
}

fn shown(snapshot: &Snapshot, lock: &Lock, now: Millis) -> ec2::LockedSnapshotsInfo {
    ec2::LockedSnapshotsInfo {
        owner_id: Some(snapshot.home.account().into()),
        snapshot_id: Some(snapshot.id.to_string()),
        lock_state: Some(lock.state(now).into()),
        lock_duration: i32::try_from(lock.days).ok(),
        cool_off_period: lock.cool_off_hours.and_then(|hours| i32::try_from(hours).ok()),
        cool_off_period_expires_on: lock.cool_off_until.and_then(time),
        lock_created_on: time(lock.created),
        lock_duration_start_time: time(lock.since),
        lock_expires_on: time(lock.expires),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_is_locked_is_listed() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let mut made = Vec::new();
        for _ in 0..2 {
            let one = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
            made.push(Cloud::ids(&one, "snapshotId").remove(0));
        }
        let lock = [("SnapshotId", made[0].as_str()), ("LockMode", "governance"), ("LockDuration", "1")];
        cloud.tenant("acme").call("LockSnapshot", &lock).expect("locks");
        let states = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            Cloud::ids(&cloud.tenant("acme").call("DescribeLockedSnapshots", ask).expect("answers"), "lockState")
        };
        assert_eq!(states(&mut cloud, &[]), ["governance"]);
        assert!(states(&mut cloud, &[("SnapshotId.1", &made[1])]).is_empty());
        assert!(states(&mut cloud, &[("Filter.1.Name", "lock-state"), ("Filter.1.Value.1", "expired")]).is_empty());
        cloud.pass(24 * 3_600_000);
        assert_eq!(states(&mut cloud, &[("SnapshotId.1", &made[0])]), ["expired"]);
        let refusal = cloud.tenant("acme").call("DescribeLockedSnapshots", &[("SnapshotId.1", &builtin)]);
        assert!(refusal.expect_err("another's").starts_with("InvalidSnapshot.NotFound"));
    }
}
