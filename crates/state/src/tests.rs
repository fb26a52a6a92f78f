//! One model test for all backends, and what a transaction promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::*;

/// The plainest store there could be.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<String, (Vec<u8>, Revision)>,
    changed: Vec<(String, Revision)>,
    revision: Revision,
}

impl Plain {
    fn commit(&mut self, txn: &Txn) -> bool {
        let holds = txn.checks.iter().all(|check| match check {
            Check::Key(key, at) => self.rows.get(&**key).map_or(0, |(_, r)| *r) == *at,
            Check::Prefix(prefix, at) => self.changed.iter().all(|(key, r)| !key.starts_with(&**prefix) || r <= at),
        });
        if holds {
            self.revision += 1;
            for write in &txn.writes {
                self.changed.push((write.key.to_string(), self.revision));
                match &write.value {
                    Some(value) => drop(self.rows.insert(write.key.to_string(), (value.to_vec(), self.revision))),
                    None => drop(self.rows.remove(&*write.key)),
                }
            }
        }
        holds
    }
}

fn key() -> impl Strategy<Value = Arc<str>> {
    ("[abc]", "[xy]", 0..3_u8).prop_map(|(kind, owner, n)| format!("{kind}/{owner}/r/{n}").into())
}

fn check(now: Revision) -> impl Strategy<Value = Check> {
    let prefix =
        ("[abc]", proptest::option::of("[xy]")).prop_map(|(k, o)| o.map_or(format!("{k}/"), |o| format!("{k}/{o}/")));
    prop_oneof![
        (key(), 0..=now).prop_map(|(k, r)| Check::Key(k, r)),
        (prefix, now.saturating_sub(2)..=now).prop_map(|(p, r)| Check::Prefix(p.into(), r)),
    ]
}

fn txn(now: Revision) -> impl Strategy<Value = Txn> {
    let write = (key(), proptest::option::of(any::<u8>()))
        .prop_map(|(key, value)| Write { key, value: value.map(|v| Bytes::from(vec![v])) });
    (proptest::collection::vec(check(now), 0..2), proptest::collection::vec(write, 1..4))
        .prop_map(|(checks, writes)| Txn { checks, writes, cause: "test".into(), reserve: false })
}

fn agrees(store: &dyn Store, batches: &[Vec<Txn>]) -> Plain {
    let mut plain = Plain::default();
    for batch in batches {
        let expected = batch.iter().take_while(|txn| plain.commit(txn)).count();
        let committed = store.commit(batch).expect("commits");
        assert_eq!((committed.applied, committed.revision), (expected, plain.revision));
    }
    holds(store, &plain);
    plain
}

fn holds(store: &dyn Store, plain: &Plain) {
    let all = store.range("", None, 1000).expect("reads");
    let rows: BTreeMap<_, _> = all.rows.iter().map(|r| (r.key.to_string(), (r.value.to_vec(), r.revision))).collect();
    assert_eq!(rows, plain.rows);
    assert_eq!(all.at, plain.revision);
    // Pages join to the whole.
    let mut paged = Vec::new();
    while let Ok(page) = store.range("b/", paged.last().map(|r: &Row| &*r.key), 2) {
        paged.extend(page.rows);
        if !page.more {
            break;
        }
    }
    assert_eq!(paged.len(), plain.rows.keys().filter(|k| k.starts_with("b/")).count());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_is_the_plain_store(batches in proptest::collection::vec(proptest::collection::vec(txn(6), 1..4), 1..8)) {
        agrees(&MemoryStore::default(), &batches);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.db");
        let sqlite = SqliteStore::open(&path).expect("opens");
        let plain = agrees(&sqlite, &batches);
        drop(sqlite);
        let again = SqliteStore::open(&path).expect("opens again");
        holds(&again, &plain);
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let _first = SqliteStore::open(&path).expect("opens");
    assert!(SqliteStore::open(&path).is_err());
}

#[test]
fn the_log_is_longer_than_what_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("s.db")).expect("opens");
    let length = || std::fs::metadata(folder.path().join("s.db-wal")).expect("is there").len();
    let write = |n: u32, size: usize| {
        let write = Write { key: format!("a/{n}").into(), value: Some(vec![1; size].into()) };
        store.commit(&[Txn { writes: vec![write], ..Txn::default() }]).expect("commits");
    };
    (0..2).for_each(|n| write(n, 100));
    let before = length();
    (0..20).for_each(|n| write(n, 100));
    assert_eq!(length(), before, "they overwrite");
    (0..4).for_each(|n| write(n, 1 << 20));
    (0..20).for_each(|n| write(n, 100));
    assert!(length() >= before + (4 << 20), "it is written further: {}", length());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    home: Home,
    id: String,
    name: String,
}

impl Record for Thing {
    const KIND: &'static str = "thing";
    const ABSENT: (&'static str, &'static str) = ("NoThing", "There is no '{}'");
    type Id = String;
    type Writer = Tenant;
    fn at(&self) -> Ref<Self> {
        Ref::new(&self.home, &self.id)
    }
    fn indexes(&self) -> Vec<Index> {
        vec![Index { name: "name", value: self.name.clone(), everywhere: true }]
    }
}

struct Still;
impl Clock for Still {
    fn now(&self) -> Millis {
        7
    }
}

fn tenant(account: &str) -> Tenant {
    Tenant { home: Home::new(account, "r"), principal: "test".into() }
}

fn thing(account: &str, id: &str, name: &str) -> Thing {
    Thing { home: Home::new(account, "r"), id: id.into(), name: name.into() }
}

fn open(store: Box<dyn Store>, mode: Mode) -> Arc<Db> {
    Arc::new(Db::open(store, mode, Arc::new(Still), Entropy::seeded(1), |_| {}).expect("opens"))
}

fn put(db: &Db, account: &str, id: &str, name: &str) -> Result<(), DbError> {
    db.transact_blocking(tenant(account), "test", |tx| {
        tx.put(thing(account, id, name));
        Ok(())
    })
}

#[test]
fn a_foreign_record_is_an_absent_one() {
    let db = open(Box::<MemoryStore>::default(), Mode::Inline);
    put(&db, "a", "1", "x").expect("writes");
    let get = |account: &str, id: &str| db.read(tenant(account), |tx| tx.get::<Thing>(&id.to_owned()));
    assert_eq!(get("a", "1").expect("own").name, "x");
    assert_eq!(get("b", "1").expect_err("foreign").message, get("b", "1").expect_err("foreign").message);
    assert_eq!(get("b", "2").expect_err("absent"), Missing { code: "NoThing", message: "There is no '2'".into() });
}

#[test]
fn a_list_can_begin_and_end_in_the_middle_also_among_what_was_just_written() {
    let db = open(Box::<MemoryStore>::default(), Mode::Inline);
    for id in ["1", "3", "5", "7"] {
        put(&db, "a", id, id).expect("writes");
    }
    put(&db, "b", "2", "foreign").expect("writes");
    let seen = db.rehearse(tenant("a"), |tx| {
        for id in ["4", "8"] {
            tx.put(thing("a", id, id));
        }
        tx.remove::<Thing>(&"5".to_owned());
        let mut ids =
            |after, most| -> Vec<String> { tx.list_after::<Thing>(after, most).iter().map(|t| t.id.clone()).collect() };
        [ids("", 9), ids("1", 2), ids("2", 1), ids("7", 9), ids("3", 3), ids("8", 9), ids("", 0)]
            .map(|ids| ids.concat())
    });
    assert_eq!(seen, ["13478", "34", "3", "8", "478", "", ""]);
}

#[test]
fn two_records_cannot_hold_one_index() {
    let db = open(Box::<MemoryStore>::default(), Mode::Inline);
    put(&db, "a", "1", "x").expect("writes");
    assert!(matches!(put(&db, "b", "2", "x"), Err(DbError::Broken(_))));
    put(&db, "a", "1", "y").expect("gives the name back");
    put(&db, "b", "2", "x").expect("takes it");
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let db = open(Box::new(SqliteStore::open(&path).expect("opens")), Mode::Group);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let db = &db;
            scope.spawn(move || {
                for n in 0..25 {
                    put(db, "a", &format!("{thread}-{n}"), &format!("{thread}-{n}")).expect("writes");
                }
            });
        }
    });
    assert_eq!(db.read(tenant("a"), |tx| tx.list::<Thing>().len()), 200);
    drop(db);
    // The committer holds the file until it has ended.
    let again = (0..200).find_map(|_| {
        #[expect(clippy::disallowed_methods, reason = "a flush takes a while")]
        std::thread::sleep(std::time::Duration::from_millis(5));
        SqliteStore::open(&path).ok()
    });
    let db = open(Box::new(again.expect("opens again")), Mode::Inline);
    assert_eq!(db.read(tenant("a"), |tx| tx.list::<Thing>().len()), 200);
}

/// Refuses every other batch, as a store does that others write to.
struct Contested(MemoryStore, std::sync::atomic::AtomicU32);

impl Store for Contested {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.range(prefix, after, limit)
    }
    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let turn = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let some = if turn.is_multiple_of(2) { &batch[..0] } else { batch };
        self.0.commit(some)
    }
}

#[test]
fn a_conflict_is_decided_again_in_both_modes() {
    for mode in [Mode::Inline, Mode::Group] {
        let db = open(Box::new(Contested(MemoryStore::default(), 0.into())), mode);
        for n in 0..10 {
            db.transact_blocking(tenant("a"), "test", |tx| {
                let name = tx.list::<Thing>().len().to_string();
                tx.put(thing("a", &name, &name));
                Ok::<_, DbError>(())
            })
            .expect("writes");
            assert_eq!(db.read(tenant("a"), |tx| tx.list::<Thing>().len()), n + 1);
        }
    }
}

/// Fails at a given commit, as a dying disk does.
struct Failing(MemoryStore, std::sync::atomic::AtomicI32);

impl Store for Failing {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.range(prefix, after, limit)
    }
    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        if !batch.is_empty() && self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
            return Err(StoreError::Failed("the disk is dying".into()));
        }
        self.0.commit(batch)
    }
}

#[test]
fn after_a_failed_flush_nothing_more_is_accepted_and_nothing_lost_is_shown() {
    for mode in [Mode::Inline, Mode::Group] {
        let db = open(Box::new(Failing(MemoryStore::default(), 2.into())), mode);
        put(&db, "a", "1", "1").expect("writes");
        put(&db, "a", "2", "2").expect("writes");
        assert!(db.failure().is_none());
        assert!(matches!(put(&db, "a", "3", "3"), Err(DbError::Store(_))));
        assert!(db.failure().is_some());
        assert!(matches!(put(&db, "a", "4", "4"), Err(DbError::Store(_))));
        assert_eq!(db.read(tenant("a"), |tx| tx.list::<Thing>().len()), 2);
    }
}

/// Has so much room: all, that of the reserve, none.
#[derive(Clone, Default)]
struct Brimful(Arc<(MemoryStore, std::sync::Mutex<Room>)>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Room {
    #[default]
    All,
    Reserve,
    Nothing,
}

impl Brimful {
    fn has(&self, room: Room) {
        *self.0.1.lock().expect("unharmed") = room;
    }
}

impl Store for Brimful {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.0.range(prefix, after, limit)
    }
    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let modest = !batch.is_empty() && batch.iter().all(|txn| txn.reserve);
        match *self.0.1.lock().expect("unharmed") {
            Room::All => self.0.0.commit(batch),
            Room::Reserve if modest => self.0.0.commit(batch),
            _ => Err(StoreError::Full("test".into())),
        }
    }
}

fn remove(db: &Db, account: &str, id: &str) -> Result<(), DbError> {
    db.transact_blocking(tenant(account), "test", |tx| {
        tx.remove::<Thing>(&id.to_owned());
        Ok(())
    })
}

fn names(db: &Db) -> Vec<String> {
    db.read(tenant("a"), |tx| tx.list::<Thing>().iter().map(|t| format!("{}:{}", t.id, t.name)).collect())
}

#[test]
fn without_room_what_adds_is_refused_and_nothing_of_it_stays() {
    for mode in [Mode::Inline, Mode::Group] {
        let store = Brimful::default();
        let db = open(Box::new(store.clone()), mode);
        for n in ["1", "2", "3"] {
            put(&db, "a", n, n).expect("writes");
        }
        let at = db.snapshot().revision();
        store.has(Room::Reserve);
        for _ in 0..2 {
            assert!(matches!(put(&db, "a", "4", "4"), Err(DbError::Store(StoreError::Full(_)))));
            assert_eq!((names(&db), db.snapshot().revision()), (vec!["1:1".into(), "2:2".into(), "3:3".into()], at));
        }
        assert!(db.is_refusing() && matches!(db.failure(), Some(StoreError::Full(_))));
        remove(&db, "a", "1").expect("gives room back");
        let follow = |tx: &mut Tx<System>| {
            tx.act_for_tenant(&Home::new("a", "r"), |tx| tx.put(thing("a", "5", "5")));
            Ok::<_, DbError>(())
        };
        db.transact_blocking(System, "test", follow).expect("what follows finds a place");
        assert_eq!(names(&db), ["2:2", "3:3", "5:5"]);
        store.has(Room::Nothing);
        assert!(matches!(remove(&db, "a", "2"), Err(DbError::Store(StoreError::Full(_)))));
        assert_eq!(names(&db), ["2:2", "3:3", "5:5"]);
        store.has(Room::All);
        assert_eq!(db.failure(), None);
        assert!(!db.is_refusing());
        put(&db, "a", "4", "4").expect("writes");
        remove(&db, "a", "2").expect("writes");
        assert_eq!(names(&db), ["3:3", "4:4", "5:5"]);
        assert_eq!(db.snapshot().revision(), at + 4);
        let again = open(Box::new(store), Mode::Inline);
        assert_eq!(names(&again), names(&db), "memory is what the store is");
    }
}

#[test]
fn what_came_with_a_refused_one_or_rests_on_it_is_decided_again() {
    let (store, counted) = (Brimful::default(), std::sync::atomic::AtomicU32::new(0));
    let db = open(Box::new(store.clone()), Mode::Group);
    put(&db, "a", "old", "old").expect("writes");
    for (round, room) in [Room::All, Room::Reserve, Room::Nothing, Room::All].into_iter().enumerate() {
        store.has(room);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (db, counted) = (&db, &counted);
                scope.spawn(move || {
                    for turn in 0..20 {
                        let id = format!("{round}-{n}-{turn}");
                        // Each of these reads what all others write.
                        let added = db.transact_blocking(tenant("a"), "test", |tx| {
                            let name = format!("{}/{id}", tx.list::<Thing>().len());
                            tx.put(thing("a", &id, &name));
                            Ok::<_, DbError>(())
                        });
                        match added {
                            Ok(()) => drop(counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                            Err(e) => assert!(matches!(e, DbError::Store(StoreError::Full(_))), "{e}"),
                        }
                        let touched = db.transact_blocking(tenant("a"), "test", |tx| {
                            tx.put(thing("a", "old", "old"));
                            Ok::<_, DbError>(())
                        });
                        assert_eq!(touched.is_err(), room == Room::Nothing, "{touched:?}");
                    }
                });
            }
        });
        let there = db.read(tenant("a"), |tx| tx.list::<Thing>().len());
        assert_eq!(there, 1 + counted.load(std::sync::atomic::Ordering::Relaxed) as usize);
        let again = open(Box::new(store.clone()), Mode::Inline);
        assert_eq!(names(&again), names(&db), "memory is what the store is");
        assert_eq!(again.snapshot().revision(), db.snapshot().revision());
    }
    assert_eq!(counted.load(std::sync::atomic::Ordering::Relaxed), 320);
}

/// Tells when a commit has begun, and fails it when it is told to.
struct Gated(MemoryStore, std::sync::mpsc::SyncSender<()>, std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Store for Gated {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.0.range(prefix, after, limit)
    }
    fn commit(&self, _: &[Txn]) -> Result<Committed, StoreError> {
        self.1.send(()).expect("somebody listens");
        self.2.lock().expect("one committer").recv().expect("somebody tells");
        Err(StoreError::Failed("the disk is gone".into()))
    }
}

#[derive(Debug)]
enum Told {
    Refused,
    Db(DbError),
}

impl From<DbError> for Told {
    fn from(e: DbError) -> Self {
        Self::Db(e)
    }
}

#[test]
fn a_refusal_waits_for_what_it_rests_on() {
    let (began, begins) = std::sync::mpsc::sync_channel(1);
    let (fail, fails) = std::sync::mpsc::sync_channel(1);
    let db = open(Box::new(Gated(MemoryStore::default(), began, fails.into())), Mode::Group);
    std::thread::scope(|scope| {
        scope.spawn(|| put(&db, "a", "1", "x").expect_err("is lost"));
        begins.recv().expect("the first is on its way to the disk");
        let (decided, decides) = std::sync::mpsc::sync_channel(1);
        let db = &db;
        let second = scope.spawn(move || {
            db.transact_blocking(tenant("a"), "test", |tx| {
                let there = tx.find::<Thing>(&"1".to_owned()).is_some();
                let _ = decided.try_send(());
                if there { Err(Told::Refused) } else { Ok(()) }
            })
        });
        decides.recv().expect("the second has seen the first");
        fail.send(()).expect("the committer waits");
        let told = second.join().expect("ends");
        assert!(matches!(told, Err(Told::Db(DbError::Store(_)))), "told of what never was: {told:?}");
    });
}
