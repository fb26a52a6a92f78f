//! Instances: intent, plan, report, and the state that follows.

use std::net::Ipv4Addr;

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::address::BY_PUBLIC_IP;
use crate::id::{
    CapacityReservationId, HostId, ImageId, InstanceId, InterfaceId, PlacementGroupId, ReservationId, SubnetId,
    VolumeId, VpcId,
};
use crate::interface::Mac;
use crate::options::Options;
use crate::record;
use crate::volume::Limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    On,
    Off,
    Gone,
}

/// What the tenant asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub home: Home,
    pub id: InstanceId,
    pub reservation: ReservationId,
    pub launch_index: u32,
    pub client_token: Option<String>,

    pub wish: Wish,
    /// Counts starts, from 1. A run that has exited never lives again.
    pub run: u32,
    /// Counts reboots, over all runs.
    pub reboots: u32,
    /// The last stop or termination does not wait for the guest.
    pub force: bool,
    /// Why it is no longer meant to be on, as EC2 says it.
    pub reason: Option<Reason>,
    /// When the last wish was made.
    pub wished: Millis,

    pub instance_type: String,
    pub image: ImageId,
    pub architecture: String,
    pub root_device: String,
    pub key_name: Option<String>,
    /// One line in OpenSSH's form, as it was at launch.
    pub public_key: Option<String>,
    /// Decoded.
    pub user_data: Option<Vec<u8>>,
    pub zone: String,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    /// The primary one.
    pub interface: InterfaceId,
    /// In the order of their device index.
    #[serde(default)]
    pub more_interfaces: Vec<InterfaceId>,
    /// Gets a public address for as long as it is placed.
    pub wants_public_ip: bool,
    pub root_volume: VolumeId,
    /// The others that are attached to it.
    #[serde(default)]
    pub data_volumes: Vec<VolumeId>,
    /// Counts what was attached and detached, volumes and interfaces, over all runs.
    #[serde(default, rename = "disk_changes")]
    pub device_changes: u32,
    pub shutdown: ShutdownBehavior,
    pub metadata: MetadataOptions,
    pub termination_protection: bool,
    pub stop_protection: bool,
    pub ebs_optimized: bool,
    pub monitoring: bool,
    #[serde(default)]
    pub options: Options,
    /// When the current run was asked for.
    pub launched: Millis,
    pub created: Millis,
}
record!(Instance, "instance", InstanceId, Tenant, "InvalidInstanceID.NotFound", "The instance ID '{}' does not exist");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `Client.UserInitiatedShutdown`
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShutdownBehavior {
    Stop,
    Terminate,
}

impl ShutdownBehavior {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Terminate => "terminate",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    pub tokens_required: bool,
    pub hop_limit: u8,
    pub endpoint: bool,
    /// Also at the IPv6 address.
    #[serde(default)]
    pub ipv6: bool,
    pub tags: bool,
    /// Counts changes, so that a host can say which it has made its own.
    #[serde(default)]
    pub changes: u32,
}

impl Default for MetadataOptions {
    /// As EC2's console launches: tokens required; a hop limit of 2 lets containers in.
    fn default() -> Self {
        Self { tokens_required: true, hop_limit: 2, endpoint: true, ipv6: false, tags: false, changes: 0 }
    }
}

/// Where an instance lives. It exists from the decision to run it until the host has declared that run over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub home: Home,
    pub id: InstanceId,
    pub host: HostId,
    pub run: u32,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// The automatically assigned public address.
    pub public_ip: Option<Ipv4Addr>,
    #[serde(default)]
    pub group: Option<PlacementGroupId>,
    #[serde(default)]
    pub partition: Option<u8>,
    #[serde(default)]
    pub dedicated: bool,
    /// In which it runs.
    #[serde(default)]
    pub reservation: Option<CapacityReservationId>,
}
record!(Placement, "placement", InstanceId, System, "InternalError", "The instance '{}' has no place", |place| {
    let on = Index { name: "instance-on", value: format!("{}/{}", place.host, place.id), everywhere: true };
    let ip = place.public_ip.map(|ip| Index { name: BY_PUBLIC_IP, value: ip.to_string(), everywhere: true });
    std::iter::once(on).chain(ip).collect()
});

/// What its host saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmReport {
    pub home: Home,
    pub id: InstanceId,
    pub host: HostId,
    pub run: u32,
    pub phase: Phase,
    /// The reboots done so far.
    pub reboots: u32,
    pub health: Health,
    pub exit: Option<Exit>,
    /// The change of the metadata options that the guest sees.
    #[serde(default)]
    pub metadata: u32,
    /// What the machine has, and what its host may still be giving to it.
    #[serde(default)]
    pub disks: Vec<DiskSeen>,
    /// As the disks: the machine's ends of its interfaces.
    #[serde(default)]
    pub interfaces: Vec<InterfaceSeen>,
    /// How far the host knew of [`Instance::device_changes`] when it said so.
    #[serde(default, rename = "disk_changes")]
    pub device_changes: u32,
    /// How many disks more can be attached while it runs.
    #[serde(default)]
    pub free_ports: u32,
    /// How many interfaces more can be attached while it runs.
    #[serde(default)]
    pub free_interface_ports: u32,
    /// When the phase was first seen, by the control plane's clock.
    pub at: Millis,
}
record!(VmReport, "vm-report", InstanceId, Host, "InternalError", "Nothing was reported about '{}'");

impl VmReport {
    /// The guest has it.
    pub fn has_disk(&self, volume: &VolumeId) -> bool {
        self.disks.iter().any(|disk| disk.attached && disk.volume == *volume)
    }

    /// The guest has it.
    pub fn has_interface(&self, mac: Mac) -> bool {
        self.interfaces.iter().any(|interface| interface.attached && interface.mac == mac)
    }
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSeen {
    pub volume: VolumeId,
    pub size_gib: u32,
    /// Otherwise it is on its way in or out, and may be open.
    pub attached: bool,
    /// Those that it is held to.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// The hypervisor could not read or write what the guest asked for; the guest was told so.
    #[serde(default)]
    pub failed: bool,
}

/// An interface of a machine, known by what no two interfaces share and none ever changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceSeen {
    pub mac: Mac,
    /// Otherwise it is on its way in or out, and its packets may still flow.
    pub attached: bool,
}

/// That a volume or an interface is to leave an instance, whose host has not yet said that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    /// The count of [`Instance::device_changes`] from which on the host knows that it is to go.
    pub change: u32,
    /// The guest is not waited for.
    pub force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Starting,
    Running,
    Exited,
}

/// Whether the guest answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Health {
    #[default]
    Initializing,
    Ok,
    Impaired,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// The plan said so.
    Asked,
    /// The guest powered itself off.
    Guest,
    /// The hypervisor died.
    Crashed(String),
    /// It never ran.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// The code in EC2's answers.
    pub fn code(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The EC2 state of an instance. It is never stored.
pub fn state(instance: &Instance, report: Option<&VmReport>) -> State {
    // A report about an earlier run says nothing about this one.
    let phase = report.filter(|r| r.run == instance.run).map(|r| r.phase);
    state_of(instance.wish, phase)
}

fn state_of(wish: Wish, phase: Option<Phase>) -> State {
    match (wish, phase) {
        (Wish::On, None | Some(Phase::Starting)) => State::Pending,
        (Wish::On, Some(Phase::Running)) => State::Running,
        (Wish::On | Wish::Off, Some(Phase::Exited)) => State::Stopped,
        (Wish::Off, _) => State::Stopping,
        (Wish::Gone, Some(Phase::Exited)) => State::Terminated,
        (Wish::Gone, _) => State::ShuttingDown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_from_wish_and_phase() {
        use State::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let phases = [None, Some(Phase::Starting), Some(Phase::Running), Some(Phase::Exited)];
        let table = [
            (Wish::On, [Pending, Pending, Running, Stopped]),
            (Wish::Off, [Stopping, Stopping, Stopping, Stopped]),
            (Wish::Gone, [ShuttingDown, ShuttingDown, ShuttingDown, Terminated]),
        ];
        for (wish, expected) in table {
            assert_eq!(phases.map(|phase| state_of(wish, phase)), expected, "{wish:?}");
        }
    }

    #[test]
    fn names_and_codes_are_ec2s() {
        let all =
            [State::Pending, State::Running, State::ShuttingDown, State::Terminated, State::Stopping, State::Stopped];
        let shown: Vec<_> = all.iter().map(|s| format!("{s}={}", s.code())).collect();
        assert_eq!(shown.join(" "), "pending=0 running=16 shutting-down=32 terminated=48 stopping=64 stopped=80");
    }
}
