//! The way out of the namespaces: pasta, a process outside of them that speaks for all who are in there.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use awan_host::network::netns::has_default_route;
use awan_host::process::{Process, ends, pidfd};

/// Asked here, pasta asks the machine's own resolver. Guests do not get there: what is link-local ends in their VPC.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const LOG: &str = "pasta.log";
const LOOK_EVERY_MS: u16 = 20;
const LOOKS: u32 = 500;

/// None: the machine itself has no way out now.
pub fn start(holder: i32, data_dir: &Path) -> Result<Option<Process>> {
    if !has_default_route("self") {
        tracing::warn!("this machine has no default route: guests reach nothing outside until a later start finds one");
        return Ok(None);
    }
    // One that has just ended may leave its link and its route for a moment.
    let watched = pidfd(holder).context("watching what keeps the namespaces")?;
    for _ in 0..LOOKS {
        if !has_default_route(&holder.to_string()) || ends(&watched, LOOK_EVERY_MS) {
            break;
        }
    }
    let log = File::options().write(true).create(true).truncate(true).mode(0o600).open(data_dir.join(LOG))?;
    // Of the same process id: setsid starts no process where it need not.
    let mut command = Command::new("setsid");
    command.args(["pasta", "--foreground", "--quiet", "--ipv4-only", "--config-net"]);
    // The gateway's address would be the machine's loopback.
    command.arg("--no-map-gw");
    // Nothing is forwarded by port, in either direction.
    command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
    command.arg("--dns-forward").arg(RESOLVER.to_string()).arg(holder.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
    let mut child = command.spawn().context("starting pasta")?;
    let ready = wait(&mut child, holder);
    let process = i32::try_from(child.id()).ok().and_then(Process::of);
    match (ready, process) {
        (Ok(()), Some(process)) => Ok(Some(process)),
        (ready, _) => {
            let _ = child.kill();
            let _ = child.wait();
            let why = ready.err().map(|e| format!("{e:#}")).unwrap_or_default();
            let said = std::fs::read_to_string(data_dir.join(LOG)).unwrap_or_default();
            let said: Vec<_> = said.lines().filter(|line| !line.contains("syslog")).take(5).collect();
            tracing::error!(why, said = said.join("; "), "pasta gives no way out: guests reach nothing outside");
            Ok(None)
        }
    }
}

/// It has a route once pasta made one.
fn wait(child: &mut Child, holder: i32) -> Result<()> {
    let watched = pidfd(i32::try_from(child.id())?).context("watching pasta")?;
    for _ in 0..LOOKS {
        if ends(&watched, LOOK_EVERY_MS) {
            bail!("pasta ended: {}", child.wait()?);
        }
        if has_default_route(&holder.to_string()) {
            return Ok(());
        }
    }
    bail!("pasta takes too long")
}

/// A resolver on the machine's loopback is not there any more inside; pasta asks the first one of the machine's.
pub fn resolvers(machine: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut seen = BTreeSet::new();
    let moved = machine.iter().filter_map(|resolver| match resolver.ip() {
        ip if ip.is_loopback() => Some(SocketAddr::new(RESOLVER.into(), 53)),
        IpAddr::V4(_) => Some(*resolver),
        IpAddr::V6(_) => None,
    });
    moved.filter(|resolver| seen.insert(*resolver)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_asked_from_where_they_are_reached() {
        let of = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("an address")).collect::<Vec<SocketAddr>>();
        let machine = of(&["127.0.0.53:53", "192.0.2.1:53", "[2001:db8::1]:53", "[::1]:53"]);
        assert_eq!(resolvers(&machine), of(&["169.254.1.1:53", "192.0.2.1:53"]));
    }
}
