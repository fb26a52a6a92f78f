//! How much an interface sends and receives at most, by token buckets: what its guest receives in the tap, what it sends in
//! a device of its own (`ifb…`) that all of it passes before anything else looks at it. Source: tc-tbf(8), tc-mirred(8).
//!
//! **Invariant:** what a guest sends is judged as coming from its tap, with a limit or without one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use awan_model::plan::VpcPlan;
use serde_json::Value;

use super::netns;
use super::render::tap_name;
use crate::driver::NetworkDifference;

/// How long a packet waits before there is no room for it.
const LATENCY_MS: u32 = 50;
/// What may go at once: what the rate gives in so many milliseconds, and not less than a few of the largest packets.
const BURST_MS: u64 = 5;
const BURST_MIN: u64 = 256 * 1024;

/// Limits in bytes per second by the names of taps.
fn wanted(plan: &VpcPlan) -> BTreeMap<String, u64> {
    let limit = |mbps: u32| u64::from(mbps) * 125_000;
    let limited = plan.interfaces.iter().filter_map(|i| Some((tap_name(&i.id), limit(i.bandwidth_mbps?))));
    limited.collect()
}

/// The device through which what comes of a tap passes.
fn device(tap: &str) -> String {
    tap.replacen("tap", "ifb", 1)
}

fn tap_of(device: &str) -> String {
    device.replacen("ifb", "tap", 1)
}

#[derive(Default)]
struct Qdiscs {
    rates: BTreeMap<String, u64>,
    /// What comes of them is looked at.
    watched: BTreeSet<String>,
}

impl Qdiscs {
    fn read() -> Result<Self> {
        let text = netns::feed("tc", &["-json", "qdisc", "show"], "")?;
        let all: Vec<Value> = serde_json::from_str(&text).context("reading what tc says")?;
        let of = |kind: &'static str| all.iter().filter(move |q| q["kind"] == kind);
        let name = |q: &Value| q["dev"].as_str().map(str::to_owned);
        let rates = of("tbf").filter_map(|q| Some((name(q)?, q["options"]["rate"].as_u64()?))).collect();
        Ok(Self { rates, watched: of("ingress").filter_map(name).collect() })
    }

    fn has(&self, tap: &str, rate: u64) -> bool {
        let rates = [tap, &device(tap)].map(|dev| self.rates.get(dev).copied());
        self.watched.contains(tap) && rates == [Some(rate); 2]
    }

    /// What takes away that of a tap which is there.
    fn less(&self, tap: &str) -> impl Iterator<Item = String> {
        let parts = [("root", self.rates.contains_key(tap)), ("ingress", self.watched.contains(tap))];
        parts.into_iter().filter(|(_, is)| *is).map(move |(part, _)| format!("qdisc del dev {tap} {part}"))
    }
}

/// The devices and the taps that are there.
fn links() -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    const TABLE: &str = "/proc/thread-self/net/dev";
    let table = std::fs::read_to_string(TABLE).with_context(|| format!("reading {TABLE}"))?;
    let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let names = names.filter(|name| name.starts_with("ifb") || name.starts_with("tap"));
    Ok(names.partition(|name| name.starts_with("ifb")))
}

/// Called when the taps are there, and before they are up. `old`: the plan that is in force, if it is known.
pub fn apply(plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    let (all, before) = (wanted(plan), old.map(wanted));
    if before.as_ref() == Some(&all) || !(all.is_empty() || possible()) {
        return Ok(());
    }
    let (devices, taps) = links()?;
    let gone: Vec<_> = devices.iter().filter(|dev| !all.contains_key(&tap_of(dev))).collect();
    let lifted: Vec<_> = gone.iter().map(|dev| tap_of(dev)).filter(|tap| taps.contains(tap)).collect();
    // Of thousands it is not asked what they have for the sake of one that comes.
    let known = lifted.is_empty() && (before.is_some() || all.is_empty());
    let there = if known { Qdiscs::default() } else { Qdiscs::read()? };
    tc(&lifted.iter().flat_map(|tap| there.less(tap)).collect::<Vec<_>>())?;
    netns::ip(&gone.iter().map(|dev| format!("link del {dev}")).collect::<Vec<_>>())?;
    let news = |tap: &str, rate| before.as_ref().is_none_or(|before| before.get(tap) != Some(&rate));
    let (mut links, mut rules) = (Vec::new(), Vec::new());
    for (tap, rate) in all.iter().filter(|(tap, rate)| news(tap, **rate)) {
        let device = device(tap);
        if !devices.contains(&device) {
            links.push(format!("link add {device} type ifb"));
            links.push(format!("link set {device} addrgenmode none up"));
        }
        if !there.has(tap, *rate) {
            let bucket = format!("rate {}bit burst {} latency {LATENCY_MS}ms", rate * 8, burst(*rate));
            rules.push(format!("qdisc replace dev {device} root tbf {bucket}"));
            rules.push(format!("qdisc replace dev {tap} root tbf {bucket}"));
            rules.push(format!("qdisc replace dev {tap} handle ffff: ingress"));
        }
        // Where it leads cannot be seen cheaply, and its device may be a new one.
        rules.push(redirect(tap, &device));
    }
    netns::ip(&links)?;
    tc(&rules)
}

fn redirect(tap: &str, device: &str) -> String {
    format!(
        "filter replace dev {tap} parent ffff: protocol all prio 1 handle 800::1 u32 match u32 0 0 \
         action mirred egress redirect dev {device}"
    )
}

fn burst(rate: u64) -> u64 {
    (rate * BURST_MS / 1000).max(BURST_MIN)
}

fn tc(lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    netns::feed("tc", &["-batch", "-"], &format!("{}\n", lines.join("\n"))).map(drop)
}

/// Whether this machine's kernel can. Where it cannot, guests run without limits, and the log says so once.
fn possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let tried = tried();
        if let Err(e) = &tried {
            let error = format!("{e:#}");
            tracing::warn!(
                error,
                "bandwidth is not limited: that needs tc and, of the kernel, ifb, tbf, u32 and mirred"
            );
        }
        tried.is_ok()
    })
}

/// In a network of its own, which goes with its thread.
fn tried() -> Result<()> {
    let trial = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("a network to try it in")?;
        netns::ip(&["link add tap0 type ifb".to_owned(), "link add ifb0 type ifb".to_owned()])?;
        tc(&[
            "qdisc add dev ifb0 root tbf rate 1gbit burst 262144 latency 50ms".to_owned(),
            "qdisc add dev tap0 handle ffff: ingress".to_owned(),
            redirect("tap0", "ifb0"),
        ])
    };
    std::thread::scope(|scope| scope.spawn(trial).join().unwrap_or_else(|_| anyhow::bail!("the trial panicked")))
}

/// Called inside the namespace.
pub fn compare(name: &str, plan: &VpcPlan, found: &mut NetworkDifference) -> Result<()> {
    let (all, (devices, _)) = (wanted(plan), links()?);
    let gone = devices.iter().filter(|dev| !all.contains_key(&tap_of(dev)));
    found.unexpected.extend(gone.map(|dev| format!("link {dev} in {name}")));
    if !all.is_empty() && possible() {
        let there = Qdiscs::read()?;
        let missing = all.iter().filter(|(tap, rate)| !there.has(tap, **rate));
        found.missing.extend(missing.map(|(tap, _)| format!("limit of {tap} in {name}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use crate::network::lab::{Lab, bound, interface};
    use crate::network::netns;
    use crate::network::testing::vpc_plan;

    const A: &str = "10.0.0.5";
    const B: &str = "10.0.0.6";
    const WINDOW: Duration = Duration::from_secs(3);
    const MBPS: u32 = 8;

    /// Bytes a second that come through while far more is sent, by what the taps count: from the guest at `from`, and to
    /// the one at `to`. The first part of the time is not counted: the bucket is full when it begins.
    #[expect(clippy::disallowed_methods, reason = "a load has a pace")]
    fn flood(lab: &Lab, counted: usize, received: bool) -> f64 {
        let (sender, receiver): (UdpSocket, UdpSocket) = (lab.udp(A, 7000), lab.guest(B).inside(|| bound(B, 7)));
        let to = receiver.local_addr().expect("an address");
        let load = [0; 1200];
        let send_for = |time: Duration| {
            let began = Instant::now();
            while began.elapsed() < time {
                for _ in 0..8 {
                    let _ = sender.send_to(&load, to);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        let count = || {
            let counters = lab.traffic()[counted].counters;
            (Instant::now(), if received { counters.bytes_in } else { counters.bytes_out })
        };
        send_for(Duration::from_secs(1));
        let (began, first) = count();
        send_for(WINDOW);
        let (ended, last) = count();
        #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
        let bytes = (last - first) as f64;
        bytes / (ended - began).as_secs_f64()
    }

    fn is_near_the_limit(bytes_per_second: f64) {
        let share = bytes_per_second * 8.0 / (f64::from(MBPS) * 1e6);
        assert!((0.85..1.1).contains(&share), "{share:.3} of the limit came through");
    }

    #[test]
    fn no_more_than_its_limit_comes_from_a_guest_or_to_it_until_somebody_lifts_it() {
        let mut plan = vpc_plan();
        plan.groups[0].ingress = plan.groups[0].egress.clone();
        plan.interfaces = vec![interface(1, 1, A), interface(2, 1, B)];
        let Some(mut lab) = Lab::new(plan) else { return };
        if !super::possible() {
            return;
        }
        let free = flood(&lab, 1, true);
        // Of a machine that is too slow to send twice as much nothing can be shown.
        assert!(free > f64::from(MBPS) * 250_000.0, "{free} bytes a second without a limit");
        // What the guest may send limits what the other receives.
        lab.network_mut().interfaces[0].bandwidth_mbps = Some(MBPS);
        lab.apply();
        is_near_the_limit(flood(&lab, 1, true));
        lab.network_mut().interfaces[0].bandwidth_mbps = None;
        lab.network_mut().interfaces[1].bandwidth_mbps = Some(MBPS);
        lab.apply();
        assert!(flood(&lab, 0, false) > f64::from(MBPS) * 250_000.0, "its own limit is gone");
        is_near_the_limit(flood(&lab, 1, true));
        // Somebody takes it away, and the scrub brings it back.
        lab.vpc(|| netns::feed("tc", &["qdisc", "del", "dev", "tap00000a000006", "root"], "").expect("removes"));
        let difference = lab.differences();
        assert!(difference.len() == 1 && difference[0].starts_with("limit of tap00000a000006"), "{difference:?}");
        lab.apply();
        assert_eq!(lab.differences(), Vec::<String>::new());
        is_near_the_limit(flood(&lab, 1, true));
        lab.network_mut().interfaces.clear();
        lab.apply();
        assert_eq!(lab.differences(), Vec::<String>::new());
    }
}
