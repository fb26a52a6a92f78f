//! The block devices of a launch: its root, as large as is asked for, what its image has besides, and volumes that are empty or of a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::{ImageId, InstanceId, SnapshotId, VolumeId};
use awan_model::image::{Device, Image};
use awan_model::snapshot::Snapshot;
use awan_model::volume::{Shape, Volume, VolumeAttachment};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::volume::shape::{Asked, device, same_place, shape, too_small};
use crate::error::{Code, Error, Result, missing, refuse, refuse_if};
use crate::{bytes, keys, sharing};

/// As many as can be attached to an instance later.
const MORE_MAX: usize = 26;

pub struct Disks {
    pub root: Disk,
    pub more: Vec<Disk>,
}

pub struct Disk {
    pub device: String,
    pub shape: Shape,
    pub delete_on_termination: bool,
    pub snapshot: Option<SnapshotId>,
    /// What it begins as; `None`: empty.
    pub image: Option<ImageId>,
    pub encrypted: bool,
}

impl Disks {
    pub fn size_gib(&self) -> u32 {
        self.more.iter().fold(self.root.shape.size_gib, |sum, disk| sum.saturating_add(disk.shape.size_gib))
    }
}

pub fn disks(tx: &mut Tx<Tenant>, image: &Image, mappings: Vec<ec2::BlockDeviceMapping>) -> Result<Disks> {
    let (mut root, mut more, mut omitted) = (None, Vec::<Disk>::new(), BTreeSet::new());
    for (n, mapping) in mappings.into_iter().enumerate() {
        let ec2::BlockDeviceMapping { ebs, no_device, device_name, virtual_name } = mapping;
        let name = device(&device_name.ok_or_else(|| missing("BlockDeviceMapping.DeviceName"))?)?;
        let is_root = same_place(&name, &image.root_device);
        if more.iter().any(|disk| same_place(&disk.device, &name)) || (is_root && root.is_some()) {
            return Err(wrong(format!("The device '{name}' is used in more than one block-device mapping")));
        }
        refuse_if(virtual_name.is_some(), &format!("BlockDeviceMapping.{}.VirtualName", n + 1))?;
        match (no_device.is_some(), is_root) {
            (true, true) => return Err(wrong(format!("The root device '{name}' cannot be left out"))),
            (true, false) => drop(omitted.insert(name)),
            (false, true) => root = Some(root_disk(tx, image, ebs.unwrap_or_default(), n + 1)?),
            (false, false) => more.push(disk(tx, image, name, ebs, n + 1)?),
        }
    }
    for device in &image.details.devices {
        let taken = |name: &String| same_place(name, &device.name);
        if !omitted.iter().any(taken) && !more.iter().any(|disk| taken(&disk.device)) {
            more.push(image_disk(tx, device)?);
        }
    }
    if more.len() > MORE_MAX {
        return Err(wrong(format!("A launch can have at most {MORE_MAX} volumes beside its root")));
    }
    let root = root.map_or_else(|| root_disk(tx, image, ec2::EbsBlockDevice::default(), 1), Ok)?;
    Ok(Disks { root, more })
}

fn wrong(message: String) -> Error {
    refuse(Code::InvalidBlockDeviceMapping, message)
}

/// The parts of a mapping that mean something here.
struct Given {
    size: Option<i32>,
    kind: Option<String>,
    asked: Asked,
    snapshot: Option<String>,
    delete_on_termination: Option<bool>,
    encrypted: Option<bool>,
    key: Option<String>,
}

fn given(ebs: ec2::EbsBlockDevice, n: usize) -> Result<Given> {
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
    let named = |name: &str| format!("BlockDeviceMapping.{n}.Ebs.{name}");
    for (there, name) in [
        (outpost_arn.is_some(), "OutpostArn"),
        (availability_zone.is_some() || availability_zone_id.is_some(), "AvailabilityZone"),
        (volume_initialization_rate.is_some(), "VolumeInitializationRate"),
        (ebs_card_index.is_some_and(|n| n != 0), "EbsCardIndex"),
    ] {
        refuse_if(there, &named(name))?;
    }
    let (asked, snapshot) = (Asked { iops, throughput }, snapshot_id.filter(|id| !id.is_empty()));
    let (size, kind, key) = (volume_size, volume_type, kms_key_id);
    Ok(Given { size, kind, asked, snapshot, delete_on_termination, encrypted, key })
}

fn root_disk(tx: &mut Tx<Tenant>, image: &Image, ebs: ec2::EbsBlockDevice, n: usize) -> Result<Disk> {
    let Given { size, kind, asked, snapshot, delete_on_termination, encrypted, key } = given(ebs, n)?;
    if snapshot.is_some_and(|id| id != image.snapshot.as_str()) {
        return Err(wrong("snapshotId cannot be modified on root device".into()));
    }
    let least = i32::try_from(image.size_gib).unwrap_or(i32::MAX);
    let size = size.unwrap_or(least);
    let options = &image.details.root;
    let shape = match kind {
        Some(kind) => shape(&kind, size, asked)?,
        None => shape(&options.kind, size, or_of(asked, options.iops, options.throughput))?,
    };
    if size < least {
        return Err(wrong(too_small(size, &image.snapshot, image.size_gib)));
    }
    Ok(Disk {
        device: image.root_device.clone(),
        shape,
        delete_on_termination: delete_on_termination.unwrap_or(!options.keep),
        snapshot: Some(image.snapshot.clone()),
        image: image.bytes(),
        encrypted: keys::wanted(tx, encrypted, key.as_deref(), options.encrypted)?,
    })
}

/// What a request leaves out is as the image says.
fn or_of(asked: Asked, iops: Option<u32>, throughput: Option<u32>) -> Asked {
    let number = |n: u32| i32::try_from(n).ok();
    Asked { iops: asked.iops.or(iops.and_then(number)), throughput: asked.throughput.or(throughput.and_then(number)) }
}

/// A device that the image has and the request says nothing of. Its snapshot comes with the image.
fn image_disk(tx: &mut Tx<Tenant>, device: &Device) -> Result<Disk> {
    let options = &device.options;
    let none = Asked { iops: None, throughput: None };
    let size = i32::try_from(device.size_gib).unwrap_or(i32::MAX);
    let shape = shape(&options.kind, size, or_of(none, options.iops, options.throughput))?;
    let snapshot = device.snapshot.as_ref().map(|id| sharing::of_image::<Snapshot>(tx, id)).transpose()?;
    let image = snapshot.map(|snapshot| bytes::of(&snapshot)).transpose()?.flatten();
    let (name, snapshot, delete_on_termination) = (device.name.clone(), device.snapshot.clone(), !options.keep);
    let encrypted = keys::wanted(tx, None, None, options.encrypted)?;
    Ok(Disk { device: name, shape, delete_on_termination, snapshot, image, encrypted })
}

/// One that the request describes; what it leaves out of a device that the image has is as the image says.
fn disk(tx: &mut Tx<Tenant>, image: &Image, name: String, ebs: Option<ec2::EbsBlockDevice>, n: usize) -> Result<Disk> {
    let ebs = ebs.ok_or_else(|| missing(&format!("BlockDeviceMapping.{n}.Ebs")))?;
    let Given { size, kind, asked, snapshot, delete_on_termination, encrypted, key } = given(ebs, n)?;
    let known = image.details.devices.iter().find(|device| same_place(&device.name, &name));
    let snapshot = match (snapshot, known) {
        (Some(id), _) => Some(source(tx, image, &id.parse()?)?),
        (None, Some(Device { snapshot: Some(id), .. })) => Some(source(tx, image, id)?),
        (None, _) => None,
    };
    let number = |n: u32| i32::try_from(n).ok();
    let least = snapshot.as_ref().map(|s| s.size_gib);
    let size =
        size.or(known.map(|d| d.size_gib).max(least).and_then(number)).ok_or_else(|| missing("size/snapshot"))?;
    let shape = match (kind, known.map(|d| &d.options)) {
        (None, Some(options)) => shape(&options.kind, size, or_of(asked, options.iops, options.throughput))?,
        (kind, _) => shape(kind.as_deref().unwrap_or("gp2"), size, asked)?,
    };
    if let Some(snapshot) = snapshot.as_ref().filter(|s| shape.size_gib < s.size_gib) {
        return Err(wrong(too_small(size, &snapshot.id, snapshot.size_gib)));
    }
    // What is not the root is kept unless the launch or the image says otherwise.
    let delete_on_termination = delete_on_termination.unwrap_or(known.is_some_and(|d| !d.options.keep));
    let image = snapshot.as_ref().map(|s| bytes::of(s)).transpose()?.flatten();
    let of_encrypted = snapshot.as_ref().is_some_and(|s| s.encrypted) || known.is_some_and(|d| d.options.encrypted);
    let encrypted = keys::wanted(tx, encrypted, key.as_deref(), of_encrypted)?;
    let snapshot = snapshot.map(|s| s.id.clone());
    Ok(Disk { device: name, shape, delete_on_termination, snapshot, image, encrypted })
}

/// Whoever may launch an image may use what it is made of.
fn source(tx: &mut Tx<Tenant>, image: &Image, id: &SnapshotId) -> Result<Arc<Snapshot>> {
    if image.snapshots().any(|of| of == id) {
        return sharing::of_image(tx, id);
    }
    Ok(tx.shared::<Snapshot>(id)?)
}

/// A volume of a launch.
pub fn volume(tx: &mut Tx<Tenant>, disk: &Disk, instance: &InstanceId, zone: &str) -> Result<VolumeId> {
    let (home, created) = (tx.home().clone(), tx.now());
    let id = VolumeId::made(tx.new_id(VolumeId::PREFIX));
    let attachment = VolumeAttachment {
        instance: instance.clone(),
        device: disk.device.clone(),
        delete_on_termination: disk.delete_on_termination,
        at: created,
        detach: None,
    };
    let Shape { size_gib, kind, iops, throughput } = disk.shape.clone();
    let key = disk.encrypted.then(|| keys::new(tx, &id)).transpose()?;
    tx.put(Volume {
        generation: 0,
        home,
        id: id.clone(),
        zone: zone.to_owned(),
        size_gib,
        kind,
        iops,
        throughput,
        image: disk.image.clone(),
        snapshot: disk.snapshot.clone(),
        attachment: Some(attachment),
        modification: None,
        auto_enable_io: false,
        client_token: None,
        key,
        created,
    });
    Ok(id)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_launch_makes_its_volumes_and_takes_with_it_those_that_are_its_own() {
        let mut cloud = Cloud::new();
        let ask = [
            ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "2"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "3"),
            ("BlockDeviceMapping.2.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.2.Ebs.Iops", "3100"),
            ("BlockDeviceMapping.2.Ebs.Throughput", "200"),
            ("BlockDeviceMapping.3.DeviceName", "/dev/sdg"),
            ("BlockDeviceMapping.3.Ebs.VolumeSize", "4"),
            ("BlockDeviceMapping.3.Ebs.DeleteOnTermination", "true"),
            ("BlockDeviceMapping.4.DeviceName", "/dev/sdh"),
            ("BlockDeviceMapping.4.NoDevice", ""),
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", "of"),
            ("TagSpecification.1.Tag.1.Value", "launch"),
        ];
        let refusal = cloud.tenant("acme").run_with(&ask).expect_err("3100 is too many for 3 GiB");
        assert!(refusal.starts_with("InvalidParameterValue: Iops to volume size"), "{refusal}");
        let ask = ask.map(|(name, value)| (name, if value == "3100" { "3000" } else { value }));
        let id = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
        cloud.settle();
        let tagged = [("Filter.1.Name", "tag:of"), ("Filter.1.Value.1", "launch")];
        let shown = cloud.tenant("acme").call("DescribeVolumes", &tagged).expect("answers");
        let mut sizes = Cloud::ids(&shown, "size");
        sizes.sort();
        assert_eq!(sizes, ["2", "3", "4"]);
        let shown = cloud.tenant("acme").call("DescribeInstances", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "deviceName"), ["/dev/xvda", "/dev/sdf", "/dev/sdg"]);
        assert_eq!(Cloud::ids(&shown, "deleteOnTermination")[..3], ["true", "false", "true"]);
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert_eq!(
            (Cloud::ids(&shown, "size"), Cloud::ids(&shown, "status")),
            (vec!["2".into()], vec!["available".into()])
        );
        cloud.audit();
    }

    #[test]
    fn what_a_mapping_cannot_be_is_refused() {
        let mut cloud = Cloud::new();
        let name = "BlockDeviceMapping.1.DeviceName";
        for (more, code) in [
            (vec![(name, "/dev/sdf"), ("BlockDeviceMapping.1.VirtualName", "ephemeral0")], "UnsupportedOperation"),
            (vec![(name, "/dev/sdf")], "MissingParameter"),
            (vec![(name, "/dev/sdf"), ("BlockDeviceMapping.1.Ebs.KmsKeyId", "k")], "MissingParameter"),
            (vec![(name, "/dev/xvda"), ("BlockDeviceMapping.1.NoDevice", "")], "InvalidBlockDeviceMapping"),
            (vec![(name, "disk"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "1")], "InvalidParameterValue"),
            (vec![(name, "/dev/sda"), ("BlockDeviceMapping.2.DeviceName", "/dev/xvda")], "InvalidBlockDeviceMapping"),
        ] {
            let refusal = cloud.tenant("acme").run_with(&more).expect_err(code);
            assert!(refusal.starts_with(code), "{more:?}: {refusal}");
        }
    }
    #[test]
    fn a_launch_makes_volumes_of_snapshots() {
        let mut cloud = Cloud::new();
        let builtin = cloud.builtin_snapshot();
        let name = "BlockDeviceMapping.1.DeviceName";
        let (snapshot, size) = ("BlockDeviceMapping.1.Ebs.SnapshotId", "BlockDeviceMapping.1.Ebs.VolumeSize");
        let ask = [(name, "/dev/sdf"), (snapshot, builtin.as_str())];
        cloud.tenant("acme").run_with(&ask).expect("launches");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "snapshotId"), [builtin.clone(), builtin.clone()]);
        let volumes: Vec<_> = Cloud::ids(&shown, "volumeId").into_iter().step_by(2).collect();
        assert!(volumes.len() == 2 && volumes.iter().all(|id| cloud.begins_as_the_image(id)), "{shown}");
        let own = cloud.tenant("acme").call("CreateSnapshot", &[("VolumeId", &volumes[0])]).expect("makes");
        let own = Cloud::ids(&own, "snapshotId").remove(0);
        let refusal = cloud.tenant("other").run_with(&[(name, "/dev/sdf"), (snapshot, &own)]).expect_err("another's");
        assert_eq!(refusal, format!("InvalidSnapshot.NotFound: The snapshot '{own}' does not exist."));
        let refusal = cloud.tenant("acme").run_with(&[(name, "/dev/xvda"), (snapshot, &own)]).expect_err("the root");
        assert_eq!(refusal, "InvalidBlockDeviceMapping: snapshotId cannot be modified on root device");
        let refusal = cloud.tenant("acme").run_with(&[(name, "/dev/sdf"), (snapshot, &own)]).expect_err("too early");
        assert_eq!(refusal, format!("IncorrectState: The snapshot '{own}' is pending, not completed."));
        cloud.settle();
        cloud.tenant("acme").run_with(&[(name, "/dev/sdf"), (snapshot, &own), (size, "3")]).expect("launches");
        cloud.audit();
    }

    #[test]
    fn what_a_mapping_leaves_out_of_an_images_device_is_as_the_image_says() {
        let mut cloud = Cloud::new();
        let builtin = cloud.builtin_snapshot();
        let image = [
            ("Name", "two disks"),
            ("Architecture", "x86_64"),
            ("VirtualizationType", "hvm"),
            ("RootDeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", &builtin),
            ("BlockDeviceMapping.2.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.Ebs.SnapshotId", &builtin),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "5"),
            ("BlockDeviceMapping.2.Ebs.VolumeType", "gp3"),
        ];
        let made = cloud.tenant("acme").call("RegisterImage", &image).expect("registers");
        let image = Cloud::ids(&made, "imageId").remove(0);
        let (name, size) = ("BlockDeviceMapping.1.DeviceName", "BlockDeviceMapping.1.Ebs.VolumeSize");
        let ends = "BlockDeviceMapping.1.Ebs.DeleteOnTermination";
        for (key, value, expected) in [(ends, "false", "5"), (size, "7", "7")] {
            let ask = [("ImageId", image.as_str()), (name, "/dev/xvdf"), (key, value)];
            let id = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
            let of = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", id.as_str())];
            let shown = cloud.tenant("acme").call("DescribeVolumes", &of).expect("answers");
            assert!(Cloud::ids(&shown, "size").contains(&expected.to_owned()), "{shown}");
            assert_eq!(Cloud::ids(&shown, "snapshotId"), [builtin.clone(), builtin.clone()]);
            assert_eq!(Cloud::ids(&shown, "volumeType"), ["gp3", "gp3"]);
        }
        cloud.audit();
    }
}
