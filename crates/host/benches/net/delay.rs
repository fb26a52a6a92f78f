//! Round trips of a datagram: in a flow that is known, and of the first packet of a new flow, which all rules judge. Both
//! ends share a processor: to wake one on another takes longer than all rules, and the scheduler does it now and then.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use awan_host::network::netns;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::cloud::Path;
use crate::{in_turn, median};

const PORT: u16 = 7;
const KNOWN: usize = 2000;
const NEW: usize = 300;
const PATIENCE: Duration = Duration::from_secs(5);

pub fn table(paths: &[Path], rounds: usize) -> Result<String> {
    let (this, all) = (Pid::from_raw(0), sched_getaffinity(Pid::from_raw(0))?);
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|n| all.is_set(*n).unwrap_or(false)).context("a processor")?;
    one.set(first)?;
    sched_setaffinity(this, &one)?;
    let echoes = paths.iter().map(Echo::new).collect::<Result<Vec<_>>>()?;
    let (mut known, mut new) = (vec![Vec::new(); paths.len()], vec![Vec::new(); paths.len()]);
    for round in 0..rounds {
        for (n, path) in in_turn(paths, round) {
            known[n].push(median(round_trips(path, KNOWN)?));
            new[n].push(median(first_round_trips(path, NEW)?));
        }
    }
    drop(echoes);
    sched_setaffinity(this, &all)?;
    let over = |of: &[Vec<f64>], n: usize| median(of[n].iter().zip(&of[0]).map(|(own, bare)| own - bare).collect());
    let mut rows = vec![
        "| UDP round trip, µs | known flow | over bare | new flow | over bare |\n| --- | --- | --- | --- | --- |"
            .to_owned(),
    ];
    for (n, path) in paths.iter().enumerate() {
        rows.push(format!(
            "| {} | {:.1} | {:+.1} | {:.1} | {:+.1} |",
            path.name,
            median(known[n].clone()),
            over(&known, n),
            median(new[n].clone()),
            over(&new, n)
        ));
    }
    Ok(rows.join("\n"))
}

/// Sends back what comes, until it is dropped.
struct Echo {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn new(path: &Path) -> Result<Self> {
        let socket = netns::inside(&path.to, || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut word = [0; 64];
            while !told.load(Ordering::Relaxed) {
                if let Ok((n, from)) = socket.recv_from(&mut word) {
                    let _ = socket.send_to(&word[..n], from);
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sockets(path: &Path, count: usize) -> Result<Vec<UdpSocket>> {
    let bound = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((path.address, PORT))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    netns::inside(&path.from, || (0..count).map(|_| bound()).collect())
}

/// In microseconds.
fn round_trip(socket: &UdpSocket) -> Result<f64> {
    let (word, mut back) = ([0x55; 32], [0; 64]);
    let began = Instant::now();
    socket.send(&word)?;
    socket.recv(&mut back).context("nothing came back")?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

fn round_trips(path: &Path, count: usize) -> Result<Vec<f64>> {
    let socket = sockets(path, 1)?.remove(0);
    round_trip(&socket)?;
    (0..count).map(|_| round_trip(&socket)).collect()
}

fn first_round_trips(path: &Path, count: usize) -> Result<Vec<f64>> {
    sockets(path, count)?.iter().map(round_trip).collect()
}
