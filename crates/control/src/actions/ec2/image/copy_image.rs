//! CopyImage: an image of one's own of one that one sees, in this region or another.

use std::collections::BTreeSet;

use awan_model::id::SnapshotId;
use awan_model::image::{Details, Device, DeviceOptions, Image, Origin, Protection};
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::devices::{named, new_id};
use crate::actions::ec2::snapshot::copy_snapshot::copied;
use crate::actions::ec2::snapshot::create_snapshot::{described, room_for};
use crate::error::{Code, Result, missing, refuse, refuse_if};
use crate::token::Use;
use crate::{keys, sharing, tagging};

pub fn copy_image(tx: &mut Tx<Tenant>, req: ec2::CopyImageRequest) -> Result<ec2::CopyImageResult> {
    let token = req.client_token.as_deref().filter(|t| !t.is_empty()).map(|token| {
        let others = ec2::CopyImageRequest { client_token: None, dry_run: None, ..req.clone() };
        Use::new("CopyImage", token, &format!("{others:?}"))
    });
    let token = token.transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        return Ok(ec2::CopyImageResult { image_id: made.into_iter().next() });
    }
    let id = copy(tx, req)?;
    if let Some(first) = token {
        first.keep(tx, vec![id.clone()]);
    }
    Ok(ec2::CopyImageResult { image_id: Some(id) })
}

fn copy(tx: &mut Tx<Tenant>, req: ec2::CopyImageRequest) -> Result<String> {
    let ec2::CopyImageRequest {
        client_token: _,
        description,
        encrypted,
        kms_key_id,
        name,
        source_image_id,
        source_region,
        destination_outpost_arn,
        copy_image_tags,
        tag_specifications,
        snapshot_copy_completion_duration_minutes,
        destination_availability_zone,
        destination_availability_zone_id,
        dry_run: _,
    } = req;
    for (there, parameter) in [
        (destination_outpost_arn.is_some(), "DestinationOutpostArn"),
        (snapshot_copy_completion_duration_minutes.is_some(), "SnapshotCopyCompletionDurationMinutes"),
        (destination_availability_zone.is_some(), "DestinationAvailabilityZone"),
        (destination_availability_zone_id.is_some(), "DestinationAvailabilityZoneId"),
    ] {
        refuse_if(there, parameter)?;
    }
    let kinds = ["image", "snapshot"];
    let tags = tagging::specified(&tag_specifications, "image", &kinds)?;
    let snapshot_tags = tagging::specified(&tag_specifications, "snapshot", &kinds)?;
    let region = source_region.ok_or_else(|| missing("SourceRegion"))?;
    let source_id = source_image_id.ok_or_else(|| missing("SourceImageId"))?.parse()?;
    let source = sharing::in_region::<Image>(tx, &region, &source_id)?;
    if source.details.disabled {
        return Err(refuse(Code::InvalidAmiIdUnavailable, format!("The image ID '{source_id}' is not available")));
    }
    let name = named(tx, name)?;
    let description = described(description)?;
    let origin = Origin { image: source_id, region };
    let mut image = copied_image(tx, &source, origin, (encrypted, kms_key_id.as_deref()), &snapshot_tags)?;
    (image.name, image.description) = (name, description);
    let id = image.id.clone();
    if copy_image_tags == Some(true) {
        // Those of another account's images are its own.
        let old = tagging::shown(&tagging::of(tx, source.id.as_str()));
        tagging::add(tx, id.as_str(), &old)?;
    }
    tx.put(image);
    tagging::add(tx, id.as_str(), &tags)?;
    Ok(id.to_string())
}

/// The copy, nameless as yet, and copies of the snapshots that it is made of.
fn copied_image(
    tx: &mut Tx<Tenant>,
    source: &Image,
    origin: Origin,
    (asked, key): (Option<bool>, Option<&str>),
    tags: &[ec2::Tag],
) -> Result<Image> {
    let id = new_id(tx);
    let wanted: BTreeSet<_> = source.snapshots().cloned().collect();
    // One for each device, though two may be of the same.
    room_for(tx, source.snapshots().count())?;
    // An image's snapshots come with it: who may launch it may copy it.
    let all = wanted.iter().map(|old| sharing::of_image::<Snapshot>(tx, old)).collect::<Result<Vec<_>>>()?;
    let snapshot = |tx: &mut Tx<Tenant>, old: &SnapshotId| -> Result<Snapshot> {
        let old = sharing::of_image::<Snapshot>(tx, old)?;
        let text = format!("Copied for DestinationAmi {id} from SourceAmi {} for SourceSnapshot {}", source.id, old.id);
        let encrypted = keys::wanted(tx, asked, key, old.encrypted)?;
        let new = copied(tx, &old, text, encrypted, &all)?;
        tagging::add(tx, new.id.as_str(), tags)?;
        Ok(new)
    };
    let root = snapshot(tx, &source.snapshot)?;
    let (mut devices, mut phase) = (Vec::new(), root.phase);
    for device in &source.details.devices {
        let own = device.snapshot.as_ref().map(|old| snapshot(tx, old)).transpose()?;
        // As long as one of them is written, it cannot be launched.
        if own.as_ref().is_some_and(|own| own.phase == Phase::Pending) {
            phase = Phase::Pending;
        }
        let encrypted = own.as_ref().map_or(device.options.encrypted, |own| own.encrypted);
        let options = DeviceOptions { encrypted, ..device.options.clone() };
        devices.push(Device { snapshot: own.map(|own| own.id), options, ..device.clone() });
    }
    let bytes = match root.phase {
        Phase::Pending => root.bytes,
        _ => source.details.bytes.clone().unwrap_or_else(|| Bytes::Image(source.id.clone())),
    };
    let details = Details {
        bytes: Some(bytes),
        phase,
        root: DeviceOptions { encrypted: root.encrypted, ..source.details.root.clone() },
        devices,
        shared_with: BTreeSet::new(),
        deprecated: None,
        protection: Protection::Off,
        copy_of: Some(origin),
        source_instance: None,
        imds_v2: source.details.imds_v2 || source.is_builtin(),
        ..source.details.clone()
    };
    let (home, created) = (tx.home().clone(), tx.now());
    Ok(Image { home, id, public: false, snapshot: root.id, created, details, ..source.clone() })
}

#[cfg(test)]
mod tests {
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn a_copy_is_an_image_of_ones_own_with_a_snapshot_of_ones_own() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let source = Cloud::ids(&public, "imageId").remove(0);
        let ask = [
            ("SourceImageId", source.as_str()),
            ("SourceRegion", "us-east-1"),
            ("Name", "copy"),
            ("ClientToken", "once"),
            ("TagSpecification.1.ResourceType", "image"),
            ("TagSpecification.1.Tag.1.Key", "a"),
        ];
        let made = cloud.tenant("acme").call("CopyImage", &ask).expect("copies");
        assert_eq!(cloud.tenant("acme").call("CopyImage", &ask).expect("the same"), made);
        let copy = Cloud::ids(&made, "imageId").remove(0);
        let shown = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "self")]).expect("answers");
        assert!(shown.contains(&format!("<sourceImageId>{source}</sourceImageId>")), "{shown}");
        let own = cloud.tenant("acme").call("DescribeSnapshots", &[("Owner.1", "self")]).expect("answers");
        assert_eq!(Cloud::ids(&own, "snapshotId"), Cloud::ids(&shown, "snapshotId"));
        cloud.tenant("acme").run_with(&[("ImageId", &copy)]).expect("has the bytes of what it is a copy of");
        for (key, value, code) in [
            ("SourceRegion", "mars-1", "InvalidParameterValue"),
            ("SourceImageId", "ami-00000000000000000", "InvalidAMIID.NotFound"),
        ] {
            let mut ask: Vec<_> =
                ask.iter().copied().filter(|(k, _)| ![key, "Name", "ClientToken"].contains(k)).collect();
            ask.extend([("Name", "another"), (key, value)]);
            let refusal = cloud.tenant("acme").call("CopyImage", &ask).expect_err(value);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }

    #[test]
    fn an_encrypted_copy_is_launched_once_its_host_has_written_it() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let source = Cloud::ids(&public, "imageId").remove(0);
        let ask = [
            ("SourceImageId", source.as_str()),
            ("SourceRegion", "us-east-1"),
            ("Name", "copy"),
            ("Encrypted", "true"),
        ];
        let copy = Cloud::ids(&cloud.tenant("acme").call("CopyImage", &ask).expect("copies"), "imageId").remove(0);
        let state = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &copy)]).expect("answers");
            (Cloud::ids(&shown, "imageState"), Cloud::ids(&shown, "encrypted"))
        };
        assert_eq!(state(&mut cloud), (vec!["pending".into()], vec!["true".into()]));
        let refusal = cloud.tenant("acme").run_with(&[("ImageId", &copy)]).expect_err("is not whole");
        assert!(refusal.starts_with("InvalidAMIID.Unavailable"), "{refusal}");
        cloud.settle();
        assert_eq!(state(&mut cloud).0, ["available"]);
        cloud.tenant("acme").run_with(&[("ImageId", &copy)]).expect("launches");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "encrypted"), ["true"]);
        // It begins with the kernel of what it is a copy of, and its host has the keys of both files.
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let plan = plans.values().find(|plan| !plan.vms.is_empty()).expect("is planned");
        assert_eq!(plan.vms[0].image.as_str(), source);
        let encryption = plan.volumes[0].encryption.clone().expect("is encrypted");
        assert!(encryption.below.values().all(|key| *key != encryption.key) && encryption.below.len() == 1);
        cloud.audit();
    }
}
