//! The message up: everything that a host sees, whole each time. And the questions that need a live answer.

use awan_state::{Home, Revision};
use serde::{Deserialize, Serialize};

use crate::host::Capacity;
use crate::id::{HostId, InstanceId, VolumeId};
use crate::instance::{DiskSeen, Exit, Health, InterfaceSeen, Phase};
use crate::interface::Mac;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub protocol: u32,
    pub host: HostId,
    pub zone: String,
    pub region: String,
    pub capacity: Capacity,
    /// `kvm`, `tcg` or `simulated`.
    pub accelerator: String,
    /// Why it is not KVM, where it is not.
    pub note: String,
    pub address: String,
    /// The plan that the host looked at last.
    pub plan: Revision,
    pub vms: Vec<VmSeen>,
    pub volumes: Vec<VolumeSeen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSeen {
    pub home: Home,
    pub id: InstanceId,
    pub run: u32,
    pub phase: Phase,
    pub reboots: u32,
    pub health: Health,
    pub exit: Option<Exit>,
    /// The change of the metadata options that the guest sees.
    #[serde(default)]
    pub metadata: u32,
    #[serde(default)]
    pub disks: Vec<DiskSeen>,
    #[serde(default)]
    pub interfaces: Vec<InterfaceSeen>,
    #[serde(default, rename = "disk_changes")]
    pub device_changes: u32,
    #[serde(default)]
    pub free_ports: u32,
    #[serde(default)]
    pub free_interface_ports: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSeen {
    pub home: Home,
    pub id: VolumeId,
    pub size_gib: u32,
}

/// A question to one host. Nothing is written because of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The newest part of what the guest wrote to its serial console.
    Console { instance: InstanceId },
    /// A non-maskable interrupt for a guest.
    Interrupt { instance: InstanceId },
    /// Everything on the machine that carries Awan's names.
    Inventory,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Console { output: Vec<u8> },
    Inventory(Inventory),
    Done,
    Refused { why: String },
}

/// What exists on a host, by name. Each name belongs to exactly one live record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The plan that the host had applied in full when it looked.
    pub plan: Revision,
    /// Hypervisor processes: instance and run.
    pub processes: Vec<(InstanceId, u32)>,
    /// The disks of those that run.
    #[serde(default)]
    pub disks: Vec<(InstanceId, VolumeId)>,
    /// The interfaces of those that run.
    #[serde(default)]
    pub interfaces: Vec<(InstanceId, Mac)>,
    /// What the host is to have for the plan's networks and has not, and the other way round, by readable names:
    /// `netns awan-…`, `link tap…`, `table inet …`, `route …`.
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    pub volumes: Vec<VolumeId>,
}
