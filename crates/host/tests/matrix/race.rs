//! Launches under attack: whoever has an interface sends from the moment that its tap exists, while the driver is still
//! making it, and goes on while the driver takes it away again and gives its addresses to another.
//!
//! Each VPC goes from one plan to the next by itself, so that for a moment one may have the new rules and its peer still
//! the old ones. What is sent is forbidden in every such mixture.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use awan_host::driver::Network as _;
use awan_host::network::driver::{NetworkDriver, Uplink};
use awan_host::network::netns;
use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::HostPlan;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::write;
use rand::RngExt as _;

use crate::lab::{self, HEADER, Lab, Seen};
use crate::model::{Content, Handed, Outbound, Packet, Reference};
use crate::topology::{Topology, describe};
use crate::wire::{self, FIRST_PORT, Tag};
use crate::{alone, number};

/// Of one plan.
const TOGETHER: usize = 50;
/// That each of them sends, again and again.
const FRAMES: usize = 24;
const PATIENCE: Duration = Duration::from_secs(30);
/// After its interface was there, each sends so often.
const AFTER: u64 = 100;

struct Attacker {
    vpc: VpcId,
    id: InterfaceId,
    frames: Vec<Forbidden>,
    tap: Option<OwnedFd>,
    sent: u64,
}

struct Forbidden {
    packet: Packet,
    handed: Handed,
    whole: Vec<u8>,
}

#[test]
#[expect(clippy::print_stderr, reason = "what was done is the proof")]
fn whoever_sends_while_it_is_launched_reaches_nobody_whom_it_may_not_reach() {
    if !lab::able() {
        return;
    }
    let _alone = alone();
    let launches = number("AWAN_MATRIX_LAUNCHES").unwrap_or(1000);
    let seed = number("AWAN_MATRIX_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    let (launched, sent) = lab::apart(0, || race(seed, launches)).unwrap_or_else(|_| panic!("seed {seed}"));
    eprintln!("{launched} launches from seed {seed}, {sent} packets that are forbidden, none came through");
}

fn race(seed: u64, launches: u64) -> (u64, u64) {
    let mut topology = Topology::new(seed);
    topology.room = 60;
    let mut lab = Lab::new(Uplink::Masquerade);
    lab.apply(&topology.plan).expect("applies");
    let (mut launched, mut sent) = (0, 0);
    let mut old: Vec<Attacker> = Vec::new();
    while launched < launches {
        let before = topology.plan.clone();
        // Who was launched before goes, and others may get its addresses.
        for vpc in &mut topology.plan.network.vpcs {
            vpc.interfaces.retain(|eni| old.iter().all(|attacker| attacker.id != eni.id));
        }
        topology.change();
        let count = topology.plan.network.vpcs.len();
        let ids: Vec<InterfaceId> = (0..TOGETHER)
            .filter_map(|_| {
                let at = topology.rng.random_range(0..count);
                topology.add_interface(at)
            })
            .collect();
        topology.settle();
        let plan = topology.plan.clone();
        let mut new: Vec<Attacker> = ids.iter().map(|id| attacker(&mut topology, &before, &plan, id)).collect();
        old.iter_mut().for_each(|attacker| attacker.spare(&before, &plan));
        old.retain(|attacker| !attacker.frames.is_empty());
        launched += new.len() as u64;
        let others: BTreeSet<InterfaceId> = ids.into_iter().collect();
        let (driver, applied) = (lab.driver.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (old, new, applied) = (&mut old, &mut new, &applied);
            let attack = scope.spawn(move || attack(&driver, old, new, applied));
            let result = lab.apply_but_for(&plan, &others);
            applied.store(true, Ordering::Release);
            attack.join().expect("it does not panic");
            result.expect("applies");
        });
        sent += new.iter().map(|attacker| attacker.sent).sum::<u64>();
        if let Some(seen) = lab.take().first() {
            panic!("forbidden, and came through: {}\n{}", words(seen), describe(&plan));
        }
        old = new;
    }
    (launched, sent)
}

/// Its packets: all of them forbidden.
fn attacker(topology: &mut Topology, before: &HostPlan, plan: &HostPlan, id: &InterfaceId) -> Attacker {
    let all = topology.interfaces();
    let (vpc, eni) = all.iter().find(|(_, eni)| eni.id == *id).cloned().expect("it is new");
    let mut references = [reference(plan.clone()), reference(mixed(&vpc, plan, before))];
    let mut frames = Vec::new();
    for n in 0..20 * FRAMES {
        let port = FIRST_PORT + u16::try_from(n).expect("few");
        let Some(probe) = topology.probe_of(&vpc, &eni, &all, port) else { continue };
        // A router says of some that they have come far enough, and what has no ports may answer another.
        let plain = probe.handed.ttl > 1 && !matches!(probe.packet.content, Content::Other(_));
        if plain && references.iter_mut().all(|all| all.guest_sends(id, &probe.packet, &probe.handed).is_err()) {
            let mut whole = vec![0; HEADER];
            whole.extend(probe.frame(Some(&eni), Tag { n: u32::from(port), stage: 0 }));
            frames.push(Forbidden { packet: probe.packet, handed: probe.handed, whole });
        }
        if frames.len() == FRAMES {
            break;
        }
    }
    assert!(!frames.is_empty(), "{id} may do everything");
    Attacker { vpc, id: id.clone(), frames, tap: None, sent: 0 }
}

fn reference(plan: HostPlan) -> Reference {
    Reference::new(plan, Outbound::Internet, lab::host_addresses())
}

/// A VPC by one plan, all others by another.
fn mixed(vpc: &VpcId, its: &HostPlan, others: &HostPlan) -> HostPlan {
    let mut plan = others.clone();
    let its = its.network.vpcs.iter().find(|other| other.id == *vpc).expect("it is there");
    match plan.network.vpcs.iter_mut().find(|other| other.id == *vpc) {
        Some(there) => *there = its.clone(),
        None => plan.network.vpcs.push(its.clone()),
    }
    plan
}

/// Until each of the new ones has sent often enough since its plan is in force.
fn attack(driver: &NetworkDriver, old: &mut [Attacker], new: &mut [Attacker], applied: &AtomicBool) {
    lab::stay(1);
    let until = Instant::now() + PATIENCE;
    let mut left = AFTER;
    while left > 0 {
        assert!(Instant::now() < until, "not all are launched");
        // Asked before they send: a tap may be down until its plan is in force.
        let in_force = applied.load(Ordering::Acquire);
        open(driver, new);
        for attacker in old.iter_mut().chain(new.iter_mut()) {
            attacker.send();
        }
        if in_force && new.iter().all(|attacker| attacker.tap.is_some()) {
            left -= 1;
        }
    }
    for attacker in new {
        assert!(attacker.sent >= AFTER, "{} sent {}", attacker.id, attacker.sent);
    }
}

/// Opens the taps that are there by now: opening one that is not would make it.
fn open(driver: &NetworkDriver, new: &mut [Attacker]) {
    let waiting = new.iter().filter(|attacker| attacker.tap.is_none());
    let vpcs: BTreeSet<VpcId> = waiting.map(|attacker| attacker.vpc.clone()).collect();
    for vpc in vpcs {
        let names = netns::inside(&driver.namespace(&vpc), || {
            // Read so, it does not make the driver wait.
            let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            let names = text.lines().filter_map(|line| line.split_once(':'));
            Ok(names.map(|(name, _)| name.trim().to_owned()).collect::<BTreeSet<_>>())
        });
        let names = names.unwrap_or_default();
        for attacker in new.iter_mut().filter(|attacker| attacker.vpc == vpc && attacker.tap.is_none()) {
            let digits = attacker.id.digits();
            if !names.contains(&format!("tap{}", &digits[digits.len() - 12..])) {
                continue;
            }
            let Ok(tap) = driver.open(&vpc, &attacker.id) else { continue };
            fcntl(&tap, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("does not wait");
            attacker.tap = Some(tap);
        }
    }
}

impl Attacker {
    /// While its VPC has the plan with it, the others may have the next, which may allow what was forbidden.
    fn spare(&mut self, before: &HostPlan, next: &HostPlan) {
        let mut reference = reference(mixed(&self.vpc, before, next));
        self.frames.retain(|frame| reference.guest_sends(&self.id, &frame.packet, &frame.handed).is_err());
    }

    /// A tap that is down, or gone, takes nothing.
    fn send(&mut self) {
        let Some(tap) = &self.tap else { return };
        let frame = &self.frames[usize::try_from(self.sent).expect("few") % self.frames.len()];
        if write(tap, &frame.whole).is_ok() {
            self.sent += 1;
        }
    }
}

fn words(seen: &Seen) -> String {
    match seen {
        Seen::Frame(at, frame) => format!("at {at}: {:?}", wire::read(frame).body),
        Seen::Asked(vpc, from, port, _) => format!("a service of {vpc} at port {port} from {from}"),
    }
}
