//! Key pairs: the public half, by name.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::id::KeyPairId;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub home: Home,
    pub id: KeyPairId,
    pub name: String,
    /// `rsa` or `ed25519`
    pub kind: String,
    /// As EC2 prints it: it depends on the kind and on who made the key.
    pub fingerprint: String,
    /// One line in OpenSSH's form.
    pub public_key: String,
    pub created: Millis,
}
record!(
    KeyPair,
    "key-pair",
    KeyPairId,
    Tenant,
    "InvalidKeyPair.NotFound",
    "The key pair '{}' does not exist",
    |key| vec![Index { name: KeyPair::BY_NAME, value: key.name.clone(), everywhere: false }]
);

impl KeyPair {
    pub const BY_NAME: &'static str = "key-name";
}
