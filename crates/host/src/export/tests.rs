//! Files come, are there whole or not at all, and go as plans say.

use std::path::Path;

use awan_model::export::DiskFormat;

use super::*;
use crate::import::disk::PIECE;

const WITHIN: Duration = Duration::from_secs(30);
const ID: &str = "export-ami-00000000000000001";

/// A disk of 8 MiB, all of it ones, which can be held back.
struct Ones(Option<std::sync::mpsc::Receiver<()>>);

impl Disk for Ones {
    fn size(&self) -> u64 {
        8 << 20
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        piece.fill(1);
        if let Some(gate) = self.0.as_ref().filter(|_| at > 0) {
            let _ = gate.recv_timeout(WITHIN);
        }
        Ok(true)
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("exports/111111111111/b")).expect("makes");
        Self(folder)
    }

    fn exports(&self, host: &str) -> Arc<Exports> {
        let host = HostId::new(host).expect("a name");
        Exports::new(host, Some(self.0.path().join("exports")), self.0.path())
    }

    fn bucket(&self) -> PathBuf {
        self.0.path().join("exports/111111111111/b")
    }
}

fn plan(prefix: &str) -> ExportPlan {
    ExportPlan {
        home: Home::new("111111111111", "r"),
        id: ID.parse().expect("an id"),
        of: None,
        size_gib: 0,
        format: DiskFormat::Raw,
        bucket: "b".into(),
        prefix: prefix.into(),
        cancelled: false,
    }
}

/// What is told of the only task in the end, or as soon as it is as `enough` says.
async fn told(exports: &Arc<Exports>, plan: &ExportPlan, enough: impl Fn(&ExportPhase) -> bool) -> ExportPhase {
    let (plan, changed) = (std::slice::from_ref(plan), exports.changed());
    let reached = async {
        loop {
            if let Some(job) = exports.next(plan) {
                exports.begin(job, Ok(Box::new(Ones(None))));
            }
            let seen = exports.seen(plan).pop().filter(|seen| enough(&seen.phase));
            if let (Some(seen), None) = (seen, &exports.state().running) {
                return seen.phase;
            }
            changed.notified().await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.expect("in time")
}

/// Does all that there is to do now; returns what was written or tried, in order.
async fn rest(
    exports: &Arc<Exports>,
    plan: &[ExportPlan],
    disk: impl Fn() -> Result<Box<dyn Disk + Send>>,
) -> Vec<String> {
    let (mut written, changed) = (Vec::new(), exports.changed());
    let done = async {
        loop {
            match exports.next(plan) {
                Some(job) => {
                    if let Job::Write(plan, _) = &job {
                        written.push(plan.id.to_string());
                    }
                    exports.begin(job, disk());
                }
                None if exports.state().running.is_none() => return,
                None => {}
            }
            changed.notified().await;
        }
    };
    tokio::time::timeout(WITHIN, done).await.expect("in time");
    written
}

#[expect(clippy::unnecessary_wraps, reason = "as a host opens disks")]
fn ones() -> Result<Box<dyn Disk + Send>> {
    Ok(Box::new(Ones(None)))
}

/// The n-th of an account.
fn nth(account: u8, n: u8) -> ExportPlan {
    let id = format!("export-ami-{account}{n:016}").parse().expect("an id");
    ExportPlan { home: Home::new(&account.to_string().repeat(12), "r"), id, ..plan("") }
}

fn phases(exports: &Arc<Exports>, plan: &[ExportPlan]) -> Vec<ExportPhase> {
    exports.seen(plan).into_iter().map(|seen| seen.phase).collect()
}

fn is_over(phase: &ExportPhase) -> bool {
    !matches!(phase, ExportPhase::Writing { .. })
}

fn files(folder: &Path) -> Vec<String> {
    let mut found: Vec<_> =
        walk(folder).iter().map(|path| path.strip_prefix(folder).expect("is in it").display().to_string()).collect();
    found.sort();
    found
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("lists").map(|entry| entry.expect("reads").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_file_is_there_when_it_is_whole_and_goes_when_its_task_is_cancelled() {
    let folder = Folder::new();
    let exports = folder.exports("host");
    let mut asked = plan("of/mine-");
    let kept = ExportPhase::Kept { bytes: 8 << 20 };
    assert_eq!(told(&exports, &asked, is_over).await, kept);
    assert_eq!(files(&folder.bucket()), [format!("of/mine-{ID}.raw")]);
    let path = folder.bucket().join(format!("of/mine-{ID}.raw"));
    assert!(std::fs::read(&path).expect("reads") == vec![1; 8 << 20]);
    // Who told nobody before it ended has it still, and does not write it again.
    std::fs::write(&path, "as it was").expect("writes");
    assert_eq!(told(&folder.exports("host"), &asked, is_over).await, ExportPhase::Kept { bytes: 9 });
    asked.cancelled = true;
    for exports in [exports, folder.exports("host")] {
        assert_eq!(told(&exports, &asked, is_over).await, ExportPhase::Gone);
        assert_eq!(files(&folder.bucket()), <[String; 0]>::default());
    }
}

#[tokio::test]
async fn what_is_cancelled_while_it_is_written_leaves_nothing() {
    let folder = Folder::new();
    let exports = folder.exports("host");
    let (open, gate) = std::sync::mpsc::channel();
    let (mut asked, mut ones) = (plan(""), Some(Ones(Some(gate))));
    let changed = exports.changed();
    let writing = async {
        while exports.seen(std::slice::from_ref(&asked)).is_empty() {
            if let Some(job) = exports.next(std::slice::from_ref(&asked)) {
                let disk = if matches!(job, Job::Write(..)) { ones.take() } else { Some(Ones(None)) };
                exports.begin(job, Ok(Box::new(disk.expect("is written once"))));
            }
            changed.notified().await;
        }
    };
    tokio::time::timeout(WITHIN, writing).await.expect("in time");
    assert_eq!(files(&folder.bucket()), [format!(".host.{ID}.new")]);
    asked.cancelled = true;
    assert!(exports.next(std::slice::from_ref(&asked)).is_none(), "it goes on");
    drop(open);
    assert_eq!(told(&exports, &asked, |phase| *phase == ExportPhase::Gone).await, ExportPhase::Gone);
    assert_eq!(files(&folder.bucket()), <[String; 0]>::default());
}

#[tokio::test]
async fn what_a_life_left_unfinished_goes_and_what_is_anothers_stays() {
    let folder = Folder::new();
    let left = [".host.export-ami-00000000000000002.new", &format!(".host.{ID}.new")];
    let others = [".other.export-ami-00000000000000002.new", ".host.x.new", "export-ami-00000000000000003.raw"];
    for name in left.iter().chain(&others) {
        std::fs::write(folder.bucket().join(name), "half").expect("writes");
    }
    std::fs::write(folder.0.path().join("exports/README"), "no account").expect("writes");
    let exports = folder.exports("host");
    assert_eq!(told(&exports, &plan(""), is_over).await, ExportPhase::Kept { bytes: 8 << 20 });
    let mut expected = others.map(str::to_owned).to_vec();
    expected.push(format!("{ID}.raw"));
    expected.sort();
    assert_eq!(files(&folder.bucket()), expected);
}

#[tokio::test]
async fn no_name_leads_out_of_a_bucket() {
    let folder = Folder::new();
    let (inside, outside) = (folder.bucket(), folder.0.path().join("outside"));
    std::fs::create_dir_all(outside.join("x")).expect("makes");
    std::fs::create_dir_all(folder.0.path().join("exports/222222222222/theirs")).expect("makes");
    std::os::unix::fs::symlink(&outside, inside.join("link")).expect("makes");
    std::os::unix::fs::symlink(&outside, inside.with_file_name("linked")).expect("makes");
    std::os::unix::fs::symlink("b", inside.with_file_name("inner")).expect("makes");
    let failed = |why: &str| ExportPhase::Failed { why: why.into() };
    let exports = folder.exports("host");
    for prefix in ["link/", "link/x/", "../outside/", "../../222222222222/theirs/", "/tmp/", "a/../../b/"] {
        let seen = told(&exports, &plan(prefix), is_over).await;
        assert_eq!(seen, failed("ServerError: the image could not be exported"), "{prefix}");
        assert!(exports.next(&[]).is_none(), "forgets it");
    }
    for bucket in ["linked", "inner", "../222222222222/theirs", "none", "..", ".", "b/"] {
        let asked = ExportPlan { bucket: bucket.into(), ..plan("") };
        assert_eq!(told(&exports, &asked, is_over).await, failed(NO_BUCKET), "{bucket}");
        assert!(!exports.has_bucket(&asked.home, bucket).expect("looks"), "{bucket}");
        let cancelled = ExportPlan { cancelled: true, ..asked };
        assert_eq!(told(&exports, &cancelled, |phase| *phase == ExportPhase::Gone).await, ExportPhase::Gone);
        assert!(exports.next(&[]).is_none(), "forgets it");
    }
    assert!(exports.has_bucket(&plan("").home, "b").expect("looks"));
    assert!(!exports.has_bucket(&plan("").home, "theirs").expect("looks"), "another account's");
    assert_eq!(files(&outside), <[String; 0]>::default());
    assert_eq!(files(&folder.0.path().join("exports/222222222222")), <[String; 0]>::default());
}

#[tokio::test]
async fn what_another_file_or_folder_is_in_the_way_of_is_not_there_and_goes() {
    let folder = Folder::new();
    let exports = folder.exports("host");
    let first = nth(1, 1);
    rest(&exports, std::slice::from_ref(&first), ones).await;
    // As names: a file where its folder would be, and a folder where it would be.
    let below = ExportPlan { prefix: format!("{}.raw/", first.id), cancelled: true, ..nth(1, 2) };
    let above = ExportPlan { cancelled: true, ..nth(1, 3) };
    std::fs::create_dir(folder.bucket().join(format!("{}.raw", above.id))).expect("makes");
    let all = [first.clone(), below.clone(), above.clone()];
    rest(&exports, &all, ones).await;
    let kept = ExportPhase::Kept { bytes: 8 << 20 };
    assert_eq!(phases(&exports, &all), [kept.clone(), ExportPhase::Gone, ExportPhase::Gone]);
    // What is to be written there fails, and leaves nothing.
    let all = [first.clone(), ExportPlan { cancelled: false, ..below }, ExportPlan { cancelled: false, ..above }];
    let exports = folder.exports("host");
    rest(&exports, &all, ones).await;
    let failed = ExportPhase::Failed { why: FAILED.into() };
    assert_eq!(phases(&exports, &all), [kept, failed.clone(), failed]);
    assert_eq!(files(&folder.bucket()), [format!("{}.raw", first.id)]);
}

#[tokio::test]
async fn what_cannot_be_cleared_keeps_no_other_waiting_and_has_not_failed_until_it_is() {
    let folder = Folder::new();
    let exports = folder.exports("host");
    // No file system looks such a name up.
    let bucket = "b".repeat(300);
    let stuck =
        [false, true].map(|cancelled| ExportPlan { bucket: bucket.clone(), cancelled, ..nth(1, cancelled.into()) });
    let cancelled = ExportPlan { cancelled: true, ..nth(1, 2) };
    std::fs::write(folder.bucket().join(format!("{}.raw", cancelled.id)), "whole").expect("writes");
    let mut all = [&stuck[..], &[cancelled, nth(1, 3)]].concat();
    assert_eq!(rest(&exports, &all, ones).await, [&all[0], &all[3]].map(|plan| plan.id.to_string()));
    assert_eq!(phases(&exports, &all), [ExportPhase::Gone, ExportPhase::Kept { bytes: 8 << 20 }]);
    assert_eq!(rest(&exports, &all, ones).await, <[String; 0]>::default(), "not yet again");
    exports.state().again.clear();
    all[..2].iter_mut().for_each(|plan| plan.bucket = "b".into());
    assert_eq!(rest(&exports, &all, ones).await, <[String; 0]>::default(), "it failed");
    let failed = ExportPhase::Failed { why: FAILED.into() };
    assert_eq!(phases(&exports, &all)[..2], [failed, ExportPhase::Gone]);
}

#[tokio::test]
async fn what_failed_leaves_nothing_even_of_an_earlier_life() {
    let folder = Folder::new();
    let left = folder.bucket().join(format!(".host.{ID}.new"));
    std::fs::write(&left, "half").expect("writes");
    let (exports, asked) = (folder.exports("host"), [plan("")]);
    rest(&exports, &asked, || Err(anyhow::anyhow!("its disk cannot be opened"))).await;
    assert_eq!(phases(&exports, &asked), [ExportPhase::Failed { why: FAILED.into() }]);
    assert_eq!(files(&folder.bucket()), <[String; 0]>::default());
}

struct Broken;

impl Disk for Broken {
    fn size(&self) -> u64 {
        8 << 20
    }

    fn read(&mut self, _: u64, _: &mut [u8; PIECE]) -> Result<bool> {
        panic!("as a fault would")
    }
}

#[tokio::test]
async fn a_fault_ends_its_own_task_and_no_other() {
    let folder = Folder::new();
    let (exports, all) = (folder.exports("host"), [nth(1, 1), nth(1, 2)]);
    rest(&exports, &all[..1], || Ok(Box::new(Broken))).await;
    rest(&exports, &all, ones).await;
    let kept = ExportPhase::Kept { bytes: 8 << 20 };
    assert_eq!(phases(&exports, &all[1..]), std::slice::from_ref(&kept));
    exports.state().again.clear();
    rest(&exports, &all, ones).await;
    assert_eq!(phases(&exports, &all), [ExportPhase::Failed { why: FAILED.into() }, kept]);
    assert_eq!(files(&folder.bucket()), [format!("{}.raw", all[1].id)]);
}

#[tokio::test]
async fn accounts_take_turns_and_each_gets_what_it_asked_for_first() {
    let folder = Folder::new();
    let all = [nth(1, 2), nth(1, 1), nth(1, 3), nth(2, 2), nth(2, 1), nth(3, 1)];
    let order = [&all[0], &all[3], &all[5], &all[1], &all[4], &all[2]].map(|plan| plan.id.to_string());
    assert_eq!(rest(&folder.exports("host"), &all, ones).await, order);
}

#[tokio::test]
async fn a_folder_is_made_when_it_is_needed_and_one_that_is_none_keeps_no_host_from_starting() {
    let folder = Folder::new();
    let path = folder.0.path();
    let new = |name: &str| Exports::new(HostId::new("host").expect("a name"), Some(path.join(name)), path);
    let exports = new("new/exports");
    assert!(!path.join("new").exists());
    rest(&exports, &[], ones).await;
    assert!(path.join("new/exports").is_dir() && exports.state().swept);
    std::fs::write(path.join("file"), "").expect("writes");
    let exports = new("file/exports");
    rest(&exports, &[], ones).await;
    assert!(exports.takes() && !exports.state().swept);
    exports.has_bucket(&plan("").home, "b").expect_err("cannot look");
    assert!(place::is_beside(&path.join("new/exports"), path).expect("looks"));
    assert!(!place::is_beside(Path::new("/proc"), path).expect("looks"));
}

#[tokio::test]
async fn what_cannot_be_swept_keeps_nothing_else_from_going() {
    let folder = Folder::new();
    let loops = folder.0.path().join("exports/000000000000");
    std::os::unix::fs::symlink(&loops, &loops).expect("makes");
    let left = folder.bucket().join(".host.export-ami-00000000000000002.new");
    std::fs::write(&left, "half").expect("writes");
    let exports = folder.exports("host");
    rest(&exports, &[], ones).await;
    assert!(!left.exists() && !exports.state().swept);
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
async fn folders_that_an_ended_life_made_belong_to_the_owner_of_their_bucket_too() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let folder = Folder::new();
    let bucket = folder.bucket();
    std::os::unix::fs::chown(&bucket, Some(12_345), Some(54_321)).expect("gives");
    std::fs::create_dir(bucket.join("left")).expect("makes");
    let asked = plan("left/new/");
    assert_eq!(told(&folder.exports("host"), &asked, is_over).await, ExportPhase::Kept { bytes: 8 << 20 });
    for path in ["left", "left/new", &format!("left/new/{ID}.raw")] {
        let about = bucket.join(path).metadata().expect("is there");
        assert_eq!((about.uid(), about.gid()), (12_345, 54_321), "{path}");
    }
}
