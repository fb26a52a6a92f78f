//! What QEMU writes into chains of files is read as QEMU reads it, byte by byte and layer by layer.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use awan_model::key::SealedKey;
use awan_model::volume::Limits;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::offline;
use super::*;
use crate::driver::BlockDevice;
use crate::import::write;
use crate::keys::MasterKeys;

const MIB: u64 = 1 << 20;

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("starts");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub fn has_qemu() -> bool {
    Command::new("qemu-img").arg("--version").output().is_ok()
}

/// Files of different sizes and clusters, each naming what is below it; the nearest first.
pub fn made(folder: &Path, dice: &mut StdRng) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let clusters: &[&str] = if dice.random_bool(0.5) { &["64k"] } else { &["4k", "64k", "512", "2M"] };
    for n in 0..dice.random_range(1..6) {
        let path = folder.join(n.to_string());
        let cluster = clusters[dice.random_range(0..clusters.len())];
        let size = dice.random_range(1..10 * 2048_u64) * 512;
        let mut args = vec!["create", "-q", "-f", "qcow2", "-F", "qcow2"];
        let below = files.first().map(|path| path.display().to_string());
        match &below {
            Some(below) => args.extend(["-b", below]),
            None => args.truncate(4),
        }
        let (options, size_text) = (format!("cluster_size={cluster}"), size.to_string());
        let name = path.display().to_string();
        args.extend(["-o", &options, &name, &size_text]);
        run("qemu-img", &args);
        let mut writes = Vec::new();
        for _ in 0..dice.random_range(0..12) {
            let (at, most) = (dice.random_range(0..size / 512) * 512, 300 << 10);
            let length = dice.random_range(1..=most.min(size - at).div_ceil(512)) * 512;
            let length = length.min(size - at);
            writes.push(match dice.random_range(0..4) {
                0 => format!("write -z -u {at} {length}"),
                1 if below.is_none() => format!("discard {at} {length}"),
                _ => format!("write -P {} {at} {length}", dice.random_range(1..=255)),
            });
        }
        let commands = writes.iter().flat_map(|write| ["-c", write]);
        let all: Vec<&str> = ["-f", "qcow2"].into_iter().chain(commands).chain([&*name]).collect();
        if !writes.is_empty() {
            run("qemu-io", &all);
        }
        if below.is_none() && dice.random_bool(0.3) {
            let packed = folder.join("packed");
            let to = packed.display().to_string();
            run("qemu-img", &["convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o", &options, &name, &to]);
            std::fs::rename(packed, &path).expect("moves");
        }
        files.insert(0, path);
    }
    files
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so, and how to do it again")]
fn a_chain_is_read_as_qemu_reads_it() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let first: u64 = std::env::var("AWAN_CHAIN_SEED").ok().map_or(0, |seed| seed.parse().expect("a number"));
    for seed in first..first + 12 {
        eprintln!("AWAN_CHAIN_SEED={seed} replays this first");
        let (folder, mut dice) = (tempfile::tempdir().expect("a folder"), StdRng::seed_from_u64(seed));
        let files = made(folder.path(), &mut dice);
        let (top, raw) = (files[0].display().to_string(), folder.path().join("raw"));
        run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &top, raw.to_str().expect("text")]);
        let mut chain = Chain::open(&plain(&files)).expect("opens");
        reads(&mut chain, &std::fs::read(raw).expect("reads"));
        listed(&mut chain, &top);
    }
}

pub fn plain(files: &[PathBuf]) -> Vec<Keyed> {
    files.iter().map(|path| (path.clone(), None)).collect()
}

fn reads(chain: &mut Chain, expected: &[u8]) {
    assert_eq!(chain.size(), expected.len() as u64);
    let mut piece = Box::new([0xEE; PIECE]);
    for (n, there) in (0..).zip(expected.chunks(PIECE)) {
        let any = chain.read(n * PIECE as u64, &mut piece).expect("reads");
        let (begins, rest) = piece.split_at(there.len());
        let same = if any { begins == there && rest.iter().all(|b| *b == 0) } else { there.iter().all(|b| *b == 0) };
        assert!(same, "piece {n}");
    }
}

/// Keys that follow from one master key.
pub fn keys(folder: &Path) -> impl Fn(u8) -> Key + use<> {
    let keys = MasterKeys::read_or_make(&folder.join("master.key")).expect("a key");
    let master = keys.names().remove(0);
    move |n| keys.key(&SealedKey { master: master.clone(), of: "vol-1".into(), seed: [n; 32] }).expect("a key")
}

pub fn device(files: &[Keyed]) -> BlockDevice {
    let (paths, keys): (Vec<_>, Vec<_>) = files.iter().cloned().unzip();
    BlockDevice {
        volume: "vol-00000000000000001".parse().expect("an id"),
        path: paths[0].clone(),
        format: "qcow2",
        backing: paths[1..].to_vec(),
        keys,
        size_gib: 1,
        limits: Limits::default(),
        held: Arc::default(),
    }
}

/// Files of different sizes, most of them encrypted, each by a key of its own, that QEMU wrote to; the nearest first.
pub async fn made_encrypted(folder: &Path, dice: &mut StdRng) -> Vec<Keyed> {
    let (mut files, key): (Vec<Keyed>, _) = (Vec::new(), keys(folder));
    for n in 0..dice.random_range(1..6) {
        let path = folder.join(n.to_string());
        let key = dice.random_bool(0.7).then(|| key(n));
        let luks = key.as_ref().map(|key| key.luks().expect("makes"));
        let size = dice.random_range(1..10 * 2048_u64) * 512;
        let mut out = File::create(&path).expect("makes");
        write::empty(size, luks.as_ref(), &mut out).expect("writes");
        files.insert(0, (path, key));
        for _ in 0..dice.random_range(0..8) {
            let at = dice.random_range(0..size / 512) * 512;
            let length = (dice.random_range(1..600) * 512).min(size - at);
            let line = match dice.random_range(0..4) {
                0 => format!("write -z -u {at} {length}"),
                _ => format!("write -P {} {at} {length}", dice.random_range(1..=255)),
            };
            let said = offline::testing::io(&device(&files), &line).await;
            assert!(said.contains("wrote"), "{line}: {said}");
        }
    }
    files
}

/// What QEMU reads.
pub async fn copied(folder: &Path, files: &[Keyed]) -> Vec<u8> {
    let (raw, mut command) = (folder.join("raw"), tokio::process::Command::new("qemu-img"));
    command.arg("convert");
    let (disk, _secrets) = offline::opened(&mut command, &device(files)).expect("holds the keys");
    command.args(["-O", "raw", &format!("json:{disk}")]).arg(&raw);
    let output = command.output().await.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(raw).expect("reads")
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says so, and how to do it again")]
async fn what_is_encrypted_is_read_as_qemu_reads_it_by_its_key_only() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let first: u64 = std::env::var("AWAN_CHAIN_SEED").ok().map_or(200, |seed| seed.parse().expect("a number"));
    for seed in first..first + 8 {
        eprintln!("AWAN_CHAIN_SEED={seed} replays this first");
        let (folder, mut dice) = (tempfile::tempdir().expect("a folder"), StdRng::seed_from_u64(seed));
        let files = made_encrypted(folder.path(), &mut dice).await;
        let mut chain = Chain::open(&files).expect("opens");
        reads(&mut chain, &copied(folder.path(), &files).await);
        let other = keys(folder.path())(99);
        for n in 0..files.len() {
            let refused = |key: Option<Key>| {
                let mut files = files.clone();
                files[n].1 = key;
                let e = Chain::open(&files).err().expect("is refused");
                assert_eq!(
                    e.is::<super::super::luks::Closed>(),
                    format!("{e:#}").ends_with("the key does not open it")
                );
                format!("{e:#}").replace(&format!("opening {}: ", files[n].0.display()), "")
            };
            if files[n].1.is_none() {
                assert_eq!(refused(Some(other.clone())), "it is not encrypted, and should be");
            } else {
                assert_eq!(refused(Some(other.clone())), "the key does not open it");
                assert_eq!(refused(None), "it is encrypted");
            }
        }
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
async fn what_qemu_encrypts_from_the_start_is_read_and_a_header_that_lies_is_not() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (key, path) = (keys(folder.path())(1), folder.path().join("disk"));
    let (secret, name) = (format!("secret,id=k,data={}", key.passphrase()), path.display().to_string());
    let options = "encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=1,cluster_size=4k";
    run("qemu-img", &["create", "-q", "--object", &secret, "-f", "qcow2", "-o", options, &name, "3M"]);
    let files = [(path.clone(), Some(key))];
    let said = offline::testing::io(&device(&files), "write -P 7 5000 100000").await;
    assert!(said.contains("wrote"), "{said}");
    reads(&mut Chain::open(&files).expect("opens"), &copied(folder.path(), &files).await);
    // The part of its header that says where that of LUKS is.
    let whole = std::fs::read(&path).expect("reads");
    let part = whole.windows(4).position(|bytes| bytes == [5, 0x37, 0xbe, 0x77]).expect("is there");
    for (at, bytes, why) in [
        (32, [0, 0, 0, 1], "how it is encrypted is not known"),
        (part, [0; 4], "it does not say what opens it"),
        (part + 4, [0xff; 4], "it does not say what opens it"),
        (part + 8, [0xff; 4], "it ends before what it names"),
        (part + 20, [0, 0, 1, 0], "it ends before what it names"),
        (100, [0xff; 4], "it does not say what opens it"),
    ] {
        let mut broken = whole.clone();
        broken[at..at + 4].copy_from_slice(&bytes);
        std::fs::write(&path, &broken).expect("writes");
        let told = Chain::open(&files).err().expect("is refused");
        assert_eq!(format!("{told:#}"), format!("opening {name}: {why}"), "at {at}");
    }
}

/// What QEMU says of who holds what, where clusters are pieces.
fn listed(chain: &mut Chain, top: &str) {
    let map: serde_json::Value =
        serde_json::from_str(&run("qemu-img", &["map", "-f", "qcow2", "--output", "json", top])).expect("parses");
    let number = |extent: &serde_json::Value, name: &str| extent[name].as_u64().expect("a number");
    for depth in 1..=chain.depth() {
        let mut expected = Vec::new();
        for extent in map.as_array().expect("a list") {
            let held = extent["present"].as_bool().expect("says") && number(extent, "depth") < depth as u64;
            let (from, length) = (number(extent, "start"), number(extent, "length"));
            let pieces = from / PIECE as u64..(from + length).div_ceil(PIECE as u64);
            expected.extend(pieces.filter(|_| held).map(|n| n * PIECE as u64));
        }
        expected.dedup();
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(holder) = chain.next(from, depth).expect("lists") {
            assert_eq!(chain.holder(holder.at).expect("says"), Some(holder));
            found.push(holder.at);
            from = holder.at + PIECE as u64;
        }
        assert_eq!(found, expected, "down to {depth}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn what_a_header_names_is_not_opened_and_data_elsewhere_is_refused() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (path, secret) = (folder.path().join("top"), folder.path().join("secret"));
    std::fs::write(&secret, vec![7; 1 << 20]).expect("writes");
    let (name, secret) = (path.display().to_string(), secret.display().to_string());
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &secret, &name, "1M"]);
    let mut chain = Chain::open(&plain(std::slice::from_ref(&path))).expect("opens");
    assert!(!chain.read(0, &mut Box::new([0; PIECE])).expect("reads"), "what it names is not below it");
    assert_eq!((chain.size(), chain.next(0, 1).expect("lists")), (MIB, None));
    let options = format!("data_file={secret},data_file_raw=on");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, &name, "1M"]);
    let told = Chain::open(&plain(&[path])).err().expect("is refused");
    assert_eq!(format!("{told:#}"), format!("opening {name}: its data lies in another file"));
    assert!(Chain::open(&[]).is_err());
}
