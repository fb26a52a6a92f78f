//! Hosts: what a machine can carry and what it said last about itself.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::HostId;
use crate::record;

/// What a host offers to guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Virtual CPUs, overcommitment included.
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disk_gib: u64,
}

/// Written by the host itself whenever something here changes (not at each heartbeat).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    pub home: Home,
    pub id: HostId,
    /// `*`: one machine stands for every zone.
    pub zone: String,
    /// `*`: one machine stands for every region.
    pub region: String,
    pub capacity: Capacity,
    /// `kvm`, `tcg` or `simulated`.
    pub accelerator: String,
    /// Why it is not KVM, where it is not.
    pub note: String,
    /// Where other hosts reach it.
    pub address: String,
    pub joined: Millis,
}
record!(HostRecord, "host", HostId, Host, "InvalidHostID.NotFound", "The host ID '{}' does not exist");

/// Whether the control plane hears the host. Written only when that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLiveness {
    pub home: Home,
    pub id: HostId,
    pub alive: bool,
    pub since: Millis,
}
record!(HostLiveness, "host-liveness", HostId, System, "InvalidHostID.NotFound", "The host ID '{}' does not exist");

/// Which machine has the name: the one that first joined with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostOwner {
    pub home: Home,
    pub id: HostId,
    /// What the machine's data has and no other's.
    pub identity: String,
}
record!(HostOwner, "host-owner", HostId, Host, "InvalidHostID.NotFound", "The host ID '{}' does not exist");

impl HostRecord {
    pub fn serves(&self, region: &str, zone: &str) -> bool {
        (self.region == "*" || self.region == region) && (self.zone == "*" || self.zone == zone)
    }
}
