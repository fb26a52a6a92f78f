//! What becomes of disks from elsewhere: each gets a host, then room, then a snapshot. What is to be kept of volumes becomes
//! what snapshots are completed with. What nothing begins as goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use awan_model::id::{HostId, ImageId};
use awan_model::image::{Details, Device, DeviceOptions, Image};
use awan_model::import::{
    Content, ContentReport, ImportPhase, ImportTask, ImportedDisk, ImportedImage, Merge, Merged, Merging, Outcome,
    Product, Source,
};
use awan_model::recycle_bin::Binned;
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_state::{Db, Record as _, Ref, System, Tenant, Tx};

use crate::error::{Error, Result};
use crate::{imports, keys, merging, recycle_bin, schedule};

/// EC2's largest snapshot of a disk that was imported.
const SIZE_GIB_MAX: u32 = 16_384;

enum Step {
    Lay(Arc<ImportTask>, ImportedDisk),
    Room(Arc<Content>, u32),
    Fail(Arc<ImportTask>, String),
    Complete(Arc<ImportTask>, Vec<(u32, u64)>),
    /// Its host has it, or has lost it; and how much room it takes.
    Taken(Arc<Content>, Phase, Option<u64>),
    /// Its host is to make its file one with those below; has done so; or cannot.
    Merge(Arc<Content>, Merge),
    Merged(Box<Content>),
    Unmerged(Arc<Content>, bool),
    Drop(Arc<Content>),
}

pub fn imports(db: &Db) -> Result<()> {
    // One thing leads to the next: a host is followed by nothing before it has said something.
    while !db.read(System, steps).is_empty() {
        let changed = db.transact_blocking(System, "imports", |tx| {
            let steps = steps(tx);
            let taken = steps.into_iter().map(|step| take(tx, step)).collect::<Vec<_>>();
            Ok::<_, Error>(taken.contains(&true))
        })?;
        if !changed {
            break;
        }
    }
    Ok(())
}

fn steps(tx: &mut Tx<System>) -> Vec<Step> {
    let mut steps = Vec::new();
    for task in tx.all::<ImportTask>().into_iter().filter(|task| task.is_active()) {
        let mut done = Vec::new();
        for disk in &task.disks {
            let Some(content) = tx.find_in::<Content>(&task.home, &disk.content) else {
                steps.push(Step::Lay(task.clone(), disk.clone()));
                continue;
            };
            let report = tx.find_in::<ContentReport>(&task.home, &disk.content);
            match report.filter(|report| report.host == content.host).map(|report| report.phase.clone()) {
                Some(ImportPhase::Failed { why }) => steps.push(Step::Fail(task.clone(), why)),
                Some(ImportPhase::Waiting { size_gib }) if content.size_gib < size_gib => {
                    steps.push(Step::Room(content, size_gib));
                }
                Some(ImportPhase::Kept { size_gib, bytes }) => done.push((size_gib, bytes)),
                _ => {}
            }
        }
        if done.len() == task.disks.len() {
            steps.push(Step::Complete(task, done));
        }
    }
    let contents = tx.all::<Content>();
    if !contents.is_empty() {
        let wanted: BTreeSet<_> = imports::wanted(tx);
        steps.extend(taken(tx, &contents));
        steps.extend(merged(tx, &contents));
        steps.extend(merges(tx, &contents));
        steps.extend(contents.into_iter().filter(|content| !wanted.contains(&content.id)).map(Step::Drop));
    }
    steps
}

/// What volumes held, and what tenants wrote, whose hosts have something new to say about it.
fn taken(tx: &mut Tx<System>, contents: &[Arc<Content>]) -> Vec<Step> {
    let taken = contents.iter().filter(|content| content.source.is_snapshots());
    let mut reports = Vec::new();
    for content in taken {
        let report = tx.find_in::<ContentReport>(&content.home, &content.id);
        reports.extend(report.filter(|r| r.host == content.host).map(|report| (content, report)));
    }
    if reports.is_empty() {
        return Vec::new();
    }
    let mut phases: BTreeMap<ImageId, BTreeSet<Phase>> = BTreeMap::new();
    for snapshot in recycle_bin::all::<Snapshot>(tx) {
        if let Bytes::Image(id) = &snapshot.bytes {
            phases.entry(id.clone()).or_default().insert(snapshot.phase);
        }
    }
    let step = |(content, report): (&Arc<Content>, Arc<ContentReport>)| {
        let (phase, bytes) = match report.phase {
            // Nothing is whole before who writes it says so.
            ImportPhase::Kept { .. } if content.source.written().is_some_and(|w| w.blocks.is_none()) => return None,
            ImportPhase::Kept { bytes, .. } => (Phase::Completed, Some(bytes)),
            // A copy that failed takes no room, and needs nothing any more.
            ImportPhase::Failed { .. } => (Phase::Error, content.bytes.or(content.source.copied().map(|_| 0))),
            _ => return None,
        };
        let news = phases.get(&content.id).is_some_and(|all| all.iter().any(|known| *known != phase));
        (news || content.bytes != bytes).then(|| Step::Taken(content.clone(), phase, bytes))
    };
    reports.into_iter().filter_map(step).collect()
}

/// What hosts say of what they were to merge.
fn merged(tx: &mut Tx<System>, contents: &[Arc<Content>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for content in contents.iter().filter(|content| content.taken().is_some()) {
        let report = tx.find_in::<ContentReport>(&content.home, &content.id);
        match report.filter(|report| report.host == content.host).and_then(|report| report.merged.clone()) {
            Some(Merged::Onto { below }) => {
                let find = |id: &ImageId| contents.iter().find(|content| content.id == *id).cloned();
                steps.extend(merging::after(content, below.as_ref(), find).map(Box::new).map(Step::Merged));
            }
            Some(Merged::Failed { full, .. }) if content.merging.merge.is_some() => {
                steps.push(Step::Unmerged(content.clone(), full));
            }
            _ => {}
        }
    }
    steps
}

/// What hosts are to merge next, where there is room for another file until the old ones have gone.
fn merges(tx: &mut Tx<System>, contents: &[Arc<Content>]) -> Vec<Step> {
    let roots = imports::roots(tx);
    let mut steps = Vec::new();
    for (host, candidates) in merging::candidates(contents, &roots, tx.now()) {
        let Some(home) = candidates.first().map(|(content, _)| content.home.clone()) else { continue };
        let left_mib = tx.act_for_tenant(&home, |tx| schedule::disk_gib_left(tx, &host)) << 10;
        let first = candidates.into_iter().find(|(_, merge)| merge.room_mib <= left_mib);
        steps.extend(first.map(|(content, merge)| Step::Merge(content, merge)));
    }
    steps
}

/// Of its snapshots, and of images that wait for them.
fn completed(tx: &mut Tx<System>, content: &Content, phase: Phase, takes: Option<u64>) {
    tx.put(Content { bytes: takes, ..content.clone() });
    let bytes = Bytes::Image(content.id.clone());
    let of_it = |snapshot: &Snapshot| snapshot.bytes == bytes && snapshot.phase != phase;
    for binned in tx.all::<Binned<Snapshot>>().into_iter().filter(|binned| of_it(&binned.what)) {
        let what = Snapshot { phase, ..binned.what.clone() };
        tx.act_for_tenant(&what.home.clone(), |tx| tx.put(Binned { what, ..(*binned).clone() }));
    }
    let snapshots: Vec<_> = tx.all::<Snapshot>().into_iter().filter(|snapshot| of_it(snapshot)).collect();
    for snapshot in snapshots {
        tx.act_for_tenant(&snapshot.home, |tx| tx.put(Snapshot { phase, ..(*snapshot).clone() }));
    }
    for image in tx.all::<Image>().into_iter().filter(|image| image.details.phase == Phase::Pending) {
        let found: Vec<_> = image.snapshots().map(|id| tx.find_in::<Snapshot>(&image.home, id)).collect();
        // One that did not come with the image is another account's, and whole.
        let phases: Vec<Phase> = found.into_iter().flatten().map(|snapshot| snapshot.phase).collect();
        let phase = [Phase::Error, Phase::Pending].into_iter().find(|p| phases.contains(p)).unwrap_or_default();
        if phase != Phase::Pending {
            let details = Details { phase, ..image.details.clone() };
            tx.act_for_tenant(&image.home, |tx| tx.put(Image { details, ..(*image).clone() }));
        }
    }
}

/// Whether anything came of it.
fn take(tx: &mut Tx<System>, step: Step) -> bool {
    match step {
        Step::Lay(task, disk) => lay(tx, &task, &disk),
        Step::Room(content, size_gib) => room(tx, &content, size_gib),
        Step::Fail(task, why) => end(tx, &task, |at| Outcome::Failed { at, why }),
        Step::Complete(task, done) => complete(tx, &task, &done),
        Step::Taken(content, phase, bytes) => {
            completed(tx, &content, phase, bytes);
            true
        }
        Step::Merge(content, merge) => {
            let merging = Merging { merge: Some(merge), ..content.merging };
            tx.put(Content { merging, ..(*content).clone() });
            true
        }
        Step::Merged(content) => {
            tx.put(*content);
            true
        }
        Step::Unmerged(content, full) => {
            let merging = Merging { merge: None, again: Some(merging::again(tx.now(), full)), ..content.merging };
            tx.put(Content { merging, ..(*content).clone() });
            true
        }
        Step::Drop(content) => {
            tx.forget(&Ref::<ContentReport>::new(&content.home, &content.id));
            tx.remove(&content.at());
            true
        }
    }
}

/// All disks of a task lie on one host, because an instance of them has to.
fn lay(tx: &mut Tx<System>, task: &ImportTask, disk: &ImportedDisk) -> bool {
    let others = task.disks.iter().find_map(|other| tx.find_in::<Content>(&task.home, &other.content));
    let host: Option<HostId> = match others {
        Some(other) => Some(other.host.clone()),
        None => tx.act_for_tenant(&task.home, schedule::roomiest),
    };
    let Some(host) = host else { return false };
    let key = if disk.encrypted {
        let Ok(key) = tx.act_for_tenant(&task.home, |tx| keys::new(tx, &disk.content)) else {
            let why = "ServerError: the disk cannot be encrypted".into();
            return end(tx, task, |at| Outcome::Failed { at, why });
        };
        Some(key)
    } else {
        None
    };
    let source = Source::Fetched { url: disk.url.clone(), format: disk.format, key };
    let (home, id, merging) = (task.home.clone(), disk.content.clone(), Merging::default());
    tx.put(Content { home, id, host, size_gib: 0, bytes: None, merging, source });
    true
}

fn room(tx: &mut Tx<System>, content: &Content, size_gib: u32) -> bool {
    let left = tx.act_for_tenant(&content.home, |tx| schedule::disk_gib_left(tx, &content.host));
    // What is encrypted is there twice, until it is.
    let needed = size_gib.saturating_mul(if content.key().is_some() { 2 } else { 1 });
    if size_gib <= SIZE_GIB_MAX && u64::from(needed) <= left {
        tx.put(Content { size_gib: needed, ..content.clone() });
        return true;
    }
    let tasks = tx.all_in::<ImportTask>(&content.home);
    let of = tasks.iter().find(|task| task.is_active() && task.disks.iter().any(|disk| disk.content == content.id));
    let why = format!("ClientError: Disk validation failed [there is no room for a disk of {size_gib} GiB]");
    of.is_some_and(|task| end(tx, task, |at| Outcome::Failed { at, why }))
}

fn end(tx: &mut Tx<System>, task: &ImportTask, outcome: impl FnOnce(awan_state::Millis) -> Outcome) -> bool {
    // Another step of the same turn may have ended it.
    let Some(now) = tx.find_at(&task.at()).filter(|now| now.is_active()) else { return false };
    let outcome = Some(outcome(tx.now()));
    tx.act_for_tenant(&task.home, |tx| tx.put(ImportTask { outcome, ..(*now).clone() }));
    true
}

fn complete(tx: &mut Tx<System>, task: &ImportTask, done: &[(u32, u64)]) -> bool {
    let bytes = done.iter().map(|(_, bytes)| *bytes).collect();
    if !end(tx, task, |at| Outcome::Completed { at, bytes }) {
        return false;
    }
    for (disk, (size_gib, _)) in task.disks.iter().zip(done) {
        if let Some(content) = tx.find_in::<Content>(&task.home, &disk.content).filter(|c| c.size_gib != *size_gib) {
            tx.put(Content { size_gib: *size_gib, ..(*content).clone() });
        }
    }
    tx.act_for_tenant(&task.home, |tx| {
        for (disk, (size_gib, _)) in task.disks.iter().zip(done) {
            let snapshot = snapshot(tx, task, disk, *size_gib);
            tx.put(snapshot);
        }
        if let Product::Image(asked) = &task.product {
            let image = image(tx, task, asked, done);
            tx.put(image);
        }
    });
    true
}

fn snapshot(tx: &mut Tx<Tenant>, task: &ImportTask, disk: &ImportedDisk, size_gib: u32) -> Snapshot {
    let said = [&disk.description, &task.description].into_iter().find(|text| !text.is_empty()).cloned();
    Snapshot {
        home: task.home.clone(),
        id: disk.snapshot.clone(),
        volume: None,
        size_gib,
        description: said.unwrap_or_else(|| format!("Created by AWS-VMImport service for {}", task.id)),
        bytes: Bytes::Image(disk.content.clone()),
        phase: Phase::Completed,
        encrypted: disk.encrypted,
        copy_of: None,
        public: false,
        blocked: false,
        shared_with: BTreeSet::new(),
        lock: None,
        started: tx.now(),
        upload: None,
    }
}

/// The first disk is the root.
fn image(tx: &mut Tx<Tenant>, task: &ImportTask, asked: &ImportedImage, done: &[(u32, u64)]) -> Image {
    let (root, others) = task.disks.split_first().expect("a task has a disk");
    let options = |disk: &ImportedDisk| DeviceOptions { encrypted: disk.encrypted, ..DeviceOptions::default() };
    let device = |(n, disk): (usize, &ImportedDisk)| Device {
        name: disk.device.clone().unwrap_or_else(|| format!("/dev/sd{}", char::from(b'f' + n as u8))),
        snapshot: Some(disk.snapshot.clone()),
        size_gib: done.get(n + 1).map_or(1, |(size_gib, _)| *size_gib),
        options: options(disk),
    };
    let details = Details {
        bytes: Some(Bytes::Image(root.content.clone())),
        devices: others.iter().enumerate().map(device).collect(),
        root: options(root),
        boot_mode: asked.boot_mode.clone(),
        ..Details::default()
    };
    Image {
        home: task.home.clone(),
        id: asked.image.clone(),
        name: task.id.clone(),
        description: task.description.clone(),
        public: false,
        architecture: "x86_64".into(),
        size_gib: done.first().map_or(1, |(size_gib, _)| *size_gib),
        root_device: root.device.clone().unwrap_or_else(|| "/dev/sda1".into()),
        snapshot: root.snapshot.clone(),
        boot: awan_model::image::Boot::Firmware,
        created: tx.now(),
        details,
    }
}
