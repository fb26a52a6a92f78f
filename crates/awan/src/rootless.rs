//! `awan serve` of an ordinary user: the same data plane, inside namespaces of the user's own.
//!
//! ```text
//!      the machine          ┊        user, network and mount namespace, kept by `awan hold`
//!   its network ─── pasta ─── way out ────┐
//!   API, admin.sock ── awan serve         ├── aw<tag> ═ edge ═ VPCs ═ guests
//!   connect.sock ───── awan serve ────────┘
//! ```
//!
//! **Invariants.** The namespaces outlive the server, as guests do: `awan hold` and pasta keep them, a file in the data
//! directory names both, and `awan purge` ends them. What must be the machine's is done before they are entered, while the
//! program has one thread: sockets that are open by then stay the machine's. Nothing is forwarded into the namespaces,
//! and out of them nothing reaches the machine itself.

mod holder;
mod pasta;
mod users;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use awan_host::hypervisor::qemu;
use awan_host::network::outside::Outside;
use awan_host::process::Process;
use awan_host::service::dns;
use serde::{Deserialize, Serialize};

pub use self::holder::hold;
use crate::{node, serve};

const RECORD: &str = "rootless.json";
const END_WITHIN_MS: u16 = 10_000;

/// What keeps the namespaces of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    holder: Process,
    /// First and number of the machine's user ids that guests have in there.
    further: Option<(u32, u32)>,
    pasta: Option<Process>,
}

/// What the server needs to know of where it is.
#[derive(Debug, Clone)]
pub struct Inside {
    pub outside: Outside,
    /// User ids that guests may have here, each one of its own.
    pub users: Option<Range<u32>>,
    /// Where names are asked for.
    pub resolvers: Vec<SocketAddr>,
}

impl Record {
    fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = data_dir.join(RECORD);
        match std::fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| format!("reading {}", path.display()))?))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }

    fn write(&self, data_dir: &Path) -> Result<()> {
        serve::write_secret(&data_dir.join(RECORD), &serde_json::to_string(self)?)
    }

    fn end(&self) -> Result<()> {
        for process in self.pasta.iter().chain([&self.holder]) {
            if !process.end(END_WITHIN_MS) {
                bail!("process {} does not end", process.pid);
            }
        }
        Ok(())
    }
}

pub fn is_ordinary_user() -> bool {
    !nix::unistd::Uid::effective().is_root()
}

/// Whether this data directory has namespaces, or had some.
pub fn was_here(data_dir: &Path) -> bool {
    data_dir.join(RECORD).exists()
}

/// The superuser's networks and a user's are not the same: guests of the one would be the other's without theirs.
pub fn must_not_be_here(data_dir: &Path) -> Result<()> {
    match Record::read(data_dir)? {
        Some(record) if record.holder.is_alive() => bail!(
            "{} is served in namespaces of an ordinary user, kept by process {}: go on as that user, or end them as that \
             user with `awan purge --keep-data`",
            data_dir.display(),
            record.holder.pid
        ),
        _ => Ok(()),
    }
}

/// What this machine must have, before anything is made.
pub fn must_be_able(folders: &[&Path]) -> Result<()> {
    const PROGRAMS: [(&str, &str); 6] = [
        ("pasta", "passt"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("conntrack", "conntrack"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
    ];
    let missing: Vec<&str> = PROGRAMS.iter().filter(|(name, _)| !is_there(name)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        bail!("programs are missing, of the packages {0}: sudo apt-get install {0}", missing.join(" "));
    }
    let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun");
    tun.context(
        "opening /dev/net/tun, without which guests have no network: sudo modprobe tun; sudo chmod 666 /dev/net/tun",
    )?;
    for folder in folders {
        let place = std::fs::canonicalize(folder).with_context(|| format!("finding {}", folder.display()))?;
        if place.starts_with("/run") {
            bail!(
                "{} is below /run, which an ordinary user's server has as one of its own: choose another",
                place.display()
            );
        }
    }
    Ok(())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Ordinary users of Debian have no folders with administrators' programs in their PATH.
pub fn find_programs() {
    let mut folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    if let Ok(path) = std::env::join_paths(folders) {
        #[expect(unsafe_code, reason = "the environment of a program with one thread")]
        // SAFETY: called before there is another thread.
        unsafe {
            std::env::set_var("PATH", path);
        }
    }
}

/// Enters the namespaces of a data directory; makes them, where there are none. And a way out, where one is wanted.
pub fn enter(data_dir: &Path, way_out: bool) -> Result<Inside> {
    let (outside, mut resolvers) = (Outside::here()?, dns::host_resolvers());
    let mut record = match Record::read(data_dir)? {
        Some(old) if old.holder.is_alive() => old,
        old => {
            if let Some(old) = old {
                abandon(data_dir, &old)?;
            }
            let (holder, further) = holder::start(data_dir)?;
            Record { holder, further, pasta: None }
        }
    };
    record.write(data_dir)?;
    if way_out && !record.pasta.as_ref().is_some_and(Process::is_alive) {
        record.pasta = pasta::start(record.holder.pid, data_dir)?;
        record.write(data_dir)?;
    }
    if record.pasta.is_none() {
        resolvers.clear();
    }
    holder::enter(&record.holder)?;
    let users = users::here();
    tracing::info!(
        holder = record.holder.pid,
        pasta = record.pasta.as_ref().map(|pasta| pasta.pid),
        users = users.as_ref().map_or(1, ExactSizeIterator::len),
        "an ordinary user's server, in namespaces of its own"
    );
    Ok(Inside { outside, users, resolvers: pasta::resolvers(&resolvers) })
}

/// What is left of namespaces whose holder is gone: guests without networks, and a way out for nobody. Only from outside
/// may they be ended, when they are users of namespaces that nobody else is in.
fn abandon(data_dir: &Path, old: &Record) -> Result<()> {
    if let Some(pasta) = &old.pasta {
        pasta.end(END_WITHIN_MS);
    }
    if data_dir.join("tag").exists() {
        let (tag, own) = (node::tag(data_dir)?, nix::unistd::Uid::effective().as_raw());
        for (first, count) in old.further.into_iter().chain([(own, 1)]) {
            qemu::abandon(&tag, &(first..first.saturating_add(count)));
        }
    }
    Ok(())
}

/// Ends what keeps the namespaces. Called inside, when nothing in them is left.
pub fn leave(data_dir: &Path) -> Result<()> {
    if let Some(record) = Record::read(data_dir)? {
        record.end().context("ending what keeps the namespaces")?;
        std::fs::remove_file(data_dir.join(RECORD))?;
    }
    Ok(())
}
