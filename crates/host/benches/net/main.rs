//! What the data plane costs: throughput and delay between two guests of a VPC, beside two namespaces that a plain router
//! joins, and how long a new interface takes. `cargo xtask bench net`; docs/benchmarks.md says what the figures mean.
//!
//! **Guests are namespaces**, joined to their VPC by a link of the tap's name in the tap's place: the driver, its rules and
//! its routes are those of real guests. What QEMU adds is not measured.

#![expect(clippy::print_stdout, reason = "a benchmark's tables")]

mod cloud;
mod delay;
mod throughput;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use awan_host::network::netns;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use crate::cloud::{Cloud, Path};

struct Options {
    rounds: usize,
    seconds: u32,
    interfaces: u32,
    only_interfaces: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { rounds: 7, seconds: 3, interfaces: 1000, only_interfaces: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().context("a number is missing")?.parse::<u32>().context("it is no number");
        match word.as_str() {
            // Said by cargo.
            "--bench" => {}
            "--rounds" => options.rounds = usize::try_from(number()?.clamp(1, 1000))?,
            "--seconds" => options.seconds = number()?.clamp(1, 1000),
            "--interfaces" => options.interfaces = number()?.clamp(1, 2000),
            "--only-interfaces" => options.only_interfaces = true,
            _ => bail!("usage: bench net [--rounds N] [--seconds N] [--interfaces N] [--only-interfaces]"),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    able()?;
    apart()?;
    if !options.only_interfaces {
        let cloud = Cloud::new()?;
        let paths = cloud.paths()?;
        println!("{}", throughput::table(&paths, options.rounds, options.seconds)?);
        println!("{}", delay::table(&paths, options.rounds)?);
    }
    println!("{}", interfaces(options.interfaces, options.rounds * 4)?);
    Ok(())
}

fn able() -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "bench net needs root: it makes network namespaces");
    let programs = [
        ("ip", "-V", "iproute2"),
        ("nft", "-v", "nftables"),
        ("conntrack", "-V", "conntrack"),
        ("iperf3", "-v", "iperf3"),
    ];
    for (program, word, package) in programs {
        netns::feed(program, &[word], "")
            .with_context(|| format!("the package {package} is needed: scripts/setup-host.sh --with-tests"))?;
    }
    ensure!(std::path::Path::new("/dev/net/tun").exists(), "there is no /dev/net/tun");
    Ok(())
}

/// This program, which has one thread yet, goes where nothing that it makes is the machine's, or stays.
fn apart() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("namespaces of its own")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    std::fs::create_dir("/run/netns")?;
    netns::ip(&["link set lo up".to_owned()])
}

/// All in turn, each time beginning with another one: what the machine does besides is spread over all.
fn in_turn(paths: &[Path], round: usize) -> impl Iterator<Item = (usize, &Path)> {
    (0..paths.len()).map(move |n| (n + round) % paths.len()).map(|n| (n, &paths[n]))
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds of processors: what a busy machine changes least.
fn spent(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    let seconds = |time: TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or_default());
    Ok((seconds(usage.user_time()) + seconds(usage.system_time())).as_secs_f64())
}

/// Each in milliseconds: by the clock, and of processors.
#[derive(Default)]
struct Times(Vec<f64>, Vec<f64>);

impl Times {
    fn row(self, what: &str) -> String {
        let Self(clock, spent) = self;
        let times = clock.len();
        let least = clock.iter().copied().fold(f64::INFINITY, f64::min);
        let most = clock.iter().copied().fold(0.0, f64::max);
        format!("| {what} | {times} | {:.1} | {least:.1} | {most:.1} | {:.1} |", median(clock), median(spent))
    }
}

/// A VPC with many interfaces gets one more, and loses it again.
fn interfaces(count: u32, times: usize) -> Result<String> {
    let cloud = Cloud::new()?;
    let all_spent = || Ok::<_, anyhow::Error>(spent(UsageWho::RUSAGE_SELF)? + spent(UsageWho::RUSAGE_CHILDREN)?);
    let timed = |count, into: &mut Times| {
        let plan = cloud::many(count);
        let (began, before) = (Instant::now(), all_spent()?);
        cloud.apply(&plan)?;
        into.0.push(began.elapsed().as_secs_f64() * 1000.0);
        into.1.push((all_spent()? - before) * 1000.0);
        Ok::<_, anyhow::Error>(())
    };
    let (mut all, mut more, mut less) = (Times::default(), Times::default(), Times::default());
    timed(count, &mut all)?;
    for _ in 0..times {
        timed(count + 1, &mut more)?;
        timed(count, &mut less)?;
    }
    let head = format!("| a VPC with {count} interfaces | times | median, ms | least | most | processor time, ms |");
    let rule = "| --- | --- | --- | --- | --- | --- |".to_owned();
    Ok([head, rule, more.row("one more"), less.row("one less"), all.row("all of them at once")].join("\n"))
}
