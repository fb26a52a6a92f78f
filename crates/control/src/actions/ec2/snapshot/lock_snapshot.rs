//! LockSnapshot: until a time, a snapshot is not deleted. Rules: "Amazon EBS snapshot lock" in the EBS User Guide.

use awan_model::snapshot::{Lock, Snapshot};
use awan_state::{Millis, Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::error::{Code, Result, combination, invalid_value, missing, refuse};
use crate::sharing;

const HOUR_MS: Millis = 3_600_000;
const DAY_MS: Millis = 24 * HOUR_MS;

pub fn lock_snapshot(tx: &mut Tx<Tenant>, req: ec2::LockSnapshotRequest) -> Result<ec2::LockSnapshotResult> {
    let id = req.snapshot_id.clone().ok_or_else(|| missing("SnapshotId"))?.parse()?;
    let snapshot = sharing::own::<Snapshot>(tx, &id, "snapshot")?;
    let now = tx.now();
    let lock = asked(req, now)?;
    let old = snapshot.lock.as_ref().filter(|old| now < old.expires);
    let lock = match old.map(|old| (old, old.state(now))) {
        Some((old, "compliance")) => {
            if !lock.compliance || lock.cool_off_hours.is_some() || lock.expires < old.expires {
                let message = "A compliance lock whose cooling-off period is over can only be extended.";
                return Err(refuse(Code::OperationNotPermitted, message));
            }
            let (cool_off_hours, cool_off_until, created) = (old.cool_off_hours, old.cool_off_until, old.created);
            Lock { cool_off_hours, cool_off_until, created, ..lock }
        }
        Some((old, _)) => Lock { created: old.created, ..lock },
        None => lock,
    };
    tx.put(Snapshot { lock: Some(lock.clone()), ..(*snapshot).clone() });
    Ok(ec2::LockSnapshotResult {
        snapshot_id: Some(id.to_string()),
        lock_state: Some(lock.state(now).into()),
        lock_duration: i32::try_from(lock.days).ok(),
        cool_off_period: lock.cool_off_hours.and_then(|hours| i32::try_from(hours).ok()),
        cool_off_period_expires_on: lock.cool_off_until.and_then(time),
        lock_created_on: time(lock.created),
        lock_expires_on: time(lock.expires),
        lock_duration_start_time: time(lock.since),
    })
}

fn asked(req: ec2::LockSnapshotRequest, now: Millis) -> Result<Lock> {
    let ec2::LockSnapshotRequest {
        snapshot_id: _,
        dry_run: _,
        lock_mode,
        cool_off_period,
        lock_duration,
        expiration_date,
    } = req;
    let compliance = match lock_mode.ok_or_else(|| missing("LockMode"))?.as_str() {
        "governance" => false,
        "compliance" => true,
        other => return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "LockMode")),
    };
    if !compliance && cool_off_period.is_some() {
        return Err(combination("CoolOffPeriod is of the compliance mode"));
    }
    let number = |value: i32, most: u32, name: &str| {
        u32::try_from(value).ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| invalid_value(value, name))
    };
    let cool_off_hours = cool_off_period.map(|hours| number(hours, 72, "CoolOffPeriod")).transpose()?;
    let expires = match (lock_duration, expiration_date) {
        (Some(days), None) => now + DAY_MS * Millis::from(number(days, 36_500, "LockDuration")?),
        (None, Some(at)) => {
            let until = Millis::try_from(at.0).ok().filter(|at| (now + 1..=now + 36_500 * DAY_MS).contains(at));
            until.ok_or_else(|| invalid_value(at.0, "ExpirationDate"))?
        }
        (Some(_), Some(_)) => return Err(combination("LockDuration and ExpirationDate exclude each other")),
        (None, None) => return Err(missing("LockDuration")),
    };
    let days = u32::try_from((expires - now).div_ceil(DAY_MS)).unwrap_or(u32::MAX);
    let cool_off_until = cool_off_hours.map(|hours| now + HOUR_MS * Millis::from(hours));
    Ok(Lock { compliance, cool_off_hours, cool_off_until, days, created: now, since: now, expires })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_locked_snapshot_stays_until_its_lock_is_over() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let builtin = Cloud::ids(&public, "snapshotId").remove(0);
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let made = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        let id = Cloud::ids(&made, "snapshotId").remove(0);
        let lock = |cloud: &mut Cloud, more: &[(&str, &str)]| {
            let ask: Vec<_> = [("SnapshotId", id.as_str())].into_iter().chain(more.iter().copied()).collect();
            cloud.tenant("acme").call("LockSnapshot", &ask).map(|told| Cloud::ids(&told, "lockState").remove(0))
        };
        let governance = [("LockMode", "governance"), ("LockDuration", "2")];
        assert_eq!(lock(&mut cloud, &governance).as_deref(), Ok("governance"));
        let delete = [("SnapshotId", id.as_str())];
        let refusal = cloud.tenant("acme").call("DeleteSnapshot", &delete).expect_err("locked");
        assert_eq!(refusal, format!("OperationNotPermitted: The snapshot {id} is locked and cannot be deleted"));
        let listed = cloud.tenant("acme").call("DescribeLockedSnapshots", &[]).expect("answers");
        assert_eq!(Cloud::ids(&listed, "lockState"), ["governance"], "{listed}");
        cloud.tenant("acme").call("UnlockSnapshot", &delete).expect("unlocks");
        let cooling = [("LockMode", "compliance"), ("LockDuration", "2"), ("CoolOffPeriod", "1")];
        assert_eq!(lock(&mut cloud, &cooling).as_deref(), Ok("compliance-cooloff"));
        cloud.pass(3_600_000);
        let refusal = cloud.tenant("acme").call("UnlockSnapshot", &delete).expect_err("for good");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        for less in [&governance[..], &[("LockMode", "compliance"), ("LockDuration", "1")]] {
            let refusal = lock(&mut cloud, less).expect_err("is less");
            assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        }
        let more = [("LockMode", "compliance"), ("LockDuration", "3")];
        assert_eq!(lock(&mut cloud, &more).as_deref(), Ok("compliance"));
        for (more, code) in [
            (
                vec![("LockMode", "governance"), ("LockDuration", "1"), ("CoolOffPeriod", "1")],
                "InvalidParameterCombination",
            ),
            (vec![("LockMode", "governance")], "MissingParameter"),
            (vec![("LockMode", "governance"), ("LockDuration", "0")], "InvalidParameterValue"),
            (vec![("LockMode", "governance"), ("ExpirationDate", "2001-01-01T00:00:00Z")], "InvalidParameterValue"),
        ] {
            let refusal = lock(&mut cloud, &more).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        cloud.pass(3 * 24 * 3_600_000);
        cloud.tenant("acme").call("DeleteSnapshot", &delete).expect("its time is over");
        cloud.audit();
    }
}
