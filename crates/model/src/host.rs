//! Hosts: what a machine can carry and what it said last about itself.

use std::collections::BTreeMap;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{CapacityReservationId, HostId, PlacementGroupId};
use crate::instance::Placement;
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
    /// There is a folder that images may be exported to.
    #[serde(default)]
    pub takes_exports: bool,
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

/// What lies on a host, added up, so that nobody needs to look at every instance to learn where there is room.
///
/// **Invariant:** the sum of the host's placements, in the same commit as they. Names of which there is none are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUsage {
    pub home: Home,
    pub id: HostId,
    pub vcpus: u64,
    pub memory_mib: u64,
    /// Of volumes.
    pub disk_gib: u64,
    /// Of bytes that never change.
    #[serde(default)]
    pub contents_mib: u64,
    /// Instances by account.
    pub accounts: BTreeMap<String, u32>,
    /// Dedicated instances by account.
    pub dedicated: BTreeMap<String, u32>,
    /// Instances by placement group and partition; those without a partition are in number 0.
    pub groups: BTreeMap<PlacementGroupId, BTreeMap<u8, u32>>,
    /// Instances by the capacity reservation in which they run.
    pub reservations: BTreeMap<CapacityReservationId, u32>,
}
record!(HostUsage, "host-usage", HostId, System, "InternalError", "Nothing lies on the host '{}'");

impl HostUsage {
    pub fn nothing(host: &HostId) -> Self {
        Self {
            home: Home::installation(),
            id: host.clone(),
            vcpus: 0,
            memory_mib: 0,
            disk_gib: 0,
            contents_mib: 0,
            accounts: BTreeMap::new(),
            dedicated: BTreeMap::new(),
            groups: BTreeMap::new(),
            reservations: BTreeMap::new(),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::nothing(&self.id)
    }

    pub fn come(&mut self, place: &Placement) {
        self.vcpus += u64::from(place.vcpus);
        self.memory_mib += place.memory_mib;
        self.count(place, true);
    }

    pub fn leave(&mut self, place: &Placement) {
        self.vcpus = self.vcpus.saturating_sub(u64::from(place.vcpus));
        self.memory_mib = self.memory_mib.saturating_sub(place.memory_mib);
        self.count(place, false);
    }

    fn count(&mut self, place: &Placement, more: bool) {
        let account = place.home.account();
        count(&mut self.accounts, account, more);
        if place.dedicated {
            count(&mut self.dedicated, account, more);
        }
        if let Some(group) = &place.group {
            let partitions = self.groups.entry(group.clone()).or_default();
            count(partitions, &place.partition.unwrap_or_default(), more);
            if partitions.is_empty() {
                self.groups.remove(group);
            }
        }
        if let Some(reservation) = &place.reservation {
            count(&mut self.reservations, reservation, more);
        }
    }
}

/// Changes a count, and forgets what there is none of.
fn count<K, Q>(counts: &mut BTreeMap<K, u32>, key: &Q, more: bool)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ToOwned<Owned = K> + ?Sized,
{
    match counts.get_mut(key) {
        Some(n) => *n = if more { n.saturating_add(1) } else { n.saturating_sub(1) },
        None if more => drop(counts.insert(key.to_owned(), 1)),
        None => {}
    }
    if counts.get(key) == Some(&0) {
        counts.remove(key);
    }
}

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
