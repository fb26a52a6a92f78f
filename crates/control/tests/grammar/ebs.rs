//! Requests to EBS's direct API. What stands before a parameter says where it lies: `path:`, `query:`, `header:`; `block`
//! is the body, as many bytes of that; all else is JSON.

use awan_wire::ebs::ROUTES;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::{Call, Recipe, Rest, Teller, hex, object};

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

/// A request of an action, with its parameters wherever they say that they lie.
pub fn call(action: &str, parameters: &[(String, String)]) -> Call {
    let route = ROUTES.iter().find(|route| route.action == action).expect("a route");
    let (mut path, mut query, mut headers) = (route.path.to_owned(), String::new(), Vec::new());
    let (mut json, mut block) = (Vec::new(), None);
    for (key, value) in parameters {
        match key.split_once(':') {
            Some(("path", name)) => path = path.replace(&format!("{{{name}}}"), &hex(value)),
            Some(("query", name)) => query.push_str(&format!("&{name}={}", hex(value))),
            // What HTTP has no form for never comes.
            Some(("header", name)) if value.bytes().all(|b| b.is_ascii_graphic()) => {
                headers.push((name.to_owned(), value.clone()));
            }
            Some(("header", _)) => {}
            _ if key == "block" => block = value.parse().ok().filter(|length: &usize| *length <= 524_288),
            _ => json.push((key.clone(), value.clone())),
        }
    }
    let body = match block {
        Some(length) => {
            let body = "7".repeat(length);
            for (name, value) in [
                ("x-amz-checksum", BASE64_STANDARD.encode(Sha256::digest(&body))),
                ("x-amz-data-length", length.to_string()),
            ] {
                if headers.iter().all(|(given, _)| given != name) {
                    headers.push((name.to_owned(), value));
                }
            }
            body
        }
        None if json.is_empty() => String::new(),
        None => object(&json),
    };
    headers.sort();
    headers.dedup_by(|a, b| a.0 == b.0);
    let path = path.replace(['{', '}'], "");
    let rest = Rest { method: route.method, path, query: query.trim_start_matches('&').to_owned(), headers };
    Call { rest: Some(rest), ..Call::form("ebs", body) }
}

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
