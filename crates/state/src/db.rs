//! Snapshots out, transactions in.
//!
//! Decisions are made one after another against the newest *pending* world; each is answered when the group commit
//! that holds it is durable. Reads use the newest *durable* world and wait for nobody.
//!
//! **Invariant:** nothing that could still be lost is ever told to anyone: a transaction that wrote nothing also waits
//! for what it read.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{oneshot, watch};

use crate::record::{Millis, Scope, System};
use crate::store::{Check, Page, Revision, Store, StoreError, Txn, Write};
use crate::tx::{Core, Pending, Tx};
use crate::world::{Entry, Map, Snapshot, Value};

/// Runs at the end of each transaction that wrote something; what it writes belongs to the same commit.
pub type Hook = fn(&mut Tx<System>);

/// A transaction is tried again at most so often when others keep changing what it read.
const ATTEMPTS_MAX: usize = 64;
/// How many changes are remembered for [`Db::changes_since`].
const CHANGES_MAX: usize = 200_000;
const LOAD_PAGE: usize = 10_000;
/// Waking the committer and being woken by it takes about as long.
const SHORT: Duration = Duration::from_micros(300);

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Millis;
}

pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Millis {
        #[expect(clippy::disallowed_methods, reason = "the clock itself")]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Where ids and secrets come from: the system's randomness, or a seed in the simulator.
pub struct Entropy(Mutex<StdRng>);

impl Entropy {
    pub fn system() -> Arc<Self> {
        Arc::new(Self(Mutex::new(rand::make_rng())))
    }

    pub fn seeded(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each transaction commits by itself before it returns: tests and the simulator.
    Inline,
    /// Whatever waits is committed with one flush: by who decided, if nobody else is at it and the last was short, or by a
    /// thread.
    Group,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum DbError {
    #[error("too many others changed the same records")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a broken invariant: {0}")]
    Broken(String),
}

pub struct Db(Arc<Shared>);

struct Shared {
    store: Box<dyn Store>,
    mode: Mode,
    hook: Hook,
    clock: Arc<dyn Clock>,
    entropy: Arc<Entropy>,
    head: Mutex<Head>,
    work: Condvar,
    durable: RwLock<Snapshot>,
    revision: watch::Sender<Revision>,
    changes: Mutex<VecDeque<(Revision, Arc<str>)>>,
    last_now: AtomicU64,
}

struct Head {
    snapshot: Snapshot,
    queue: Vec<Queued>,
    failed: Option<StoreError>,
    /// The last transaction that asked for room found none.
    full: bool,
    closed: bool,
    /// Somebody has taken what waited, and commits it.
    committing: bool,
    /// How long the last flush took.
    took: Duration,
}

struct Queued {
    checks: Vec<Check>,
    writes: Vec<(Arc<str>, Option<Pending>)>,
    cold: Vec<(Arc<str>, bytes::Bytes)>,
    cause: Arc<str>,
    reserve: bool,
    /// The world with this transaction in it.
    after: Snapshot,
    done: oneshot::Sender<Outcome>,
}

enum Outcome {
    Durable,
    Conflict,
    Failed(StoreError),
}

impl Drop for Db {
    fn drop(&mut self) {
        self.0.head().closed = true;
        self.0.work.notify_all();
    }
}

impl Db {
    pub fn open(
        store: Box<dyn Store>,
        mode: Mode,
        clock: Arc<dyn Clock>,
        entropy: Arc<Entropy>,
        hook: Hook,
    ) -> Result<Self, StoreError> {
        let snapshot = load(&*store)?;
        let (revision, _) = watch::channel(snapshot.revision);
        let head = Head {
            snapshot: snapshot.clone(),
            queue: Vec::new(),
            failed: None,
            full: false,
            closed: false,
            committing: false,
            took: Duration::MAX,
        };
        let shared = Arc::new(Shared {
            store,
            mode,
            hook,
            clock,
            entropy,
            head: Mutex::new(head),
            work: Condvar::new(),
            durable: RwLock::new(snapshot),
            revision,
            changes: Mutex::default(),
            last_now: AtomicU64::new(0),
        });
        if mode == Mode::Group {
            let committer = shared.clone();
            let thread = std::thread::Builder::new().name("commit".into());
            thread.spawn(move || committer.run()).map_err(|e| StoreError::Failed(e.to_string()))?;
        }
        Ok(Self(shared))
    }

    /// The newest durable world.
    pub fn snapshot(&self) -> Snapshot {
        self.0.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The time of the next transaction: it never goes back.
    pub fn now(&self) -> Millis {
        self.0.now()
    }

    /// Why nothing new is accepted; `None`: all is well. Looks for room, and waits for a flush that is on its way.
    pub fn failure(&self) -> Option<StoreError> {
        let failed = self.0.head().failed.clone();
        failed.or_else(|| {
            let found = self.0.store.commit(&[]);
            self.0.head().look(found.map(drop)).err()
        })
    }

    /// Whether something was refused, and has not been looked at again since.
    pub fn is_refusing(&self) -> bool {
        let head = self.0.head();
        head.full || head.failed.is_some()
    }

    /// What the clock says, which may be set back: for comparing with the clocks of others.
    pub fn wall_clock(&self) -> Millis {
        self.0.clock.now()
    }

    pub fn entropy(&self) -> Arc<Entropy> {
        self.0.entropy.clone()
    }

    /// Wakes at each new durable revision.
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.0.revision.subscribe()
    }

    /// Keys that changed after a revision; `None`: too long ago, look at everything.
    pub fn changes_since(&self, revision: Revision) -> Option<Vec<Arc<str>>> {
        let changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() >= CHANGES_MAX && changes.front().is_some_and(|(oldest, _)| *oldest > revision + 1) {
            return None;
        }
        let new = changes.iter().rev().take_while(|(at, _)| *at > revision);
        let mut keys: Vec<_> = new.map(|(_, key)| key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        Some(keys)
    }

    /// Reads what happened: keys below `cold/`.
    pub fn cold(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.store.range(&format!("cold/{prefix}"), after, limit)
    }

    /// Runs a function that writes nothing, on the durable world.
    pub fn read<S: Scope, T>(&self, scope: S, f: impl FnOnce(&mut Tx<S>) -> T) -> T {
        let mut tx = Tx::begin(scope, self.0.core(self.snapshot(), "read".into(), false));
        f(&mut tx)
    }

    /// Runs a function as if it were to commit, and commits nothing.
    pub fn rehearse<S: Scope, T>(&self, scope: S, f: impl FnOnce(&mut Tx<S>) -> T) -> T {
        self.read(scope, f)
    }

    /// Runs a function until its reads still hold at its commit. It may run several times, so it must be pure.
    /// An error commits nothing, and is told when what it rests on is durable.
    pub async fn transact<S: Scope, T, E: From<DbError>>(
        &self,
        scope: S,
        cause: &str,
        f: impl Fn(&mut Tx<S>) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS_MAX {
            let (out, done) = self.0.decide(scope.clone(), cause, &f)?;
            match done.await {
                Ok(Outcome::Durable) => return out,
                Ok(Outcome::Conflict) => {}
                Ok(Outcome::Failed(e)) => return Err(DbError::from(e).into()),
                Err(_) => {
                    return Err(DbError::from(StoreError::Failed("the committer is gone".into())).into());
                }
            }
        }
        Err(DbError::Busy.into())
    }

    /// [`Db::transact`] for callers that have no executor.
    #[expect(clippy::needless_pass_by_value, reason = "called as transact is")]
    pub fn transact_blocking<S: Scope, T, E: From<DbError>>(
        &self,
        scope: S,
        cause: &str,
        f: impl Fn(&mut Tx<S>) -> Result<T, E>,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS_MAX {
            let (out, done) = self.0.decide(scope.clone(), cause, &f)?;
            match done.blocking_recv() {
                Ok(Outcome::Durable) => return out,
                Ok(Outcome::Conflict) => {}
                Ok(Outcome::Failed(e)) => return Err(DbError::from(e).into()),
                Err(_) => {
                    return Err(DbError::from(StoreError::Failed("the committer is gone".into())).into());
                }
            }
        }
        Err(DbError::Busy.into())
    }
}

impl Shared {
    fn head(&self) -> MutexGuard<'_, Head> {
        // A panic in a decision leaves the head as it was: it is changed only after the decision returned.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Millis {
        let wall = self.clock.now();
        self.last_now.fetch_max(wall, Ordering::Relaxed).max(wall)
    }

    fn core(&self, snapshot: Snapshot, cause: Arc<str>, tracked: bool) -> Box<Core> {
        Core::new(snapshot, cause, self.now(), self.entropy.clone(), tracked)
    }

    fn decide<S: Scope, T, E: From<DbError>>(
        &self,
        scope: S,
        cause: &str,
        f: &impl Fn(&mut Tx<S>) -> Result<T, E>,
    ) -> Result<(Result<T, E>, oneshot::Receiver<Outcome>), DbError> {
        let mut head = self.head();
        if let Some(failed) = &head.failed {
            return Err(failed.clone().into());
        }
        let mut tx = Tx::begin(scope, self.core(head.snapshot.clone(), cause.into(), true));
        let out = f(&mut tx);
        let mut core = tx.into_core();
        if out.is_err() {
            core.drop_writes();
        }
        if !core.writes.is_empty() {
            let mut tx = Tx::begin(System, core);
            (self.hook)(&mut tx);
            core = tx.into_core();
        }
        if let Some(broken) = core.broken {
            return Err(DbError::Broken(broken));
        }
        let (done, receiver) = oneshot::channel();
        let writes = !core.writes.is_empty() || !core.cold.is_empty();
        if !writes && self.snapshot_of_durable().revision == head.snapshot.revision {
            // Nothing that it read can still be lost.
            let _ = done.send(Outcome::Durable);
            return Ok((out, receiver));
        }
        let reserve = S::FOLLOWS || core.adds_nothing();
        if writes && !reserve && head.full {
            // Refused here, it takes none of those with it that still find room.
            let found = self.store.commit(&[]);
            head.look(found.map(drop))?;
        }
        let queued = queue(*core, &head.snapshot, reserve, done);
        head.snapshot = queued.after.clone();
        head.queue.push(queued);
        match self.mode {
            Mode::Group if head.committing => {}
            Mode::Group if head.took < SHORT => self.commit(head),
            Mode::Group => self.work.notify_one(),
            Mode::Inline => {
                let batch = std::mem::take(&mut head.queue);
                self.flush(batch, Some(&mut head));
            }
        }
        Ok((out, receiver))
    }

    /// The committer: takes what waits, flushes once, answers all.
    fn run(&self) {
        loop {
            let mut head = self.head();
            while head.queue.is_empty() || head.committing {
                if head.closed && head.queue.is_empty() {
                    return;
                }
                head = self.work.wait(head).unwrap_or_else(PoisonError::into_inner);
            }
            self.commit(head);
        }
    }

    /// One at a time. What comes to wait meanwhile is the committer's.
    fn commit(&self, mut head: MutexGuard<'_, Head>) {
        head.committing = true;
        let batch = std::mem::take(&mut head.queue);
        drop(head);
        let began = Instant::now();
        self.flush(batch, None);
        let mut head = self.head();
        (head.committing, head.took) = (false, began.elapsed());
        if !head.queue.is_empty() {
            self.work.notify_one();
        }
    }

    fn flush(&self, batch: Vec<Queued>, head: Option<&mut Head>) {
        // A transaction that writes nothing needs no place in the store, only its turn: what it read came before it.
        let txns: Vec<Txn> = batch.iter().filter(|q| q.writes_something()).map(encode).collect();
        let failed = match &head {
            Some(head) => head.failed.clone(),
            None => self.head().failed.clone(),
        };
        let committed = match failed {
            // What this batch read may be lost, even if it wrote nothing itself.
            Some(e) => Err(e),
            None if txns.is_empty() => Ok(0),
            None => self.store.commit(&txns).map(|c| c.applied),
        };
        match committed {
            Ok(applied) => self.settle(batch, applied, txns.len(), head),
            Err(e @ StoreError::Full(_)) => {
                let refuse = |head: &mut Head| {
                    let _ = head.look(Err(e.clone()));
                    // What is not durable never was.
                    rewind(head, self.snapshot_of_durable())
                };
                let later = match head {
                    Some(head) => refuse(head),
                    None => refuse(&mut self.head()),
                };
                turn_away(&e, batch, later);
            }
            Err(e @ StoreError::Failed(_)) => {
                tracing::error!(error = %e, "nothing more is accepted until a restart");
                let fail = |head: &mut Head| head.failed = Some(e.clone());
                match head {
                    Some(head) => fail(head),
                    None => fail(&mut self.head()),
                }
                for queued in batch {
                    let _ = queued.done.send(Outcome::Failed(e.clone()));
                }
            }
        }
    }

    fn settle(&self, batch: Vec<Queued>, applied: usize, wanted: usize, head: Option<&mut Head>) {
        let mut left = applied;
        let mut batch = VecDeque::from(batch);
        let mut held = Vec::new();
        while batch.front().is_some_and(|q| !q.writes_something() || left > 0) {
            let queued = batch.pop_front().expect("just seen");
            left -= usize::from(queued.writes_something());
            held.push(queued);
        }
        self.publish(&held);
        if applied < wanted {
            // What was decided after a conflict may rest on it: forget it all and decide again.
            let durable = self.snapshot_of_durable();
            let later = match head {
                Some(head) => rewind(head, durable),
                None => rewind(&mut self.head(), durable),
            };
            for queued in batch.into_iter().chain(later) {
                let _ = queued.done.send(Outcome::Conflict);
            }
        }
        for queued in held {
            let _ = queued.done.send(Outcome::Durable);
        }
    }

    fn snapshot_of_durable(&self) -> Snapshot {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, held: &[Queued]) {
        let Some(newest) = held.iter().rev().find(|q| q.writes_something()) else {
            return;
        };
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = newest.after.clone();
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for queued in held {
            let revision = queued.after.revision;
            changes.extend(queued.writes.iter().map(|(key, _)| (revision, key.clone())));
        }
        let excess = changes.len().saturating_sub(CHANGES_MAX);
        changes.drain(..excess);
        drop(changes);
        self.revision.send_replace(newest.after.revision);
    }
}

impl Head {
    /// Takes in whether there is room.
    fn look(&mut self, found: Result<(), StoreError>) -> Result<(), StoreError> {
        let full = matches!(found, Err(StoreError::Full(_)));
        match (self.full, &found) {
            (false, Err(e)) if full => {
                tracing::error!(error = %e, "what adds something is refused until there is room");
            }
            (true, Ok(())) => tracing::info!("the store has room again"),
            _ => {}
        }
        self.full = full;
        found
    }
}

/// Refuses what found no room. What only came with it, or after it, is decided again.
fn turn_away(full: &StoreError, batch: Vec<Queued>, later: Vec<Queued>) {
    let last = batch.iter().all(|queued| queued.reserve || !queued.writes_something());
    for queued in batch {
        let refused = queued.writes_something() && (last || !queued.reserve);
        let _ = queued.done.send(if refused { Outcome::Failed(full.clone()) } else { Outcome::Conflict });
    }
    for queued in later {
        let _ = queued.done.send(Outcome::Conflict);
    }
}

fn rewind(head: &mut Head, durable: Snapshot) -> Vec<Queued> {
    head.snapshot = durable;
    std::mem::take(&mut head.queue)
}

impl Queued {
    fn writes_something(&self) -> bool {
        !self.writes.is_empty() || !self.cold.is_empty()
    }
}

fn queue(core: Core, before: &Snapshot, reserve: bool, done: oneshot::Sender<Outcome>) -> Queued {
    let Core { reads, writes, cold, cause, .. } = core;
    let mut after = before.clone();
    if !writes.is_empty() || !cold.is_empty() {
        after.revision += 1;
    }
    for (key, pending) in &writes {
        match pending {
            Some(p) => {
                let entry =
                    Entry { value: Value::Typed(p.shared.clone()), revision: after.revision, cause: cause.clone() };
                after.map.insert(key.clone(), Arc::new(entry));
            }
            None => drop(after.map.remove(key)),
        }
    }
    let (checks, writes) = (reads.into_iter().collect(), writes.into_iter().collect());
    Queued { checks, writes, cold, cause, reserve, after, done }
}

fn encode(queued: &Queued) -> Txn {
    let hot = queued
        .writes
        .iter()
        .map(|(key, pending)| Write { key: key.clone(), value: pending.as_ref().map(|p| (p.encode)(&p.shared)) });
    let cold = queued.cold.iter().map(|(key, value)| Write { key: key.clone(), value: Some(value.clone()) });
    let (checks, cause, reserve) = (queued.checks.clone(), queued.cause.clone(), queued.reserve);
    Txn { checks, writes: hot.chain(cold).collect(), cause, reserve }
}

fn load(store: &dyn Store) -> Result<Snapshot, StoreError> {
    let mut map = Map::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = store.range("", after.as_deref(), LOAD_PAGE)?;
        after = page.rows.last().map(|row| row.key.clone());
        if after.as_deref().is_some_and(|key| key.starts_with("cold/")) {
            after = Some("cold0".into());
        }
        for row in page.rows.into_iter().filter(|row| !row.key.starts_with("cold/")) {
            map.insert(row.key.clone(), Arc::new(Entry::load(row)));
        }
        if !page.more {
            return Ok(Snapshot { map, revision: page.at });
        }
    }
}
