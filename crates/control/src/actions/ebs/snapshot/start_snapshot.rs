//! StartSnapshot: a snapshot of no volume, to be written in blocks, which lie where it is to lie.

use awan_model::id::{HostId, ImageId, SnapshotId};
use awan_model::import::Written;
use awan_model::snapshot::{Bytes, Phase, Snapshot, Upload};
use awan_state::{Tenant, Tx};
use awan_wire::{ebs, ec2};

use crate::actions::ec2::instance::view::time;
use crate::actions::ec2::snapshot::create_snapshot::{described, new, room_for};
use crate::ebs::{BLOCK_SIZE, Readable, readable, write_on};
use crate::error::{Code, Error, Result, invalid, refuse};
use crate::token::Use;
use crate::{bytes, keys, schedule, tagging};

/// EC2's largest volume.
const SIZE_MAX: u32 = 65_536;
/// Minutes.
const TIMEOUT: (i32, i32, i32) = (10, 60, 4_320);
const TOKEN_MAX: usize = 255;
/// How many one account writes at once.
const PENDING_MAX: usize = 100;

pub fn start_snapshot(tx: &mut Tx<Tenant>, req: ebs::StartSnapshotRequest) -> Result<ebs::StartSnapshotResponse> {
    let shown = format!("{:?}", ebs::StartSnapshotRequest { client_token: None, ..req.clone() });
    let ebs::StartSnapshotRequest {
        volume_size,
        parent_snapshot_id,
        tags,
        description,
        client_token,
        encrypted,
        kms_key_arn,
        timeout,
    } = req;
    let size_gib = u32::try_from(volume_size.unwrap_or_default()).ok().filter(|size| (1..=SIZE_MAX).contains(size));
    let size_gib = size_gib.ok_or_else(|| {
        refuse(Code::BlockVolumeSizeInvalid, format!("The size of a volume is between 1 and {SIZE_MAX} GiB."))
    })?;
    let timeout_min = timeout.unwrap_or(TIMEOUT.1);
    if !(TIMEOUT.0..=TIMEOUT.2).contains(&timeout_min) {
        return Err(invalid(format!("Timeout is between {} and {} minutes.", TIMEOUT.0, TIMEOUT.2)));
    }
    let tags = tags.into_iter().map(|ebs::Tag { key, value }| ec2::Tag { key, value }).collect();
    let specified = ec2::TagSpecification { resource_type: Some("snapshot".into()), tags };
    let tags = tagging::specified(&[specified], "snapshot", &["snapshot"])?;
    let token = Use::given("StartSnapshot", client_token.as_deref(), TOKEN_MAX, &shown)?;
    if let Some(made) = token.as_ref().map(|token| token.made(tx)).transpose()?.flatten() {
        let id = made.first().and_then(|id| id.parse::<SnapshotId>().ok());
        let id = id.ok_or_else(|| Error::fault("a token made no snapshot"))?;
        let snapshot = tx.get::<Snapshot>(&id)?;
        return Ok(view(&snapshot, tags));
    }
    room_for(tx, 1)?;
    let writes = |snapshot: &Snapshot| snapshot.phase == Phase::Pending && snapshot.upload.is_some();
    if tx.list::<Snapshot>().iter().filter(|snapshot| writes(snapshot)).count() >= PENDING_MAX {
        let message = format!("No more than {PENDING_MAX} snapshots are written at once.");
        return Err(refuse(Code::ConcurrentLimitExceededException, message));
    }
    let description = described(description)?;
    let parent = parent_snapshot_id.map(|id| id.parse::<SnapshotId>()).transpose()?;
    let found = parent.as_ref().map(|id| readable(tx, id)).transpose()?;
    let encrypted = is_encrypted(tx, found.as_ref(), encrypted, kms_key_arn.as_deref())?;
    let (host, below) = place(tx, found, size_gib)?;
    let content = ImageId::made(tx.new_id(ImageId::PREFIX));
    let key = if encrypted { Some(keys::new(tx, &content)?) } else { None };
    let blank = new(tx, size_gib, description, Bytes::Image(content.clone()));
    let (touched, client_token) = (tx.now(), client_token.filter(|token| !token.is_empty()));
    let timeout_min = u32::try_from(timeout_min).unwrap_or_default();
    let upload = Upload { parent, client_token, timeout_min, touched, progress: None, sealed: false };
    let snapshot = Snapshot { phase: Phase::Pending, upload: Some(upload), encrypted, ..blank };
    tx.put(snapshot.clone());
    write_on(tx, content, host, Written { written_gib: size_gib, below, blocks: None, key });
    tagging::add(tx, snapshot.id.as_str(), &tags)?;
    if let Some(token) = token {
        token.keep(tx, vec![snapshot.id.to_string()]);
    }
    Ok(view(&snapshot, tags))
}

/// Whether its blocks are to be encrypted. A child is as its parent, or is not made. Source: "Encryption outcomes for EBS
/// direct APIs", EBS User Guide.
fn is_encrypted(
    tx: &mut Tx<Tenant>,
    parent: Option<&Readable>,
    asked: Option<bool>,
    key: Option<&str>,
) -> Result<bool> {
    let Some(parent) = parent.map(|parent| parent.snapshot.encrypted) else {
        let encrypted = keys::wanted(tx, asked, None, false)?;
        if key.is_some() && !encrypted {
            return Err(invalid("KmsKeyArn requires Encrypted."));
        }
        return keys::wanted(tx, asked, key, false);
    };
    if asked.is_some() || key.is_some() {
        return Err(invalid("Encrypted and KmsKeyArn cannot be specified together with ParentSnapshotId."));
    }
    let encrypted = keys::wanted(tx, None, None, parent)?;
    if encrypted && !parent {
        let message = "This account's snapshots are encrypted by default, and the parent is not. Copy it first.";
        return Err(invalid(message));
    }
    Ok(encrypted)
}

/// Where its blocks are to lie: where those of its parent do, or where there is the most room.
fn place(tx: &mut Tx<Tenant>, found: Option<Readable>, size_gib: u32) -> Result<(HostId, Option<ImageId>)> {
    let no_room = || refuse(Code::InsufficientVolumeCapacity, "There is not enough room for a snapshot of this size.");
    if let Some(found) = &found
        && size_gib < found.snapshot.size_gib
    {
        let (id, parent_gib) = (&found.snapshot.id, found.snapshot.size_gib);
        let message = format!("A snapshot is not smaller than its parent '{id}', which has {parent_gib} GiB.");
        return Err(refuse(Code::BlockVolumeSizeInvalid, message));
    }
    let at = found.and_then(|found| found.at);
    let (host, below) = match at {
        Some((host, bytes)) => (host, Some(bytes)),
        None => (schedule::roomiest(tx).ok_or_else(no_room)?, None),
    };
    if let Some(below) = &below {
        bytes::one_more_fits(tx, below)?;
    }
    if schedule::disk_gib_left(tx, &host) < u64::from(size_gib) {
        return Err(no_room());
    }
    Ok((host, below))
}

fn view(snapshot: &Snapshot, tags: Vec<ec2::Tag>) -> ebs::StartSnapshotResponse {
    let parent = snapshot.upload.as_ref().and_then(|upload| upload.parent.as_ref());
    ebs::StartSnapshotResponse {
        description: Some(snapshot.description.clone()).filter(|text| !text.is_empty()),
        snapshot_id: Some(snapshot.id.to_string()),
        owner_id: Some(snapshot.home.account().into()),
        status: Some(snapshot.phase.as_str().into()),
        start_time: time(snapshot.started),
        volume_size: Some(snapshot.size_gib.into()),
        block_size: Some(BLOCK_SIZE),
        tags: tags.into_iter().map(|ec2::Tag { key, value }| ebs::Tag { key, value }).collect(),
        parent_snapshot_id: parent.map(ToString::to_string),
        kms_key_arn: keys::shown(&snapshot.home, snapshot.encrypted),
        sse_type: Some(if snapshot.encrypted { "sse-kms" } else { "none" }.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use awan_model::import::Content;
    use awan_state::{System, Tx};
    use serde_json::Value;

    use crate::testing::Cloud;

    fn start(cloud: &mut Cloud, who: &str, body: &str) -> Result<Value, String> {
        let told = cloud.tenant(who).ebs("StartSnapshot", &[], &[], &[], body.as_bytes())?;
        assert_eq!(told.status, 201);
        Ok(serde_json::from_slice(&told.body).expect("JSON"))
    }

    #[test]
    fn what_is_encrypted_is_written_with_a_key_of_its_own_and_a_child_is_as_its_parent() {
        let mut cloud = Cloud::new();
        let encrypted = |made: &Value| made["SseType"] == "sse-kms" && made["KmsKeyArn"].is_string();
        let plain = cloud.written("acme", 1, &[]);
        let parent = start(&mut cloud, "acme", r#"{"VolumeSize":1,"Encrypted":true}"#).expect("starts");
        assert!(encrypted(&parent), "{parent}");
        let parent = parent["SnapshotId"].as_str().expect("an id").to_owned();
        cloud.complete("acme", &parent, &[]);
        let child = |of: &str, more: &str| format!(r#"{{"VolumeSize":1,"ParentSnapshotId":"{of}"{more}}}"#);
        let made = start(&mut cloud, "acme", &child(&parent, "")).expect("starts");
        assert!(encrypted(&made), "{made}");
        let made = start(&mut cloud, "acme", &child(&plain, "")).expect("starts");
        assert!(!encrypted(&made) && made["SseType"] == "none", "{made}");
        for more in [r#","Encrypted":true"#, r#","Encrypted":false"#, r#","KmsKeyArn":"alias/aws/ebs""#] {
            for of in [&plain, &parent] {
                let refusal = start(&mut cloud, "acme", &child(of, more)).expect_err(more);
                assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
            }
        }
        cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        let refusal = start(&mut cloud, "acme", &child(&plain, "")).expect_err("is plain");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        for asked in [child(&parent, ""), r#"{"VolumeSize":1}"#.into()] {
            let made = start(&mut cloud, "acme", &asked).expect("starts");
            assert!(encrypted(&made), "{made}");
        }
        let contents = cloud.control.db.read(System, Tx::all::<Content>);
        let keys: BTreeSet<_> = contents.iter().filter_map(|content| content.key().map(|key| key.seed)).collect();
        assert_eq!((keys.len(), contents.len()), (4, 6), "each has its own");
        cloud.audit();
    }

    #[test]
    fn a_snapshot_begins_once_with_what_was_asked_and_takes_room_until_it_goes() {
        let mut cloud = Cloud::new();
        let body = r#"{"VolumeSize":8,"Description":"d","Tags":[{"Key":"a","Value":"b"}],"ClientToken":"t"}"#;
        let made = start(&mut cloud, "acme", body).expect("starts");
        assert_eq!(
            (&made["Status"], &made["BlockSize"], &made["VolumeSize"]),
            (&"pending".into(), &524_288.into(), &8.into())
        );
        assert_eq!(start(&mut cloud, "acme", body).expect("again")["SnapshotId"], made["SnapshotId"]);
        let refused = start(&mut cloud, "acme", r#"{"VolumeSize":9,"ClientToken":"t"}"#).expect_err("another");
        assert!(refused.starts_with("IdempotentParameterMismatch"), "{refused}");
        let id = made["SnapshotId"].as_str().expect("an id").to_owned();
        let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("SnapshotId.1", &id)]).expect("shows");
        for (element, value) in [("status", "pending"), ("volumeSize", "8"), ("value", "b"), ("description", "d")] {
            assert_eq!(Cloud::ids(&shown, element), [value], "{shown}");
        }
        let used = |cloud: &Cloud| {
            let sums = cloud.control.db.read(System, crate::schedule::usage::now);
            sums.values().map(|usage| usage.contents_mib).sum::<u64>()
        };
        assert_eq!(used(&cloud), 8 << 10);
        // Hosts have it nowhere near whole.
        cloud.settle();
        let ask = [("AvailabilityZone", "us-east-1a"), ("SnapshotId", id.as_str())];
        let refused = cloud.tenant("acme").call("CreateVolume", &ask).expect_err("is pending");
        assert!(refused.starts_with("IncorrectState"), "{refused}");
        cloud.audit();
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &id)]).expect("deletes");
        cloud.settle();
        assert_eq!((used(&cloud), cloud.contents()), (0, 0));
        start(&mut cloud, "acme", r#"{"VolumeSize":9,"ClientToken":"t"}"#).expect("the token is free");
        cloud.audit();
    }

    #[test]
    fn what_nobody_writes_fails_after_its_time() {
        let mut cloud = Cloud::new();
        start(&mut cloud, "acme", r#"{"VolumeSize":1,"Timeout":10}"#).expect("starts");
        start(&mut cloud, "acme", r#"{"VolumeSize":1}"#).expect("starts");
        let states = |cloud: &mut Cloud| {
            cloud.settle();
            let shown = cloud.tenant("acme").call("DescribeSnapshots", &[("Owner.1", "self")]).expect("shows");
            let mut states = Cloud::ids(&shown, "status");
            states.sort();
            states
        };
        cloud.pass(10 * 60_000 - 1);
        assert_eq!(states(&mut cloud), ["pending", "pending"]);
        cloud.pass(1);
        assert_eq!((states(&mut cloud), cloud.contents()), (vec!["error".into(), "pending".into()], 1));
        cloud.pass(50 * 60_000);
        assert_eq!((states(&mut cloud), cloud.contents()), (vec!["error".into(), "error".to_owned()], 0));
        cloud.audit();
    }

    #[test]
    fn a_child_lies_where_its_parent_does_and_is_not_smaller() {
        let mut cloud = Cloud::new();
        let parent = cloud.written("acme", 2, &[]);
        let ask = |gib: u32| format!(r#"{{"VolumeSize":{gib},"ParentSnapshotId":"{parent}"}}"#);
        let made = start(&mut cloud, "acme", &ask(3)).expect("starts");
        assert_eq!(made["ParentSnapshotId"], parent);
        assert!(start(&mut cloud, "acme", &ask(1)).expect_err("smaller").starts_with("INVALID_VOLUME_SIZE"));
        let refused = start(&mut cloud, "other", &ask(3)).expect_err("foreign");
        assert!(refused.starts_with("InvalidSnapshot.NotFound"), "{refused}");
        let child = made["SnapshotId"].as_str().expect("an id");
        let refused = start(&mut cloud, "acme", &ask(3).replace(&parent, child)).expect_err("pending");
        assert!(refused.starts_with("IncorrectState"), "{refused}");
        cloud.tenant("acme").call("DeleteSnapshot", &[("SnapshotId", &parent)]).expect("deletes");
        cloud.settle();
        assert_eq!(cloud.contents(), 2, "its child is a child of it still");
        cloud.audit();
        for (body, code) in [
            (r#"{"VolumeSize":0}"#, "INVALID_VOLUME_SIZE"),
            (r#"{"VolumeSize":65537}"#, "INVALID_VOLUME_SIZE"),
            (r#"{"VolumeSize":1,"Timeout":9}"#, "InvalidParameterValue"),
            (r#"{"VolumeSize":1,"KmsKeyArn":"alias/aws/ebs"}"#, "InvalidParameterValue"),
            (r#"{"VolumeSize":1,"Encrypted":true,"KmsKeyArn":"k"}"#, "InvalidParameterValue"),
            (r#"{"VolumeSize":60000,"ParentSnapshotId":"snap-1"}"#, "InvalidSnapshotID.Malformed"),
        ] {
            let refused = start(&mut cloud, "acme", body).expect_err(body);
            assert!(refused.starts_with(code), "{refused}");
        }
        let mut full = Cloud::with_capacity(1, 1);
        for n in 0..15 {
            start(&mut full, "acme", r#"{"VolumeSize":65536}"#).unwrap_or_else(|e| panic!("{n}: {e}"));
        }
        let refused = start(&mut full, "acme", r#"{"VolumeSize":65536}"#).expect_err("full");
        assert!(refused.starts_with("InsufficientVolumeCapacity"), "{refused}");
    }
}
