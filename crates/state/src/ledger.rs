//! Which key and which folder changed at which revision: all that checking a transaction needs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::{Check, Revision, Txn};

/// **Invariant:** `folders` holds, for every `/`-ended prefix of a key ever written here, the last change below it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    keys: HashMap<Arc<str>, Revision>,
    folders: HashMap<Arc<str>, Revision>,
    pub revision: Revision,
}

impl Ledger {
    pub fn holds(&self, txn: &Txn) -> bool {
        txn.checks.iter().all(|check| match check {
            Check::Key(key, at) => self.keys.get(key).copied().unwrap_or(0) == *at,
            Check::Prefix(prefix, at) => self.folders.get(prefix).copied().unwrap_or(0) <= *at,
        })
    }

    /// Records a transaction that holds; gives it its revision.
    pub fn apply(&mut self, txn: &Txn) -> Revision {
        self.revision += 1;
        for write in &txn.writes {
            self.note(&write.key, self.revision, write.value.is_some());
        }
        self.revision
    }

    /// Records a key read back at start.
    pub fn load(&mut self, key: &Arc<str>, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.note(key, revision, true);
    }

    fn note(&mut self, key: &Arc<str>, revision: Revision, present: bool) {
        // Cold keys are written once and never relied on: remembering them would only cost memory.
        if key.starts_with("cold/") {
            return;
        }
        if present {
            self.keys.insert(key.clone(), revision);
        } else {
            self.keys.remove(key);
        }
        for (slash, _) in key.match_indices('/') {
            let folder = &key[..=slash];
            match self.folders.get_mut(folder) {
                Some(at) => *at = revision.max(*at),
                None => drop(self.folders.insert(folder.into(), revision)),
            }
        }
    }
}
