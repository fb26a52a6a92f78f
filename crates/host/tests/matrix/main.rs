//! The packet matrix: random networks, applied by the driver, and random packets through them. Where each comes out, and
//! as what, must be what a plain reference says. Needs root, nftables and taps; without them each test says so and passes.
//!
//! `AWAN_MATRIX_TOPOLOGIES`, `AWAN_MATRIX_PACKETS`, `AWAN_MATRIX_LAUNCHES`: how many. Replay of one topology:
//! `AWAN_MATRIX_SEED=N AWAN_MATRIX_TOPOLOGIES=1 AWAN_MATRIX_PACKETS=M cargo test -p awan-host --test matrix`. A long run
//! says from time to time how to go on where it is.

mod course;
mod lab;
mod model;
mod probe;
mod race;
mod six;
mod topology;
mod trip;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use awan_host::network::driver::Uplink;
use awan_host::network::netns;
use awan_model::plan::HostPlan;
use course::Course;
use lab::Lab;
use model::{Outbound, Reference};
use rand::RngExt as _;
use topology::{Topology, describe};
use trip::Trips;

/// Plans that each topology has after its first.
const CHANGES: u32 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The same networks at each run, so that a change is judged by itself; the long lane takes others.
const FIRST_SEED: u64 = 1;
/// They share a machine, and one of them looks at what the process holds.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of a seed: sends so many packets, perhaps past a mistake that is planted in a chain of a table, and says how many.
type One = fn(u64, u64, Option<(&str, &str)>) -> Result<u64, String>;

#[test]
fn the_kernels_verdict_is_that_of_the_reference() {
    if lab::able() {
        all_agree("the_kernels_verdict", topology, (200, 100_000));
    }
}

#[test]
fn so_it_is_over_ipv6() {
    if !lab::able() || !awan_host::network::ipv6::is_there() {
        return;
    }
    all_agree("so_it_is_over_ipv6", six::topology, (50, 25_000));
}

/// What only a long run met, as a seed and packets of one topology: a broadcast from nobody to nobody.
const FOUND: [(u64, u64); 1] = [(1_795_949_321, 5_000)];

#[test]
fn what_a_long_run_found_stays_mended() {
    if !lab::able() {
        return;
    }
    let _alone = alone();
    for (seed, packets) in FOUND {
        let sent = lab::apart(0, || topology(seed, packets, None)).expect("it does not panic");
        assert!(sent.unwrap_or_else(|e| panic!("seed {seed}\n{e}")) >= packets);
    }
}

fn all_agree(test: &'static str, one: One, usual: (u64, u64)) {
    let (_alone, held) = (alone(), lab::held());
    let topologies = number("AWAN_MATRIX_TOPOLOGIES").unwrap_or(usual.0);
    let packets = number("AWAN_MATRIX_PACKETS").unwrap_or(usual.1);
    let first = number("AWAN_MATRIX_SEED").unwrap_or(FIRST_SEED);
    let course = Course::new(test, first, topologies, packets.div_ceil(topologies));
    let work = || {
        while let Some(seed) = course.next() {
            let before = lab::shown();
            let tried = std::panic::catch_unwind(|| one(seed, course.each, None)).map(|tried| {
                tried.and_then(|count| {
                    let after = lab::shown();
                    if before == after { Ok(count) } else { Err(format!("it left behind\n{after}\n  of\n{before}")) }
                })
            });
            course.done(seed, tried.unwrap_or_else(|_| Err("it panicked".into())));
        }
    };
    lab::apart_each(topologies, work);
    let sent = course.end();
    assert!(sent >= packets, "{sent} packets are fewer than {packets}");
    assert_eq!(lab::held(), held, "open files and processes are as before");
}

/// Each chain in which something is decided, with everything let through or nothing translated.
const MISTAKES: [(&str, &str); 16] = [
    ("inet vpc", "guest_in"),
    ("inet vpc", "guest4"),
    ("inet vpc", "raw_pre"),
    ("inet vpc", "acl_forward"),
    ("inet vpc", "sg_egress"),
    ("inet vpc", "sg_ingress"),
    ("inet vpc", "guest_out"),
    ("inet vpc", "world"),
    ("inet vpc", "c_input"),
    ("inet vpc", "acl_input"),
    ("inet vpc", "acl_output"),
    ("inet vpc", "sg_input"),
    ("inet vpc", "endpoint_in"),
    ("inet vpc", "c_dnat"),
    ("inet vpc", "c_snat"),
    ("inet edge", "c_forward"),
];

/// The same of those that are for IPv6, or for both families.
const MISTAKES_OF_IPV6: [(&str, &str); 8] = [
    ("inet vpc", "guest6"),
    ("inet vpc", "raw_pre"),
    ("inet vpc", "acl_forward"),
    ("inet vpc", "sg_egress"),
    ("inet vpc", "sg_ingress"),
    ("inet vpc", "guest_out"),
    ("inet vpc", "world6"),
    ("inet edge", "c_forward"),
];

#[test]
fn mistakes_that_are_planted_in_the_rules_are_found() {
    if lab::able() {
        are_found(&MISTAKES, topology);
    }
}

#[test]
fn mistakes_that_are_planted_in_the_rules_of_ipv6_are_found() {
    if lab::able() && awan_host::network::ipv6::is_there() {
        are_found(&MISTAKES_OF_IPV6, six::topology);
    }
}

#[expect(clippy::print_stderr, reason = "what was done is the proof")]
fn are_found(mistakes: &[(&str, &str)], one: One) {
    let _alone = alone();
    let first = number("AWAN_MATRIX_SEED").unwrap_or(FIRST_SEED);
    let left = Mutex::new(mistakes.iter().copied());
    let next = || left.lock().expect("nobody panicked").next();
    let look = || {
        while let Some(mistake) = next() {
            let found = (0..40).find_map(|n| one(first + n, 300, Some(mistake)).err().map(|words| (n, words)));
            let Some((n, words)) = found else { panic!("{mistake:?} was not found from seed {first}") };
            assert!(words.contains("reference:") || words.contains("nobody sent"), "{mistake:?}: {words}");
            eprintln!("{mistake:?}: found in network {n}");
        }
    };
    lab::apart_each(mistakes.len() as u64, look);
}

fn plant(lab: &Lab, plan: &HostPlan, (table, chain): (&str, &str)) {
    let vpcs = plan.network.vpcs.iter().map(|vpc| lab.driver.namespace(&vpc.id));
    let at = if table == "inet edge" { vec![format!("awan-{}-edge", lab.tag)] } else { vpcs.collect() };
    for name in at {
        let rule = format!("insert rule {table} {chain} accept");
        netns::inside(&name, || netns::feed("nft", &["-f", "-"], &rule)).expect("plants");
    }
}

/// How many packets were sent.
fn topology(seed: u64, packets: u64, mistake: Option<(&str, &str)>) -> Result<u64, String> {
    let mut topology = Topology::new(seed);
    let (uplink, outbound) = match topology.rng.random_range(0..10) {
        0 | 1 => (Uplink::Closed, Outbound::Nothing),
        2 | 3 => (Uplink::Routed, Outbound::All),
        _ => (Uplink::Masquerade, Outbound::Internet),
    };
    let mut lab = Lab::new(uplink);
    let plan = topology.plan.clone();
    let reference = Reference::new(plan.clone(), outbound, lab::host_addresses());
    lab.apply(&plan).map_err(|e| format!("{e:#}\n{}", describe(&plan)))?;
    if let Some(mistake) = mistake {
        plant(&lab, &plan, mistake);
    }
    let mut trips = Trips::new(&mut lab, topology, reference);
    let mut said = Vec::new();
    let mut done = 0;
    let mut walk = |trips: &mut Trips<'_>| -> Result<(), String> {
        trips.arp()?;
        for change in 0..=CHANGES {
            if change > 0 {
                if mistake.is_some() {
                    return Ok(());
                }
                said.extend((0..3).filter_map(|_| trips.topology.change()));
                trips.topology.settle();
                let plan = trips.topology.plan.clone();
                trips.lab.apply(&plan).map_err(|e| format!("{e:#}"))?;
                trips.reference.change(plan);
                trips.go_on(u8::try_from(change - 1).expect("few"))?;
            }
            done = if mistake.is_some() { packets } else { packets * u64::from(change + 1) / u64::from(CHANGES + 1) };
            while trips.packets < done {
                trips.round(64)?;
            }
        }
        trips.arp()?;
        let different = trips.lab.differences(&trips.topology.plan).map_err(|e| format!("{e:#}"))?;
        if different.is_empty() { Ok(()) } else { Err(different.join("\n")) }
    };
    walk(&mut trips).map_err(|wrong| {
        format!("{wrong}\noutbound: {outbound:?}\nchanges: {said:#?}\n{}", describe(&trips.topology.plan))
    })?;
    Ok(trips.packets)
}
