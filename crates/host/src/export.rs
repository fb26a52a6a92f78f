//! Images that leave: what a disk holds is written into a file of the operator's folder, in a format that others read.
//!
//! One at a time, less urgent than all else on the machine, and by a thread of its own: a folder that hangs keeps nobody
//! waiting.
//!
//! **Invariants.** Only what the plan has is written; what it has as cancelled goes, whole or not. A task is told to be
//! kept, failed or gone when that is so on the disk: what failed, when nothing of it is left. What cannot be done about one
//! task keeps no other waiting. What is read is open before anything is written, so it stays whole whatever becomes of the
//! names of its files.

mod format;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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

/// What could not be done is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// So much is written at most that the disk does not have yet, so that others who sync do not wait for it.
const UNSYNCED_MAX: u64 = 64 << 20;
/// Progress is told in steps of so many percent.
const STEP: u8 = 5;
const NO_BUCKET: &str = "ClientError: The given S3 bucket does not exist";
const FAILED: &str = "ServerError: the image could not be exported";

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
    /// Where all else of this host lies.
    data: PathBuf,
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    swept: bool,
    running: Option<Running>,
    seen: BTreeMap<ExportImageId, ExportPhase>,
    /// Why, of those that something may be left of.
    failed: BTreeMap<ExportImageId, String>,
    /// When what could not be done is tried again; of no task: to sweep.
    again: BTreeMap<Option<ExportImageId>, Instant>,
    /// When an account's turn was last.
    served: BTreeMap<String, Instant>,
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
    /// What was cancelled goes, and what is left of one that failed.
    Clear(ExportPlan),
}

impl Job {
    /// `None`: it is about no task.
    fn task(&self) -> Option<ExportImageId> {
        match self {
            Self::Sweep(_) => None,
            Self::Write(plan, _) | Self::Clear(plan) => Some(plan.id.clone()),
        }
    }
}

/// Ends what is being done, also where that panics.
struct Turn<'e>(&'e Exports, Option<ExportImageId>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = None;
        if std::thread::panicking() {
            state.again.insert(self.1.take(), Instant::now() + AGAIN_AFTER);
        }
        drop(state);
        self.0.changed.notify_one();
    }
}

impl Exports {
    /// Touches no folder: one may hang, or be none.
    pub fn new(host: HostId, folder: Option<PathBuf>, data: &Path) -> Arc<Self> {
        let data = data.to_owned();
        Arc::new(Self { host, folder, data, state: Mutex::default(), changed: Arc::default() })
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
        state.failed.retain(|id, _| planned(id).is_some());
        state.again.retain(|id, _| id.as_ref().is_none_or(|id| planned(id).is_some()));
        let unwanted = Arc::new(AtomicBool::new(false));
        let job = state.job(plan, &unwanted)?;
        if let Job::Write(export, _) = &job {
            state.served.insert(export.home.account().to_owned(), Instant::now());
        }
        state.running = Some(Running { id: job.task(), unwanted });
        Some(job)
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
        let (this, task) = (self.clone(), job.task());
        let of = task.clone();
        let work = move || {
            let _turn = Turn(&this, of);
            be_modest();
            this.work(job, disk);
        };
        if let Err(e) = std::thread::Builder::new().name("export".into()).spawn(work) {
            tracing::error!(error = format!("{e:#}"), "there is no thread to export images; it is tried again");
            let mut state = self.state();
            state.running = None;
            state.again.insert(task, Instant::now() + AGAIN_AFTER);
        }
    }

    fn work(&self, job: Job, disk: Result<Box<dyn Disk + Send>>) {
        let task = job.task();
        let done = match job {
            Job::Sweep(wanted) => self.sweep(&wanted).map(|()| None),
            Job::Clear(plan) => self.clear(&plan).map(|()| Some(self.cleared(&plan))),
            Job::Write(plan, unwanted) => self.written(&plan, disk, &unwanted).map(Some),
        };
        let mut state = self.state();
        match done {
            Ok(phase) => {
                state.again.remove(&task);
                match task.zip(phase) {
                    Some((id, phase)) => {
                        state.failed.remove(&id);
                        state.seen.insert(id, phase);
                    }
                    None => state.swept = true,
                }
            }
            Err(e) => {
                let what = match &task {
                    Some(id) => format!("what is left of {id} is removed later"),
                    None => "the folder for exports is not as it should be; it is looked at again".into(),
                };
                tracing::error!(error = format!("{e:#}"), "{what}");
                state.again.insert(task, Instant::now() + AGAIN_AFTER);
            }
        }
    }

    fn sweep(&self, wanted: &[ExportImageId]) -> Result<()> {
        let folder = self.folder()?;
        place::make(folder)?;
        place::sweep(folder, &self.host, |id| wanted.iter().any(|wanted| wanted.as_str() == id))?;
        if place::is_beside(folder, &self.data)? {
            tracing::warn!(
                folder = %folder.display(),
                "the folder for exports takes the room of disks, and what is exported is counted nowhere: give it a file \
                 system of its own"
            );
        }
        Ok(())
    }

    /// What is to be told of one that nothing is left of.
    fn cleared(&self, plan: &ExportPlan) -> ExportPhase {
        if plan.cancelled {
            return ExportPhase::Gone;
        }
        let why = self.state().failed.get(&plan.id).cloned();
        ExportPhase::Failed { why: why.unwrap_or_else(|| FAILED.into()) }
    }

    /// An error: something of it may be left.
    fn written(
        &self,
        plan: &ExportPlan,
        disk: Result<Box<dyn Disk + Send>>,
        unwanted: &AtomicBool,
    ) -> Result<ExportPhase> {
        // Also where this thread panics.
        self.state().failed.insert(plan.id.clone(), FAILED.into());
        let e = match disk.and_then(|disk| self.write(plan, disk, unwanted)) {
            Ok(bytes) => return Ok(ExportPhase::Kept { bytes }),
            Err(e) => e,
        };
        if !unwanted.load(Ordering::Relaxed) {
            tracing::warn!(export = %plan.id, error = format!("{e:#}"), "an image could not be exported");
        }
        let why = told(&e);
        self.state().failed.insert(plan.id.clone(), why.clone());
        self.clear(plan)?;
        Ok(ExportPhase::Failed { why })
    }

    /// Where there is no bucket any more, nothing is left in it.
    fn clear(&self, plan: &ExportPlan) -> Result<()> {
        match Place::open(self.folder()?, &self.host, plan) {
            Ok(place) => place.clear(),
            Err(e) if e.is::<Told>() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Returns how large the file is. On errors, what was written is left.
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
        format::write(&mut *disk, &wanted, &file, &mut goes_on)?;
        place.finish(&file)?;
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

impl State {
    /// Those that go come first, then whose account was not served for longest; of each, which was asked for first.
    fn job(&self, plan: &[ExportPlan], unwanted: &Arc<AtomicBool>) -> Option<Job> {
        let now = Instant::now();
        let waits = |task: Option<&ExportImageId>| self.again.get(&task.cloned()).is_some_and(|at| now < *at);
        if !self.swept && !waits(None) {
            return Some(Job::Sweep(plan.iter().map(|export| export.id.clone()).collect()));
        }
        let ready: Vec<_> = plan.iter().filter(|export| !waits(Some(&export.id))).collect();
        let is_left = |export: &ExportPlan| match export.cancelled {
            true => self.seen.get(&export.id) != Some(&ExportPhase::Gone),
            false => self.failed.contains_key(&export.id),
        };
        if let Some(left) = ready.iter().find(|export| is_left(export)) {
            return Some(Job::Clear((*left).clone()));
        }
        let new = ready.into_iter().filter(|export| !export.cancelled && !self.seen.contains_key(&export.id));
        let next = new.min_by_key(|export| self.served.get(export.home.account()))?;
        Some(Job::Write(next.clone(), unwanted.clone()))
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
    FAILED.into()
}

#[cfg(test)]
mod tests;
