//! The packet matrix: random networks, applied by the driver, and random packets through them. Where each comes out, and
//! as what, must be what a plain reference says. Needs root, nftables and taps; without them each test says so and passes.
//!
//! `AWAN_MATRIX_TOPOLOGIES`, `AWAN_MATRIX_PACKETS`, `AWAN_MATRIX_LAUNCHES`: how many. Replay of one topology:
//! `AWAN_MATRIX_SEED=N AWAN_MATRIX_TOPOLOGIES=1 AWAN_MATRIX_PACKETS=M cargo test -p awan-host --test matrix`.

mod lab;
mod model;
mod probe;
mod race;
mod topology;
mod trip;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use awan_host::network::driver::Uplink;
use awan_host::network::netns;
use awan_model::plan::HostPlan;
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

#[test]
#[expect(clippy::print_stderr, reason = "what was done is the proof")]
fn the_kernels_verdict_is_that_of_the_reference() {
    if !lab::able() {
        return;
    }
    let (_alone, held) = (alone(), lab::held());
    let topologies = number("AWAN_MATRIX_TOPOLOGIES").unwrap_or(200);
    let packets = number("AWAN_MATRIX_PACKETS").unwrap_or(100_000);
    let first = number("AWAN_MATRIX_SEED").unwrap_or(FIRST_SEED);
    let each = packets.div_ceil(topologies);
    let (next, sent, wrong) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= topologies || !wrong.lock().expect("nobody panicked").is_empty() {
                return;
            }
            let before = lab::shown();
            let tried = std::panic::catch_unwind(|| topology(first + n, each, None)).map(|tried| {
                tried.and_then(|count| {
                    let after = lab::shown();
                    if before == after { Ok(count) } else { Err(format!("it left behind\n{after}\n  of\n{before}")) }
                })
            });
            match tried.unwrap_or_else(|_| Err("it panicked".into())) {
                Ok(count) => {
                    sent.fetch_add(count, Ordering::Relaxed);
                }
                Err(difference) => {
                    let replay = format!(
                        "seed {}\n{difference}\nreplay: AWAN_MATRIX_SEED={} AWAN_MATRIX_TOPOLOGIES=1 \
                         AWAN_MATRIX_PACKETS={each} cargo test -p awan-host --test matrix kernels_verdict",
                        first + n,
                        first + n
                    );
                    return wrong.lock().expect("nobody panicked").push(replay);
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(topologies as usize);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|n| scope.spawn(move || lab::apart(n, work))).collect();
        for worker in all {
            worker.join().expect("it ran").expect("it does not panic");
        }
    });
    let wrong = wrong.into_inner().expect("nobody panicked");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let (sent, took) = (sent.into_inner(), began.elapsed());
    eprintln!("{topologies} topologies from seed {first}, {sent} packets, 0 differences, {took:.1?}");
    assert!(sent >= packets, "{sent} packets are fewer than {packets}");
    assert_eq!(lab::held(), held, "open files and processes are as before");
}

/// Each chain in which something is decided, with everything let through or nothing translated.
const MISTAKES: [(&str, &str); 10] = [
    ("inet vpc", "guest_in"),
    ("inet vpc", "guest4"),
    ("inet vpc", "raw_pre"),
    ("inet vpc", "acl_forward"),
    ("inet vpc", "sg_egress"),
    ("inet vpc", "sg_ingress"),
    ("inet vpc", "c_input"),
    ("inet vpc", "c_dnat"),
    ("inet vpc", "c_snat"),
    ("inet edge", "c_forward"),
];

#[test]
#[expect(clippy::print_stderr, reason = "what was done is the proof")]
fn mistakes_that_are_planted_in_the_rules_are_found() {
    if !lab::able() {
        return;
    }
    let _alone = alone();
    let first = number("AWAN_MATRIX_SEED").unwrap_or(FIRST_SEED);
    let look = || {
        for mistake in MISTAKES {
            let found = (0..10).find_map(|n| topology(first + n, 300, Some(mistake)).err().map(|words| (n, words)));
            let Some((n, words)) = found else { panic!("{mistake:?} was not found from seed {first}") };
            assert!(words.contains("reference:") || words.contains("nobody sent"), "{mistake:?}: {words}");
            eprintln!("{mistake:?}: found in network {n}");
        }
    };
    lab::apart(0, look).expect("they are found");
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
