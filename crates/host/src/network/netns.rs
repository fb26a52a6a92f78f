//! Work inside another network namespace: a thread enters it, works, and ends.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, statfs};

/// The file system of namespaces. Source: Linux, include/uapi/linux/magic.h.
const NAMESPACES: FsType = FsType(0x6e73_6673);
/// Where iproute2 keeps namespaces by name.
const FOLDER: &str = "/run/netns";

/// Another name for a namespace's way out, given last: what was cut short in the making has none, and is made again.
pub const WHOLE: &str = "whole";

pub fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Names of the namespaces that begin with a prefix.
pub fn list(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|n| n.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Makes a namespace, where it is not.
pub fn add(name: &str) -> Result<()> {
    let path = path(name);
    if statfs(&path).is_ok_and(|fs| fs.filesystem_type() == NAMESPACES) {
        return Ok(());
    }
    if path.exists() {
        // Its making was cut short: a name without a namespace.
        ip(&[format!("netns del {name}")])?;
    }
    ip(&[format!("netns add {name}")])
}

/// Runs a function in a namespace. What it opens stays there; its thread does not come back.
pub fn inside<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = path(name);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    std::thread::scope(|scope| {
        let entered = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            work()
        });
        entered.join().unwrap_or_else(|_| bail!("the work in {name} panicked"))
    })
}

/// Feeds a program; what it says when it fails is the error.
pub fn feed(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut stdin = child.stdin.take().context("its input")?;
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.lines().take(3).collect::<Vec<_>>().join("; "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Commands for `ip -batch`, one a line.
pub fn ip(lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    feed("ip", &["-batch", "-"], &format!("{}\n", lines.join("\n"))).map(drop)
}

/// The same for IPv6.
pub fn ip6(lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    feed("ip", &["-6", "-batch", "-"], &format!("{}\n", lines.join("\n"))).map(drop)
}

/// What `ip -json` answers.
pub fn ip_json(arguments: &[&str]) -> Result<Vec<serde_json::Value>> {
    let mut all = vec!["-json"];
    all.extend(arguments);
    let text = feed("ip", &all, "")?;
    if text.trim().is_empty() { Ok(Vec::new()) } else { serde_json::from_str(&text).context("reading what ip says") }
}

/// Writes a setting of the namespace that the thread is in.
pub fn sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    std::fs::write(&path, value).with_context(|| format!("writing {}", path.display()))
}

/// Whether the network of a process (as `/proc` names it) has a way to all others.
pub fn has_default_route(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/net/route")).is_ok_and(|table| default_in(&table))
}

/// Fields: interface, destination, gateway, flags, …, and as the eighth the mask. Source: Linux, net/ipv4/fib_trie.c.
fn default_in(table: &str) -> bool {
    let is_default = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    };
    table.lines().skip(1).any(is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_seen() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let near = "eth0\t0007A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let half = "eth0\t00000000\t0107A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
        let default = "eth0\t00000000\t0107A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        for (table, expected) in [("", false), (near, false), (half, false), (default, true)] {
            assert_eq!(default_in(&format!("{head}{table}")), expected, "{table}");
        }
    }
}
