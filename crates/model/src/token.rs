//! Client tokens: what a retried request is answered with.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientToken {
    pub home: Home,
    /// `Action:token`, escaped to be a key.
    pub id: String,
    /// A hash of the parameters: the same token with others is a mistake.
    pub parameters: String,
    /// The ids of what the request made, so that the answer can be drawn afresh.
    pub made: Vec<String>,
    pub at: Millis,
}
record!(ClientToken, "client-token", String, Tenant, "InvalidClientToken", "The client token '{}' is not known");
