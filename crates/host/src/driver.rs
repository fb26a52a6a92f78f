//! The seams between the agent, which decides nothing, and what changes the machine.
//!
//! Every call means "make it so": it may be repeated, and what already is stays.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use awan_model::id::{ImageId, InstanceId, InterfaceId, VolumeId, VpcId};
use awan_model::import::Taken;
use awan_model::instance::{DiskSeen, Exit, Health, InterfaceSeen, Phase};
use awan_model::interface::Mac;
use awan_model::plan::{ContentPlan, HostPlan, SealedKeys, VmPlan, VolumePlan};
use awan_model::report::{TrafficSeen, VolumeSeen};
use awan_model::volume::Limits;

use crate::keys::Key;
use crate::network::flow::FlowLogs;
use crate::volume::chain::Keyed;

pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a hypervisor sees of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenVm {
    pub id: InstanceId,
    pub run: u32,
    pub phase: Phase,
    pub reboots: u32,
    pub exit: Option<Exit>,
    /// What it has open, and what it may have.
    pub disks: Vec<DiskSeen>,
    /// In how many files each of them lies that it has open, as far as that is known.
    pub files: BTreeMap<VolumeId, u32>,
    /// How many disks more can be attached while it runs.
    pub free_ports: u32,
    /// The interfaces that it has, and those that it may have; absent while nobody knows.
    pub interfaces: Option<Vec<InterfaceSeen>>,
    /// How many interfaces more can be attached while it runs.
    pub free_interface_ports: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Press the power button; pull the plug when the guest takes too long.
    Graceful,
    /// Pull the plug.
    Force,
}

/// A disk as the hypervisor is to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    pub volume: VolumeId,
    pub path: PathBuf,
    /// `qcow2`; formats are given, never guessed.
    pub format: &'static str,
    /// What is below it, the nearest first, which the hypervisor must be able to read.
    pub backing: Vec<PathBuf>,
    /// What opens its own file and those below it, in their order; `None`: it is not encrypted. Empty: none is.
    pub keys: Vec<Option<Key>>,
    /// As it is now: what is larger than it is meant to be stays so.
    pub size_gib: u32,
    pub limits: Limits,
    pub held: Held,
}

/// A disk that a machine has open and that is to go on in a new file, a child of the old one, which never changes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    pub volume: VolumeId,
    /// Of the new file.
    pub generation: u32,
    pub old: PathBuf,
    pub new: PathBuf,
    /// Of both; `None`: they are not encrypted.
    pub key: Option<Key>,
}

/// What is below a disk that a machine has open, in fewer files than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shorter {
    pub volume: VolumeId,
    /// Of the file that is open for writing.
    pub generation: u32,
    /// The nearest first.
    pub backing: Vec<PathBuf>,
    /// As [`BlockDevice::keys`].
    pub keys: Vec<Option<Key>>,
    pub held: Held,
}

/// Bytes that never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub size_gib: u32,
    /// What they take of the host's disk.
    pub bytes: u64,
    /// What their file is a child of.
    pub below: Option<ImageId>,
}

/// Why files did not become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmerged {
    pub why: String,
    /// There was no room for another, or no master key: it may be otherwise soon.
    pub full: bool,
}

/// Files that are about to be opened stay as long as somebody has this.
pub type Held = Arc<()>;

/// A guest's end of a network.
#[derive(Debug)]
pub struct Tap {
    pub interface: InterfaceId,
    pub mac: Mac,
    pub fd: OwnedFd,
}

pub trait Hypervisor: Send + Sync {
    fn observe(&self) -> Fut<'_, anyhow::Result<Vec<SeenVm>>>;
    /// Starts one run. Returns when the machine exists and its guest has begun.
    fn start<'a>(&'a self, vm: &'a VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Fut<'a, anyhow::Result<()>>;
    fn stop<'a>(&'a self, id: &'a InstanceId, how: Stop) -> Fut<'a, anyhow::Result<()>>;
    /// Resets the guest until it was reset `reboots` times.
    fn reboot<'a>(&'a self, id: &'a InstanceId, reboots: u32) -> Fut<'a, anyhow::Result<()>>;
    /// Gives a running machine one more disk. Returns when its guest can see it.
    fn attach<'a>(&'a self, id: &'a InstanceId, disk: BlockDevice) -> Fut<'a, anyhow::Result<()>>;
    /// Takes a disk away from a running machine. Returns when it is closed; fails, to be tried again, while the guest
    /// does not let go of it, unless that is not waited for.
    fn detach<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, force: bool) -> Fut<'a, anyhow::Result<()>>;
    /// Makes a disk of a running machine so large, if it is smaller.
    fn grow<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, size_gib: u32) -> Fut<'a, anyhow::Result<()>>;
    /// Holds a disk of a running machine to limits.
    fn limit<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, limits: Limits) -> Fut<'a, anyhow::Result<()>>;
    /// Has disks of a running machine go on in new files, all at one moment.
    fn fork<'a>(&'a self, id: &'a InstanceId, forks: Vec<Fork>) -> Fut<'a, anyhow::Result<()>>;
    /// Has a disk of a running machine go on with fewer files below its own.
    fn shorten<'a>(&'a self, id: &'a InstanceId, shorter: Shorter) -> Fut<'a, anyhow::Result<()>>;
    /// In bytes: what its disks' files take that it has open and that have no name any more.
    fn nameless(&self, id: &InstanceId) -> u64;
    /// Gives a running machine one more interface. Returns when its guest can see it.
    fn plug<'a>(&'a self, id: &'a InstanceId, tap: Tap) -> Fut<'a, anyhow::Result<()>>;
    /// Takes an interface away from a running machine, as [`Self::detach`] does a disk.
    fn unplug<'a>(&'a self, id: &'a InstanceId, mac: Mac, force: bool) -> Fut<'a, anyhow::Result<()>>;
    /// Promises that a run is over, even if it never began. The promise outlives this process.
    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, anyhow::Result<()>>;
    /// Removes what is left of a run that is over: sockets, folder, control group.
    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, anyhow::Result<()>>;
    /// The newest 64 KiB of the serial console: of the run that is, or of the last one.
    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, anyhow::Result<Vec<u8>>>;
    /// Of machines that were forgotten, what these said last is kept, and no other's.
    fn keep_consoles<'a>(&'a self, of: &'a [InstanceId]) -> Fut<'a, anyhow::Result<()>>;
    /// What the guest shows, as a JPEG; `None`: the machine has no display. `wake`: a key is pressed before.
    fn screenshot<'a>(&'a self, id: &'a InstanceId, wake: bool) -> Fut<'a, anyhow::Result<Option<Vec<u8>>>>;
    /// A non-maskable interrupt.
    fn interrupt<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, anyhow::Result<()>>;
    /// Wakes the agent when something ended or began by itself.
    fn changed(&self) -> Arc<tokio::sync::Notify>;
}

pub trait Volumes: Send + Sync {
    fn observe(&self) -> Fut<'_, anyhow::Result<Vec<VolumeSeen>>>;
    fn ensure<'a>(&'a self, volume: &'a VolumePlan) -> Fut<'a, anyhow::Result<BlockDevice>>;
    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, anyhow::Result<()>>;
    /// Keeps what a volume holds that no machine has open, or that its machine has gone on from.
    fn keep<'a>(&'a self, id: &'a ImageId, taken: &'a Taken) -> Fut<'a, anyhow::Result<()>>;
    /// A new file for a volume that a machine has open, so that what it holds can be kept.
    fn fork<'a>(&'a self, taken: &'a Taken) -> Fut<'a, anyhow::Result<Fork>>;
    /// What has been kept; `None`: not yet.
    fn kept(&self, content: &ContentPlan) -> Option<Layer>;
    /// What is below a volume that a machine has open.
    fn shorter(&self, volume: &VolumePlan) -> anyhow::Result<Shorter>;
    /// Begins, goes on with and ends what the plan says of files that are to become one.
    fn merge(&self, plan: &[ContentPlan]);
    /// Why that cannot be.
    fn unmerged(&self, content: &ContentPlan) -> Option<Unmerged>;
    /// Whether somebody is about to open files that have a name still.
    fn is_opening(&self) -> bool;
    /// Wakes the agent when files have become one, or cannot.
    fn changed(&self) -> Arc<tokio::sync::Notify>;
    /// Forgets images that were brought here and are none of these, once nobody is about to open any.
    fn keep_images(&self, _: &[ImageId]) {}
    /// Brings here what a child of this would be read from, as far as it is not here and can be had.
    fn bring<'a>(&'a self, _: &'a ImageId) -> Fut<'a, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    /// The files that a child of this would be read from, the nearest first; none: there are no bytes here. `sealed`: of
    /// what is encrypted.
    fn files(&self, id: &ImageId, sealed: &SealedKeys) -> anyhow::Result<Vec<Keyed>>;
}

/// What is there that should not be, and the other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkDifference {
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
}

pub trait Network: Send + Sync {
    /// Makes all networks of the machine what the plan says, services (DHCP, DNS, metadata) included.
    fn apply<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, anyhow::Result<()>>;
    /// Opens the guest's end of an interface that was applied.
    fn open(&self, vpc: &VpcId, interface: &InterfaceId) -> anyhow::Result<OwnedFd>;
    /// Takes the guest's end of an interface away from the machine that has it open, if one has.
    fn retire(&self, vpc: &VpcId, interface: &InterfaceId) -> anyhow::Result<()>;
    /// Whether the guest behind an interface answers.
    fn health<'a>(&'a self, interface: &'a InterfaceId) -> Fut<'a, Health>;
    /// What the taps of the plan's interfaces have counted; those that are not there are left out.
    fn traffic<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, anyhow::Result<Vec<TrafficSeen>>>;
    /// What was written down of flows; `None`: nothing is.
    fn flow_logs(&self) -> Option<Arc<FlowLogs>>;
    fn compare<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, anyhow::Result<NetworkDifference>>;
}
