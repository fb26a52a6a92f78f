//! Watches one machine from its first moment, or from its adoption, to its end.

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::id::InstanceId;
use awan_model::instance::Exit;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::qmp::{Event, Qmp};
use super::record::Record;
use crate::driver::Stop;

/// A guest that is still booting does not hear the power button: it is pressed again and again.
const PRESS_AGAIN: Duration = Duration::from_secs(2);
/// From `quit` until the process is killed.
const QUIT_WITHIN: Duration = Duration::from_secs(3);
const CONNECT_AGAIN: Duration = Duration::from_millis(15);

#[derive(Debug, Clone, Copy)]
pub enum Order {
    Stop(Stop),
    Reset,
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
}

/// Ends a process for good.
pub fn kill(pid: i32) {
    if let Ok(fd) = pidfd(pid) {
        signal(&fd);
    }
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    #[expect(unsafe_code, reason = "a system call without a safe form")]
    // SAFETY: the call takes plain numbers; the descriptor it returns is new and ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).with_context(|| format!("process {pid} is gone"))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn watched(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "tokio asks for the promise that the descriptor stays open")]
    // SAFETY: the registration owns the descriptor; nobody else closes it.
    unsafe {
        AsyncFd::register(fd).context("watching a process")
    }
}

fn signal(pidfd: &OwnedFd) {
    use std::os::fd::AsRawFd as _;
    #[expect(unsafe_code, reason = "a system call without a safe form")]
    // SAFETY: the descriptor lives, and no information is passed.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        );
    }
}

impl Supervisor {
    pub fn new(shared: Arc<Shared>, record: &Record, folder: PathBuf, grace: Duration) -> Self {
        let (id, run) = (record.id.clone(), record.run);
        Self { shared, id, run, folder, grace, exit: None, deadline: None, press: None }
    }

    /// `child`: the process is this program's own and must be buried.
    pub fn spawn(self, pid: i32, child: Option<Child>, orders: mpsc::Receiver<Order>) -> Result<()> {
        let pidfd = match pidfd(pid).and_then(watched) {
            Ok(fd) => fd,
            Err(e) => {
                self.shared.note(&self.id, self.run, |vm| vm.record.exit = Some(Exit::Crashed(format!("{e:#}"))));
                return Ok(());
            }
        };
        tokio::spawn(self.watch(pidfd, child, orders));
        Ok(())
    }

    async fn watch(mut self, pidfd: AsyncFd<OwnedFd>, child: Option<Child>, mut orders: mpsc::Receiver<Order>) {
        let mut qmp: Option<Qmp> = None;
        loop {
            let patience = self.deadline.unwrap_or_else(far);
            let press = self.press.unwrap_or_else(far);
            tokio::select! {
                _ = pidfd.readable() => break,
                order = orders.recv(), if !orders.is_closed() => if let Some(order) = order { self.obey(order, qmp.as_mut()).await },
                connected = connect(self.folder.join("qmp.sock")), if qmp.is_none() => {
                    let (connection, status) = connected;
                    qmp = Some(connection);
                    self.connected(&status, qmp.as_mut()).await;
                }
                event = next(&mut qmp) => match event {
                    Event::Shutdown { guest } => self.shut_down(guest, qmp.as_mut()).await,
                    Event::Gone => qmp = None,
                    Event::Other => {}
                },
                () = tokio::time::sleep_until(press) => self.press(qmp.as_mut()).await,
                () = tokio::time::sleep_until(patience) => self.out_of_patience(pidfd.get_ref(), qmp.as_mut()).await,
            }
        }
        self.buried(child).await;
    }

    async fn connected(&mut self, status: &str, qmp: Option<&mut Qmp>) {
        if status == "shutdown" {
            // The guest powered off while nobody listened.
            self.shut_down(true, qmp).await;
        } else {
            self.shared.note(&self.id, self.run, |vm| vm.running = true);
        }
    }

    async fn shut_down(&mut self, guest: bool, qmp: Option<&mut Qmp>) {
        // What was asked for stays asked for, though the guest pulls the lever.
        self.exit.get_or_insert(if guest { Exit::Guest } else { Exit::Asked });
        self.quit(qmp).await;
    }

    async fn quit(&mut self, qmp: Option<&mut Qmp>) {
        if let Some(qmp) = qmp {
            let _ = qmp.execute("quit").await;
        }
        self.press = None;
        self.deadline = Some(Instant::now() + QUIT_WITHIN);
    }

    async fn obey(&mut self, order: Order, qmp: Option<&mut Qmp>) {
        match order {
            Order::Reset => {
                if let Some(qmp) = qmp {
                    let _ = qmp.execute("system_reset").await;
                }
            }
            Order::Stop(Stop::Force) => {
                self.exit = Some(Exit::Asked);
                self.quit(qmp).await;
            }
            Order::Stop(Stop::Graceful) if self.deadline.is_none() => {
                self.exit = Some(Exit::Asked);
                self.deadline = Some(Instant::now() + self.grace);
                self.press(qmp).await;
            }
            Order::Stop(Stop::Graceful) => {}
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
            signal(pidfd);
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
        let exit = self.exit.unwrap_or(Exit::Crashed(how));
        tracing::info!(instance = %self.id, run = self.run, ?exit, "the machine is over");
        self.shared.note(&self.id, self.run, |vm| {
            vm.record.exit = Some(exit);
            vm.running = false;
        });
    }
}

fn last_words(folder: &std::path::Path) -> String {
    let said = std::fs::read(folder.join("qemu.log")).unwrap_or_default();
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
