//! CreateImage: snapshots of all volumes of an instance, and an image of them.
//!
//! The instance is rebooted as EC2 does it, but its volumes are kept as they are, without waiting for it: what the guest
//! has written and not flushed is not in the image.

use awan_model::image::{Details, Device, DeviceOptions, Image};
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::snapshot::{Bytes, Phase};
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::devices::{Mapped, mapped, named, new_id};
use crate::actions::ec2::snapshot::create_snapshot::{described, of_volumes, regional, room_for};
use crate::error::{Code, Result, invalid, missing, refuse, refuse_if};
use crate::{bytes, tagging};

pub fn create_image(tx: &mut Tx<Tenant>, req: ec2::CreateImageRequest) -> Result<ec2::CreateImageResult> {
    let ec2::CreateImageRequest {
        tag_specifications,
        snapshot_location,
        boot_mode_override,
        dry_run: _,
        instance_id,
        name,
        description,
        no_reboot,
        block_device_mappings,
    } = req;
    regional(snapshot_location.as_deref())?;
    refuse_if(boot_mode_override.is_some(), "BootModeOverride")?;
    let kinds = ["image", "snapshot"];
    let tags = tagging::specified(&tag_specifications, "image", &kinds)?;
    let snapshot_tags = tagging::specified(&tag_specifications, "snapshot", &kinds)?;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    let report = tx.find::<VmReport>(&instance.id);
    let now = state(&instance, report.as_deref());
    if !matches!(now, State::Pending | State::Running | State::Stopping | State::Stopped) {
        let message = format!("Instance '{}' is not in state 'running' or 'stopped'. It is {now}.", instance.id);
        return Err(refuse(Code::IncorrectState, message));
    }
    let name = named(tx, name)?;
    let description = described(description)?;
    let mapped = mapped(tx, block_device_mappings)?;
    let mut image = of_instance(tx, &instance, &mapped, &snapshot_tags)?;
    (image.name, image.description) = (name, description);
    tx.put(image.clone());
    tagging::add(tx, image.id.as_str(), &tags)?;
    if no_reboot != Some(true) && now == State::Running {
        tx.put(Instance { reboots: instance.reboots + 1, ..(*instance).clone() });
    }
    Ok(ec2::CreateImageResult { image_id: Some(image.id.to_string()) })
}

fn of_instance(tx: &mut Tx<Tenant>, instance: &Instance, mapped: &Mapped, tags: &[ec2::Tag]) -> Result<Image> {
    let id = new_id(tx);
    let attached = |v: &Volume| v.attachment.as_ref().is_some_and(|a| a.instance == instance.id);
    let mut volumes: Vec<_> = tx.list::<Volume>().into_iter().filter(|v| attached(v)).collect();
    let name_of = |v: &Volume| v.attachment.as_ref().map(|a| a.device.clone()).unwrap_or_default();
    if mapped.omitted.contains(&instance.root_device) {
        return Err(invalid("The root device cannot be left out of an image"));
    }
    volumes.retain(|v| !mapped.omitted.contains(&name_of(v)));
    volumes.sort_by_key(|v| name_of(v));
    room_for(tx, volumes.len())?;
    let (mut devices, mut bytes, mut phase) = (Vec::new(), Bytes::Nothing, Phase::Completed);
    let snapshots = of_volumes(tx, &volumes, |_| format!("Created by CreateImage({}) for {id}", instance.id))?;
    for (volume, snapshot) in volumes.iter().zip(snapshots) {
        let name = name_of(volume);
        let options = DeviceOptions {
            kind: volume.kind.clone(),
            keep: volume.attachment.as_ref().is_some_and(|a| !a.delete_on_termination),
            iops: volume.iops.filter(|_| ["gp3", "io1", "io2"].contains(&volume.kind.as_str())),
            throughput: volume.throughput.filter(|_| volume.kind == "gp3"),
            encrypted: volume.key.is_some(),
        };
        let asked = mapped.devices.iter().find(|(device, _)| device.name == name).map(|(device, _)| device);
        let options = asked.map_or(Ok(options.clone()), |device| changed(device, volume, options))?;
        tagging::add(tx, snapshot.id.as_str(), tags)?;
        if snapshot.phase == Phase::Pending {
            phase = Phase::Pending;
        }
        if name == instance.root_device {
            bytes = snapshot.bytes;
        }
        devices.push(Device { name, snapshot: Some(snapshot.id), size_gib: volume.size_gib, options });
    }
    let new = mapped.devices.iter().filter(|(d, _)| volumes.iter().all(|v| name_of(v) != d.name));
    for (device, _) in new {
        if device.size_gib == 0 {
            let message = format!("The device '{}' needs a snapshot or a volume size", device.name);
            return Err(refuse(Code::InvalidBlockDeviceMapping, message));
        }
        let mut device = device.clone();
        if device.options.kind.is_empty() {
            device.options.kind = DeviceOptions::default().kind;
        }
        devices.push(device);
    }
    let root = devices.iter().position(|device| device.name == instance.root_device).map(|at| devices.remove(at));
    let Some(Device { snapshot: Some(snapshot), size_gib, options, .. }) = root else {
        return Err(refuse(Code::IncorrectState, format!("Instance '{}' has no root volume", instance.id)));
    };
    Ok(Image {
        home: tx.home().clone(),
        id,
        name: String::new(),
        description: String::new(),
        public: false,
        architecture: instance.architecture.clone(),
        size_gib,
        root_device: instance.root_device.clone(),
        snapshot,
        boot: bytes::boot(tx, &bytes),
        created: tx.now(),
        details: Details {
            bytes: Some(bytes),
            phase,
            root: options,
            devices,
            source_instance: Some(instance.id.clone()),
            ..Details::default()
        },
    })
}

/// What a request may say of a device that the instance has.
fn changed(asked: &Device, volume: &Volume, mut options: DeviceOptions) -> Result<DeviceOptions> {
    if (asked.size_gib != 0 && asked.size_gib != volume.size_gib) || asked.snapshot.is_some() {
        let message = format!("The size and the snapshot of the device '{}' are those of its volume", asked.name);
        return Err(refuse(Code::InvalidBlockDeviceMapping, message));
    }
    if asked.options.encrypted && volume.key.is_none() {
        let message = format!("The device '{}' is not encrypted, and its snapshot cannot be", asked.name);
        return Err(refuse(Code::UnsupportedOperation, message));
    }
    if !asked.options.kind.is_empty() {
        options.kind.clone_from(&asked.options.kind);
        (options.iops, options.throughput) = (asked.options.iops, asked.options.throughput);
    }
    options.keep = asked.options.keep;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use awan_state::System;

    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn an_image_of_an_instance_reboots_it_and_keeps_its_snapshot() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        let ask = [
            ("InstanceId", instance.as_str()),
            ("Name", "golden"),
            ("TagSpecification.1.ResourceType", "snapshot"),
            ("TagSpecification.1.Tag.1.Key", "of"),
            ("TagSpecification.1.Tag.1.Value", "golden"),
        ];
        let made = cloud.tenant("acme").call("CreateImage", &ask).expect("makes");
        let image = Cloud::ids(&made, "imageId").remove(0);
        assert_eq!(cloud.instance(&instance).0.reboots, 1);
        let shown = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &image)]).expect("answers");
        assert!(shown.contains(&format!("<sourceInstanceId>{instance}</sourceInstanceId>")), "{shown}");
        let snapshot = Cloud::ids(&shown, "snapshotId").remove(0);
        let about = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", &snapshot)]).expect("answers");
        assert!(about.contains("<value>golden</value>"), "{about}");
        assert!(about.contains(&format!("Created by CreateImage({instance}) for {image}")), "{about}");
        let refusal = cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshot)]).expect_err("in use");
        let expected = format!("InvalidSnapshot.InUse: The snapshot {snapshot} is currently in use by {image}");
        assert_eq!(refusal, expected);
        assert_eq!(Cloud::ids(&shown, "imageState"), ["pending"]);
        let device = Cloud::ids(&shown, "rootDeviceName").remove(0);
        let named = [("BlockDeviceMapping.1.DeviceName", &*device), ("BlockDeviceMapping.1.Ebs.Encrypted", "true")];
        let ask = [[("InstanceId", instance.as_str()), ("Name", "sealed")], named].concat();
        let refusal = cloud.tenant("acme").call("CreateImage", &ask).expect_err("its bytes are plain");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        let refusal = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect_err("too early");
        assert_eq!(refusal, format!("InvalidAMIID.Unavailable: The image ID '{image}' is not available"));
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &image)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "imageState"), ["available"]);
        let child = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches").remove(0);
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let boots = plans.values().flat_map(|plan| &plan.vms).map(|vm| (&vm.boot, &vm.image)).collect::<Vec<_>>();
        assert!(boots.len() == 2 && boots[0] == boots[1], "begins as what it is an image of: {boots:?}");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &child)]).expect("terminates");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        let again = [("InstanceId", instance.as_str()), ("Name", "silver")];
        let refusal = cloud.tenant("acme").call("CreateImage", &again).expect_err("is going");
        assert!(refusal.starts_with("IncorrectState"), "{refusal}");
    }
}
