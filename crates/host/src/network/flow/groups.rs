//! Log groups as files: `ACCOUNT/REGION/GROUP/TIME.log`, one for each five minutes. A line says when its flow began (in
//! seconds), when it was written down (in milliseconds), its stream, and then what the log's format has.
//!
//! **Invariant:** no line is about a time that is after its writing, or more than an hour before: so the name of a file
//! says which times it can be about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use awan_model::Home;
use awan_model::id::LogGroupId;
use awan_model::log_group::{
    self, Events, Gathered, LogEvent, STREAMS_MAX, StreamSeen, Streams, Wanted, position_at, time_of,
};
use awan_model::plan::VpcPlan;
use sha2::{Digest as _, Sha256};

use super::files::{FILE_S, Files, time};
use super::tally::Record;

const LATE_MAX_S: u64 = 3_600;

pub fn append(files: &Files, plan: &VpcPlan, group: &LogGroupId, records: &[Record], now: u64) -> Result<()> {
    let line = |record: &Record| {
        let start = record.start.clamp(now.saturating_sub(LATE_MAX_S), now);
        format!("{start} {}000 {} {}\n", now, log_group::stream(plan, group, &record.interface), record.text)
    };
    let lines: String = records.iter().map(line).collect();
    let name = format!("{}.log", time(now - now % FILE_S)?);
    files.write(&folder(&files.folder, &plan.home, group), &name, &lines)
}

fn folder(all: &Path, home: &Home, group: &LogGroupId) -> PathBuf {
    all.join(home.account()).join(home.region()).join(group.as_str())
}

/// The first of the events that are wanted.
pub fn events(all: &Path, home: &Home, group: &LogGroupId, wanted: &Wanted) -> Result<Events> {
    let Wanted { streams, from, until, pattern, newest_first, limit } = wanted;
    let times = time_of(from).unwrap_or(0)..=time_of(until).unwrap_or(u64::MAX);
    let mut gathered = Gathered::new(*newest_first, *limit);
    let mut files = files(&folder(all, home, group))?;
    if *newest_first {
        files.reverse();
    }
    for (began, path) in files {
        let (oldest, newest) = (began.saturating_sub(LATE_MAX_S), began + FILE_S);
        let (first, last) = (position_at(oldest * 1_000), position_at(newest * 1_000));
        if gathered.is_over_at(if *newest_first { &last } else { &first }) {
            break;
        }
        if last < *from || first >= *until {
            continue;
        }
        let text = read(&path)?;
        // An event has an id, which takes longer to make than all else: most lines are left out before.
        let wanted = |line: &Line<'_>| times.contains(&line.at) && streams.has(line.stream);
        for line in lines(&text).filter(|line| wanted(line) && pattern.matches(line.message)) {
            let event = line.event(group);
            if (from.as_str()..until.as_str()).contains(&event.position().as_str()) {
                gathered.add(event);
            }
        }
    }
    Ok(gathered.done())
}

/// What is there of the streams, by their names.
pub fn streams(all: &Path, home: &Home, group: &LogGroupId, wanted: &Streams) -> Result<Vec<StreamSeen>> {
    let mut found: BTreeMap<String, StreamSeen> = BTreeMap::new();
    for (_, path) in files(&folder(all, home, group))? {
        let text = read(&path)?;
        for line in lines(&text).filter(|line| wanted.has(line.stream)) {
            let (at, ingested) = (line.at, line.ingested);
            let seen = StreamSeen { name: String::new(), created: ingested, first: at, last: at, ingested };
            if let Some(known) = found.get_mut(line.stream) {
                known.join(&seen);
            } else {
                found.insert(line.stream.to_owned(), StreamSeen { name: line.stream.to_owned(), ..seen });
            }
        }
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|seen| std::cmp::Reverse(seen.ingested));
    found.truncate(STREAMS_MAX);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The files of a group with the times at which they begin, in their order.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context("listing a log group"),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%MZ", &name);
        let time = time.and_then(|time| jiff::tz::TimeZone::UTC.to_timestamp(time));
        if let Some(at) = time.ok().and_then(|time| u64::try_from(time.as_second()).ok()) {
            found.push((at, path));
        }
    }
    found.sort();
    Ok(found)
}

/// A file that went meanwhile, to make room, has nothing.
fn read(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

struct Line<'l> {
    offset: usize,
    at: u64,
    ingested: u64,
    stream: &'l str,
    message: &'l str,
}

/// The lines of a file that are whole.
fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let at = offset;
        offset += line.len();
        let mut parts = line.strip_suffix('\n')?.splitn(4, ' ');
        let (start, ingested) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse().ok()?);
        let (stream, message) = (parts.next()?, parts.next()?);
        Some(Line { offset: at, at: start.checked_mul(1_000)?, ingested, stream, message })
    })
}

impl Line<'_> {
    fn event(&self, group: &LogGroupId) -> LogEvent {
        let Line { offset, at, ingested, stream, message } = self;
        let digest = Sha256::digest(format!("{group} {ingested} {offset} {stream} {message}"));
        let id = digest.iter().take(16).fold(0_u128, |id, byte| id << 8 | u128::from(*byte));
        let id = format!("{id:032x}");
        LogEvent { at: *at, ingested: *ingested, id, stream: (*stream).to_owned(), message: (*message).to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use awan_model::log_group::{Pattern, behind};
    use awan_model::plan::FlowLogPlan;

    use super::*;
    use crate::network::testing::vpc_plan;

    const MINUTE: u64 = 1_700_000_040;

    fn plan(traffic: &[(bool, bool)]) -> (VpcPlan, LogGroupId) {
        let (mut plan, group) = (vpc_plan(), "lg-00000000000000001".parse::<LogGroupId>().expect("an id"));
        plan.flow_logs = traffic
            .iter()
            .map(|(accepted, rejected)| FlowLogPlan {
                id: "fl-00000000000000001".parse().expect("an id"),
                interfaces: vec![plan.interfaces[0].id.clone()],
                accepted: *accepted,
                rejected: *rejected,
                interval_s: 60,
                fields: vec!["srcaddr".into()],
                group: Some(group.clone()),
            })
            .collect();
        (plan, group)
    }

    fn record(plan: &VpcPlan, start: u64, text: &str) -> Record {
        Record { interface: plan.interfaces[0].id.clone(), start, text: text.into() }
    }

    fn all() -> Wanted {
        let (from, until) = (position_at(0), position_at(u64::MAX));
        Wanted { streams: Streams::All, from, until, pattern: Pattern::default(), newest_first: false, limit: 100 }
    }

    #[test]
    fn what_is_written_is_found_by_time_stream_and_words_page_by_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::new(folder.path().to_owned());
        let (plan, group) = plan(&[(true, true)]);
        for n in 0..20 {
            let now = MINUTE + n * 60;
            let records =
                [record(&plan, now - 60, &format!("late {n}")), record(&plan, now - 10, &format!("soon {n}"))];
            append(&files, &plan, &group, &records, now).expect("writes");
        }
        let told = |wanted: &Wanted| events(folder.path(), &plan.home, &group, wanted).expect("reads");
        let texts = |found: &Events| found.events.iter().map(|e| e.message.clone()).collect::<Vec<_>>();
        let whole = told(&all());
        assert_eq!((whole.events.len(), whole.more), (40, false));
        assert_eq!((whole.events[0].at, whole.events[0].ingested), ((MINUTE - 60) * 1_000, MINUTE * 1_000));
        assert!(whole.events.is_sorted_by_key(LogEvent::position));
        let mut paged = Vec::new();
        let mut next = all();
        loop {
            let page = told(&Wanted { limit: 7, ..next.clone() });
            paged.extend(page.events.clone());
            let Some(last) = page.events.last().filter(|_| page.more) else { break };
            next.from = behind(&last.position());
        }
        assert_eq!(paged, whole.events, "pages neither repeat nor miss");
        let newest = told(&Wanted { newest_first: true, limit: 2, ..all() });
        assert_eq!((texts(&newest), newest.more), (vec!["soon 19".to_owned(), "late 19".to_owned()], true));
        let words = Pattern { all: vec!["late".into()], ..Pattern::default() };
        let (from, until) = (position_at((MINUTE + 60) * 1_000), position_at((MINUTE + 180) * 1_000));
        assert_eq!(texts(&told(&Wanted { from, until, pattern: words, ..all() })), ["late 2", "late 3"]);
        let of = |streams| told(&Wanted { streams, ..all() }).events.len();
        assert_eq!(of(Streams::Named(vec!["eni-00000000000000001-all".into()])), 40);
        assert_eq!((of(Streams::Prefix("eni-0".into())), of(Streams::Prefix("eni-1".into()))), (40, 0));
        let ids: std::collections::BTreeSet<_> = whole.events.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), 40);
    }

    #[test]
    fn a_group_has_what_was_written_into_it_and_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::new(folder.path().to_owned());
        let (plan, group) = plan(&[(true, false)]);
        append(&files, &plan, &group, &[record(&plan, MINUTE - 60, "mine")], MINUTE).expect("writes");
        let count = |home: &Home, group: &LogGroupId| {
            let seen = streams(folder.path(), home, group, &Streams::All).expect("reads");
            (events(folder.path(), home, group, &all()).expect("reads").events.len(), seen.len())
        };
        assert_eq!(count(&plan.home, &group), (1, 1));
        let others = [Home::new("999999999999", plan.home.region()), Home::new(plan.home.account(), "eu-west-1")];
        assert_eq!(others.map(|home| count(&home, &group)), [(0, 0), (0, 0)]);
        assert_eq!(count(&plan.home, &"lg-00000000000000002".parse().expect("an id")), (0, 0));
    }

    #[test]
    fn logs_of_one_interface_in_one_group_have_one_stream() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::new(folder.path().to_owned());
        let mut names = Vec::new();
        for (at, traffic) in
            [&[(true, false)][..], &[(false, true)], &[(true, false), (false, true)]].iter().enumerate()
        {
            let (plan, group) = plan(traffic);
            let now = MINUTE + 60 * u64::try_from(at).expect("a number");
            append(&files, &plan, &group, &[record(&plan, now - 7_200, "x")], now).expect("writes");
            names = streams(folder.path(), &plan.home, &group, &Streams::All).expect("reads");
        }
        let told: Vec<_> = names.iter().map(|seen| (seen.name.as_str(), seen.first, seen.ingested)).collect();
        let (eni, late) = ("eni-00000000000000001", (MINUTE - 3_600) * 1_000);
        let expected = ["-accept", "-all", "-reject"].map(|end| format!("{eni}{end}"));
        assert_eq!(told.iter().map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>(), expected);
        assert_eq!(
            told[0],
            (expected[0].as_str(), late, MINUTE * 1_000),
            "not more than an hour before it was written"
        );
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_event() {
        let text = "1 2000 s a b\nnothing\n3 4000 s c\n5 6000 s half";
        let found: Vec<_> = lines(text).map(|line| (line.offset, line.at, line.stream, line.message)).collect();
        assert_eq!(found, [(0, 1_000, "s", "a b"), (21, 3_000, "s", "c")]);
    }
}
