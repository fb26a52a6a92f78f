//! What happened: changes of state, and what they cost. Written by `control::journal` only, kept in `cold/`, in the
//! order in which it happened.

use awan_state::Millis;
use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::traffic::Counters;

/// A resource changed its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub resource: String,
    pub from: String,
    pub to: String,
    pub at: Millis,
    /// The request or reconciler behind it.
    pub cause: String,
}

/// Something that costs money began or ended. Usage is a fold over these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterEvent {
    pub resource: String,
    /// Counts the lives of one resource: an instance's runs.
    pub generation: u32,
    pub kind: MeterKind,
    pub at: Millis,
    pub cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeterKind {
    InstanceBegan {
        instance_type: String,
    },
    InstanceEnded {
        instance_type: String,
    },
    VolumeBegan {
        gib: u32,
        volume_type: String,
    },
    VolumeEnded {
        gib: u32,
        volume_type: String,
    },
    /// What the snapshots of an account in a region take together, what several of them hold counted once.
    SnapshotsBegan {
        bytes: u64,
    },
    SnapshotsEnded {
        bytes: u64,
    },
    /// Room that a capacity reservation keeps, with or without instances in it.
    CapacityBegan {
        instance_type: String,
        count: u32,
    },
    CapacityEnded {
        instance_type: String,
        count: u32,
    },
    AddressAllocated {
        public_ip: String,
    },
    AddressAssociated {
        public_ip: String,
    },
    AddressDisassociated {
        public_ip: String,
    },
    AddressReleased {
        public_ip: String,
    },
    /// A public address that an instance has for as long as its run is placed.
    PublicIpBegan {
        public_ip: String,
    },
    PublicIpEnded {
        public_ip: String,
    },
    /// All that an interface has sent and received until now: once in each hour in which it did, when its instance ends,
    /// and when it goes itself.
    Traffic {
        instance: InstanceId,
        total: Counters,
    },
}
