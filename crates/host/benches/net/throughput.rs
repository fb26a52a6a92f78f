//! TCP by iperf3, one stream.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use awan_host::network::netns;
use nix::sys::resource::UsageWho;

use crate::cloud::Path;
use crate::{in_turn, median, spent};

const PORT: &str = "5201";
struct Run {
    gigabits: f64,
    /// Processor time of both ends, for the same bytes.
    cost: f64,
}

pub fn table(paths: &[Path], rounds: usize, seconds: u32) -> Result<String> {
    let mut measured: Vec<Vec<Run>> = paths.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (n, path) in in_turn(paths, round) {
            measured[n].push(run(path, seconds)?);
        }
    }
    let mut rows = vec![
        "| TCP | Gbit/s | of the bare one | processor time for a byte, of the bare one | Gbit/s in each round |\n\
         | --- | --- | --- | --- | --- |"
            .to_owned(),
    ];
    for (path, runs) in paths.iter().zip(&measured) {
        let of_bare = |what: fn(&Run) -> f64| {
            100.0 * median(runs.iter().zip(&measured[0]).map(|(own, bare)| what(own) / what(bare)).collect())
        };
        let (rate, cost) = (of_bare(|run| run.gigabits), of_bare(|run| run.cost));
        let own = median(runs.iter().map(|run| run.gigabits).collect());
        let each: Vec<String> = runs.iter().map(|run| format!("{:.1}", run.gigabits)).collect();
        rows.push(format!("| {} | {own:.1} | {rate:.0} % | {cost:.0} % | {} |", path.name, each.join(" ")));
    }
    Ok(rows.join("\n"))
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(path: &Path, seconds: u32) -> Result<Run> {
    let before = spent(UsageWho::RUSAGE_CHILDREN)?;
    let server = netns::inside(&path.to, || {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--one-off", "--forceflush", "--port", PORT]);
        let mut server = Server(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let said = BufReader::new(server.0.stdout.take().context("its output")?);
        // Kept open: it goes on saying.
        let mut lines = said.lines();
        let listens = lines.any(|line| line.is_ok_and(|line| line.contains("listening")));
        ensure!(listens, "iperf3 does not listen");
        Ok((server, lines))
    })?;
    let (address, seconds) = (path.address.to_string(), seconds.to_string());
    let words = ["--json", "--client", &address, "--port", PORT, "--time", &seconds];
    let text = netns::inside(&path.from, || netns::feed("iperf3", &words, ""))
        .with_context(|| format!("{} of {}", path.to, path.name))?;
    drop(server);
    let said: serde_json::Value = serde_json::from_str(&text)?;
    let received = &said["end"]["sum_received"];
    let bits = received["bits_per_second"].as_f64().context("iperf3 says no rate")?;
    let bytes = received["bytes"].as_f64().context("iperf3 counts nothing")?;
    ensure!(bits > 0.0 && bytes > 0.0, "nothing came through: {}", path.name);
    Ok(Run { gigabits: bits / 1e9, cost: (spent(UsageWho::RUSAGE_CHILDREN)? - before) / bytes })
}
