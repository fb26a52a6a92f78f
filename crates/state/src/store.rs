//! The seam to whatever keeps the bytes: two methods, `range` and `commit`.
//!
//! **Invariant:** when `commit` returns, the transactions that it counts are durable, and the first that it does not
//! count left no trace. [`StoreError::Full`] says that none of them did.

use std::sync::Arc;

use bytes::Bytes;

/// Counts the transactions of a store, from 1. A key has the revision of the transaction that wrote it last.
pub type Revision = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: Arc<str>,
    /// `None` removes the key.
    pub value: Option<Bytes>,
}

/// What a transaction relied on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// The key is still at this revision; 0: it is still absent.
    Key(Arc<str>, Revision),
    /// Nothing below the prefix (which ends in `/`) was written or removed after this revision.
    Prefix(Arc<str>, Revision),
}

#[derive(Debug, Clone, Default)]
pub struct Txn {
    pub checks: Vec<Check>,
    pub writes: Vec<Write>,
    /// The request or the reconciler behind the change; kept beside each key.
    pub cause: Arc<str>,
    /// It may use the room that is kept back for what adds nothing, and for what follows from what was accepted.
    pub reserve: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Arc<str>,
    pub value: Bytes,
    pub revision: Revision,
    pub cause: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub rows: Vec<Row>,
    /// The store's revision when the page was read.
    pub at: Revision,
    /// There are more keys below the prefix; ask again `after` the last one.
    pub more: bool,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// So many transactions, from the front, are durable. If not all, the next one's checks did not hold.
    pub applied: usize,
    /// The store's revision after them.
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It can be tried again as soon as there is room.
    #[error("the store has no room: {0}")]
    Full(String),
    /// What was written and what was not cannot be known.
    #[error("the store failed: {0}")]
    Failed(String),
}

pub trait Store: Send + Sync + 'static {
    /// Keys below `prefix` in order, at most `limit`.
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Applies transactions in order, each whole, with one flush for all, up to the first whose checks do not hold.
    /// Without transactions: asks whether there is room for one that may not use the reserve.
    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError>;
}
