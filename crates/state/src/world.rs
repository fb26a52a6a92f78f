//! All hot records as an immutable map: cloning is free, decoding happens once.

use std::any::Any;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::record::Record;
use crate::store::{Revision, Row};

pub(crate) type Shared = Arc<dyn Any + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Value {
    /// Written by this process: already what it will be read as.
    Typed(Shared),
    /// Loaded from the store: decoded by its first reader.
    Stored(Bytes, OnceLock<Shared>),
}

pub(crate) struct Entry {
    pub value: Value,
    pub revision: Revision,
    pub cause: Arc<str>,
}

pub(crate) type Map = imbl::OrdMap<Arc<str>, Arc<Entry>>;

/// The world at one revision.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) map: Map,
    pub(crate) revision: Revision,
}

impl Snapshot {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision and the cause of the last change of a key.
    pub fn cause(&self, key: &str) -> Option<(Revision, Arc<str>)> {
        self.map.get(key).map(|e| (e.revision, e.cause.clone()))
    }

    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = Arc<str>> {
        range(&self.map, prefix).map(|(k, _)| k.clone())
    }
}

impl Entry {
    pub fn load(row: Row) -> Self {
        Self { value: Value::Stored(row.value, OnceLock::new()), revision: row.revision, cause: row.cause }
    }

    pub fn read<R: Record>(&self) -> Arc<R> {
        let shared = match &self.value {
            Value::Typed(shared) => shared,
            Value::Stored(bytes, decoded) => decoded.get_or_init(|| Arc::new(decode::<R>(bytes))),
        };
        shared.clone().downcast::<R>().unwrap_or_else(|_| panic!("a {} key holds another kind of record", R::KIND))
    }

    /// The text of an index entry.
    pub fn text(&self) -> Arc<str> {
        match &self.value {
            Value::Typed(shared) => {
                let text: &Arc<str> = shared.downcast_ref().expect("an index entry is text");
                text.clone()
            }
            Value::Stored(bytes, _) => String::from_utf8_lossy(bytes).into(),
        }
    }
}

fn decode<R: Record>(bytes: &[u8]) -> R {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("a stored {} cannot be read: {e}", R::KIND))
}

pub(crate) fn range<'m>(map: &'m Map, prefix: &str) -> impl Iterator<Item = (&'m Arc<str>, &'m Arc<Entry>)> {
    range_after(map, prefix, prefix)
}

/// Entries below a prefix that come after a key. (No key is itself a prefix.)
pub(crate) fn range_after<'m>(
    map: &'m Map,
    prefix: &str,
    key: &str,
) -> impl Iterator<Item = (&'m Arc<str>, &'m Arc<Entry>)> {
    let (prefix, key): (Arc<str>, Arc<str>) = (prefix.into(), key.into());
    map.range((Excluded(key), Unbounded)).take_while(move |(key, _)| key.starts_with(&*prefix))
}
