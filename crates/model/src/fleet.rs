//! Fleets of the type instant: what one request asked for, what it launched at once, and what it could not.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub home: Home,
    /// `fleet-` and a UUID.
    pub id: String,
    /// What was asked for, as JSON under the API's names, without what is never shown again.
    pub asked: String,
    pub target_units: u32,
    pub launched: Vec<Launched>,
    pub failed: Vec<Failed>,
    pub client_token: Option<String>,
    pub deleted: Option<Millis>,
    pub created: Millis,
}
record!(Fleet, "fleet", String, Tenant, "InvalidFleetId.NotFound", "The fleet ID '{}' does not exist");

impl Fleet {
    pub const PREFIX: &'static str = "fleet-";

    pub fn units(&self) -> f64 {
        self.launched.iter().map(|l| l.units).sum()
    }

    pub fn instances(&self) -> impl Iterator<Item = &InstanceId> {
        self.launched.iter().flat_map(|l| &l.instances)
    }
}

/// Instances of one launch template and override.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launched {
    /// The launch template and the override, as JSON.
    pub chosen: String,
    pub instances: Vec<InstanceId>,
    pub instance_type: String,
    pub zone: String,
    pub subnet: String,
    pub units: f64,
}

/// Why one launch template and override launched nothing, or not enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub chosen: String,
    pub code: String,
    pub message: String,
}
