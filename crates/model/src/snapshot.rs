//! Snapshots: what a volume held at one moment, and who may make volumes of it.

use std::collections::BTreeSet;

use awan_state::{Home, Index, Millis, Shareable};
use serde::{Deserialize, Serialize};

use crate::account::{AccountId, BUILTIN_ACCOUNT};
use crate::id::{ImageId, SnapshotId, VolumeId};
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub home: Home,
    pub id: SnapshotId,
    /// What it was made of; a copy and what came with an image have none.
    pub volume: Option<VolumeId>,
    pub size_gib: u32,
    pub description: String,
    pub bytes: Bytes,
    #[serde(default)]
    pub phase: Phase,
    /// What it was made of is, and all volumes of it are.
    #[serde(default)]
    pub encrypted: bool,
    /// The one that it is a copy of.
    pub copy_of: Option<SnapshotId>,
    pub public: bool,
    /// Its account lets nobody see what is public: to others it is as if it were not.
    pub blocked: bool,
    pub shared_with: BTreeSet<AccountId>,
    pub lock: Option<Lock>,
    pub started: Millis,
    /// It is or was written in blocks.
    #[serde(default)]
    pub upload: Option<Upload>,
}
record!(
    Snapshot,
    "snapshot",
    SnapshotId,
    Tenant,
    "InvalidSnapshot.NotFound",
    "The snapshot '{}' does not exist.",
    |snapshot| vec![Index { name: Snapshot::INDEX, value: snapshot.id.to_string(), everywhere: true }]
);

/// What all snapshots of an account in a region take, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotUsage {
    pub home: Home,
    pub id: String,
    pub bytes: u64,
    /// Of whom there is something below them.
    #[serde(default)]
    pub elsewhere: BTreeSet<Home>,
}
record!(SnapshotUsage, "snapshot-usage", String, System, "InternalError", "Nothing is kept in '{}'");

impl SnapshotUsage {
    /// There is one of each home.
    pub const ID: &'static str = "snapshots";
}

/// What a volume of the snapshot begins as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bytes {
    /// What hosts have under this name: an image that came with Awan, what was imported, or what a volume held.
    Image(ImageId),
    /// Its volume was never written to, and began as nothing.
    Nothing,
    /// It was made before hosts kept what volumes held.
    Own,
}

/// How far the host is that keeps its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Pending,
    #[default]
    Completed,
    /// The host had them, and has lost them; or they were not written in time.
    Error,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Error => "error",
        }
    }
}

/// How a snapshot is written that nobody made of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub parent: Option<SnapshotId>,
    pub client_token: Option<String>,
    /// It fails when nothing was written to it for so long.
    pub timeout_min: u32,
    /// When something was, to the minute.
    pub touched: Millis,
    /// In percent, as who writes it says.
    pub progress: Option<u8>,
    /// All is written.
    pub sealed: bool,
}

impl Upload {
    /// When it fails, unless more is written.
    pub fn ends(&self) -> Millis {
        self.touched.saturating_add(Millis::from(self.timeout_min).saturating_mul(60_000))
    }
}

/// Protection against deletion for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub compliance: bool,
    /// How long a compliance lock can be taken back.
    pub cool_off_hours: Option<u32>,
    pub cool_off_until: Option<Millis>,
    pub days: u32,
    pub created: Millis,
    /// When `days` began to count.
    pub since: Millis,
    pub expires: Millis,
}

impl Lock {
    pub fn state(&self, now: Millis) -> &'static str {
        if now >= self.expires {
            "expired"
        } else if !self.compliance {
            "governance"
        } else if self.cool_off_until.is_some_and(|until| now < until) {
            "compliance-cooloff"
        } else {
            "compliance"
        }
    }
}

impl Shareable for Snapshot {
    const INDEX: &'static str = "snapshot";

    /// Its owner's eyes, those whom the owner named, and everybody's when it is public; in its region.
    fn visible_to(&self, home: &Home) -> bool {
        let here = self.is_builtin() || self.home.region() == home.region();
        let shared = (self.public && !self.blocked) || self.shared_with.contains(home.account());
        self.home == *home || (here && shared)
    }
}

impl Snapshot {
    pub fn is_locked(&self, now: Millis) -> bool {
        self.lock.as_ref().is_some_and(|lock| now < lock.expires)
    }

    /// Came with an image that came with Awan.
    pub fn is_builtin(&self) -> bool {
        self.home.account() == BUILTIN_ACCOUNT
    }
}
