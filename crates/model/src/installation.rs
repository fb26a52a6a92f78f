//! What the operator decided for the whole installation.

use awan_state::{Home, Public};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::record;

/// There is one. Its id names the store for as long as the store lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub home: Home,
    pub id: String,
    /// Names the store: hosts follow no other.
    pub store: String,
    pub regions: Vec<String>,
    pub zones_per_region: u8,
    /// Elastic and automatic public addresses come from here.
    pub public_pool: Ipv4Net,
    /// The IPv6 ranges of VPCs come from here. `None`: an earlier version wrote this, and the next start decides.
    #[serde(default)]
    pub ipv6_pool: Option<Ipv6Net>,
    /// Names the key that hosts make the keys of new volumes with: the first of the file of them. `None`: there is none, and
    /// nothing is encrypted.
    #[serde(default)]
    pub master_key: Option<String>,
    /// Seals what clients carry around and must not change: page tokens.
    pub seal: [u8; 32],
}
record!(Installation, "installation", String, Operator, "InternalError", "There is no installation '{}'");
impl Public for Installation {}

impl Installation {
    pub const ID: &'static str = "this";

    /// `us-east-1a`, …
    pub fn zones(&self, region: &str) -> Vec<String> {
        (b'a'..)
            .take(usize::from(self.zones_per_region))
            .map(|letter| format!("{region}{}", char::from(letter)))
            .collect()
    }
}
