//! Volumes, and on which host their bytes lie.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{HostId, ImageId, InstanceId, SnapshotId, VolumeId};
use crate::instance::{Detach, Instance, State, VmReport, state};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub home: Home,
    pub id: VolumeId,
    pub zone: String,
    pub size_gib: u32,
    /// `gp3`, …
    pub kind: String,
    /// Provisioned, or what the kind gives for the size.
    #[serde(default)]
    pub iops: Option<u32>,
    /// In MiB/s.
    #[serde(default)]
    pub throughput: Option<u32>,
    /// What it begins as, or what it held when a snapshot was last made of it.
    pub image: Option<ImageId>,
    /// How often that was.
    #[serde(default)]
    pub generation: u32,
    pub snapshot: Option<SnapshotId>,
    pub attachment: Option<VolumeAttachment>,
    /// The last one.
    #[serde(default)]
    pub modification: Option<Modification>,
    #[serde(default)]
    pub auto_enable_io: bool,
    #[serde(default)]
    pub client_token: Option<String>,
    pub created: Millis,
}
record!(Volume, "volume", VolumeId, Tenant, "InvalidVolume.NotFound", "The volume '{}' does not exist.", |volume| {
    volume
        .attachment
        .iter()
        .map(|a| Index { name: Volume::BY_DEVICE, value: format!("{}:{}", a.instance, a.device), everywhere: false })
        .collect()
});

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeAttachment {
    pub instance: InstanceId,
    /// The name that the tenant gave: `/dev/sdf`.
    pub device: String,
    pub delete_on_termination: bool,
    pub at: Millis,
    /// It is to end, and its host has not yet said that it has.
    #[serde(default)]
    pub detach: Option<Detach>,
}

/// What a tenant asked a volume to become, which it is meant to be from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    pub from: Shape,
    pub to: Shape,
    pub began: Millis,
    /// When the host had done it; at once where nothing had to be done.
    pub ended: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub size_gib: u32,
    pub kind: String,
    pub iops: Option<u32>,
    pub throughput: Option<u32>,
}

/// As many snapshots can be made of one volume: QEMU's names of what is open have room for this number.
pub const GENERATION_MAX: u32 = 999_999;

impl Volume {
    pub const BY_DEVICE: &'static str = "device";

    pub fn state(&self) -> &'static str {
        if self.attachment.is_some() { "in-use" } else { "available" }
    }

    pub fn shape(&self) -> Shape {
        let Self { size_gib, kind, iops, throughput, .. } = self;
        Shape { size_gib: *size_gib, kind: kind.clone(), iops: *iops, throughput: *throughput }
    }

    pub fn is_attached_to(&self, instance: &InstanceId) -> bool {
        self.attachment.as_ref().is_some_and(|a| a.instance == *instance)
    }

    /// The state of its attachment to an instance: of a machine that is on, what its host says of the current run.
    pub fn attachment_state(&self, instance: &Instance, report: Option<&VmReport>) -> &'static str {
        if self.attachment.as_ref().is_some_and(|a| a.detach.is_some()) {
            return "detaching";
        }
        let there = report.filter(|r| r.run == instance.run).is_some_and(|r| r.has_disk(&self.id));
        match state(instance, report) {
            State::Pending | State::Running if !there => "attaching",
            _ => "attached",
        }
    }
}

/// The host that holds a volume's bytes; written when it is first placed, kept until the volume is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePlacement {
    pub home: Home,
    pub id: VolumeId,
    pub host: HostId,
    pub size_gib: u32,
}
record!(
    VolumePlacement,
    "volume-placement",
    VolumeId,
    System,
    "InternalError",
    "The volume '{}' lies on no host",
    |place| vec![Index { name: "volume-on", value: format!("{}/{}", place.host, place.id), everywhere: true }]
);

/// What an account's volumes of one region are to be like unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EbsDefaults {
    pub home: Home,
    pub id: String,
    pub encrypt: bool,
    pub kms_key: Option<String>,
}
record!(EbsDefaults, "ebs-defaults", String, Tenant, "InternalError", "The account has no defaults '{}'");

impl EbsDefaults {
    /// There is one of each home.
    pub const ID: &'static str = "ebs";
}
