//! Images: what a root volume begins as.

use awan_state::{Home, Index, Millis, Shareable};
use serde::{Deserialize, Serialize};

use crate::id::{ImageId, SnapshotId};
use crate::record;

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
}
record!(Image, "image", ImageId, Tenant, "InvalidAMIID.NotFound", "The image id '[{}]' does not exist", |image| vec![
    Index { name: "image", value: image.id.to_string(), everywhere: true }
]);

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

    /// Its owner's eyes, and everybody's when it is public.
    fn visible_to(&self, home: &Home) -> bool {
        self.home == *home || (self.public && (self.is_builtin() || self.home.region() == home.region()))
    }
}

impl Image {
    /// Came with Awan; lives in every region.
    pub fn is_builtin(&self) -> bool {
        self.home.account() == crate::account::BUILTIN_ACCOUNT
    }
}
