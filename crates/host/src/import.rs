//! Disks that come from elsewhere: fetched, understood, and kept as what volumes can begin as.
//!
//! **Invariants.** A disk is under its name only when it is whole, and what no plan has is removed. What was begun and
//! not finished begins again. Nothing is written of a disk before there is room for all of it.

pub mod disk;
pub mod fetch;
pub mod jail;
pub mod write;
mod written;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use awan_model::id::ImageId;
use awan_model::import::{self as model, Format, ImportPhase, Source};
use awan_model::key::SealedKey;
use awan_model::plan::{ContentPlan, SealedKeys};
use awan_model::report::ContentSeen;
use tokio::sync::{Notify, Semaphore, watch};

use self::fetch::Rules;
use self::jail::Jail;
use self::written::{Seen, Unlock, Written};
use crate::keys::{Key, MasterKeys};
use crate::volume::chain::Keyed;
use crate::volume::qcow2::virtual_size;

pub const DISK: &str = "disk.qcow2";
/// Beside it: what the disk is a child of, in the first line.
pub const BELOW: &str = "below";
const UNFINISHED: &str = "new";
/// What becomes the unfinished one, where a disk is to be encrypted.
const ENCRYPTED: &str = "encrypted";
const SOURCE: &str = "source";
/// How large the file was that a disk came in.
const CAME: &str = "bytes";
const GIB: u64 = 1 << 30;
/// As EC2's largest snapshot.
const DISK_MAX: u64 = 64 << 40;
const CONVERTED_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);
/// Progress is told in steps of so many percent.
const STEP: u8 = 5;
const FETCHED_AT_ONCE: usize = 8;
/// What somebody wrote and cannot be opened is tried again then.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Blocks that are written at once.
const PUT_AT_ONCE: usize = 16;

pub struct Contents {
    folder: PathBuf,
    rules: Rules,
    /// Where they are read; `None`: in this process.
    jail: Option<Jail>,
    keys: MasterKeys,
    jobs: Mutex<BTreeMap<ImageId, Job>>,
    uploads: Mutex<BTreeMap<ImageId, Upload>>,
    putting: Semaphore,
    /// Who waits for others to be fetched, and to be converted, which takes a processor.
    fetching: Semaphore,
    converting: Semaphore,
    changed: Arc<Notify>,
}

/// What a tenant writes.
#[derive(Clone)]
struct Upload {
    written: Arc<Written>,
    /// Somebody looks at it, or makes a disk of it, or it could not be done just now.
    busy: Arc<AtomicBool>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// A disk from elsewhere.
struct Wanted {
    id: ImageId,
    url: String,
    format: Format,
    key: Option<SealedKey>,
}

struct Job {
    phase: ImportPhase,
    room: watch::Sender<u32>,
    unwanted: Arc<AtomicBool>,
    task: Option<tokio::task::AbortHandle>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Contents {
    pub fn open(folder: PathBuf, rules: Rules, jail: Option<Jail>, keys: MasterKeys) -> Result<Arc<Self>> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("making {}", folder.display()))?;
        let (fetching, converting) = (Semaphore::new(FETCHED_AT_ONCE), Semaphore::new(1));
        let (jobs, uploads, changed) = (Mutex::default(), Mutex::default(), Arc::default());
        let putting = Semaphore::new(PUT_AT_ONCE);
        Ok(Arc::new(Self { folder, rules, jail, keys, jobs, uploads, putting, fetching, converting, changed }))
    }

    /// Wakes the agent when a disk is further than it was.
    pub fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// What there is, whole or not.
    pub fn present(&self) -> Result<Vec<ImageId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        found.sort();
        Ok(found)
    }

    /// Begins, goes on with and ends what the plan says.
    pub fn follow(self: &Arc<Self>, plan: &[ContentPlan]) -> Result<()> {
        let wanted: HashSet<&ImageId> = plan.iter().map(|content| &content.id).collect();
        self.jobs().retain(|id, _| wanted.contains(id));
        self.uploads().retain(|id, _| wanted.contains(id));
        let mut removed = Ok(());
        for id in self.present()?.iter().filter(|id| !wanted.contains(id)) {
            let folder = self.folder.join(id.as_str());
            let gone = std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()));
            removed = removed.and(gone);
        }
        self.go_on(plan).and(removed)
    }

    /// The same, but what is to go stays until somebody has opened it.
    pub fn go_on(self: &Arc<Self>, plan: &[ContentPlan]) -> Result<()> {
        let mut done = Ok(());
        for content in plan {
            let wanted = match &content.source {
                Source::Fetched { url, format, key } => {
                    Wanted { id: content.id.clone(), url: url.clone(), format: *format, key: key.clone() }
                }
                Source::Written(source) => {
                    self.take_on(content, source);
                    continue;
                }
                // What volumes held is kept where volumes are, and copies are written there.
                Source::Taken(_) | Source::Copied(_) => continue,
            };
            if let Some(job) = self.jobs().get(&content.id) {
                job.room.send_if_modified(|room| std::mem::replace(room, content.size_gib) != content.size_gib);
                continue;
            }
            // What cannot begin keeps no other from it.
            done = done.and(self.begin(wanted, content.size_gib));
        }
        done
    }

    pub fn seen(&self, plan: &[ContentPlan]) -> Vec<ContentSeen> {
        let (jobs, uploads) = (self.jobs(), self.uploads());
        let seen = |content: &ContentPlan| {
            let phase = match uploads.get(&content.id).map(|upload| upload.written.seen()) {
                None => jobs.get(&content.id)?.phase.clone(),
                Some(Seen::New | Seen::Open) => return None,
                Some(Seen::Kept { size_gib, bytes }) => ImportPhase::Kept { size_gib, bytes },
                Some(Seen::Lost { why }) => ImportPhase::Failed { why },
            };
            Some(ContentSeen { home: content.home.clone(), id: content.id.clone(), phase, merged: None })
        };
        plan.iter().filter_map(seen).collect()
    }

    /// Opens what a tenant writes, and makes a disk of it once it is whole. What fails is tried at the next turn again.
    fn take_on(self: &Arc<Self>, content: &ContentPlan, source: &model::Written) {
        let folder = self.folder.join(content.id.as_str());
        let (keys, sealed) = (self.keys.clone(), source.key.clone());
        let key: Unlock = Box::new(move || keys.opens(sealed.as_ref()));
        let new = || Upload {
            written: Arc::new(Written::new(folder, source.below.clone(), source.written_gib, key)),
            busy: Arc::default(),
            trouble: Arc::default(),
        };
        let Upload { written, busy, trouble } = self.uploads().entry(content.id.clone()).or_insert_with(new).clone();
        let is_due = match written.seen() {
            Seen::New => true,
            Seen::Open => source.blocks.is_some(),
            Seen::Kept { .. } | Seen::Lost { .. } => false,
        };
        if !is_due || busy.swap(true, Ordering::Relaxed) {
            return;
        }
        let (this, id, kept, blocks) = (self.clone(), content.id.clone(), content.kept, source.blocks);
        tokio::spawn(async move {
            let work = move || written.open(kept).and_then(|()| blocks.map_or(Ok(()), |blocks| written.seal(blocks)));
            let done = blocking(work).await.map_err(|e| format!("{e:#}"));
            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = done.clone().err();
            if let Err(error) = done {
                tracing::error!(content = %id, error, "what was written is tried again");
                tokio::time::sleep(TRIED_AGAIN_AFTER).await;
            }
            busy.store(false, Ordering::Relaxed);
            this.changed.notify_one();
        });
    }

    /// Keeps a block. False: nothing is known of what it is a part of.
    pub async fn put(&self, id: &ImageId, index: u32, bytes: Vec<u8>, sha256: [u8; 32]) -> Result<bool> {
        let Some(written) = self.upload(id)? else { return Ok(false) };
        let _turn = self.putting.acquire().await?;
        blocking(move || written.put(index, &bytes, sha256)).await.map(|()| true)
    }

    /// How many blocks were put, and the SHA-256 of theirs.
    pub async fn put_so_far(&self, id: &ImageId) -> Result<Option<(u64, [u8; 32])>> {
        let Some(written) = self.upload(id)? else { return Ok(None) };
        blocking(move || written.sum()).await.map(Some)
    }

    /// That can be written to, as far as is known; an error where it is known why it cannot.
    fn upload(&self, id: &ImageId) -> Result<Option<Arc<Written>>> {
        let Some(Upload { written, trouble, .. }) = self.uploads().get(id).cloned() else { return Ok(None) };
        if written.seen() != Seen::New {
            return Ok(Some(written));
        }
        match &*trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => bail!("{why}"),
            None => Ok(None),
        }
    }

    /// The files of what tenants wrote, and of what is below it as far as that lies here; the nearest first.
    pub fn files(&self, id: &ImageId, sealed: &SealedKeys) -> Result<Vec<Keyed>> {
        let (mut found, mut next) = (Vec::new(), Some(id.clone()));
        while let Some(id) = next.filter(|id| self.folder.join(id.as_str()).join(DISK).exists()) {
            let folder = self.folder.join(id.as_str());
            found.push((folder.join(DISK), self.keys.opens(sealed.get(&id))?));
            next = std::fs::read_to_string(folder.join(BELOW)).ok().and_then(|id| id.parse().ok());
        }
        Ok(found)
    }

    fn uploads(&self) -> MutexGuard<'_, BTreeMap<ImageId, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<ImageId, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, wanted: Wanted, size_gib: u32) -> Result<()> {
        let (id, folder) = (wanted.id.clone(), self.folder.join(wanted.id.as_str()));
        let (room, granted) = watch::channel(size_gib);
        let unwanted = Arc::new(AtomicBool::new(false));
        if folder.join(DISK).exists() {
            let phase = kept(&folder)?;
            self.jobs().insert(id, Job { phase, room, unwanted, task: None });
            return Ok(());
        }
        match std::fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let phase = ImportPhase::Fetching { percent: 0 };
        let job = Job { phase, room, unwanted: unwanted.clone(), task: None };
        self.jobs().insert(id.clone(), job);
        let task = tokio::spawn(self.clone().bring(wanted, folder, granted, unwanted)).abort_handle();
        if let Some(job) = self.jobs().get_mut(&id) {
            job.task = Some(task);
        }
        Ok(())
    }

    /// `unwanted` names this job: one that another has followed tells nothing any more.
    fn note(&self, id: &ImageId, unwanted: &AtomicBool, phase: ImportPhase) {
        if let Some(job) = self.jobs().get_mut(id).filter(|_| !unwanted.load(Ordering::Relaxed))
            && job.phase != phase
        {
            job.phase = phase;
            self.changed.notify_one();
        }
    }

    async fn bring(
        self: Arc<Self>,
        content: Wanted,
        folder: PathBuf,
        room: watch::Receiver<u32>,
        unwanted: Arc<AtomicBool>,
    ) {
        let phase = match self.try_bring(&content, &folder, room, &unwanted).await {
            Ok(phase) => phase,
            Err(e) => {
                tracing::warn!(content = %content.id, error = format!("{e:#}"), "a disk could not be imported");
                for name in [SOURCE, UNFINISHED, ENCRYPTED] {
                    let _ = std::fs::remove_file(folder.join(name));
                }
                ImportPhase::Failed { why: told(&e) }
            }
        };
        self.note(&content.id, &unwanted, phase);
    }

    async fn try_bring(
        self: &Arc<Self>,
        content: &Wanted,
        folder: &Path,
        mut room: watch::Receiver<u32>,
        unwanted: &Arc<AtomicBool>,
    ) -> Result<ImportPhase> {
        let fetched = |percent: u8| {
            self.note(&content.id, unwanted, ImportPhase::Fetching { percent: percent / STEP * STEP });
        };
        let key = || {
            self.keys.opens(content.key.as_ref()).map_err(|e| {
                tracing::error!(content = %content.id, error = format!("{e:#}"), "a disk cannot be encrypted");
                std::io::Error::other("no key")
            })
        };
        key()?;
        let turn = self.fetching.acquire().await?;
        let source = fetch::fetch(&content.url, &self.rules, &folder.join(SOURCE), fetched).await?;
        drop(turn);
        let bytes = source.metadata().context("looking at what was fetched")?.len();
        let format = content.format;
        let size = self.size(&source, format).await?;
        let size_gib = u32::try_from(size.div_ceil(GIB))?;
        self.note(&content.id, unwanted, ImportPhase::Waiting { size_gib });
        room.wait_for(|granted| *granted >= size_gib).await.context("it is not wanted any more")?;
        let _turn = self.converting.acquire().await?;
        let (this, id, unwanted) = (self.clone(), content.id.clone(), unwanted.clone());
        let place = folder.to_owned();
        // What is encrypted is written twice, and half done the first time.
        let passes = if content.key.is_some() { 2 } else { 1 };
        let progress = move |pass: u64| {
            let (this, id, unwanted, place) = (this.clone(), id.clone(), unwanted.clone(), place.clone());
            let deadline = Instant::now() + CONVERTED_WITHIN;
            move |done: u64| {
                let percent = (pass * 100 + done.saturating_mul(100) / size).min(passes * 100) / passes;
                let percent = u8::try_from(percent).unwrap_or(100) / STEP * STEP;
                this.note(&id, &unwanted, ImportPhase::Converting { percent });
                ensure!(!unwanted.load(Ordering::Relaxed), "it is not wanted any more");
                ensure!(Instant::now() < deadline, "it took too long");
                fetch::has_room(&place, 0)
            }
        };
        let goes_on = progress(0);
        let (unfinished, size) = (folder.join(UNFINISHED), u64::from(size_gib) * GIB);
        if let Some(jail) = &self.jail {
            jail.rewrite(source, format, size, &unfinished, goes_on).await?;
        } else {
            blocking(move || rewrite(source, format, size, &unfinished, goes_on)).await?;
        }
        let (folder, key) = (folder.to_owned(), key()?);
        blocking(move || {
            must_be_whole(&folder, size)?;
            if let Some(key) = key {
                encrypt(&folder, &key, size, progress(1))?;
            }
            named(&folder, bytes)
        })
        .await?;
        Ok(ImportPhase::Kept { size_gib, bytes })
    }

    async fn size(&self, source: &File, format: Format) -> Result<u64> {
        if let Some(jail) = &self.jail {
            return jail.size(source, format).await;
        }
        let reader = BufReader::new(source.try_clone()?);
        blocking(move || Ok(disk::open(reader, format, DISK_MAX)?.size())).await
    }
}

/// What a tenant may read: the outermost reason, and none that tells of this machine.
fn told(e: &anyhow::Error) -> String {
    // What a source is to blame for is said in words; what is not is this machine's.
    if e.chain().count() == 1 && e.is::<std::io::Error>() {
        return "ServerError: the disk could not be kept".into();
    }
    format!("ClientError: Disk validation failed [{e}]")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work ended early")?
}

/// What was written is a disk that names nothing else.
fn must_be_whole(folder: &Path, size: u64) -> Result<()> {
    let disk = disk::open(File::open(folder.join(UNFINISHED))?, Format::Qcow2, DISK_MAX)?;
    ensure!(disk.size() == size, "it is not what was to be written");
    Ok(())
}

/// Here and not where disks from elsewhere are read: who gets the better of that has no key.
fn encrypt(folder: &Path, key: &Key, size: u64, goes_on: impl FnMut(u64) -> Result<()>) -> Result<()> {
    // It has been understood, and its room is needed.
    remove(&folder.join(SOURCE))?;
    let (plain, encrypted) = (folder.join(UNFINISHED), folder.join(ENCRYPTED));
    let mut disk = disk::open(File::open(&plain)?, Format::Qcow2, DISK_MAX)?;
    let mut out = BufWriter::new(File::create(&encrypted)?);
    write::write(&mut *disk, size, Some(&key.luks()?), &mut out, goes_on)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(std::fs::rename(encrypted, plain)?)
}

/// What was written becomes the disk.
fn named(folder: &Path, bytes: u64) -> Result<()> {
    std::fs::write(folder.join(CAME), bytes.to_string())?;
    std::fs::rename(folder.join(UNFINISHED), folder.join(DISK))?;
    sync(folder)?;
    remove(&folder.join(SOURCE))
}

/// What may have gone.
fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// How large a disk is, in whole GiB.
pub fn size_gib(source: &File, format: Format) -> Result<u32> {
    let size = disk::open(BufReader::new(source.try_clone()?), format, DISK_MAX)?.size();
    Ok(u32::try_from(size.div_ceil(GIB))?)
}

/// Makes a file that volumes can be children of, of a disk of at most so many bytes.
pub fn rewrite(
    source: File,
    format: Format,
    size: u64,
    to: &Path,
    goes_on: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut disk = disk::open(BufReader::new(source), format, size)?;
    let mut out = BufWriter::new(File::create(to)?);
    write::write(&mut *disk, size, None, &mut out, goes_on)?;
    out.flush()?;
    Ok(out.get_ref().sync_all()?)
}

/// What is in a folder keeps its name, and so does the folder.
fn sync(folder: &Path) -> Result<()> {
    let above = folder.parent().context("it lies in another")?;
    [folder, above].into_iter().try_for_each(|folder| Ok(File::open(folder)?.sync_all()?))
}

/// Of a disk that is whole.
fn kept(folder: &Path) -> Result<ImportPhase> {
    // The life that named it may have ended before this.
    sync(folder)?;
    let _ = std::fs::remove_file(folder.join(SOURCE));
    let size = virtual_size(&folder.join(DISK))?;
    ensure!(size % GIB == 0, "{} is not what was made here", folder.display());
    let bytes = std::fs::read_to_string(folder.join(CAME)).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(ImportPhase::Kept { size_gib: u32::try_from(size / GIB)?, bytes })
}

#[cfg(test)]
mod tests;
