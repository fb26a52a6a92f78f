//! Disks are brought, kept and removed as plans say.

use awan_model::Home;
use awan_model::import::Format;

use super::*;

const WITHIN: Duration = Duration::from_secs(30);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("files")).expect("makes");
        Self { folder }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.folder.path().join("files").join(name);
        std::fs::write(&path, bytes).expect("writes");
        format!("file://{}", path.display())
    }

    fn open(&self) -> Arc<Contents> {
        self.open_with(MasterKeys::default())
    }

    fn open_with(&self, keys: MasterKeys) -> Arc<Contents> {
        let rules = Rules { permitted: Vec::new(), folder: Some(self.folder.path().join("files")), bytes_max: 1 << 30 };
        Contents::open(self.folder.path().join("contents"), rules, None, keys).expect("opens")
    }
}

fn plan(url: &str, format: Format, size_gib: u32) -> ContentPlan {
    let id = "ami-00000000000000001".parse().expect("an id");
    let source = Source::Fetched { url: url.into(), format, key: None };
    ContentPlan { home: Home::new("1", "r"), id, source, kept: false, size_gib, merge: None }
}

async fn until(contents: &Arc<Contents>, plan: &ContentPlan, phase: impl Fn(&ImportPhase) -> bool) -> ImportPhase {
    let plan = std::slice::from_ref(plan);
    let changed = contents.changed();
    let reached = async {
        loop {
            contents.follow(plan).expect("follows");
            if let Some(seen) = contents.seen(plan).pop().filter(|seen| phase(&seen.phase)) {
                return seen.phase;
            }
            changed.notified().await;
        }
    };
    tokio::time::timeout(WITHIN, reached).await.expect("in time")
}

#[tokio::test]
async fn a_disk_waits_for_room_is_kept_over_a_restart_and_goes_with_its_plan() {
    let place = Place::new();
    let url = place.file("a", &[7; 100_000]);
    let contents = place.open();
    let asked = plan(&url, Format::Raw, 0);
    let waits = until(&contents, &asked, |phase| matches!(phase, ImportPhase::Waiting { .. })).await;
    assert_eq!(waits, ImportPhase::Waiting { size_gib: 1 });
    assert!(!place.folder.path().join("contents").join(asked.id.as_str()).join(UNFINISHED).exists(), "nothing written");
    let granted = plan(&url, Format::Raw, 1);
    let kept = ImportPhase::Kept { size_gib: 1, bytes: 100_000 };
    assert_eq!(until(&contents, &granted, |phase| *phase == kept).await, kept);
    let again = place.open();
    std::fs::remove_file(place.folder.path().join("files/a")).expect("removes");
    assert_eq!(until(&again, &granted, |_| true).await, kept, "the source is not needed any more");
    assert_eq!(again.present().expect("lists"), std::slice::from_ref(&granted.id));
    again.follow(&[]).expect("follows");
    assert_eq!((again.present().expect("lists"), again.seen(&[granted])), (vec![], vec![]));
}

#[tokio::test]
async fn what_was_cut_short_begins_again_and_what_is_wrong_says_so() {
    let place = Place::new();
    let url = place.file("a", b"QFI\xfb and nothing else");
    let folder = place.folder.path().join("contents/ami-00000000000000001");
    std::fs::create_dir_all(&folder).expect("makes");
    for name in [UNFINISHED, SOURCE] {
        std::fs::write(folder.join(name), "half").expect("writes");
    }
    let contents = place.open();
    let failed = |phase: &ImportPhase| matches!(phase, ImportPhase::Failed { .. });
    for (format, why) in [
        (Format::Qcow2, "ClientError: Disk validation failed [qcow2 of version 543256164]"),
        (Format::Vhd, "ClientError: Disk validation failed [this is not VHD]"),
    ] {
        let told = until(&contents, &plan(&url, format, 1), failed).await;
        assert_eq!(told, ImportPhase::Failed { why: why.into() });
        assert_eq!(std::fs::read_dir(&folder).expect("lists").count(), 0, "nothing is left of the attempt");
        contents.follow(&[]).expect("follows");
    }
    let gone = plan("file:///etc/passwd", Format::Raw, 1);
    let told = until(&contents, &gone, failed).await;
    let why = "ClientError: Disk validation failed [there is no such file that may be imported]".into();
    assert_eq!(told, ImportPhase::Failed { why });
    contents.follow(&[]).expect("follows");
    let raw = plan(&url, Format::Raw, 1);
    until(&contents, &raw, |phase| matches!(phase, ImportPhase::Kept { size_gib: 1, bytes: 20..30 })).await;
}

#[tokio::test]
async fn what_is_to_be_encrypted_is_kept_so_and_says_nothing_of_this_machine_where_it_cannot_be() {
    let place = Place::new();
    let text = b"what only its owner may read, and who has the key";
    let url = place.file("a", text);
    let file = place.folder.path().join("master.key");
    let keys = MasterKeys::read_or_make(&file).expect("a key");
    let sealed = SealedKey { master: keys.names().remove(0), of: "ami-1".into(), seed: [7; 32] };
    let mut asked = plan(&url, Format::Raw, 1);
    asked.source = Source::Fetched { url, format: Format::Raw, key: Some(sealed.clone()) };
    let kept = ImportPhase::Kept { size_gib: 1, bytes: text.len() as u64 };
    let contents = place.open_with(keys.clone());
    assert_eq!(until(&contents, &asked, |phase| matches!(phase, ImportPhase::Kept { .. })).await, kept);
    let folder = place.folder.path().join("contents").join(asked.id.as_str());
    let mut there: Vec<_> = std::fs::read_dir(&folder).expect("lists").map(|e| e.expect("lists").path()).collect();
    there.sort();
    assert_eq!(there, [folder.join(CAME), folder.join(DISK)]);
    let bytes = std::fs::read(folder.join(DISK)).expect("reads");
    assert!(!bytes.windows(text.len()).any(|window| window == text));
    let files = |keys: MasterKeys| {
        place.open_with(keys).files(&asked.id, &SealedKeys::from([(asked.id.clone(), sealed.clone())]))
    };
    let mut opened = crate::blocks::Opened::open(files(keys.clone()).expect("has its key")).expect("opens");
    assert!(opened.read(0).expect("reads").starts_with(text));
    // Who lost the master key has it still, and cannot read it.
    let lost = place.open();
    assert_eq!(until(&lost, &asked, |_| true).await, kept);
    assert!(files(MasterKeys::default()).is_err());
    lost.follow(&[]).expect("follows");
    let told = until(&lost, &asked, |phase| matches!(phase, ImportPhase::Failed { .. })).await;
    assert_eq!(told, ImportPhase::Failed { why: "ServerError: the disk could not be kept".into() });
    assert_eq!(std::fs::read_dir(&folder).expect("lists").count(), 0, "nothing is left of the attempt");
}

#[tokio::test]
async fn one_that_cannot_begin_keeps_no_other_from_it() {
    let place = Place::new();
    let url = place.file("a", &[7; 1_000]);
    let broken = plan(&url, Format::Raw, 1);
    let folder = place.folder.path().join("contents").join(broken.id.as_str());
    std::fs::create_dir_all(&folder).expect("makes");
    std::fs::write(folder.join(DISK), "no disk").expect("writes");
    let fine = ContentPlan { id: "ami-00000000000000002".parse().expect("an id"), ..broken.clone() };
    let (contents, both) = (place.open(), [broken, fine.clone()]);
    assert!(contents.follow(&both).is_err(), "it is told");
    let begun: Vec<_> = contents.seen(&both).into_iter().map(|seen| seen.id).collect();
    assert_eq!(begun, [fine.id]);
}
