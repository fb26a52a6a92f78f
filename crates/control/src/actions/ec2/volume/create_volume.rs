//! CreateVolume. The bytes are made on the host of the instance that it is first attached to, so it is available at once.

use std::sync::Arc;

use awan_model::id::{ImageId, VolumeId};
use awan_model::installation::Installation;
use awan_model::snapshot::Snapshot;
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::shape::{Asked, shape, too_small};
use super::view;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Code, Error, Result, invalid, missing, refuse, refuse_both, refuse_if};
use crate::token::Use;
use crate::{bytes, keys, tagging};

pub fn create_volume(tx: &mut Tx<Tenant>, req: ec2::CreateVolumeRequest) -> Result<ec2::Volume> {
    let others = ec2::CreateVolumeRequest { client_token: None, dry_run: None, ..req.clone() };
    let token = req.client_token.as_deref().filter(|token| !token.is_empty());
    let token = token.map(|t| Use::new("CreateVolume", t, &format!("{others:?}"))).transpose()?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?;
        return answer(tx, &id.parse()?);
    }
    let id = create(tx, req)?;
    if let Some(first) = token {
        first.keep(tx, vec![id.to_string()]);
    }
    answer(tx, &id)
}

fn answer(tx: &mut Tx<Tenant>, id: &VolumeId) -> Result<ec2::Volume> {
    let volume = tx.get::<Volume>(id)?;
    Ok(view::shown(&view::see(tx, volume)))
}

fn create(tx: &mut Tx<Tenant>, req: ec2::CreateVolumeRequest) -> Result<VolumeId> {
    let ec2::CreateVolumeRequest {
        availability_zone,
        availability_zone_id,
        encrypted,
        iops,
        kms_key_id,
        outpost_arn,
        size,
        snapshot_id,
        volume_type,
        tag_specifications,
        multi_attach_enabled,
        throughput,
        client_token,
        volume_initialization_rate,
        operator,
        dry_run: _,
    } = req;
    for (there, name) in [
        (outpost_arn.is_some(), "OutpostArn"),
        (multi_attach_enabled == Some(true), "MultiAttachEnabled"),
        (volume_initialization_rate.is_some(), "VolumeInitializationRate"),
        (operator.is_some(), "Operator"),
    ] {
        refuse_if(there, name)?;
    }
    let zone = zone(tx, availability_zone, availability_zone_id)?;
    let source = snapshot_id.filter(|id| !id.is_empty()).map(|id| source(tx, &id)).transpose()?;
    let least = source.as_ref().and_then(|(snapshot, _)| i32::try_from(snapshot.size_gib).ok());
    let size = size.or(least).ok_or_else(|| missing("size/snapshot"))?;
    let shape = shape(volume_type.as_deref().unwrap_or("gp2"), size, Asked { iops, throughput })?;
    let (snapshot, image) = source.unzip();
    let of_encrypted = snapshot.as_ref().is_some_and(|snapshot| snapshot.encrypted);
    let encrypted = keys::wanted(tx, encrypted, kms_key_id.as_deref(), of_encrypted)?;
    if let Some(snapshot) = snapshot.as_ref().filter(|s| shape.size_gib < s.size_gib) {
        return Err(invalid(too_small(size, &snapshot.id, snapshot.size_gib)));
    }
    let tags = tagging::specified(&tag_specifications, "volume", &["volume"])?;
    let (home, created) = (tx.home().clone(), tx.now());
    let id = VolumeId::made(tx.new_id(VolumeId::PREFIX));
    let key = encrypted.then(|| keys::new(tx, &id)).transpose()?;
    tx.put(Volume {
        home,
        id: id.clone(),
        zone,
        size_gib: shape.size_gib,
        kind: shape.kind,
        iops: shape.iops,
        throughput: shape.throughput,
        image: image.flatten(),
        generation: 0,
        snapshot: snapshot.map(|s| s.id.clone()),
        attachment: None,
        modification: None,
        auto_enable_io: false,
        client_token: client_token.filter(|token| !token.is_empty()),
        key,
        created,
    });
    tagging::add(tx, id.as_str(), &tags)?;
    Ok(id)
}

/// A snapshot that this account may use, and what a volume of it begins as.
fn source(tx: &mut Tx<Tenant>, id: &str) -> Result<(Arc<Snapshot>, Option<ImageId>)> {
    let snapshot = tx.shared::<Snapshot>(&id.parse()?)?;
    let image = bytes::of(&snapshot)?;
    Ok((snapshot, image))
}

fn zone(tx: &mut Tx<Tenant>, name: Option<String>, id: Option<String>) -> Result<String> {
    refuse_both((name.is_some(), "AvailabilityZone"), (id.is_some(), "AvailabilityZoneId"))?;
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let asked = name.clone().or(id.clone()).ok_or_else(|| missing("AvailabilityZone"))?;
    let is_it = |zone: &String| if name.is_some() { *zone == asked } else { zone_id(zone) == asked };
    zones
        .into_iter()
        .find(is_it)
        .ok_or_else(|| refuse(Code::InvalidZoneNotFound, format!("The zone '{}' does not exist.", brief(&asked))))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_volume_is_what_was_asked_for_or_its_types_default() {
        let mut cloud = Cloud::new();
        let zone = ("AvailabilityZone", "us-east-1b");
        let made = cloud.tenant("acme").call("CreateVolume", &[zone, ("Size", "8")]).expect("makes");
        let of = |made: &str| ["status", "volumeType", "size", "iops", "throughput"].map(|e| Cloud::ids(made, e).pop());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(&made), [some("available"), some("gp2"), some("8"), some("100"), None]);
        let ask = [zone, ("Size", "100"), ("VolumeType", "gp3"), ("Iops", "4000"), ("Throughput", "500")];
        let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
        assert_eq!(of(&made), [some("available"), some("gp3"), some("100"), some("4000"), some("500")]);
        for (ask, code) in [
            (vec![("Size", "8")], "MissingParameter"),
            (vec![zone], "MissingParameter"),
            (vec![("AvailabilityZone", "us-east-1z"), ("Size", "8")], "InvalidZone.NotFound"),
            (vec![zone, ("Size", "8"), ("KmsKeyId", "alias/aws/ebs")], "InvalidParameterDependency"),
            (vec![zone, ("SnapshotId", "snap-00000000000000001")], "InvalidSnapshot.NotFound"),
            (vec![zone, ("SnapshotId", "vol-1")], "InvalidSnapshotID.Malformed"),
            (vec![zone, ("Size", "20000")], "InvalidParameterValue"),
        ] {
            let refusal = cloud.tenant("acme").call("CreateVolume", &ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        cloud.audit();
    }

    #[test]
    fn what_is_encrypted_says_so_and_there_is_one_key() {
        let mut cloud = Cloud::new();
        let zone = ("AvailabilityZone", "us-east-1a");
        let arn = format!("arn:aws:kms:us-east-1:{}:alias/aws/ebs", cloud.tenant("acme").account());
        let with = |key: Option<&str>| {
            let ask = [zone, ("Size", "1"), ("Encrypted", "true")].map(|(k, v)| (k, v.to_owned()));
            ask.into_iter().chain(key.map(|key| ("KmsKeyId", key.to_owned()))).collect::<Vec<_>>()
        };
        let mut make = |key| {
            let ask = with(key);
            let ask: Vec<_> = ask.iter().map(|(k, v)| (*k, v.as_str())).collect();
            cloud.tenant("acme").call("CreateVolume", &ask)
        };
        for key in [None, Some("alias/aws/ebs"), Some(arn.as_str())] {
            let made = make(key).expect("makes");
            assert_eq!([Cloud::ids(&made, "encrypted"), Cloud::ids(&made, "kmsKeyId")].concat(), ["true", &arn]);
        }
        for key in ["alias/mine", &arn.replace("us-", "eu-")] {
            let refusal = make(Some(key)).expect_err("there is no such key");
            assert!(refusal.starts_with("InvalidParameterValue: The KMS key"), "{refusal}");
        }
        cloud.audit();
    }

    #[test]
    fn a_token_makes_one_volume_for_as_long_as_that_lives() {
        let mut cloud = Cloud::new();
        let ask = [("AvailabilityZoneId", "use1-az1"), ("Size", "1"), ("ClientToken", "once")];
        let mut make = || Cloud::ids(&cloud.tenant("acme").call("CreateVolume", &ask).expect("makes"), "volumeId");
        let (first, again) = (make(), make());
        assert_eq!(first, again);
        let other = [("AvailabilityZoneId", "use1-az1"), ("Size", "2"), ("ClientToken", "once")];
        let refusal = cloud.tenant("acme").call("CreateVolume", &other).expect_err("another request");
        assert!(refusal.starts_with("IdempotentParameterMismatch"), "{refusal}");
        cloud.tenant("acme").call("DeleteVolume", &[("VolumeId", &first[0])]).expect("deletes");
        cloud.tenant("acme").call("CreateVolume", &other).expect("the token is free again");
        cloud.audit();
    }
    #[test]
    fn a_volume_of_a_snapshot_begins_as_its_image() {
        let mut cloud = Cloud::new();
        let builtin = cloud.builtin_snapshot();
        let copy = [("SourceSnapshotId", builtin.as_str()), ("SourceRegion", "us-east-1")];
        let copied = cloud.tenant("acme").call("CopySnapshot", &copy).expect("copies");
        let copied = Cloud::ids(&copied, "snapshotId").remove(0);
        let zone = ("AvailabilityZone", "us-east-1b");
        for snapshot in [&builtin, &copied] {
            let ask = [zone, ("SnapshotId", snapshot.as_str()), ("VolumeType", "gp3")];
            let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
            assert_eq!(
                (Cloud::ids(&made, "size"), Cloud::ids(&made, "snapshotId")),
                (vec!["1".into()], vec![snapshot.clone()])
            );
            assert!(cloud.begins_as_the_image(&Cloud::ids(&made, "volumeId")[0]));
        }
        let made = cloud.tenant("acme").call("CreateVolume", &[zone, ("Size", "3")]).expect("makes");
        let of = Cloud::ids(&made, "volumeId").remove(0);
        let own = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &of)]).expect("makes");
        let own = Cloud::ids(&own, "snapshotId").remove(0);
        let ask = |size| [zone, ("SnapshotId", own.as_str()), ("Size", size)];
        let refusal = cloud.tenant("acme").call("CreateVolume", &ask("2")).expect_err("too small");
        assert!(refusal.starts_with("InvalidParameterValue: Volume of size 2GB is smaller than"), "{refusal}");
        let refusal = cloud.tenant("other").call("CreateVolume", &ask("3")).expect_err("another's");
        assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{own}' does not exist."));
        cloud.tenant("acme").call("CreateVolume", &ask("4")).expect("of what was never written to");
        cloud.audit();
    }
}
