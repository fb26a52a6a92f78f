//! Images that leave for files of the operator's: what a tenant asked for, and how far the host is that has what they hold.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{ExportImageId, HostId, ImageId};
use crate::import::Outcome;
use crate::record;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskFormat {
    Raw,
    Vhd,
    Vmdk,
}

impl DiskFormat {
    pub const ALL: [Self; 3] = [Self::Vmdk, Self::Raw, Self::Vhd];
    /// Source: "Virtual Hard Disk Image Format Specification" 1.0: the largest that grows.
    pub const VHD_GIB_MAX: u32 = 2_040;

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "RAW",
            Self::Vhd => "VHD",
            Self::Vmdk => "VMDK",
        }
    }

    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Vhd => "vhd",
            Self::Vmdk => "vmdk",
        }
    }
}

/// What a tenant asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportTask {
    pub home: Home,
    pub id: ExportImageId,
    pub description: String,
    pub image: ImageId,
    pub format: DiskFormat,
    pub bucket: String,
    pub prefix: String,
    pub role: Option<String>,
    /// What the root device of the image begins as; `None`: nothing.
    pub bytes: Option<ImageId>,
    pub size_gib: u32,
    /// It has these bytes, and writes the file.
    pub host: HostId,
    pub client_token: Option<String>,
    pub created: Millis,
    /// `None`: it goes on.
    pub outcome: Option<Outcome>,
    /// It was cancelled, and its host has said that nothing is left of it.
    pub cleared: bool,
}
record!(
    ExportTask,
    "export-task",
    ExportImageId,
    Tenant,
    "InvalidExportTaskID.NotFound",
    "The export task ID '{}' does not exist"
);

impl ExportTask {
    pub fn is_active(&self) -> bool {
        self.outcome.is_none()
    }

    /// Its host has something to do about it.
    pub fn is_planned(&self) -> bool {
        match &self.outcome {
            None => true,
            Some(Outcome::Cancelled { .. }) => !self.cleared,
            Some(Outcome::Completed { .. } | Outcome::Failed { .. }) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportPhase {
    Writing {
        percent: u8,
    },
    /// The file is there, whole, and has so many bytes.
    Kept {
        bytes: u64,
    },
    Failed {
        why: String,
    },
    /// It was cancelled, and nothing of it is there.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    pub home: Home,
    pub id: ExportImageId,
    pub host: HostId,
    pub phase: ExportPhase,
}
record!(ExportReport, "export-report", ExportImageId, Host, "InternalError", "Nobody has told of the export '{}'");
