//! A file system that is full: what adds to the store is refused, what gives room back is done, what was acknowledged
//! stays, and nothing has to be started again. A flush that fails is another matter: nothing is accepted after it.
//!
//! Needs root, to make small file systems in a mount namespace of its own, and `strace` for what no file system can be
//! brought to; without them each test says so and passes.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use awan_state::{
    Clock, Db, DbError, Entropy, Home, Index, Millis, Mode, Record, Ref, SqliteStore, Store as _, StoreError, Tenant,
    Txn, Write,
};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

/// In MiB: the log's reserve is a quarter.
const SIZE: usize = 64;
/// What a record carries.
const LOAD: usize = 4_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    home: Home,
    id: String,
    load: String,
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
        Vec::new()
    }
}

struct Still;
impl Clock for Still {
    fn now(&self) -> Millis {
        7
    }
}

fn tenant() -> Tenant {
    Tenant { home: Home::new("a", "r"), principal: "test".into() }
}

fn open(folder: &Path) -> Db {
    let store = SqliteStore::open(&folder.join("s.db")).expect("opens");
    Db::open(Box::new(store), Mode::Inline, Arc::new(Still), Entropy::seeded(1), |_| {}).expect("opens")
}

fn put(db: &Db, id: &str, letter: &str) -> Result<(), DbError> {
    db.transact_blocking(tenant(), "test", |tx| {
        tx.put(Thing { home: Home::new("a", "r"), id: id.into(), load: letter.repeat(LOAD) });
        Ok(())
    })
}

fn remove(db: &Db, id: &str) -> Result<(), DbError> {
    db.transact_blocking(tenant(), "test", |tx| {
        tx.remove::<Thing>(&id.to_owned());
        Ok(())
    })
}

fn things(db: &Db) -> Vec<Thing> {
    db.read(tenant(), |tx| tx.list::<Thing>().iter().map(|t| (**t).clone()).collect())
}

fn is_full(done: &Result<(), DbError>) -> bool {
    matches!(done, Err(DbError::Store(StoreError::Full(_))))
}

/// Takes all that is left, as guests' disks do.
fn fill(folder: &Path) {
    let mut file = File::options().create(true).append(true).open(folder.join("others")).expect("opens");
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    // What was only promised is taken too.
    let _ = file.sync_all();
}

/// Runs a story on a file system of its own, which nobody else sees and which is gone with the thread.
fn on_a_small_disk(kind: &'static str, story: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let told = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may");
        let nothing = None::<&str>;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("nobody else sees it");
        let (folder, image) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        if kind == "tmpfs" {
            let size = format!("size={SIZE}m");
            mount(Some("small"), folder.path(), Some(kind), MsFlags::empty(), Some(&*size)).expect("mounts");
        } else if !mount_image(kind, folder.path(), &image.path().join("disk")) {
            eprintln!("skipped: {kind} cannot be made or mounted here");
            return;
        }
        story(folder.path());
        nix::mount::umount2(folder.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmounts");
    });
    told.join().expect("the story ends well");
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn mount_image(kind: &str, folder: &Path, image: &Path) -> bool {
    File::create(image).and_then(|file| file.set_len((SIZE as u64) << 20)).expect("makes");
    quiet(Command::new(format!("mkfs.{kind}")).arg("-q").arg(image))
        && quiet(Command::new("mount").args(["-o", "loop"]).arg(image).arg(folder))
}

/// Writes so many at once.
fn put_all(db: &Db, range: Range<usize>, letter: &str) -> Result<(), DbError> {
    db.transact_blocking(tenant(), "test", |tx| {
        for n in range.clone() {
            tx.put(Thing { home: Home::new("a", "r"), id: format!("{n:04}"), load: letter.repeat(LOAD) });
        }
        Ok(())
    })
}

fn a_full_disk_is_survived(folder: &Path) {
    let db = open(folder);
    put_all(&db, 0..100, "x").expect("there is room");
    assert_eq!(db.failure(), None);
    fill(folder);
    // The log takes its blocks in steps; what is left of the last goes first.
    let last = (0..500).find(|n| is_full(&put(&db, &format!("last-{n}"), "x"))).expect("then there is none");
    (0..last).for_each(|n| remove(&db, &format!("last-{n}")).expect("gives room back"));
    let (before, at) = (things(&db), db.snapshot().revision());
    for n in 0..50 {
        assert!(is_full(&put(&db, &format!("new-{n}"), "x")));
    }
    assert!(matches!(db.failure(), Some(StoreError::Full(_))));
    assert_eq!((things(&db), db.snapshot().revision()), (before, at), "nothing of them stays");
    for n in 0..50 {
        remove(&db, &format!("{n:04}")).expect("gives room back");
        put(&db, &format!("{:04}", 50 + n), "y").expect("takes no more than it had");
    }
    assert!(is_full(&put(&db, "new", "x")), "others have the room still");
    let left = things(&db);
    drop(db);
    let db = open(folder);
    assert_eq!(things(&db), left, "it opens on a full disk, and has what it had");
    std::fs::remove_file(folder.join("others")).expect("removes");
    put(&db, "new", "x").expect("there is room again");
    assert_eq!((db.failure(), things(&db).len()), (None, 51));
}

/// The reserve ends too: then SQLite itself finds no room, in the middle of what it writes.
fn the_last_room_is_survived(folder: &Path) {
    let db = open(folder);
    put_all(&db, 0..500, "a").expect("there is room");
    fill(folder);
    let mut expected = things(&db);
    let mut refused = 0;
    // More than the reserve holds, in transactions of many pages.
    for turn in 0..120 {
        let (range, letter) = ((turn * 7 % 450)..(turn * 7 % 450 + 50), ["b", "c", "d", "e", "f"][turn % 5]);
        match put_all(&db, range.clone(), letter) {
            Ok(()) => range.for_each(|n| expected[n].load = letter.repeat(LOAD)),
            done => {
                assert!(is_full(&done), "{done:?}");
                refused += 1;
            }
        }
        if turn % 8 == 0 || refused % 8 == 1 {
            assert!(things(&db) == expected, "memory has what was acknowledged, and nothing else");
        }
    }
    assert!(refused > 10, "the last room was never used up: {refused}");
    std::fs::remove_file(folder.join("others")).expect("removes");
    put(&db, "new", "x").expect("there is room again");
    let last = things(&db);
    drop(db);
    assert!(things(&open(folder)) == last, "the disk has what was acknowledged, and nothing else");
}

/// A log that has once been moved to the file has blocks of its own to write to; the file can grow no more.
fn a_log_that_cannot_be_moved_any_more_is_survived(folder: &Path) {
    let db = open(folder);
    let log = || std::fs::metadata(folder.join("s.db-wal")).expect("is there").len();
    let mut grown = 0;
    while grown < log() {
        grown = log();
        put_all(&db, 0..400, "a").expect("there is room");
    }
    fill(folder);
    let accepted = (4..200).take_while(|n| put_all(&db, n * 100..n * 100 + 100, "c").is_ok()).count();
    assert!(accepted > 0 && log() > grown, "it was to be written behind what the log had: {accepted}");
    let done = put_all(&db, 0..1, "d").and_then(|()| remove(&db, "0001"));
    done.expect("there is the reserve");
    assert!(matches!(db.failure(), Some(StoreError::Full(_))));
    assert_eq!(things(&db).len(), 399 + accepted * 100);
    std::fs::remove_file(folder.join("others")).expect("removes");
    put(&db, "new", "x").expect("there is room again");
    let last = things(&db);
    drop(db);
    assert!(things(&open(folder)) == last, "the disk has what was acknowledged, and nothing else");
}

#[test]
fn what_adds_is_refused_what_gives_back_is_done_until_there_is_room() {
    for kind in ["tmpfs", "ext4"] {
        on_a_small_disk(kind, a_full_disk_is_survived);
        on_a_small_disk(kind, the_last_room_is_survived);
        on_a_small_disk(kind, a_log_that_cannot_be_moved_any_more_is_survived);
    }
}

/// Runs a child that commits again and again, has a system call on the log fail from some time on until some time, and
/// tells what the child was told.
fn with_a_fault(call: &str, error: &str, when: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let log = folder.path().join("s.db-wal");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:error={error}:when={when}"), "-P"]);
    command.arg(&log).arg(std::env::current_exe().expect("this test"));
    command.args(["--exact", "a_flush_that_fails_ends_it_and_an_append_that_fails_does_not", "--nocapture"]);
    let child = command.env("AWAN_FULL_CHILD", &path).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let told: Vec<String> = lines.filter_map(|line| Some(line.strip_prefix("told ")?.to_owned())).collect();
    assert!(child.wait().expect("ends").success(), "{call} {error}: {told:?}");
    let (acknowledged, unknown) = (told.iter().filter(|t| *t == "ok").count(), told.contains(&"failed".to_owned()));
    let rows = SqliteStore::open(&path).expect("opens").range("n/", None, 1000).expect("reads").rows.len();
    assert!(rows == acknowledged || unknown && rows == acknowledged + 1, "{rows} rows; {call} {error}: {told:?}");
    told
}

const COMMITS: u64 = 30;

#[expect(clippy::print_stdout, reason = "how the child tells what it was told")]
fn child(path: &str) {
    let store = SqliteStore::open(path.as_ref()).expect("opens");
    for n in 0..COMMITS {
        let key = format!("n/{n:08}").into();
        let write = Write { key, value: Some("x".repeat(LOAD).into_bytes().into()) };
        let txn = Txn { writes: vec![write], cause: "test".into(), ..Txn::default() };
        let told = match store.commit(&[txn]) {
            Ok(_) => "ok",
            Err(StoreError::Full(_)) => "full",
            Err(StoreError::Failed(_)) => "failed",
        };
        println!("told {told}");
    }
}

#[test]
fn a_flush_that_fails_ends_it_and_an_append_that_fails_does_not() {
    if let Ok(path) = std::env::var("AWAN_FULL_CHILD") {
        return child(&path);
    }
    if !quiet(Command::new("strace").args(["-o", "/dev/null", "true"])) {
        eprintln!("skipped: there is no strace, or it may not trace");
        return;
    }
    // Which calls fail: those before are needed to make the store, and after them there is room again.
    let table = [
        ("write,pwrite64", "ENOSPC", "30..40", "ok full ok"),
        ("write,pwrite64", "EDQUOT", "30..40", "ok full ok"),
        ("write,pwrite64", "EIO", "30..40", "ok failed"),
        ("fallocate", "ENOSPC", "1..12", "full ok"),
        ("fallocate", "EDQUOT", "1..12", "full ok"),
        ("fallocate", "EOPNOTSUPP", "1..12", "ok"),
        // Nobody asks for the log's times at each commit: its next write would note them anew.
        ("statx,fstat,newfstatat", "EIO", "5..1000", "ok"),
        ("fsync,fdatasync", "EIO", "10..12", "ok failed"),
        ("fsync,fdatasync", "ENOSPC", "10..12", "ok failed"),
    ];
    for (call, error, when, expected) in table {
        let mut told = with_a_fault(call, error, when);
        assert_eq!(told.len() as u64, COMMITS);
        told.dedup();
        assert_eq!(told.join(" "), expected, "{call} {error}");
    }
}
