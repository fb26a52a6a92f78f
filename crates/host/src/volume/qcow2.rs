//! Volumes as qcow2 files: copy-on-write children of images, and of what they held when snapshots were made of them.
//!
//! A volume of no snapshot is `VOLUME.qcow2`. What it holds is kept by moving that file below `contents`; the volume goes
//! on in `VOLUME.N.qcow2`, N counting its snapshots, which is made as a child of it before its machine moves there, or
//! else when it is next needed. So one move decides, and after a crash the files that are there say how far it had come.
//!
//! **Invariants.** Formats are given, never guessed, and so is what a file is a child of: no file names another. A file
//! appears under its name only when it is whole. What tenants name never becomes a path: only ids do.

mod merge;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::Home;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::Taken;
use awan_model::plan::{ContentPlan, EncryptionPlan, SealedKeys, VolumePlan};
use awan_model::report::VolumeSeen;
use tokio::process::Command;
use tokio::sync::Notify;

use self::merge::{Merges, Place};
use super::chain::Keyed;
use super::{files, offline};
use crate::driver::{BlockDevice, Fork, Fut, Held, Layer, Shorter, Unmerged, Volumes};
use crate::import::{BELOW, DISK, write};
use crate::keys::{Key, MasterKeys};

const GROWN_WITHIN: Duration = Duration::from_secs(60);
/// Beside the folder of volumes.
pub const CONTENTS: &str = "contents";
const UNFINISHED: &str = "new";
const GIB: u64 = 1 << 30;
/// In a header: its data lies in another file, which a part of the header names.
const DATA_ELSEWHERE: u64 = 1 << 2;
/// As EC2's largest volume.
const SIZE_MAX: u64 = 64 << 40;
/// What has been kept is looked at once, as long as it is not more.
const KNOWN_MAX: usize = 1 << 16;
/// What no file of a chain of children exceeds: a longer one is not this program's.
const CHAIN_MAX: usize = 1024;

pub struct FileVolumes {
    folder: PathBuf,
    images: PathBuf,
    contents: PathBuf,
    /// Who does something about a volume's files.
    busy: Mutex<HashMap<VolumeId, Arc<tokio::sync::Mutex<()>>>>,
    kept: Mutex<BTreeMap<ImageId, Layer>>,
    held: Held,
    merges: Merges,
    keys: MasterKeys,
}

impl FileVolumes {
    /// With no master key: volumes that are encrypted are refused.
    pub fn new(folder: PathBuf, images: PathBuf) -> Result<Arc<Self>> {
        Self::with_keys(folder, images, MasterKeys::default())
    }

    pub fn with_keys(folder: PathBuf, images: PathBuf, keys: MasterKeys) -> Result<Arc<Self>> {
        for path in [&folder, &images] {
            std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        }
        // What tenants write is nobody else's to read, whoever may enter the folder above.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to others", folder.display()))?;
        let contents = folder.with_file_name(CONTENTS);
        let (busy, kept, held) = (Mutex::default(), Mutex::default(), Arc::default());
        let volumes = Arc::new_cyclic(|me| {
            let merges = Merges::new(me.clone());
            Self { folder, images, contents, busy, kept, held, merges, keys }
        });
        volumes.sweep()?;
        volumes.sweep_contents()?;
        Ok(volumes)
    }

    /// Removes what an interrupted creation left.
    fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == UNFINISHED) {
                files::remove(&path)?;
            }
        }
        // What an earlier life named, and did not live to sync, machines may write to now.
        files::sync_folder(&self.folder)
    }

    /// The file of a volume since so many snapshots were made of it.
    fn path(&self, id: &VolumeId, generation: u32) -> PathBuf {
        let name = if generation == 0 { format!("{id}.qcow2") } else { format!("{id}.{generation}.qcow2") };
        self.folder.join(name)
    }

    /// What came from elsewhere or was kept, else an image of this host.
    fn image(&self, id: &ImageId) -> PathBuf {
        let content = self.place(id).map(|place| place.disk).ok().filter(|disk| disk.exists());
        content.unwrap_or_else(|| self.images.join(id.as_str()).join(DISK))
    }

    /// The files that a child of this one reads from, the nearest first.
    fn chain(&self, of: Option<&ImageId>) -> Result<Vec<(ImageId, PathBuf)>> {
        let (mut chain, mut next) = (Vec::new(), of.cloned());
        while let Some(id) = next {
            // Looked at once: a merge may come between, and its file and what was below the old one are no chain.
            let Place { disk, below, .. } = self.place(&id)?;
            let path = if disk.exists() { disk } else { self.images.join(id.as_str()).join(DISK) };
            if !path.is_file() {
                bail!("the image {} is not on this host", path.display());
            }
            if chain.len() >= CHAIN_MAX {
                bail!("{id} has too much below it");
            }
            chain.push((id, path));
            next = below;
        }
        Ok(chain)
    }

    fn busy(&self, id: &VolumeId) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        busy.entry(id.clone()).or_default().clone()
    }

    async fn make(&self, volume: &VolumePlan) -> Result<BlockDevice> {
        let busy = self.busy(&volume.id);
        let _turn = busy.lock().await;
        let held = self.held.clone();
        let (mut below, bytes) = (volume.image.clone(), u64::from(volume.size_gib) * GIB);
        for layer in &volume.layers {
            let before = below.replace(layer.id.clone());
            // Those that were kept are not made again. One may have become part of another: what is read is looked at below.
            if layer.kept {
                continue;
            }
            let taken = Taken {
                volume: volume.id.clone(),
                below: before,
                generation: layer.generation,
                set: layer.id.clone(),
                volume_gib: layer.volume_gib.unwrap_or(volume.size_gib),
                key: volume.encryption.as_ref().map(|encryption| encryption.key.clone()),
            };
            self.keep_now(&layer.id, &taken)?;
        }
        let generation = volume.layers.last().map_or(0, |layer| layer.generation);
        let (path, chain) = (self.path(&volume.id, generation), self.chain(below.as_ref())?);
        let keys = self.keys(volume, &chain)?;
        let backing = chain.into_iter().map(|(_, path)| path).collect();
        let mut device = BlockDevice {
            volume: volume.id.clone(),
            path,
            format: "qcow2",
            backing,
            keys,
            size_gib: 0,
            limits: volume.limits,
            held,
        };
        let least = self.size_before(below.as_ref(), generation)?;
        if has_begun(&device.path, least)? {
            grow(&device, bytes).await?;
        } else {
            create(&device.path, bytes.max(least), device.keys.first().and_then(Option::as_ref))?;
        }
        device.size_gib = u32::try_from(virtual_size(&device.path)? / GIB).unwrap_or(u32::MAX);
        Ok(device)
    }

    /// What opens the files of a volume: its own, and those of this chain.
    fn keys(&self, volume: &VolumePlan, chain: &[(ImageId, PathBuf)]) -> Result<Vec<Option<Key>>> {
        let Some(EncryptionPlan { key, below }) = &volume.encryption else { return Ok(Vec::new()) };
        let own = self.keys.key(key)?;
        let of = |id: &ImageId| match below.get(id) {
            _ if volume.layers.iter().any(|layer| layer.id == *id) => Ok(Some(own.clone())),
            Some(key) => self.keys.key(key).map(Some),
            None => Ok(None),
        };
        std::iter::once(Ok(Some(own.clone()))).chain(chain.iter().map(|(id, _)| of(id))).collect()
    }

    /// These files, and what opens them.
    fn keyed(&self, chain: Vec<(ImageId, PathBuf)>, sealed: &SealedKeys) -> Result<Vec<Keyed>> {
        let one = |(id, path)| Ok((path, self.keys.opens(sealed.get(&id))?));
        chain.into_iter().map(one).collect()
    }

    /// No machine writes to what is kept: it has not begun, or has gone on in the file of the next generation.
    fn keep_now(&self, id: &ImageId, taken: &Taken) -> Result<()> {
        let folder = self.contents.join(id.as_str());
        let disk = folder.join(DISK);
        if self.place(id)?.disk.exists() {
            // An earlier life may have ended before this; what goes on from here relies on it.
            return [&folder, &self.contents].into_iter().try_for_each(|folder| files::sync_folder(folder));
        }
        self.chain(taken.below.as_ref())?;
        let before = taken.generation.saturating_sub(1);
        let (old, least) = (self.path(&taken.volume, before), self.size_before(taken.below.as_ref(), before)?);
        files::make_folder(&folder)?;
        if let Some(below) = &taken.below {
            files::write(&folder.join(BELOW), |out| Ok(out.write_all(below.as_str().as_bytes())?))?;
        }
        if has_begun(&old, least)? {
            let file = File::open(&old).with_context(|| format!("opening {}", old.display()))?;
            if is_written(&file)? {
                bail!("a machine has the volume {} open", taken.volume);
            }
            files::sync(&old, &file)?;
            // A power failure must not take the folder that it moves to.
            files::sync_folder(&self.contents)?;
            files::sync_folder(&folder)?;
            files::rename(&old, &disk)?;
        } else {
            // Nothing was written to it since the last snapshot, or ever. What is below must not end behind its end.
            create(&disk, least.max(u64::from(taken.volume_gib) * GIB), self.keys.opens(taken.key.as_ref())?.as_ref())?;
            if old.exists() {
                files::remove(&old)?;
            }
        }
        [&folder, &self.contents, &self.folder].into_iter().try_for_each(|folder| files::sync_folder(folder))
    }

    /// How large a volume was when it went on in the file of this generation; zero: no file came before.
    fn size_before(&self, below: Option<&ImageId>, generation: u32) -> Result<u64> {
        below.filter(|_| generation > 0).map_or(Ok(0), |below| virtual_size(&self.image(below)))
    }

    async fn next(&self, taken: &Taken) -> Result<Fork> {
        let busy = self.busy(&taken.volume);
        let _turn = busy.lock().await;
        let old = self.path(&taken.volume, taken.generation.saturating_sub(1));
        let new = self.path(&taken.volume, taken.generation);
        let (least, key) = (virtual_size(&old)?, self.keys.opens(taken.key.as_ref())?);
        if !has_begun(&new, least)? {
            create(&new, least, key.as_ref())?;
        }
        Ok(Fork { volume: taken.volume.clone(), generation: taken.generation, old, new, key })
    }

    fn list(&self) -> Result<Vec<VolumeSeen>> {
        let mut newest: BTreeMap<VolumeId, (u32, PathBuf)> = BTreeMap::new();
        for (id, generation, path) in self.files()? {
            let seen = newest.entry(id).or_insert_with(|| (generation, path.clone()));
            if seen.0 < generation {
                *seen = (generation, path);
            }
        }
        let one = |(id, (_, path)): (VolumeId, (u32, PathBuf))| {
            // One broken file must not hide the others; whoever wants to use it is told.
            let size = virtual_size(&path).unwrap_or_else(|e| {
                tracing::error!(volume = %id, error = format!("{e:#}"), "a volume cannot be read");
                0
            });
            // Whose it is and how large it is meant to be, the plan knows.
            VolumeSeen { home: Home::installation(), id, size_gib: u32::try_from(size / GIB).unwrap_or(u32::MAX) }
        };
        Ok(newest.into_iter().map(one).collect())
    }

    /// The files of all volumes, with their generations.
    fn files(&self) -> Result<Vec<(VolumeId, u32, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let named = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".qcow2")).and_then(|name| {
                let (id, generation) = name.split_once('.').unwrap_or((name, "0"));
                Some((id.parse().ok()?, generation.parse().ok()?))
            });
            found.extend(named.map(|(id, generation)| (id, generation, path)));
        }
        Ok(found)
    }
}

/// Whether a machine may have written to a file that was made for it to go on in. If it has not before the volume grew,
/// the file is smaller than the volume: whoever went on in it would lose what lies behind its end.
fn has_begun(path: &Path, least: u64) -> Result<bool> {
    Ok(path.exists() && virtual_size(path)? >= least)
}

/// Whether a QEMU may write to a file: it holds a lock on one of the bytes 101 to 103 then, for writing, for writing the
/// same again, and for changing the size (QEMU: block/file-posix.c).
fn is_written(file: &File) -> Result<bool> {
    let (kind, whence) = (i16::try_from(libc::F_WRLCK)?, i16::try_from(libc::SEEK_SET)?);
    let mut lock = libc::flock { l_type: kind, l_whence: whence, l_start: 101, l_len: 3, l_pid: 0 };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_GETLK(&mut lock)).context("looking for locks")?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// From the header of a file that this program made: bytes 24 to 31, big endian (QEMU: docs/interop/qcow2.txt).
pub fn virtual_size(path: &Path) -> Result<u64> {
    use std::io::Read as _;
    let mut header = [0; 80];
    let mut file = std::fs::File::open(path)?;
    file.read_exact(&mut header).with_context(|| format!("reading the header of {}", path.display()))?;
    let number = |at: usize| header[at..at + 8].try_into().map(u64::from_be_bytes).context("eight bytes");
    if header[..4] != *b"QFI\xfb" {
        bail!("{} is not qcow2", path.display());
    }
    // Whoever has broken out into the machine's process can write there what they like: of other files, of sizes. That it
    // names what is below is nothing: whoever opens it says what is, and earlier versions made it so.
    let (size, features) = (number(24)?, number(72)?);
    if features & DATA_ELSEWHERE != 0 {
        bail!("{} names another file", path.display());
    }
    if size > SIZE_MAX {
        bail!("{} says that it has {size} bytes", path.display());
    }
    Ok(size)
}

/// An empty one, or a child that is like what it is a child of. A power failure takes neither its content from its name
/// nor, once something may be written to it, its name.
fn create(path: &Path, bytes: u64, key: Option<&Key>) -> Result<()> {
    let new = path.with_extension(UNFINISHED);
    let luks = key.map(Key::luks).transpose()?;
    files::write(&new, |out| write::empty(bytes, luks.as_ref(), out))?;
    files::rename(&new, path)?;
    files::sync_folder(path.parent().context("a file lies in a folder")?)
}

/// What comes is zero: of what is below, QEMU has to know, so that nothing of it comes to light there.
async fn grow(device: &BlockDevice, bytes: u64) -> Result<()> {
    if virtual_size(&device.path)? >= bytes {
        return Ok(());
    }
    let files: Vec<_> = std::iter::once(&device.path).chain(&device.backing).collect();
    files.iter().try_for_each(|path| virtual_size(path).map(drop))?;
    let mut command = Command::new("qemu-img");
    command.args(["resize", "-q"]);
    let (disk, _secrets) = offline::opened(&mut command, device)?;
    command.arg(format!("json:{disk}")).arg(bytes.to_string()).kill_on_drop(true);
    let output = tokio::time::timeout(GROWN_WITHIN, command.output());
    let output = output.await.context("qemu-img took too long")?.context("starting qemu-img")?;
    if output.status.success() { Ok(()) } else { bail!("qemu-img: {}", String::from_utf8_lossy(&output.stderr).trim()) }
}

impl Volumes for FileVolumes {
    fn observe(&self) -> Fut<'_, Result<Vec<VolumeSeen>>> {
        Box::pin(async { self.list() })
    }

    fn ensure<'a>(&'a self, volume: &'a VolumePlan) -> Fut<'a, Result<BlockDevice>> {
        Box::pin(self.make(volume))
    }

    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let busy = self.busy(id);
            let _turn = busy.lock().await;
            for (_, _, path) in self.files()?.iter().filter(|(of, ..)| of == id) {
                files::remove(path)?;
            }
            Ok(())
        })
    }

    fn keep<'a>(&'a self, id: &'a ImageId, taken: &'a Taken) -> Fut<'a, Result<()>> {
        Box::pin(async {
            let busy = self.busy(&taken.volume);
            let _turn = busy.lock().await;
            self.keep_now(id, taken)
        })
    }

    fn fork<'a>(&'a self, taken: &'a Taken) -> Fut<'a, Result<Fork>> {
        Box::pin(self.next(taken))
    }

    fn files(&self, id: &ImageId, sealed: &SealedKeys) -> Result<Vec<Keyed>> {
        self.keyed(self.chain(Some(id))?, sealed)
    }

    fn kept(&self, content: &ContentPlan) -> Option<Layer> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = kept.get(&content.id) {
            return Some(layer.clone());
        }
        let folder = self.contents.join(content.id.as_str());
        let Place { disk, below, .. } = self.place(&content.id).ok()?;
        let bytes = std::fs::metadata(&disk).ok()?.blocks() * 512;
        let size = virtual_size(&disk).ok()?;
        // Who hears of it relies on it, and an earlier life may have ended before this.
        [&folder, &self.contents].into_iter().try_for_each(|folder| files::sync_folder(folder)).ok()?;
        let layer = Layer { size_gib: u32::try_from(size / GIB).ok()?, bytes, below };
        if kept.len() >= KNOWN_MAX {
            kept.clear();
        }
        kept.insert(content.id.clone(), layer.clone());
        Some(layer)
    }

    fn shorter(&self, volume: &VolumePlan) -> Result<Shorter> {
        self.shorter_now(volume)
    }

    fn merge(&self, plan: &[ContentPlan]) {
        self.follow_merges(plan);
    }

    fn unmerged(&self, content: &ContentPlan) -> Option<Unmerged> {
        self.merges.failed(content)
    }

    fn is_opening(&self) -> bool {
        Arc::strong_count(&self.held) > 1
    }

    fn changed(&self) -> Arc<Notify> {
        self.merges.changed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::offline::testing::io;
    use super::*;
    use awan_model::plan::LayerPlan;

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn a_volume_is_made_grown_listed_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let mut plan = VolumePlan::empty(Home::new("1", "r"), VOLUME.parse().expect("an id"), 1);
        if Command::new("qemu-img").arg("--version").output().await.is_err() {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        for size_gib in [1, 3, 2] {
            plan.size_gib = size_gib;
            volumes.ensure(&plan).await.expect("ensures");
        }
        let seen = volumes.observe().await.expect("lists");
        assert_eq!(seen.iter().map(|v| v.size_gib).collect::<Vec<_>>(), [3], "a volume never shrinks");
        volumes.release(&plan.id).await.expect("deletes");
        volumes.release(&plan.id).await.expect("it is gone, which is fine");
        assert_eq!(volumes.observe().await.expect("lists"), []);
    }

    const VOLUME: &str = "vol-00000000000000001";

    fn layer(n: u32) -> ImageId {
        ImageId::made(format!("ami-{n:017x}"))
    }

    fn planned(image: Option<ImageId>, layers: &[u32]) -> VolumePlan {
        let one = |n: &u32| LayerPlan { id: layer(*n), generation: *n, kept: false, volume_gib: Some(1) };
        let layers = layers.iter().map(one).collect();
        let empty = VolumePlan::empty(Home::new("1", "r"), VOLUME.parse().expect("an id"), 1);
        VolumePlan { image, layers, ..empty }
    }

    fn taken(n: u32, below: Option<u32>) -> Taken {
        let volume = VOLUME.parse().expect("an id");
        Taken { volume, below: below.map(layer), generation: n, set: layer(n), volume_gib: 1, key: None }
    }

    async fn has_qemu_img() -> bool {
        Command::new("qemu-img").arg("--version").output().await.is_ok()
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn what_a_volume_held_is_kept_and_it_goes_on() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let content = |n: u32| ContentPlan {
            home: Home::new("1", "r"),
            id: layer(n),
            source: awan_model::import::Source::Taken(taken(n, n.checked_sub(1).filter(|n| *n > 0))),
            kept: false,
            size_gib: 1,
            merge: None,
        };
        let first = volumes.ensure(&planned(None, &[])).await.expect("makes");
        assert!(io(&first, "write -P 1 0 128k").await.contains("wrote 131072/131072"));
        assert_eq!(volumes.kept(&content(1)), None);
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps what is kept");
        assert_eq!(volumes.kept(&content(1)).map(|layer| (layer.size_gib, layer.bytes >= 131_072)), Some((1, true)));
        assert_eq!(volumes.observe().await.expect("lists"), [], "nothing was written to it since");
        // The second snapshot follows at once: nothing lies between.
        volumes.keep(&layer(2), &taken(2, Some(1))).await.expect("keeps");
        let second = volumes.ensure(&planned(None, &[1, 2])).await.expect("goes on");
        assert_eq!(second.backing.len(), 2);
        assert!(io(&second, "write -P 3 64k 64k").await.contains("wrote 65536/65536"));
        // The third is taken because the volume is needed.
        let third = volumes.ensure(&planned(None, &[1, 2, 3])).await.expect("goes on");
        assert!(io(&third, "write -P 4 0 64k").await.contains("wrote 65536/65536"));
        for (device, expected) in [(&third, [4, 3]), (&second, [1, 3])] {
            let mut device = device.clone();
            if device.path == second.path {
                // It lies where it was kept.
                (device.path, device.backing) = (third.backing[0].clone(), third.backing[1..].to_vec());
            }
            for (n, byte) in expected.into_iter().enumerate() {
                let said = io(&device, &format!("read -P {byte} {}k 64k", n * 64)).await;
                assert!(said.contains("read 65536/65536") && !said.contains("failed"), "{n}: {said}");
            }
        }
        // A volume of the first snapshot is a child of it.
        let other = "vol-00000000000000002".parse().expect("an id");
        let of_first = VolumePlan { id: other, ..planned(Some(layer(1)), &[]) };
        let device = volumes.ensure(&of_first).await.expect("makes");
        let said = io(&device, "read -P 1 0 128k").await;
        assert!(said.contains("read 131072/131072") && !said.contains("failed"), "{said}");
        let lost = folder.path().join(CONTENTS).join(layer(2).as_str()).join(DISK);
        std::fs::remove_file(lost).expect("loses it");
        let mut plan = planned(None, &[1, 2, 3]);
        plan.layers[1].kept = true;
        assert!(volumes.ensure(&plan).await.is_err(), "what is lost is not made again");
        volumes.release(&plan.id).await.expect("deletes");
        assert_eq!(volumes.observe().await.expect("lists").len(), 1);
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn wherever_a_snapshot_is_cut_short_it_is_made_and_nothing_is_lost() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        // Before the machine goes on in the new file, after that, and when the old one was kept without a new one.
        for moment in 0..3 {
            let folder = tempfile::tempdir().expect("a folder");
            let open = || FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
            let volumes = open();
            let first = volumes.ensure(&planned(None, &[])).await.expect("makes");
            io(&first, "write -P 1 0 64k").await;
            if moment < 2 {
                let fork = volumes.fork(&taken(1, None)).await.expect("makes the next file");
                assert_eq!((&fork.old, fork.generation), (&first.path, 1));
                if moment == 1 {
                    let device = BlockDevice { path: fork.new, backing: vec![fork.old], ..first.clone() };
                    io(&device, "write -P 2 64k 64k").await;
                }
            } else {
                volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
            }
            let volumes = open();
            let after = volumes.ensure(&planned(None, &[1])).await.expect("goes on");
            let now = io(&after, "read -P 1 0 64k").await
                + &io(&after, if moment == 1 { "read -P 2 64k 64k" } else { "read -P 0 64k 64k" }).await;
            assert!(now.matches("read 65536/65536").count() == 2 && !now.contains("failed"), "{moment}: {now}");
            let kept = BlockDevice { path: after.backing[0].clone(), backing: Vec::new(), ..after };
            let then = io(&kept, "read -P 1 0 64k").await + &io(&kept, "read -P 0 64k 64k").await;
            assert!(!then.contains("failed"), "{moment}: {then}");
        }
    }

    /// As its machine does: it knows what is below, and what it does not write is zero.
    async fn grown(device: &BlockDevice, gib: u32) {
        grow(device, u64::from(gib) * GIB).await.expect("grows");
    }

    const BEHIND: &str = "1536M 64k";

    async fn reads(device: &BlockDevice, byte: u8) -> bool {
        let said = io(device, &format!("read -P {byte} {BEHIND}")).await;
        assert!(said.contains("read 65536/65536"), "{said}");
        !said.contains("failed")
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn a_file_that_no_machine_went_on_in_before_its_volume_grew_is_made_anew() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        // Whether the machine tries once more, or has ended and two snapshots are to be made.
        for lives in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
            let first = volumes.ensure(&planned(None, &[])).await.expect("makes");
            let unused = volumes.fork(&taken(1, None)).await.expect("makes the next file");
            grown(&first, 2).await;
            assert!(io(&first, &format!("write -P 7 {BEHIND}")).await.contains("wrote"));
            if lives {
                let fork = volumes.fork(&taken(1, None)).await.expect("makes the next file");
                assert_eq!((virtual_size(&fork.new).expect("reads"), &fork.new), (2 * GIB, &unused.new));
                let again = volumes.fork(&taken(1, None)).await.expect("is there");
                assert_eq!(again, fork);
            } else {
                volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
                volumes.keep(&layer(2), &taken(2, Some(1))).await.expect("keeps");
                assert_eq!(volumes.observe().await.expect("lists"), [], "it is not left behind");
            }
            let plan = VolumePlan { size_gib: 2, ..planned(None, if lives { &[1] } else { &[1, 2] }) };
            let device = volumes.ensure(&plan).await.expect("goes on");
            assert!(reads(&device, 7).await, "{lives}");
        }
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn a_snapshot_of_a_volume_that_grew_meanwhile_and_of_nothing_since_hides_nothing_of_it() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let first = volumes.ensure(&planned(None, &[])).await.expect("makes");
        grown(&first, 2).await;
        assert!(io(&first, &format!("write -P 7 {BEHIND}")).await.contains("wrote"));
        // Both were asked for when it had one gibibyte.
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        volumes.keep(&layer(2), &taken(2, Some(1))).await.expect("keeps");
        let plan = VolumePlan { size_gib: 2, ..planned(None, &[1, 2]) };
        assert!(reads(&volumes.ensure(&plan).await.expect("goes on"), 7).await);
        // A smaller child does not see it, and neither when it grows.
        let other = "vol-00000000000000002".parse().expect("an id");
        let mut child = VolumePlan { id: other, ..planned(Some(layer(2)), &[]) };
        volumes.ensure(&child).await.expect("makes");
        child.size_gib = 2;
        assert!(reads(&volumes.ensure(&child).await.expect("grows"), 0).await);
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn a_header_that_a_guest_writes_is_bytes_of_its_disk_like_others() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let hostile = folder.path().join("hostile");
        let mut made = Command::new("qemu-img");
        made.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"]).arg(&hostile);
        assert!(made.output().await.expect("runs").status.success());
        let header = std::fs::read(&hostile).expect("reads")[..65_536].to_vec();
        std::fs::write(&hostile, &header).expect("writes");
        let mut device = volumes.ensure(&planned(None, &[])).await.expect("makes");
        let said = io(&device, &format!("write -s {} 0 64k", hostile.display())).await;
        assert!(said.contains("wrote 65536/65536"), "{said}");
        // It is snapshot, made larger, and begun as, and stays what it is.
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        let plan = VolumePlan { size_gib: 2, ..planned(None, &[1]) };
        device = volumes.ensure(&plan).await.expect("goes on");
        assert_eq!((device.size_gib, device.backing.len()), (2, 1));
        let other = "vol-00000000000000002".parse().expect("an id");
        let child = VolumePlan { id: other, size_gib: 3, ..planned(Some(layer(1)), &[]) };
        for device in [&device, &volumes.ensure(&child).await.expect("makes")] {
            let said = io(device, "read -v 0 64k").await;
            let hex = |line: &str| line.split_once(':').map(|(_, rest)| rest.chars().take(50).collect::<String>());
            let bytes = said.lines().filter_map(hex).flat_map(|line| {
                line.split_whitespace().filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Vec<_>>()
            });
            assert!(bytes.take(65_536).eq(header.iter().copied()), "{said:.400}");
        }
    }

    #[tokio::test]
    async fn nothing_is_told_to_be_kept_that_a_power_failure_takes() {
        let kept = ContentPlan {
            home: Home::new("1", "r"),
            id: layer(1),
            source: awan_model::import::Source::Taken(taken(1, None)),
            kept: false,
            size_gib: 1,
            merge: None,
        };
        for steps in 0..40 {
            let folder = tempfile::tempdir().expect("a folder");
            let past = folder.path().join("past");
            std::fs::create_dir(&past).expect("makes");
            files::crash::begin(past);
            let open = || FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
            let volumes = open();
            volumes.ensure(&planned(None, &[])).await.expect("makes");
            files::crash::after_steps(steps);
            let done = volumes.keep(&layer(1), &taken(1, None)).await;
            if !files::crash::revived() {
                assert!(done.is_ok() && steps > 4, "{done:?}");
                return;
            }
            let told = open().kept(&kept).is_some();
            files::crash::cut_power(|all| all);
            assert!(open().kept(&kept).is_some() || !told, "before step {steps}");
            volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        }
        panic!("it takes no end");
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn what_a_machine_writes_to_is_not_kept_from_under_it() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let device = volumes.ensure(&planned(None, &[])).await.expect("makes");
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]).arg(&device.path).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut writer = command.spawn().expect("starts");
        let mut said = [0];
        // Its prompt: it has the file open.
        let read = tokio::io::AsyncReadExt::read_exact(writer.stdout.as_mut().expect("a pipe"), &mut said);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("reads");
        assert!(volumes.keep(&layer(1), &taken(1, None)).await.is_err());
        assert!(device.path.exists());
        writer.kill().await.expect("ends");
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        assert!(!device.path.exists());
    }

    #[test]
    fn nobody_else_enters_the_folder_of_volumes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("v");
        std::fs::create_dir(&path).expect("makes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("opens to all");
        FileVolumes::new(path.clone(), folder.path().join("i")).expect("opens");
        assert_eq!(std::fs::metadata(path).expect("is there").permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn an_image_that_is_not_here_makes_no_volume() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let plan = planned(Some(layer(1)), &[]);
        assert!(volumes.ensure(&plan).await.is_err());
        assert_eq!(volumes.observe().await.expect("lists"), []);
    }

    fn virtual_size_of(path: &Path, header: &[u8]) -> Option<u64> {
        std::fs::write(path, header).expect("writes");
        virtual_size(path).ok()
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn what_an_earlier_version_named_below_a_volume_is_not_looked_at() {
        if !has_qemu_img().await {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let path = volumes.path(&VOLUME.parse().expect("an id"), 0);
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "/nowhere"]).arg(&path).arg("1G");
        assert!(command.status().await.expect("starts").success());
        let plan = VolumePlan { size_gib: 2, ..planned(None, &[]) };
        let device = volumes.ensure(&plan).await.expect("goes on, and grows");
        assert_eq!((device.size_gib, device.path, device.backing), (2, path, Vec::new()));
    }

    #[tokio::test]
    async fn a_broken_volume_is_listed_and_never_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let id: VolumeId = "vol-00000000000000001".parse().expect("an id");
        std::fs::write(volumes.path(&id, 0), [b"QFI\xfb".as_slice(), &[0xff; 100]].concat()).expect("writes");
        assert!(virtual_size(&volumes.path(&id, 0)).is_err(), "so large is none");
        let mut header = [b"QFI\xfb".as_slice(), &[0; 100]].concat();
        header[15] = 4;
        assert_eq!(virtual_size_of(&volumes.path(&id, 0), &header), Some(0), "an earlier version named what is below");
        header[79] = 4;
        assert_eq!(virtual_size_of(&volumes.path(&id, 0), &header), None, "its data is in another file");
        std::fs::write(volumes.path(&id, 0), vec![b'x'; 4096]).expect("writes");
        let plan = VolumePlan::empty(Home::new("1", "r"), id.clone(), 1);
        assert!(volumes.ensure(&plan).await.is_err(), "what it holds is not guessed");
        let seen = volumes.observe().await.expect("lists");
        assert_eq!(seen.iter().map(|v| (&v.id, v.size_gib)).collect::<Vec<_>>(), [(&id, 0)]);
    }
}
