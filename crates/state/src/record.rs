//! What a record is, whose it is, and who may write it.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00Z.
pub type Millis = u64;

/// The owner of records: one account in one region. All of a tenant's keys lie below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Home(Arc<str>);

impl Home {
    pub fn new(account: &str, region: &str) -> Self {
        debug_assert!(!account.contains('/') && !region.contains('/'), "a home has one slash");
        Self(format!("{account}/{region}").into())
    }

    /// Where records live that belong to the installation: hosts, accounts, types.
    pub fn installation() -> Self {
        Self("_/_".into())
    }

    /// Where records live that all regions of an account share.
    pub fn everywhere(account: &str) -> Self {
        Self::new(account, "_")
    }

    pub fn account(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(account, _)| account)
    }

    pub fn region(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, region)| region)
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who runs a transaction.
pub trait Scope: Clone + Send + Sync + 'static {
    /// It writes only what follows from what was accepted before, and what is the case: that must find a place.
    const FOLLOWS: bool;
}

/// A customer's request: sees and writes one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub home: Home,
    /// The ARN of who asks.
    pub principal: Arc<str>,
}
/// The cloud itself: scheduler, reconcilers, plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System;
/// One host, speaking about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(pub Arc<str>);
/// Who runs the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator;

impl Scope for Tenant {
    const FOLLOWS: bool = false;
}
impl Scope for System {
    const FOLLOWS: bool = true;
}
impl Scope for Host {
    const FOLLOWS: bool = true;
}
impl Scope for Operator {
    const FOLLOWS: bool = false;
}

/// A second key of a record. Its absence is the uniqueness constraint: two records cannot hold one index key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub name: &'static str,
    pub value: String,
    /// Unique in the whole installation, not only in the home.
    pub everywhere: bool,
}

impl Index {
    pub(crate) fn key(&self, home: &Home) -> Arc<str> {
        index_key(self.name, (!self.everywhere).then_some(home), &self.value)
    }
}

pub(crate) fn index_key(name: &str, home: Option<&Home>, value: &str) -> Arc<str> {
    match home {
        // Tenants choose these values. Each slash would be one more folder that the ledger remembers for ever.
        Some(home) if value.contains(['/', '%']) => {
            format!("by-{name}/{home}/{}", value.replace('%', "%25").replace('/', "%2F")).into()
        }
        Some(home) => format!("by-{name}/{home}/{value}").into(),
        None => format!("by-{name}/{value}").into(),
    }
}

/// Something that the cloud knows. Exactly one kind of [`Scope`] may write it.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    const KIND: &'static str;
    /// The error code when there is none, and the message with `{}` for the id.
    const ABSENT: (&'static str, &'static str);
    type Id: fmt::Display + Clone;
    type Writer: Scope;

    fn at(&self) -> Ref<Self>;

    fn indexes(&self) -> Vec<Index> {
        Vec::new()
    }
}

/// Most ids are not longer.
const ID_LENGTH: usize = 32;

/// The full address of a record: whose it is, and which.
pub struct Ref<R: Record> {
    pub home: Home,
    pub id: R::Id,
}

impl<R: Record> Ref<R> {
    pub fn new(home: &Home, id: &R::Id) -> Self {
        Self { home: home.clone(), id: id.clone() }
    }

    pub fn key(&self) -> Arc<str> {
        use fmt::Write as _;
        // Made for every single read, so it is put together in one piece of memory.
        let mut key = String::with_capacity(R::KIND.len() + self.home.0.len() + ID_LENGTH + 2);
        key.push_str(R::KIND);
        key.push('/');
        key.push_str(&self.home.0);
        key.push('/');
        let _ = write!(key, "{}", self.id);
        key.into()
    }
}

impl<R: Record> Clone for Ref<R> {
    fn clone(&self) -> Self {
        Self { home: self.home.clone(), id: self.id.clone() }
    }
}

/// Records of the installation that every tenant may read: types, zones.
pub trait Public: Record {}

/// Records that all regions of their account may read.
pub trait Regionless: Record {}

/// Records that their owner can let others see. The one door between accounts.
pub trait Shareable: Record {
    /// The index that finds the record by its id alone.
    const INDEX: &'static str;
    fn visible_to(&self, home: &Home) -> bool;
}

/// There is no such record in this home, whether or not there is one elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub code: &'static str,
    pub message: String,
}

impl Missing {
    pub fn of<R: Record>(id: &R::Id) -> Self {
        let (code, message) = R::ABSENT;
        Self { code, message: message.replacen("{}", &id.to_string(), 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_a_tenant_chose_makes_no_folders() {
        let home = Home::new("a", "r");
        let key = |value| index_key("name", Some(&home), value).to_string();
        assert_eq!(key("plain"), "by-name/a/r/plain");
        assert_eq!(key("/dev/sda"), "by-name/a/r/%2Fdev%2Fsda");
        assert_ne!(key("%2Fdev%2Fsda"), key("/dev/sda"), "no two values share a key");
    }
}
