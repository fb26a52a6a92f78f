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
        Exports::open(host, Some(self.0.path().join("exports"))).expect("opens")
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
