//! Volumes, and on which host their bytes lie.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{HostId, ImageId, InstanceId, SnapshotId, VolumeId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub home: Home,
    pub id: VolumeId,
    pub zone: String,
    pub size_gib: u32,
    /// `gp3`, …
    pub kind: String,
    /// What it begins as.
    pub image: Option<ImageId>,
    pub snapshot: Option<SnapshotId>,
    pub attachment: Option<VolumeAttachment>,
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
}

impl Volume {
    pub const BY_DEVICE: &'static str = "device";

    pub fn state(&self) -> &'static str {
        if self.attachment.is_some() { "in-use" } else { "available" }
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
