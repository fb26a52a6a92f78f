//! ImportImage: an image of disks that lie elsewhere. Firmware starts what the first of them holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::id::ImportImageId;
use awan_model::import::{ImportTask, ImportedDisk, ImportedImage, Product};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::task::{self, Asked};
use crate::actions::ec2::image::devices::{named, new_id};
use crate::actions::ec2::image::register_image::one_of;
use crate::actions::ec2::snapshot::create_snapshot::{described, room_for};
use crate::error::{Error, Result, invalid, invalid_value, missing, refuse_if};
use crate::token::Use;
use crate::{imports, keys, tagging};

/// As many as have names, from `/dev/sdf` on.
const DISKS_MAX: usize = 20;
const DEVICE_MAX: usize = 32;

pub fn import_image(tx: &mut Tx<Tenant>, req: ec2::ImportImageRequest) -> Result<ec2::ImportImageResult> {
    let others = ec2::ImportImageRequest { client_token: None, dry_run: None, ..req.clone() };
    let token = Use::given("ImportImage", req.client_token.as_deref(), 64, &format!("{others:?}"))?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        let id = made.into_iter().next().ok_or_else(|| Error::fault("a token that made nothing"))?;
        let task = tx.get::<ImportTask>(&id)?;
        return Ok(answer(tx, &task));
    }
    let task = begin(tx, req)?;
    if let Some(first) = token {
        first.keep(tx, vec![task.id.clone()]);
    }
    Ok(answer(tx, &task))
}

fn begin(tx: &mut Tx<Tenant>, req: ec2::ImportImageRequest) -> Result<Arc<ImportTask>> {
    let ec2::ImportImageRequest {
        architecture,
        client_data,
        client_token,
        description,
        disk_containers,
        dry_run: _,
        encrypted,
        hypervisor,
        kms_key_id,
        license_type,
        platform,
        // The role that EC2 reads a bucket with.
        role_name: _,
        license_specifications,
        tag_specifications,
        usage_operation,
        boot_mode,
    } = req;
    task::client_told(client_data)?;
    let encrypted = keys::wanted(tx, encrypted, kms_key_id.as_deref(), false)?;
    refuse_if(architecture.as_deref().is_some_and(|a| a == "i386" || a == "arm64"), "Architecture")?;
    one_of(architecture.as_deref(), &["x86_64"], "Architecture")?;
    // EC2: unused.
    one_of(hypervisor.as_deref(), &["xen"], "Hypervisor")?;
    refuse_if(license_type.as_deref().is_some_and(|l| l != "BYOL"), "LicenseType")?;
    refuse_if(!license_specifications.is_empty(), "LicenseSpecifications")?;
    refuse_if(usage_operation.as_deref().is_some_and(|u| u != "RunInstances"), "UsageOperation")?;
    one_of(platform.as_deref(), &["Linux", "Windows"], "Platform")?;
    refuse_if(boot_mode.as_deref() == Some("uefi"), "BootMode=uefi")?;
    one_of(boot_mode.as_deref(), &["legacy-bios", "uefi-preferred"], "BootMode")?;
    if disk_containers.is_empty() {
        return Err(missing("DiskContainers"));
    }
    if disk_containers.len() > DISKS_MAX {
        return Err(invalid(format!("At most {DISKS_MAX} disks can be imported at once")));
    }
    let count = disk_containers.len();
    let disks = disks(tx, disk_containers, encrypted)?;
    let tags = tagging::specified(&tag_specifications, "import-image-task", &["import-image-task"])?;
    task::room(tx)?;
    room_for(tx, count)?;
    let (id, image) = (tx.new_id(ImportImageId::PREFIX), new_id(tx));
    let task = ImportTask {
        home: tx.home().clone(),
        // The image is called as its task is.
        id: named(tx, Some(id))?,
        description: described(description)?,
        product: Product::Image(ImportedImage { image, platform, boot_mode }),
        disks,
        client_token: client_token.filter(|token| !token.is_empty()),
        created: tx.now(),
        outcome: None,
    };
    let task = task::put(tx, task);
    tagging::add(tx, &task.id, &tags)?;
    Ok(task)
}

fn disks(tx: &mut Tx<Tenant>, asked: Vec<ec2::ImageDiskContainer>, encrypted: bool) -> Result<Vec<ImportedDisk>> {
    let (mut disks, mut devices) = (Vec::new(), BTreeSet::new());
    for (n, container) in asked.into_iter().enumerate() {
        let ec2::ImageDiskContainer { description, device_name, format, snapshot_id, url, user_bucket } = container;
        let parameter = format!("DiskContainer.{}", n + 1);
        refuse_if(snapshot_id.is_some(), &format!("{parameter}.SnapshotId"))?;
        let fine =
            |name: &str| name.starts_with("/dev/") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'/');
        if let Some(name) = device_name.as_ref().filter(|name| name.len() > DEVICE_MAX || !fine(name)) {
            return Err(invalid_value(name.chars().take(64).collect::<String>().escape_debug(), "DeviceName"));
        }
        if device_name.as_ref().is_some_and(|name| !devices.insert(name.clone())) {
            return Err(invalid("Two disks have the same device name"));
        }
        let (description, bucket) = (described(description)?, user_bucket.is_some());
        let asked = Asked { encrypted, description, device: device_name, format, url, bucket };
        disks.push(task::disk(tx, asked, &parameter)?);
    }
    Ok(disks)
}

fn answer(tx: &mut Tx<Tenant>, task: &ImportTask) -> ec2::ImportImageResult {
    let ec2::ImportImageTask {
        architecture, description, image_id, platform, progress, status, status_message, ..
    } = shown(tx, task);
    ec2::ImportImageResult {
        architecture,
        description,
        encrypted: Some(task.is_encrypted()),
        image_id,
        kms_key_id: keys::shown(&task.home, task.is_encrypted()),
        import_task_id: Some(task.id.clone()),
        license_type: Some("BYOL".into()),
        platform,
        progress,
        snapshot_details: details(tx, task),
        status,
        status_message,
        tags: tagging::shown(&tagging::of(tx, &task.id)),
        ..Default::default()
    }
}

pub fn shown(tx: &mut Tx<Tenant>, task: &ImportTask) -> ec2::ImportImageTask {
    let progress = imports::progress(tx, task);
    let image = match &task.product {
        Product::Image(image) => Some(image),
        Product::Snapshot => None,
    };
    let done = progress.status == "completed";
    ec2::ImportImageTask {
        architecture: Some("x86_64".into()),
        description: task::said(&task.description),
        encrypted: Some(task.is_encrypted()),
        kms_key_id: keys::shown(&task.home, task.is_encrypted()),
        image_id: image.filter(|_| done).map(|image| image.image.to_string()),
        import_task_id: Some(task.id.clone()),
        license_type: Some("BYOL".into()),
        platform: Some(image.and_then(|image| image.platform.clone()).unwrap_or_else(|| "Linux".into())),
        progress: task::text(progress.percent),
        snapshot_details: details(tx, task),
        status: Some(progress.status.to_owned()),
        status_message: progress.message,
        tags: tagging::shown(&tagging::of(tx, &task.id)),
        usage_operation: Some("RunInstances".into()),
        boot_mode: image.and_then(|image| image.boot_mode.clone()),
        ..Default::default()
    }
}

fn details(tx: &mut Tx<Tenant>, task: &ImportTask) -> Vec<ec2::SnapshotDetail> {
    let progress = imports::progress(tx, task);
    let detail = |(n, disk): (usize, &ImportedDisk)| ec2::SnapshotDetail {
        description: task::said(&disk.description),
        device_name: disk.device.clone(),
        disk_image_size: task::bytes(task, n),
        format: Some(disk.format.as_str().to_owned()),
        progress: task::text(progress.percent),
        snapshot_id: task::snapshot_id(task, disk),
        status: Some(progress.status.to_owned()),
        status_message: progress.message.clone(),
        url: Some(disk.url.clone()),
        user_bucket: None,
    };
    task.disks.iter().enumerate().map(detail).collect()
}

#[cfg(test)]
mod tests {
    use awan_model::import::ImportPhase;

    use crate::testing::Cloud;

    fn ask<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let usual =
            [("DiskContainer.1.Url", "http://x/root"), ("DiskContainer.1.Format", "VMDK"), ("Description", "mine")];
        let kept = usual.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        kept.chain(more.iter().copied()).collect()
    }

    #[test]
    fn disks_become_an_image_that_instances_are_launched_from() {
        let mut cloud = Cloud::new();
        cloud.join("other", "*", 1);
        let second = [("DiskContainer.2.Url", "http://x/data"), ("DiskContainer.2.Format", "raw")];
        let second = [&second[..], &[("ClientToken", "a"), ("DiskContainer.1.DeviceName", "/dev/xvda")]].concat();
        let second = [&second[..], &[("Encrypted", "true")]].concat();
        let made = cloud.tenant("acme").call("ImportImage", &ask(&second)).expect("begins");
        let id = Cloud::ids(&made, "importTaskId").remove(0);
        assert!(id.starts_with("import-ami-") && Cloud::ids(&made, "imageId").is_empty(), "{made}");
        let again = cloud.tenant("acme").call("ImportImage", &ask(&second)).expect("is the same");
        assert_eq!(Cloud::ids(&again, "importTaskId"), std::slice::from_ref(&id));
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeImportImageTasks", &[("ImportTaskId.1", &id)]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "status"), ["completed", "completed", "completed"], "the task and two disks");
        let image = Cloud::ids(&shown, "imageId").remove(0);
        assert_eq!(cloud.snapshots("acme").len(), 2);
        let about = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &image)]).expect("answers");
        let text = |element| Cloud::ids(&about, element);
        assert_eq!((text("name"), text("description")), (vec![id.clone()], vec!["mine".into()]));
        assert_eq!(
            (text("rootDeviceName"), text("deviceName")),
            (vec!["/dev/xvda".into()], vec!["/dev/xvda".into(), "/dev/sdf".into()])
        );
        let ids = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches");
        cloud.settle();
        assert_eq!((cloud.state("acme", &ids[0]).as_str(), cloud.contents()), ("running", 2));
        let volumes = cloud.tenant("acme").call("DescribeVolumes", &[]).expect("answers");
        assert_eq!(
            (Cloud::ids(&shown, "encrypted"), Cloud::ids(&volumes, "encrypted")),
            (vec!["true".into()], vec!["true".to_owned(); 2])
        );
        let refusal =
            cloud.tenant("other").call("DescribeImportImageTasks", &[("ImportTaskId.1", &id)]).expect_err("foreign");
        assert_eq!(refusal, format!("InvalidConversionTaskId.NotFound: The import task ID '{id}' does not exist"));
        cloud.audit();
    }

    #[test]
    fn where_one_disk_fails_there_is_no_image_and_nothing_else() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").call("ImportImage", &ask(&[])).expect("begins");
        cloud.report_content(&ImportPhase::Failed { why: "ClientError: no".into() });
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeImportImageTasks", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "status")[..1], ["deleted"]);
        assert_eq!(Cloud::ids(&shown, "statusMessage")[..1], ["ClientError: no"]);
        let images = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "self")]).expect("answers");
        assert_eq!((Cloud::ids(&images, "imageId").len(), cloud.contents(), cloud.snapshots("acme")), (0, 0, vec![]));
        cloud.audit();
    }

    #[test]
    fn what_cannot_be_an_image_is_refused() {
        let mut cloud = Cloud::new();
        for (key, value, code) in [
            ("Architecture", "arm64", "UnsupportedOperation"),
            ("Architecture", "vax", "InvalidParameterValue"),
            ("BootMode", "uefi", "UnsupportedOperation"),
            ("BootMode", "x", "InvalidParameterValue"),
            ("Platform", "BeOS", "InvalidParameterValue"),
            ("LicenseType", "AWS", "UnsupportedOperation"),
            ("UsageOperation", "RunInstances:0002", "UnsupportedOperation"),
            ("DiskContainer.1.SnapshotId", "snap-00000000000000001", "UnsupportedOperation"),
            ("DiskContainer.1.DeviceName", "sda", "InvalidParameterValue"),
            ("DiskContainer.1.Url", "s3://x/y", "UnsupportedOperation"),
            ("DiskContainer.1.Format", "OVA", "UnsupportedOperation"),
            ("KmsKeyId", "alias/aws/ebs", "InvalidParameterDependency"),
        ] {
            let refusal = cloud.tenant("acme").call("ImportImage", &ask(&[(key, value)])).expect_err(value);
            assert!(refusal.starts_with(code), "{key}={value}: {refusal}");
        }
        let refusal = cloud.tenant("acme").call("ImportImage", &[]).expect_err("has no disk");
        assert!(refusal.starts_with("MissingParameter"), "{refusal}");
    }
}
