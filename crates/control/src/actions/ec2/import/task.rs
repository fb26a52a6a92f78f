//! What requests say of disks to import, and answers of tasks.

use std::sync::Arc;

use awan_model::id::{ImageId, SnapshotId};
use awan_model::import::{Format, ImportTask, ImportedDisk, Outcome};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Code, Result, invalid, invalid_value, missing, refuse, refuse_if};
use crate::imports::{self, Progress};

/// EC2's quota of tasks at once.
const ACTIVE_MAX: usize = 20;
/// How many that have ended are remembered.
const ENDED_MAX: usize = 200;
const URL_MAX: usize = 2_048;

/// One disk of a request.
pub struct Asked {
    pub encrypted: bool,
    pub description: String,
    pub device: Option<String>,
    pub format: Option<String>,
    pub url: Option<String>,
    pub bucket: bool,
}

/// Takes a disk in; it is called `parameter` in what is told about it.
pub fn disk(tx: &mut Tx<Tenant>, asked: Asked, parameter: &str) -> Result<ImportedDisk> {
    let Asked { encrypted, description, device, format, url, bucket } = asked;
    refuse_if(bucket, &format!("{parameter}.UserBucket"))?;
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| missing(&format!("{parameter}.Url")))?;
    let format = format.filter(|f| !f.is_empty()).ok_or_else(|| missing(&format!("{parameter}.Format")))?;
    let known = Format::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(&format));
    refuse_if(format.eq_ignore_ascii_case("OVA"), &format!("{parameter}.Format={format}"))?;
    let known = known.ok_or_else(|| invalid_value(brief(&format), &format!("{parameter}.Format")))?;
    let (content, snapshot) =
        (ImageId::made(tx.new_id(ImageId::PREFIX)), SnapshotId::made(tx.new_id(SnapshotId::PREFIX)));
    Ok(ImportedDisk { description, device, url: checked(url, parameter)?, format: known, content, snapshot, encrypted })
}

fn brief(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// Where it leads is its host's to judge; here it only has to be a URL.
fn checked(url: String, parameter: &str) -> Result<String> {
    refuse_if(url.starts_with("s3:"), &format!("{parameter}.Url=s3:"))?;
    let fine = ["http://", "https://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
    if !fine || url.len() > URL_MAX || !url.bytes().all(|b| b.is_ascii_graphic()) || url.contains('#') {
        return Err(invalid_value(brief(&url), &format!("{parameter}.Url")));
    }
    Ok(url)
}

/// Refuses one task too many, and forgets old ones.
pub fn room(tx: &mut Tx<Tenant>) -> Result<()> {
    imports::forget_old(tx, ENDED_MAX);
    let active = imports::tasks(tx, "").into_iter().filter(|task| task.is_active()).count();
    if active >= ACTIVE_MAX {
        let message = format!("The limit of {ACTIVE_MAX} import tasks at once has been reached.");
        return Err(refuse(Code::ResourceLimitExceeded, message));
    }
    Ok(())
}

pub fn put(tx: &mut Tx<Tenant>, task: ImportTask) -> Arc<ImportTask> {
    tx.put(task.clone());
    Arc::new(task)
}

pub fn states(filter: &str, progress: &Progress) -> Vec<String> {
    if filter == "task-state" { vec![progress.status.to_owned()] } else { Vec::new() }
}

pub fn text(percent: Option<u8>) -> Option<String> {
    percent.map(|percent| percent.to_string())
}

/// The size of the file that came, once it has.
pub fn bytes(task: &ImportTask, n: usize) -> Option<f64> {
    match &task.outcome {
        Some(Outcome::Completed { bytes, .. }) => bytes.get(n).map(|bytes| *bytes as f64),
        _ => None,
    }
}

pub fn snapshot_id(task: &ImportTask, disk: &ImportedDisk) -> Option<String> {
    matches!(task.outcome, Some(Outcome::Completed { .. })).then(|| disk.snapshot.to_string())
}

pub fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// EC2 takes what the client says of its upload, and does nothing with it.
pub fn client_told(told: Option<ec2::ClientData>) -> Result<()> {
    match told.and_then(|told| told.comment) {
        Some(comment) if comment.chars().count() > 1_024 => Err(invalid("A comment has at most 1024 characters")),
        _ => Ok(()),
    }
}
