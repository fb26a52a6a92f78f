//! Files of a chain that become one: what content holds, and what lies between it and something further below, is written
//! into a new file, which takes the place of its own.
//!
//! In the same way, and never at the same time, a content is written once more that others are an encrypted copy of.
//!
//! Beside the file stands what it is a child of and, once it was merged, which file it is, in one small file: so there is
//! one place of commitment, a rename. Whoever has an old file open goes on with it.
//!
//! **Invariants.** What content holds is the same before and after, and at any moment. What is encrypted is written encrypted,
//! by the key of the content whose file it is in then. A file with a name never changes, and
//! keeps it while somebody is about to open it. Nothing is written while there is no room for it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use awan_model::Home;
use awan_model::id::ImageId;
use awan_model::import::{Copied, Merge, Source};
use awan_model::plan::{ContentPlan, SealedKeys, VolumePlan, sealed_keys};
use tokio::sync::Notify;

use super::super::chain::{Chain, Keyed};
use super::super::files;
use super::super::luks::Luks;
use super::{BELOW, CHAIN_MAX, FileVolumes, GIB};
use crate::driver::{Shorter, Unmerged};
use crate::import::disk::PIECE;
use crate::import::write::{self, Cluster, Clusters};
use crate::import::{DISK, fetch};
use crate::keys::{Key, Missing};
use crate::process::be_modest;

/// Where there was no thread, all is tried again; a copy for which there was no room or no key is by itself.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// So much is written at most that the disk does not have yet, so that others who sync do not wait for it.
const UNSYNCED_MAX: u64 = 64 << 20;

/// Where a content lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub disk: PathBuf,
    pub below: Option<ImageId>,
    /// Counts the files that it had.
    version: u32,
}

/// What is being merged, and what cannot be.
pub struct Merges {
    me: Weak<FileVolumes>,
    state: Mutex<State>,
    pub changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    failed: BTreeMap<ImageId, (Work, Unmerged)>,
    /// Copies for which there was no room or no key, and when each is tried again.
    later: BTreeMap<ImageId, Instant>,
    again: Option<Instant>,
    turns: Turns,
    /// What nobody reads any more, as soon as nobody is about to.
    left: Vec<PathBuf>,
}

struct Running {
    id: ImageId,
    work: Work,
    unwanted: Arc<AtomicBool>,
}

/// What is to be done about the file of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Merge(Merge),
    Copy(Copied),
}

impl Work {
    fn of(content: &ContentPlan) -> Option<Self> {
        match &content.source {
            Source::Copied(copied) => Some(Self::Copy(copied.clone())),
            _ => content.merge.clone().map(Self::Merge),
        }
    }
}

/// Whose turn it is. Somebody waits for a copy, and a merge gives back room: so they take turns, and so do those who wait
/// for copies.
#[derive(Debug, Default)]
struct Turns {
    copied: bool,
    last: Option<Home>,
}

impl Turns {
    /// Of what the plan says, what is next. `tried`: when a copy that could not be made is to be tried again.
    fn next<'p>(
        &self,
        plan: &'p [ContentPlan],
        tried: impl Fn(&ImageId) -> Option<Instant>,
        is_due: impl Fn(&ContentPlan, &Work) -> bool,
    ) -> Option<(&'p ContentPlan, Work)> {
        let due = |content: &'p ContentPlan| {
            let work = Work::of(content)?;
            is_due(content, &work).then_some((content, work))
        };
        let copy = || {
            // What was there once, or could not be made, is not made again.
            let mut copies: Vec<_> = plan.iter().filter(|c| !c.kept && c.source.copied().is_some()).collect();
            copies.sort_by_key(|c| (self.last.as_ref().is_some_and(|last| c.home <= *last), &c.home, tried(&c.id)));
            copies.into_iter().find_map(due)
        };
        let merge = || plan.iter().filter(|content| content.source.copied().is_none()).find_map(due);
        if self.copied { merge().or_else(copy) } else { copy().or_else(merge) }
    }

    fn begin(&mut self, content: &ContentPlan) {
        self.copied = content.source.copied().is_some();
        if self.copied {
            self.last = Some(content.home.clone());
        }
    }
}

impl Merges {
    pub fn new(me: Weak<FileVolumes>) -> Self {
        Self { me, state: Mutex::default(), changed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn failed(&self, content: &ContentPlan) -> Option<Unmerged> {
        let state = self.state();
        let (of, why) = state.failed.get(&content.id)?;
        (Work::of(content).as_ref() == Some(of)).then(|| why.clone())
    }
}

impl Drop for Merges {
    fn drop(&mut self) {
        if let Some(running) = &self.state().running {
            running.unwanted.store(true, Ordering::Relaxed);
        }
    }
}

impl FileVolumes {
    /// Where content of this name lies, or would. Whether it is there is not looked at.
    pub(super) fn place(&self, id: &ImageId) -> Result<Place> {
        let folder = self.contents.join(id.as_str());
        let below = folder.join(BELOW);
        let said = match std::fs::read_to_string(&below) {
            Ok(said) => said,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| format!("reading {}", below.display())),
        };
        let named = || format!("{} names nothing", below.display());
        let mut lines = said.lines();
        let id = lines.next().filter(|id| !id.is_empty()).map(str::parse).transpose().ok().with_context(named)?;
        let version = lines.next().map(str::parse).transpose().with_context(named)?.unwrap_or(0);
        Ok(Place { disk: folder.join(name(version)), below: id, version })
    }

    /// The files of a content, the nearest first, open.
    pub fn read(&self, id: &ImageId, sealed: &SealedKeys) -> Result<Chain> {
        let _held = self.held.clone();
        Chain::open(&self.keyed(self.chain(Some(id))?, sealed)?)
    }

    /// What is below the file that a machine has open, if that is a child of the newest of the plan's layers.
    pub(super) fn shorter_now(&self, volume: &VolumePlan) -> Result<Shorter> {
        let held = self.held.clone();
        let last = volume.layers.last();
        let generation = last.map_or(0, |layer| layer.generation);
        let below = last.map(|layer| &layer.id).or(volume.image.as_ref());
        let (own, next) = (self.path(&volume.id, generation), self.path(&volume.id, generation + 1));
        ensure!(volume.layers.iter().all(|layer| layer.kept), "a snapshot is being made of it");
        ensure!(own.exists() && !next.exists(), "it has gone on, or is to, in another file");
        let chain = self.chain(below)?;
        let keys = self.keys(volume, &chain)?;
        let backing = chain.into_iter().map(|(_, path)| path).collect();
        Ok(Shorter { volume: volume.id.clone(), generation, backing, keys, held })
    }

    /// Does what the plan says, one at a time and in the background.
    pub(super) fn follow_merges(&self, plan: &[ContentPlan]) {
        self.remove_left();
        let wanted = |id: &ImageId, work: &Work| {
            plan.iter().any(|content| content.id == *id && Work::of(content).as_ref() == Some(work))
        };
        let mut state = self.merges.state();
        state.failed.retain(|id, (work, _)| wanted(id, work));
        if !state.later.is_empty() {
            state.later.retain(|id, _| plan.iter().any(|content| content.id == *id && !content.kept));
        }
        if let Some(running) = &state.running {
            if !wanted(&running.id, &running.work) {
                running.unwanted.store(true, Ordering::Relaxed);
            }
            return;
        }
        let now = Instant::now();
        if state.again.is_some_and(|at| now < at) {
            return;
        }
        let tried = |id: &ImageId| state.later.get(id).copied();
        let is_due = |content: &ContentPlan, work: &Work| {
            let waits = state.failed.contains_key(&content.id) || tried(&content.id).is_some_and(|at| now < at);
            !waits && self.is_due(plan, &content.id, work).unwrap_or(true)
        };
        let Some((content, work)) = state.turns.next(plan, tried, is_due) else { return };
        state.turns.begin(content);
        self.begin(content.id.clone(), work, sealed_keys(plan), &mut state);
    }

    fn is_due(&self, plan: &[ContentPlan], id: &ImageId, work: &Work) -> Result<bool> {
        let place = self.place(id)?;
        Ok(match work {
            Work::Merge(merge) => place.below != merge.below,
            Work::Copy(copied) => !place.disk.exists() && !self.comes(plan, &copied.of)?,
        })
    }

    /// Whether an image may still be on its way here, of this or below it. What is the host's own is here, or is lost.
    fn comes(&self, plan: &[ContentPlan], of: &ImageId) -> Result<bool> {
        let mut next = of.clone();
        for _ in 0..CHAIN_MAX {
            let place = self.place(&next)?;
            if !place.disk.exists() {
                return Ok(!self.image(&next).exists() && plan.iter().all(|content| content.id != next));
            }
            let Some(below) = place.below else { break };
            next = below;
        }
        Ok(false)
    }

    fn begin(&self, id: ImageId, work: Work, sealed: SealedKeys, state: &mut State) {
        let Some(me) = self.merges.me.upgrade() else { return };
        let unwanted = Arc::new(AtomicBool::new(false));
        state.running = Some(Running { id: id.clone(), work: work.clone(), unwanted: unwanted.clone() });
        // A thread of its own, so that it can be less urgent than all others.
        let run = move || {
            be_modest();
            let goes_on = || !unwanted.load(Ordering::Relaxed);
            let done = match &work {
                Work::Merge(merge) => me.merge_now(&id, merge.below.as_ref(), &sealed, goes_on),
                Work::Copy(copied) => me.copy_now(&id, copied, &sealed, goes_on),
            };
            me.ended(id, work, !goes_on(), done);
        };
        if let Err(e) = std::thread::Builder::new().name("merge".into()).spawn(run) {
            tracing::error!(error = format!("{e:#}"), "there is no thread to merge files; it is tried again");
            (state.running, state.again) = (None, Some(Instant::now() + AGAIN_AFTER));
        }
    }

    fn ended(&self, id: ImageId, work: Work, unwanted: bool, done: Result<()>) {
        let mut state = self.merges.state();
        state.running = None;
        match done {
            Ok(()) => {}
            Err(_) if unwanted => {}
            Err(e) => {
                let (why, full) = (format!("{e:#}"), is_full(&e) || e.is::<Missing>());
                match &work {
                    _ if full => {
                        tracing::warn!(content = %id, error = why, "there is no room, or no key, to merge files");
                    }
                    Work::Merge(_) => tracing::error!(content = %id, error = why, "files cannot be merged"),
                    Work::Copy(_) => {
                        tracing::error!(content = %id, error = why, "what is to be encrypted cannot be copied");
                    }
                }
                if full && matches!(work, Work::Copy(_)) {
                    state.later.insert(id, Instant::now() + AGAIN_AFTER);
                } else {
                    state.failed.insert(id, (work, Unmerged { why, full }));
                }
            }
        }
        drop(state);
        self.merges.changed.notify_one();
    }

    /// Makes the file of a content one that is a child of something further below. What has been done is not done again.
    pub fn merge_now(
        &self,
        id: &ImageId,
        onto: Option<&ImageId>,
        sealed: &SealedKeys,
        goes_on: impl Fn() -> bool,
    ) -> Result<()> {
        let folder = self.contents.join(id.as_str());
        let place = self.place(id)?;
        if place.below.as_ref() == onto {
            return files::sync_folder(&folder);
        }
        let rest = self.keyed(self.chain(onto)?, sealed)?;
        let merged = self.keyed(self.between(id, &place, onto)?, sealed)?;
        let luks = merged.first().and_then(|(_, key)| key.as_ref()).map(Key::luks).transpose()?;
        let is_plain = merged.iter().all(|(_, key)| key.is_none());
        ensure!(luks.is_some() || is_plain, "what is encrypted is not written as it is");
        let mut part = Part::open(&merged, &rest)?;
        part.has_room(&merged, &place.disk)?;
        let version = place.version.checked_add(1).context("it was merged too often")?;
        let (unfinished, new) = (folder.join(MERGED), folder.join(name(version)));
        part.write(part.chain.size(), luks.as_ref(), &unfinished, goes_on)?;
        files::rename(&unfinished, &new)?;
        // Before it is said that it is there.
        files::sync_folder(&folder)?;
        let said = format!("{}\n{version}\n", onto.map_or("", ImageId::as_str));
        let (below, saying) = (folder.join(BELOW), folder.join(SAYING));
        let written = files::write(&saying, |out| Ok(out.write_all(said.as_bytes())?));
        if written.is_err() {
            // Nobody has heard of it, and it takes room.
            let _ = files::remove(&new);
        }
        written?;
        let said = files::rename(&saying, &below);
        // Whatever becomes of this, what is told of it is what is there.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        said?;
        // Before what was is removed.
        files::sync_folder(&folder)?;
        self.merges.state().left.push(place.disk);
        self.remove_left();
        Ok(())
    }

    /// Writes what a content is to be an encrypted copy of. What has been done is not done again.
    pub fn copy_now(
        &self,
        id: &ImageId,
        copied: &Copied,
        sealed: &SealedKeys,
        goes_on: impl Fn() -> bool,
    ) -> Result<()> {
        let (folder, size) = (self.contents.join(id.as_str()), u64::from(copied.copied_gib) * GIB);
        let (unfinished, disk) = (folder.join(MERGED), folder.join(DISK));
        let named = || [&folder, &self.contents].into_iter().try_for_each(|folder| files::sync_folder(folder));
        if disk.exists() {
            return named();
        }
        let luks = self.keys.key(&copied.key)?.luks()?;
        let held = self.held.clone();
        let files = self.keyed(self.chain(Some(&copied.of))?, sealed)?;
        let mut part = Part::open(&files, &[])?;
        files::make_folder(&folder)?;
        part.has_room(&files, &disk)?;
        drop(held);
        part.write(size.max(part.chain.size()), Some(&luks), &unfinished, goes_on)?;
        files::rename(&unfinished, &disk)?;
        named()
    }

    /// The files from one to what it is to be a child of.
    fn between(&self, id: &ImageId, from: &Place, onto: Option<&ImageId>) -> Result<Vec<(ImageId, PathBuf)>> {
        let (mut files, mut next) = (vec![(id.clone(), from.disk.clone())], from.below.clone());
        while next.as_ref() != onto {
            let Some(id) = next else { bail!("what it is to be a child of is not below it") };
            let place = self.place(&id)?;
            ensure!(place.disk.exists(), "{id} is not to be merged, or is lost");
            files.push((id, place.disk));
            ensure!(files.len() <= CHAIN_MAX, "it has too much below it");
            next = place.below;
        }
        Ok(files)
    }

    fn remove_left(&self) {
        if std::sync::Arc::strong_count(&self.held) > 1 {
            return;
        }
        let left = std::mem::take(&mut self.merges.state().left);
        for path in left {
            if let Err(e) = files::remove(&path) {
                // The folder may have gone meanwhile; else the next life removes it.
                tracing::debug!(error = format!("{e:#}"), "what was merged is left");
            }
        }
    }

    /// Removes what an interrupted merge left.
    pub(super) fn sweep_contents(&self) -> Result<()> {
        let folders = match std::fs::read_dir(&self.contents) {
            Ok(folders) => folders,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).context("looking at what was kept"),
        };
        for folder in folders {
            let folder = folder?.path();
            let Some(place) = named(&folder).and_then(|id| self.place(&id).ok()) else { continue };
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                let unfinished = [MERGED, SAYING].iter().any(|name| path.file_name().is_some_and(|n| n == *name));
                let other = is_disk(&path) && path != place.disk && place.disk.exists();
                if unfinished || other {
                    // The new name may be one that only this life has seen.
                    files::sync_folder(&folder)?;
                    files::remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// Not whole yet: a merged file, and what says that it is there.
const MERGED: &str = "merged.new";
const SAYING: &str = "below.new";

fn named(folder: &Path) -> Option<ImageId> {
    folder.file_name()?.to_str()?.parse().ok()
}

fn name(version: u32) -> String {
    if version == 0 { DISK.to_owned() } else { format!("disk.{version}.qcow2") }
}

fn is_disk(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == DISK
        || name.strip_prefix("disk.").and_then(|n| n.strip_suffix(".qcow2")).is_some_and(|n| n.parse::<u32>().is_ok())
}

fn is_full(e: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    e.chain()
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| matches!(e.kind(), StorageFull | QuotaExceeded))
}

/// The nearest files of a chain, which become one, and those that stay below.
struct Part {
    /// All of them.
    chain: Chain,
    /// How many become one.
    depth: usize,
    rest: Option<Chain>,
    /// From here on, nothing of those that stay is seen.
    end: u64,
}

impl Part {
    fn open(merged: &[Keyed], rest: &[Keyed]) -> Result<Self> {
        let chain = Chain::open(&[merged, rest].concat())?;
        let end = chain.end(merged.len());
        let rest = if rest.is_empty() { None } else { Some(Chain::open(rest)?) };
        Ok(Self { chain, depth: merged.len(), rest, end })
    }

    /// Whether there is room beside what the files take that become one.
    fn has_room(&self, merged: &[Keyed], at: &Path) -> Result<()> {
        let takes = merged.iter().map(|(path, _)| Ok(std::fs::metadata(path)?.blocks() * 512)).sum::<Result<u64>>()?;
        fetch::has_room(at, takes.min(self.chain.size()))
    }

    /// Makes a file of it; none, where that fails.
    fn write(&mut self, size: u64, luks: Option<&Luks>, to: &Path, goes_on: impl Fn() -> bool) -> Result<()> {
        let written = files::write(to, |out| {
            let (file, mut synced) = (out.get_ref().try_clone()?, 0);
            write::write_clusters(self, size, luks, out, |_| {
                ensure!(goes_on(), "it is not wanted any more");
                let length = file.metadata()?.len();
                if length > synced + UNSYNCED_MAX {
                    synced = length;
                    file.sync_data()?;
                    fetch::has_room(to, 0)?;
                }
                Ok(())
            })
        });
        if written.is_err() {
            let _ = files::remove(to);
        }
        written
    }
}

impl Clusters for Part {
    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        let held = self.chain.next(from, self.depth)?.map(|holder| holder.at);
        let hidden = match &mut self.rest {
            Some(rest) => rest.next(from.max(self.end - self.end % PIECE as u64), usize::MAX)?.map(|holder| holder.at),
            None => None,
        };
        let next = held.into_iter().chain(hidden).min();
        Ok(next.filter(|at| *at < self.chain.size()))
    }

    fn read(&mut self, at: u64, cluster: &mut [u8; PIECE]) -> Result<Cluster> {
        let below = match &mut self.rest {
            Some(rest) if at < rest.size() => rest.holder(at)?.is_some(),
            _ => false,
        };
        let own = self.chain.holder(at)?.is_some_and(|holder| holder.depth < self.depth);
        let is_hidden = below && at + PIECE as u64 > self.end;
        if !own && !is_hidden {
            return Ok(Cluster::Nothing);
        }
        let any = self.chain.read(at, cluster)? && cluster.iter().any(|byte| *byte != 0);
        Ok(match (any, below) {
            (true, _) => Cluster::Data,
            (false, true) => Cluster::Zeros,
            (false, false) => Cluster::Nothing,
        })
    }
}

#[cfg(test)]
mod tests;
