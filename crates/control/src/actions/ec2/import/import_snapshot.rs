//! ImportSnapshot: a snapshot of a disk that lies elsewhere. A host fetches it; what becomes of it, the task tells.

use awan_model::id::ImportSnapshotId;
use awan_model::import::{ImportTask, Product};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::task::{self, Asked};
use crate::actions::ec2::snapshot::create_snapshot::{described, room_for};
use crate::error::{Error, Result, missing};
use crate::token::Use;
use crate::{imports, keys, tagging};

pub fn import_snapshot(tx: &mut Tx<Tenant>, req: ec2::ImportSnapshotRequest) -> Result<ec2::ImportSnapshotResult> {
    let others = ec2::ImportSnapshotRequest { client_token: None, dry_run: None, ..req.clone() };
    let token = Use::given("ImportSnapshot", req.client_token.as_deref(), 64, &format!("{others:?}"))?;
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

fn answer(tx: &mut Tx<Tenant>, task: &ImportTask) -> ec2::ImportSnapshotResult {
    ec2::ImportSnapshotResult {
        description: task::said(&task.description),
        import_task_id: Some(task.id.clone()),
        snapshot_task_detail: Some(detail(tx, task)),
        tags: tagging::shown(&tagging::of(tx, &task.id)),
    }
}

fn begin(tx: &mut Tx<Tenant>, req: ec2::ImportSnapshotRequest) -> Result<std::sync::Arc<ImportTask>> {
    let ec2::ImportSnapshotRequest {
        client_data,
        client_token,
        description,
        disk_container,
        dry_run: _,
        encrypted,
        kms_key_id,
        // The role that EC2 reads a bucket with.
        role_name: _,
        tag_specifications,
    } = req;
    task::client_told(client_data)?;
    let encrypted = keys::wanted(tx, encrypted, kms_key_id.as_deref(), false)?;
    let ec2::SnapshotDiskContainer { description: of_disk, format, url, user_bucket } =
        disk_container.ok_or_else(|| missing("DiskContainer"))?;
    let (description_of_disk, bucket) = (described(of_disk)?, user_bucket.is_some());
    let asked = Asked { encrypted, description: description_of_disk, device: None, format, url, bucket };
    let disk = task::disk(tx, asked, "DiskContainer")?;
    let tags = tagging::specified(&tag_specifications, "import-snapshot-task", &["import-snapshot-task"])?;
    task::room(tx)?;
    room_for(tx, 1)?;
    let task = ImportTask {
        home: tx.home().clone(),
        id: tx.new_id(ImportSnapshotId::PREFIX),
        description: described(description)?,
        product: Product::Snapshot,
        disks: vec![disk],
        client_token: client_token.filter(|token| !token.is_empty()),
        created: tx.now(),
        outcome: None,
    };
    let task = task::put(tx, task);
    tagging::add(tx, &task.id, &tags)?;
    Ok(task)
}

pub fn detail(tx: &mut Tx<Tenant>, task: &ImportTask) -> ec2::SnapshotTaskDetail {
    let progress = imports::progress(tx, task);
    let disk = task.disks.first();
    ec2::SnapshotTaskDetail {
        description: disk.and_then(|disk| task::said(&disk.description)),
        disk_image_size: task::bytes(task, 0),
        encrypted: Some(task.is_encrypted()),
        format: disk.map(|disk| disk.format.as_str().to_owned()),
        kms_key_id: keys::shown(&task.home, task.is_encrypted()),
        progress: task::text(progress.percent),
        snapshot_id: disk.and_then(|disk| task::snapshot_id(task, disk)),
        status: Some(progress.status.to_owned()),
        status_message: progress.message,
        url: disk.map(|disk| disk.url.clone()),
        user_bucket: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use awan_model::import::{Content, ImportPhase, ImportTask};
    use awan_state::{System, Tx};

    use crate::testing::Cloud;

    const URL: &str = "http://images.example/disk";

    fn ask<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let usual = [("DiskContainer.Url", URL), ("DiskContainer.Format", "qcow2"), ("Description", "mine")];
        let kept = usual.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        kept.chain(more.iter().copied()).collect()
    }

    fn told(cloud: &mut Cloud, element: &str) -> Option<String> {
        let shown = cloud.tenant("acme").call("DescribeImportSnapshotTasks", &[]).expect("answers");
        Cloud::ids(&shown, element).pop()
    }

    #[test]
    fn a_disk_becomes_a_snapshot_that_instances_are_launched_from_and_leaves_nothing() {
        let mut cloud = Cloud::new();
        let made = cloud.tenant("acme").call("ImportSnapshot", &ask(&[])).expect("begins");
        assert_eq!(
            (Cloud::ids(&made, "status"), Cloud::ids(&made, "format")),
            (vec!["active".into()], vec!["QCOW2".into()])
        );
        assert!(Cloud::ids(&made, "snapshotId").is_empty() && cloud.snapshots("acme").is_empty());
        cloud.settle();
        assert_eq!(
            (told(&mut cloud, "status").as_deref(), told(&mut cloud, "url").as_deref()),
            (Some("completed"), Some(URL))
        );
        let snapshot = told(&mut cloud, "snapshotId").expect("is made");
        assert_eq!(cloud.snapshots("acme"), std::slice::from_ref(&snapshot));
        let register = [
            ("Name", "mine"),
            ("Architecture", "x86_64"),
            ("VirtualizationType", "hvm"),
            ("RootDeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot.as_str()),
        ];
        let made = cloud.tenant("acme").call("RegisterImage", &register).expect("registers");
        let image = Cloud::ids(&made, "imageId").remove(0);
        cloud.join("elsewhere", "*", 1_000_000);
        let ids = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches where the bytes are");
        cloud.settle();
        assert_eq!(cloud.state("acme", &ids[0]), "running");
        cloud.audit();
        cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &image)]).expect("goes");
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &snapshot)]).expect("goes");
        cloud.settle();
        assert_eq!(cloud.contents(), 1, "a disk still begins as it");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &ids[0])]).expect("ends");
        cloud.settle();
        assert_eq!(cloud.contents(), 0);
        cloud.audit();
    }

    #[test]
    fn what_is_to_be_encrypted_is_so_in_all_that_comes_of_it() {
        let mut cloud = Cloud::new();
        let begin = |cloud: &mut Cloud, more: &[(&str, &str)]| {
            let made = cloud.tenant("acme").call("ImportSnapshot", &ask(more)).expect("begins");
            cloud.settle();
            let id = Cloud::ids(&made, "importTaskId").remove(0);
            let shown = cloud.tenant("acme").call("DescribeImportSnapshotTasks", &[("ImportTaskId.1", &id)]);
            let shown = shown.expect("answers");
            let key = Cloud::ids(&shown, "kmsKeyId");
            (Cloud::ids(&shown, "encrypted").remove(0), key.len(), Cloud::ids(&shown, "snapshotId").remove(0))
        };
        let (encrypted, keys, plain) = begin(&mut cloud, &[]);
        assert_eq!((encrypted.as_str(), keys), ("false", 0));
        let given = [("Encrypted", "true"), ("KmsKeyId", "alias/aws/ebs")];
        let (encrypted, keys, first) = begin(&mut cloud, &given);
        assert_eq!((encrypted.as_str(), keys), ("true", 1));
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        let (encrypted, keys, second) = begin(&mut cloud, &[]);
        assert_eq!((encrypted.as_str(), keys), ("true", 1));
        cloud.tenant("acme").call("DisableEbsEncryptionByDefault", &[]).expect("disables");
        for (snapshot, expected) in [(&plain, "false"), (&first, "true"), (&second, "true")] {
            let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", snapshot)]).expect("answers");
            assert_eq!(Cloud::ids(&shown, "encrypted"), [expected]);
            let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", snapshot.as_str())];
            let made = cloud.tenant("acme").call("CreateVolume", &ask).expect("makes");
            assert_eq!(Cloud::ids(&made, "encrypted"), [expected]);
        }
        let contents = cloud.control.db.read(System, Tx::all::<Content>);
        let seeds: BTreeSet<_> = contents.iter().filter_map(|content| content.key().map(|key| key.seed)).collect();
        assert_eq!((contents.len(), seeds.len()), (3, 2), "each has its own");
        cloud.audit();
        // What is encrypted is there twice meanwhile.
        let sizes = |cloud: &Cloud| {
            let contents = cloud.control.db.read(System, Tx::all::<Content>);
            contents.iter().map(|content| content.size_gib).collect::<BTreeSet<_>>()
        };
        assert_eq!(sizes(&cloud), BTreeSet::from([1]));
        cloud.tenant("acme").call("ImportSnapshot", &ask(&given)).expect("begins");
        cloud.report_content(&ImportPhase::Waiting { size_gib: 5 });
        assert_eq!(sizes(&cloud), BTreeSet::from([1, 10]));
        cloud.settle();
        assert_eq!(sizes(&cloud), BTreeSet::from([1]));
        // A task remembers no key.
        let tasks = cloud.control.db.read(System, Tx::all::<ImportTask>);
        assert!(tasks.iter().all(|task| !serde_json::to_string(&**task).expect("is JSON").contains("seed")));
        cloud.audit();
    }

    #[test]
    fn what_fails_or_is_too_large_says_so_and_is_forgotten_by_its_host() {
        for (phase, why) in [
            (ImportPhase::Failed { why: "ClientError: no".into() }, "ClientError: no"),
            (
                ImportPhase::Waiting { size_gib: 2_000_000 },
                "ClientError: Disk validation failed [there is no room for a disk of 2000000 GiB]",
            ),
        ] {
            let mut cloud = Cloud::new();
            cloud.tenant("acme").call("ImportSnapshot", &ask(&[])).expect("begins");
            cloud.report_content(&phase);
            cloud.settle();
            assert_eq!(told(&mut cloud, "status").as_deref(), Some("error"));
            assert_eq!(told(&mut cloud, "statusMessage").as_deref(), Some(why));
            assert_eq!((cloud.contents(), cloud.snapshots("acme")), (0, vec![]));
            cloud.audit();
        }
    }

    #[test]
    fn the_same_token_is_the_same_task_and_another_account_sees_none() {
        let mut cloud = Cloud::new();
        let mut begin = || {
            let made = cloud.tenant("acme").call("ImportSnapshot", &ask(&[("ClientToken", "a")])).expect("begins");
            Cloud::ids(&made, "importTaskId").remove(0)
        };
        let (first, again) = (begin(), begin());
        assert_eq!(first, again);
        let other = ask(&[("ClientToken", "a"), ("Description", "other")]);
        let refusal = cloud.tenant("acme").call("ImportSnapshot", &other).expect_err("differs");
        assert!(refusal.starts_with("IdempotentParameterMismatch"), "{refusal}");
        for action in ["DescribeImportSnapshotTasks", "CancelImportTask"] {
            let key = if action == "CancelImportTask" { "ImportTaskId" } else { "ImportTaskId.1" };
            let refusal = cloud.tenant("other").call(action, &[(key, &first)]).expect_err("foreign");
            assert_eq!(
                refusal,
                format!("InvalidConversionTaskId.NotFound: The import task ID '{first}' does not exist")
            );
        }
    }

    #[test]
    fn what_cannot_be_imported_is_refused() {
        let mut cloud = Cloud::new();
        for (key, value, code) in [
            ("DiskContainer.Url", "", "MissingParameter"),
            ("DiskContainer.Url", "ftp://x/y", "InvalidParameterValue"),
            ("DiskContainer.Url", "file://x/y", "InvalidParameterValue"),
            ("DiskContainer.Url", "http://x/a b", "InvalidParameterValue"),
            ("DiskContainer.Url", "s3://x/y", "UnsupportedOperation"),
            ("DiskContainer.UserBucket.S3Bucket", "b", "UnsupportedOperation"),
            ("DiskContainer.Format", "", "MissingParameter"),
            ("DiskContainer.Format", "OVA", "UnsupportedOperation"),
            ("DiskContainer.Format", "luks", "InvalidParameterValue"),
            ("KmsKeyId", "alias/aws/ebs", "InvalidParameterDependency"),
            ("TagSpecification.1.ResourceType", "snapshot", "InvalidParameterValue"),
        ] {
            let refusal = cloud.tenant("acme").call("ImportSnapshot", &ask(&[(key, value)])).expect_err(value);
            assert!(refusal.starts_with(code), "{key}={value}: {refusal}");
        }
        let refusal = cloud.tenant("acme").call("ImportSnapshot", &[]).expect_err("has no disk");
        assert!(refusal.starts_with("MissingParameter"), "{refusal}");
        for _ in 0..20 {
            cloud.tenant("acme").call("ImportSnapshot", &ask(&[])).expect("begins");
        }
        let refusal = cloud.tenant("acme").call("ImportSnapshot", &ask(&[])).expect_err("one too many");
        assert!(refusal.starts_with("ResourceLimitExceeded"), "{refusal}");
    }
}
