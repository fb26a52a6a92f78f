//! Volumes and snapshots hold the bytes that a plain model says they hold, whatever is asked for in whatever order, and
//! wherever their host ends: killed before any step that changes a file, or without power, so that steps which were not
//! synced are undone. Some of them are encrypted.
//!
//! What decides is asked as the agent asks it: plans, [`keeping`], [`unwanted_volumes`], the driver, the folder of contents.
//! Only machines are not QEMU; they write qcow2 themselves, and `qemu-img` is asked at times whether it reads the same.
//!
//! `AWAN_VOLUME_SEED`, `AWAN_VOLUME_STEPS`: which course, and how long. A world of its own begins every 1,000 steps.

mod asked;
pub(crate) mod guest;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use awan_model::Home;
use awan_model::id::{ImageId, VolumeId};
use awan_model::import::{Copied, Format, ImportPhase, Source, Taken};
use awan_model::instance::{DiskSeen, Phase, Wish};
use awan_model::key::SealedKey;
use awan_model::plan::{ContentPlan, DiskPlan, EncryptionPlan, HostPlan, LayerPlan, SealedKeys, VolumePlan};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use self::guest::Disk;
use self::memory::{CLUSTER, Memory};
use super::chain::Keyed;
use super::chain::tests::device;
use super::files::crash;
use super::offline;
use super::qcow2::{CONTENTS, FileVolumes};
use crate::driver::{SeenVm, Volumes as _};
use crate::effect::{Effect, Keeping, keeping, unwanted_volumes};
use crate::hypervisor::testing;
use crate::import::fetch::Rules;
use crate::import::{Contents, DISK, write};
use crate::keys::MasterKeys;

const GIB: u64 = 1 << 30;
const WORLD: u64 = 1_000;
/// The same course at each run, so that a change is judged by itself; the long lane takes another.
const FIRST_SEED: u64 = 1;
const VOLUMES_MAX: usize = 6;
const CONTENTS_MAX: usize = 30;
const LAYERS_MAX: usize = 8;
const LARGEST_GIB: u32 = 6;
const MACHINES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

struct Volume {
    size_gib: u32,
    /// `None`: it is not encrypted, nor is anything below it.
    key: Option<SealedKey>,
    /// What it began as, and what was kept of it since.
    image: Option<ImageId>,
    layers: Vec<ImageId>,
    bytes: Memory,
    machine: Option<usize>,
    /// The machine's end of it, and the generation that this has open.
    disk: Option<Disk>,
    open: u32,
    /// The newest generation that a machine wrote to or could have.
    begun: Option<u32>,
}

struct Content {
    source: Source,
    /// What it holds, once that is certain.
    bytes: Option<Memory>,
    /// The host has said that it has it.
    told: bool,
    /// Somebody has a snapshot of it.
    wanted: bool,
}

#[derive(Default)]
struct Counts {
    steps: u64,
    kills: u64,
    cuts: u64,
    undone: u64,
    written: u64,
    snapshots: u64,
    merges: u64,
    encrypted: u64,
    copies: u64,
    compared: u64,
    asked_qemu: u64,
    ends: BTreeMap<&'static str, u64>,
}

struct World<'c> {
    dice: StdRng,
    folder: tempfile::TempDir,
    keys: MasterKeys,
    driver: Arc<FileVolumes>,
    contents_driver: Arc<Contents>,
    volumes: BTreeMap<VolumeId, Volume>,
    /// Contents, and the image that is there from the beginning.
    contents: BTreeMap<ImageId, Content>,
    /// What was compared in this life of the host, and the files that it lay in.
    looked_at: BTreeMap<ImageId, Vec<Keyed>>,
    ids: u64,
    qemu: bool,
    counts: &'c mut Counts,
}

/// In memory where it can be: what is tried here is the order of steps, not the disk.
fn folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.expect("a folder")
}

fn open(folder: &Path, keys: &MasterKeys) -> Result<(Arc<FileVolumes>, Arc<Contents>)> {
    let rules = Rules { permitted: Vec::new(), folder: Some(folder.join("files")), bytes_max: GIB };
    let volumes = FileVolumes::with_keys(folder.join("volumes"), folder.join("images"), keys.clone())?;
    Ok((volumes, Contents::open(folder.join(CONTENTS), rules, None, keys.clone())?))
}

impl<'c> World<'c> {
    fn new(seed: u64, qemu: bool, counts: &'c mut Counts) -> Self {
        let (folder, mut dice) = (folder(), StdRng::seed_from_u64(seed));
        for name in ["files", "past"] {
            std::fs::create_dir(folder.path().join(name)).expect("makes");
        }
        crash::begin(folder.path().join("past"));
        let keys = MasterKeys::read_or_make(&folder.path().join("master.key")).expect("a key");
        let (driver, contents_driver) = open(folder.path(), &keys).expect("opens");
        let image = ImageId::made(format!("ami-{:017x}", 0xfff));
        let mut bytes = Memory::of(GIB);
        let mut text = vec![0; 300_000];
        dice.fill_bytes(&mut text);
        bytes.write(0, &text);
        let at = folder.path().join("images").join(image.as_str());
        std::fs::create_dir_all(&at).expect("makes");
        let mut disk = crate::import::disk::open(std::io::Cursor::new(text), Format::Raw, GIB).expect("opens");
        let mut out = std::fs::File::create(at.join(DISK)).expect("makes");
        write::write(&mut *disk, GIB, None, &mut out, |_| Ok(())).expect("writes");
        let source = Source::Fetched { url: String::new(), format: Format::Raw, key: None };
        let began = Content { source, bytes: Some(bytes), told: true, wanted: true };
        let (volumes, contents) = (BTreeMap::new(), BTreeMap::from([(image, began)]));
        Self {
            dice,
            folder,
            keys,
            driver,
            contents_driver,
            volumes,
            contents,
            looked_at: BTreeMap::new(),
            ids: 0,
            qemu,
            counts,
        }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn chosen<T>(&mut self, of: Vec<T>) -> Option<T> {
        let n = of.len();
        if n == 0 { None } else { of.into_iter().nth(self.dice.random_range(0..n)) }
    }

    fn volume_plan(&self, id: &VolumeId) -> VolumePlan {
        let Volume { size_gib, key, image, layers, .. } = &self.volumes[id];
        let (mut image, mut plans) = (layers.last().or(image.as_ref()).cloned(), Vec::new());
        while let Some(below) = image.clone() {
            let Content { source, told, .. } = &self.contents[&below];
            let Some(taken) = source.taken().filter(|taken| taken.volume == *id) else { break };
            let (generation, volume_gib) = (taken.generation, Some(taken.volume_gib));
            plans.push(LayerPlan { id: below, generation, kept: *told, volume_gib });
            image.clone_from(&taken.below);
        }
        plans.reverse();
        let encryption = key.clone().map(|key| EncryptionPlan { key, below: self.sealed() });
        VolumePlan { image, layers: plans, encryption, ..VolumePlan::empty(home(), id.clone(), *size_gib) }
    }

    fn sealed(&self) -> SealedKeys {
        let key = |(id, content): (&ImageId, &Content)| Some((id.clone(), content.source.key()?.clone()));
        self.contents.iter().filter_map(key).collect()
    }

    fn keyed(&self, path: PathBuf, key: Option<&SealedKey>) -> Keyed {
        (path, key.map(|key| self.keys.key(key).expect("has a master key")))
    }

    fn content_plan(&self, id: &ImageId) -> ContentPlan {
        let Content { source, told, .. } = &self.contents[id];
        ContentPlan { home: home(), id: id.clone(), source: source.clone(), kept: *told, size_gib: 1, merge: None }
    }

    fn plan(&self) -> HostPlan {
        let vm = |n: usize| {
            let of_it = self.volumes.iter().filter(|(_, volume)| volume.machine == Some(n));
            let disks = of_it.map(|(id, _)| DiskPlan { volume: id.clone(), device: "/dev/sdf".into() }).collect();
            awan_model::plan::VmPlan { disks, ..testing::vm(&machine(n), Wish::On, 1) }
        };
        let mut plan = testing::plan((0..MACHINES).map(vm).collect());
        plan.volumes = self.volumes.keys().map(|id| self.volume_plan(id)).collect();
        let brought = self.contents.keys().filter(|id| !self.is_image(id));
        plan.contents = brought.map(|id| self.content_plan(id)).collect();
        plan
    }

    fn is_image(&self, id: &ImageId) -> bool {
        self.folder.path().join("images").join(id.as_str()).exists()
    }

    fn seen(&self) -> Vec<SeenVm> {
        let one = |n: usize| {
            let of_it = self.volumes.iter().filter(|(_, volume)| volume.machine == Some(n));
            let disk = |(id, v): (&VolumeId, &Volume)| DiskSeen {
                volume: id.clone(),
                size_gib: gib(&v.bytes),
                attached: true,
                limits: None,
                failed: false,
            };
            SeenVm { disks: of_it.map(disk).collect(), ..testing::seen(&machine(n), 1, Phase::Running) }
        };
        (0..MACHINES).map(one).collect()
    }

    /// What these bytes are in, the nearest first.
    fn chain(&self, of: Option<&ImageId>) -> Vec<Keyed> {
        let (mut chain, mut next) = (Vec::new(), of.cloned());
        while let Some(id) = next {
            if self.is_image(&id) {
                chain.push((self.folder.path().join("images").join(id.as_str()).join(DISK), None));
                break;
            }
            let ((kept, below), source) = (self.place(&id), self.contents.get(&id).map(|content| &content.source));
            let key = source.and_then(Source::key);
            if kept.exists() {
                chain.push(self.keyed(kept, key));
                next = below;
                continue;
            }
            // What is not kept yet lies where its volume left it.
            let taken = source.and_then(Source::taken).expect("is kept");
            chain.push(self.keyed(self.file(&taken.volume, taken.generation - 1), key));
            next = taken.below.clone();
        }
        chain
    }

    /// Where a content lies, or would, and what that file is a child of.
    fn place(&self, id: &ImageId) -> (PathBuf, Option<ImageId>) {
        let folder = self.folder.path().join(CONTENTS).join(id.as_str());
        let said = std::fs::read_to_string(folder.join("below")).unwrap_or_default();
        let (below, version) = said.split_once('\n').unwrap_or((&said, ""));
        let name = match version.trim() {
            "" => DISK.to_owned(),
            version => format!("disk.{version}.qcow2"),
        };
        (folder.join(name), Some(below).filter(|below| !below.is_empty()).map(|below| below.parse().expect("an id")))
    }

    fn file(&self, id: &VolumeId, generation: u32) -> PathBuf {
        let name = if generation == 0 { format!("{id}.qcow2") } else { format!("{id}.{generation}.qcow2") };
        self.folder.path().join("volumes").join(name)
    }

    fn is_kept(&self, id: &ImageId) -> bool {
        self.place(id).0.exists()
    }

    /// All files of a volume that a machine has had, the nearest first, as it had them last.
    fn files(&self, id: &VolumeId) -> Option<Vec<Keyed>> {
        let volume = &self.volumes[id];
        let begun = volume.begun?;
        let (before, since) = volume.layers.split_at_checked(begun as usize)?;
        // What was kept of it since may have become part of what was kept later, of which it wrote nothing.
        let newer = since.iter().find(|layer| self.contents.contains_key(*layer));
        if let Some(newer) = newer.filter(|newer| self.is_kept(newer)) {
            return Some(self.chain(Some(newer)));
        }
        let below = before.last().or(volume.image.as_ref());
        let own = self.keyed(self.file(id, begun), volume.key.as_ref());
        Some(std::iter::once(own).chain(self.chain(below)).collect())
    }
}

fn home() -> Home {
    Home::new("1", "r")
}

fn machine(n: usize) -> String {
    format!("i-{n:017x}")
}

fn gib(bytes: &Memory) -> u32 {
    u32::try_from(bytes.size / GIB).expect("fits")
}

/// What machines do.
impl World<'_> {
    async fn attach(&mut self) -> Result<()> {
        let all =
            self.volumes.iter().filter(|(_, volume)| volume.machine.is_none()).map(|(id, _)| id.clone()).collect();
        let Some(id) = self.chosen(all) else { return Ok(()) };
        let plan = self.volume_plan(&id);
        let device = self.driver.ensure(&plan).await;
        self.settle();
        let device = device?;
        let volume = &self.volumes[&id];
        let newest = u32::try_from(volume.layers.len()).expect("fits");
        let (below, size) = (volume.layers.last().or(volume.image.as_ref()), u64::from(volume.size_gib) * GIB);
        let own = self.keyed(self.file(&id, newest), volume.key.as_ref());
        let files: Vec<_> = std::iter::once(own).chain(self.chain(below)).collect();
        let (paths, keys): (Vec<_>, Vec<_>) = files.iter().cloned().unzip();
        assert_eq!(
            (&device.path, device.size_gib, &*device.backing),
            (&paths[0], volume.size_gib, &paths[1..]),
            "{id}"
        );
        assert_eq!(device.keys, if volume.key.is_some() { keys } else { Vec::new() }, "{id}");
        let disk = Disk::open(&files, true);
        let n = self.dice.random_range(0..MACHINES);
        let volume = self.volumes.get_mut(&id).expect("is there");
        volume.bytes = volume.bytes.sized(size);
        (volume.machine, volume.disk, volume.open, volume.begun) = (Some(n), Some(disk), newest, Some(newest));
        self.compare_volume(&id);
        Ok(())
    }

    /// Of one volume; or a machine ends.
    fn detach(&mut self) {
        let open: Vec<_> = self.volumes.iter().filter_map(|(id, v)| Some((id.clone(), v.machine?))).collect();
        let whole = self.dice.random_bool(0.3);
        if let Some((id, n)) = self.chosen(open) {
            for (_, volume) in self.volumes.iter_mut().filter(|(i, v)| **i == id || whole && v.machine == Some(n)) {
                (volume.machine, volume.disk) = (None, None);
            }
        }
    }

    fn write(&mut self) {
        let open = self.volumes.iter().filter(|(_, volume)| volume.disk.is_some()).map(|(id, _)| id.clone()).collect();
        let Some(id) = self.chosen(open) else { return };
        for _ in 0..self.dice.random_range(1..5) {
            let volume = self.volumes.get_mut(&id).expect("is there");
            let (disk, size) = (volume.disk.as_mut().expect("is open"), volume.bytes.size);
            // Near where something ends: a cluster, a table, a gibibyte, the disk.
            let near = self.dice.random_range(0..=size / (GIB / 2)) * (GIB / 2);
            let at = near.saturating_add_signed(self.dice.random_range(-130_000..130_000)).min(size - 1);
            if self.dice.random_bool(0.1) {
                disk.discard(at / CLUSTER);
                volume.bytes.discard(at / CLUSTER);
                continue;
            }
            let most = if self.dice.random_bool(0.5) { 600 } else { 150_000 };
            let length = self.dice.random_range(1..=most).min(size - at);
            let mut bytes = vec![0; usize::try_from(length).expect("fits")];
            self.dice.fill_bytes(&mut bytes);
            disk.write(at, &bytes);
            volume.bytes.write(at, &bytes);
            self.counts.written += length;
        }
    }
}

/// What the agent does.
impl World<'_> {
    async fn turn(&mut self) -> Result<()> {
        let done = self.try_turn().await;
        self.settle();
        done
    }

    async fn try_turn(&mut self) -> Result<()> {
        let plan = self.plan();
        let missing = |c: &&ContentPlan| !c.kept && self.driver.kept(c).is_none();
        let taken =
            plan.contents.iter().filter(missing).filter_map(|c| Some((c.id.clone(), c.source.taken()?.clone())));
        let pending: Vec<(ImageId, Taken)> = taken.collect();
        let seen = self.seen();
        let Keeping { forks, keep } = keeping(&pending, &seen);
        let mut grown = BTreeSet::new();
        for volume in self.volumes.values_mut() {
            let size = u64::from(volume.size_gib) * GIB;
            if let Some(disk) = volume.disk.as_mut().filter(|disk| disk.size() < size) {
                crash::other("a machine's disk grows")?;
                disk.grow(size);
                volume.bytes = volume.bytes.sized(size);
                grown.insert(volume.machine);
            }
        }
        for fork in forks {
            let Effect::Fork(vm, all) = fork else { panic!("{fork:?}") };
            // A machine takes one step about its disks at a time.
            if !grown.iter().flatten().any(|n| machine(*n) == vm.to_string()) {
                self.fork(&all).await?;
            }
        }
        for (id, taken) in &keep {
            self.driver.keep(id, taken).await?;
            self.settle();
        }
        for (id, copied) in self.copying() {
            self.driver.copy_now(&id, &copied, &self.sealed(), || true)?;
        }
        for id in self.contents_driver.present()?.iter().filter(|id| !self.contents.contains_key(*id)) {
            self.remove_some(id)?;
        }
        self.contents_driver.follow(&plan.contents)?;
        let present = self.driver.observe().await?.into_iter().map(|seen| seen.id);
        let present: Vec<_> = present.filter(|id| pending.iter().all(|(_, taken)| taken.volume != *id)).collect();
        for id in unwanted_volumes(&plan, &present, &seen) {
            self.driver.release(&id).await?;
        }
        if self.dice.random_bool(0.7) {
            self.tell();
        }
        Ok(())
    }

    fn tell(&mut self) {
        for id in self.contents.keys().cloned().collect::<Vec<_>>() {
            let kept = self.driver.kept(&self.content_plan(&id));
            let content = self.contents.get_mut(&id).expect("is there");
            content.told |= kept.is_some();
            if let (Source::Taken(taken), Some(kept)) = (&mut content.source, kept) {
                taken.below = kept.below;
            }
        }
        self.collect();
    }

    /// Files become one: of any content that has been told of, with any that are below it, dead or not.
    async fn merge(&mut self) -> Result<()> {
        // One follows the other when that has been told of.
        self.tell();
        let taken = |id: &ImageId| self.contents.get(id).and_then(|content| content.source.taken());
        let all = self.contents.iter().filter(|(id, content)| content.told && taken(id).is_some());
        let Some(id) = self.chosen(all.map(|(id, _)| id.clone()).collect()) else { return Ok(()) };
        let (mut onto, mut next) = (Vec::new(), self.place(&id).1);
        while let Some(lower) = next.filter(|lower| !self.is_image(lower) && self.is_kept(lower)) {
            // A disk from elsewhere says of nothing what it is a child of.
            next = self.place(&lower).1;
            onto.push(next.clone());
        }
        let Some(onto) = self.chosen(onto) else { return Ok(()) };
        let gone = self.dice.random_bool(0.05);
        let done = self.driver.merge_now(&id, onto.as_ref(), &self.sealed(), || !gone);
        let is_encrypted = self.contents[&id].source.key().is_some();
        self.counts.merges += u64::from(done.is_ok());
        self.counts.encrypted += u64::from(done.is_ok() && is_encrypted);
        if gone { Ok(()) } else { done }
    }

    fn copying(&self) -> Vec<(ImageId, Copied)> {
        let copied = |(id, content): (&ImageId, &Content)| Some((id.clone(), content.source.copied()?.clone()));
        self.contents.iter().filter(|(_, content)| !content.told).filter_map(copied).collect()
    }

    /// A folder that is on no plan is removed, file by file.
    fn remove_some(&self, id: &ImageId) -> Result<()> {
        for entry in std::fs::read_dir(self.folder.path().join(CONTENTS).join(id.as_str()))? {
            super::files::remove(&entry?.path())?;
        }
        Ok(())
    }

    async fn fork(&mut self, all: &[(ImageId, Taken)]) -> Result<()> {
        let mut forks = Vec::new();
        for (_, taken) in all {
            forks.push(self.driver.fork(taken).await?);
        }
        crash::other("a machine goes on in new files")?;
        for ((content, taken), fork) in all.iter().zip(&forks) {
            let volume = self.volumes.get_mut(&taken.volume).expect("is there");
            if volume.open >= taken.generation {
                continue;
            }
            assert_eq!(volume.open + 1, taken.generation);
            let key = fork.key.as_ref();
            volume.disk.as_mut().expect("is open").fork((&fork.old, key), (&fork.new, key));
            (volume.open, volume.begun) = (taken.generation, Some(taken.generation));
            self.contents.get_mut(content).expect("is there").bytes = Some(volume.bytes.clone());
            let size = volume.disk.as_ref().map(Disk::size);
            assert_eq!(size, Some(volume.bytes.size), "{} goes on as large as it was", taken.volume);
        }
        for (id, taken) in all {
            self.driver.keep(id, taken).await?;
        }
        Ok(())
    }

    /// What has just been kept of a volume is what this holds: no machine has had it open since.
    fn settle(&mut self) {
        for (id, content) in &mut self.contents {
            let Some(taken) = content.source.taken().filter(|_| content.bytes.is_none()) else { continue };
            let disk = self.folder.path().join(CONTENTS).join(id.as_str()).join(DISK);
            // It is told before it is merged.
            if disk.exists() {
                let volume = &self.volumes[&taken.volume];
                assert!(volume.disk.is_none() || volume.open >= taken.generation, "{id} was kept from under a machine");
                let key = taken.key.as_ref().map(|key| self.keys.key(key).expect("has a master key"));
                let size = Disk::open(&[(disk, key)], false).size();
                let bytes = volume.bytes.sized(size);
                assert_eq!(bytes.written().count(), volume.bytes.written().count(), "{id} is too small");
                content.bytes = Some(bytes);
            }
        }
    }

    /// What no agent asks is refused, and changes nothing.
    async fn ask_wrongly(&mut self) {
        let before = self.listed();
        let open = self.volumes.iter().filter(|(_, v)| v.disk.is_some()).map(|(id, v)| (id.clone(), v.open)).collect();
        if let Some((volume, generation)) = self.chosen(open) {
            let (below, key) = (self.volumes[&volume].layers.last().cloned(), self.volumes[&volume].key.clone());
            let (set, generation) = (ImageId::made("ami-00000000000000abc".into()), generation + 1);
            let taken = Taken { volume: volume.clone(), below, generation, set: set.clone(), volume_gib: 1, key };
            if self.file(&volume, generation - 1).exists() && taken.below.as_ref().is_none_or(|id| self.is_kept(id)) {
                let told = self.driver.keep(&set, &taken).await.expect_err("a machine writes to it");
                assert!(format!("{told:#}").contains("has the volume"), "{told:#}");
                std::fs::remove_dir_all(self.folder.path().join(CONTENTS).join(set.as_str())).expect("was begun");
            }
            let taken = Taken { generation: generation + 90, ..taken };
            self.driver.fork(&taken).await.expect_err("there is nothing to go on from");
            let taken = Taken { below: Some(set.clone()), ..taken };
            self.driver.keep(&set, &taken).await.expect_err("what it is a child of is not there");
        }
        let absent = VolumeId::made("vol-00000000000000abc".into());
        self.driver.release(&absent).await.expect("it is gone, which is fine");
        let image = Some(ImageId::made("ami-00000000000000abc".into()));
        let plan = VolumePlan { image, ..VolumePlan::empty(home(), absent, 1) };
        self.driver.ensure(&plan).await.expect_err("its image is not there");
        assert_eq!(self.listed(), before);
    }

    fn listed(&self) -> BTreeSet<PathBuf> {
        let below = |folder: &str| {
            let entries = std::fs::read_dir(self.folder.path().join(folder)).expect("lists");
            entries.map(|entry| entry.expect("lists").path()).collect::<Vec<_>>()
        };
        below("volumes").into_iter().chain(below(CONTENTS)).collect()
    }

    /// The host's next life. Where its power failed, no machine outlived it.
    fn live_again(&mut self, power: bool) {
        if power {
            for volume in self.volumes.values_mut() {
                (volume.machine, volume.disk) = (None, None);
            }
            let (dice, mut owed) = (&mut self.dice, 0);
            let undone = crash::cut_power(|most| {
                owed = most;
                dice.random_range(0..=most)
            });
            self.counts.cuts += 1;
            self.counts.undone += undone as u64;
        }
        self.looked_at.clear();
        // It can end while it begins.
        if self.dice.random_bool(0.2) {
            crash::after_steps(self.dice.random_range(0..4));
        }
        let open = || open(self.folder.path(), &self.keys);
        let opened = (0..2).find_map(|_| open().inspect_err(|_| assert!(crash::revived())).ok());
        (self.driver, self.contents_driver) = opened.expect("opens");
        crash::revived();
        let unfinished = |path: &PathBuf| path.extension().is_some_and(|e| e == "new");
        assert!(!self.listed().iter().any(unfinished), "what was not finished is gone");
    }
}

/// What is there, against what should be.
impl World<'_> {
    fn compare_volume(&mut self, id: &VolumeId) {
        let volume = &self.volumes[id];
        let differs = match (&volume.disk, self.files(id)) {
            (Some(disk), _) => disk.differs(&volume.bytes),
            (None, Some(files)) => {
                let disk = Disk::open(&files, false);
                disk.differs(&volume.bytes.sized(disk.size()))
            }
            (None, None) => None,
        };
        assert_eq!(differs, None, "{id}");
        self.counts.compared += 1;
    }

    fn compare(&mut self) {
        for id in self.volumes.keys().cloned().collect::<Vec<_>>() {
            self.compare_volume(&id);
        }
        let mut looked_at = std::mem::take(&mut self.looked_at);
        for (id, content) in &self.contents {
            assert!(!content.told || self.is_image(id) || self.is_kept(id), "{id} was kept, and is lost");
            if let Some(bytes) = content.bytes.as_ref().filter(|_| self.is_kept(id)) {
                let files = self.chain(Some(id));
                // In this life its files do not change, and this takes long.
                if content.source.key().is_some() && looked_at.get(id) == Some(&files) {
                    continue;
                }
                let disk = Disk::open(&files, false);
                looked_at.insert(id.clone(), files);
                // It may be larger than what was kept of a volume that had not grown yet.
                assert_eq!(disk.differs(&bytes.sized(disk.size().max(bytes.size))), None, "{id}");
                self.counts.compared += 1;
            }
        }
        self.looked_at = looked_at;
    }

    /// What QEMU reads of a volume or a content, and what it says of its files.
    fn ask_qemu(&mut self) {
        if !self.qemu {
            return;
        }
        let volumes = self.volumes.keys().filter_map(|id| Some((self.files(id)?, &self.volumes[id].bytes)));
        let contents = self.contents.iter().filter(|(id, _)| self.is_kept(id));
        let contents = contents.filter_map(|(id, c)| Some((self.chain(Some(id)), c.bytes.as_ref()?)));
        let all: Vec<_> = volumes.chain(contents).map(|(files, bytes)| (files, bytes.clone())).collect();
        let Some((files, bytes)) = self.chosen(all) else { return };
        let bytes = bytes.sized(Disk::open(&files, false).size());
        let raw = self.folder.path().join("raw");
        let file = std::fs::File::create(&raw).expect("makes");
        file.set_len(bytes.size).expect("grows");
        for n in bytes.written() {
            let cluster = bytes.cluster(n).expect("was written");
            std::os::unix::fs::FileExt::write_all_at(&file, cluster, n * CLUSTER).expect("writes");
        }
        let run = |args: &[&str], files: &[Keyed]| {
            let mut command = tokio::process::Command::new("qemu-img");
            command.args(args.iter().take(1));
            let (disk, _secrets) = offline::opened(&mut command, &device(files)).expect("holds the keys");
            command.args(args.iter().skip(1)).arg(format!("json:{disk}"));
            let output = command.as_std_mut().output().expect("starts");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        };
        run(&["compare", "-U", "-f", "raw", raw.to_str().expect("text")], &files);
        run(&["check", "-U", "-q"], &files[..1]);
        self.counts.asked_qemu += 1;
    }
}

impl World<'_> {
    async fn step(&mut self) {
        match self.dice.random_range(0..100) {
            0..8 => self.create(),
            8..20 => self.lives(true).await,
            20..38 => self.write(),
            38..44 => self.detach(),
            44..54 => self.snapshot(),
            54..68 => self.lives(false).await,
            68..78 => self.lives_merging().await,
            78..80 => self.modify_any(),
            80..89 => self.delete_snapshot(),
            89..94 => self.delete_volume(),
            94 => self.live_again(false),
            95 => self.live_again(true),
            96 => self.import().await,
            98 if self.dice.random_bool(0.5) => self.copy(),
            97 => self.ask_wrongly().await,
            _ => self.ask_qemu(),
        }
    }

    /// Files are merged, and what is there is looked at, whether the host lives or not.
    async fn lives_merging(&mut self) {
        self.may_die();
        let done = self.merge().await;
        self.lived(done);
        self.compare();
    }

    /// What the host does, which may be the last of a life.
    async fn lives(&mut self, attach: bool) {
        self.may_die();
        let done = if attach { self.attach().await } else { self.turn().await };
        self.lived(done);
    }

    fn may_die(&mut self) {
        if self.dice.random_bool(0.6) {
            let most = if self.dice.random_bool(0.5) { 4 } else { 24 };
            crash::after_steps(self.dice.random_range(0..most));
        }
    }

    fn lived(&mut self, done: Result<()>) {
        if !crash::revived() {
            return done.expect("there is no reason that it fails");
        }
        let power = self.dice.random_bool(0.25);
        self.counts.kills += u64::from(!power);
        self.live_again(power);
        self.compare();
    }

    async fn course(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step().await;
            self.counts.steps += 1;
        }
        self.end().await;
    }

    /// All is deleted, and nothing is left of it.
    async fn end(&mut self) {
        for _ in 0..2 {
            self.compare();
            self.turn().await.expect("keeps what was to be kept");
        }
        for volume in self.volumes.values_mut() {
            (volume.machine, volume.disk) = (None, None);
        }
        while !self.volumes.is_empty() {
            self.delete_volume();
        }
        for _ in 0..CONTENTS_MAX {
            self.turn().await.expect("deletes");
            self.compare();
            self.delete_snapshot();
        }
        self.turn().await.expect("deletes");
        assert_eq!(self.listed(), BTreeSet::new(), "nothing is left");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("a number"))
}

#[test]
#[expect(clippy::print_stderr, reason = "it says what it did, and how to do it again")]
fn volumes_and_snapshots_hold_what_they_should_wherever_their_host_ends() {
    let (seed, steps) =
        (number("AWAN_VOLUME_SEED").unwrap_or(FIRST_SEED), number("AWAN_VOLUME_STEPS").unwrap_or(4_000));
    let qemu = Command::new("qemu-img").arg("--version").output().is_ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut counts = Counts::default();
    for n in 0..steps.div_ceil(WORLD) {
        let world = seed.wrapping_add(n);
        eprintln!("AWAN_VOLUME_SEED={world} AWAN_VOLUME_STEPS={} replays this", WORLD.min(steps));
        let mut world = World::new(world, qemu, &mut counts);
        runtime.block_on(world.course(WORLD.min(steps - n * WORLD)));
        for (name, times) in crash::ends() {
            *counts.ends.entry(name).or_default() += times;
        }
    }
    let Counts {
        steps,
        kills,
        cuts,
        undone,
        written,
        snapshots,
        merges,
        encrypted,
        copies,
        compared,
        asked_qemu,
        ends,
    } = counts;
    eprintln!(
        "{steps} steps: {snapshots} snapshots, {merges} merged, of which {encrypted} encrypted, {copies} copied, {} MiB written, {kills} kills, {cuts} power failures that undid {undone} \
         changes, {compared} disks compared, {asked_qemu} with QEMU; ended before: {ends:?}",
        written >> 20
    );
    assert!(steps < 50_000 || ends.len() == 8, "each kind of step was the last of some life: {ends:?}");
}
