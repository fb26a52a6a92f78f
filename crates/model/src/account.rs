//! Accounts and the keys that sign for them. Both belong to the operator.

use awan_state::{Home, Index, Millis};
use serde::{Deserialize, Serialize};

use crate::record;

/// Twelve digits.
pub type AccountId = String;

/// The account that owns the images that come with Awan; clients know it as `amazon`.
pub const BUILTIN_ACCOUNT: &str = "000000000000";
pub const BUILTIN_ALIAS: &str = "amazon";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub home: Home,
    pub id: AccountId,
    pub name: String,
    pub created: Millis,
    /// On its way out: no new request is taken, what it owns is being terminated.
    pub closing: bool,
}
record!(Account, "account", AccountId, Operator, "InvalidAccountID.NotFound", "The account '{}' does not exist");

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    pub home: Home,
    /// `AKIA…`
    pub id: String,
    pub secret: String,
    pub account: AccountId,
    pub created: Millis,
}
record!(
    AccessKey,
    "access-key",
    String,
    Operator,
    "InvalidAccessKeyId.NotFound",
    "The access key '{}' does not exist",
    |key| vec![Index { name: "access-key-of", value: format!("{}/{}", key.account, key.id), everywhere: true }]
);

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}

impl Account {
    pub fn is_id(text: &str) -> bool {
        text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
    }
}

pub fn root_arn(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}
