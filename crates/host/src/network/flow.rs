//! Flow logs: what interfaces send and receive, counted by the kernel where a log asks for it, and written down.
//!
//! ```text
//!   ─► asked: leaves a guest, or comes from outside ─► ACLs, egress group ─► between: left, asked to enter ─► ingress group ─► passed
//! ```
//!
//! What was asked and did not pass was rejected. **Invariants.** A table of its own, so that what it has counted outlives
//! changes of the VPC's rules; it accepts everything. Where no log is, there is none of it. What is kept of flows is bounded
//! in the kernel (`size`), in memory and on disk; what is left out is said to be (SKIPDATA).

mod files;
mod groups;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::Home;
use awan_model::id::{LogGroupId, VpcId};
use awan_model::log_group::{Events, StreamSeen, Streams, Wanted};
use awan_model::plan::{HostPlan, VpcPlan};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::files::Files;
pub use self::tally::Reading;
use self::tally::{Count, Flow, Seen, Stage, Tally};
use super::netns;
use super::render::tap_name;

const TABLE: &str = "inet flows";
/// A flow is forgotten by the kernel so long after its last packet.
const QUIET_S: u64 = 180;
/// Flows in one set at once.
const FLOWS: usize = 8_192;
/// The same of what has no ports.
const PORTLESS: usize = 1_024;

/// Where packets are counted: a stage, its chain, whose packets.
const STAGES: [(Stage, &str, &str); 5] = [
    (Stage::LeaveAsked, "asked", "iifname @logged"),
    (Stage::EnterAsked, "asked", "iifname != \"tap*\" oifname @logged"),
    (Stage::LeavePassed, "between", "iifname @logged"),
    (Stage::EnterAsked, "between", "iifname \"tap*\" oifname @logged"),
    (Stage::EnterPassed, "passed", "oifname @logged"),
];
/// Before ACLs; between the groups of who sends and of who receives; after them.
const CHAINS: [(&str, i32); 3] = [("asked", -25), ("between", 5), ("passed", 20)];
const FAMILIES: [(&str, &str); 2] = [("ip", "ipv4"), ("ip6", "ipv6")];
/// The end of a set's name, and what it is of.
const PROTOCOLS: [(&str, &str, Option<u8>); 3] = [
    ("t", "meta l4proto tcp", Some(6)),
    ("u", "meta l4proto udp", Some(17)),
    ("o", "meta l4proto != { tcp, udp }", None),
];

pub fn logged(plan: &VpcPlan) -> BTreeSet<String> {
    plan.flow_logs.iter().flat_map(|log| &log.interfaces).map(tap_name).collect()
}

/// What makes the table that of a plan, whatever it was. What it has counted stays.
pub fn whole(plan: &VpcPlan) -> String {
    let taps = logged(plan);
    let mut text = format!("add table {TABLE}\n");
    if taps.is_empty() {
        let _ = writeln!(text, "delete table {TABLE}");
        return text;
    }
    let taps: Vec<_> = taps.iter().map(|tap| format!("\"{tap}\"")).collect();
    let _ = writeln!(text, "add set {TABLE} logged {{ type ifname; }}\nflush set {TABLE} logged");
    let _ = writeln!(text, "add element {TABLE} logged {{ {} }}", taps.join(", "));
    let _ = writeln!(text, "add counter {TABLE} missed");
    for (name, priority) in CHAINS {
        let hook = format!("type filter hook forward priority {priority}; policy accept;");
        let _ = writeln!(text, "add chain {TABLE} {name} {{ {hook} }}\nflush chain {TABLE} {name}");
    }
    for stage in [Stage::LeaveAsked, Stage::LeavePassed, Stage::EnterAsked, Stage::EnterPassed] {
        count(&mut text, stage);
    }
    for (stage, chain, whose) in STAGES {
        let _ = writeln!(text, "add rule {TABLE} {chain} {whose} jump {}", stage.name());
    }
    text
}

/// The chain of a stage, and its sets. Whoever comes to its end was not counted: the kernel had no room.
fn count(text: &mut String, stage: Stage) {
    let (chain, link) = (stage.name(), if stage.leaves() { "iifname" } else { "oifname" });
    let _ = writeln!(text, "add chain {TABLE} {chain}\nflush chain {TABLE} {chain}");
    for (family, address) in FAMILIES {
        for (end, protocol, ports) in PROTOCOLS {
            let set = format!("{chain}_{family}{end}");
            let (of, key, size) = match ports {
                Some(_) => ("inet_service . inet_service", "th sport . th dport", FLOWS),
                None => ("inet_proto", "meta l4proto", PORTLESS),
            };
            let of = format!("type ifname . {address}_addr . {address}_addr . {of}");
            let bounds = format!("flags dynamic,timeout; timeout {QUIET_S}s; size {size};");
            let _ = writeln!(text, "add set {TABLE} {set} {{ {of}; {bounds} }}");
            let key = format!("{link} . {family} saddr . {family} daddr . {key}");
            let which = format!("meta nfproto {address} {protocol}");
            let _ = writeln!(text, "add rule {TABLE} {chain} {which} update @{set} {{ {key} counter }} return");
        }
    }
    let _ = writeln!(text, "add rule {TABLE} {chain} counter name missed");
}

/// What makes it of the table of another plan; `None`: it is the same.
pub fn since(plan: &VpcPlan, old: &VpcPlan) -> Option<String> {
    (logged(plan) != logged(old)).then(|| whole(plan))
}

pub fn is_wanted(plan: &VpcPlan) -> bool {
    !logged(plan).is_empty()
}

/// The VPCs of which interfaces are about to lose their taps, or their logs, with these.
pub fn ending<'o>(old: impl Iterator<Item = &'o VpcPlan>, new: &HostPlan) -> Vec<(VpcPlan, BTreeSet<String>)> {
    let ending = old.filter(|vpc| is_wanted(vpc)).map(|old| {
        let new = new.network.vpcs.iter().find(|vpc| vpc.id == old.id);
        let kept = new.map(logged).unwrap_or_default();
        (old.clone(), logged(old).difference(&kept).cloned().collect::<BTreeSet<_>>())
    });
    ending.filter(|(_, going)| !going.is_empty()).collect()
}

/// Called inside the namespace.
fn read() -> Result<Reading> {
    let text = netns::feed("nft", &["-j", "-n", "list", "table", "inet", "flows"], "")?;
    let all: Value = serde_json::from_str(&text).context("reading what nft says")?;
    let mut reading = Reading::default();
    let counters = all["nftables"].as_array().into_iter().flatten().filter_map(|item| item.get("counter"));
    reading.missed = counters.filter_map(|counter| counter["packets"].as_u64()).sum();
    for set in all["nftables"].as_array().into_iter().flatten().filter_map(|item| item.get("set")) {
        let Some((stage, protocol)) = set["name"].as_str().and_then(meaning) else { continue };
        let elements = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
        reading.seen.extend(elements.iter().filter_map(|element| seen(stage, protocol, &element["elem"])));
    }
    Ok(reading)
}

fn meaning(name: &str) -> Option<(Stage, Option<u8>)> {
    let (stage, rest) = name.split_once('_')?;
    let (stage, ..) = STAGES.into_iter().find(|(of, ..)| of.name() == stage)?;
    let (.., protocol) = PROTOCOLS.into_iter().find(|(end, ..)| rest.ends_with(end))?;
    Some((stage, protocol))
}

fn seen(stage: Stage, protocol: Option<u8>, element: &Value) -> Option<Seen> {
    let [tap, source, destination, rest @ ..] = element["val"]["concat"].as_array()?.as_slice() else { return None };
    let number = |value: &Value| value.as_u64();
    let (protocol, ports) = match (protocol, rest) {
        (Some(protocol), [from, to]) => (protocol, (number(from)?, number(to)?)),
        (None, [protocol]) => (u8::try_from(number(protocol)?).ok()?, (0, 0)),
        _ => return None,
    };
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let flow = Flow {
        tap: tap.as_str()?.to_owned(),
        leaves: stage.leaves(),
        source: address(source)?,
        destination: address(destination)?,
        protocol,
        source_port: u16::try_from(ports.0).ok()?,
        destination_port: u16::try_from(ports.1).ok()?,
    };
    let count =
        Count { packets: number(&element["counter"]["packets"])?, bytes: number(&element["counter"]["bytes"])? };
    let quiet_s = QUIET_S.saturating_sub(number(&element["expires"])?);
    Some(Seen { stage, flow, count, quiet_s })
}

pub fn now() -> u64 {
    jiff::Timestamp::now().as_second().try_into().unwrap_or_default()
}

/// How often what was counted is read: so exact are the times of flows.
const EVERY: Duration = Duration::from_secs(10);

/// Polls for as long as somebody else holds `this`.
#[expect(clippy::disallowed_methods, reason = "the kernel does not say when it counts")]
pub fn every<T: Send + Sync + 'static>(this: &Arc<T>, poll: fn(&T)) {
    let this = Arc::downgrade(this);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(EVERY);
            let Some(this) = this.upgrade() else { return };
            poll(&this);
        }
    });
}

/// All flow logs of a host.
pub struct FlowLogs {
    files: Files,
    tallies: Mutex<BTreeMap<VpcId, Tally>>,
    readers: Semaphore,
}

/// Who reads log groups at once: each may look through all that a group has.
const READERS: usize = 2;

impl FlowLogs {
    pub fn new(folder: PathBuf) -> Self {
        Self { files: Files::new(folder), tallies: Mutex::default(), readers: Semaphore::new(READERS) }
    }

    pub async fn events(self: Arc<Self>, home: Home, group: LogGroupId, wanted: Wanted) -> Result<Events> {
        self.look(move |folder| groups::events(folder, &home, &group, &wanted)).await
    }

    pub async fn streams(self: Arc<Self>, home: Home, group: LogGroupId, streams: Streams) -> Result<Vec<StreamSeen>> {
        self.look(move |folder| groups::streams(folder, &home, &group, &streams)).await
    }

    async fn look<T: Send + 'static>(
        self: Arc<Self>,
        read: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let _turn = self.readers.acquire().await?;
        tokio::task::spawn_blocking(move || read(&this.files.folder)).await?
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<VpcId, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing was counted yet of what is now logged first.
    pub fn begin(&self, vpc: &VpcId, now: u64) {
        self.tallies().insert(vpc.clone(), Tally::new(now));
    }

    /// What VPCs without logs had is forgotten.
    pub fn keep(&self, plans: &[VpcPlan]) {
        self.tallies().retain(|id, _| plans.iter().any(|plan| plan.id == *id && is_wanted(plan)));
    }

    /// Reads what was counted since the last time, and writes what is due. `going`: of which it is the last word.
    pub fn poll(&self, namespace: &str, plan: &VpcPlan, now: u64, going: &BTreeSet<String>) -> Result<()> {
        self.tell(plan, now, going, || netns::inside(namespace, read))
    }

    /// The same, with what counts.
    pub fn tell(
        &self,
        plan: &VpcPlan,
        now: u64,
        going: &BTreeSet<String>,
        read: impl FnOnce() -> Result<Reading>,
    ) -> Result<()> {
        let lines = {
            // Held while it reads: an older reading must not come after a newer one.
            let mut tallies = self.tallies();
            let mut reading = read()?;
            let tally = tallies.entry(plan.id.clone()).or_insert_with(|| {
                // An earlier life of this program has counted it, and said how much nobody knows.
                reading.known = false;
                Tally::new(now)
            });
            tally.observe(&reading, plan, now);
            tally.due(plan, now, going)
        };
        for (log, lines) in lines {
            match &log.group {
                Some(group) => groups::append(&self.files, plan, group, &lines, now)?,
                None => self.files.append(plan, log, &lines, now)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
