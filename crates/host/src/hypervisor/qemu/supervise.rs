//! Watches one machine from its first moment, or from its adoption, to its end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::id::{InstanceId, VolumeId};
use awan_model::instance::{DiskSeen, Exit, InterfaceSeen};
use awan_model::interface::Mac;
use awan_model::volume::Limits;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::args;
use super::disks::{self, Forking, Opened, Shortening};
use super::interfaces;
use super::launch::{COMPLAINTS, QMP_SOCKET};
use super::qmp::{Event, Qmp};
use super::record::Record;
use super::screen;
use crate::driver::{Stop, Tap};
use crate::hypervisor::picture::Picture;
use crate::process::kill;

/// A guest that is still booting does not hear the power button: it is pressed again and again.
const PRESS_AGAIN: Duration = Duration::from_secs(2);
/// From `quit` until the process is killed.
const QUIT_WITHIN: Duration = Duration::from_secs(3);
const CONNECT_AGAIN: Duration = Duration::from_millis(15);

/// For a picture of what a machine shows, if it has a display.
pub type Seen = oneshot::Sender<Result<Option<Picture>>>;

#[derive(Debug)]
pub enum Order {
    Stop(Stop),
    Reset,
    Interrupt,
    Screenshot(bool, Seen),
    Device(DeviceOrder, oneshot::Sender<Result<()>>),
}

/// About one disk or interface of a machine.
#[derive(Debug)]
pub enum DeviceOrder {
    Attach(Opened),
    Detach(VolumeId, bool),
    Grow(VolumeId, u32),
    Limit(VolumeId, Limits),
    Fork(Vec<Forking>),
    Shorten(Shortening),
    Plug(Tap),
    Unplug(Mac, bool),
}

pub struct Supervisor {
    shared: Arc<Shared>,
    id: InstanceId,
    run: u32,
    folder: PathBuf,
    grace: Duration,
    exit: Option<Exit>,
    /// When patience ends, once the machine was told to end.
    deadline: Option<Instant>,
    press: Option<Instant>,
    /// Who waits for the guest to let go of a device, by QEMU's name of it.
    leaving: BTreeMap<String, oneshot::Sender<Result<()>>>,
    /// The guest is to be reset as soon as QEMU listens.
    reset: bool,
    /// Who wants to see what it shows as soon as QEMU listens; of several the last.
    look: Option<(bool, Seen)>,
}

fn watched(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "tokio asks for the promise that the descriptor stays open")]
    // SAFETY: the registration owns the descriptor; nobody else closes it.
    unsafe {
        AsyncFd::register(fd).context("watching a process")
    }
}

/// A machine that this program began and cannot watch may not live: nobody would know when it ends.
pub fn end_unwatched(child: Option<&mut Child>) {
    if let Some(child) = child {
        let _ = child.start_kill();
    }
}

impl Supervisor {
    pub fn new(shared: Arc<Shared>, record: &Record, folder: PathBuf, grace: Duration) -> Self {
        let (id, run) = (record.id.clone(), record.run);
        Self {
            shared,
            id,
            run,
            folder,
            grace,
            exit: None,
            deadline: None,
            press: None,
            leaving: BTreeMap::new(),
            reset: false,
            look: None,
        }
    }

    /// `child`: the process is this program's own and must be buried.
    pub fn spawn(self, pidfd: OwnedFd, mut child: Option<Child>, orders: mpsc::Receiver<Order>) -> Result<()> {
        let watched = watched(pidfd).inspect_err(|_| end_unwatched(child.as_mut()))?;
        tokio::spawn(self.watch(watched, child, orders));
        Ok(())
    }

    async fn watch(mut self, pidfd: AsyncFd<OwnedFd>, child: Option<Child>, mut orders: mpsc::Receiver<Order>) {
        let mut qmp: Option<Qmp> = None;
        loop {
            let patience = self.deadline.unwrap_or_else(far);
            let press = self.press.unwrap_or_else(far);
            tokio::select! {
                // What is said most comes last: a machine that never stops talking cannot keep its end away.
                biased;
                over = pidfd.readable() => match over {
                    Ok(_) => break,
                    // This program ends, not the machine: the next life takes it over.
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(press) => self.press(qmp.as_mut()).await,
                () = tokio::time::sleep_until(patience) => self.out_of_patience(pidfd.get_ref(), qmp.as_mut()).await,
                order = orders.recv(), if !orders.is_closed() => if let Some(order) = order { self.obey(order, pidfd.get_ref(), qmp.as_mut()).await },
                connected = connect(self.folder.join(QMP_SOCKET)), if qmp.is_none() => {
                    let (connection, status) = connected;
                    qmp = Some(connection);
                    self.connected(&status, qmp.as_mut()).await;
                }
                event = next(&mut qmp) => match event {
                    Event::Shutdown { guest } => self.shut_down(guest, qmp.as_mut()).await,
                    Event::Deleted(device) => self.deleted(&device, qmp.as_mut()).await,
                    Event::Failed(node) => self.note_failure(&node),
                    Event::Gone => qmp = None,
                    Event::Other => {}
                },
            }
        }
        self.buried(child).await;
    }

    async fn connected(&mut self, status: &str, mut qmp: Option<&mut Qmp>) {
        if status == "shutdown" {
            // The guest powered off while nobody listened.
            self.shut_down(true, qmp).await;
            return;
        }
        if let Some(qmp) = qmp.as_deref_mut() {
            let (disks, interfaces) = (disks::look(qmp).await, interfaces::look(qmp).await);
            self.found_disks(disks, qmp).await;
            self.hold_to_limits(qmp).await;
            self.note_files(qmp).await;
            self.found_interfaces(interfaces, qmp).await;
        }
        self.shared.note(&self.id, self.run, |record| record.begun = true);
        if let (Some((wake, done)), Some(qmp)) = (self.look.take(), qmp.as_deref_mut()) {
            let _ = done.send(screen::look(qmp, wake).await);
        }
        if std::mem::take(&mut self.reset) {
            self.obey_reset(qmp).await;
        }
    }

    async fn shut_down(&mut self, guest: bool, qmp: Option<&mut Qmp>) {
        // What was asked for stays asked for, though the guest pulls the lever.
        self.exit.get_or_insert_with(|| match guest {
            true => Exit::Guest,
            false => Exit::Crashed("somebody else told the hypervisor to end".into()),
        });
        self.quit(qmp).await;
    }

    async fn quit(&mut self, qmp: Option<&mut Qmp>) {
        if let Some(qmp) = qmp {
            let _ = qmp.execute("quit").await;
        }
        self.press = None;
        self.deadline = Some(Instant::now() + QUIT_WITHIN);
    }

    async fn obey(&mut self, order: Order, pidfd: &OwnedFd, qmp: Option<&mut Qmp>) {
        match order {
            Order::Reset => self.obey_reset(qmp).await,
            Order::Interrupt => {
                if let Some(qmp) = qmp {
                    let _ = qmp.execute("inject-nmi").await;
                }
            }
            Order::Screenshot(wake, done) => match qmp {
                Some(qmp) => drop(done.send(screen::look(qmp, wake).await)),
                None => self.look = Some((wake, done)),
            },
            Order::Stop(Stop::Force) => {
                self.exit = Some(Exit::Asked);
                if qmp.is_none() {
                    kill(pidfd);
                }
                self.quit(qmp).await;
            }
            Order::Stop(Stop::Graceful) if self.deadline.is_none() => {
                self.exit = Some(Exit::Asked);
                self.deadline = Some(Instant::now() + self.grace);
                self.press(qmp).await;
            }
            Order::Stop(Stop::Graceful) => {}
            Order::Device(order, done) => self.obey_about_device(order, done, qmp).await,
        }
    }

    async fn obey_about_device(
        &mut self,
        order: DeviceOrder,
        done: oneshot::Sender<Result<()>>,
        qmp: Option<&mut Qmp>,
    ) {
        let Some(qmp) = qmp else {
            let _ = done.send(Err(anyhow::anyhow!("QEMU does not listen yet")));
            return;
        };
        let outcome = match order {
            DeviceOrder::Attach(opened) => self.attach(&opened, qmp).await.map(|()| None),
            DeviceOrder::Grow(volume, size_gib) => self.grow(&volume, size_gib, qmp).await.map(|()| None),
            DeviceOrder::Limit(volume, limits) => self.limit(&volume, limits, qmp).await.map(|()| None),
            DeviceOrder::Fork(forks) => self.fork(&forks, qmp).await.map(|()| None),
            DeviceOrder::Shorten(with) => self.shorten(&with, qmp).await.map(|()| None),
            DeviceOrder::Plug(tap) => self.plug(&tap, qmp).await.map(|()| None),
            DeviceOrder::Detach(volume, force) => {
                let gone = self.detach(&volume, force, qmp).await;
                gone.map(|gone| (!gone).then(|| args::device(&volume)))
            }
            DeviceOrder::Unplug(mac, force) => self.unplug(mac, force, qmp).await,
        };
        match outcome {
            // Whoever ordered it waits for the guest.
            Ok(Some(device)) => drop(self.leaving.insert(device, done)),
            outcome => drop(done.send(outcome.map(drop))),
        }
    }

    async fn attach(&mut self, opened: &Opened, qmp: &mut Qmp) -> Result<()> {
        let (volume, size_gib, limits) = (&opened.volume, opened.size_gib, opened.limits);
        self.note_disk(volume, Some((size_gib, false)));
        let attached = disks::attach(qmp, opened).await;
        match &attached {
            Ok(()) => {
                self.note_disk(volume, Some((size_gib, true)));
                self.hold(volume, limits, qmp).await;
            }
            Err(_) => {
                let seats = disks::look(qmp).await;
                self.found_disks(seats, qmp).await;
            }
        }
        self.note_files(qmp).await;
        self.note_ports(qmp).await;
        attached
    }

    /// Whether it is gone already.
    async fn detach(&mut self, volume: &VolumeId, force: bool, qmp: &mut Qmp) -> Result<bool> {
        self.mark_leaving(volume);
        let gone = disks::ask_for(qmp, volume).await?;
        if gone {
            disks::close(qmp, volume).await?;
        } else if force {
            disks::yank(qmp, volume).await?;
        } else {
            return Ok(false);
        }
        self.note_disk(volume, None);
        self.note_ports(qmp).await;
        Ok(true)
    }

    async fn grow(&mut self, volume: &VolumeId, size_gib: u32, qmp: &mut Qmp) -> Result<()> {
        disks::grow(qmp, volume, self.is_root(volume), size_gib).await?;
        self.note_disk(volume, Some((size_gib, true)));
        Ok(())
    }

    async fn limit(&self, volume: &VolumeId, limits: Limits, qmp: &mut Qmp) -> Result<()> {
        disks::limit(qmp, volume, self.is_root(volume), limits).await?;
        self.note_limits(volume, Some(limits));
        Ok(())
    }

    /// To those that its disks were opened with, or had been given before.
    async fn hold_to_limits(&self, qmp: &mut Qmp) {
        for disk in self.shared.disks(&self.id) {
            if let Some(limits) = disk.limits {
                self.hold(&disk.volume, limits, qmp).await;
            }
        }
    }

    /// What fails is tried again, because nothing is noted.
    async fn hold(&self, volume: &VolumeId, limits: Limits, qmp: &mut Qmp) {
        if let Err(e) = self.limit(volume, limits, qmp).await {
            tracing::warn!(instance = %self.id, error = format!("{e:#}"), "a disk is not held to its limits yet");
            self.note_limits(volume, None);
        }
    }

    fn note_limits(&self, volume: &VolumeId, limits: Option<Limits>) {
        self.shared.note(&self.id, self.run, |record| {
            record.disks.iter_mut().filter(|disk| disk.volume == *volume).for_each(|disk| disk.limits = limits);
        });
    }

    /// A disk that failed once has, for as long as the machine has it.
    fn note_failure(&self, open: &str) {
        self.shared.note(&self.id, self.run, |record| {
            for (n, disk) in record.disks.iter_mut().enumerate() {
                if args::generation(&args::node_of(&disk.volume, n == 0), open).is_some() && !disk.failed {
                    tracing::error!(instance = %record.id, volume = %disk.volume, "reading or writing failed");
                    disk.failed = true;
                }
            }
        });
    }

    fn is_root(&self, volume: &VolumeId) -> bool {
        self.shared.disks(&self.id).first().is_some_and(|disk| disk.volume == *volume)
    }

    async fn fork(&self, forks: &[Forking], qmp: &mut Qmp) -> Result<()> {
        let disks = self.shared.disks(&self.id);
        let done = disks::fork(qmp, disks.first().map(|disk| &disk.volume), forks).await;
        self.note_files(qmp).await;
        done
    }

    async fn shorten(&self, with: &Shortening, qmp: &mut Qmp) -> Result<()> {
        let done = disks::shorten(qmp, self.is_root(with.volume()), with).await;
        self.note_files(qmp).await;
        done
    }

    async fn note_files(&self, qmp: &mut Qmp) {
        let mut files = BTreeMap::new();
        for (n, disk) in self.shared.disks(&self.id).into_iter().enumerate() {
            if let Ok(count) = disks::files(qmp, &disk.volume, n == 0).await {
                files.insert(disk.volume, count);
            }
        }
        self.shared.note(&self.id, self.run, |record| record.files = files);
    }

    /// The guest has let go of a device.
    async fn deleted(&mut self, device: &str, qmp: Option<&mut Qmp>) {
        let Some(qmp) = qmp else { return };
        let mut closed = Ok(());
        if let Ok(volume) = device.parse::<VolumeId>() {
            // What may be open still is not free.
            closed = disks::close(qmp, &volume).await;
            if closed.is_ok() {
                self.note_disk(&volume, None);
            }
            self.note_ports(qmp).await;
        } else if let Some(mac) = args::card_of(device) {
            interfaces::close(qmp, mac).await;
            self.note_interface(mac, None, qmp).await;
        }
        if let Some(done) = self.leaving.remove(device) {
            let _ = done.send(closed);
        }
    }

    /// What came and went while nobody listened.
    async fn found_disks(&self, seats: Result<disks::Seats>, qmp: &mut Qmp) {
        let seats = match seats {
            Ok(seats) => seats,
            Err(e) => {
                tracing::error!(instance = %self.id, error = format!("{e:#}"), "its disks cannot be seen");
                return;
            }
        };
        for disk in self.shared.disks(&self.id).into_iter().skip(1) {
            match seats.disks.iter().find(|(volume, _)| *volume == disk.volume) {
                Some((volume, true)) => self.note_disk(volume, Some((disk.size_gib, true))),
                _ => match disks::close(qmp, &disk.volume).await {
                    Ok(()) => self.note_disk(&disk.volume, None),
                    Err(e) => {
                        tracing::error!(instance = %self.id, error = format!("{e:#}"), "a disk may be open still");
                        self.mark_leaving(&disk.volume);
                    }
                },
            }
        }
        self.shared.note(&self.id, self.run, |record| record.free_ports = seats.free_ports);
    }

    async fn plug(&mut self, tap: &Tap, qmp: &mut Qmp) -> Result<()> {
        let seats = interfaces::look(qmp).await?;
        if seats.of(tap.mac).is_none() {
            self.note_interface(tap.mac, Some(false), qmp).await;
            if let Err(e) = interfaces::plug(qmp, tap, &seats.free_ports).await {
                let seats = interfaces::look(qmp).await;
                self.found_interfaces(seats, qmp).await;
                return Err(e);
            }
        } else if !self.knows_interface(tap.mac) {
            bail!("the guest has not let go of what was taken away from it before");
        }
        self.note_interface(tap.mac, Some(true), qmp).await;
        Ok(())
    }

    /// The device that the guest has been asked for; `None`: there is none any more, or nothing behind it.
    async fn unplug(&mut self, mac: Mac, force: bool, qmp: &mut Qmp) -> Result<Option<String>> {
        self.shared.note(&self.id, self.run, |record| record.note_interface(mac, Some(false)));
        let seats = interfaces::look(qmp).await?;
        if let Some(seat) = seats.of(mac) {
            let asked = interfaces::ask_for(qmp, seat).await;
            if force {
                interfaces::pull(qmp, seat).await?;
            } else if !asked? {
                return Ok(Some(seat.device.clone()));
            }
        }
        interfaces::close(qmp, mac).await;
        self.note_interface(mac, None, qmp).await;
        Ok(None)
    }

    fn knows_interface(&self, mac: Mac) -> bool {
        self.shared.vms().get(&self.id).is_some_and(|vm| vm.record.has_interface(mac))
    }

    /// As [`Self::found_disks`]. A device that no record has is one that its guest did not let go of in time.
    async fn found_interfaces(&self, seats: Result<interfaces::Seats>, qmp: &mut Qmp) {
        let seats = match seats {
            Ok(seats) => seats,
            Err(e) => {
                tracing::error!(instance = %self.id, error = format!("{e:#}"), "its interfaces cannot be seen");
                return;
            }
        };
        let noted = self.shared.vms().get(&self.id).and_then(|vm| vm.record.interfaces.clone());
        let known: Vec<Mac> = match noted {
            Some(noted) => noted.iter().map(|seen| seen.mac).collect(),
            None => seats.interfaces.iter().map(|seat| seat.mac).collect(),
        };
        for mac in known.iter().filter(|mac| seats.of(**mac).is_none()) {
            interfaces::close(qmp, *mac).await;
        }
        let there = known.into_iter().filter(|mac| seats.of(*mac).is_some());
        let there = there.map(|mac| InterfaceSeen { mac, attached: true }).collect();
        self.shared.note(&self.id, self.run, |record| {
            (record.interfaces, record.free_interface_ports) = (Some(there), seats.free());
        });
    }

    /// Whether the guest has an interface (`None`: it is gone), and what is free now: told at once, so that a place that
    /// became free is never missed.
    async fn note_interface(&self, mac: Mac, now: Option<bool>, qmp: &mut Qmp) {
        let free = interfaces::look(qmp).await.map(|seats| seats.free());
        self.shared.note(&self.id, self.run, |record| {
            record.note_interface(mac, now);
            record.free_interface_ports = free.unwrap_or(record.free_interface_ports);
        });
    }

    /// Size, and whether the guest has it; `None`: it is gone.
    fn note_disk(&self, volume: &VolumeId, now: Option<(u32, bool)>) {
        self.shared.note(&self.id, self.run, |record| {
            let at = record.disks.iter().position(|disk| disk.volume == *volume);
            let (limits, failed) = at.map_or((None, false), |at| (record.disks[at].limits, record.disks[at].failed));
            let volume = volume.clone();
            let seen = now.map(|(size_gib, attached)| DiskSeen { volume, size_gib, attached, limits, failed });
            match (at, seen) {
                (Some(at), Some(seen)) => record.disks[at] = seen,
                (None, Some(seen)) => record.disks.push(seen),
                (Some(at), None) => {
                    let gone = record.disks.remove(at);
                    record.files.remove(&gone.volume);
                }
                (None, None) => {}
            }
        });
    }

    fn mark_leaving(&self, volume: &VolumeId) {
        self.shared.note(&self.id, self.run, |record| {
            record.disks.iter_mut().filter(|disk| disk.volume == *volume).for_each(|disk| disk.attached = false);
        });
    }

    async fn note_ports(&self, qmp: &mut Qmp) {
        if let Ok(seats) = disks::look(qmp).await {
            self.shared.note(&self.id, self.run, |record| record.free_ports = seats.free_ports);
        }
    }

    async fn obey_reset(&mut self, qmp: Option<&mut Qmp>) {
        match qmp {
            Some(qmp) => self.reset = qmp.execute("system_reset").await.is_err(),
            None => self.reset = true,
        }
    }

    async fn press(&mut self, qmp: Option<&mut Qmp>) {
        if let Some(qmp) = qmp {
            let _ = qmp.execute("system_powerdown").await;
        }
        self.press = Some(Instant::now() + PRESS_AGAIN);
    }

    /// First QEMU is told to end, then it is ended.
    async fn out_of_patience(&mut self, pidfd: &OwnedFd, qmp: Option<&mut Qmp>) {
        if self.press.is_some() && qmp.is_some() {
            self.quit(qmp).await;
        } else {
            kill(pidfd);
            self.deadline = Some(Instant::now() + QUIT_WITHIN);
        }
    }

    async fn buried(self, child: Option<Child>) {
        let mut how = String::from("the hypervisor ended");
        if let Some(mut child) = child
            && let Ok(status) = child.wait().await
        {
            how = format!("the hypervisor ended: {status}{}", last_words(&self.folder));
        }
        self.shared.note(&self.id, self.run, |record| {
            let exit = self.exit.unwrap_or(if record.begun { Exit::Crashed(how) } else { Exit::Failed(how) });
            tracing::info!(instance = %record.id, run = record.run, ?exit, "the machine is over");
            record.exit = Some(exit);
        });
    }
}

fn last_words(folder: &std::path::Path) -> String {
    let said = std::fs::read(folder.join(COMPLAINTS)).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().last().map(|line| format!(": {}", line.chars().take(200).collect::<String>())).unwrap_or_default()
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(24 * 60 * 60)
}

/// Tries until QEMU listens. That it never does is noticed by its end, or by whoever runs out of patience.
async fn connect(socket: PathBuf) -> (Qmp, String) {
    loop {
        match Qmp::connect(&socket).await {
            Ok(connected) => return connected,
            Err(_) => tokio::time::sleep(CONNECT_AGAIN).await,
        }
    }
}

async fn next(qmp: &mut Option<Qmp>) -> Event {
    match qmp {
        Some(qmp) => qmp.event().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::super::record::Records;
    use super::super::{Shared, Vm};
    use super::*;
    use crate::process::{Process, pidfd};

    const WITHIN: Duration = Duration::from_secs(30);

    /// Speaks as QEMU does to whoever comes first, and knows nothing.
    fn speak(socket: &Path) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(socket).expect("listens");
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("somebody comes");
            let mut lines = BufReader::new(stream);
            lines.get_mut().write_all(b"{\"QMP\": {}}\n").expect("says hello");
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                let told: serde_json::Value = serde_json::from_str(&line).expect("is JSON");
                let answer = serde_json::json!({"return": {}, "id": told["id"]});
                if writeln!(lines.get_mut(), "{answer}").is_err() {
                    break;
                }
                line.clear();
            }
        })
    }

    fn runtime() -> tokio::runtime::Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime")
    }

    fn one(process: Option<Process>) -> Record {
        Record { process, ..Record::blank("i-00000000000000001".parse().expect("an id"), 1, 1) }
    }

    fn shared(folder: &Path) -> Arc<Shared> {
        let records = Records::open(folder.join("vms")).expect("opens");
        let (ended, _) = tokio::sync::watch::channel(0);
        Arc::new(Shared { records, vms: std::sync::Mutex::default(), changed: Arc::default(), ended })
    }

    #[test]
    fn what_is_seen_of_a_machine_is_on_disk_before_it_is_told() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (shared, record) = (shared(folder.path()), one(None));
        shared.vms().insert(record.id.clone(), Vm::new(record.clone()).0);
        // A disk that takes its time: the file is a pipe, and smaller than what is written.
        let disk = folder.path().join("vms").join(format!("{}.new", record.id));
        nix::unistd::mkfifo(&disk, nix::sys::stat::Mode::S_IRWXU).expect("makes");
        let why = Exit::Failed("x".repeat(1 << 20));
        let told = || shared.vms()[&record.id].record.exit.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| shared.note(&record.id, 1, |record| record.exit = Some(why.clone())));
            let mut disk = std::fs::File::open(&disk).expect("opens");
            disk.read_exact(&mut [0]).expect("the writing has begun");
            let before = told();
            disk.read_to_end(&mut Vec::new()).expect("reads");
            assert_eq!(before, None);
        });
        assert_eq!(told(), Some(why));
    }

    #[test]
    fn that_this_program_ends_while_it_notes_something_is_not_the_end_of_a_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut machine = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        let pid = i32::try_from(machine.id()).expect("a pid");
        let (shared, record) = (shared(folder.path()), one(Process::of(pid)));
        let (vm, inbox) = Vm::new(record.clone());
        let (orders, pen) = (vm.orders.clone(), vm.pen.clone());
        shared.vms().insert(record.id.clone(), vm);
        let speaker = speak(&folder.path().join(QMP_SOCKET));
        let life = runtime();
        // It notes that the machine runs, and is held up while the program ends.
        let held = pen.lock().expect("nobody panicked");
        let supervisor = Supervisor::new(shared.clone(), &record, folder.path().to_owned(), WITHIN);
        life.block_on(async { supervisor.spawn(pidfd(pid).expect("lives"), None, inbox) }).expect("watches");
        let waits = std::time::Instant::now();
        while Arc::strong_count(&pen) < 3 && waits.elapsed() < WITHIN {
            std::thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&pen), 3, "the table, this test, and who waits");
        life.shutdown_timeout(Duration::from_millis(50));
        drop(held);
        let left = runtime().block_on(async { tokio::time::timeout(WITHIN, orders.closed()).await });
        machine.kill().and_then(|()| machine.wait()).expect("ends");
        left.expect("nobody watches any more");
        speaker.join().expect("was left alone");
        let noted = shared.records.all().expect("reads");
        assert_eq!(noted.iter().map(|r| (r.begun, r.exit.clone())).collect::<Vec<_>>(), [(true, None)]);
    }
}
