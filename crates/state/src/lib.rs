//! The ground truth: keep records, hand out snapshots, commit transactions, and let nobody write what is not theirs.
//!
//! **Invariant:** this crate knows no EC2. It knows keys, revisions, owners ([`Home`]) and writers ([`Scope`]).

mod db;
mod ledger;
mod memory;
mod record;
mod room;
mod sqlite;
mod store;
mod tx;
mod world;

#[cfg(test)]
mod tests;

pub use db::{Clock, Db, DbError, Entropy, Hook, Mode, WallClock};
pub use memory::MemoryStore;
pub use record::{
    Home, Host, Index, Millis, Missing, Operator, Public, Record, Ref, Regionless, Scope, Shareable, System, Tenant,
};
pub use sqlite::SqliteStore;
pub use store::{Check, Committed, Page, Revision, Row, Store, StoreError, Txn, Write};
pub use tx::{Change, Tx, Wide};
pub use world::Snapshot;
