//! A run over many topologies, each of the next seed: who takes which, what is done, what was wrong.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Topologies between two words of how far it is.
const SAID_EVERY: u64 = 200;

pub struct Course {
    test: &'static str,
    first: u64,
    topologies: u64,
    /// Packets of each topology.
    pub each: u64,
    began: Instant,
    so_far: Mutex<SoFar>,
}

#[derive(Default)]
struct SoFar {
    /// Topologies that somebody took, and those of them that are not done.
    taken: u64,
    under_way: BTreeSet<u64>,
    packets: u64,
    wrong: Vec<String>,
}

impl SoFar {
    /// All before this one are done.
    fn reached(&self) -> u64 {
        self.under_way.first().copied().unwrap_or(self.taken)
    }
}

impl Course {
    pub fn new(test: &'static str, first: u64, topologies: u64, each: u64) -> Self {
        Self { test, first, topologies, each, began: Instant::now(), so_far: Mutex::default() }
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next seed, while there is one and nothing is wrong.
    pub fn next(&self) -> Option<u64> {
        let mut so_far = self.so_far();
        let n = so_far.taken;
        if n >= self.topologies || !so_far.wrong.is_empty() {
            return None;
        }
        so_far.taken += 1;
        so_far.under_way.insert(n);
        Some(self.first + n)
    }

    /// A topology had so many packets, or another verdict.
    pub fn done(&self, seed: u64, tried: Result<u64, String>) {
        let mut so_far = self.so_far();
        match tried {
            Ok(packets) => {
                let before = so_far.reached();
                so_far.under_way.remove(&(seed - self.first));
                so_far.packets += packets;
                if before / SAID_EVERY < so_far.reached() / SAID_EVERY {
                    self.say(&so_far);
                }
            }
            Err(difference) => {
                let replay =
                    format!("replay: {} cargo test -p awan-host --test matrix {}", self.words(seed, 1), self.test);
                so_far.wrong.push(format!("seed {seed}\n{difference}\n{replay}"));
            }
        }
    }

    /// What makes so many topologies from a seed.
    fn words(&self, seed: u64, topologies: u64) -> String {
        let packets = topologies * self.each;
        format!("AWAN_MATRIX_SEED={seed} AWAN_MATRIX_TOPOLOGIES={topologies} AWAN_MATRIX_PACKETS={packets}")
    }

    #[expect(clippy::print_stderr, reason = "what is cut short can go on where it was")]
    fn say(&self, so_far: &SoFar) {
        let (reached, packets, took) = (so_far.reached(), so_far.packets, self.began.elapsed());
        if reached < self.topologies {
            let rest = self.words(self.first + reached, self.topologies - reached);
            eprintln!("{}: {reached} topologies, {packets} packets, {took:.0?}; the rest: {rest}", self.test);
        }
    }

    /// How many packets were sent, if nothing was wrong.
    #[expect(clippy::print_stderr, reason = "what was done is the proof")]
    pub fn end(&self) -> u64 {
        let so_far = self.so_far();
        assert!(so_far.wrong.is_empty(), "{}", so_far.wrong.join("\n\n"));
        let Self { test, first, topologies, .. } = self;
        let (packets, took) = (so_far.packets, self.began.elapsed());
        let how_fast = format!("{took:.1?}, {:.0} a second", packets as f64 / took.as_secs_f64());
        eprintln!("{test}: {topologies} topologies from seed {first}, {packets} packets, 0 differences, {how_fast}");
        packets
    }
}
