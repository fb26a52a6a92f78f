//! Log groups, the events that flow logs write into them, and how these are asked for.
//!
//! **Invariants.** Of a group the control plane keeps the record; its events lie on the hosts that saw the flows, under
//! the group's id. No two groups ever have the same id, so who makes a group anew under an old name reads nothing of the
//! old one.

use std::collections::BTreeMap;

use awan_state::{Home, Millis};
use serde::{Deserialize, Serialize};

use crate::id::{InterfaceId, LogGroupId};
use crate::plan::VpcPlan;
use crate::record;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGroup {
    pub home: Home,
    /// The name, as a key can hold it.
    pub id: String,
    pub name: String,
    /// What its events are kept under.
    pub events: LogGroupId,
    /// `None`: as long as there is room.
    pub retention_days: Option<u16>,
    pub tags: BTreeMap<String, String>,
    pub created: Millis,
}
record!(
    LogGroup,
    "log-group",
    String,
    Tenant,
    "ResourceNotFoundException",
    "The specified log group {} does not exist."
);

impl LogGroup {
    /// A name as part of a key: one name, one key, and no folders.
    pub fn key(name: &str) -> String {
        name.replace('%', "%25").replace('/', "%2F")
    }
}

/// What one host answers at most; EC2 answers no more either.
pub const EVENTS_MAX: usize = 10_000;
pub const BYTES_MAX: usize = 1 << 20;
/// What an event counts beside its message.
const EVENT_BYTES: usize = 26;
/// Streams that one host tells of a group: those that were written last.
pub const STREAMS_MAX: usize = 10_000;

/// A line of a flow log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEvent {
    /// When the flow began.
    pub at: Millis,
    /// When it was written down.
    pub ingested: Millis,
    /// Tells events of the same times apart.
    pub id: String,
    pub stream: String,
    pub message: String,
}

impl LogEvent {
    /// Its place in the order of all events of its group.
    pub fn position(&self) -> String {
        format!("{:013}-{:013}-{}", self.at, self.ingested, self.id)
    }

    pub fn size(&self) -> usize {
        self.message.len() + EVENT_BYTES
    }
}

/// The place before all events of a time and later ones.
pub fn position_at(time: Millis) -> String {
    const LAST: Millis = 9_999_999_999_999;
    format!("{:013}", time.min(LAST))
}

/// The time with which a position begins.
pub fn time_of(position: &str) -> Option<Millis> {
    position.get(..13)?.parse().ok()
}

/// The place behind an event and before the next.
pub fn behind(position: &str) -> String {
    format!("{position}~")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Streams {
    All,
    Named(Vec<String>),
    Prefix(String),
}

impl Streams {
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|one| one == name),
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// Which events of a group are wanted: those from one position up to another, without this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub streams: Streams,
    pub from: String,
    pub until: String,
    pub pattern: Pattern,
    pub newest_first: bool,
    pub limit: usize,
}

/// The first of the events that were wanted, in the order that was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<LogEvent>,
    /// There are others behind the last.
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSeen {
    pub name: String,
    pub created: Millis,
    pub first: Millis,
    pub last: Millis,
    pub ingested: Millis,
}

impl StreamSeen {
    /// The same stream, as it was seen elsewhere.
    pub fn join(&mut self, other: &Self) {
        self.created = self.created.min(other.created);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.ingested = self.ingested.max(other.ingested);
    }
}

/// Gathers events in any order, and keeps the first that there is room for.
#[derive(Debug)]
pub struct Gathered {
    newest_first: bool,
    limit: usize,
    bytes: usize,
    kept: BTreeMap<String, LogEvent>,
    /// The first that was left out: nothing behind it is kept either, so that nothing is skipped.
    end: Option<String>,
}

impl Gathered {
    pub fn new(newest_first: bool, limit: usize) -> Self {
        Self { newest_first, limit: limit.clamp(1, EVENTS_MAX), bytes: 0, kept: BTreeMap::new(), end: None }
    }

    /// Nothing from here on, in the order that is wanted, has room.
    pub fn is_over_at(&self, position: &str) -> bool {
        let end = self.end.as_deref();
        end.is_some_and(|end| if self.newest_first { position <= end } else { position >= end })
    }

    pub fn add(&mut self, event: LogEvent) {
        let position = event.position();
        if self.is_over_at(&position) {
            return;
        }
        self.bytes += event.size();
        if let Some(twin) = self.kept.insert(position, event) {
            self.bytes -= twin.size();
        }
        while self.kept.len() > self.limit || (self.bytes > BYTES_MAX && self.kept.len() > 1) {
            let last = if self.newest_first { self.kept.pop_first() } else { self.kept.pop_last() };
            let Some((position, event)) = last else { break };
            self.bytes -= event.size();
            self.end = Some(position);
        }
    }

    pub fn done(self) -> Events {
        let more = self.end.is_some();
        let mut events: Vec<_> = self.kept.into_values().collect();
        if self.newest_first {
            events.reverse();
        }
        Events { events, more }
    }
}

/// What several hosts have told, as one.
pub fn merged(parts: Vec<Events>, newest_first: bool, limit: usize) -> Events {
    let behind = |a: &str, b: &str| if newest_first { a < b } else { a > b };
    // Behind the last that a host told of more, it may have some that it did not tell.
    let ends = parts.iter().filter(|part| part.more).filter_map(|part| Some(part.events.last()?.position()));
    let end = ends.reduce(|a, b| if behind(&a, &b) { b } else { a });
    let mut gathered = Gathered::new(newest_first, limit);
    let mut more = false;
    for event in parts.into_iter().flat_map(|part| part.events) {
        if end.as_deref().is_some_and(|end| behind(&event.position(), end)) {
            more = true;
        } else {
            gathered.add(event);
        }
    }
    let Events { events, more: cut } = gathered.done();
    Events { events, more: more || cut || end.is_some() }
}

/// What the messages that are wanted contain: words, or phrases, whole and in their case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pub all: Vec<String>,
    /// If there are some.
    pub any: Vec<String>,
    pub none: Vec<String>,
}

impl Pattern {
    pub fn matches(&self, message: &str) -> bool {
        let has = |term: &String| contains(message, term);
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}

fn contains(message: &str, term: &str) -> bool {
    let of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (starts, ends) = (of_word(term.chars().next()), of_word(term.chars().next_back()));
    message.match_indices(term).any(|(at, _)| {
        let (before, after) = (message[..at].chars().next_back(), message[at + term.len()..].chars().next());
        !(starts && of_word(before) || ends && of_word(after))
    })
}

/// The stream of an interface in a group: one for all logs that write there, and named for what they tell together.
pub fn stream(plan: &VpcPlan, group: &LogGroupId, interface: &InterfaceId) -> String {
    let logs = plan.flow_logs.iter().filter(|log| log.group.as_ref() == Some(group));
    let logs = logs.filter(|log| log.interfaces.contains(interface));
    let (mut accepted, mut rejected) = (false, false);
    for log in logs {
        accepted |= log.accepted;
        rejected |= log.rejected;
    }
    let traffic = match (accepted, rejected) {
        (true, false) => "accept",
        (false, true) => "reject",
        (true, true) | (false, false) => "all",
    };
    format!("{interface}-{traffic}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: Millis, size: usize) -> LogEvent {
        let (id, stream) = (format!("{at}"), "eni-00000000000000001-all".to_owned());
        LogEvent { at, ingested: at + 60_000, id, stream, message: "x".repeat(size) }
    }

    fn times(events: &Events) -> Vec<Millis> {
        events.events.iter().map(|event| event.at).collect()
    }

    #[test]
    fn the_first_are_kept_in_the_order_that_is_wanted_and_nothing_is_skipped() {
        for (newest_first, expected) in [(false, [1, 2]), (true, [9, 5])] {
            let mut gathered = Gathered::new(newest_first, 2);
            [5, 1, 9, 2].into_iter().for_each(|at| gathered.add(event(at, 1)));
            let found = gathered.done();
            assert_eq!((times(&found), found.more), (expected.to_vec(), true));
        }
        let mut gathered = Gathered::new(false, 10);
        let half = BYTES_MAX / 2;
        // The third has no room, so that the fourth must not be told before it, although it has.
        [(1, half), (2, half / 2), (3, half), (4, 1)].into_iter().for_each(|(at, size)| gathered.add(event(at, size)));
        let found = gathered.done();
        assert_eq!((times(&found), found.more), (vec![1, 2], true));
        let mut gathered = Gathered::new(false, 10);
        gathered.add(event(1, BYTES_MAX * 2));
        assert_eq!(times(&gathered.done()), [1], "one is always told");
    }

    #[test]
    fn what_hosts_tell_is_merged_as_far_as_all_of_them_told() {
        let part = |times: &[Millis], more| Events { events: times.iter().map(|at| event(*at, 1)).collect(), more };
        let found = merged(vec![part(&[1, 4], true), part(&[2, 3, 6], false)], false, 10);
        assert_eq!((times(&found), found.more), (vec![1, 2, 3, 4], true));
        let found = merged(vec![part(&[9, 5], true), part(&[7, 3], false)], true, 10);
        assert_eq!((times(&found), found.more), (vec![9, 7, 5], true));
        let found = merged(vec![part(&[1], false), part(&[2], false)], false, 10);
        assert_eq!((times(&found), found.more), (vec![1, 2], false));
        assert_eq!(merged(Vec::new(), false, 10), Events::default());
    }

    #[test]
    fn terms_are_whole_words_and_phrases_in_their_case() {
        let line = "2 123456789012 10.0.0.5 10.0.0.6 7000 22 6 ACCEPT OK";
        let of = |all: &[&str], any: &[&str], none: &[&str]| {
            let own = |terms: &[&str]| terms.iter().map(|term| (*term).to_owned()).collect();
            Pattern { all: own(all), any: own(any), none: own(none) }.matches(line)
        };
        assert!(Pattern::default().matches(line));
        assert!(of(&["ACCEPT", "22"], &[], &[]) && !of(&["ACCEPT", "23"], &[], &[]));
        assert!(!of(&["ACC"], &[], &[]) && !of(&["accept"], &[], &[]) && !of(&["700"], &[], &[]));
        assert!(of(&["10.0.0.5 10.0.0.6"], &[], &[]) && !of(&["0.0.0.5"], &[], &[]) && of(&[".0.0.5"], &[], &[]));
        assert!(of(&[], &["REJECT", "OK"], &[]) && !of(&[], &["REJECT"], &[]));
        assert!(!of(&[], &[], &["OK"]) && of(&[], &[], &["NODATA"]));
    }

    #[test]
    fn positions_are_in_the_order_of_times() {
        let position = event(1_700_000_000_000, 1).position();
        assert!(position_at(1_700_000_000_000) < position && position < position_at(1_700_000_000_001));
        assert!(behind(&position) > position && behind(&position) < event(1_700_000_000_001, 1).position());
        assert!(position_at(u64::MAX) > position);
        assert_eq!((time_of(&behind(&position)), time_of("x")), (Some(1_700_000_000_000), None));
    }
}
