//! What was counted, by flows and intervals, and the lines that it makes. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use awan_model::id::InterfaceId;
use awan_model::plan::{FlowLogPlan, InterfacePlan, VpcPlan};

use super::super::render::tap_name;

/// Flows of one interval, at most.
const FLOWS_MAX: usize = 32_768;
/// Lines that all logs of a VPC make of one interval, at most: many logs may be about the same flows.
const LINES_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    LeaveAsked,
    LeavePassed,
    EnterAsked,
    EnterPassed,
}

impl Stage {
    pub fn leaves(self) -> bool {
        matches!(self, Self::LeaveAsked | Self::LeavePassed)
    }

    fn passed(self) -> bool {
        matches!(self, Self::LeavePassed | Self::EnterPassed)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::LeaveAsked => "la",
            Self::LeavePassed => "lp",
            Self::EnterAsked => "ea",
            Self::EnterPassed => "ep",
        }
    }
}

/// One direction of a connection at one interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub tap: String,
    pub leaves: bool,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    fn less(self, other: Self) -> Self {
        let (packets, bytes) = (self.packets.saturating_sub(other.packets), self.bytes.saturating_sub(other.bytes));
        Self { packets, bytes }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub stage: Stage,
    pub flow: Flow,
    pub count: Count,
    /// How long ago its last packet was.
    pub quiet_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub seen: Vec<Seen>,
    /// For how many packets there was no room, until now.
    pub missed: u64,
    /// It is known how much of it was told before.
    pub known: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self { seen: Vec::new(), missed: 0, known: true }
    }
}

/// A counter of the kernel's, which begins anew when it was quiet for long.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    before: Count,
    now: Count,
    gone: bool,
}

impl Meter {
    fn read(&mut self, count: Option<Count>) {
        let Some(count) = count else {
            self.gone = true;
            return;
        };
        if self.gone || count.packets < self.now.packets {
            self.before = self.total();
        }
        (self.now, self.gone) = (count, false);
    }

    fn total(&self) -> Count {
        self.before.plus(self.now)
    }
}

/// What is known of a flow, and what was told of it.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    asked: Meter,
    passed: Meter,
    accepted: Count,
    rejected: Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Accept,
    Reject,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    count: Count,
    start: u64,
    end: u64,
}

/// A line of a log, and of which interface and since when it tells: its format may have neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub interface: InterfaceId,
    pub start: u64,
    pub text: String,
}

struct Window {
    began: u64,
    flows: BTreeMap<(Flow, Action), Told>,
    skipped: bool,
}

pub struct Tally {
    read: u64,
    missed: u64,
    known: HashMap<Flow, Known>,
    windows: BTreeMap<u16, Window>,
}

impl Tally {
    pub fn new(now: u64) -> Self {
        Self { read: now, missed: 0, known: HashMap::new(), windows: BTreeMap::new() }
    }

    pub fn observe(&mut self, reading: &Reading, plan: &VpcPlan, now: u64) {
        let full = std::mem::replace(&mut self.missed, reading.missed) != reading.missed;
        let intervals: BTreeSet<u16> = plan.flow_logs.iter().map(|log| log.interval_s).collect();
        self.windows.retain(|interval, _| intervals.contains(interval));
        for interval in intervals {
            let new = || Window { began: self.read, flows: BTreeMap::new(), skipped: !reading.known };
            self.windows.entry(interval).or_insert_with(new).skipped |= full;
        }
        let mut seen: HashMap<&Flow, [Option<&Seen>; 2]> = HashMap::new();
        for one in &reading.seen {
            seen.entry(&one.flow).or_default()[usize::from(one.stage.passed())] = Some(one);
        }
        self.known.retain(|flow, _| seen.contains_key(flow));
        for (flow, [asked, passed]) in seen {
            let known = self.known.entry(flow.clone()).or_default();
            known.asked.read(asked.map(|seen| seen.count));
            known.passed.read(passed.map(|seen| seen.count));
            let (asked_of, passed_of) = (known.asked.total(), known.passed.total());
            let accepted = passed_of.less(known.accepted);
            let missing = asked_of.less(passed_of).less(known.rejected);
            known.accepted = known.accepted.plus(accepted);
            known.rejected = known.rejected.plus(missing);
            // Where there was no room, what did not pass may only not have been counted.
            let rejected = if full { Count::default() } else { missing };
            let news = [(Action::Accept, accepted, passed), (Action::Reject, rejected, asked)];
            for (action, count, seen) in news.into_iter().filter(|(_, count, _)| reading.known && count.packets > 0) {
                let quiet_s = seen.map_or(0, |seen| seen.quiet_s);
                let told = Told { count, start: self.read, end: now.saturating_sub(quiet_s).clamp(self.read, now) };
                self.windows.values_mut().for_each(|window| window.add((flow, action), told));
            }
        }
        self.read = now;
    }

    /// The lines of the logs whose interval is over, and those of interfaces that go.
    pub fn due<'p>(
        &mut self,
        plan: &'p VpcPlan,
        now: u64,
        going: &BTreeSet<String>,
    ) -> Vec<(&'p FlowLogPlan, Vec<Record>)> {
        let mut due = Vec::new();
        for (interval, window) in &mut self.windows {
            // Intervals begin with the clock's.
            let whole = now / u64::from(*interval) > window.began / u64::from(*interval);
            let about = |id: &InterfaceId| whole || going.contains(&tap_name(id));
            let mut room = LINES_MAX;
            for log in plan.flow_logs.iter().filter(|log| log.interval_s == *interval) {
                let interfaces = plan.interfaces.iter().filter(|i| log.interfaces.contains(&i.id) && about(&i.id));
                let mut lines = Vec::new();
                for interface in interfaces {
                    let more = window.lines(plan, log, interface, now);
                    match room.checked_sub(more.len()) {
                        Some(left) => {
                            room = left;
                            lines.extend(more);
                        }
                        None => lines.push(window.skipped(plan, log, interface, now)),
                    }
                }
                if !lines.is_empty() {
                    due.push((log, lines));
                }
            }
            if whole {
                *window = Window { began: now, flows: BTreeMap::new(), skipped: false };
            } else {
                window.flows.retain(|(flow, _), _| !going.contains(&flow.tap));
            }
        }
        due
    }
}

impl Window {
    fn add(&mut self, (flow, action): (&Flow, Action), more: Told) {
        let of = (flow.clone(), action);
        if let Some(told) = self.flows.get_mut(&of) {
            told.count = told.count.plus(more.count);
            told.end = told.end.max(more.end);
        } else if self.flows.len() < FLOWS_MAX {
            self.flows.insert(of, more);
        } else {
            self.skipped = true;
        }
    }

    fn lines(&self, plan: &VpcPlan, log: &FlowLogPlan, interface: &InterfacePlan, now: u64) -> Vec<Record> {
        let tap = tap_name(&interface.id);
        let line = |of, times, status| Line { plan, log, interface, of, times, status }.record();
        let mut lines = Vec::new();
        let mut none = true;
        for ((flow, action), told) in self.flows.iter().filter(|((flow, _), _)| flow.tap == tap) {
            none = false;
            let wanted = if *action == Action::Accept { log.accepted } else { log.rejected };
            if wanted {
                lines.push(line(Some((flow, told.count, *action)), (told.start, told.end), "OK"));
            }
        }
        if self.skipped {
            lines.push(self.skipped(plan, log, interface, now));
        } else if none {
            lines.push(line(None, (self.began, now), "NODATA"));
        }
        lines
    }

    fn skipped(&self, plan: &VpcPlan, log: &FlowLogPlan, interface: &InterfacePlan, now: u64) -> Record {
        Line { plan, log, interface, of: None, times: (self.began, now), status: "SKIPDATA" }.record()
    }
}

struct Line<'l> {
    plan: &'l VpcPlan,
    log: &'l FlowLogPlan,
    interface: &'l InterfacePlan,
    of: Option<(&'l Flow, Count, Action)>,
    times: (u64, u64),
    status: &'l str,
}

impl Line<'_> {
    fn record(&self) -> Record {
        let text = self.log.fields.iter().map(|field| self.field(field)).collect::<Vec<_>>().join(" ");
        Record { interface: self.interface.id.clone(), start: self.times.0, text }
    }

    /// What is not known of a flow is a dash. Source: "Flow log records", Amazon VPC User Guide.
    fn field(&self, name: &str) -> String {
        let of_flow = |text: fn(&Flow) -> String| self.of.map_or_else(|| "-".to_owned(), |(flow, ..)| text(flow));
        match name {
            "version" => self.log.fields.iter().map(|name| version(name)).max().unwrap_or(2).to_string(),
            "account-id" => self.plan.home.account().to_owned(),
            "interface-id" => self.interface.id.to_string(),
            "srcaddr" => of_flow(|flow| flow.source.to_string()),
            "dstaddr" => of_flow(|flow| flow.destination.to_string()),
            "srcport" => of_flow(|flow| flow.source_port.to_string()),
            "dstport" => of_flow(|flow| flow.destination_port.to_string()),
            "protocol" => of_flow(|flow| flow.protocol.to_string()),
            "type" => of_flow(|flow| if flow.source.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned()),
            "flow-direction" => of_flow(|flow| if flow.leaves { "egress" } else { "ingress" }.to_owned()),
            "packets" => self.of.map_or_else(|| "-".to_owned(), |(_, count, _)| count.packets.to_string()),
            "bytes" => self.of.map_or_else(|| "-".to_owned(), |(_, count, _)| count.bytes.to_string()),
            "action" => match self.of {
                Some((.., Action::Accept)) => "ACCEPT".to_owned(),
                Some((.., Action::Reject)) => "REJECT".to_owned(),
                None => "-".to_owned(),
            },
            "start" => self.times.0.to_string(),
            "end" => self.times.1.to_string(),
            "log-status" => self.status.to_owned(),
            "vpc-id" => self.plan.id.to_string(),
            "subnet-id" => self.interface.subnet.to_string(),
            "instance-id" => self.interface.instance.to_string(),
            "region" => self.plan.region.clone(),
            _ => "-".to_owned(),
        }
    }
}

/// With which version of the format a field came; a line is of the newest that it has.
fn version(name: &str) -> u8 {
    match name {
        "vpc-id" | "subnet-id" | "instance-id" | "type" | "tcp-flags" | "pkt-srcaddr" | "pkt-dstaddr" => 3,
        "region" | "az-id" | "sublocation-type" | "sublocation-id" => 4,
        "flow-direction" | "traffic-path" | "pkt-src-aws-service" | "pkt-dst-aws-service" => 5,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::vpc_plan;

    fn plan(interval_s: u16) -> VpcPlan {
        let mut plan = vpc_plan();
        let fields = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
        plan.flow_logs.push(FlowLogPlan {
            id: "fl-00000000000000001".parse().expect("an id"),
            interfaces: vec![plan.interfaces[0].id.clone()],
            accepted: true,
            rejected: true,
            interval_s,
            fields: fields.split(' ').map(str::to_owned).collect(),
            group: None,
        });
        plan
    }

    fn seen(plan: &VpcPlan, stage: Stage, port: u16, packets: u64, quiet_s: u64) -> Seen {
        let flow = Flow {
            tap: tap_name(&plan.interfaces[0].id),
            leaves: stage.leaves(),
            source: "10.0.0.5".parse().expect("an address"),
            destination: "192.0.2.1".parse().expect("an address"),
            protocol: 17,
            source_port: 7000,
            destination_port: port,
        };
        Seen { stage, flow, count: Count { packets, bytes: packets * 100 }, quiet_s }
    }

    fn lines(tally: &mut Tally, plan: &VpcPlan, now: u64, going: &[&str]) -> Vec<String> {
        let going = going.iter().map(|tap| (*tap).to_owned()).collect();
        let short = |line: Record| line.text.trim_start_matches("eni-00000000000000001 ").to_owned();
        tally.due(plan, now, &going).into_iter().flat_map(|(_, lines)| lines).map(short).collect()
    }

    fn reading(seen: impl Into<Vec<Seen>>) -> Reading {
        Reading { seen: seen.into(), ..Reading::default() }
    }

    #[test]
    fn what_was_asked_and_did_not_pass_was_rejected() {
        use Stage::{LeaveAsked, LeavePassed};
        let plan = plan(60);
        let mut tally = Tally::new(600);
        let asked = |n, quiet| seen(&plan, LeaveAsked, 7, n, quiet);
        tally.observe(
            &reading([asked(5, 2), seen(&plan, LeavePassed, 7, 3, 2), seen(&plan, LeaveAsked, 8, 1, 0)]),
            &plan,
            610,
        );
        assert_eq!(lines(&mut tally, &plan, 610, &[]), Vec::<String>::new(), "the minute is not over");
        // Nothing passes any more, and what passed before is forgotten by the kernel.
        tally.observe(&reading([asked(9, 0)]), &plan, 660);
        let flow = "10.0.0.5 192.0.2.1 7000";
        assert_eq!(
            lines(&mut tally, &plan, 660, &[]),
            [
                format!("{flow} 7 17 3 300 600 608 ACCEPT OK"),
                format!("{flow} 7 17 6 600 600 660 REJECT OK"),
                format!("{flow} 8 17 1 100 600 610 REJECT OK"),
            ]
        );
        tally.observe(&reading([asked(10, 5), seen(&plan, LeavePassed, 7, 1, 5)]), &plan, 710);
        tally.observe(&reading([]), &plan, 720);
        assert_eq!(lines(&mut tally, &plan, 720, &[]), [format!("{flow} 7 17 1 100 660 705 ACCEPT OK")]);
        tally.observe(&reading([]), &plan, 780);
        assert_eq!(lines(&mut tally, &plan, 780, &[]), ["- - - - - - - 720 780 - NODATA"]);
    }

    #[test]
    fn what_there_was_no_room_for_is_not_taken_for_rejected_and_said_to_be_missing() {
        let plan = plan(60);
        let mut tally = Tally::new(600);
        let all = [seen(&plan, Stage::LeaveAsked, 7, 5, 0), seen(&plan, Stage::LeavePassed, 8, 4, 0)];
        tally.observe(&Reading { missed: 1, ..reading(all) }, &plan, 660);
        assert_eq!(
            lines(&mut tally, &plan, 660, &[]),
            ["10.0.0.5 192.0.2.1 7000 8 17 4 400 600 660 ACCEPT OK", "- - - - - - - 600 660 - SKIPDATA"]
        );
    }

    #[test]
    fn an_interface_that_goes_has_its_last_word_and_an_earlier_life_of_this_program_is_not_told_again() {
        let plan = plan(600);
        let tap = tap_name(&plan.interfaces[0].id);
        let mut tally = Tally::new(600);
        let passed = |n| [seen(&plan, Stage::EnterAsked, 7, n, 0), seen(&plan, Stage::EnterPassed, 7, n, 0)];
        tally.observe(&Reading { known: false, ..reading(passed(50)) }, &plan, 600);
        tally.observe(&reading(passed(52)), &plan, 610);
        let word = ["10.0.0.5 192.0.2.1 7000 7 17 2 200 600 610 ACCEPT OK", "- - - - - - - 600 615 - SKIPDATA"];
        assert_eq!(lines(&mut tally, &plan, 615, &[&tap]), word);
    }

    #[test]
    fn many_logs_of_many_flows_make_no_more_lines_than_there_may_be() {
        let mut plan = plan(60);
        plan.flow_logs = vec![plan.flow_logs[0].clone(); 5];
        let mut tally = Tally::new(600);
        let flows: Vec<_> = (0..24_000).map(|port| seen(&plan, Stage::LeaveAsked, port, 1, 0)).collect();
        tally.observe(&reading(flows), &plan, 660);
        let told: Vec<_> = tally.due(&plan, 660, &BTreeSet::new()).into_iter().map(|(_, lines)| lines.len()).collect();
        assert_eq!(told, [24_000, 24_000, 24_000, 24_000, 1]);
    }
}
