//! UnlockSnapshot.

use awan_model::snapshot::Snapshot;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, missing, refuse};
use crate::sharing;

pub fn unlock_snapshot(tx: &mut Tx<Tenant>, req: ec2::UnlockSnapshotRequest) -> Result<ec2::UnlockSnapshotResult> {
    let ec2::UnlockSnapshotRequest { snapshot_id, dry_run: _ } = req;
    let id = snapshot_id.ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let snapshot = sharing::own::<Snapshot>(tx, &id, "snapshot")?;
    let now = tx.now();
    match snapshot.lock.as_ref().map(|lock| lock.state(now)) {
        None => return Err(refuse(Code::IncorrectState, format!("The snapshot {id} is not locked"))),
        Some("compliance") => {
            let message = format!("The snapshot {id} is locked in compliance mode and cannot be unlocked");
            return Err(refuse(Code::OperationNotPermitted, message));
        }
        Some(_) => tx.put(Snapshot { lock: None, ..(*snapshot).clone() }),
    }
    Ok(ec2::UnlockSnapshotResult { snapshot_id: Some(id.to_string()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_locked_is_not_unlocked() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let made = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        for (id, code) in [(Cloud::ids(&made, "snapshotId").remove(0), "IncorrectState"), (builtin, "AuthFailure")] {
            let refusal = cloud.tenant("acme").call("UnlockSnapshot", &[("SnapshotId", &id)]).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
