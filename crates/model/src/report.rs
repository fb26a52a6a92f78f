//! The message up: everything that a host sees, whole each time. And the questions that need a live answer.

use awan_state::{Home, Revision};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::export::ExportPhase;
use crate::host::Capacity;
use crate::id::{ExportImageId, HostId, ImageId, InstanceId, InterfaceId, LogGroupId, VolumeId};
use crate::import::{ImportPhase, Merged};
use crate::instance::{DiskSeen, Exit, Health, InterfaceSeen, Phase};
use crate::interface::Mac;
use crate::log_group::{Events, StreamSeen, Streams, Wanted};
use crate::traffic::Counters;

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
    #[serde(default)]
    pub contents: Vec<ContentSeen>,
    /// There is a folder that images may be exported to.
    #[serde(default)]
    pub takes_exports: bool,
    #[serde(default)]
    pub exports: Vec<ExportSeen>,
    /// Counted every few minutes, and when a machine lets go of an interface: not as new as the rest.
    #[serde(default)]
    pub traffic: Vec<TrafficSeen>,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentSeen {
    pub home: Home,
    pub id: ImageId,
    pub phase: ImportPhase,
    #[serde(default)]
    pub merged: Option<Merged>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSeen {
    pub home: Home,
    pub id: ExportImageId,
    pub phase: ExportPhase,
}

/// What an interface's tap has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSeen {
    pub home: Home,
    pub id: InterfaceId,
    /// Tells the taps apart that an interface has had.
    pub tap: String,
    pub counters: Counters,
}

/// A question to one host. Nothing is written because of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The newest part of what the guest wrote to its serial console.
    Console {
        instance: InstanceId,
    },
    /// A non-maskable interrupt for a guest.
    Interrupt {
        instance: InstanceId,
    },
    /// What the guest shows on its display; `wake`: a key is pressed before.
    Screenshot {
        instance: InstanceId,
        wake: bool,
    },
    /// Everything on the machine that carries Awan's names.
    Inventory,
    /// What the taps have counted until now.
    Traffic,
    /// Lines of flow logs that lie on the host.
    LogEvents {
        home: Home,
        group: LogGroupId,
        wanted: Wanted,
    },
    /// The streams that it has of a log group.
    LogStreams {
        home: Home,
        group: LogGroupId,
        streams: Streams,
    },
    /// Whether an account has a bucket that images may be exported to.
    Bucket {
        home: Home,
        name: String,
    },
    /// Which blocks of what lies under this name hold something; with `since`, which may differ from what that holds.
    Blocks {
        of: ImageId,
        since: Option<ImageId>,
        from: u32,
        most: usize,
    },
    Block {
        of: ImageId,
        index: u32,
    },
    /// Unlike all others, this one changes something: what is answered with [`Answer::Done`] no power failure takes.
    PutBlock {
        of: ImageId,
        index: u32,
        bytes: Octets,
        sha256: [u8; 32],
    },
    /// What has been put.
    Written {
        of: ImageId,
    },
}

/// Blocks of snapshots have so many bytes.
pub const BLOCK: usize = 512 << 10;

/// Bytes, in base64 where they are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'d> Deserialize<'d> for Octets {
    fn deserialize<D: serde::Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSeen {
    pub index: u32,
    /// Where blocks were compared: whether the earlier of both holds something there.
    pub before: bool,
}

/// In the order of their indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlocksSeen {
    pub blocks: Vec<BlockSeen>,
    /// From where on there may be more.
    pub next: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Console {
        output: Vec<u8>,
    },
    Screenshot {
        jpeg: Vec<u8>,
    },
    /// There is nothing that could be shown: the machine was started without a display.
    NoDisplay,
    Inventory(Inventory),
    Traffic(Vec<TrafficSeen>),
    LogEvents(Events),
    LogStreams(Vec<StreamSeen>),
    Blocks(BlocksSeen),
    Block {
        bytes: Octets,
    },
    /// How many blocks there are, and the SHA-256 of theirs, in the order of their indexes.
    Written {
        blocks: u64,
        sha256: [u8; 32],
    },
    NoBucket,
    /// It is in no plan of the host's, or in one that the host has just heard of.
    NotYet,
    /// The host's disk is full, or more was written than is taken.
    NoRoom,
    Done,
    Refused {
        why: String,
    },
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
    /// Disks from elsewhere, whole or not.
    #[serde(default)]
    pub contents: Vec<ImageId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_text_on_its_way_and_what_it_was_behind_it() {
        let bytes = Octets((0..=255).collect());
        let ask =
            Ask::PutBlock { of: "ami-00000000000000001".parse().expect("an id"), index: 7, bytes, sha256: [9; 32] };
        let text = serde_json::to_string(&ask).expect("writes");
        assert!(text.contains("\"AAECAw"), "{text}");
        assert_eq!(serde_json::from_str::<Ask>(&text).expect("reads"), ask);
        assert!(serde_json::from_str::<Octets>("\"*\"").is_err());
    }
}
