//! Images that leave: what a disk holds is written into a file of the operator's folder, in a format that others read.
//!
//! One at a time, less urgent than all else on the machine, and by a thread of its own: a folder that hangs keeps nobody
//! waiting.
//!
//! **Invariants.** Only what the plan has is written; what it has as cancelled goes, whole or not. A task is told to be
//! kept, failed or gone when that is so on the disk. What is read is open before anything is written, so it stays whole
//! whatever becomes of the names of its files.

mod format;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use awan_model::Home;
use awan_model::export::ExportPhase;
use awan_model::id::{ExportImageId, HostId};
use awan_model::plan::ExportPlan;
use awan_model::report::ExportSeen;
use nix::errno::Errno;
use tokio::sync::Notify;

use self::place::Place;
use crate::import::disk::Disk;
use crate::import::fetch::leaves_room;
use crate::process::be_modest;

/// What could not be removed is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// So much is written at most that the disk does not have yet, so that others who sync do not wait for it.
const UNSYNCED_MAX: u64 = 64 << 20;
/// Progress is told in steps of so many percent.
const STEP: u8 = 5;
const NO_BUCKET: &str = "ClientError: The given S3 bucket does not exist";

/// A reason that whoever asked may read.
#[derive(Debug)]
struct Told(&'static str);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Told {}

pub struct Exports {
    host: HostId,
    /// `None`: nothing is exported here.
    folder: Option<PathBuf>,
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    swept: bool,
    running: Option<Running>,
    seen: BTreeMap<ExportImageId, ExportPhase>,
    again: Option<Instant>,
}

/// What is being done.
struct Running {
    /// `None`: about no task.
    id: Option<ExportImageId>,
    unwanted: Arc<AtomicBool>,
}

/// What is to be done next.
pub enum Job {
    /// Leftovers that are none of these go.
    Sweep(Vec<ExportImageId>),
    Write(ExportPlan, Arc<AtomicBool>),
    Clear(ExportPlan),
}

impl Exports {
    pub fn open(host: HostId, folder: Option<PathBuf>) -> Result<Arc<Self>> {
        if let Some(folder) = &folder {
            place::make(folder)?;
        }
        Ok(Arc::new(Self { host, folder, state: Mutex::default(), changed: Arc::default() }))
    }

    /// Whether anything is exported here.
    pub fn takes(&self) -> bool {
        self.folder.is_some()
    }

    /// Wakes the agent when a file is further than it was.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> Result<&PathBuf> {
        self.folder.as_ref().context("nothing is exported here")
    }

    pub fn has_bucket(&self, home: &Home, name: &str) -> Result<bool> {
        Ok(place::bucket(self.folder()?, home.account(), name)?.is_some())
    }

    /// Ends what is not wanted any more, and says what is to be begun; `None`: nothing, or something goes on.
    pub fn next(&self, plan: &[ExportPlan]) -> Option<Job> {
        self.folder.as_ref()?;
        let mut state = self.state();
        let planned = |id: &ExportImageId| plan.iter().find(|export| export.id == *id);
        if let Some(Running { id, unwanted }) = &state.running {
            if id.as_ref().is_some_and(|id| planned(id).is_none_or(|export| export.cancelled)) {
                unwanted.store(true, Ordering::Relaxed);
            }
            return None;
        }
        state.seen.retain(|id, _| planned(id).is_some());
        let unwanted = Arc::new(AtomicBool::new(false));
        let (id, job) = self.job(plan, &state, &unwanted)?;
        state.running = Some(Running { id, unwanted });
        Some(job)
    }

    fn job(
        &self,
        plan: &[ExportPlan],
        state: &State,
        unwanted: &Arc<AtomicBool>,
    ) -> Option<(Option<ExportImageId>, Job)> {
        let waits = state.again.is_some_and(|at| Instant::now() < at);
        if !state.swept && !waits {
            return Some((None, Job::Sweep(plan.iter().map(|export| export.id.clone()).collect())));
        }
        let is_gone = |export: &ExportPlan| state.seen.get(&export.id) == Some(&ExportPhase::Gone);
        let gone = plan.iter().find(|export| export.cancelled && !is_gone(export) && !waits);
        if let Some(export) = gone {
            return Some((None, Job::Clear(export.clone())));
        }
        let new = plan.iter().find(|export| !export.cancelled && !state.seen.contains_key(&export.id))?;
        Some((Some(new.id.clone()), Job::Write(new.clone(), unwanted.clone())))
    }

    pub fn seen(&self, plan: &[ExportPlan]) -> Vec<ExportSeen> {
        let state = self.state();
        let seen = |export: &ExportPlan| {
            let phase = state.seen.get(&export.id)?.clone();
            Some(ExportSeen { home: export.home.clone(), id: export.id.clone(), phase })
        };
        plan.iter().filter_map(seen).collect()
    }

    /// Does what is to be done, by a thread of its own. `disk`: what is to be read.
    pub fn begin(self: &Arc<Self>, job: Job, disk: Result<Box<dyn Disk + Send>>) {
        let this = self.clone();
        let work = move || {
            be_modest();
            this.work(job, disk);
            this.state().running = None;
            this.changed.notify_one();
        };
        if let Err(e) = std::thread::Builder::new().name("export".into()).spawn(work) {
            tracing::error!(error = format!("{e:#}"), "there is no thread to export images; it is tried again");
            let mut state = self.state();
            (state.running, state.again) = (None, Some(Instant::now() + AGAIN_AFTER));
        }
    }

    fn work(&self, job: Job, disk: Result<Box<dyn Disk + Send>>) {
        let (id, done) = match job {
            Job::Sweep(wanted) => {
                let wanted = |id: &str| wanted.iter().any(|wanted| wanted.as_str() == id);
                let done = self.folder().and_then(|folder| place::sweep(folder, &self.host, wanted));
                self.state().swept = done.is_ok();
                (None, done.map(|()| ExportPhase::Gone))
            }
            Job::Clear(plan) => (Some(plan.id.clone()), self.clear(&plan).map(|()| ExportPhase::Gone)),
            Job::Write(plan, unwanted) => {
                let done = disk.and_then(|disk| self.write(&plan, disk, &unwanted));
                let phase = match done {
                    Ok(bytes) => ExportPhase::Kept { bytes },
                    Err(e) => {
                        if !unwanted.load(Ordering::Relaxed) {
                            tracing::warn!(export = %plan.id, error = format!("{e:#}"), "an image could not be exported");
                        }
                        ExportPhase::Failed { why: told(&e) }
                    }
                };
                (Some(plan.id), Ok(phase))
            }
        };
        let mut state = self.state();
        match (id, done) {
            (Some(id), Ok(phase)) => drop(state.seen.insert(id, phase)),
            (None, Ok(_)) => {}
            (_, Err(e)) => {
                tracing::error!(error = format!("{e:#}"), "what is left of exports is removed later");
                state.again = Some(Instant::now() + AGAIN_AFTER);
            }
        }
    }

    /// Where there is no bucket any more, nothing is left in it.
    fn clear(&self, plan: &ExportPlan) -> Result<()> {
        match Place::open(self.folder()?, &self.host, plan) {
            Ok(place) => place.clear(),
            Err(e) if e.is::<Told>() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Returns how large the file is.
    fn write(&self, plan: &ExportPlan, mut disk: Box<dyn Disk + Send>, unwanted: &AtomicBool) -> Result<u64> {
        let place = Place::open(self.folder()?, &self.host, plan)?;
        if let Some(bytes) = place.kept()? {
            return Ok(bytes);
        }
        let file = place.begin()?;
        let size = disk.size().max(u64::from(plan.size_gib) << 30);
        let wanted = format::Wanted { format: plan.format, size, name: place.name() };
        let mut synced = 0;
        let mut goes_on = |done: u64| {
            ensure!(!unwanted.load(Ordering::Relaxed), "it is not wanted any more");
            self.note(plan, done, size);
            let takes = file.metadata()?.blocks() * 512;
            if takes > synced + UNSYNCED_MAX {
                synced = takes;
                file.sync_data()?;
            }
            leaves_room(&file, 0)
        };
        let written = format::write(&mut *disk, &wanted, &file, &mut goes_on).and_then(|()| place.finish(&file));
        if let Err(e) = written {
            if let Err(left) = place.abandon() {
                tracing::error!(export = %plan.id, error = format!("{left:#}"), "what was written of an export is left");
            }
            return Err(e);
        }
        Ok(file.metadata()?.len())
    }

    fn note(&self, plan: &ExportPlan, done: u64, size: u64) {
        let percent = u8::try_from(done.saturating_mul(100) / size.max(1)).unwrap_or(100) / STEP * STEP;
        let phase = ExportPhase::Writing { percent };
        if self.state().seen.insert(plan.id.clone(), phase.clone()) != Some(phase) {
            self.changed.notify_one();
        }
    }
}

/// What a tenant may read: none that tells of this machine.
fn told(e: &anyhow::Error) -> String {
    if let Some(told) = e.chain().find_map(|e| e.downcast_ref::<Told>()) {
        return told.to_string();
    }
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut kinds = e.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let mut errors = e.chain().filter_map(|e| e.downcast_ref::<Errno>());
    let full = errors.any(|errno| matches!(errno, Errno::ENOSPC | Errno::EDQUOT));
    if full || kinds.any(|kind| matches!(kind, StorageFull | QuotaExceeded)) {
        return "ServerError: there is no room for the file".into();
    }
    "ServerError: the image could not be exported".into()
}

#[cfg(test)]
mod tests;
