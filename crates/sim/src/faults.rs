//! What can be wrong: with the world, always; with the program, only where a test plants it.

use std::sync::Mutex;

use awan_state::{Committed, MemoryStore, Page, Store, StoreError, Txn};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A mistake put in on purpose, which the checks must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// A host says of the present run what was true of an earlier one.
    ReportsEarlierRuns,
    /// A host forgets that a run is over and starts it again.
    RevivesRuns,
    /// A place is given back before the host declared the run over.
    FreesEarly,
    /// A host never declares a run over that never began.
    NeverDeclares,
    /// A host starts what its plan does not have.
    RunsStrangers,
}

/// A store that others write to: now and then a commit meets a conflict.
pub struct Contested {
    store: MemoryStore,
    dice: Mutex<StdRng>,
}

impl Contested {
    pub fn new(seed: u64) -> Self {
        Self { store: MemoryStore::default(), dice: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Store for Contested {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.store.range(prefix, after, limit)
    }

    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let contested = self.dice.lock().map_err(|e| StoreError(e.to_string()))?.random_bool(0.1);
        self.store.commit(if contested { &[] } else { batch })
    }
}
