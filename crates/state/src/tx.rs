//! A transaction: typed reads and writes over one snapshot, for one scope.
//!
//! **Invariants.** What a transaction reads becomes a check of its commit. What a [`Tenant`] can name is its own:
//! there is no way to say whose.
//!
//! A tenant cannot write what a host reports:
//! ```compile_fail
//! # use awan_state::*;
//! # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct Seen;
//! # impl Record for Seen { const KIND: &'static str = "seen"; const ABSENT: (&'static str, &'static str) = ("X", "{}");
//! #   type Id = String; type Writer = Host; fn at(&self) -> Ref<Self> { Ref::new(&Home::installation(), &String::new()) } }
//! fn forge(tx: &mut Tx<Tenant>, report: Seen) { tx.put(report) }
//! ```
//! The host can:
//! ```
//! # use awan_state::*;
//! # #[derive(Clone, serde::Serialize, serde::Deserialize)] struct Seen;
//! # impl Record for Seen { const KIND: &'static str = "seen"; const ABSENT: (&'static str, &'static str) = ("X", "{}");
//! #   type Id = String; type Writer = Host; fn at(&self) -> Ref<Self> { Ref::new(&Home::installation(), &String::new()) } }
//! fn report(tx: &mut Tx<Host>, report: Seen) { tx.put(report) }
//! ```
//! A host cannot write what a tenant asked for:
//! ```compile_fail
//! # use awan_state::*;
//! fn meddle<R: Record<Writer = Tenant>>(tx: &mut Tx<Host>, intent: R) { tx.put(intent) }
//! ```
//! Nor can it remove it:
//! ```compile_fail
//! # use awan_state::*;
//! fn meddle<R: Record<Writer = Tenant>>(tx: &mut Tx<Host>, at: &Ref<R>) { tx.remove(at) }
//! ```
//! The tenant can:
//! ```
//! # use awan_state::*;
//! fn ask<R: Record<Writer = Tenant>>(tx: &mut Tx<Tenant>, intent: R) { tx.put(intent) }
//! ```
//! A tenant cannot name another account's record:
//! ```compile_fail
//! # use awan_state::*;
//! fn peek<R: Record>(tx: &mut Tx<Tenant>, at: &Ref<R>) { tx.find_at(at); }
//! ```
//! Nor one in a foreign home:
//! ```compile_fail
//! # use awan_state::*;
//! fn peek<R: Record>(tx: &mut Tx<Tenant>, id: &R::Id) { tx.find_in::<R>(&Home::new("another", "r"), id); }
//! ```
//! Nor all that a foreign home has:
//! ```compile_fail
//! # use awan_state::*;
//! fn peek<R: Record>(tx: &mut Tx<Tenant>) { tx.all_in::<R>(&Home::new("another", "r")); }
//! ```
//! Nor who holds what of everybody's:
//! ```compile_fail
//! # use awan_state::*;
//! fn peek(tx: &mut Tx<Tenant>) { tx.held("public-ip"); }
//! ```
//! The system can:
//! ```
//! # use awan_state::*;
//! fn look<R: Record>(tx: &mut Tx<System>, at: &Ref<R>) { tx.find_at(at); tx.held("public-ip"); }
//! fn in_home<R: Record>(tx: &mut Tx<System>, id: &R::Id) { tx.find_in::<R>(&Home::new("another", "r"), id); }
//! fn all_of<R: Record>(tx: &mut Tx<System>) { tx.all_in::<R>(&Home::new("another", "r")); }
//! ```

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::{HashSet, HashSetExt as _};
use serde::Serialize;

use crate::db::Entropy;
use crate::record::{
    Home, Host, Index, Millis, Missing, Operator, Public, Record, Ref, Regionless, Scope, Shareable, System, Tenant,
    index_key,
};
use crate::store::{Check, Revision};
use crate::world::{Entry, Shared, Snapshot, range, range_after};

/// A value waiting for its commit; encoded by the committer, not while others wait for the head.
#[derive(Clone)]
pub(crate) struct Pending {
    pub shared: Shared,
    pub encode: fn(&Shared) -> Bytes,
}

pub(crate) struct Core {
    pub snapshot: Snapshot,
    pub reads: HashSet<Check>,
    pub writes: BTreeMap<Arc<str>, Option<Pending>>,
    pub cold: Vec<(Arc<str>, Bytes)>,
    pub broken: Option<String>,
    pub cause: Arc<str>,
    now: Millis,
    entropy: Arc<Entropy>,
    tracked: bool,
}

impl Core {
    pub fn new(snapshot: Snapshot, cause: Arc<str>, now: Millis, entropy: Arc<Entropy>, tracked: bool) -> Box<Self> {
        let (reads, writes) = (HashSet::new(), BTreeMap::new());
        Box::new(Self { snapshot, reads, writes, cold: Vec::new(), broken: None, cause, now, entropy, tracked })
    }

    /// Whether every record that it writes is there already.
    pub fn adds_nothing(&self) -> bool {
        self.writes.iter().all(|(key, new)| new.is_none() || self.snapshot.map.contains_key(key))
    }

    /// What a refusal leaves: nothing but what it read.
    pub fn drop_writes(&mut self) {
        self.writes.clear();
        self.cold.clear();
        self.broken = None;
    }

    fn entry(&mut self, key: &Arc<str>) -> Option<Arc<Entry>> {
        let entry = self.snapshot.map.get(key).cloned();
        if self.tracked {
            self.reads.insert(Check::Key(key.clone(), entry.as_ref().map_or(0, |e| e.revision)));
        }
        entry
    }

    fn read<R: Record>(&mut self, key: &Arc<str>) -> Option<Arc<R>> {
        match self.writes.get(key) {
            Some(pending) => pending.as_ref().map(|p| typed(&p.shared)),
            None => self.entry(key).map(|e| e.read()),
        }
    }

    fn text(&mut self, key: &Arc<str>) -> Option<Arc<str>> {
        match self.writes.get(key) {
            Some(pending) => pending.as_ref().map(|p| (*typed::<Arc<str>>(&p.shared)).clone()),
            None => self.entry(key).map(|e| e.text()),
        }
    }

    fn scan<R: Record>(&mut self, prefix: &str) -> Vec<Arc<R>> {
        self.scan_after(prefix, "", usize::MAX)
    }

    /// Records below a prefix whose rest of the key comes after `after`; at most so many.
    fn scan_after<R: Record>(&mut self, prefix: &str, after: &str, most: usize) -> Vec<Arc<R>> {
        let mut found = Vec::new();
        let start = format!("{prefix}{after}");
        let mut pending = self
            .writes
            .range::<str, _>((Excluded(&*start), Unbounded))
            .take_while(|(k, _)| k.starts_with(prefix))
            .peekable();
        for (key, entry) in range_after(&self.snapshot.map, prefix, &start) {
            while let Some((_, new)) = pending.next_if(|(k, _)| *k < key) {
                found.extend(new.as_ref().map(|p| typed(&p.shared)));
            }
            if found.len() >= most {
                break;
            }
            match pending.next_if(|(k, _)| *k == key) {
                Some((_, changed)) => found.extend(changed.as_ref().map(|p| typed(&p.shared))),
                None => found.push(entry.read()),
            }
        }
        if found.len() < most {
            found.extend(pending.filter_map(|(_, new)| new.as_ref()).map(|p| typed(&p.shared)));
        }
        found.truncate(most);
        if self.tracked {
            self.reads.insert(Check::Prefix(prefix.into(), self.snapshot.revision));
        }
        found
    }

    fn put<R: Record>(&mut self, record: R) {
        let at = record.at();
        let key = at.key();
        let old = self.read::<R>(&key).map_or_else(Vec::new, |old| old.indexes());
        let new = record.indexes();
        for index in old.iter().filter(|i| !new.contains(i)) {
            self.writes.insert(index.key(&at.home), None);
        }
        for index in new.iter().filter(|i| !old.contains(i)) {
            self.index(index, &at.home, &key);
        }
        self.writes.insert(key, Some(Pending { shared: Arc::new(record), encode: encode::<R> }));
    }

    fn index(&mut self, index: &Index, home: &Home, key: &Arc<str>) {
        let name = index.key(home);
        if let Some(holder) = self.text(&name).filter(|holder| holder != key) {
            self.broken = Some(format!("{key} wants {name}, which {holder} holds"));
        }
        let shared: Shared = Arc::new(key.clone());
        self.writes.insert(name, Some(Pending { shared, encode: encode_text }));
    }

    fn remove<R: Record>(&mut self, at: &Ref<R>) {
        let key = at.key();
        if let Some(old) = self.read::<R>(&key) {
            for index in old.indexes() {
                self.writes.insert(index.key(&at.home), None);
            }
            self.writes.insert(key, None);
        }
    }
}

fn typed<R: Send + Sync + 'static>(shared: &Shared) -> Arc<R> {
    shared.clone().downcast().unwrap_or_else(|_| panic!("a key holds another kind of record"))
}

fn encode<R: Record>(shared: &Shared) -> Bytes {
    serde_json::to_vec(&*typed::<R>(shared)).expect("records are plain data").into()
}

fn encode_text(shared: &Shared) -> Bytes {
    Bytes::copy_from_slice(typed::<Arc<str>>(shared).as_bytes())
}

/// A record before and after a transaction; absent if it was or is not there.
pub type Change<R> = (Option<Arc<R>>, Option<Arc<R>>);

pub struct Tx<S: Scope> {
    scope: S,
    /// Absent only while lent to another scope.
    core: Option<Box<Core>>,
}

impl<S: Scope> Tx<S> {
    pub(crate) fn begin(scope: S, core: Box<Core>) -> Self {
        Self { scope, core: Some(core) }
    }

    pub(crate) fn into_core(self) -> Box<Core> {
        self.core.expect("a loan ends before its function returns")
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().expect("a loan ends before its function returns")
    }

    /// The time of this transaction: never earlier than that of one before it.
    pub fn now(&self) -> Millis {
        self.core.as_ref().map_or(0, |c| c.now)
    }

    /// The request or reconciler that this transaction belongs to.
    pub fn cause(&self) -> Arc<str> {
        self.core.as_ref().map_or_else(|| "".into(), |c| c.cause.clone())
    }

    /// Orders what transactions append: no other has this number, and later ones have larger ones.
    pub fn revision(&self) -> Revision {
        self.core.as_ref().map_or(0, |c| c.snapshot.revision + 1)
    }

    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        self.core().entropy.bytes()
    }

    /// `prefix-` and 17 hexadecimal digits, as EC2's ids are.
    pub fn new_id(&mut self, prefix: &str) -> String {
        let random = u128::from_be_bytes(self.random());
        format!("{prefix}-{:017x}", random & 0xf_ffff_ffff_ffff_ffff)
    }

    /// Tries something that may be refused: a refusal takes back what it wrote, and what it read stays read.
    pub fn attempt<T, E>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let core = self.core();
        let (writes, cold, broken) = (core.writes.clone(), core.cold.len(), core.broken.clone());
        let tried = f(self);
        if tried.is_err() {
            let core = self.core();
            core.writes = writes;
            core.cold.truncate(cold);
            core.broken = broken;
        }
        tried
    }

    fn lend<O: Scope, T>(&mut self, scope: O, f: impl FnOnce(&mut Tx<O>) -> T) -> T {
        let mut inner = Tx { scope, core: self.core.take() };
        let out = f(&mut inner);
        self.core = inner.core;
        out
    }
}

impl Tx<Tenant> {
    pub fn home(&self) -> &Home {
        &self.scope.home
    }

    /// The ARN of who asks.
    pub fn principal(&self) -> &str {
        &self.scope.principal
    }

    pub fn find<R: Record>(&mut self, id: &R::Id) -> Option<Arc<R>> {
        let key = Ref::<R>::new(&self.scope.home, id).key();
        self.core().read(&key)
    }

    pub fn get<R: Record>(&mut self, id: &R::Id) -> Result<Arc<R>, Missing> {
        self.find(id).ok_or_else(|| Missing::of::<R>(id))
    }

    pub fn list<R: Record>(&mut self) -> Vec<Arc<R>> {
        let prefix = format!("{}/{}/", R::KIND, self.scope.home);
        self.core().scan(&prefix)
    }

    /// Records in the order of their ids, after one of them; at most so many.
    pub fn list_after<R: Record>(&mut self, after: &str, most: usize) -> Vec<Arc<R>> {
        let prefix = format!("{}/{}/", R::KIND, self.scope.home);
        self.core().scan_after(&prefix, after, most)
    }

    /// The id of the record of this home that holds an index value.
    pub fn lookup(&mut self, index: &str, value: &str) -> Option<String> {
        let key = index_key(index, Some(&self.scope.home), value);
        self.core().text(&key).and_then(|holder| holder.rsplit('/').next().map(str::to_owned))
    }

    /// A record of the installation that everybody may read.
    pub fn public<R: Public>(&mut self, id: &R::Id) -> Option<Arc<R>> {
        let key = Ref::<R>::new(&Home::installation(), id).key();
        self.core().read(&key)
    }

    pub fn all_public<R: Public>(&mut self) -> Vec<Arc<R>> {
        let prefix = format!("{}/{}/", R::KIND, Home::installation());
        self.core().scan(&prefix)
    }

    /// A record that all regions of this account share.
    pub fn of_account<R: Regionless>(&mut self, id: &R::Id) -> Option<Arc<R>> {
        let key = Ref::<R>::new(&Home::everywhere(self.scope.home.account()), id).key();
        self.core().read(&key)
    }

    /// A record that its owner, whoever that is, lets this home see.
    pub fn shared<R: Shareable>(&mut self, id: &R::Id) -> Result<Arc<R>, Missing> {
        let key = self.core().text(&index_key(R::INDEX, None, &id.to_string()));
        let record = key.and_then(|key| self.core().read::<R>(&key));
        record.filter(|r| r.visible_to(&self.scope.home)).ok_or_else(|| Missing::of::<R>(id))
    }

    pub fn all_shared<R: Shareable>(&mut self) -> Vec<Arc<R>> {
        let mut all = self.core().scan::<R>(&format!("{}/", R::KIND));
        all.retain(|r| r.visible_to(&self.scope.home));
        all
    }

    /// Compiles only for what tenants write.
    pub fn put<R: Record<Writer = Tenant>>(&mut self, record: R) {
        assert!(record.at().home == self.scope.home, "a tenant wrote a foreign {}", R::KIND);
        self.core().put(record);
    }

    pub fn remove<R: Record<Writer = Tenant>>(&mut self, id: &R::Id) {
        let at = Ref::new(&self.scope.home, id);
        self.core().remove::<R>(&at);
    }

    /// Lends the transaction to code that acts for the whole cloud. `tidy` keeps it out of the actions.
    pub fn as_system<T>(&mut self, f: impl FnOnce(&mut Tx<System>) -> T) -> T {
        self.lend(System, f)
    }
}

/// Scopes that see every home.
pub trait Wide: Scope {}
impl Wide for System {}
impl Wide for Host {}
impl Wide for Operator {}

impl<S: Wide> Tx<S> {
    pub fn find_at<R: Record>(&mut self, at: &Ref<R>) -> Option<Arc<R>> {
        let key = at.key();
        self.core().read(&key)
    }

    pub fn find_in<R: Record>(&mut self, home: &Home, id: &R::Id) -> Option<Arc<R>> {
        self.find_at(&Ref::new(home, id))
    }

    /// All records of a kind, of everybody.
    pub fn all<R: Record>(&mut self) -> Vec<Arc<R>> {
        self.core().scan(&format!("{}/", R::KIND))
    }

    pub fn all_in<R: Record>(&mut self, home: &Home) -> Vec<Arc<R>> {
        self.core().scan(&format!("{}/{home}/", R::KIND))
    }

    /// The key of the record that holds a value of an index that spans homes.
    pub fn lookup_everywhere(&mut self, index: &str, value: &str) -> Option<Arc<str>> {
        self.core().text(&index_key(index, None, value))
    }

    /// The record that holds a value of an index that spans homes.
    pub fn find_by<R: Record>(&mut self, index: &str, value: &str) -> Option<Arc<R>> {
        let key = self.lookup_everywhere(index, value)?;
        self.core().read(&key)
    }

    pub fn put<R: Record<Writer = S>>(&mut self, record: R) {
        self.core().put(record);
    }

    pub fn remove<R: Record<Writer = S>>(&mut self, at: &Ref<R>) {
        self.core().remove(at);
    }
}

impl Tx<Host> {
    pub fn host(&self) -> &str {
        &self.scope.0
    }
}

impl Tx<System> {
    /// The values of an index that spans homes, in order: who holds what of a shared pool.
    pub fn held(&mut self, index: &str) -> Vec<String> {
        let prefix = format!("by-{index}/");
        let core = self.core();
        let mut held: Vec<String> = range(&core.snapshot.map, &prefix)
            .filter(|(key, _)| !core.writes.contains_key(*key))
            .map(|(key, _)| key[prefix.len()..].to_owned())
            .collect();
        let pending =
            core.writes.range::<str, _>((Included(&*prefix), Unbounded)).take_while(|(k, _)| k.starts_with(&prefix));
        held.extend(pending.filter(|(_, v)| v.is_some()).map(|(key, _)| key[prefix.len()..].to_owned()));
        if core.tracked {
            core.reads.insert(Check::Prefix(prefix.into(), core.snapshot.revision));
        }
        held
    }

    /// Index keys whose record is not there: none, if every change kept its indexes.
    pub fn dangling(&mut self) -> Vec<String> {
        let map = &self.core().snapshot.map;
        let gone = |entry: &Entry| !map.contains_key(&entry.text());
        range(map, "by-").filter(|(_, entry)| gone(entry)).map(|(key, _)| key.to_string()).collect()
    }

    /// Drops what a host said about something that no longer exists.
    pub fn forget<R: Record<Writer = Host>>(&mut self, at: &Ref<R>) {
        self.core().remove(at);
    }

    /// Lends a tenant's pen, for what the tenant asked to happen later (deletion on termination).
    pub fn act_for_tenant<T>(&mut self, home: &Home, f: impl FnOnce(&mut Tx<Tenant>) -> T) -> T {
        let tenant = Tenant { home: home.clone(), principal: "awan".into() };
        self.lend(tenant, f)
    }

    /// What this transaction changed of one kind: before and after.
    pub fn changed<R: Record>(&mut self) -> Vec<Change<R>> {
        let prefix = format!("{}/", R::KIND);
        let core = self.core();
        let written =
            core.writes.range::<str, _>((Included(&*prefix), Unbounded)).take_while(|(k, _)| k.starts_with(&prefix));
        written
            .map(|(key, after)| {
                let before = core.snapshot.map.get(key).map(|e| e.read());
                (before, after.as_ref().map(|p| typed(&p.shared)))
            })
            .collect()
    }

    /// The record as it was before this transaction.
    pub fn before<R: Record>(&mut self, at: &Ref<R>) -> Option<Arc<R>> {
        self.core().snapshot.map.get(&at.key()).map(|e| e.read())
    }

    /// Appends to the record of what happened, which is kept but not held in memory.
    pub fn append<T: Serialize>(&mut self, folder: &str, home: &Home, name: &str, what: &T) {
        let key = format!("cold/{folder}/{home}/{name}").into();
        let value = serde_json::to_vec(what).expect("records are plain data");
        self.core().cold.push((key, value.into()));
    }
}

impl Tx<Operator> {
    /// Lends a tenant's pen: a new account gets what tenants otherwise make themselves.
    pub fn act_for_tenant<T>(&mut self, home: &Home, f: impl FnOnce(&mut Tx<Tenant>) -> T) -> T {
        let tenant = Tenant { home: home.clone(), principal: "awan".into() };
        self.lend(tenant, f)
    }

    pub fn as_system<T>(&mut self, f: impl FnOnce(&mut Tx<System>) -> T) -> T {
        self.lend(System, f)
    }
}
