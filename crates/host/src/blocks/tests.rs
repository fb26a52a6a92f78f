//! Chains of small files, and what is told of their blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::import::disk::Disk;
use crate::import::write;
use crate::keys::Key;
use crate::volume::chain::tests::{keys, plain};

const GIB: u64 = 1 << 30;

/// Pieces that hold one byte throughout.
struct Pieces<'p>(&'p BTreeMap<u64, u8>);

impl Disk for Pieces<'_> {
    fn size(&self) -> u64 {
        2 * GIB
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let Some(byte) = self.0.get(&(at / PIECE as u64)) else { return Ok(false) };
        piece.fill(*byte);
        Ok(true)
    }
}

fn file(folder: &Path, name: &str, gib: u64, pieces: &[(u64, u8)]) -> PathBuf {
    let path = folder.join(name);
    let mut out = BufWriter::new(std::fs::File::create(&path).expect("makes"));
    let pieces: BTreeMap<u64, u8> = pieces.iter().copied().collect();
    write::write(&mut Pieces(&pieces), gib * GIB, None, &mut out, |_| Ok(())).expect("writes");
    out.flush().expect("flushes");
    path
}

fn open(files: &[PathBuf]) -> Opened {
    Opened::open(plain(files)).expect("opens")
}

fn held(files: &[PathBuf], from: u32, most: usize) -> Result<BlocksSeen> {
    open(files).held(from, most)
}

fn changed(files: &[PathBuf], since: &[PathBuf], from: u32, most: usize) -> Result<BlocksSeen> {
    open(files).changed(&mut open(since), from, most)
}

fn read(files: &[PathBuf], index: u32) -> Result<Vec<u8>> {
    open(files).read(index)
}

fn indexes(seen: &BlocksSeen) -> Vec<u32> {
    seen.blocks.iter().map(|block| block.index).collect()
}

#[test]
fn blocks_that_hold_nothing_are_left_out_and_pages_go_on_where_one_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = file(folder.path(), "below", 1, &[(0, 1), (15, 2), (16_383, 3)]);
    let top = file(folder.path(), "top", 2, &[(1, 4), (8, 5), (20_000, 6)]);
    let files = [top, below];
    let all = held(&files, 0, 100).expect("lists");
    assert_eq!((indexes(&all), all.next), (vec![0, 1, 2047, 2500], None));
    let some = held(&files, 1, 2).expect("lists");
    assert_eq!((indexes(&some), some.next), (vec![1, 2047], Some(2500)));
    assert_eq!(indexes(&held(&files, 2500, 2).expect("lists")), [2500]);
    assert_eq!(held(&[], 0, 9).expect("lists"), BlocksSeen::default());
    let block = read(&files, 0).expect("reads");
    assert_eq!([block[0], block[PIECE], block[2 * PIECE], block[BLOCK - 1]], [1, 4, 0, 0]);
    assert_eq!(read(&files, 3).expect("reads"), vec![0; BLOCK]);
    assert!(read(&files, 4096).is_err());
    assert_eq!(read(&[], 3).expect("reads"), vec![0; BLOCK]);
}

#[test]
fn of_one_lineage_only_what_was_written_since_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = file(folder.path(), "base", 1, &[(0, 1), (80, 1)]);
    let first = [file(folder.path(), "first", 1, &[(8, 2)]), base.clone()];
    let second = [file(folder.path(), "second", 1, &[(16, 3), (80, 3)]), first[0].clone(), base.clone()];
    let seen = changed(&second, &first, 0, 100).expect("compares");
    let told: Vec<_> = seen.blocks.iter().map(|block| (block.index, block.before)).collect();
    assert_eq!(told, [(2, false), (10, true)]);
    // Backwards it is the same blocks, and of siblings what either wrote.
    assert_eq!(indexes(&changed(&first, &second, 0, 100).expect("compares")), [2, 10]);
    let sibling = [file(folder.path(), "sibling", 1, &[(24, 4)]), base];
    assert_eq!(indexes(&changed(&sibling, &first, 0, 100).expect("compares")), [1, 3]);
    assert_eq!(changed(&first, &first, 0, 100).expect("compares"), BlocksSeen::default());
    // Of others all that either holds.
    let stranger = [file(folder.path(), "stranger", 1, &[(24, 4)])];
    assert_eq!(indexes(&changed(&stranger, &first, 0, 100).expect("compares")), [0, 1, 3, 10]);
    assert_eq!(indexes(&changed(&first, &[], 0, 100).expect("compares")), [0, 1, 10]);
    // What was merged says more than what was written since, and is the same.
    let merged = [file(folder.path(), "merged", 1, &[(0, 1), (8, 2), (16, 3), (80, 3)])];
    assert_eq!(indexes(&changed(&merged, &first, 0, 100).expect("compares")), [2, 10]);
    assert_eq!(changed(&merged, &second, 0, 100).expect("compares"), BlocksSeen::default());
    let page = changed(&stranger, &first, 1, 2).expect("compares");
    assert_eq!((indexes(&page), page.next), (vec![1, 3], Some(10)));
}

#[test]
fn what_a_smaller_file_hides_is_changed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = file(folder.path(), "base", 2, &[(20_000, 1)]);
    let small = file(folder.path(), "small", 1, &[]);
    let grown = [file(folder.path(), "grown", 2, &[]), small, base.clone()];
    let whole = [file(folder.path(), "whole", 2, &[]), base];
    assert_eq!(indexes(&changed(&whole, &grown, 0, 100).expect("compares")), [2500]);
    assert_eq!(indexes(&changed(&grown, &whole, 0, 100).expect("compares")), [2500]);
}

#[test]
fn what_differs_is_told_and_nothing_else() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    let mut dice = StdRng::seed_from_u64(seed);
    for round in 0..12 {
        let folder = tempfile::tempdir().expect("a folder");
        let make = |name: &str, dice: &mut StdRng| {
            let pieces: Vec<_> = (0..dice.random_range(0..6))
                .map(|_| (dice.random_range(16_330..16_430), dice.random_range(1..4)))
                .collect();
            file(folder.path(), name, dice.random_range(1..3), &pieces)
        };
        let common: Vec<_> = (0..dice.random_range(0..3)).map(|n| make(&format!("c{n}"), &mut dice)).collect();
        let side = |name: &str, dice: &mut StdRng| {
            let own: Vec<_> = (0..dice.random_range(0..3)).map(|n| make(&format!("{name}{n}"), dice)).collect();
            own.into_iter().chain(common.iter().cloned()).collect::<Vec<_>>()
        };
        let (a, b) = (side("a", &mut dice), side("b", &mut dice));
        let end = if b.is_empty() {
            0
        } else {
            u32::try_from(Chain::open(&plain(&b)).expect("opens").size() / SIZE).expect("fits")
        };
        let seen = changed(&b, &a, 0, usize::MAX).expect("compares");
        let told: BTreeSet<u32> = indexes(&seen).into_iter().collect();
        for index in (2_030..2_060).filter(|index| *index < end) {
            let before = read(&a, index).unwrap_or_else(|_| vec![0; BLOCK]);
            let differs = before != read(&b, index).expect("reads");
            assert_eq!(differs, told.contains(&index), "{index} of round {round}; replay with SEED={seed}");
        }
    }
}

#[test]
fn what_is_encrypted_is_told_of_and_read_by_its_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = keys(folder.path());
    let file = |name: &str, key: Option<Key>, pieces: &[(u64, u8)]| {
        let path = folder.path().join(name);
        let luks = key.as_ref().map(|key| key.luks().expect("makes"));
        let mut out = BufWriter::new(std::fs::File::create(&path).expect("makes"));
        let pieces: BTreeMap<u64, u8> = pieces.iter().copied().collect();
        write::write(&mut Pieces(&pieces), GIB, luks.as_ref(), &mut out, |_| Ok(())).expect("writes");
        out.flush().expect("flushes");
        (path, key)
    };
    let first = vec![file("first", Some(key(1)), &[(0, 1), (9, 2)]), file("plain", None, &[(80, 4)])];
    let second = [&[file("second", Some(key(2)), &[(9, 3)])], &*first].concat();
    let open = |files: &[Keyed]| Opened::open(files.to_vec()).expect("opens");
    assert_eq!(indexes(&open(&second).held(0, 100).expect("lists")), [0, 1, 10]);
    let seen = open(&second).changed(&mut open(&first), 0, 100).expect("compares");
    assert_eq!(seen.blocks, [BlockSeen { index: 1, before: true }]);
    let there = |index: u32, piece: usize| open(&second).read(index).expect("reads")[piece * PIECE];
    assert_eq!((there(0, 0), there(1, 1), there(10, 0), there(10, 1)), (1, 3, 4, 0));
    let without = Opened::open(plain(&[second[0].0.clone()]));
    assert!(format!("{:#}", without.err().expect("has no key")).ends_with("second: it is encrypted"));
}
