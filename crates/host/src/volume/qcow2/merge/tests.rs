//! What the plan says is done in the background; what cannot be is said; what somebody is about to open stays.

use awan_model::Home;
use awan_model::id::VolumeId;
use awan_model::import::{Source, Taken};
use awan_model::plan::{LayerPlan, VolumePlan};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::super::chain::tests::{copied, has_qemu, keys, made, made_encrypted, plain};
use super::super::super::course::guest::Disk;
use super::*;
use crate::driver::{Unmerged, Volumes as _};

const WITHIN: Duration = Duration::from_secs(30);

fn layer(n: u32) -> ImageId {
    ImageId::made(format!("ami-{n:017x}"))
}

fn volume() -> VolumeId {
    "vol-00000000000000001".parse().expect("an id")
}

fn taken(n: u32) -> Taken {
    let below = n.checked_sub(1).filter(|n| *n > 0).map(layer);
    Taken { volume: volume(), below, generation: n, set: layer(n), volume_gib: 1, key: None }
}

fn content(n: u32, merge: Option<Merge>) -> ContentPlan {
    let source = Source::Taken(taken(n));
    ContentPlan { home: Home::new("1", "r"), id: layer(n), source, kept: true, size_gib: 1, merge }
}

fn plan(layers: u32) -> VolumePlan {
    let one = |n| LayerPlan { id: layer(n), generation: n, kept: true, volume_gib: Some(1) };
    VolumePlan { layers: (1..=layers).map(one).collect(), ..VolumePlan::empty(Home::new("1", "r"), volume(), 1) }
}

/// A volume of which so many snapshots were made, each of which has a cluster of its own, and one that all write.
async fn grown(folder: &Path, layers: u32) -> Arc<FileVolumes> {
    let volumes = FileVolumes::new(folder.join("volumes"), folder.join("images")).expect("opens");
    for n in 1..=layers {
        let device = volumes.ensure(&plan(n - 1)).await.expect("goes on");
        let mut disk = Disk::open(&plain(&[std::slice::from_ref(&device.path), &*device.backing].concat()), true);
        disk.write(0, &[u8::try_from(n).expect("few"); 1000]);
        disk.write(u64::from(n) * PIECE as u64, &[0xAA; 1000]);
        drop(disk);
        volumes.keep(&layer(n), &taken(n)).await.expect("keeps");
    }
    volumes
}

fn bytes(volumes: &FileVolumes, n: u32) -> Vec<u8> {
    let mut chain = volumes.read(&layer(n), &SealedKeys::new()).expect("opens");
    let mut piece = Box::new([0; PIECE]);
    let mut of = |at: u64| {
        piece.fill(0);
        chain.read(at * PIECE as u64, &mut piece).expect("reads");
        piece[999]
    };
    (0..12).map(&mut of).collect()
}

async fn until(volumes: &FileVolumes, plan: &[ContentPlan], done: impl Fn() -> bool) {
    let (changed, wait) = (volumes.changed(), Instant::now());
    while !done() {
        volumes.merge(plan);
        let _ = tokio::time::timeout(Duration::from_millis(50), changed.notified()).await;
        assert!(wait.elapsed() < WITHIN, "it takes too long");
    }
}

#[tokio::test]
async fn files_become_one_and_what_somebody_is_about_to_open_stays_until_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let (volumes, none) = (grown(folder.path(), 10).await, SealedKeys::new());
    let before: Vec<_> = (1..=10).map(|n| bytes(&volumes, n)).collect();
    assert_eq!(before[2], [3, 0xAA, 0xAA, 0xAA, 0, 0, 0, 0, 0, 0, 0, 0]);
    let merge = Merge { below: Some(layer(2)), room_mib: 1 };
    let all: Vec<_> = (1..=10).map(|n| content(n, (n == 9).then(|| merge.clone()))).collect();
    let device = volumes.ensure(&plan(10)).await.expect("is there");
    assert_eq!(device.backing.len(), 10);
    let below = || volumes.kept(&all[8]).expect("is kept").below;
    assert_eq!(below(), Some(layer(8)));
    until(&volumes, &all, || below() == Some(layer(2))).await;
    assert_eq!((volumes.read(&layer(9), &none).expect("opens").depth(), volumes.unmerged(&all[8])), (3, None));
    assert_eq!((1..=10).map(|n| bytes(&volumes, n)).collect::<Vec<_>>(), before);
    volumes.merge(&all);
    assert!(volumes.is_opening() && device.backing.iter().all(|path| path.exists()), "a machine is about to open it");
    let old = device.backing[1].clone();
    drop(device);
    until(&volumes, &all, || !old.exists()).await;
    // Once more, down to nothing; what it is a child of stands for itself.
    let merge = Merge { below: None, room_mib: 1 };
    let all: Vec<_> = (1..=10).map(|n| content(n, (n == 9).then(|| merge.clone()))).collect();
    until(&volumes, &all, || below().is_none()).await;
    for n in 1..=8 {
        std::fs::remove_dir_all(folder.path().join("contents").join(layer(n).as_str())).expect("goes");
    }
    drop(volumes);
    let volumes = FileVolumes::new(folder.path().join("volumes"), folder.path().join("images")).expect("opens");
    let files = std::fs::read_dir(folder.path().join("contents").join(layer(9).as_str())).expect("is there");
    let mut files: Vec<_> = files.map(|entry| entry.expect("lists").file_name()).collect();
    files.sort();
    assert_eq!(files, ["below", "disk.2.qcow2"]);
    assert_eq!((bytes(&volumes, 9), bytes(&volumes, 10)), (before[8].clone(), before[9].clone()));
    assert_eq!(volumes.read(&layer(10), &none).expect("opens").depth(), 2);
}

#[tokio::test]
async fn what_cannot_be_merged_is_told_and_what_is_not_wanted_any_more_is_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let volumes = grown(folder.path(), 3).await;
    let third = |below| vec![content(3, Some(Merge { below, room_mib: 1 }))];
    let none = SealedKeys::new();
    let told = volumes.merge_now(&layer(3), None, &none, || false).expect_err("is not wanted").to_string();
    assert_eq!(
        told,
        "writing ".to_owned() + &volumes.contents.join(layer(3).as_str()).join(MERGED).display().to_string()
    );
    volumes.merge_now(&layer(3), Some(&layer(9)), &none, || true).expect_err("that is not below it");
    let second = volumes.contents.join(layer(2).as_str()).join(DISK);
    let whole = std::fs::read(&second).expect("reads");
    // A broken-out machine wrote that its data lies in another file.
    let mut broken = whole.clone();
    broken[79] |= 4;
    std::fs::write(&second, &broken).expect("writes");
    let all = third(None);
    until(&volumes, &all, || volumes.unmerged(&all[0]).is_some()).await;
    let Unmerged { why, full } = volumes.unmerged(&all[0]).expect("is told");
    assert!(why.ends_with("its data lies in another file") && !full, "{why}");
    assert_eq!(volumes.unmerged(&content(3, None)), None, "nobody wants it any more");
    std::fs::write(&second, &whole).expect("writes");
    let files = std::fs::read_dir(volumes.contents.join(layer(3).as_str())).expect("lists").count();
    assert_eq!((files, bytes(&volumes, 3)[0]), (2, 3));
    volumes.merge(&[]);
    until(&volumes, &all, || volumes.place(&layer(3)).expect("is there").below.is_none()).await;
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so, and how to do it again")]
fn any_files_of_any_chain_become_one_that_reads_the_same() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let first: u64 = std::env::var("AWAN_CHAIN_SEED").ok().map_or(100, |seed| seed.parse().expect("a number"));
    for seed in first..first + 8 {
        eprintln!("AWAN_CHAIN_SEED={seed} replays this first");
        let folder = tempfile::tempdir().expect("a folder");
        let files = plain(&made(folder.path(), &mut StdRng::seed_from_u64(seed)));
        let merged = folder.path().join("merged");
        for depth in 1..=files.len() {
            let (nearest, rest) = files.split_at(depth);
            let mut part = Part::open(nearest, rest).expect("opens");
            let (size, mut out) = (part.chain.size(), std::fs::File::create(&merged).expect("makes"));
            write::write_clusters(&mut part, size, None, &mut out, |_| Ok(())).expect("writes");
            let mut after = Chain::open(&[&[(merged.clone(), None)], rest].concat()).expect("opens");
            let (mut a, mut b) = (Box::new([0; PIECE]), Box::new([0; PIECE]));
            for at in (0..size).step_by(PIECE) {
                a.fill(0);
                b.fill(0);
                part.chain.read(at, &mut a).expect("reads");
                after.read(at, &mut b).expect("reads");
                assert!(a == b, "{depth} of {} files, at {at:#x}", files.len());
            }
            assert_eq!((after.size(), after.depth()), (size, 1 + rest.len()));
        }
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says so, and how to do it again")]
async fn encrypted_files_become_one_that_qemu_reads_by_the_key_of_the_nearest() {
    if !has_qemu() {
        eprintln!("skipped: there is no qemu-img");
        return;
    }
    let first: u64 = std::env::var("AWAN_CHAIN_SEED").ok().map_or(300, |seed| seed.parse().expect("a number"));
    for seed in first..first + 6 {
        eprintln!("AWAN_CHAIN_SEED={seed} replays this first");
        let folder = tempfile::tempdir().expect("a folder");
        let files = made_encrypted(folder.path(), &mut StdRng::seed_from_u64(seed)).await;
        let (expected, merged) = (copied(folder.path(), &files).await, folder.path().join("merged"));
        for depth in 1..=files.len() {
            let (nearest, rest) = files.split_at(depth);
            let key = nearest[0].1.clone().unwrap_or_else(|| keys(folder.path())(98));
            let mut part = Part::open(nearest, rest).expect("opens");
            let (size, luks) = (part.chain.size(), key.luks().expect("makes"));
            let mut out = std::fs::File::create(&merged).expect("makes");
            write::write_clusters(&mut part, size, Some(&luks), &mut out, |_| Ok(())).expect("writes");
            let after = [&[(merged.clone(), Some(key))], rest].concat();
            assert!(copied(folder.path(), &after).await == expected, "{depth} of {} files", files.len());
        }
    }
}
