//! Tags, kept apart from what they are on, so that one action serves all kinds.

use std::collections::BTreeMap;

use awan_state::Home;
use serde::{Deserialize, Serialize};

use crate::record;

/// The tags of one resource. No record: no tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    pub home: Home,
    /// The id of the resource.
    pub id: String,
    pub tags: BTreeMap<String, String>,
}
record!(Tags, "tags", String, Tenant, "InvalidID", "The ID '{}' is not valid");
