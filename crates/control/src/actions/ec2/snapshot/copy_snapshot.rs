//! CopySnapshot: a snapshot of one's own of one that one sees, in this region or another.
//! The bytes, which never change, are the same for both.

use awan_model::snapshot::{Bytes, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::create_snapshot::{described, new, room_for};
use crate::error::{Result, invalid, missing, refuse_if};
use crate::{bytes, keys, sharing, tagging};

pub fn copy_snapshot(tx: &mut Tx<Tenant>, req: ec2::CopySnapshotRequest) -> Result<ec2::CopySnapshotResult> {
    let ec2::CopySnapshotRequest {
        description,
        destination_outpost_arn,
        destination_region,
        encrypted,
        kms_key_id,
        // A signature that clients of old made for the other region.
        presigned_url: _,
        source_region,
        source_snapshot_id,
        tag_specifications,
        completion_duration_minutes,
        destination_availability_zone,
        dry_run: _,
    } = req;
    for (there, parameter) in [
        (destination_outpost_arn.is_some(), "DestinationOutpostArn"),
        (completion_duration_minutes.is_some(), "CompletionDurationMinutes"),
        (destination_availability_zone.is_some(), "DestinationAvailabilityZone"),
    ] {
        refuse_if(there, parameter)?;
    }
    if destination_region.is_some_and(|region| region != tx.home().region()) {
        return Err(invalid("A snapshot is copied to the region that is asked to copy it"));
    }
    let tags = tagging::specified(&tag_specifications, "snapshot", &["snapshot"])?;
    let region = source_region.ok_or_else(|| missing("SourceRegion"))?;
    let id = source_snapshot_id.ok_or_else(|| missing("SourceSnapshotId"))?.parse()?;
    let source = sharing::in_region::<Snapshot>(tx, &region, &id)?;
    usable(&source)?;
    let encrypted = keys::wanted(tx, encrypted, kms_key_id.as_deref(), source.encrypted)?;
    keys::must_not_encrypt_copy(is_secret(&source), encrypted)?;
    room_for(tx, 1)?;
    let copy = copied(tx, &source, described(description)?, encrypted);
    tagging::add(tx, copy.id.as_str(), &tags)?;
    Ok(ec2::CopySnapshotResult { tags, snapshot_id: Some(copy.id.to_string()) })
}

/// Refuses what is not whole.
fn usable(source: &Snapshot) -> Result<()> {
    if source.bytes == Bytes::Own { Ok(()) } else { bytes::of(source).map(drop) }
}

/// Nobody can read its bytes: they are encrypted, or there are none.
pub fn is_secret(source: &Snapshot) -> bool {
    source.encrypted || source.bytes == Bytes::Nothing
}

pub fn copied(tx: &mut Tx<Tenant>, source: &Snapshot, description: String, encrypted: bool) -> Snapshot {
    let mut copy = new(tx, source.size_gib, description, source.bytes.clone());
    (copy.copy_of, copy.phase, copy.encrypted) = (Some(source.id.clone()), source.phase, encrypted);
    tx.put(copy.clone());
    copy
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_copy_belongs_to_who_made_it() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[]).expect("answers");
        let source = Cloud::ids(&public, "snapshotId").remove(0);
        let ask = [("SourceSnapshotId", source.as_str()), ("SourceRegion", "us-east-1"), ("Description", "mine")];
        let made = cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
        let copy = Cloud::ids(&made, "snapshotId").remove(0);
        let filter = [("Owner.1", "self"), ("Filter.1.Name", "transfer-type"), ("Filter.1.Value.1", "standard")];
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &filter).expect("answers");
        assert_eq!(Cloud::ids(&shown, "snapshotId"), std::slice::from_ref(&copy));
        let theirs = [("SourceSnapshotId", copy.as_str()), ("SourceRegion", "us-east-1")];
        let refusal = cloud.tenant("other").call("CopySnapshot", &theirs).expect_err("is private");
        assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{copy}' does not exist."));
        for (key, value) in [("SourceRegion", "mars-1"), ("DestinationRegion", "mars-1")] {
            let mut ask: Vec<_> = ask.iter().copied().filter(|(k, _)| *k != key).collect();
            ask.push((key, value));
            let refusal = cloud.tenant("acme").call("CopySnapshot", &ask).expect_err(value);
            assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        }
        cloud.audit();
    }
}
