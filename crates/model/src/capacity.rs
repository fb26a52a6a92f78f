//! Capacity reservations: room that is kept for instances that may come.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{CapacityReservationId, HostId};
use crate::record;

/// What the tenant asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityReservation {
    pub home: Home,
    pub id: CapacityReservationId,
    pub instance_type: String,
    /// `Linux/UNIX`
    pub platform: String,
    pub zone: String,
    pub count: u32,
    /// Also for instances that do not name it.
    pub open: bool,
    pub ebs_optimized: bool,
    pub ephemeral_storage: bool,
    pub end: Option<Millis>,
    pub cancelled: Option<Millis>,
    /// The memory of the request that made it, if that had a client token.
    pub token: Option<String>,
    pub created: Millis,
}
record!(
    CapacityReservation,
    "capacity-reservation",
    CapacityReservationId,
    Tenant,
    "InvalidCapacityReservationId.NotFound",
    "The capacity reservation '{}' does not exist"
);

impl CapacityReservation {
    /// When it was cancelled or expired; `None`: it is active.
    pub fn ended(&self, now: Millis) -> Option<Millis> {
        self.cancelled.or_else(|| self.end.filter(|end| *end <= now))
    }

    pub fn state(&self, now: Millis) -> &'static str {
        match (self.cancelled, self.ended(now)) {
            (Some(_), _) => "cancelled",
            (None, Some(_)) => "expired",
            (None, None) => "active",
        }
    }
}

/// The hosts on which the room is. It is there for as long as the reservation is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityHold {
    pub home: Home,
    pub id: CapacityReservationId,
    pub instance_type: String,
    pub zone: String,
    pub open: bool,
    pub end: Option<Millis>,
    /// Of one instance.
    pub vcpus: u32,
    pub memory_mib: u64,
    /// Machines by host, with and without an instance.
    pub slots: Vec<(HostId, u32)>,
}
record!(
    CapacityHold,
    "capacity-hold",
    CapacityReservationId,
    System,
    "InternalError",
    "The capacity reservation '{}' keeps no room"
);

impl CapacityHold {
    pub fn count(&self) -> u32 {
        self.slots.iter().map(|(_, n)| n).sum()
    }
}

/// In which reservations an instance may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// In any open one that matches; without one, anywhere.
    #[default]
    Open,
    /// In none.
    Without,
    /// In any open one that matches, and nowhere else.
    Only,
    /// In this one.
    Target(CapacityReservationId),
}

impl Preference {
    /// Room that nobody reserved will do.
    pub fn takes_any(&self) -> bool {
        matches!(self, Self::Open | Self::Without)
    }
}
