//! CreateSnapshot: a record of a volume at one moment.
//!
//! Record only: what the volume holds is not kept yet, so on real hosts nothing can be made of the snapshot.

use std::collections::BTreeSet;

use awan_model::id::SnapshotId;
use awan_model::snapshot::{Bytes, Snapshot};
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_snapshots::shown;
use crate::error::{Code, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::tagging;

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
    let snapshot = of_volume(tx, &volume, described(description)?);
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
    if tx.list::<Snapshot>().len() + more > SNAPSHOTS_MAX {
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
        copy_of: None,
        public: false,
        blocked: false,
        shared_with: BTreeSet::new(),
        lock: None,
        started: tx.now(),
    }
}

pub fn of_volume(tx: &mut Tx<Tenant>, volume: &Volume, description: String) -> Snapshot {
    let snapshot = Snapshot { volume: Some(volume.id.clone()), ..new(tx, volume.size_gib, description, Bytes::Own) };
    tx.put(snapshot.clone());
    snapshot
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

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
