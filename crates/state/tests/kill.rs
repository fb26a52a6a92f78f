//! Kills a writing process at random moments: whatever it acknowledged is there, and nothing is half there.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use awan_state::{Check, SqliteStore, Store as _, Txn, Write};

const KILLS: u64 = 25;
/// Each transaction writes so many keys, all or none of which must be there.
const KEYS: u64 = 5;

fn txn(n: u64) -> Txn {
    let write = |k| Write { key: format!("n/{n:08}/{k}").into(), value: Some(n.to_string().into_bytes().into()) };
    Txn {
        checks: vec![Check::Key(format!("n/{n:08}/0").into(), 0)],
        writes: (0..KEYS).map(write).collect(),
        cause: "kill".into(),
        reserve: false,
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there() {
    if let Ok(path) = std::env::var("AWAN_KILL_CHILD") {
        return child(&path);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.db");
    let mut acknowledged = 0;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "what_was_acknowledged_before_a_kill_is_there", "--nocapture"])
            .env("AWAN_KILL_CHILD", &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let reader = std::thread::spawn(move || {
            lines.lines().map_while(Result::ok).filter_map(|l| l.strip_prefix("ack ")?.parse::<u64>().ok()).max()
        });
        #[expect(clippy::disallowed_methods, reason = "the moment of the kill is what differs")]
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 90));
        child.kill().expect("kills");
        child.wait().expect("is over");
        acknowledged = reader.join().expect("reads").map_or(acknowledged, |n| n.max(acknowledged));
        let store = SqliteStore::open(&path).expect("opens after a kill");
        let rows = store.range("n/", None, usize::MAX - 1).expect("reads").rows.len() as u64;
        assert_eq!(rows % KEYS, 0, "a transaction is half there");
        assert!(rows / KEYS >= acknowledged, "{acknowledged} were acknowledged, {} are there", rows / KEYS);
    }
    assert!(acknowledged > 0, "no round got as far as an acknowledgement");
}

#[expect(clippy::print_stdout, reason = "how the child tells what it was told")]
fn child(path: &str) {
    let store = SqliteStore::open(path.as_ref()).expect("opens");
    let first = store.range("n/", None, usize::MAX - 1).expect("reads").rows.len() as u64 / KEYS;
    for n in first.. {
        // Batches of different sizes, so that kills fall between and inside flushes.
        assert_eq!(store.commit(&[txn(n)]).expect("commits").applied, 1);
        println!("ack {}", n + 1);
    }
}
