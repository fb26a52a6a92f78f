//! live: ExportImage asks the host that has what an image holds whether the bucket is there, and has it write a file.

use std::sync::Arc;

use awan_model::export::{DiskFormat, ExportTask};
use awan_model::id::{ExportImageId, ImageId};
use awan_model::image::Image;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::location::{self, Location};
use crate::actions::ec2::snapshot::create_snapshot::described;
use crate::dispatch::{Live, dry_run_succeeded};
use crate::error::{Code, Error, Result, invalid, invalid_value, missing, refuse};
use crate::token::Use;
use crate::{exports, live, schedule, sharing, tagging};

/// EC2's quota of tasks at once, as far as it can be raised.
const ACTIVE_MAX: usize = 20;
/// How many that have ended are remembered.
const ENDED_MAX: usize = 200;
const ROLE_MAX: usize = 64;

pub async fn export_image(cx: Live, req: ec2::ExportImageRequest) -> Result<ec2::ExportImageResult> {
    // Looks first: a host is asked about what would be begun only.
    let (task, is_new) = cx.control.db.rehearse(cx.tenant.clone(), |tx| begun(tx, req.clone()))?;
    if is_new && !live::has_bucket(&cx, &task.host, &task.bucket).await? {
        return Err(location::no_bucket(&task.bucket));
    }
    if req.dry_run == Some(true) {
        return Err(dry_run_succeeded());
    }
    let begin = |tx: &mut Tx<Tenant>| {
        let (task, _) = begun(tx, req.clone())?;
        Ok(answer(tx, &task))
    };
    cx.control.db.transact(cx.tenant.clone(), &cx.request_id, begin).await
}

/// The second: no request with its token came before.
fn begun(tx: &mut Tx<Tenant>, req: ec2::ExportImageRequest) -> Result<(Arc<ExportTask>, bool)> {
    let others = ec2::ExportImageRequest { client_token: None, dry_run: None, ..req.clone() };
    let token = Use::given("ExportImage", req.client_token.as_deref(), 64, &format!("{others:?}"))?;
    if let Some(first) = &token
        && let Some(made) = first.made(tx)?
    {
        let id = made.first().ok_or_else(|| Error::fault("a token that made nothing"))?.parse()?;
        return Ok((tx.get::<ExportTask>(&id)?, false));
    }
    let task = begin(tx, req)?;
    if let Some(first) = token {
        first.keep(tx, vec![task.id.to_string()]);
    }
    Ok((Arc::new(task), true))
}

fn begin(tx: &mut Tx<Tenant>, req: ec2::ExportImageRequest) -> Result<ExportTask> {
    let ec2::ExportImageRequest {
        client_token,
        description,
        disk_image_format,
        dry_run: _,
        image_id,
        s3_export_location,
        role_name,
        tag_specifications,
    } = req;
    let id = image_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("ImageId"))?.parse()?;
    let format = format(disk_image_format)?;
    let Location { bucket, prefix } = Location::read(s3_export_location)?;
    let tags = tagging::specified(&tag_specifications, "export-image-task", &["export-image-task"])?;
    let (description, role) = (described(description)?, role(role_name)?);
    let image = exportable(tx, &id)?;
    if format == DiskFormat::Vhd && image.size_gib > DiskFormat::VHD_GIB_MAX {
        let most = DiskFormat::VHD_GIB_MAX;
        return Err(refuse(Code::NotExportable, format!("A VHD has at most {most} GiB; the image '{id}' has more.")));
    }
    let bytes = bytes(&image)?;
    let host = schedule::exporter(tx, bytes.as_ref()).ok_or_else(|| {
        let message = "Images cannot be exported: the operator has given no folder for them (--export-dir).";
        refuse(Code::UnsupportedOperation, message)
    })?;
    room(tx)?;
    let task = ExportTask {
        home: tx.home().clone(),
        id: ExportImageId::made(tx.new_id(ExportImageId::PREFIX)),
        description,
        image: id,
        format,
        bucket,
        prefix,
        role,
        bytes,
        size_gib: image.size_gib,
        host,
        client_token: client_token.filter(|token| !token.is_empty()),
        created: tx.now(),
        outcome: None,
        cleared: false,
    };
    tx.put(task.clone());
    tagging::add(tx, task.id.as_str(), &tags)?;
    Ok(task)
}

fn format(asked: Option<String>) -> Result<DiskFormat> {
    let asked = asked.filter(|format| !format.is_empty()).ok_or_else(|| missing("DiskImageFormat"))?;
    let known = DiskFormat::ALL.into_iter().find(|known| known.as_str() == asked);
    known.ok_or_else(|| invalid_value(asked.chars().take(32).collect::<String>().escape_debug(), "DiskImageFormat"))
}

/// The role that EC2 writes to a bucket with: nobody needs one here.
fn role(asked: Option<String>) -> Result<Option<String>> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    match asked.filter(|role| !role.is_empty()) {
        Some(role) if role.len() > ROLE_MAX || !role.bytes().all(fine) => {
            Err(invalid(format!("A role name has at most {ROLE_MAX} letters, digits and characters of +=,.@_-")))
        }
        role => Ok(role),
    }
}

/// An image that may leave. Source: "Considerations for image export", VM Import/Export User Guide.
fn exportable(tx: &mut Tx<Tenant>, id: &ImageId) -> Result<Arc<Image>> {
    let no = |what: &str| refuse(Code::NotExportable, format!("The image ID provided ({id}) is {what}"));
    if tx.shared::<Image>(id)?.is_builtin() {
        return Err(no("an Amazon-provided AMI and is not exportable."));
    }
    let image = sharing::own::<Image>(tx, id, "image")?;
    let is_encrypted = |id| tx.find::<Snapshot>(id).is_some_and(|snapshot| snapshot.encrypted);
    if image.is_encrypted() || image.snapshots().any(is_encrypted) {
        return Err(no("of encrypted snapshots and is not exportable."));
    }
    if image.details.phase != Phase::Completed || image.details.disabled {
        return Err(refuse(Code::InvalidAmiIdUnavailable, format!("The image ID '{id}' is not available")));
    }
    if !image.details.devices.is_empty() {
        let message = format!("The image '{id}' has more than its root device, and only that can be exported yet.");
        return Err(refuse(Code::UnsupportedOperation, message));
    }
    Ok(image)
}

/// What its root device begins as; `None`: nothing.
fn bytes(image: &Image) -> Result<Option<ImageId>> {
    match &image.details.bytes {
        Some(Bytes::Own) => {
            let message =
                format!("What the image '{}' is of is a record: what its volume held was not kept.", image.id);
            Err(refuse(Code::UnsupportedOperation, message))
        }
        _ => Ok(image.bytes()),
    }
}

/// Refuses one task too many, and forgets old ones.
fn room(tx: &mut Tx<Tenant>) -> Result<()> {
    exports::forget_old(tx, ENDED_MAX);
    if tx.list::<ExportTask>().iter().filter(|task| task.is_planned()).count() < ACTIVE_MAX {
        return Ok(());
    }
    let message = format!("The limit of {ACTIVE_MAX} export tasks at once has been reached.");
    Err(refuse(Code::ResourceLimitExceeded, message))
}

fn answer(tx: &mut Tx<Tenant>, task: &ExportTask) -> ec2::ExportImageResult {
    let ec2::ExportImageTask {
        description,
        export_image_task_id,
        image_id,
        progress,
        s3_export_location,
        status,
        status_message,
        tags,
    } = shown(tx, task);
    ec2::ExportImageResult {
        description,
        disk_image_format: Some(task.format.as_str().to_owned()),
        export_image_task_id,
        image_id,
        role_name: task.role.clone(),
        progress,
        s3_export_location,
        status,
        status_message,
        tags,
    }
}

pub fn shown(tx: &mut Tx<Tenant>, task: &ExportTask) -> ec2::ExportImageTask {
    let progress = exports::progress(tx, task);
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ec2::ExportImageTask {
        description: said(&task.description),
        export_image_task_id: Some(task.id.to_string()),
        image_id: Some(task.image.to_string()),
        progress: progress.percent.map(|percent| percent.to_string()),
        s3_export_location: Some(ec2::ExportTaskS3Location {
            s3_bucket: Some(task.bucket.clone()),
            s3_prefix: said(&task.prefix),
        }),
        status: Some(progress.status.to_owned()),
        status_message: progress.message,
        tags: tagging::shown(&tagging::of(tx, task.id.as_str())),
    }
}

#[cfg(test)]
pub mod tests {
    use awan_model::export::ExportPhase;
    use awan_model::report::{Answer, Ask};
    use awan_state::System;

    use crate::testing::Cloud;

    /// An image of acme's own, and of what a disk from elsewhere holds.
    pub fn image(cloud: &mut Cloud) -> String {
        let ask = [("DiskContainer.1.Url", "http://x/y"), ("DiskContainer.1.Format", "RAW")];
        cloud.tenant("acme").call("ImportImage", &ask).expect("begins");
        cloud.settle();
        let shown = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "self")]).expect("answers");
        Cloud::ids(&shown, "imageId").remove(0)
    }

    fn ask<'a>(image: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let usual = [("ImageId", image), ("DiskImageFormat", "VMDK"), ("S3ExportLocation.S3Bucket", "mine")];
        let kept = usual.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        kept.chain(more.iter().copied()).filter(|(_, value)| !value.is_empty()).collect()
    }

    pub fn begin(cloud: &mut Cloud, image: &str, more: &[(&str, &str)]) -> Result<String, String> {
        let made = cloud.tenant("acme").call("ExportImage", &ask(image, more))?;
        Ok(Cloud::ids(&made, "exportImageTaskId").remove(0))
    }

    /// Status, message and progress of one of acme's.
    pub fn status(cloud: &mut Cloud, id: &str) -> (String, String, Option<String>) {
        let ask = [("ExportImageTaskId.1", id)];
        let shown = cloud.tenant("acme").call("DescribeExportImageTasks", &ask).expect("answers");
        let text = |element: &str| Cloud::ids(&shown, element).pop();
        (text("status").unwrap_or_default(), text("statusMessage").unwrap_or_default(), text("progress"))
    }

    /// One bucket is there.
    fn answers(ask: Ask) -> Answer {
        match ask {
            Ask::Bucket { name, .. } if name == "mine" => Answer::Done,
            _ => Answer::NoBucket,
        }
    }

    #[test]
    fn an_image_is_written_by_the_host_that_has_it_and_what_it_holds_stays_meanwhile() {
        let mut cloud = Cloud::new();
        cloud.join("other", "*", 1);
        let told = cloud.answering(answers);
        let image = image(&mut cloud);
        let more = [
            ("S3ExportLocation.S3Prefix", "exports/"),
            ("Description", "mine"),
            ("RoleName", "vmimport"),
            ("ClientToken", "a"),
            ("TagSpecification.1.ResourceType", "export-image-task"),
            ("TagSpecification.1.Tag.1.Key", "k"),
            ("TagSpecification.1.Tag.1.Value", "v"),
        ];
        let made = cloud.tenant("acme").call("ExportImage", &ask(&image, &more)).expect("begins");
        let id = Cloud::ids(&made, "exportImageTaskId").remove(0);
        for (element, value) in [
            ("imageId", image.as_str()),
            ("diskImageFormat", "VMDK"),
            ("status", "active"),
            ("statusMessage", "validating"),
            ("progress", "0"),
            ("s3Bucket", "mine"),
            ("s3Prefix", "exports/"),
            ("roleName", "vmimport"),
            ("description", "mine"),
            ("key", "k"),
        ] {
            assert_eq!(Cloud::ids(&made, element), [value], "{element}: {made}");
        }
        assert_eq!(begin(&mut cloud, &image, &more), Ok(id.clone()), "the same token");
        let other = [&more[..], &[("DiskImageFormat", "RAW")]].concat();
        let refusal = begin(&mut cloud, &image, &other).expect_err("another request");
        assert!(refusal.starts_with("IdempotentParameterMismatch"), "{refusal}");
        let gone = [("ImageId", image.as_str()), ("DeleteAssociatedSnapshots", "true")];
        cloud.tenant("acme").call("DeregisterImage", &gone).expect("goes");
        cloud.report_export(&ExportPhase::Writing { percent: 10 });
        cloud.audit();
        assert_eq!((cloud.contents(), status(&mut cloud, &id).1), (1, "converting".into()));
        cloud.settle();
        assert_eq!(status(&mut cloud, &id), ("completed".into(), String::new(), None));
        cloud.settle();
        assert_eq!(cloud.contents(), 0, "nothing begins as it any more");
        told.abort();
        cloud.audit();
    }

    #[test]
    fn hosts_hear_of_what_was_asked_for_first_before_all_else() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(answers);
        let mut asked = Vec::new();
        let own = ["acme", "other", "third"].map(|account| (account, cloud.image_of(account).1));
        for (account, copy) in own.iter().chain(&own) {
            cloud.pass(1_000);
            let made = cloud.tenant(account).call("ExportImage", &ask(copy, &[])).expect("begins");
            asked.extend(Cloud::ids(&made, "exportImageTaskId"));
        }
        let plans = cloud.control.db.read(System, |tx| crate::plan::all(tx, 0));
        let planned: Vec<_> = plans.values().flat_map(|plan| &plan.exports).map(|of| of.id.to_string()).collect();
        assert_eq!(planned, asked);
        told.abort();
    }

    #[test]
    fn what_fails_says_why_and_ends() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(answers);
        let image = image(&mut cloud);
        let id = begin(&mut cloud, &image, &[]).expect("begins");
        cloud.report_export(&ExportPhase::Failed { why: "ServerError: no".into() });
        assert_eq!(status(&mut cloud, &id), ("deleted".into(), "ServerError: no".into(), None));
        for _ in 0..super::ACTIVE_MAX {
            begin(&mut cloud, &image, &[]).expect("begins");
        }
        let refusal = begin(&mut cloud, &image, &[]).expect_err("one too many");
        assert_eq!(refusal, "ResourceLimitExceeded: The limit of 20 export tasks at once has been reached.");
        told.abort();
        cloud.audit();
    }

    #[test]
    fn what_cannot_be_exported_is_refused_and_begins_nothing() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(answers);
        let image = image(&mut cloud);
        for (key, value, code) in [
            ("ImageId", "", "MissingParameter"),
            ("ImageId", "ami-1", "InvalidAMIID.Malformed"),
            ("ImageId", "ami-00000000000000001", "InvalidAMIID.NotFound"),
            ("DiskImageFormat", "", "MissingParameter"),
            ("DiskImageFormat", "OVA", "InvalidParameterValue"),
            ("S3ExportLocation.S3Bucket", "", "MissingParameter"),
            ("S3ExportLocation.S3Bucket", "none", "InvalidParameter: The given S3 bucket does not exist. Bucket: none"),
            ("S3ExportLocation.S3Bucket", "../x", "InvalidParameter: The given S3 bucket does not exist. Bucket: ../x"),
            ("S3ExportLocation.S3Prefix", "../", "InvalidParameterValue"),
            ("RoleName", "a b", "InvalidParameterValue"),
            ("TagSpecification.1.ResourceType", "image", "InvalidParameterValue"),
            ("DryRun", "true", "DryRunOperation"),
        ] {
            let refusal = begin(&mut cloud, &image, &[(key, value)]).expect_err(value);
            assert!(refusal.starts_with(code), "{key}={value}: {refusal}");
        }
        let (builtin, copy) = cloud.image_of("acme");
        let refusal = begin(&mut cloud, &builtin, &[]).expect_err("everybody's");
        assert_eq!(
            refusal,
            format!(
                "NotExportable: The image ID provided ({builtin}) is an Amazon-provided AMI and is not exportable."
            )
        );
        let shared = [("ImageId", image.as_str()), ("LaunchPermission.Add.1.Group", "all")];
        cloud.tenant("acme").call("DisableImageBlockPublicAccess", &[]).expect("allows it");
        cloud.tenant("acme").call("ModifyImageAttribute", &shared).expect("shares");
        let refusal = cloud.tenant("other").call("ExportImage", &ask(&image, &[])).expect_err("acme's");
        assert_eq!(refusal, format!("AuthFailure: Not authorized for image:{image}"));
        cloud.tenant("acme").call("DisableImage", &[("ImageId", &image)]).expect("disables");
        let refusal = begin(&mut cloud, &image, &[]).expect_err("disabled");
        assert!(refusal.starts_with("InvalidAMIID.Unavailable"), "{refusal}");
        let shown = cloud.tenant("acme").call("DescribeExportImageTasks", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "exportImageTaskId"), <[&str; 0]>::default());
        begin(&mut cloud, &copy, &[]).expect("is acme's own");
        told.abort();
        cloud.audit();
    }

    #[test]
    fn images_of_encrypted_or_several_volumes_or_too_large_for_a_format_are_not_exported() {
        let mut cloud = Cloud::new();
        let told = cloud.answering(answers);
        let instance = cloud.tenant("acme").run();
        let (_, copy) = cloud.image_of("acme");
        let shown = cloud.tenant("acme").call("DescribeImages", &[("ImageId.1", &copy)]).expect("answers");
        let snapshot = Cloud::ids(&shown, "snapshotId").remove(0);
        let root = [
            ("Name", "made"),
            ("VirtualizationType", "hvm"),
            ("RootDeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot.as_str()),
        ];
        let mut register = |more: &[(&str, &str)]| {
            let kept = root.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
            let asked: Vec<_> = kept.chain(more.iter().copied()).collect();
            let made = cloud.tenant("acme").call("RegisterImage", &asked).expect("registers");
            Cloud::ids(&made, "imageId").remove(0)
        };
        let data = [("BlockDeviceMapping.2.DeviceName", "/dev/sdf"), ("BlockDeviceMapping.2.Ebs.VolumeSize", "1")];
        let several = register(&data);
        let large = register(&[("Name", "large"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "2041")]);
        let largest = register(&[("Name", "largest"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "2040")]);
        let refusal = begin(&mut cloud, &several, &[]).expect_err("has two");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        let refusal = begin(&mut cloud, &large, &[("DiskImageFormat", "VHD")]).expect_err("is too large");
        assert!(refusal.starts_with("NotExportable: A VHD has at most 2040 GiB"), "{refusal}");
        begin(&mut cloud, &large, &[("DiskImageFormat", "RAW")]).expect("has no such limit");
        begin(&mut cloud, &largest, &[("DiskImageFormat", "VHD")]).expect("fits");
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("encrypts");
        let encrypted = cloud.tenant("acme").run();
        let ask = [("InstanceId", encrypted.as_str()), ("Name", "secret"), ("NoReboot", "true")];
        let made = cloud.tenant("acme").call("CreateImage", &ask).expect("makes");
        let secret = Cloud::ids(&made, "imageId").remove(0);
        let refusal = begin(&mut cloud, &secret, &[]).expect_err("is encrypted");
        assert_eq!(
            refusal,
            format!("NotExportable: The image ID provided ({secret}) is of encrypted snapshots and is not exportable.")
        );
        let ask = [("InstanceId", instance.as_str()), ("Name", "soon"), ("NoReboot", "true")];
        let made = cloud.tenant("acme").call("CreateImage", &ask).expect("makes");
        let pending = Cloud::ids(&made, "imageId").remove(0);
        let refusal = begin(&mut cloud, &pending, &[]).expect_err("is pending");
        assert!(refusal.starts_with("InvalidAMIID.Unavailable"), "{refusal}");
        cloud.settle();
        begin(&mut cloud, &pending, &[]).expect("is there");
        told.abort();
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn where_the_operator_gave_no_folder_nothing_is_exported() {
        let mut cloud = Cloud::new();
        let image = image(&mut cloud);
        cloud.takes_exports = false;
        cloud.report(Vec::new());
        let refusal = begin(&mut cloud, &image, &[]).expect_err("nowhere");
        assert_eq!(
            refusal,
            "UnsupportedOperation: Images cannot be exported: the operator has given no folder for them (--export-dir)."
        );
    }
}
