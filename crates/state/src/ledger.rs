//! Which key and which folder changed at which revision: all that checking a transaction needs.

use std::sync::Arc;

use foldhash::HashMap;

use crate::store::{Check, Revision, Txn};

/// **Invariant:** `folders` holds, for every `/`-ended prefix of a key ever written here, the last change below it.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(crate) struct Ledger {
    keys: HashMap<Arc<str>, Revision>,
    folders: HashMap<Arc<str>, Revision>,
    pub revision: Revision,
    /// How it was before what is not settled yet, oldest first.
    before: Before,
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, PartialEq))]
struct Before {
    keys: Vec<(Arc<str>, Option<Revision>)>,
    folders: Vec<(Arc<str>, Option<Revision>)>,
    transactions: u64,
}

impl Ledger {
    pub fn holds(&self, txn: &Txn) -> bool {
        txn.checks.iter().all(|check| match check {
            Check::Key(key, at) => self.keys.get(key).copied().unwrap_or(0) == *at,
            Check::Prefix(prefix, at) => self.folders.get(prefix).copied().unwrap_or(0) <= *at,
        })
    }

    /// Records a transaction that holds; gives it its revision.
    /// It can be taken back until it is settled.
    pub fn apply(&mut self, txn: &Txn) -> Revision {
        self.revision += 1;
        self.before.transactions += 1;
        for write in &txn.writes {
            self.note(&write.key, self.revision, write.value.is_some());
        }
        self.revision
    }

    /// What was applied is durable.
    pub fn settle(&mut self) {
        self.before = Before::default();
    }

    /// What was applied since it was settled never was.
    pub fn take_back(&mut self) {
        let before = std::mem::take(&mut self.before);
        self.revision -= before.transactions;
        for (map, changes) in [(&mut self.keys, before.keys), (&mut self.folders, before.folders)] {
            for (name, revision) in changes.into_iter().rev() {
                match revision {
                    Some(revision) => drop(map.insert(name, revision)),
                    None => drop(map.remove(&name)),
                }
            }
        }
    }

    /// Records a key read back at start.
    pub fn load(&mut self, key: &Arc<str>, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.note(key, revision, true);
        self.settle();
    }

    fn note(&mut self, key: &Arc<str>, revision: Revision, present: bool) {
        // Cold keys are written once and never relied on: remembering them would only cost memory.
        if key.starts_with("cold/") {
            return;
        }
        let was = if present { self.keys.insert(key.clone(), revision) } else { self.keys.remove(key) };
        self.before.keys.push((key.clone(), was));
        for (slash, _) in key.match_indices('/') {
            let (folder, was) = match self.folders.get_key_value(&key[..=slash]) {
                Some((folder, at)) => (folder.clone(), Some(*at)),
                None => (key[..=slash].into(), None),
            };
            self.folders.insert(folder.clone(), was.map_or(revision, |at| at.max(revision)));
            self.before.folders.push((folder, was));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;

    fn txn(writes: &[(&str, bool)]) -> Txn {
        let write = |(key, there): &(&str, bool)| Write { key: (*key).into(), value: there.then(Default::default) };
        Txn { writes: writes.iter().map(write).collect(), ..Txn::default() }
    }

    #[test]
    fn what_is_taken_back_never_was() {
        let mut ledger = Ledger::default();
        ledger.apply(&txn(&[("a/x/1", true), ("a/x/2", true)]));
        ledger.apply(&txn(&[("a/x/2", false)]));
        ledger.settle();
        let settled = ledger.clone();
        ledger.apply(&txn(&[("a/x/1", false), ("a/x/2", true), ("a/y/1", true)]));
        ledger.apply(&txn(&[("a/x/1", true), ("a/y/1", false), ("b/x/1", true)]));
        assert_eq!(ledger.revision, 4);
        ledger.take_back();
        assert_eq!(ledger, settled);
        ledger.take_back();
        assert_eq!(ledger, settled, "what is settled stays");
    }
}
