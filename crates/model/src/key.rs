//! Keys of encrypted volumes, as they are kept and planned: never the keys themselves.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the key of a volume is made of, together with the master key that it names. Without either there is no key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedKey {
    /// Names a master key: see [`crate::installation::Installation::master_key`].
    pub master: String,
    /// The volume's: no other has the same key, whatever else is the same.
    pub of: String,
    pub seed: [u8; 32],
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey").field("master", &self.master).field("of", &self.of).finish_non_exhaustive()
    }
}
