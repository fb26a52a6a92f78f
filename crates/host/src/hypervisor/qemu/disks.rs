//! Disks that come and go while a guest runs: what QEMU is told, and what it has. Source: QEMU, docs/system/device-emulation
//! and the reference of QMP.
//!
//! **Invariants.** QEMU's own list is the truth: each step looks at it or leaves it so that it can be done again. A file
//! is open only as long as its node is, or until the descriptors that belong to it are taken back.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use awan_model::id::VolumeId;
use awan_model::volume::Limits;
use serde_json::{Value, json};

use super::args;
use super::qmp::Qmp;
use crate::driver::{BlockDevice, Fork, Shorter};
use crate::keys::Secrets;

const GIB: u64 = 1 << 30;
/// What a disk that was taken away without its guest's consent shows instead: nothing.
const NOTHING_BYTES: u64 = GIB;

/// A volume as QEMU is to get it.
#[derive(Debug)]
pub struct Opened {
    pub volume: VolumeId,
    pub size_gib: u32,
    pub limits: Limits,
    disk: OwnedFd,
    backing: Vec<OwnedFd>,
    secrets: Secrets,
}

pub fn open(device: &BlockDevice) -> Result<Opened> {
    let file = File::options().read(true).write(true).open(&device.path);
    let disk = file.with_context(|| format!("opening {}", device.path.display()))?.into();
    let below = |path: &std::path::PathBuf| File::open(path).with_context(|| format!("opening {}", path.display()));
    let backing = device.backing.iter().map(|path| below(path).map(Into::into)).collect::<Result<_>>()?;
    let secrets = Secrets::of(&device.keys);
    Ok(Opened {
        volume: device.volume.clone(),
        size_gib: device.size_gib,
        limits: device.limits,
        disk,
        backing,
        secrets,
    })
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
            let drive = drive(qmp, name).await.unwrap_or_default();
            let whole = args::generation(&args::node(&volume), &drive).is_some();
            seats.disks.push((volume, whole));
        }
    }
    seats.ports.sort();
    seats.free_ports = u32::try_from(seats.ports.len().saturating_sub(seats.disks.len())).unwrap_or_default();
    Ok(seats)
}

/// What is open behind a device.
async fn drive(qmp: &mut Qmp, device: &str) -> Result<String> {
    let path = json!({"path": format!("/machine/peripheral/{device}"), "property": "drive"});
    let drive = qmp.ask("qom-get", path, None).await?;
    Ok(drive.as_str().context("QEMU names no drive")?.to_owned())
}

/// Returns when the device is in the machine. What is there already is fine.
pub async fn attach(qmp: &mut Qmp, opened: &Opened) -> Result<()> {
    let (seats, volume) = (look(qmp).await?, &opened.volume);
    match seats.disks.iter().find(|(id, _)| id == volume) {
        Some((_, true)) => return Ok(()),
        Some((_, false)) => bail!("the guest has not let go of what was taken away from it before"),
        None => close(qmp, volume).await?,
    }
    let added = add(qmp, opened, &seats.ports).await;
    if added.is_err() {
        let _ = close(qmp, volume).await;
    }
    added
}

async fn add(qmp: &mut Qmp, opened: &Opened, ports: &[String]) -> Result<()> {
    let node = args::node(&opened.volume);
    let set = give(qmp, &node, &opened.disk).await?;
    let mut backing = Vec::new();
    for file in &opened.backing {
        backing.push(give(qmp, &args::below(&node), file).await?);
    }
    let block = args::block(&node, set, &backing, &opened.secrets);
    with_keys(qmp, &node, &opened.secrets, ("blockdev-add", block)).await?;
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

/// Has a command done that opens encrypted files. QEMU has their keys under names only meanwhile.
async fn with_keys(qmp: &mut Qmp, node: &str, secrets: &Secrets, (command, arguments): (&str, Value)) -> Result<()> {
    for (n, key) in secrets.keys.iter().enumerate() {
        let id = args::secret(node, n);
        // It may be there from an attempt before, or from the start.
        let _ = qmp.ask("object-del", json!({"id": id}), None).await;
        qmp.ask("object-add", json!({"qom-type": "secret", "id": id, "data": key.passphrase()}), None).await?;
    }
    let done = qmp.ask(command, arguments, None).await;
    for n in 0..secrets.keys.len() {
        qmp.ask("object-del", json!({"id": args::secret(node, n)}), None).await?;
    }
    done.map(drop)
}

/// How a disk's own file is opened, if it is encrypted.
fn encrypted(mut options: Value, node: &str, secrets: &Secrets) -> Value {
    let how = args::encryption(node, secrets, 0);
    if !how.is_null() {
        options["encrypt"] = how;
    }
    options
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
    close(qmp, volume).await
}

fn nothing(volume: &VolumeId) -> String {
    format!("null-{}", volume.digits())
}

/// Closes what no device shows any more, as far as it is there.
pub async fn close(qmp: &mut Qmp, volume: &VolumeId) -> Result<()> {
    let node = args::node(volume);
    close_but(qmp, &node, &[]).await?;
    let _ = qmp.ask("blockdev-del", json!({"node-name": nothing(volume)}), None).await;
    Ok(())
}

/// Closes the nodes of a disk, and their descriptors, as far as they are there, but for some.
async fn close_but(qmp: &mut Qmp, node: &str, but: &[&str]) -> Result<()> {
    let nodes = nodes(qmp).await?;
    let of_it = nodes.keys().filter(|name| is_of(node, name) && !but.contains(&name.as_str()));
    let mut open: Vec<_> = of_it.map(|name| (args::generation(node, name), name)).collect();
    // A child is closed before what it is a child of. Those that have no generation are below others only.
    open.sort_unstable_by_key(|(generation, _)| std::cmp::Reverse(*generation));
    for (_, name) in open {
        // What came with another goes with it.
        let _ = qmp.ask("blockdev-del", json!({"node-name": name}), None).await;
    }
    for (set, fds) in sets(qmp).await? {
        let of_it = fds.iter().any(|fd| is_of(node, &fd.name));
        if of_it && !fds.iter().any(|fd| but.contains(&fd.name.as_str())) {
            let _ = qmp.ask("remove-fd", json!({"fdset-id": set}), None).await;
        }
    }
    Ok(())
}

/// Whether a name is one of those that belong to a disk.
fn is_of(node: &str, name: &str) -> bool {
    name.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// In how many files a disk lies that is open.
pub async fn files(qmp: &mut Qmp, volume: &VolumeId, root: bool) -> Result<u32> {
    let node = args::node_of(volume, root);
    let sets = sets(qmp).await?;
    let of_it = sets.iter().filter(|(_, fds)| fds.iter().any(|fd| is_of(&node, &fd.name)));
    Ok(u32::try_from(of_it.count())?)
}

/// QEMU's name of a disk in the file of a generation; zero: as it was opened.
fn open_as(node: &str, generation: u32) -> String {
    if generation == 0 { node.to_owned() } else { args::forked(node, generation) }
}

pub async fn grow(qmp: &mut Qmp, volume: &VolumeId, root: bool, size_gib: u32) -> Result<()> {
    let node = drive(qmp, &args::device_of(volume, root)).await?;
    if args::generation(&args::node_of(volume, root), &node).is_none() {
        bail!("the volume has been taken away from its device");
    }
    let size = u64::from(size_gib) * GIB;
    qmp.ask("block_resize", json!({"node-name": node, "size": size}), None).await.map(drop)
}

pub async fn limit(qmp: &mut Qmp, volume: &VolumeId, root: bool, limits: Limits) -> Result<()> {
    qmp.ask("block_set_io_throttle", args::limits(&args::device_of(volume, root), &limits), None).await.map(drop)
}

/// A disk that is to go on in a new file.
#[derive(Debug)]
pub struct Forking {
    volume: VolumeId,
    generation: u32,
    old: OwnedFd,
    new: OwnedFd,
    secrets: Secrets,
}

pub fn open_fork(fork: &Fork) -> Result<Forking> {
    let old = File::open(&fork.old).with_context(|| format!("opening {}", fork.old.display()))?.into();
    let new = File::options().read(true).write(true).open(&fork.new);
    let new = new.with_context(|| format!("opening {}", fork.new.display()))?.into();
    let secrets = Secrets::of(std::slice::from_ref(&fork.key));
    Ok(Forking { volume: fork.volume.clone(), generation: fork.generation, old, new, secrets })
}

/// Has disks go on in new files, all at one moment. From then on the old ones are open for reading only. What was done
/// of it before is not done again.
pub async fn fork(qmp: &mut Qmp, root: Option<&VolumeId>, forks: &[Forking]) -> Result<()> {
    let is_root = |fork: &Forking| root == Some(&fork.volume);
    let (mut actions, mut added) = (Vec::new(), Vec::new());
    for fork in forks {
        let node = args::node_of(&fork.volume, is_root(fork));
        let open = drive(qmp, &args::device_of(&fork.volume, is_root(fork))).await?;
        let now = args::generation(&node, &open).context("the volume has been taken away from its device")?;
        if now >= fork.generation {
            continue;
        }
        let new = args::forked(&node, fork.generation);
        forget(qmp, &new).await;
        let set = give(qmp, &new, &fork.new).await?;
        let block = args::block(&new, set, &[], &fork.secrets);
        with_keys(qmp, &new, &fork.secrets, ("blockdev-add", block)).await?;
        actions.push(json!({"type": "blockdev-snapshot", "data": {"node": open, "overlay": new}}));
        added.push(new);
    }
    if !actions.is_empty()
        && let Err(e) = qmp.ask("transaction", json!({"actions": actions}), None).await
    {
        for new in added {
            forget(qmp, &new).await;
        }
        return Err(e);
    }
    for fork in forks {
        close_to_writing(qmp, &args::node_of(&fork.volume, is_root(fork)), fork).await?;
    }
    Ok(())
}

/// What is to be below a disk.
#[derive(Debug)]
pub struct Shortening {
    volume: VolumeId,
    generation: u32,
    backing: Vec<OwnedFd>,
    secrets: Secrets,
}

pub fn open_shorter(shorter: &Shorter) -> Result<Shortening> {
    let below = |path: &std::path::PathBuf| File::open(path).with_context(|| format!("opening {}", path.display()));
    let backing = shorter.backing.iter().map(|path| below(path).map(Into::into)).collect::<Result<_>>()?;
    let secrets = Secrets::of(&shorter.keys);
    Ok(Shortening { volume: shorter.volume.clone(), generation: shorter.generation, backing, secrets })
}

impl Shortening {
    pub fn volume(&self) -> &VolumeId {
        &self.volume
    }
}

/// Has a disk go on as a child of files that hold the same as those below it now, and closes these. Done again, it is
/// done anew: so what an attempt before left is closed too.
pub async fn shorten(qmp: &mut Qmp, root: bool, with: &Shortening) -> Result<()> {
    let node = args::node_of(&with.volume, root);
    let open = drive(qmp, &args::device_of(&with.volume, root)).await?;
    let now = args::generation(&node, &open).context("the volume has been taken away from its device")?;
    // What has been open since it was opened has gone on in no file since: its generation is that of the plan.
    if now != 0 && now != with.generation {
        bail!("the disk has gone on in another file");
    }
    let names = [args::below(&open), args::shorter(&open)];
    for name in &names {
        // One that is used stays.
        let _ = qmp.ask("blockdev-del", json!({"node-name": name}), None).await;
    }
    let nodes = nodes(qmp).await?;
    let free = names.iter().find(|name| !nodes.contains_key(*name)).context("the disk has two below it")?;
    forget(qmp, free).await;
    let mut sets = Vec::new();
    for file in &with.backing {
        sets.push(give(qmp, free, file).await?);
    }
    let mut chain = args::block(&node, 0, &sets, &with.secrets)["backing"].take();
    chain["node-name"] = free.as_str().into();
    with_keys(qmp, &node, &with.secrets, ("blockdev-add", chain)).await?;
    let options = json!({
        "driver": "qcow2", "node-name": open, "discard": "unmap", "file": args::file(&open), "backing": free,
    });
    let options = encrypted(options, &node, &with.secrets);
    if let Err(e) = with_keys(qmp, &node, &with.secrets, ("blockdev-reopen", json!({"options": [options]}))).await {
        forget(qmp, free).await;
        return Err(e);
    }
    close_but(qmp, &node, &[&open, &args::file(&open), free]).await
}

/// Closes a node that nothing uses, and its descriptors, as far as they are there.
async fn forget(qmp: &mut Qmp, node: &str) {
    let _ = qmp.ask("blockdev-del", json!({"node-name": node}), None).await;
    for (set, fds) in sets(qmp).await.unwrap_or_default() {
        if fds.iter().any(|fd| fd.name == node) {
            let _ = qmp.ask("remove-fd", json!({"fdset-id": set}), None).await;
        }
    }
}

/// The file that a disk went on from. Others may have it open from now on, and nobody can write to it.
async fn close_to_writing(qmp: &mut Qmp, node: &str, fork: &Forking) -> Result<()> {
    let nodes = nodes(qmp).await?;
    let mut before: Vec<u32> = nodes.keys().filter_map(|name| args::generation(node, name)).collect();
    before.retain(|generation| *generation < fork.generation);
    before.sort_unstable();
    let at = before.pop().context("QEMU does not know what the disk went on from")?;
    let old = open_as(node, at);
    let sets = sets(qmp).await?;
    let writing = sets.iter().find_map(|(set, fds)| Some((*set, fds.iter().find(|fd| fd.name == old)?.fd)));
    if nodes.get(&old).copied() != Some(true) {
        let (set, _) = writing.with_context(|| format!("QEMU has no descriptor of {old}"))?;
        let below = lower(node, at, before.pop(), &nodes)?;
        open_for_reading(qmp, (&old, below), set, fork).await?;
    }
    // As long as it is there, so is the lock of who writes.
    if let Some((set, fd)) = writing {
        qmp.ask("remove-fd", json!({"fdset-id": set, "fd": fd}), None).await?;
    }
    Ok(())
}

/// What a disk in the file of a generation is a child of, among the nodes that there are.
fn lower(node: &str, at: u32, before: Option<u32>, nodes: &BTreeMap<String, bool>) -> Result<Option<String>> {
    let open = open_as(node, at);
    let own = [args::below(&open), args::shorter(&open)].into_iter().find(|below| nodes.contains_key(below));
    match (at, before) {
        _ if own.is_some() => Ok(own),
        (0, _) => Ok(None),
        (_, Some(lower)) => Ok(Some(open_as(node, lower))),
        (_, None) => bail!("QEMU does not know what {node} in its generation {at} is a child of"),
    }
}

async fn open_for_reading(qmp: &mut Qmp, (old, below): (&str, Option<String>), set: u64, fork: &Forking) -> Result<()> {
    let reading = json!({"fdset-id": set, "opaque": args::below(old)});
    qmp.ask("add-fd", reading, Some(fork.old.as_fd())).await?;
    let options = json!({
        "driver": "qcow2", "node-name": old, "read-only": true, "discard": "unmap", "file": args::file(old),
        "backing": below,
    });
    let options = encrypted(options, old, &fork.secrets);
    with_keys(qmp, old, &fork.secrets, ("blockdev-reopen", json!({"options": [options]}))).await
}

/// All nodes, and whether they are open for reading only.
async fn nodes(qmp: &mut Qmp) -> Result<BTreeMap<String, bool>> {
    let listed = qmp.ask("query-named-block-nodes", json!({"flat": true}), None).await?;
    let one = |entry: &Value| Some((entry["node-name"].as_str()?.to_owned(), entry["ro"].as_bool()?));
    Ok(listed.as_array().into_iter().flatten().filter_map(one).collect())
}

struct Descriptor {
    fd: i64,
    name: String,
}

/// The sets of descriptors that QEMU was given.
async fn sets(qmp: &mut Qmp) -> Result<Vec<(u64, Vec<Descriptor>)>> {
    let listed = qmp.ask("query-fdsets", json!({}), None).await?;
    let descriptor = |entry: &Value| {
        Some(Descriptor { fd: entry["fd"].as_i64()?, name: entry["opaque"].as_str().unwrap_or_default().to_owned() })
    };
    let one = |set: &Value| {
        let fds = set["fds"].as_array().into_iter().flatten().filter_map(descriptor).collect();
        Some((set["fdset-id"].as_u64()?, fds))
    };
    Ok(listed.as_array().into_iter().flatten().filter_map(one).collect())
}
