//! Blocks that are put, hosts that end meanwhile, and the disk that comes of it.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::blocks::Opened;
use crate::volume::chain::tests::keys;
use crate::volume::files::crash;

const ID: &str = "ami-00000000000000001";

fn unlock(key: Option<&Key>) -> Unlock {
    let key = key.cloned();
    Box::new(move || Ok(key.clone()))
}

fn open(folder: &Path) -> Written {
    open_with(folder, None)
}

fn open_with(folder: &Path, key: Option<&Key>) -> Written {
    let written = Written::new(folder.join("contents").join(ID), None, 1, unlock(key));
    written.open(false).expect("opens");
    written
}

fn block(byte: u8) -> Vec<u8> {
    vec![byte; BLOCK]
}

fn put(written: &Written, index: u32, byte: u8) -> Result<()> {
    let bytes = block(byte);
    written.put(index, &bytes, Sha256::digest(&bytes).into())
}

fn sum(blocks: &BTreeMap<u32, u8>) -> (u64, [u8; 32]) {
    let mut sum = Sha256::new();
    blocks.values().for_each(|byte| sum.update(Sha256::digest(block(*byte))));
    (blocks.len() as u64, sum.finalize().into())
}

/// What a disk holds, of blocks that hold the same byte throughout.
fn read(disk: &Path, key: Option<&Key>) -> BTreeMap<u32, u8> {
    let mut opened = Opened::open(vec![(disk.to_owned(), key.cloned())]).expect("opens");
    let all = opened.held(0, usize::MAX).expect("lists");
    assert_eq!(all.next, None);
    let mut one = |index: u32| {
        let bytes = opened.read(index).expect("reads");
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{index} is mixed");
        (index, bytes[0])
    };
    all.blocks.iter().map(|block| one(block.index)).collect()
}

fn disk(folder: &Path) -> PathBuf {
    folder.join("contents").join(ID).join(DISK)
}

#[test]
fn what_is_put_is_the_disk_that_comes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("contents")).expect("makes");
    let written = open(folder.path());
    assert_eq!(written.seen(), Seen::Open);
    for (index, byte) in [(2047, 1), (0, 2), (1023, 3), (1024, 4), (0, 5), (7, 6), (7, 0)] {
        put(&written, index, byte).expect("puts");
    }
    assert!(put(&written, 2048, 1).is_err() && written.put(0, b"short", [0; 32]).is_err());
    let expected = BTreeMap::from([(0, 5), (7, 0), (1023, 3), (1024, 4), (2047, 1)]);
    assert_eq!(written.sum().expect("counts"), sum(&expected));
    written.seal(5).expect("seals");
    assert!(matches!(written.seen(), Seen::Kept { size_gib: 1, bytes } if bytes > 4 * BLOCK as u64));
    assert!(put(&written, 0, 1).is_err(), "it is whole");
    let held = expected.into_iter().filter(|(_, byte)| *byte != 0).collect();
    assert_eq!(read(&disk(folder.path()), None), held);
    assert_eq!(std::fs::read_dir(disk(folder.path()).parent().expect("a folder")).expect("lists").count(), 1);
    // The next life finds it so, and one that has lost it makes no other.
    assert!(matches!(open(folder.path()).seen(), Seen::Kept { .. }));
    std::fs::remove_file(disk(folder.path())).expect("removes");
    let lost = Written::new(folder.path().join("contents").join(ID), None, 1, unlock(None));
    lost.open(true).expect("looks");
    assert!(matches!(lost.seen(), Seen::Lost { .. }));
}

#[test]
fn what_was_begun_when_there_was_no_room_begins_again() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("contents")).expect("makes");
    drop(open(folder.path()));
    let lines = folder.path().join("contents").join(ID).join(LINES);
    for length in [0, LINE - 1] {
        std::fs::write(&lines, vec![b'a'; length]).expect("writes");
        let written = open(folder.path());
        put(&written, 4, 2).expect("puts");
        assert_eq!(written.sum().expect("counts"), sum(&BTreeMap::from([(4, 2)])), "{length}");
    }
}

#[test]
fn who_was_slow_undoes_nothing_that_was_acknowledged_since() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("contents")).expect("makes");
    let written = open(folder.path());
    put(&written, 4, 2).expect("puts");
    // As if it had begun after the next.
    let change = |change: &mut dyn FnMut(&mut Open)| match &mut *written.lock() {
        State::Open(open) => change(open),
        _ => panic!("is open"),
    };
    let mut before = (0, 0);
    change(&mut |open| {
        open.blocks.get_mut(&4).expect("is there").turn = 9;
        before = (open.count, open.places);
    });
    put(&written, 4, 3).expect("puts, and was overtaken");
    change(&mut |open| assert_eq!((open.count, open.free.clone()), (before.0, vec![before.1]), "its place is free"));
    assert_eq!(written.sum().expect("counts"), sum(&BTreeMap::from([(4, 2)])));
}

#[test]
fn what_is_encrypted_is_nowhere_and_is_read_by_its_key_only() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("contents")).expect("makes");
    let keys = keys(folder.path());
    let (key, other) = (keys(1), keys(2));
    let written = open_with(folder.path(), Some(&key));
    // In ciphertext nobody finds what it repeats, or its sum.
    let needles: Vec<Vec<u8>> =
        [1, 2, 3].iter().flat_map(|b| [vec![*b; 64], Sha256::digest(block(*b)).to_vec()]).collect();
    let holds_any = || {
        let there = std::fs::read_dir(folder.path().join("contents").join(ID)).expect("lists");
        there
            .map(|entry| std::fs::read(entry.expect("lists").path()).expect("reads"))
            .any(|bytes| needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle)))
    };
    for (index, byte) in [(2047, 1), (0, 2), (7, 3), (7, 0), (0, 3)] {
        put(&written, index, byte).expect("puts");
        assert!(!holds_any(), "after {index}, {byte}");
    }
    drop(written);
    // Only its key goes on, and no other has lost anything by trying.
    let closed = Written::new(folder.path().join("contents").join(ID), None, 1, unlock(Some(&other)));
    assert!(closed.open(false).is_err() && closed.seen() == Seen::New);
    let written = open_with(folder.path(), Some(&key));
    let expected = BTreeMap::from([(0, 3), (7, 0), (2047, 1)]);
    assert_eq!(written.sum().expect("counts"), sum(&expected));
    written.seal(3).expect("seals");
    assert!(!holds_any() && matches!(written.seen(), Seen::Kept { size_gib: 1, .. }));
    assert_eq!(read(&disk(folder.path()), Some(&key)), BTreeMap::from([(0, 3), (2047, 1)]));
    for key in [None, Some(keys(2))] {
        assert!(Opened::open(vec![(disk(folder.path()), key)]).is_err());
    }
}

#[test]
fn less_than_was_acknowledged_becomes_no_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("contents")).expect("makes");
    let written = open(folder.path());
    put(&written, 0, 1).expect("puts");
    written.seal(2).expect("looks");
    assert!(matches!(written.seen(), Seen::Lost { .. }) && !disk(folder.path()).exists());
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn qemu_reads_the_same_and_finds_nothing_wrong() {
    let has = std::process::Command::new("qemu-img").arg("--version").output().is_ok();
    if !has {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    for encrypted in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("contents")).expect("makes");
        let key = encrypted.then(|| keys(folder.path())(1));
        let written = open_with(folder.path(), key.as_ref());
        for (index, byte) in [(3, 9), (1500, 8), (5, 0)] {
            put(&written, index, byte).expect("puts");
        }
        written.seal(3).expect("seals");
        let (disk, secret) = (disk(folder.path()), folder.path().join("secret"));
        std::fs::write(&secret, key.map(|key| key.passphrase()).unwrap_or_default()).expect("writes");
        let object = format!("secret,id=key,file={}", secret.display());
        let opened = format!("driver=qcow2,file.driver=file,file.filename={}", disk.display());
        let opened = if encrypted { format!("{opened},encrypt.format=luks,encrypt.key-secret=key") } else { opened };
        let run = |program: &str, words: &[&str]| {
            let mut command = std::process::Command::new(program);
            let done = command.args(words).args(["--object", &object, "--image-opts", &opened]).output().expect("runs");
            (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
        };
        let (fine, said) = run("qemu-img", &["check"]);
        assert!(fine, "{said}");
        let reads = ["read -P 9 1536k 512k", "read -P 8 750M 512k", "read -P 0 2560k 512k"];
        let reads: Vec<_> = ["-r"].into_iter().chain(reads.into_iter().flat_map(|read| ["-c", read])).collect();
        let (_, said) = run("qemu-io", &reads);
        assert!(said.matches("read 524288/524288").count() == 3 && !said.contains("failed"), "{said}");
    }
}

const PUTS: [(u32, u8); 5] = [(1, 1), (2, 2), (1, 3), (9, 0), (2, 4)];

/// Puts all of them and makes a disk of it, on a host that ends after so many steps. Returns what was acknowledged, and what
/// was not and may be there; `None`: nothing ended it.
fn cut_short(folder: &Path, key: Option<&Key>, steps: u32) -> Option<[BTreeMap<u32, u8>; 2]> {
    for name in ["contents", "past"] {
        std::fs::create_dir(folder.join(name)).expect("makes");
    }
    crash::begin(folder.join("past"));
    crash::after_steps(steps);
    let (mut known, mut tried) = (BTreeMap::new(), None);
    let first = Written::new(folder.join("contents").join(ID), None, 1, unlock(key));
    let done = first.open(false).and_then(|()| {
        for (index, byte) in PUTS {
            tried = Some((index, byte));
            put(&first, index, byte)?;
            known.insert(index, byte);
        }
        tried = None;
        first.seal(3)
    });
    if !crash::revived() {
        done.expect("nothing ended it");
        return None;
    }
    let mut either = known.clone();
    either.extend(tried);
    Some([known, either])
}

/// Ended before each step, with and without power, and made a disk of, at once or after all was put again.
#[test]
fn nothing_that_was_acknowledged_is_lost_wherever_it_is_cut_short() {
    let master = tempfile::tempdir().expect("a folder");
    let key = keys(master.path())(1);
    for steps in 0.. {
        let variants = [(false, false), (false, true), (true, false), (true, true)].into_iter();
        for ((again, all), key) in variants.map(|variant| (variant, None)).chain([((steps % 2 == 0, true), Some(&key))])
        {
            let folder = tempfile::tempdir().expect("a folder");
            let Some([known, either]) = cut_short(folder.path(), key, steps) else {
                assert!(steps > 15, "{steps}");
                return;
            };
            crash::cut_power(|owed| if all { owed } else { owed / 2 });
            let place = format!("before step {steps}, {again} {all} {}: {known:?} {either:?}", key.is_some());
            let next = open_with(folder.path(), key);
            let mut held = known.clone();
            if matches!(next.seen(), Seen::Open) {
                let now = next.sum().expect("counts");
                assert!(now == sum(&known) || now == sum(&either), "{place}");
                if now == sum(&either) {
                    held = either;
                }
                for (index, byte) in PUTS.into_iter().filter(|_| again) {
                    put(&next, index, byte).expect("puts");
                    held.insert(index, byte);
                }
                next.seal(held.len() as u64).expect("seals");
            }
            held.retain(|_, byte| *byte != 0);
            assert_eq!(read(&disk(folder.path()), key), held, "{place}");
        }
    }
}

#[test]
fn any_order_of_it_is_what_a_table_says() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let place = || format!("replay with SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["contents", "past"] {
        std::fs::create_dir(folder.path().join(name)).expect("makes");
    }
    crash::begin(folder.path().join("past"));
    let (mut written, mut known) = (open(folder.path()), BTreeMap::new());
    for _ in 0..60 {
        if dice.random_bool(0.3) {
            crash::after_steps(dice.random_range(0..6));
        }
        let (index, byte) = (dice.random_range(0..12), dice.random_range(0..5));
        match put(&written, index, byte) {
            Ok(()) => drop(known.insert(index, byte)),
            Err(e) => {
                assert!(crash::revived(), "{e:#}; {}", place());
                crash::cut_power(|all| dice.random_range(0..=all));
                written = open(folder.path());
                let mut either = known.clone();
                either.insert(index, byte);
                let now = written.sum().expect("counts");
                assert!(now == sum(&known) || now == sum(&either), "{}", place());
                if now == sum(&either) {
                    known = either;
                }
            }
        }
        crash::revived();
    }
    written.seal(known.len() as u64).unwrap_or_else(|e| panic!("{e:#}; {}", place()));
    known.retain(|_, byte| *byte != 0);
    assert_eq!(read(&disk(folder.path()), None), known, "{}", place());
}
