//! RegisterImage: an image of a snapshot.
//!
//! It can be launched where its root snapshot was imported, or is that of an image that came with Awan; no host keeps what others hold.

use awan_model::image::{Details, DeviceOptions, Image};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::devices::{Mapped, mapped, named, new_id};
use crate::actions::ec2::snapshot::create_snapshot::described;
use crate::error::{Code, Result, invalid_value, refuse, refuse_if};
use crate::{bytes, tagging};

pub fn register_image(tx: &mut Tx<Tenant>, req: ec2::RegisterImageRequest) -> Result<ec2::RegisterImageResult> {
    let ec2::RegisterImageRequest {
        image_location,
        billing_products,
        boot_mode,
        tpm_support,
        uefi_data,
        imds_support,
        tag_specifications,
        dry_run: _,
        name,
        description,
        architecture,
        kernel_id,
        ramdisk_id,
        root_device_name,
        block_device_mappings,
        virtualization_type,
        sriov_net_support,
        ena_support,
    } = req;
    // Terraform sends what it was not told as an empty text.
    let there = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    for (there, parameter) in [
        (there(&image_location), "ImageLocation"),
        (!billing_products.is_empty(), "BillingProduct"),
        (there(&tpm_support), "TpmSupport"),
        (there(&uefi_data), "UefiData"),
        (there(&kernel_id), "KernelId"),
        (there(&ramdisk_id), "RamdiskId"),
        // EC2's default, of machines that there are none of.
        (virtualization_type.as_deref().is_none_or(|t| t == "paravirtual"), "VirtualizationType=paravirtual"),
    ] {
        refuse_if(there, parameter)?;
    }
    one_of(virtualization_type.as_deref(), &["hvm"], "VirtualizationType")?;
    refuse_if(boot_mode.as_deref() == Some("uefi"), "BootMode=uefi")?;
    one_of(boot_mode.as_deref(), &["legacy-bios", "uefi-preferred"], "BootMode")?;
    one_of(imds_support.as_deref(), &["v2.0"], "ImdsSupport")?;
    one_of(sriov_net_support.as_deref(), &["simple"], "SriovNetSupport")?;
    let architecture = architecture.unwrap_or_else(|| "i386".into());
    one_of(Some(&architecture), &["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"], "Architecture")?;
    let tags = tagging::specified(&tag_specifications, "image", &["image"])?;
    let name = named(tx, name)?;
    let details = Details {
        boot_mode,
        no_ena: ena_support != Some(true),
        sriov: sriov_net_support.is_some(),
        imds_v2: imds_support.is_some(),
        ..Details::default()
    };
    let root_device = root_device_name.unwrap_or_else(|| "/dev/sda1".into());
    let mapped = mapped(tx, block_device_mappings)?;
    let mut image = of_devices(tx, mapped, root_device, details)?;
    (image.name, image.architecture, image.description) = (name, architecture, described(description)?);
    tx.put(image.clone());
    tagging::add(tx, image.id.as_str(), &tags)?;
    Ok(ec2::RegisterImageResult { image_id: Some(image.id.to_string()) })
}

pub fn one_of(value: Option<&str>, known: &[&str], parameter: &str) -> Result<()> {
    match value.filter(|value| !known.contains(value)) {
        None => Ok(()),
        Some(other) => Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), parameter)),
    }
}

/// An image of these devices, one of which is its root; nameless as yet.
pub fn of_devices(tx: &mut Tx<Tenant>, mapped: Mapped, root_device: String, details: Details) -> Result<Image> {
    let no = |message: String| refuse(Code::InvalidBlockDeviceMapping, message);
    let (mut root, mut devices) = (None, Vec::new());
    for (mut device, snapshot) in mapped.devices {
        if device.size_gib == 0 {
            return Err(no(format!("The device '{}' needs a snapshot or a volume size", device.name)));
        }
        if device.options.kind.is_empty() {
            device.options.kind = DeviceOptions::default().kind;
        }
        if device.name == root_device {
            root = Some((device, snapshot));
        } else {
            devices.push(device);
        }
    }
    let Some((root, Some(snapshot))) = root else {
        return Err(no(format!("The root device '{}' has no snapshot", root_device.escape_debug())));
    };
    let boot = bytes::boot(tx, &snapshot.bytes);
    Ok(Image {
        home: tx.home().clone(),
        id: new_id(tx),
        name: String::new(),
        description: String::new(),
        public: false,
        architecture: String::new(),
        size_gib: root.size_gib,
        root_device,
        snapshot: snapshot.id.clone(),
        boot,
        created: tx.now(),
        details: Details { bytes: Some(snapshot.bytes.clone()), root: root.options, devices, ..details },
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    fn ask<'a>(name: &'a str, snapshot: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("Name", name),
            ("VirtualizationType", "hvm"),
            ("Architecture", "x86_64"),
            ("RootDeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot),
            ("ImageLocation", ""),
            ("SriovNetSupport", "simple"),
        ]
    }

    #[test]
    fn an_image_of_a_snapshot_is_launched_after_it_is_gone_too() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let snapshot = Cloud::ids(&public, "snapshotId").remove(0);
        let made = cloud.tenant("acme").call("RegisterImage", &ask("my own", &snapshot)).expect("registers");
        let image = Cloud::ids(&made, "imageId").remove(0);
        let shown = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "self")]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "name"), ["my own"]);
        let refusal = cloud.tenant("other").run_with(&[("ImageId", &image)]).expect_err("is not theirs");
        assert_eq!(refusal, format!("InvalidAMIID.NotFound: The image id '[{image}]' does not exist"));
        let ids = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches");
        cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &image)]).expect("goes");
        cloud.settle();
        assert_eq!(cloud.state("acme", &ids[0]), "running");
        cloud.audit();
    }

    #[test]
    fn an_image_that_cannot_be_is_refused() {
        let mut cloud = Cloud::new();
        let public = cloud.tenant("acme").call("DescribeImages", &[]).expect("answers");
        let snapshot = Cloud::ids(&public, "snapshotId").remove(0);
        let good = ask("mine", &snapshot);
        cloud.tenant("acme").call("RegisterImage", &good).expect("registers");
        for (key, value, code) in [
            ("Name", "mine", "InvalidAMIName.Duplicate"),
            ("Name", "a", "InvalidAMIName.Malformed"),
            ("Name", "semi;colon", "InvalidAMIName.Malformed"),
            ("VirtualizationType", "paravirtual", "UnsupportedOperation"),
            ("BootMode", "uefi", "UnsupportedOperation"),
            ("Architecture", "vax", "InvalidParameterValue"),
            ("RootDeviceName", "/dev/sdx", "InvalidBlockDeviceMapping"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-00000000000000000", "InvalidSnapshot.NotFound"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "io2", "InvalidBlockDeviceMapping"),
        ] {
            let mut ask: Vec<_> = good.iter().copied().filter(|(k, _)| *k != key).collect();
            if key != "Name" {
                ask.retain(|(k, _)| *k != "Name");
                ask.push(("Name", "another"));
            }
            ask.push((key, value));
            let refusal = cloud.tenant("acme").call("RegisterImage", &ask).expect_err(value);
            assert!(refusal.starts_with(code), "{key}={value}: {refusal}");
        }
    }
}
