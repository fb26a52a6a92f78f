//! The addresses of a network namespace, though this program may have left it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};

/// The kernel's table of IPv4 routes. Once open, it tells about the namespace in which it was opened, wherever its
/// reader is by then.
const TABLE: &str = "/proc/thread-self/net/fib_trie";
const TABLE_MAX: u64 = 16 << 20;

#[derive(Debug, Clone)]
pub struct Outside(Arc<File>);

impl Outside {
    /// The namespace that this thread is in.
    pub fn here() -> Result<Self> {
        Ok(Self(Arc::new(File::open(TABLE).with_context(|| format!("opening {TABLE}"))?)))
    }

    /// What that namespace takes for itself, broadcasts of its networks too, as it is now.
    pub fn addresses(&self) -> Result<BTreeSet<String>> {
        let (mut text, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let at = text.len() as u64;
            match self.0.read_at(&mut piece, at).with_context(|| format!("reading {TABLE}"))? {
                0 => break,
                n => text.extend_from_slice(&piece[..n]),
            }
            anyhow::ensure!(at < TABLE_MAX, "{TABLE} has no end");
        }
        Ok(own(&String::from_utf8_lossy(&text)))
    }
}

/// An address stands on a line of its own, and below it what it is for.
fn own(table: &str) -> BTreeSet<String> {
    let (mut found, mut address) = (BTreeSet::new(), "");
    for line in table.lines().map(str::trim) {
        if let Some(next) = line.strip_prefix("|-- ") {
            address = next;
        } else if let Some((length, kind)) = line.split_once(' ')
            && matches!(kind, "host LOCAL" | "link BROADCAST")
            && address != "0.0.0.0"
        {
            found.insert(if length == "/32" { address.to_owned() } else { format!("{address}{length}") });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::netns;

    #[test]
    fn what_a_namespace_takes_for_itself_is_read_from_its_table() {
        let table = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n\
            \x20          |-- 127.0.0.0\n              /8 host LOCAL\n           |-- 127.0.0.1\n              /32 host LOCAL\n\
            \x20       |-- 127.255.255.255\n           /32 link BROADCAST\n        |-- 192.168.7.0\n           /24 link UNICAST\n\
            \x20       |-- 192.168.7.20\n           /32 host LOCAL\n";
        let found: Vec<_> = own(table).into_iter().collect();
        assert_eq!(found, ["127.0.0.0/8", "127.0.0.1", "127.255.255.255", "192.168.7.20"]);
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    fn it_goes_on_telling_about_the_namespace_that_was_left() {
        use nix::sched::{CloneFlags, unshare};
        let able = nix::unistd::Uid::effective().is_root() && netns::feed("ip", &["-V"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: needs root and iproute2");
            return;
        }
        netns::ip(&["link set lo up".to_owned()]).expect("is up");
        let first = std::fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
        let outside = Outside(Arc::new(File::open("/proc/thread-self/net/fib_trie").expect("opens")));
        unshare(CloneFlags::CLONE_NEWNET).expect("leaves");
        assert!(outside.addresses().expect("reads").contains("127.0.0.1"));
        std::thread::scope(|scope| {
            let work = || {
                nix::sched::setns(&first, CloneFlags::CLONE_NEWNET).expect("enters");
                netns::ip(&["addr add 203.0.113.7/32 dev lo".to_owned()]).expect("adds");
            };
            scope.spawn(work).join().expect("works");
        });
        assert!(outside.addresses().expect("reads").contains("203.0.113.7"), "what came later too");
    }
}
