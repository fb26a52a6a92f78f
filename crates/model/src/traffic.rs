//! What went through interfaces, counted by their hosts and added up here.
//!
//! **Invariant:** nothing is counted twice: what a host says late adds nothing, and a tap that is made anew adds to what
//! the ones before it had counted.

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, InterfaceId};
use crate::record;
use crate::report::TrafficSeen;

/// From the guest's view: `in` is what it received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
}

impl Counters {
    fn plus(self, other: Self) -> Self {
        Self {
            packets_in: self.packets_in.saturating_add(other.packets_in),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            packets_out: self.packets_out.saturating_add(other.packets_out),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
        }
    }

    /// No part of it is less.
    fn reaches(self, other: Self) -> bool {
        self.packets_in >= other.packets_in
            && self.bytes_in >= other.bytes_in
            && self.packets_out >= other.packets_out
            && self.bytes_out >= other.bytes_out
    }
}

/// All that an interface has sent and received for as long as it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    pub home: Home,
    pub id: InterfaceId,
    /// Whose it was when it was counted last.
    pub instance: InstanceId,
    /// The tap that was counted last, and what it had counted.
    pub tap: String,
    pub seen: Counters,
    /// What the taps before it had counted.
    pub before: Counters,
    pub at: Millis,
}
record!(
    TrafficReport,
    "traffic-report",
    InterfaceId,
    Host,
    "InternalError",
    "Nothing was counted of the interface '{}'"
);

impl TrafficReport {
    pub fn total(&self) -> Counters {
        self.before.plus(self.seen)
    }

    /// `old` and what is seen now, if that is news.
    pub fn after(old: Option<&Self>, seen: &TrafficSeen, instance: &InstanceId, at: Millis) -> Option<Self> {
        let before = match old {
            Some(old) if old.tap == seen.tap => {
                let news = old.seen != seen.counters && seen.counters.reaches(old.seen);
                news.then_some(old.before)?
            }
            Some(old) => old.total(),
            None => Counters::default(),
        };
        let (home, id, tap) = (seen.home.clone(), seen.id.clone(), seen.tap.clone());
        Some(Self { home, id, instance: instance.clone(), tap, seen: seen.counters, before, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_goes_on_where_the_one_before_it_stopped_and_late_words_add_nothing() {
        let instance: InstanceId = "i-00000000000000001".parse().expect("an id");
        let seen = |tap: &str, n: u64| TrafficSeen {
            home: Home::new("111122223333", "us-east-1"),
            id: "eni-00000000000000001".parse().expect("an id"),
            tap: tap.into(),
            counters: Counters { packets_in: n, bytes_in: 100 * n, packets_out: 2 * n, bytes_out: 300 * n },
        };
        let mut report = None;
        for (tap, n, total) in [
            ("a", 5, Some(5)),
            ("a", 5, None),
            ("a", 7, Some(7)),
            ("a", 6, None),
            // A new tap, which has counted more than the last one already.
            ("b", 9, Some(16)),
            ("b", 10, Some(17)),
        ] {
            let next = TrafficReport::after(report.as_ref(), &seen(tap, n), &instance, 1);
            assert_eq!(next.as_ref().map(TrafficReport::total), total.map(|n| seen(tap, n).counters), "{tap} {n}");
            report = next.or(report);
        }
    }
}
