//! Real machines: one QEMU process each, which outlives this one.
//!
//! **Invariants.** A process is started only after the intent to start it is on disk, and there is never a second one
//! for an instance. A process that ends is noticed by its pidfd, not by looking.

pub mod args;
mod cgroup;
mod launch;
mod qmp;
mod record;
mod supervise;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::id::InstanceId;
use awan_model::instance::{Exit, Phase};
use awan_model::plan::VmPlan;
use tokio::sync::{Notify, mpsc};

use self::cgroup::Groups;
use self::launch::Launch;
use self::record::{Process, Record, Records};
use self::supervise::{Order, Supervisor};
use crate::driver::{BlockDevice, Fut, Hypervisor, SeenVm, Stop, Tap};
use crate::hypervisor::probe::Accelerator;

/// How much of a console is shown, and how much is kept on disk.
const CONSOLE_SHOWN: u64 = 64 * 1024;
const CONSOLE_KEPT: u64 = 1024 * 1024;
const CONSOLE_ROUND: Duration = Duration::from_secs(10);
const ORDERS_MAX: usize = 16;
const END_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub struct QemuConfig {
    /// Short, because socket paths must be; gone after a reboot.
    pub run_dir: PathBuf,
    pub data_dir: PathBuf,
    pub images: PathBuf,
    /// Tells the installations of one machine apart.
    pub tag: String,
    /// The first of the user ids that machines run as.
    pub uid_base: u32,
    pub accelerator: Accelerator,
    /// How long a guest may take to power off when asked to.
    pub grace: Duration,
}

pub struct QemuHypervisor {
    config: QemuConfig,
    groups: Groups,
    shared: Arc<Shared>,
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
    running: bool,
    orders: mpsc::Sender<Order>,
}

impl Shared {
    fn vms(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &InstanceId, run: u32, change: impl FnOnce(&mut Vm)) {
        let record = {
            let mut vms = self.vms();
            let Some(vm) = vms.get_mut(id).filter(|vm| vm.record.run == run) else { return };
            change(vm);
            vm.record.clone()
        };
        if let Err(e) = self.records.write(&record) {
            tracing::error!(instance = %id, error = format!("{e:#}"), "cannot note what became of a machine");
        }
        self.ended.send_modify(|n| *n += 1);
        self.changed.notify_one();
    }
}

impl QemuHypervisor {
    /// Takes over what runs: machines whose process is alive go on, the others ended while nobody looked.
    pub fn open(config: QemuConfig) -> Result<Arc<Self>> {
        let records = Records::open(config.data_dir.join("vms"))?;
        std::fs::create_dir_all(config.run_dir.join("vm"))?;
        let (ended, _) = tokio::sync::watch::channel(0);
        let all = records.all()?;
        let shared = Arc::new(Shared { records, vms: Mutex::default(), changed: Arc::default(), ended });
        let driver = Arc::new(Self { groups: Groups::find(&config.tag), config, shared });
        for record in all {
            driver.adopt(record)?;
        }
        driver.reap_strays();
        tokio::spawn(trim_consoles(driver.config.run_dir.join("vm")));
        Ok(driver)
    }

    fn adopt(&self, mut record: Record) -> Result<()> {
        let alive = record.process.as_ref().is_some_and(Process::is_alive);
        if !alive && record.exit.is_none() {
            // Between the intent and its note a process may have begun: `reap_strays` ends it.
            record.exit = Some(Exit::Crashed("the machine ended while its host was away".into()));
            self.shared.records.write(&record)?;
        }
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let (id, process) = (record.id.clone(), record.process.clone().filter(|_| alive));
        self.shared.vms().insert(id.clone(), Vm { record: record.clone(), running: false, orders });
        if let Some(process) = process {
            tracing::info!(instance = %id, run = record.run, pid = process.pid, "adopted");
            Supervisor::new(self.shared.clone(), &record, self.folder(&id), self.config.grace).spawn(
                process.pid,
                None,
                inbox,
            )?;
        }
        Ok(())
    }

    /// Ends processes that carry this installation's mark and that no record has.
    fn reap_strays(&self) {
        let mark = format!("guest=awan-{}-", self.config.tag);
        let known: Vec<i32> =
            self.shared.vms().values().filter_map(|vm| vm.record.process.as_ref().map(|p| p.pid)).collect();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let ours = String::from_utf8_lossy(&line).split('\0').any(|word| word.starts_with(&mark));
            if ours && !known.contains(&pid) {
                tracing::warn!(pid, "a machine without a record is ended");
                supervise::kill(pid);
            }
        }
    }

    fn folder(&self, id: &InstanceId) -> PathBuf {
        self.config.run_dir.join("vm").join(id.as_str())
    }

    fn free_uid(&self) -> u32 {
        let vms = self.shared.vms();
        let taken: std::collections::BTreeSet<u32> = vms.values().map(|vm| vm.record.uid).collect();
        (self.config.uid_base..).find(|uid| !taken.contains(uid)).unwrap_or(self.config.uid_base)
    }

    fn begin(&self, vm: &VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Result<()> {
        let alive = self.shared.vms().get(&vm.id).is_some_and(|old| old.record.exit.is_none());
        if alive {
            bail!("{} has a machine already", vm.id);
        }
        let uid = self.free_uid();
        let mut record = Record { id: vm.id.clone(), run: vm.run, reboots: vm.reboots, uid, process: None, exit: None };
        self.shared.records.write(&record)?;
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        self.shared.vms().insert(vm.id.clone(), Vm { record: record.clone(), running: false, orders });
        let (folder, group) = (self.folder(&vm.id), self.groups.make(vm)?);
        let launch = Launch {
            vm,
            tag: &self.config.tag,
            accelerator: &self.config.accelerator,
            folder: &folder,
            images: &self.config.images,
            uid,
            group: &group,
        };
        let child = launch.start(disks, taps)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("QEMU ended at once")?;
        record.process = Process::of(pid);
        self.shared.note(&vm.id, vm.run, |vm| vm.record.process.clone_from(&record.process));
        Supervisor::new(self.shared.clone(), &record, folder, self.config.grace).spawn(pid, Some(child), inbox)
    }

    /// Sends an order and waits until the run is over.
    async fn end(&self, id: &InstanceId, how: Stop) -> Result<()> {
        let mut ended = self.shared.ended.subscribe();
        let orders = self.shared.vms().get(id).filter(|vm| vm.record.exit.is_none()).map(|vm| vm.orders.clone());
        let Some(orders) = orders else { return Ok(()) };
        let _ = orders.send(Order::Stop(how)).await;
        let over = || self.shared.vms().get(id).is_none_or(|vm| vm.record.exit.is_some());
        let wait = async {
            while !over() {
                if ended.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(END_WITHIN, wait).await.context("the machine does not end")
    }

    fn over(&self, vm: &VmPlan, exit: Exit) -> Result<()> {
        let old = self.shared.vms().get(&vm.id).map(|old| old.record.clone());
        if old.as_ref().is_some_and(|old| old.exit.is_none() && old.process.as_ref().is_some_and(Process::is_alive)) {
            bail!("{} lives; its end cannot be declared", vm.id);
        }
        let uid = old.as_ref().map_or(self.config.uid_base, |old| old.uid);
        let record =
            Record { id: vm.id.clone(), run: vm.run, reboots: vm.reboots, uid, process: None, exit: Some(exit) };
        self.shared.records.write(&record)?;
        let (orders, _) = mpsc::channel(1);
        self.shared.vms().insert(vm.id.clone(), Vm { record, running: false, orders });
        self.shared.changed.notify_one();
        Ok(())
    }

    fn remove(&self, id: &InstanceId) -> Result<()> {
        let folder = self.folder(id);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        self.groups.remove(id.as_str());
        self.shared.records.remove(id)?;
        self.shared.vms().remove(id);
        Ok(())
    }

    /// Ends every machine and removes all that this driver ever made.
    pub async fn purge(&self) -> Result<()> {
        let all: Vec<InstanceId> = self.shared.vms().keys().cloned().collect();
        for id in &all {
            self.end(id, Stop::Force).await?;
            self.remove(id)?;
        }
        self.groups.purge();
        let _ = std::fs::remove_dir_all(&self.config.run_dir);
        Ok(())
    }

    fn output(&self, id: &InstanceId) -> Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = match std::fs::File::open(self.folder(id).join("console.log")) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_SHOWN)))?;
        let mut output = Vec::new();
        file.take(CONSOLE_SHOWN).read_to_end(&mut output)?;
        Ok(output)
    }
}

/// Keeps what guests write to their consoles from filling the disk. QEMU appends, so cutting from below is safe.
async fn trim_consoles(folder: PathBuf) {
    let mut round = tokio::time::interval(CONSOLE_ROUND);
    loop {
        round.tick().await;
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path().join("console.log");
            if std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file() && m.len() > CONSOLE_KEPT) {
                let kept = std::fs::read(&path).ok().map(|all| all[all.len().saturating_sub(64 * 1024)..].to_vec());
                if let (Some(kept), Ok(file)) = (kept, std::fs::File::options().write(true).open(&path)) {
                    use std::io::Write as _;
                    let _ = file.set_len(0).and_then(|()| (&file).write_all(&kept));
                }
            }
        }
    }
}

impl Hypervisor for QemuHypervisor {
    fn observe(&self) -> Fut<'_, Result<Vec<SeenVm>>> {
        let seen = |vm: &Vm| SeenVm {
            id: vm.record.id.clone(),
            run: vm.record.run,
            phase: match (&vm.record.exit, vm.running) {
                (Some(_), _) => Phase::Exited,
                (None, true) => Phase::Running,
                (None, false) => Phase::Starting,
            },
            reboots: vm.record.reboots,
            exit: vm.record.exit.clone(),
        };
        let all = self.shared.vms().values().map(seen).collect();
        Box::pin(async move { Ok(all) })
    }

    fn start<'a>(&'a self, vm: &'a VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Fut<'a, Result<()>> {
        Box::pin(async move { self.begin(vm, disks, taps) })
    }

    fn stop<'a>(&'a self, id: &'a InstanceId, how: Stop) -> Fut<'a, Result<()>> {
        Box::pin(self.end(id, how))
    }

    fn reboot<'a>(&'a self, id: &'a InstanceId, reboots: u32) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let orders = self.shared.vms().get(id).map(|vm| (vm.orders.clone(), vm.record.run));
            let Some((orders, run)) = orders else { bail!("{id} has no machine") };
            orders.send(Order::Reset).await.context("its machine is gone")?;
            self.shared.note(id, run, |vm| vm.record.reboots = reboots);
            Ok(())
        })
    }

    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, Result<()>> {
        Box::pin(async move { self.over(vm, exit) })
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        Box::pin(async move { self.remove(id) })
    }

    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<Vec<u8>>> {
        Box::pin(async move { self.output(id) })
    }

    fn changed(&self) -> Arc<Notify> {
        self.shared.changed.clone()
    }
}
