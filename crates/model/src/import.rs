//! Disks that come from elsewhere, and what volumes held: what a tenant asked for, where the bytes of each lie, and what
//! their host says.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{HostId, ImageId, SnapshotId, VolumeId};
use crate::key::SealedKey;
use crate::record;

/// What a file is said to be. It is never guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    Raw,
    Qcow2,
    Vhd,
    Vhdx,
    Vmdk,
}

impl Format {
    pub const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Vhdx, Self::Vmdk];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "RAW",
            Self::Qcow2 => "QCOW2",
            Self::Vhd => "VHD",
            Self::Vhdx => "VHDX",
            Self::Vmdk => "VMDK",
        }
    }
}

/// One disk of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedDisk {
    pub description: String,
    pub device: Option<String>,
    pub url: String,
    pub format: Format,
    /// What its bytes are called on their host.
    pub content: ImageId,
    /// What it becomes.
    pub snapshot: SnapshotId,
    /// With a key that only its content has, so that it goes with that.
    #[serde(default)]
    pub encrypted: bool,
}

/// What is made of the disks once all of them are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Product {
    /// Snapshots, and no more.
    Snapshot,
    Image(ImportedImage),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedImage {
    pub image: ImageId,
    pub platform: Option<String>,
    pub boot_mode: Option<String>,
}

/// What a tenant asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportTask {
    pub home: Home,
    /// `import-snap-…` or `import-ami-…`
    pub id: String,
    pub description: String,
    pub product: Product,
    pub disks: Vec<ImportedDisk>,
    pub client_token: Option<String>,
    pub created: Millis,
    /// `None`: it goes on.
    pub outcome: Option<Outcome>,
}
record!(
    ImportTask,
    "import-task",
    String,
    Tenant,
    "InvalidConversionTaskId.NotFound",
    "The import task ID '{}' does not exist"
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Completed { at: Millis, bytes: Vec<u64> },
    Failed { at: Millis, why: String },
    Cancelled { at: Millis, why: String },
}

impl Outcome {
    pub fn at(&self) -> Millis {
        match self {
            Self::Completed { at, .. } | Self::Failed { at, .. } | Self::Cancelled { at, .. } => *at,
        }
    }
}

/// Bytes that never change, and the host where they lie: there for as long as the task that brings them goes on, or as a
/// snapshot, an image, a volume or other bytes begin as them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub home: Home,
    pub id: ImageId,
    pub host: HostId,
    /// The room that they may take; zero until it is known how large the disk is.
    pub size_gib: u32,
    /// What they do take, once their host has said so of what a volume held.
    #[serde(default)]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Merging::is_blank")]
    pub merging: Merging,
    #[serde(flatten)]
    pub source: Source,
}

/// How the files below these bytes become fewer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merging {
    /// What their host is to do.
    pub merge: Option<Merge>,
    /// How many of what volumes held at one moment their file has the changes of; zero is one.
    pub span: u32,
    /// It could not be done, and is not tried before.
    #[serde(default)]
    pub again: Option<Millis>,
}

impl Merging {
    fn is_blank(&self) -> bool {
        *self == Self::default()
    }
}

/// A file is to have in it what lies between it and something further below, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// What it is a child of then; `None`: of nothing.
    pub below: Option<ImageId>,
    /// What the new file takes at most, beside the old ones.
    pub room_mib: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// A disk from elsewhere.
    Fetched {
        url: String,
        format: Format,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<SealedKey>,
    },
    Taken(Taken),
    Written(Written),
    Copied(Copied),
}

/// The same bytes as others, encrypted by a key of their own. Nothing is below them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Those others, which are there until these are.
    pub of: ImageId,
    /// How large a volume of them is.
    pub copied_gib: u32,
    pub key: SealedKey,
    /// What was below all that they are a copy of: machines may begin with a kernel that lies beside it.
    pub bottom: Option<ImageId>,
}

/// What a tenant writes in blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// How large a volume of it is.
    pub written_gib: u32,
    /// What it is a child of; `None`: of nothing.
    pub below: Option<ImageId>,
    /// How many blocks there are of it, once it is whole. No more are taken then.
    #[serde(default)]
    pub blocks: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SealedKey>,
}

/// What a volume held at one moment, as far as it differs from what it began as. The volume goes on as a child of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub volume: VolumeId,
    /// What it is a child of itself; `None`: of nothing.
    pub below: Option<ImageId>,
    /// Counts those of the volume from 1.
    pub generation: u32,
    /// Those of one instance that are taken at one moment have the same.
    pub set: ImageId,
    /// The volume's.
    pub volume_gib: u32,
    /// The volume's too; `None`: it is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SealedKey>,
}
record!(Content, "content", ImageId, System, "InternalError", "The bytes '{}' lie on no host", |content| vec![Index {
    name: Content::INDEX,
    value: content.id.to_string(),
    everywhere: true,
}]);

impl Content {
    pub const INDEX: &'static str = "content";

    pub fn taken(&self) -> Option<&Taken> {
        self.source.taken()
    }

    /// What opens their file; `None`: it is not encrypted.
    pub fn key(&self) -> Option<&SealedKey> {
        self.source.key()
    }

    /// What they are a child of.
    pub fn below(&self) -> Option<&ImageId> {
        self.source.below()
    }

    /// What they take, as far as it is known; else what they may take.
    pub fn kept_bytes(&self) -> u64 {
        self.bytes.unwrap_or(u64::from(self.size_gib) << 30)
    }

    /// The room that they take on their host, or may take.
    pub fn room_mib(&self) -> u64 {
        self.kept_bytes().div_ceil(1 << 20) + self.merging.merge.as_ref().map_or(0, |merge| merge.room_mib)
    }
}

impl Source {
    pub fn taken(&self) -> Option<&Taken> {
        match self {
            Self::Taken(taken) => Some(taken),
            Self::Fetched { .. } | Self::Written(_) | Self::Copied(_) => None,
        }
    }

    pub fn written(&self) -> Option<&Written> {
        match self {
            Self::Written(written) => Some(written),
            Self::Fetched { .. } | Self::Taken(_) | Self::Copied(_) => None,
        }
    }

    pub fn copied(&self) -> Option<&Copied> {
        match self {
            Self::Copied(copied) => Some(copied),
            Self::Fetched { .. } | Self::Taken(_) | Self::Written(_) => None,
        }
    }

    pub fn key(&self) -> Option<&SealedKey> {
        match self {
            Self::Taken(taken) => taken.key.as_ref(),
            Self::Copied(copied) => Some(&copied.key),
            Self::Fetched { key, .. } => key.as_ref(),
            Self::Written(written) => written.key.as_ref(),
        }
    }

    pub fn below(&self) -> Option<&ImageId> {
        match self {
            Self::Fetched { .. } | Self::Copied(_) => None,
            Self::Taken(Taken { below, .. }) | Self::Written(Written { below, .. }) => below.as_ref(),
        }
    }

    /// Who keeps volumes keeps them.
    pub fn is_of_volumes(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Copied(_))
    }

    /// They become a snapshot that is there already.
    pub fn is_snapshots(&self) -> bool {
        !matches!(self, Self::Fetched { .. })
    }
}

/// How far a host is with a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportPhase {
    /// In percent, where the source says how much there is.
    Fetching {
        percent: u8,
    },
    /// It has all, and needs room for a disk of this size.
    Waiting {
        size_gib: u32,
    },
    Converting {
        percent: u8,
    },
    /// `bytes`: of the file that came.
    Kept {
        size_gib: u32,
        bytes: u64,
    },
    Failed {
        why: String,
    },
}

/// What a host says of files that were to become one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Merged {
    /// They are, and it is a child of this.
    Onto { below: Option<ImageId> },
    Failed {
        why: String,
        /// For want of room.
        #[serde(default)]
        full: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentReport {
    pub home: Home,
    pub id: ImageId,
    pub host: HostId,
    pub phase: ImportPhase,
    /// What is not as the plan says it is any more.
    #[serde(default)]
    pub merged: Option<Merged>,
}
record!(ContentReport, "content-report", ImageId, Host, "InternalError", "Nobody has told of the bytes '{}'");

impl ImportTask {
    pub fn is_active(&self) -> bool {
        self.outcome.is_none()
    }

    /// Of its disks, all are or none is.
    pub fn is_encrypted(&self) -> bool {
        self.disks.iter().any(|disk| disk.encrypted)
    }
}
