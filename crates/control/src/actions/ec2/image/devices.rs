//! What an image is made of, as requests say it and answers show it.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::ImageId;
use awan_model::image::{Device, DeviceOptions, Image};
use awan_model::recycle_bin::Binned;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::{bytes, keys, sharing};

/// As EC2's largest volume.
const VOLUME_GIB_MAX: u32 = 65_536;
/// EC2's quota is 50,000; here all of them are kept in memory.
const IMAGES_MAX: usize = 5_000;
/// Names from `/dev/sdb` to `/dev/sdp` and the like.
const DEVICES_MAX: usize = 40;
const DEVICE_NAME_MAX: usize = 32;

/// Refuses an image of which no instance can be made.
pub fn launchable(tx: &mut Tx<Tenant>, image: &Image) -> Result<()> {
    let id = &image.id;
    if image.details.disabled || image.details.phase != Phase::Completed {
        return Err(refuse(Code::InvalidAmiIdUnavailable, format!("The image ID '{id}' is not available")));
    }
    if image.architecture != "x86_64" {
        let message = format!(
            "The architecture '{}' of the specified AMI does not match that of the instance type, 'x86_64'.",
            image.architecture
        );
        return Err(invalid(message));
    }
    let mut unkept = (image.details.bytes == Some(Bytes::Own)).then(|| image.snapshot.clone());
    for snapshot in image.details.devices.iter().filter_map(|device| device.snapshot.as_ref()) {
        if sharing::of_image::<Snapshot>(tx, snapshot)?.bytes == Bytes::Own {
            unkept = Some(snapshot.clone());
        }
    }
    match unkept {
        Some(snapshot) => {
            let message = format!(
                "The image '{id}' is a record: what its snapshot '{snapshot}' holds is not kept, so nothing can be \
                 launched from it."
            );
            Err(refuse(Code::UnsupportedOperation, message))
        }
        None => Ok(()),
    }
}

pub fn must_be_name(name: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(fine) {
        return Ok(());
    }
    let message = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', \
                   '[', ']', ' ', '.', '/', '-', ''', '@' and '_'";
    Err(refuse(Code::InvalidAmiNameMalformed, message))
}

/// A name that an image of this account can have.
pub fn named(tx: &mut Tx<Tenant>, name: Option<String>) -> Result<String> {
    let name = name.ok_or_else(|| missing("Name"))?;
    must_be_name(&name)?;
    not_named_yet(tx, &name)?;
    if tx.list::<Image>().len() + tx.list::<Binned<Image>>().len() >= IMAGES_MAX {
        return Err(refuse(Code::ResourceLimitExceeded, "The maximum number of images has been reached."));
    }
    Ok(name)
}

/// One name, one image of an account in a region; what is in the recycle bin has none.
pub fn not_named_yet(tx: &mut Tx<Tenant>, name: &str) -> Result<()> {
    match tx.list::<Image>().iter().find(|image| image.name == name) {
        None => Ok(()),
        Some(other) => {
            let message = format!("AMI name {name} is already in use by AMI {}", other.id);
            Err(refuse(Code::InvalidAmiNameDuplicate, message))
        }
    }
}

pub fn new_id(tx: &mut Tx<Tenant>) -> ImageId {
    ImageId::made(tx.new_id(ImageId::PREFIX))
}

/// The devices that a request maps, in its order; those that it leaves out are only named.
pub struct Mapped {
    pub devices: Vec<(Device, Option<Arc<Snapshot>>)>,
    pub omitted: BTreeSet<String>,
}

/// Reads mappings. Snapshots are the account's own, or came with an image that came with Awan.
pub fn mapped(tx: &mut Tx<Tenant>, mappings: Vec<ec2::BlockDeviceMapping>) -> Result<Mapped> {
    if mappings.len() > DEVICES_MAX {
        return Err(bad(format!("At most {DEVICES_MAX} devices can be mapped")));
    }
    let (mut devices, mut omitted, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for ec2::BlockDeviceMapping { ebs, no_device, device_name, virtual_name } in mappings {
        let name = device_name.ok_or_else(|| missing("BlockDeviceMapping.DeviceName"))?;
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_';
        if name.is_empty() || name.len() > DEVICE_NAME_MAX || !name.chars().all(fine) {
            return Err(invalid_value(name.chars().take(64).collect::<String>().escape_debug(), "DeviceName"));
        }
        if !seen.insert(name.clone()) {
            return Err(bad(format!("The device '{name}' is used in more than one block-device mapping")));
        }
        refuse_if(virtual_name.is_some(), "BlockDeviceMapping.VirtualName")?;
        if no_device.is_some() {
            omitted.insert(name);
            continue;
        }
        devices.push(device(tx, name, ebs.unwrap_or_default())?);
    }
    Ok(Mapped { devices, omitted })
}

fn device(tx: &mut Tx<Tenant>, name: String, ebs: ec2::EbsBlockDevice) -> Result<(Device, Option<Arc<Snapshot>>)> {
    let ec2::EbsBlockDevice {
        delete_on_termination,
        iops,
        snapshot_id,
        volume_size,
        volume_type,
        kms_key_id,
        throughput,
        outpost_arn,
        availability_zone,
        encrypted,
        volume_initialization_rate,
        availability_zone_id,
        ebs_card_index,
    } = ebs;
    for (there, name) in [
        (outpost_arn.is_some(), "OutpostArn"),
        (availability_zone.is_some() || availability_zone_id.is_some(), "AvailabilityZone"),
        (volume_initialization_rate.is_some(), "VolumeInitializationRate"),
        (ebs_card_index.is_some_and(|n| n != 0), "EbsCardIndex"),
    ] {
        refuse_if(there, &format!("BlockDeviceMapping.Ebs.{name}"))?;
    }
    let snapshot = snapshot_id.map(|id| backing(tx, &id)).transpose()?;
    let of_encrypted = snapshot.as_ref().is_some_and(|snapshot| snapshot.encrypted);
    let asked_for = encrypted == Some(true);
    refuse_if(asked_for && snapshot.is_some() && !of_encrypted, "BlockDeviceMapping.Ebs.Encrypted")?;
    // What the account's volumes are is asked when one is made.
    let encrypted = asked_for || of_encrypted;
    keys::must_be_known(tx, kms_key_id.as_deref(), encrypted)?;
    let asked = volume_size.map(|n| whole(n, "VolumeSize")).transpose()?;
    // Zero: what an existing device has is taken over.
    let size_gib = asked.or(snapshot.as_ref().map(|s| s.size_gib)).unwrap_or(0);
    if size_gib > VOLUME_GIB_MAX {
        return Err(invalid_value(size_gib, "VolumeSize"));
    }
    if let Some(snapshot) = snapshot.as_ref().filter(|s| size_gib < s.size_gib) {
        let (id, least) = (&snapshot.id, snapshot.size_gib);
        return Err(bad(format!(
            "Volume of size {size_gib}GB is smaller than snapshot '{id}', expect size>= {least}GB"
        )));
    }
    let kind = volume_type.unwrap_or_default();
    if !["", "gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"].contains(&kind.as_str()) {
        return Err(invalid_value(kind.chars().take(32).collect::<String>().escape_debug(), "VolumeType"));
    }
    provisioned(&kind, iops.is_some(), throughput.is_some())?;
    let options = DeviceOptions {
        kind,
        keep: delete_on_termination == Some(false),
        iops: iops.map(|n| whole(n, "Iops")).transpose()?,
        throughput: throughput.map(|n| whole(n, "Throughput")).transpose()?,
        encrypted,
    };
    Ok((Device { name, snapshot: snapshot.as_ref().map(|s| s.id.clone()), size_gib, options }, snapshot))
}

fn whole(value: i32, name: &str) -> Result<u32> {
    u32::try_from(value).ok().filter(|n| *n > 0).ok_or_else(|| invalid_value(value, name))
}

fn provisioned(kind: &str, iops: bool, throughput: bool) -> Result<()> {
    if iops && !["gp3", "io1", "io2"].contains(&kind) {
        return Err(bad(format!("The parameter iops is not supported for {kind} volumes.")));
    }
    if !iops && ["io1", "io2"].contains(&kind) {
        return Err(bad(format!("The parameter iops must be specified for {kind} volumes.")));
    }
    if throughput && kind != "gp3" {
        return Err(bad(format!("The parameter throughput is not supported for {kind} volumes.")));
    }
    Ok(())
}

fn bad(message: impl Into<String>) -> Error {
    refuse(Code::InvalidBlockDeviceMapping, message)
}

fn backing(tx: &mut Tx<Tenant>, id: &str) -> Result<Arc<Snapshot>> {
    let snapshot = tx.shared::<Snapshot>(&id.parse()?)?;
    bytes::of(&snapshot)?;
    // Else its owner could take it away from under the image.
    if snapshot.home != *tx.home() && !snapshot.is_builtin() {
        let message = format!("The snapshot '{id}' is of another account. Copy it, and use the copy.");
        return Err(refuse(Code::UnsupportedOperation, message));
    }
    Ok(snapshot)
}

/// The root first.
pub fn shown(image: &Image) -> Vec<ec2::BlockDeviceMapping> {
    let root = Device {
        name: image.root_device.clone(),
        snapshot: Some(image.snapshot.clone()),
        size_gib: image.size_gib,
        options: image.details.root.clone(),
    };
    std::iter::once(&root).chain(&image.details.devices).map(one).collect()
}

fn one(device: &Device) -> ec2::BlockDeviceMapping {
    let number = |n: u32| i32::try_from(n).ok();
    let ebs = ec2::EbsBlockDevice {
        delete_on_termination: Some(!device.options.keep),
        iops: device.options.iops.and_then(number),
        snapshot_id: device.snapshot.as_ref().map(ToString::to_string),
        volume_size: number(device.size_gib),
        volume_type: Some(device.options.kind.clone()),
        throughput: device.options.throughput.and_then(number),
        encrypted: Some(device.options.encrypted),
        ..Default::default()
    };
    ec2::BlockDeviceMapping { ebs: Some(ebs), device_name: Some(device.name.clone()), ..Default::default() }
}
