//! Disks that come and go while a guest runs: what QEMU is told, and what it has. Source: QEMU, docs/system/device-emulation
//! and the reference of QMP.
//!
//! **Invariants.** QEMU's own list is the truth: each step looks at it or leaves it so that it can be done again. A file
//! is open only as long as its node is, or until the descriptors that belong to it are taken back.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use awan_model::id::VolumeId;
use serde_json::{Value, json};

use super::args;
use super::qmp::Qmp;
use crate::driver::BlockDevice;

const GIB: u64 = 1 << 30;
/// What a disk that was taken away without its guest's consent shows instead: nothing.
const NOTHING_BYTES: u64 = GIB;

/// A volume as QEMU is to get it.
#[derive(Debug)]
pub struct Opened {
    pub volume: VolumeId,
    pub size_gib: u32,
    disk: OwnedFd,
    backing: Option<OwnedFd>,
}

pub fn open(device: &BlockDevice) -> Result<Opened> {
    let file = File::options().read(true).write(true).open(&device.path);
    let disk = file.with_context(|| format!("opening {}", device.path.display()))?.into();
    let below = |path: &std::path::PathBuf| File::open(path).with_context(|| format!("opening {}", path.display()));
    let backing = device.backing.first().map(below).transpose()?.map(Into::into);
    Ok(Opened { volume: device.volume.clone(), size_gib: device.size_gib, disk, backing })
}

/// What a machine has beside its root.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// Volumes whose device the guest has, and whether their bytes are behind it still.
    pub disks: Vec<(VolumeId, bool)>,
    pub ports: Vec<String>,
    pub free_ports: u32,
}

pub async fn look(qmp: &mut Qmp) -> Result<Seats> {
    let listed = qmp.ask("qom-list", json!({"path": "/machine/peripheral"}), None).await?;
    let named = |entry: &Value| Some((entry["name"].as_str()?.to_owned(), entry["type"].as_str()?.to_owned()));
    let all: Vec<_> = listed.as_array().into_iter().flatten().filter_map(named).collect();
    let mut seats = Seats::default();
    for (name, kind) in &all {
        if kind == "child<pcie-root-port>" {
            seats.ports.extend(Some(name.clone()).filter(|port| !args::is_interface_port(port)));
        } else if let Ok(volume) = name.parse::<VolumeId>() {
            let path = json!({"path": format!("/machine/peripheral/{name}"), "property": "drive"});
            let drive = qmp.ask("qom-get", path, None).await.unwrap_or_default();
            let whole = drive.as_str() == Some(&args::node(&volume));
            seats.disks.push((volume, whole));
        }
    }
    seats.ports.sort();
    seats.free_ports = u32::try_from(seats.ports.len().saturating_sub(seats.disks.len())).unwrap_or_default();
    Ok(seats)
}

/// Returns when the device is in the machine. What is there already is fine.
pub async fn attach(qmp: &mut Qmp, opened: &Opened) -> Result<()> {
    let (seats, volume) = (look(qmp).await?, &opened.volume);
    match seats.disks.iter().find(|(id, _)| id == volume) {
        Some((_, true)) => return Ok(()),
        Some((_, false)) => bail!("the guest has not let go of what was taken away from it before"),
        None => close(qmp, volume).await,
    }
    let added = add(qmp, opened, &seats.ports).await;
    if added.is_err() {
        close(qmp, volume).await;
    }
    added
}

async fn add(qmp: &mut Qmp, opened: &Opened, ports: &[String]) -> Result<()> {
    let node = args::node(&opened.volume);
    let set = give(qmp, &node, &opened.disk).await?;
    let backing = match &opened.backing {
        Some(file) => Some(give(qmp, &node, file).await?),
        None => None,
    };
    qmp.ask("blockdev-add", args::block(&node, set, backing), None).await?;
    let mut refused = None;
    // Which ports are free is not asked.
    for port in ports {
        match qmp.ask("device_add", args::seat(&opened.volume, &node, port), None).await {
            Ok(_) => return Ok(()),
            Err(e) => refused = Some(e),
        }
    }
    Err(refused.unwrap_or_else(|| anyhow::anyhow!("the machine has no ports")))
}

/// Hands QEMU a descriptor; returns the set that it is in.
async fn give(qmp: &mut Qmp, node: &str, file: &OwnedFd) -> Result<u64> {
    let given = qmp.ask("add-fd", json!({"opaque": node}), Some(file.as_fd())).await?;
    given["fdset-id"].as_u64().context("QEMU names no set")
}

/// Asks the guest to let go of a device; an event tells when it has. True: there is none.
pub async fn ask_for(qmp: &mut Qmp, volume: &VolumeId) -> Result<bool> {
    let asked = qmp.ask("device_del", json!({"id": args::device(volume)}), None).await;
    match asked.map_err(|e| e.to_string()) {
        Ok(_) => Ok(false),
        // A guest that is still beginning moves its slots about, and is asked again later.
        Err(why) if why.contains("already in the process of unplug") || why.contains("guest is busy") => Ok(false),
        Err(why) if why.contains("not found") => Ok(true),
        Err(why) => bail!("{why}"),
    }
}

/// Puts nothing behind a device, so that its bytes are free although the guest keeps the device.
pub async fn yank(qmp: &mut Qmp, volume: &VolumeId) -> Result<()> {
    let nothing = nothing(volume);
    let new = json!({"driver": "null-co", "node-name": nothing, "size": NOTHING_BYTES, "read-zeroes": true});
    // It may be there from an attempt before.
    let _ = qmp.ask("blockdev-add", new, None).await;
    let path = format!("/machine/peripheral/{}", args::device(volume));
    qmp.ask("qom-set", json!({"path": path, "property": "drive", "value": nothing}), None).await?;
    close(qmp, volume).await;
    Ok(())
}

fn nothing(volume: &VolumeId) -> String {
    format!("null-{}", volume.digits())
}

/// Closes what no device shows any more, as far as it is there.
pub async fn close(qmp: &mut Qmp, volume: &VolumeId) {
    let node = args::node(volume);
    for name in [&node, &nothing(volume)] {
        let _ = qmp.ask("blockdev-del", json!({"node-name": name}), None).await;
    }
    let sets = qmp.ask("query-fdsets", json!({}), None).await.unwrap_or_default();
    let own = |set: &&Value| set["fds"].as_array().into_iter().flatten().any(|fd| fd["opaque"] == *node);
    for set in sets.as_array().into_iter().flatten().filter(own) {
        let _ = qmp.ask("remove-fd", json!({"fdset-id": set["fdset-id"]}), None).await;
    }
}

pub async fn grow(qmp: &mut Qmp, node: &str, size_gib: u32) -> Result<()> {
    let size = u64::from(size_gib) * GIB;
    qmp.ask("block_resize", json!({"node-name": node, "size": size}), None).await.map(drop)
}
