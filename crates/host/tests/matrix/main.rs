//! The packet matrix: random networks, applied by the driver, and random packets through them. Where each comes out, and
//! as what, must be what a plain reference says. Needs root, nftables and taps; without them each test says so and passes.
//!
//! `AWAN_MATRIX_TOPOLOGIES`, `AWAN_MATRIX_PACKETS`: how many. Replay of one topology:
//! `AWAN_MATRIX_SEED=N AWAN_MATRIX_TOPOLOGIES=1 AWAN_MATRIX_PACKETS=M cargo test -p awan-host --test matrix`.

mod lab;
mod model;
mod probe;
mod topology;
mod trip;
mod wire;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use awan_host::network::driver::Uplink;
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

#[test]
#[expect(clippy::print_stderr, reason = "what was done is the proof")]
fn the_kernels_verdict_is_that_of_the_reference() {
    if !lab::able() {
        return;
    }
    let topologies = number("AWAN_MATRIX_TOPOLOGIES").unwrap_or(200);
    let packets = number("AWAN_MATRIX_PACKETS").unwrap_or(100_000);
    let first = number("AWAN_MATRIX_SEED").unwrap_or_else(|| rand::random::<u64>() >> 16);
    let each = packets.div_ceil(topologies);
    let (next, sent, wrong) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(Vec::new()));
    let began = Instant::now();
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= topologies || !wrong.lock().expect("nobody panicked").is_empty() {
                return;
            }
            let tried = std::panic::catch_unwind(|| topology(first + n, each));
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
}

/// How many packets were sent.
fn topology(seed: u64, packets: u64) -> Result<u64, String> {
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
    let mut trips = Trips::new(&mut lab, topology, reference);
    let mut said = Vec::new();
    let mut done = 0;
    let mut walk = |trips: &mut Trips<'_>| -> Result<(), String> {
        trips.arp()?;
        for change in 0..=CHANGES {
            if change > 0 {
                said.extend((0..3).filter_map(|_| trips.topology.change()));
                trips.topology.settle();
                let plan = trips.topology.plan.clone();
                trips.lab.apply(&plan).map_err(|e| format!("{e:#}"))?;
                trips.reference.change(plan);
                trips.go_on(u8::try_from(change - 1).expect("few"))?;
            }
            done = packets * u64::from(change + 1) / u64::from(CHANGES + 1);
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
