//! A host in this process: its drivers, its agent, and the way to the control plane.

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use awan_control::Control;
use awan_host::agent::{About, Agent, Drivers};
use awan_host::export::Exports;
use awan_host::hypervisor::probe::{self, Accelerator};
use awan_host::hypervisor::qemu::{QemuConfig, QemuHypervisor};
use awan_host::hypervisor::simulated::SimulatedHypervisor;
use awan_host::import::Contents;
use awan_host::import::jail::Jail;
use awan_host::keys::MasterKeys;
use awan_host::link::{self, Peer};
use awan_host::network::driver::{NetworkConfig, NetworkDriver};
use awan_host::network::simulated::SimulatedNetwork;
use awan_host::service::endpoint::Api;
use awan_host::service::{GuestServices, ServiceConfig, dns};
use awan_host::volume::qcow2::{CONTENTS, FileVolumes};
use awan_host::volume::simulated::SimulatedVolumes;
use awan_model::host::Capacity;
use awan_model::id::HostId;

use crate::config::{Config, Hypervisor};
use crate::join::{self, FetchingVolumes};
use crate::lock::{self, Held};
use crate::serve::{must_be_root, write_secret};

pub struct Started {
    pub host: HostId,
    pub accelerator: String,
    pub peer: Peer,
}

/// Starts a host. It does nothing until a plan comes. `api`: where VPC endpoints lead. `images_from`: who has the
/// images that it lacks.
pub async fn start(
    config: &Config,
    name: &str,
    keys: MasterKeys,
    api: Arc<dyn Api>,
    images_from: Option<join::Control>,
) -> Result<Started> {
    let host = HostId::new(name).with_context(|| format!("'{name}' is no name for a host"))?;
    let (link, peer) = link::pair();
    let held = match config.hypervisor {
        Hypervisor::Simulated => Vec::new(),
        Hypervisor::Real(_) => {
            must_be_root()?;
            take_guests(&run_dir(&tag(&config.data_dir)?)).await?
        }
    };
    let (about, mut drivers) = match config.hypervisor {
        Hypervisor::Simulated => simulated(config, &host, keys)?,
        Hypervisor::Real(wanted) => real(config, &host, wanted, keys, api).await?,
    };
    if let (Some(control), Hypervisor::Real(_)) = (images_from, config.hypervisor) {
        drivers.volumes =
            FetchingVolumes::new(drivers.volumes, control, config.images_dir.clone(), config.data_dir.join(CONTENTS))?;
    }
    let accelerator = about.accelerator.clone();
    let agent = Agent::new(about, drivers, link);
    tokio::spawn(async move {
        let _held = held;
        agent.run().await;
    });
    Ok(Started { host, accelerator, peer })
}

/// Room enough that only tests which want it run out.
const SIMULATED: Capacity = Capacity { vcpus: 10_000_000, memory_mib: 100_000_000_000, disk_gib: 100_000_000_000 };

fn simulated(config: &Config, host: &HostId, keys: MasterKeys) -> Result<(About, Drivers)> {
    let network = SimulatedNetwork::new();
    network.record_flows(config.data_dir.join(FLOW_LOGS).join(host.as_str()));
    let drivers = Drivers {
        hypervisor: SimulatedHypervisor::new(config.sim_boot),
        volumes: SimulatedVolumes::new(),
        network,
        // Of disks from elsewhere there are bytes even here, so that what is wrong with them is told.
        contents: Contents::open(
            config.data_dir.join(CONTENTS).join(host.as_str()),
            config.import.clone(),
            Some(jail(config, nix::unistd::geteuid().is_root().then_some(NOBODY))?),
            keys,
        )?,
        exports: Exports::new(host.clone(), config.export_dir.clone(), &config.data_dir),
    };
    let about = About {
        host: host.clone(),
        zone: config.host_zone.clone(),
        region: "*".into(),
        capacity: SIMULATED,
        accelerator: "simulated".into(),
        note: "no guest runs".into(),
        address: String::new(),
        allegiance: None,
        launches: 1_000,
    };
    Ok((about, drivers))
}

async fn real(
    config: &Config,
    host: &HostId,
    wanted: probe::Wanted,
    keys: MasterKeys,
    api: Arc<dyn Api>,
) -> Result<(About, Drivers)> {
    let accelerator = probe::probe(wanted).await?;
    match accelerator.name {
        "kvm" => tracing::info!(cpu = accelerator.cpu, "guests run under KVM"),
        _ => tracing::warn!(
            why = accelerator.note,
            "guests run in software emulation (TCG), which is slow: KVM cannot run a guest here"
        ),
    }
    let tag = tag(&config.data_dir)?;
    let images = config.images_dir.clone();
    let users = users(config, &tag, &accelerator);
    // Machines take the first of them that are free.
    let jail = jail(config, users.as_ref().and_then(|users| users.clone().last()))?;
    let hypervisor = QemuHypervisor::open(QemuConfig {
        run_dir: run_dir(&tag),
        data_dir: config.data_dir.clone(),
        images: images.clone(),
        users,
        tag: tag.clone(),
        accelerator: accelerator.clone(),
        grace: config.shutdown_grace,
    })?;
    let services = GuestServices::new(ServiceConfig {
        secret: config.data_dir.join("metadata-secret"),
        resolvers: config.rootless.as_ref().map_or_else(dns::host_resolvers, |inside| inside.resolvers.clone()),
        api,
        runtime: tokio::runtime::Handle::current(),
    })?;
    let outside = config.rootless.as_ref().map(|inside| inside.outside.clone());
    let network = NetworkDriver::new(NetworkConfig { tag, uplink: config.uplink.clone(), outside }, services)?;
    network.record_flows(config.data_dir.join(FLOW_LOGS));
    let volumes = FileVolumes::with_keys(config.data_dir.join("volumes"), images, keys.clone())?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let about = About {
        host: host.clone(),
        zone: config.host_zone.clone(),
        region: "*".into(),
        capacity: capacity(config, cores)?,
        accelerator: accelerator.name.into(),
        note: accelerator.note,
        address: String::new(),
        allegiance: Some(config.data_dir.join("follows")),
        launches: cores * 2,
    };
    let contents = Contents::open(config.data_dir.join(CONTENTS), config.import.clone(), Some(jail), keys)?;
    let exports = Exports::new(host.clone(), config.export_dir.clone(), &config.data_dir);
    Ok((about, Drivers { hypervisor, volumes, network, contents, exports }))
}

/// Has no files, and nothing to do with instances.
const NOBODY: u32 = 65_534;

/// This program as it is, though another may lie in its place by now. Where it may, it sees an empty folder and no more.
fn jail(config: &Config, user: Option<u32>) -> Result<Jail> {
    let folder = config.data_dir.join("empty");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(Jail { program: "/proc/self/exe".into(), user, folder })
}

/// In the data directory: what flow logs tell.
const FLOW_LOGS: &str = "flow-logs";

/// Six hexadecimal digits that tell this installation from others on the machine. Made only where there are none: with
/// others it would not know its guests, and start them a second time.
pub fn tag(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("tag");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let tag = text.trim();
            if tag.len() != 6 || !tag.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                bail!("{} holds no tag: six hexadecimal digits, as in /run/awan-…", path.display());
            }
            Ok(tag.to_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
            write_secret(&path, &tag)?;
            Ok(tag)
        }
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

/// Short, because paths of sockets must be.
pub fn run_dir(tag: &str) -> std::path::PathBuf {
    Path::new("/run").join(format!("awan-{tag}"))
}

/// A copy of a data directory has the same tag and locks of its own: without this it would take over, or purge, the guests
/// of the first.
pub async fn take_guests(run_dir: &Path) -> Result<Vec<Held>> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(run_dir);
    made.with_context(|| format!("making {}", run_dir.display()))?;
    lock::take(run_dir, &[lock::GUESTS]).await
}

/// How many user ids an installation has for machines.
pub const USERS: u32 = 10_000;

/// A range of user ids far above those of people and services.
pub fn users_of_root(tag: &str) -> Range<u32> {
    let base = 1_000_000_000 + (u32::from_str_radix(tag, 16).unwrap_or(0) & 0xffff) * USERS;
    base..base + USERS
}

fn users(config: &Config, tag: &str, accelerator: &Accelerator) -> Option<Range<u32>> {
    let Some(inside) = &config.rootless else { return Some(users_of_root(tag)) };
    let kvm = || std::fs::metadata("/dev/kvm").is_ok_and(|about| about.mode() & 0o006 == 0o006);
    if accelerator.name == "kvm" && inside.users.is_some() && !kvm() {
        tracing::warn!("not everybody may open /dev/kvm: guests run as your user, who may");
        return None;
    }
    inside.users.clone()
}

fn capacity(config: &Config, cores: usize) -> Result<Capacity> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let kib = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    let total_mib = kib.context("reading /proc/meminfo")? / 1024;
    let disk = nix::sys::statvfs::statvfs(&config.data_dir).context("asking how large the disk is")?;
    let disk_gib = disk.blocks().saturating_mul(disk.fragment_size()) >> 30;
    Ok(Capacity {
        vcpus: u32::try_from(cores).unwrap_or(1).saturating_mul(config.cpu_overcommit),
        // The host and its file cache keep an eighth.
        memory_mib: total_mib - total_mib / 8,
        // Volumes are sparse; what guests write is a small part of what they ask for.
        disk_gib: disk_gib * 4,
    })
}

/// Moves messages between a host in this process and the control plane in this process.
pub async fn attach(control: Arc<Control>, host: HostId, peer: Peer) {
    let mut connection = control.hosts.connect(&host);
    let Peer { plans, asks, mut reports } = peer;
    let down = async {
        while connection.plans.changed().await.is_ok() {
            plans.send_replace(connection.plans.borrow_and_update().clone());
        }
    };
    let questions = async {
        while let Some(question) = connection.asks.recv().await {
            if asks.send(question).await.is_err() {
                return;
            }
        }
    };
    let up = async {
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            if let Some(report) = report
                && let Err(e) = control.hosts.report(&control.db, (*report).clone()).await
            {
                tracing::error!(%host, error = %e, "a report was not taken in; the next one is tried");
            }
        }
    };
    tokio::join!(down, questions, up);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_made_once_and_never_guessed() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = tag(folder.path()).expect("makes");
        assert_eq!(tag(folder.path()).expect("reads"), made);
        std::fs::write(folder.path().join("tag"), "").expect("writes");
        tag(folder.path()).expect_err("a power failure took it");
        std::fs::remove_file(folder.path().join("tag")).expect("removes");
        std::fs::create_dir(folder.path().join("tag")).expect("makes");
        tag(folder.path()).expect_err("it cannot be read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_of_a_data_directory_does_not_get_the_guests_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("awan-012345");
        let first = take_guests(&place).await.expect("takes");
        take_guests(&place).await.expect_err("has the first's tag");
        drop(first);
        take_guests(&place).await.expect("is free again");
    }
}
