//! IPv6 in a VPC's namespace: on where the VPC has a range, and nothing of it where it has none.
//!
//! ```text
//!   guest ── fe80::1 on its tap ── VPC: a route to each address ── igw fe80::2 ═ fe80::1 edge
//! ```
//!
//! Each end of a link knows the other by a neighbour that stays, so nobody is asked for and nobody can answer in another's
//! name; only a guest's link-local address is learned, on its own tap. The same lines may be applied again and again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use awan_model::plan::{InterfacePlan, SubnetPlan, VpcPlan, Way};

use super::render::{MARK_EGRESS_ONLY, MARK_INTERNET, MARK_NOWHERE, mark, peer_name, tap_name};
use super::vpc::{EDGE_MAC, PROTOCOL, TABLE_BASE, WAYS, links_there};
use super::{netns, peer};

/// The router as each guest sees it; also the edge as each VPC sees it.
pub const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// A VPC as the edge sees it.
pub const VPC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// Source: "Instance metadata service", "Amazon DNS", "Set the time reference on your EC2 instance", AWS documentation.
pub const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
pub const RESOLVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
pub const TIME: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123);

/// Whether this kernel has it at all.
pub fn is_there() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// A subnet's first address is its router's, as the source of what it has to say about packets.
fn gateway(subnet: &SubnetPlan) -> Option<Ipv6Addr> {
    subnet.ipv6.map(|net| Ipv6Addr::from(u128::from(net.network()) + 1))
}

/// Called inside of the namespace, like all here. Whatever was there before goes with the last range.
pub fn apply(plan: &VpcPlan) -> Result<()> {
    if !is_there() {
        anyhow::ensure!(plan.ipv6.is_empty(), "this kernel has no IPv6");
        return Ok(());
    }
    let off = if plan.ipv6.is_empty() { "1" } else { "0" };
    for (name, value) in [
        // First, so that a link that comes up now has no address of its own making, and asks nobody whether it may.
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_redirects", "0"),
        ("net/ipv6/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/default/disable_ipv6", off),
        ("net/ipv6/conf/all/disable_ipv6", off),
        ("net/ipv6/conf/all/forwarding", "1"),
    ] {
        netns::sysctl(name, value)?;
    }
    if plan.ipv6.is_empty() { Ok(()) } else { addresses(plan).and_then(|()| rules()) }
}

fn addresses(plan: &VpcPlan) -> Result<()> {
    let mut wanted: BTreeSet<_> = plan.subnets.iter().filter_map(gateway).collect();
    wanted.extend([METADATA, RESOLVER, TIME]);
    let links = netns::ip_json(&["-6", "addr", "show", "dev", "lo"])?;
    let infos = links.iter().flat_map(|l| l["addr_info"].as_array().cloned().unwrap_or_default());
    let there: BTreeSet<Ipv6Addr> =
        infos.filter_map(|i| i["local"].as_str()?.parse().ok()).filter(|ip: &Ipv6Addr| !ip.is_loopback()).collect();
    let mut lines: Vec<_> = wanted.difference(&there).map(|ip| format!("addr add {ip}/128 dev lo nodad")).collect();
    lines.extend(there.difference(&wanted).map(|ip| format!("addr del {ip}/128 dev lo")));
    let ranges: BTreeSet<_> = plan.ipv6.iter().map(ToString::to_string).collect();
    let routes = netns::ip_json(&["-6", "route", "show", "type", "blackhole", "proto", "77"])?;
    let old: BTreeSet<_> = routes.iter().filter_map(|r| r["dst"].as_str().map(str::to_owned)).collect();
    lines.extend(old.difference(&ranges).map(|cidr| format!("route del blackhole {cidr} proto {PROTOCOL}")));
    lines.extend(ranges.difference(&old).map(|cidr| format!("route replace blackhole {cidr} proto {PROTOCOL}")));
    netns::ip6(&lines)?;
    await_own(&wanted)
}

/// Until the kernel takes these addresses for its own: it does so a little after they are there, and before that sends
/// elsewhere what comes for them.
pub fn await_own(addresses: &BTreeSet<Ipv6Addr>) -> Result<()> {
    const TABLE: &str = "/proc/thread-self/net/ipv6_route";
    for _ in 0..AWAITED_MS {
        let table = std::fs::read_to_string(TABLE).with_context(|| format!("reading {TABLE}"))?;
        let own: BTreeSet<Ipv6Addr> = table.lines().filter_map(own).collect();
        if addresses.is_subset(&own) {
            return Ok(());
        }
        nix::poll::poll(&mut [], 1_u8)?;
    }
    tracing::warn!(?addresses, "the kernel is slow to take addresses for its own");
    Ok(())
}

const AWAITED_MS: u32 = 2000;

/// Fields: destination, length of its prefix, …, as the ninth the flags. Source: Linux, net/ipv6/route.c and
/// include/uapi/linux/ipv6_route.h (RTF_LOCAL).
fn own(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let is_own = fields.get(1) == Some(&"80") && flags & 0x8000_0000 != 0;
    u128::from_str_radix(fields[0], 16).ok().filter(|_| is_own).map(Ipv6Addr::from)
}

/// As for IPv4: addresses of the VPC first, then by the way of the subnet.
fn rules() -> Result<()> {
    let [out, nowhere, answered] = [MARK_INTERNET, MARK_NOWHERE, MARK_EGRESS_ONLY].map(|mark| TABLE_BASE + mark);
    let mut lines = vec![
        "link set igw addrgenmode none".to_owned(),
        format!("neigh replace {ROUTER} lladdr {EDGE_MAC} dev igw nud permanent"),
        format!("route replace default via {ROUTER} dev igw onlink table {out} proto {PROTOCOL}"),
        format!("route replace default via {ROUTER} dev igw onlink table {answered} proto {PROTOCOL}"),
        format!("route replace blackhole default table {nowhere} proto {PROTOCOL}"),
    ];
    let there = netns::ip_json(&["-6", "rule", "show"])?;
    let has = |pref: u32| there.iter().any(|rule| rule["priority"] == pref);
    for (pref, rule) in [
        (100, "lookup main".to_owned()),
        (201, format!("fwmark {MARK_INTERNET} lookup {out}")),
        (203, format!("fwmark {MARK_EGRESS_ONLY} lookup {answered}")),
        (400, format!("lookup {nowhere}")),
    ] {
        if !has(pref) {
            lines.push(format!("rule add pref {pref} {rule}"));
        }
    }
    if has(MAIN) {
        lines.push(format!("rule del pref {MAIN}"));
    }
    netns::ip6(&lines)
}

/// Linux's own rule for what no other sends anywhere.
const MAIN: u32 = 32_766;

/// The ways to guests, one for each address. Taps are up. `known`: nobody but this program has changed any.
pub fn raise(plan: &VpcPlan, known: bool) -> Result<()> {
    if plan.ipv6.is_empty() || !is_there() {
        return Ok(());
    }
    let routes = netns::ip_json(&["-6", "route", "show", "proto", "77"])?;
    let way = |r: &serde_json::Value| Some((r["dst"].as_str()?.to_owned(), r["dev"].as_str()?.to_owned()));
    let there: BTreeSet<_> = routes.iter().filter_map(way).filter(|(_, tap)| tap.starts_with("tap")).collect();
    let each = |i: &InterfacePlan| i.ipv6.iter().map(|ip| (ip.to_string(), tap_name(&i.id))).collect::<Vec<_>>();
    let wanted: BTreeSet<(String, String)> = plan.interfaces.iter().flat_map(each).collect();
    let mut lines = Vec::new();
    for (ip, tap) in there.difference(&wanted) {
        lines.push(format!("neigh del {ip} dev {tap}"));
        lines.push(format!("route del {ip}/128 dev {tap} proto {PROTOCOL}"));
    }
    for interface in plan.interfaces.iter().filter(|i| !i.ipv6.is_empty()) {
        let tap = tap_name(&interface.id);
        lines.push(format!("addr replace {ROUTER}/64 dev {tap} nodad"));
        let subnet = plan.subnets.iter().find(|s| s.id == interface.subnet).and_then(gateway);
        let source = subnet.context("an address without a range of its subnet")?;
        let missing = |ip: &&Ipv6Addr| !known || !there.contains(&(ip.to_string(), tap.clone()));
        for ip in interface.ipv6.iter().filter(missing) {
            lines.push(format!("neigh replace {ip} lladdr {} dev {tap} nud permanent", interface.mac));
            lines.push(format!("route replace {ip}/128 dev {tap} src {source} proto {PROTOCOL}"));
        }
    }
    netns::ip6(&lines)?;
    ways(plan)
}

/// The routing tables of ways that lead to guests and to peers.
fn ways(plan: &VpcPlan) -> Result<()> {
    let there = links_there()?;
    let used: BTreeSet<&Way> = plan.subnets.iter().flat_map(|s| s.ways.iter().map(|w| &w.way)).collect();
    let mut lines = Vec::new();
    let mut wanted: BTreeMap<u32, String> = BTreeMap::new();
    for way in used {
        match way {
            Way::Interface(id) => {
                let on = plan.interfaces.iter().find(|i| i.id == *id).and_then(|i| Some((i, i.ipv6.first()?)));
                let route = on.map(|(i, ip)| format!("via {ip} dev {} onlink", tap_name(&i.id)));
                wanted.extend(route.map(|route| (mark(way), route)));
            }
            Way::Peering(id) => {
                let Some(peer) = plan.peers.iter().find(|p| p.id == *id && there.contains(&peer_name(id))) else {
                    continue;
                };
                lines.push(peer::neighbour_ipv6(peer));
                wanted.insert(mark(way), peer::route_ipv6(peer));
            }
            Way::Internet | Way::EgressOnly | Way::Nat(_) | Way::NatPeering(..) => {}
        }
    }
    let rules = netns::ip_json(&["-6", "rule", "show"])?;
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<u32>().ok());
    let of_ways = rules.iter().filter(|rule| rule["priority"] == WAYS);
    let tables: BTreeSet<u32> = of_ways.filter_map(|rule| number(&rule["table"])).collect();
    for table in tables.iter().filter(|table| !wanted.contains_key(table)) {
        lines.push(format!("rule del pref {WAYS} fwmark {table} lookup {table}"));
        lines.push(format!("route flush table {table}"));
    }
    for (table, route) in &wanted {
        lines.push(format!("route replace default {route} table {table} proto {PROTOCOL}"));
        if !tables.contains(table) {
            lines.push(format!("rule add pref {WAYS} fwmark {table} lookup {table}"));
        }
    }
    netns::ip6(&lines)
}
