//! Disks from elsewhere: how far a task is, and which of their bytes something begins as.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use awan_model::account::BUILTIN_ACCOUNT;
use awan_model::export::ExportTask;
use awan_model::id::ImageId;
use awan_model::image::Image;
use awan_model::import::{Content, ContentReport, ImportPhase, ImportTask, Outcome, Product};
use awan_model::snapshot::{Bytes, Snapshot};
use awan_model::token::ClientToken;
use awan_model::volume::Volume;
use awan_state::{Home, Shareable as _, System, Tenant, Tx};

use crate::{network, recycle_bin, token};

/// Source: "Import task status", VM Import/Export User Guide; a snapshot's waiter ends at `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub status: &'static str,
    pub percent: Option<u8>,
    pub message: Option<String>,
}

pub fn progress(tx: &mut Tx<Tenant>, task: &ImportTask) -> Progress {
    let end = |status, message: &str| Progress { status, percent: None, message: Some(message.to_owned()) };
    match &task.outcome {
        Some(Outcome::Completed { .. }) => Progress { status: "completed", percent: None, message: None },
        Some(Outcome::Failed { why, .. }) => {
            end(if task.product == Product::Snapshot { "error" } else { "deleted" }, why)
        }
        Some(Outcome::Cancelled { why, .. }) => {
            let there = task.disks.iter().any(|disk| tx.find::<Content>(&disk.content).is_some());
            end(if there { "deleting" } else { "deleted" }, why)
        }
        None => {
            let phases: Vec<_> = task.disks.iter().map(|disk| tx.find::<ContentReport>(&disk.content)).collect();
            let done: Vec<(u8, &str)> = phases.iter().map(|report| under_way(report.as_deref())).collect();
            let least = done.into_iter().min().unwrap_or((0, "pending"));
            Progress { status: "active", percent: Some(least.0), message: Some(least.1.to_owned()) }
        }
    }
}

/// Fetching is the first half of the work.
fn under_way(report: Option<&ContentReport>) -> (u8, &'static str) {
    match report.map(|report| &report.phase) {
        None => (0, "pending"),
        Some(ImportPhase::Fetching { percent }) => ((*percent).min(100) / 2, "downloading"),
        Some(ImportPhase::Waiting { .. }) => (50, "validated"),
        Some(ImportPhase::Converting { percent }) => (50 + (*percent).min(100) * 2 / 5, "converting"),
        Some(ImportPhase::Kept { .. } | ImportPhase::Failed { .. }) => (95, "updating"),
    }
}

/// What tasks that go on bring and export, and what snapshots, images and volumes begin as. An image in the recycle bin comes
/// back with its snapshots or not at all.
pub fn roots(tx: &mut Tx<System>) -> BTreeSet<ImageId> {
    let of = |bytes: &Bytes| match bytes {
        Bytes::Image(id) => Some(id.clone()),
        Bytes::Nothing | Bytes::Own => None,
    };
    let tasks = tx.all::<ImportTask>();
    let going_on = tasks.iter().filter(|task| task.is_active());
    let exported = tx.all::<ExportTask>().into_iter().filter(|task| task.is_active());
    let exported: Vec<_> = exported.filter_map(|task| task.bytes.clone()).collect();
    let mut wanted: BTreeSet<ImageId> =
        going_on.flat_map(|task| task.disks.iter().map(|d| d.content.clone())).collect();
    wanted.extend(exported);
    wanted.extend(recycle_bin::all::<Snapshot>(tx).iter().filter_map(|snapshot| of(&snapshot.bytes)));
    wanted.extend(tx.all::<Image>().iter().filter_map(|image| of(image.details.bytes.as_ref()?)));
    wanted.extend(recycle_bin::all::<Volume>(tx).iter().filter_map(|volume| volume.image.clone()));
    // What is still being copied stays until that is done.
    let contents = tx.all::<Content>();
    let copying = contents.iter().filter(|content| content.bytes.is_none() && wanted.contains(&content.id));
    let copying: Vec<_> = copying.filter_map(|content| Some(content.source.copied()?.of.clone())).collect();
    wanted.extend(copying);
    wanted
}

/// The same, and all that is below it.
pub fn wanted(tx: &mut Tx<System>) -> BTreeSet<ImageId> {
    if tx.all::<Content>().is_empty() {
        return BTreeSet::new();
    }
    let mut wanted = roots(tx);
    let all: HashMap<ImageId, Arc<Content>> = tx.all::<Content>().into_iter().map(|c| (c.id.clone(), c)).collect();
    let below = |id: &ImageId| all.get(id)?.below().cloned();
    for id in wanted.clone() {
        let mut next = below(&id);
        while let Some(id) = next.filter(|id| wanted.insert(id.clone())) {
            next = below(&id);
        }
    }
    wanted
}

/// What begins as something that is no host's own, itself or what is below it; images and snapshots that came with it do not
/// count.
pub fn used(tx: &mut Tx<System>) -> BTreeSet<ImageId> {
    let is_own = |home: &Home| home.account() != BUILTIN_ACCOUNT;
    let tasks = tx.all::<ExportTask>().into_iter().filter(|task| task.is_active());
    let mut used: BTreeSet<ImageId> = tasks.filter_map(|task| task.bytes.clone()).collect();
    let of = |bytes: &Bytes| if let Bytes::Image(id) = bytes { Some(id.clone()) } else { None };
    let snapshots = recycle_bin::all::<Snapshot>(tx).into_iter().filter(|snapshot| is_own(&snapshot.home));
    used.extend(snapshots.filter_map(|snapshot| of(&snapshot.bytes)));
    let mut images = recycle_bin::all::<Image>(tx);
    images.retain(|image| is_own(&image.home));
    used.extend(images.iter().filter_map(|image| of(image.details.bytes.as_ref()?)));
    // A device may be of a snapshot that came with an image of everybody's.
    let theirs: BTreeSet<_> = images.iter().flat_map(|image| image.snapshots()).collect();
    let theirs = theirs.into_iter().filter_map(|id| tx.find_by::<Snapshot>(Snapshot::INDEX, id.as_str()));
    used.extend(theirs.filter_map(|snapshot| of(&snapshot.bytes)));
    used.extend(recycle_bin::all::<Volume>(tx).iter().filter_map(|volume| volume.image.clone()));
    let contents = tx.all::<Content>();
    used.extend(contents.iter().filter_map(|content| content.below().cloned()));
    let copying = contents.iter().filter(|content| content.bytes.is_none());
    used.extend(copying.filter_map(|content| Some(content.source.copied()?.of.clone())));
    used
}

/// What is below everything that these bytes are children of, whatever was kept of volumes since: an image, or a disk from
/// elsewhere. `None`: it began as nothing.
pub fn bottom(tx: &mut Tx<System>, bytes: &ImageId) -> Option<ImageId> {
    let mut id = bytes.clone();
    while let Some(content) = tx.find_by::<Content>(Content::INDEX, id.as_str()) {
        if let Some(copied) = content.source.copied() {
            return copied.bottom.clone();
        }
        if !content.source.is_snapshots() {
            break;
        }
        id = content.below()?.clone();
    }
    Some(id)
}

/// How many layers are below these bytes, themselves included, which volumes left when snapshots were made of them.
pub fn depth(tx: &mut Tx<System>, bytes: &ImageId) -> usize {
    let (mut depth, mut next) = (0, Some(bytes.clone()));
    while let Some(content) = next.and_then(|id| tx.find_by::<Content>(Content::INDEX, id.as_str())) {
        depth += 1;
        next = content.below().cloned();
    }
    depth
}

/// Whether some host has what lies under this name.
pub fn is_there(tx: &mut Tx<System>, bytes: &ImageId) -> bool {
    tx.find_by::<Image>("image", bytes.as_str()).is_some()
        || tx.find_by::<Content>(Content::INDEX, bytes.as_str()).is_some()
}

/// The tasks of a kind, by the beginning of their ids.
pub fn tasks(tx: &mut Tx<Tenant>, prefix: &str) -> Vec<Arc<ImportTask>> {
    let mut all = tx.list::<ImportTask>();
    all.retain(|task| task.id.starts_with(prefix));
    all
}

/// Forgets the oldest of those that have ended, but for so many.
pub fn forget_old(tx: &mut Tx<Tenant>, most: usize) {
    let mut ended: Vec<_> = tx.list::<ImportTask>().into_iter().filter(|task| !task.is_active()).collect();
    ended.sort_by_key(|task| std::cmp::Reverse((task.outcome.as_ref().map(Outcome::at), task.id.clone())));
    for task in ended.into_iter().skip(most) {
        if let Some(token) = &task.client_token {
            let action = if task.product == Product::Snapshot { "ImportSnapshot" } else { "ImportImage" };
            tx.remove::<ClientToken>(&token::id(action, token));
        }
        network::remove::<ImportTask>(tx, &task.id);
    }
}
