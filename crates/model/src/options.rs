//! What a tenant chose about an instance beyond what is to run, and what an account chose for all of them.

use std::collections::BTreeMap;

use awan_state::Home;
use serde::{Deserialize, Serialize};

use crate::capacity::Preference;
use crate::id::PlacementGroupId;
use crate::instance::MetadataOptions;
use crate::record;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub group: Option<PlacementGroupId>,
    /// In a group of partitions.
    pub partition: Option<u8>,
    /// Its host has no instances of other accounts.
    pub dedicated: bool,
    /// Of burstable types.
    pub credits: Option<Credits>,
    pub no_recovery: bool,
    pub no_migration: bool,
    /// In which capacity reservations it may run.
    pub capacity: Preference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credits {
    Standard,
    Unlimited,
}

impl Credits {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Unlimited => "unlimited",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::Standard),
            "unlimited" => Some(Self::Unlimited),
            _ => None,
        }
    }

    /// EC2: T2 launches as standard, all later families as unlimited.
    pub fn of_family(family: &str) -> Self {
        if family == "t2" { Self::Standard } else { Self::Unlimited }
    }
}

/// What an account chose for its instances in a region. There is one, once something was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountOptions {
    pub home: Home,
    pub id: String,
    #[serde(default)]
    pub metadata: MetadataDefaults,
    /// By families of instance types.
    #[serde(default)]
    pub credits: BTreeMap<String, Credits>,
    #[serde(default)]
    pub serial_console: bool,
}
record!(AccountOptions, "account-options", String, Tenant, "InternalError", "There are no options '{}'");

impl AccountOptions {
    pub const ID: &'static str = "this";

    pub fn of(home: &Home) -> Self {
        Self {
            home: home.clone(),
            id: Self::ID.into(),
            metadata: MetadataDefaults::default(),
            credits: BTreeMap::new(),
            serial_console: false,
        }
    }

    pub fn credits_of(&self, family: &str) -> Credits {
        self.credits.get(family).copied().unwrap_or_else(|| Credits::of_family(family))
    }
}

/// `None`: no preference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataDefaults {
    pub tokens_required: Option<bool>,
    pub hop_limit: Option<u8>,
    pub endpoint: Option<bool>,
    pub tags: Option<bool>,
    /// A launch that does not require tokens is refused.
    pub tokens_enforced: Option<bool>,
}

impl MetadataDefaults {
    /// What a launch has where it says nothing.
    pub fn options(&self) -> MetadataOptions {
        let fallback = MetadataOptions::default();
        MetadataOptions {
            tokens_required: self.tokens_required.unwrap_or(fallback.tokens_required),
            hop_limit: self.hop_limit.unwrap_or(fallback.hop_limit),
            endpoint: self.endpoint.unwrap_or(fallback.endpoint),
            ipv6: fallback.ipv6,
            tags: self.tags.unwrap_or(fallback.tags),
            changes: 0,
        }
    }
}
