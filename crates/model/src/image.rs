//! Images: what a root volume begins as.

use std::collections::BTreeSet;

use awan_state::{Home, Index, Millis, Shareable};
use serde::{Deserialize, Serialize};

use crate::account::AccountId;
use crate::id::{ImageId, InstanceId, SnapshotId};
use crate::record;
use crate::snapshot::{Bytes, Phase};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub home: Home,
    pub id: ImageId,
    pub name: String,
    pub description: String,
    pub public: bool,
    /// `x86_64`
    pub architecture: String,
    pub size_gib: u32,
    pub root_device: String,
    /// Shown as the snapshot of the root device.
    pub snapshot: SnapshotId,
    pub boot: Boot,
    pub created: Millis,
    #[serde(default)]
    pub details: Details,
}
record!(Image, "image", ImageId, Tenant, "InvalidAMIID.NotFound", "The image id '[{}]' does not exist", |image| vec![
    Index { name: "image", value: image.id.to_string(), everywhere: true }
]);

/// What tenants say of images; the default is an image that came with Awan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// What the root volume begins as, where the image itself is not that.
    pub bytes: Option<Bytes>,
    pub root: DeviceOptions,
    /// The devices beside the root.
    pub devices: Vec<Device>,
    pub shared_with: BTreeSet<AccountId>,
    pub boot_mode: Option<String>,
    pub no_ena: bool,
    pub sriov: bool,
    pub imds_v2: bool,
    pub deprecated: Option<Millis>,
    pub disabled: bool,
    pub protection: Protection,
    pub copy_of: Option<Origin>,
    pub source_instance: Option<InstanceId>,
    /// Of its snapshots, as far as it waits for them.
    pub phase: Phase,
    /// The operator has taken it away: nobody sees it, and it is there as long as something begins as it.
    pub removed: bool,
}

/// The image that another is a copy of, and where that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub image: ImageId,
    pub region: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceOptions {
    pub kind: String,
    pub keep: bool,
    pub iops: Option<u32>,
    pub throughput: Option<u32>,
    /// Its snapshot is, or its volumes are to be.
    pub encrypted: bool,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self { kind: "gp3".into(), keep: false, iops: None, throughput: None, encrypted: false }
    }
}

/// A volume that a launch makes beside the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    /// `None`: it begins empty.
    pub snapshot: Option<SnapshotId>,
    pub size_gib: u32,
    pub options: DeviceOptions,
}

/// Against deregistration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    #[default]
    Off,
    On,
    OnWithCooldown,
    /// Taken off, and still there until then.
    Cooling(Millis),
}

/// Whether what an account has in a region can be public. There is one, once something was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAccess {
    pub home: Home,
    pub id: String,
    /// EC2 begins with images that cannot be made public and snapshots that can.
    pub images: bool,
    pub snapshots: SnapshotAccess,
}
record!(PublicAccess, "public-access", String, Tenant, "InternalError", "Nothing was chosen about public access");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotAccess {
    Unblocked,
    BlockNew,
    BlockAll,
}

impl PublicAccess {
    pub const ID: &'static str = "public-access";

    pub fn first(home: &Home) -> Self {
        Self { home: home.clone(), id: Self::ID.into(), images: false, snapshots: SnapshotAccess::Unblocked }
    }
}

/// How a machine starts from the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// The firmware loads what the disk holds.
    Firmware,
    /// The hypervisor loads the kernel and the initial file system that lie beside the disk: quicker under TCG.
    Direct { command_line: String },
}

impl Shareable for Image {
    const INDEX: &'static str = "image";

    /// Its owner's eyes, those whom the owner named, and everybody's when it is public; in its region.
    fn visible_to(&self, home: &Home) -> bool {
        let here = self.is_builtin() || self.home.region() == home.region();
        let shared = self.public || self.details.shared_with.contains(home.account());
        !self.details.removed && (self.home == *home || (here && shared))
    }
}

impl Image {
    /// Came with Awan; lives in every region.
    pub fn is_builtin(&self) -> bool {
        self.home.account() == crate::account::BUILTIN_ACCOUNT
    }

    /// The image whose bytes the root volume begins as; `None`: nothing.
    pub fn bytes(&self) -> Option<ImageId> {
        match &self.details.bytes {
            None => Some(self.id.clone()),
            Some(Bytes::Image(id)) => Some(id.clone()),
            Some(Bytes::Nothing | Bytes::Own) => None,
        }
    }

    /// Whether a snapshot that it is made of is encrypted, or a volume of it is to be.
    pub fn is_encrypted(&self) -> bool {
        std::iter::once(&self.details.root).chain(self.details.devices.iter().map(|d| &d.options)).any(|o| o.encrypted)
    }

    /// All snapshots that it is made of.
    pub fn snapshots(&self) -> impl Iterator<Item = &SnapshotId> {
        std::iter::once(&self.snapshot).chain(self.details.devices.iter().filter_map(|d| d.snapshot.as_ref()))
    }
}
