//! Requests to EBS's direct API.

use super::{Recipe, Teller};

const SNAPSHOT: (&str, &str) = ("path:snapshotId", "<snap>");
const INDEX: (&str, &str) = ("path:blockIndex", "0|1|2047|-1|9999999999|x");
const PAGE: (&str, &str) = ("query:maxResults", "100|10000|1|x");
const FROM: (&str, &str) = ("query:startingBlockIndex", "0|7|-1|2147483647");
const SHA256: (&str, &str) = ("header:x-amz-checksum-algorithm", "SHA256|MD5");
const COUNT: (&str, &str) = ("header:x-amz-changedblockscount", "1|0|-1|x");

pub const RECIPES: &[Recipe] = &[
    (
        "CompleteSnapshot",
        &[SNAPSHOT, COUNT],
        &[("header:x-amz-checksum", "x|47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")],
    ),
    ("GetSnapshotBlock", &[SNAPSHOT, INDEX, ("query:blockToken", "AAAA|x")], &[]),
    (
        "ListChangedBlocks",
        &[("path:secondSnapshotId", "<snap>")],
        &[("query:firstSnapshotId", "<snap>"), PAGE, FROM, ("query:pageToken", "AAAA")],
    ),
    ("ListSnapshotBlocks", &[SNAPSHOT], &[PAGE, FROM, ("query:pageToken", "AAAA")]),
    (
        "PutSnapshotBlock",
        &[SNAPSHOT, INDEX, SHA256, ("block", "524288|524288|1")],
        &[("header:x-amz-progress", "7|101"), ("header:x-amz-checksum", "x"), ("header:x-amz-data-length", "1")],
    ),
    (
        "StartSnapshot",
        &[("VolumeSize", "1|8|0|65537")],
        &[
            ("ParentSnapshotId", "<snap>"),
            ("Timeout", "10|9|4320"),
            ("ClientToken", "a|b"),
            ("Description", "x"),
            ("Encrypted", "true|false"),
            ("Tags", r#"[{"Key":"a","Value":"b"}]|[{}]|x"#),
        ],
    ),
];

pub fn story(teller: &mut dyn Teller) {
    let member = |told: &str, name: &str| {
        let rest = told.split(&format!("\"{name}\":\"")).nth(1);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    };
    let snapshot = member(&teller.ask("StartSnapshot", "VolumeSize=1"), "SnapshotId");
    let about = format!("path:snapshotId={snapshot}");
    teller.ask(
        "PutSnapshotBlock",
        &format!("{about}&path:blockIndex=0&header:x-amz-checksum-algorithm=SHA256&block=524288"),
    );
    teller.ask("CompleteSnapshot", &format!("{about}&header:x-amz-changedblockscount=1"));
    teller.round();
    let token = member(&teller.ask("ListSnapshotBlocks", &about), "BlockToken");
    teller.ask("GetSnapshotBlock", &format!("{about}&path:blockIndex=0&query:blockToken={token}"));
    teller.ask("ListChangedBlocks", &format!("path:secondSnapshotId={snapshot}&query:firstSnapshotId={snapshot}"));
    teller.ask("DeleteSnapshot", &format!("SnapshotId={snapshot}"));
}
