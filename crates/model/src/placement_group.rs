//! Placement groups: how the machines of a group lie to each other.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::PlacementGroupId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementGroup {
    pub home: Home,
    pub id: PlacementGroupId,
    pub name: String,
    pub strategy: Strategy,
    pub created: Millis,
}
record!(
    PlacementGroup,
    "placement-group",
    PlacementGroupId,
    Tenant,
    "InvalidPlacementGroup.Unknown",
    "The Placement Group '{}' is unknown.",
    |group| vec![Index { name: PlacementGroup::BY_NAME, value: group.name.clone(), everywhere: false }]
);

impl PlacementGroup {
    pub const BY_NAME: &'static str = "placement-group-name";

    pub fn arn(&self) -> String {
        format!("arn:aws:ec2:{}:{}:placement-group/{}", self.home.region(), self.home.account(), self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Close to each other: one zone, and one host where that is possible.
    Cluster,
    /// Each on a host of its own.
    Spread,
    /// No host has instances of two partitions. They count from 1.
    Partition { count: u8 },
}

impl Strategy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Spread => "spread",
            Self::Partition { .. } => "partition",
        }
    }
}
