//! What can be wrong: with the world, always; with the program, only where a test plants it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// A host keeps the disks of what is gone.
    KeepsVolumes,
    /// A host does not see what interfaces its machines have beside the primary.
    HidesInterfaces,
    /// A place moves to another host while the first may still run it.
    MovesPlaces,
    /// What a client token made is forgotten, so that a retry makes it again.
    ForgetsTokens,
    /// Meter events get lost.
    LosesMeterEvents,
    /// A crash undoes what was acknowledged.
    ForgetsAtCrash,
    /// Any account may stop and terminate what another has.
    IgnoresOwners,
}

impl Plant {
    pub const MISTAKES: [Self; 12] = [
        Self::ReportsEarlierRuns,
        Self::RevivesRuns,
        Self::FreesEarly,
        Self::NeverDeclares,
        Self::RunsStrangers,
        Self::KeepsVolumes,
        Self::HidesInterfaces,
        Self::MovesPlaces,
        Self::ForgetsTokens,
        Self::LosesMeterEvents,
        Self::ForgetsAtCrash,
        Self::IgnoresOwners,
    ];
}

/// A store that others write to: now and then a commit meets a conflict. It outlives the control plane that uses it.
#[derive(Clone)]
pub struct Contested(Arc<Mutex<Inner>>);

struct Inner {
    store: MemoryStore,
    dice: StdRng,
    plant: Plant,
    /// Everything that was committed, to be done again without the last.
    log: Vec<Txn>,
}

impl Contested {
    pub fn new(seed: u64, plant: Plant) -> Self {
        let (store, dice) = (MemoryStore::default(), StdRng::seed_from_u64(seed));
        Self(Arc::new(Mutex::new(Inner { store, dice, plant, log: Vec::new() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control plane crashes. What was acknowledged is there afterwards, unless it is planted that it is not.
    pub fn crash(&self) {
        let mut inner = self.inner();
        if inner.plant == Plant::ForgetsAtCrash && inner.log.pop().is_some() {
            let again = MemoryStore::default();
            let _ = again.commit(&inner.log);
            inner.store = again;
        }
    }
}

impl Inner {
    fn commit(&mut self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let contested = self.dice.random_bool(0.1);
        let mut some = if contested { Vec::new() } else { batch.to_vec() };
        if self.plant == Plant::LosesMeterEvents && self.dice.random_bool(0.05) {
            some.iter_mut().for_each(|txn| txn.writes.retain(|w| !w.key.starts_with("cold/meter/")));
        }
        let committed = self.store.commit(&some)?;
        if self.plant == Plant::ForgetsAtCrash {
            self.log.extend(some.into_iter().take(committed.applied));
        }
        Ok(committed)
    }
}

impl Store for Contested {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.inner().store.range(prefix, after, limit)
    }

    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        self.inner().commit(batch)
    }
}
