//! CopySnapshot: a snapshot of one's own of one that one sees, in this region or another.
//! The bytes, which never change, are the same for both, unless the copy is to be encrypted and the other is not: then a host
//! writes them once more, and the copy is pending until it has.

use std::sync::Arc;

use awan_model::snapshot::{Bytes, Phase, Snapshot};
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
    room_for(tx, 1)?;
    let description = described(description)?;
    let copy = copied(tx, &source, description, encrypted, std::slice::from_ref(&source))?;
    tagging::add(tx, copy.id.as_str(), &tags)?;
    Ok(ec2::CopySnapshotResult { tags, snapshot_id: Some(copy.id.to_string()) })
}

/// Refuses what is not whole.
fn usable(source: &Snapshot) -> Result<()> {
    if source.bytes == Bytes::Own { Ok(()) } else { bytes::of(source).map(drop) }
}

/// `with`: those that are copied at once, which are to lie on one host.
pub fn copied(
    tx: &mut Tx<Tenant>,
    source: &Snapshot,
    description: String,
    encrypted: bool,
    with: &[Arc<Snapshot>],
) -> Result<Snapshot> {
    let anew = encrypted && !source.encrypted && source.bytes != Bytes::Nothing;
    let (bytes, phase) = if anew {
        let images = with.iter().filter_map(|one| if let Bytes::Image(id) = &one.bytes { Some(id) } else { None });
        let host = bytes::lie_on(tx, images)?;
        (bytes::encrypted(tx, source, host)?, Phase::Pending)
    } else {
        (source.bytes.clone(), source.phase)
    };
    let mut copy = new(tx, source.size_gib, description, bytes);
    (copy.copy_of, copy.phase, copy.encrypted) = (Some(source.id.clone()), phase, encrypted);
    tx.put(copy.clone());
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use awan_model::import::{ContentReport, ImportPhase};
    use awan_state::{System, Tx};

    use crate::testing::Cloud;

    fn status(cloud: &mut Cloud, id: &str) -> Vec<String> {
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", id)]).expect("answers");
        [Cloud::ids(&shown, "status"), Cloud::ids(&shown, "encrypted")].concat()
    }

    /// A snapshot that is not encrypted, and a copy of it that is to be.
    fn encrypted(cloud: &mut Cloud) -> (String, String) {
        cloud.tenant("acme").run();
        cloud.settle();
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        let volume = Cloud::ids(&volumes, "volumeId").remove(0);
        let made = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volume)]).expect("makes");
        let source = Cloud::ids(&made, "snapshotId").remove(0);
        cloud.settle();
        let ask = [("SourceSnapshotId", source.as_str()), ("SourceRegion", "us-east-1"), ("Encrypted", "true")];
        let made = cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
        (source, Cloud::ids(&made, "snapshotId").remove(0))
    }

    #[test]
    fn an_encrypted_copy_is_pending_until_its_host_has_written_it_and_needs_its_source_so_long() {
        let mut cloud = Cloud::new();
        let (source, copy) = encrypted(&mut cloud);
        assert_eq!(status(&mut cloud, &copy), ["pending", "true"]);
        let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", copy.as_str())];
        let refusal = cloud.tenant("acme").call("CreateVolume", &ask).expect_err("is not whole");
        assert!(refusal.starts_with("IncorrectState"), "{refusal}");
        let instances = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        let instance = Cloud::ids(&instances, "instanceId").remove(0);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &source)]).expect("deletes");
        cloud.turn();
        assert_eq!(cloud.contents(), 2, "it is what is copied");
        cloud.audit();
        cloud.settle();
        assert_eq!((status(&mut cloud, &copy), cloud.contents()), (vec!["completed".into(), "true".into()], 1));
        // What is copied of it has the same bytes.
        let ask = [("SourceSnapshotId", copy.as_str()), ("SourceRegion", "us-east-1"), ("Encrypted", "true")];
        let made = cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
        let again = Cloud::ids(&made, "snapshotId").remove(0);
        assert_eq!((status(&mut cloud, &again)[0].as_str(), cloud.contents()), ("completed", 1));
        let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", copy.as_str())];
        let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
        assert_eq!(Cloud::ids(&made, "encrypted"), ["true"]);
        cloud.audit();
    }

    #[test]
    fn an_encrypted_copy_that_is_deleted_before_it_is_whole_goes_whatever_rules_keep() {
        let mut cloud = Cloud::new();
        let (source, copy) = encrypted(&mut cloud);
        cloud.tenant("acme").keep("EBS_SNAPSHOT", 7, "");
        for id in [&copy, &source] {
            cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", id)]).expect("deletes");
        }
        let shown = cloud.tenant("acme").call("ListSnapshotsInRecycleBin", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "snapshotId"), [source]);
        cloud.settle();
        assert_eq!(cloud.contents(), 1);
        cloud.audit();
    }

    #[test]
    fn an_encrypted_copy_that_cannot_be_made_says_so_and_by_default_all_are() {
        let mut cloud = Cloud::new();
        let (source, copy) = encrypted(&mut cloud);
        let broken = ImportPhase::Failed { why: "it is broken".into() };
        cloud.report_content(&broken);
        assert_eq!(status(&mut cloud, &copy), ["error", "true"]);
        cloud.report_content(&ImportPhase::Failed { why: "the host has lost it".into() });
        let reports = cloud.control.db.read(System, Tx::all::<ContentReport>);
        assert!(reports.iter().all(|report| report.phase == broken), "what was told first stays: {reports:?}");
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        let ask = [("SourceSnapshotId", source.as_str()), ("SourceRegion", "us-east-1")];
        let refusal = cloud.tenant("acme").call("CopySnapshot", &ask).expect_err("is lost");
        assert!(refusal.starts_with("IncorrectState"), "{refusal}");
        let public = cloud.tenant("acme").call("DescribeSnapshots", &[("RestorableBy.1", "all")]).expect("answers");
        let public = Cloud::ids(&public, "snapshotId").remove(0);
        let ask = [("SourceSnapshotId", public.as_str()), ("SourceRegion", "us-east-1")];
        let made = cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
        assert_eq!(status(&mut cloud, &Cloud::ids(&made, "snapshotId")[0]), ["pending", "true"]);
    }

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
