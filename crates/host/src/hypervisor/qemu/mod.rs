//! Real machines: one QEMU process each, which outlives this one.
//!
//! **Invariants.** A process is started only after the intent to start it is on disk, and there is never a second one
//! for an instance. A process that ends is noticed by its pidfd, not by looking.

mod adopt;
pub mod args;
mod cgroup;
mod console;
mod disks;
mod interfaces;
mod launch;
mod qmp;
mod record;
mod screen;
mod supervise;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::id::{InstanceId, VolumeId};
use awan_model::instance::{DiskSeen, Exit, InterfaceSeen, Phase};
use awan_model::interface::Mac;
use awan_model::plan::VmPlan;
use awan_model::volume::Limits;
use tokio::sync::{Notify, mpsc, oneshot};

pub use self::adopt::abandon;
use self::cgroup::Groups;
use self::launch::Launch;
use self::record::{Record, Records};
use self::supervise::{DeviceOrder, Order, Supervisor};
use crate::driver::{BlockDevice, Fork, Fut, Hypervisor, SeenVm, Shorter, Stop, Tap};
use crate::hypervisor::probe::Accelerator;
use crate::process::{Process, nameless_bytes, pidfd};

const ORDERS_MAX: usize = 16;
const ATTACH_WITHIN: Duration = Duration::from_secs(30);
const FORKED_WITHIN: Duration = Duration::from_secs(30);
/// Then the guest is asked again; meanwhile it can be stopped.
const LET_GO_WITHIN: Duration = Duration::from_secs(3);
const SHOWN_WITHIN: Duration = Duration::from_secs(8);
/// Beyond the guest's grace.
const END_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Short, because socket paths must be; gone after a reboot.
    pub run_dir: PathBuf,
    pub data_dir: PathBuf,
    pub images: PathBuf,
    /// Tells the installations of one machine apart.
    pub tag: String,
    /// The user ids that machines run as, each as one of its own. None: there are none to be had, and all run as the user
    /// of this program, who sees to it that they see no files (`launch.rs`).
    pub users: Option<Range<u32>>,
    pub accelerator: Accelerator,
    /// How long a guest may take to power off when asked to.
    pub grace: Duration,
}

impl QemuConfig {
    fn users(&self) -> Range<u32> {
        let own = nix::unistd::Uid::effective().as_raw();
        self.users.clone().unwrap_or(own..own + 1)
    }
}

pub struct QemuHypervisor {
    config: QemuConfig,
    groups: Groups,
    shared: Arc<Shared>,
    trimmer: tokio::task::AbortHandle,
}

/// What supervisors and the driver both know.
struct Shared {
    records: Records,
    vms: Mutex<BTreeMap<InstanceId, Vm>>,
    changed: Arc<Notify>,
    /// Wakes those who wait for a run to end.
    ended: tokio::sync::watch::Sender<u64>,
}

struct Vm {
    record: Record,
    orders: mpsc::Sender<Order>,
    /// Held while the record is written, so that the newest is written last.
    pen: Arc<Mutex<()>>,
}

impl Vm {
    fn new(record: Record) -> (Self, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        (Self { record, orders, pen: Arc::default() }, inbox)
    }
}

impl Shared {
    fn vms(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disks(&self, id: &InstanceId) -> Vec<DiskSeen> {
        self.vms().get(id).map(|vm| vm.record.disks.clone()).unwrap_or_default()
    }

    /// Changes a run's record, on disk and in memory, unless another run has taken its place. On disk first: what was
    /// seen of a machine is what the next life of this program begins with.
    fn note(&self, id: &InstanceId, run: u32, change: impl FnOnce(&mut Record)) {
        let Some(pen) = self.vms().get(id).map(|vm| vm.pen.clone()) else { return };
        blocking(|| {
            let _pen = pen.lock().unwrap_or_else(PoisonError::into_inner);
            let of_run = |vm: &&mut Vm| vm.record.run == run && Arc::ptr_eq(&vm.pen, &pen);
            let Some(before) = self.vms().get_mut(id).filter(of_run).map(|vm| vm.record.clone()) else { return };
            let mut record = before.clone();
            change(&mut record);
            if record == before {
                return;
            }
            if let Err(e) = self.records.write(&record) {
                tracing::error!(instance = %id, error = format!("{e:#}"), "cannot note what became of a machine");
            }
            if let Some(vm) = self.vms().get_mut(id).filter(of_run) {
                vm.record = record;
            }
        });
        self.ended.send_modify(|n| *n += 1);
        self.changed.notify_one();
    }
}

/// Does what waits for the disk or for a new process without holding up the tasks of this thread.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let many = Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if many { tokio::task::block_in_place(work) } else { work() }
}

impl QemuHypervisor {
    /// Takes over what runs: machines whose process is alive go on, the others ended while nobody looked.
    pub fn open(config: QemuConfig) -> Result<Arc<Self>> {
        use std::os::unix::fs::DirBuilderExt as _;
        let records = Records::open(config.data_dir.join("vms"))?;
        let folders = config.run_dir.join("vm");
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folders);
        made.with_context(|| format!("making {}", folders.display()))?;
        let (ended, _) = tokio::sync::watch::channel(0);
        let all = records.all()?;
        let shared = Arc::new(Shared { records, vms: Mutex::default(), changed: Arc::default(), ended });
        let trimmer = tokio::spawn(console::trim_all(folders)).abort_handle();
        let driver = Arc::new(Self { groups: Groups::find(&config.tag), config, shared, trimmer });
        driver.adopt(all)?;
        Ok(driver)
    }

    fn adopt(&self, records: Vec<Record>) -> Result<()> {
        let marked = adopt::marked(&self.config.tag, &self.config.users());
        let found = adopt::adoption(records, marked, Process::is_alive, Process::of);
        for pid in found.end {
            adopt::end(&self.config.tag, pid);
        }
        for id in found.drop {
            tracing::warn!(instance = %id, "its launch was cut short; the plan begins it anew");
            self.shared.records.remove(&id)?;
        }
        for record in found.records {
            self.shared.records.write(&record)?;
            let (vm, inbox) = Vm::new(record.clone());
            self.shared.vms().insert(record.id.clone(), vm);
            if let Some(process) = record.process.as_ref().filter(|_| record.exit.is_none()) {
                self.watch_adopted(&record, process, inbox)?;
            }
        }
        Ok(())
    }

    fn watch_adopted(&self, record: &Record, process: &Process, inbox: mpsc::Receiver<Order>) -> Result<()> {
        let opened = pidfd(process.pid).context("watching a machine");
        // Only now that the descriptor names a process for good is it sure which one it is.
        if !process.is_alive() {
            let exit = Exit::Crashed("the machine ended while its host was away".into());
            self.shared.note(&record.id, record.run, |record| record.exit = Some(exit));
            return Ok(());
        }
        tracing::info!(instance = %record.id, run = record.run, pid = process.pid, "adopted");
        let supervisor = Supervisor::new(self.shared.clone(), record, self.folder(&record.id), self.config.grace);
        supervisor.spawn(opened?, None, inbox)
    }

    fn consoles(&self) -> PathBuf {
        self.config.data_dir.join("consoles")
    }

    fn folder(&self, id: &InstanceId) -> PathBuf {
        self.config.run_dir.join("vm").join(id.as_str())
    }

    /// Writes down the intent to start a run, with a user id that no other machine has.
    fn intend(&self, vm: &VmPlan, disks: &[BlockDevice], taps: &[Tap]) -> Result<(Record, mpsc::Receiver<Order>)> {
        let (record, inbox) = {
            let mut vms = self.shared.vms();
            if vms.get(&vm.id).is_some_and(|old| old.record.exit.is_none()) {
                bail!("{} has a machine already", vm.id);
            }
            let taken: BTreeSet<u32> = vms.values().map(|vm| vm.record.uid).collect();
            let mut uids = self.config.users();
            let uid = if self.config.users.is_none() { uids.next() } else { uids.find(|uid| !taken.contains(uid)) };
            let uid = uid.context("all user ids for machines are taken")?;
            let seen = |disk: &BlockDevice| DiskSeen {
                volume: disk.volume.clone(),
                size_gib: disk.size_gib,
                attached: true,
                limits: Some(disk.limits),
                failed: false,
            };
            let card = |tap: &Tap| InterfaceSeen { mac: tap.mac, attached: true };
            let free = args::interface_ports(vm, taps.len()).saturating_sub(taps.len().saturating_sub(1));
            let record = Record {
                reboots: vm.reboots,
                disks: disks.iter().map(seen).collect(),
                free_ports: u32::try_from(args::free_ports(&self.config.accelerator, disks.len())).unwrap_or_default(),
                interfaces: Some(taps.iter().map(card).collect()),
                free_interface_ports: u32::try_from(free).unwrap_or_default(),
                ..Record::blank(vm.id.clone(), vm.run, uid)
            };
            let (new, inbox) = Vm::new(record.clone());
            vms.insert(vm.id.clone(), new);
            (record, inbox)
        };
        self.shared.records.write(&record).inspect_err(|_| drop(self.shared.vms().remove(&vm.id)))?;
        Ok((record, inbox))
    }

    fn begin(&self, vm: &VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Result<()> {
        let (record, inbox) = self.intend(vm, &disks, &taps)?;
        self.launch(vm, record, inbox, disks, taps).inspect_err(|_| {
            // It never began: whoever asked may say so, or try again.
            self.shared.vms().remove(&vm.id);
            let _ = self.shared.records.remove(&vm.id);
        })
    }

    fn launch(
        &self,
        vm: &VmPlan,
        mut record: Record,
        inbox: mpsc::Receiver<Order>,
        disks: Vec<BlockDevice>,
        taps: Vec<Tap>,
    ) -> Result<()> {
        let (folder, group) = (self.folder(&vm.id), self.groups.make(vm)?);
        let launch = Launch {
            vm,
            tag: &self.config.tag,
            accelerator: &self.config.accelerator,
            folder: &folder,
            images: &self.config.images,
            user: self.config.users.is_some().then_some(record.uid),
            group: &group,
        };
        let mut child = launch.start(disks, taps)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("QEMU ended at once")?;
        let pidfd = pidfd(pid).inspect_err(|_| supervise::end_unwatched(Some(&mut child)));
        let pidfd = pidfd.context("watching QEMU")?;
        record.process = Process::of(pid);
        self.shared.note(&vm.id, vm.run, |noted| noted.process.clone_from(&record.process));
        Supervisor::new(self.shared.clone(), &record, folder, self.config.grace).spawn(pidfd, Some(child), inbox)
    }

    /// Sends an order and waits until the run is over.
    async fn end(&self, id: &InstanceId, how: Stop) -> Result<()> {
        let mut ended = self.shared.ended.subscribe();
        let alive = self
            .shared
            .vms()
            .get(id)
            .filter(|vm| vm.record.exit.is_none())
            .map(|vm| (vm.orders.clone(), vm.record.run));
        let Some((orders, run)) = alive else { return Ok(()) };
        let _ = orders.send(Order::Stop(how)).await;
        let over = || self.shared.vms().get(id).is_none_or(|vm| vm.record.run != run || vm.record.exit.is_some());
        let wait = async {
            while !over() {
                if ended.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(self.config.grace + END_WITHIN, wait).await.context("the machine does not end")
    }

    /// Has the machine's supervisor do something about a disk or an interface.
    async fn order_device(&self, id: &InstanceId, order: DeviceOrder, within: Duration) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let orders = self.shared.vms().get(id).filter(|vm| vm.record.exit.is_none()).map(|vm| vm.orders.clone());
        let orders = orders.with_context(|| format!("{id} has no machine"))?;
        orders.send(Order::Device(order, done)).await.ok().context("its machine is gone")?;
        let outcome = tokio::time::timeout(within, outcome).await.context("the guest has not let go of it yet")?;
        outcome.context("its machine is gone")?
    }

    fn over(&self, vm: &VmPlan, exit: Exit) -> Result<()> {
        let old = self.shared.vms().get(&vm.id).map(|old| old.record.clone());
        if old.as_ref().is_some_and(|old| old.exit.is_none() && old.process.as_ref().is_some_and(Process::is_alive)) {
            bail!("{} lives; its end cannot be declared", vm.id);
        }
        let uid = old.as_ref().map_or(self.config.users().start, |old| old.uid);
        let (reboots, exit) = (vm.reboots, Some(exit));
        let record = Record { reboots, exit, ..Record::blank(vm.id.clone(), vm.run, uid) };
        self.shared.records.write(&record)?;
        self.shared.vms().insert(vm.id.clone(), Vm::new(record).0);
        self.shared.changed.notify_one();
        Ok(())
    }

    fn remove(&self, id: &InstanceId) -> Result<()> {
        if self.shared.vms().get(id).is_some_and(|vm| vm.record.exit.is_none()) {
            bail!("{id} lives; it cannot be forgotten");
        }
        let folder = self.folder(id);
        if folder.exists() {
            if let Err(e) = console::keep(&folder, &self.consoles(), id) {
                tracing::warn!(instance = %id, error = format!("{e:#}"), "what it said last is lost");
            }
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        self.groups.remove(id.as_str());
        self.shared.records.remove(id)?;
        self.shared.vms().remove(id);
        Ok(())
    }

    /// Ends every machine and removes all that this driver ever made.
    pub async fn purge(&self, how: Stop) -> Result<()> {
        let all: Vec<_> = self.shared.vms().iter().map(|(id, vm)| (id.clone(), vm.orders.clone())).collect();
        // All are told before the first is waited for.
        for (_, orders) in &all {
            let _ = orders.send(Order::Stop(how)).await;
        }
        for (id, _) in &all {
            self.end(id, how).await?;
            self.remove(id)?;
        }
        self.groups.purge();
        let _ = std::fs::remove_dir_all(&self.config.run_dir);
        let _ = std::fs::remove_dir_all(self.consoles());
        Ok(())
    }
}

impl Drop for QemuHypervisor {
    fn drop(&mut self) {
        self.trimmer.abort();
    }
}

impl Hypervisor for QemuHypervisor {
    fn observe(&self) -> Fut<'_, Result<Vec<SeenVm>>> {
        let seen = |vm: &Vm| SeenVm {
            id: vm.record.id.clone(),
            run: vm.record.run,
            phase: match (&vm.record.exit, vm.record.begun) {
                (Some(_), _) => Phase::Exited,
                (None, true) => Phase::Running,
                (None, false) => Phase::Starting,
            },
            reboots: vm.record.reboots,
            exit: vm.record.exit.clone(),
            disks: if vm.record.exit.is_none() { vm.record.disks.clone() } else { Vec::new() },
            files: if vm.record.exit.is_none() { vm.record.files.clone() } else { BTreeMap::new() },
            free_ports: if vm.record.exit.is_none() { vm.record.free_ports } else { 0 },
            interfaces: if vm.record.exit.is_none() { vm.record.interfaces.clone() } else { Some(Vec::new()) },
            free_interface_ports: if vm.record.exit.is_none() { vm.record.free_interface_ports } else { 0 },
        };
        let all = self.shared.vms().values().map(seen).collect();
        Box::pin(async move { Ok(all) })
    }

    fn start<'a>(&'a self, vm: &'a VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Fut<'a, Result<()>> {
        Box::pin(async move { blocking(|| self.begin(vm, disks, taps)) })
    }

    fn stop<'a>(&'a self, id: &'a InstanceId, how: Stop) -> Fut<'a, Result<()>> {
        Box::pin(self.end(id, how))
    }

    fn reboot<'a>(&'a self, id: &'a InstanceId, reboots: u32) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let orders = self.shared.vms().get(id).map(|vm| (vm.orders.clone(), vm.record.run));
            let Some((orders, run)) = orders else { bail!("{id} has no machine") };
            orders.send(Order::Reset).await.context("its machine is gone")?;
            self.shared.note(id, run, |record| record.reboots = reboots);
            Ok(())
        })
    }

    fn attach<'a>(&'a self, id: &'a InstanceId, disk: BlockDevice) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let opened = blocking(|| disks::open(&disk))?;
            self.order_device(id, DeviceOrder::Attach(opened), ATTACH_WITHIN).await
        })
    }

    fn detach<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, force: bool) -> Fut<'a, Result<()>> {
        Box::pin(self.order_device(id, DeviceOrder::Detach(volume.clone(), force), LET_GO_WITHIN))
    }

    fn grow<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, size_gib: u32) -> Fut<'a, Result<()>> {
        Box::pin(self.order_device(id, DeviceOrder::Grow(volume.clone(), size_gib), ATTACH_WITHIN))
    }

    fn limit<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, limits: Limits) -> Fut<'a, Result<()>> {
        Box::pin(self.order_device(id, DeviceOrder::Limit(volume.clone(), limits), ATTACH_WITHIN))
    }

    fn fork<'a>(&'a self, id: &'a InstanceId, forks: Vec<Fork>) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let opened = blocking(|| forks.iter().map(disks::open_fork).collect::<Result<_>>())?;
            self.order_device(id, DeviceOrder::Fork(opened), FORKED_WITHIN).await
        })
    }

    fn shorten<'a>(&'a self, id: &'a InstanceId, shorter: Shorter) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let opened = blocking(|| disks::open_shorter(&shorter))?;
            self.order_device(id, DeviceOrder::Shorten(opened), FORKED_WITHIN).await
        })
    }

    fn nameless(&self, id: &InstanceId) -> u64 {
        let process = self.shared.vms().get(id).and_then(|vm| vm.record.process.clone());
        process.filter(Process::is_alive).map_or(0, |process| nameless_bytes(process.pid, ".qcow2"))
    }

    fn plug<'a>(&'a self, id: &'a InstanceId, tap: Tap) -> Fut<'a, Result<()>> {
        Box::pin(self.order_device(id, DeviceOrder::Plug(tap), ATTACH_WITHIN))
    }

    fn unplug<'a>(&'a self, id: &'a InstanceId, mac: Mac, force: bool) -> Fut<'a, Result<()>> {
        Box::pin(self.order_device(id, DeviceOrder::Unplug(mac, force), LET_GO_WITHIN))
    }

    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, Result<()>> {
        Box::pin(async move { blocking(|| self.over(vm, exit)) })
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        Box::pin(async move { blocking(|| self.remove(id)) })
    }

    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<Vec<u8>>> {
        Box::pin(async move { console::newest_or_kept(&self.folder(id), &self.consoles(), id) })
    }

    fn keep_consoles<'a>(&'a self, of: &'a [InstanceId]) -> Fut<'a, Result<()>> {
        Box::pin(async move { console::keep_only(&self.consoles(), of) })
    }

    fn screenshot<'a>(&'a self, id: &'a InstanceId, wake: bool) -> Fut<'a, Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            let (done, shown) = oneshot::channel();
            let orders = self.shared.vms().get(id).filter(|vm| vm.record.exit.is_none()).map(|vm| vm.orders.clone());
            let orders = orders.with_context(|| format!("{id} has no machine"))?;
            orders.send(Order::Screenshot(wake, done)).await.ok().context("its machine is gone")?;
            let shown = tokio::time::timeout(SHOWN_WITHIN, shown).await.context("its machine does not answer")?;
            let picture = shown.context("its machine is gone")??;
            picture.map(|picture| blocking(|| picture.jpeg())).transpose()
        })
    }

    fn interrupt<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let orders = self.shared.vms().get(id).filter(|vm| vm.record.exit.is_none()).map(|vm| vm.orders.clone());
            let orders = orders.with_context(|| format!("{id} has no machine"))?;
            orders.send(Order::Interrupt).await.context("its machine is gone")
        })
    }

    fn changed(&self) -> Arc<Notify> {
        self.shared.changed.clone()
    }
}
