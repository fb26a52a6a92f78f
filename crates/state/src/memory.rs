//! A store in memory: for tests, the simulator and `--store memory`.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::Ledger;
use crate::store::{Committed, Page, Row, Store, StoreError, Txn};

#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rows: BTreeMap<Arc<str>, Row>,
    ledger: Ledger,
}

impl Store for MemoryStore {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(prefix, |a| a.max(prefix));
        let mut rows = inner
            .rows
            .range::<str, _>((Included(from), Unbounded))
            .map(|(_, row)| row)
            .take_while(|row| row.key.starts_with(prefix))
            .filter(|row| after.is_none_or(|a| &*row.key > a));
        let page = rows.by_ref().take(limit).cloned().collect();
        Ok(Page { rows: page, at: inner.ledger.revision, more: rows.next().is_some() })
    }

    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut applied = 0;
        for txn in batch {
            if !inner.ledger.holds(txn) {
                break;
            }
            let revision = inner.ledger.apply(txn);
            for write in &txn.writes {
                match &write.value {
                    Some(value) => {
                        let row =
                            Row { key: write.key.clone(), value: value.clone(), revision, cause: txn.cause.clone() };
                        inner.rows.insert(write.key.clone(), row);
                    }
                    None => drop(inner.rows.remove(&write.key)),
                }
            }
            applied += 1;
        }
        inner.ledger.settle();
        Ok(Committed { applied, revision: inner.ledger.revision })
    }
}
