//! One VPC's namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use awan_model::plan::{PeerPlan, SubnetPlan, VpcPlan, Way};

use super::render::{self, mark, peer_name, tap_name};
use super::{counters, edge, flow, ipv6, limit, link, netns, peer};
use crate::driver::NetworkDifference;

/// Every guest's router has this address on its tap.
pub const ROUTER_MAC: [u8; 6] = [0x0a, 0xff, 0xff, 0xff, 0xff, 0x01];
/// Both ends of the link between a VPC and the edge; the same in every VPC, since each has its own namespace.
pub const EDGE_IP: &str = "169.254.241.1";
pub const VPC_IP: &str = "169.254.241.2";
pub const EDGE_MAC: &str = "0a:ff:00:00:00:01";
pub const VPC_MAC: &str = "0a:ff:00:00:00:02";
pub const MTU: u32 = 1500;
/// Marks routes as this program's.
pub const PROTOCOL: u32 = 77;
/// Taps that a machine still has open though they are no interface's any more. They are down, and as far as rules go they
/// are taps of which nothing is known.
const ASIDE: &str = "tapx";
pub const TABLE_BASE: u32 = 1000;
/// The preference of the rule that finds the VPC's own addresses, and of those of ways that lead to guests.
const OWN: u32 = 100;
pub const WAYS: u32 = 300;

fn router_mac() -> String {
    ROUTER_MAC.map(|b| format!("{b:02x}")).join(":")
}

fn gateway(subnet: &SubnetPlan) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.cidr.network()).saturating_add(1))
}

/// The addresses at which the VPC's router serves: gateways, resolver, time, metadata, endpoints.
pub fn own_addresses(plan: &VpcPlan) -> BTreeSet<Ipv4Addr> {
    let mut all: BTreeSet<_> = plan.subnets.iter().map(gateway).collect();
    all.insert(resolver(plan));
    all.extend(render::SERVICES);
    all.extend(plan.endpoint_interfaces().map(|i| i.private_ip));
    all
}

/// The VPC's range plus two.
pub fn resolver(plan: &VpcPlan) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(plan.cidr.network()).saturating_add(2))
}

/// Makes the namespace and its way to the edge, where they are not, or not whole; whether it had to.
pub fn ensure(name: &str, edge_name: &str, plan: &VpcPlan) -> Result<bool> {
    netns::add(name)?;
    let ready = netns::inside(name, || Ok(nix::net::if_::if_nametoindex(netns::WHOLE).is_ok()))?;
    if !ready {
        netns::inside(name, || {
            // Absent where there is no IPv6.
            let _ = netns::sysctl("net/ipv6/conf/all/disable_ipv6", "1");
            netns::ip(&["link set lo up".to_owned()])
        })?;
        let peer = edge::link_name(&plan.id);
        // Its other end goes with it.
        let _ = netns::inside(edge_name, || netns::ip(&[format!("link del {peer}")]));
        let _ = netns::inside(name, || netns::ip(&["link del igw".to_owned()]));
        netns::ip(&[format!(
            "link add igw netns {name} address {VPC_MAC} type veth peer name {peer} netns {edge_name} address {EDGE_MAC}"
        )])?;
        meet(edge_name, plan)?;
        netns::inside(name, || {
            way_out()?;
            netns::ip(&[format!("link property add dev igw altname {}", netns::WHOLE)])
        })?;
    }
    Ok(!ready)
}

/// The edge's end of the way to it.
pub fn meet(edge_name: &str, plan: &VpcPlan) -> Result<()> {
    let peer = edge::link_name(&plan.id);
    let lines = [
        format!("link set {peer} addrgenmode none"),
        format!("link set {peer} up"),
        format!("neigh replace {VPC_IP} lladdr {VPC_MAC} dev {peer} nud permanent"),
    ];
    netns::inside(edge_name, || netns::ip(&lines))
}

fn settings() -> Result<()> {
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/default/accept_redirects", "0"),
    ] {
        netns::sysctl(name, value)?;
    }
    // Absent before the first rule that tracks connections.
    let _ = netns::sysctl("net/netfilter/nf_conntrack_tcp_loose", "0");
    Ok(())
}

/// Addresses of the VPC and the way out are one table, and routing has no rules of its own: with the first one the kernel
/// looks at all of them, twice for each packet, for as long as the namespace is there. What may not go out is dropped on
/// its way to `igw`, by its mark.
///
/// An earlier version made rules: one for each mark, and one at the end for what has none. Where these are, they stay.
fn way_out() -> Result<()> {
    const EARLIER: u32 = 201;
    const MAIN: u32 = 32_766;
    settings()?;
    let mut lines = vec![
        "link set igw addrgenmode none".to_owned(),
        "link set igw up".to_owned(),
        format!("neigh replace {EDGE_IP} lladdr {EDGE_MAC} dev igw nud permanent"),
    ];
    let rules = netns::ip_json(&["rule", "show"])?;
    let has = |pref: u32| rules.iter().any(|rule| rule["priority"] == pref);
    if !has(EARLIER) {
        lines.push(format!("route replace default via {EDGE_IP} dev igw onlink proto {PROTOCOL}"));
        if !has(MAIN) {
            lines.push(format!("rule add pref {MAIN} lookup main"));
        }
    }
    netns::ip(&lines)
}

/// Rules, addresses, taps, routes. Taps stay down until [`raise`]. `old`: the plan whose rules are in force, if it is
/// known.
pub fn apply(name: &str, plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    netns::inside(name, || {
        if old.is_none() {
            way_out().context("the way out")?;
        }
        load(plan, old).context("loading rules")?;
        let _ = netns::sysctl("net/netfilter/nf_conntrack_tcp_loose", "0");
        addresses(plan, old)?;
        ipv6::apply(plan).context("IPv6")?;
        taps(plan)?;
        limit::apply(plan, old).context("limits")
    })
}

/// Where the table is what it was left as, only what changed is loaded. Where it is not, the kernel refuses the change
/// or somebody finds it later ([`compare`]), and all is loaded.
fn load(plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    let nft = |text: &str| netns::feed("nft", &["-f", "-"], text).map(drop);
    let (rules, arp) = (render::vpc(plan), render::arp(plan));
    if let Some(old) = old {
        let changes = [arp.since(&render::arp(old)), rules.since(&render::vpc(old)), flow::since(plan, old)];
        let changes: String = changes.into_iter().flatten().collect();
        match if changes.is_empty() { Ok(()) } else { nft(&changes) } {
            Ok(()) => return Ok(()),
            Err(e) => tracing::warn!(vpc = %plan.id, error = format!("{e:#}"), "all rules are loaded again"),
        }
    }
    nft(&format!("{}{}{}", arp.whole(), rules.whole(), flow::whole(plan)))
}

fn addresses(plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    let wanted = own_addresses(plan);
    if old.is_some_and(|old| own_addresses(old) == wanted && old.cidrs().eq(plan.cidrs())) {
        return Ok(());
    }
    let there = on_loopback()?;
    let mut lines: Vec<_> = wanted.difference(&there).map(|ip| format!("addr add {ip}/32 dev lo")).collect();
    lines.extend(there.difference(&wanted).map(|ip| format!("addr del {ip}/32 dev lo")));
    let (ranges, old) = (plan.cidrs().map(|cidr| cidr.to_string()).collect::<BTreeSet<_>>(), blackholes()?);
    lines.extend(old.difference(&ranges).map(|cidr| format!("route del blackhole {cidr} proto {PROTOCOL}")));
    lines.extend(ranges.iter().map(|cidr| format!("route replace blackhole {cidr} proto {PROTOCOL}")));
    netns::ip(&lines)
}

/// The ranges of the VPC, as it was: what has no guest there leads nowhere.
fn blackholes() -> Result<BTreeSet<String>> {
    let routes = netns::ip_json(&["route", "show", "type", "blackhole", "proto", "77"])?;
    Ok(routes.iter().filter_map(|r| r["dst"].as_str().map(str::to_owned)).collect())
}

fn on_loopback() -> Result<BTreeSet<Ipv4Addr>> {
    let links = netns::ip_json(&["-4", "addr", "show", "dev", "lo"])?;
    let infos = links.iter().flat_map(|l| l["addr_info"].as_array().cloned().unwrap_or_default());
    Ok(infos.filter_map(|i| i["local"].as_str()?.parse::<Ipv4Addr>().ok()).filter(|ip| !ip.is_loopback()).collect())
}

/// Taps, and links to peers. Read where it costs next to nothing for thousands of them.
pub fn links_there() -> Result<BTreeSet<String>> {
    const TABLE: &str = "/proc/thread-self/net/dev";
    let table = std::fs::read_to_string(TABLE).with_context(|| format!("reading {TABLE}"))?;
    let names = table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    Ok(names.filter(|name| name.starts_with("tap") || name.starts_with("pcx")).map(str::to_owned).collect())
}

fn taps_wanted(plan: &VpcPlan) -> BTreeSet<String> {
    plan.interfaces.iter().map(|i| tap_name(&i.id)).collect()
}

fn taps(plan: &VpcPlan) -> Result<()> {
    let (there, wanted) = (links_there()?, taps_wanted(plan));
    let peers = peer::wanted(&plan.peers);
    for gone in there.iter().filter(|link| !wanted.contains(*link) && !peers.contains(*link)) {
        part_with(gone)?;
    }
    let made = wanted.difference(&there).flat_map(|tap| {
        [
            format!("tuntap add {tap} mode tap vnet_hdr"),
            format!(
                "link set {tap} address {} mtu {MTU} addrgenmode none alias {}",
                router_mac(),
                counters::new_name()
            ),
        ]
    });
    netns::ip(&made.collect::<Vec<_>>())
}

/// Removes a link. A tap that a machine still has open is put aside until it has not: without its device it would be at
/// work for ever reading nothing.
fn part_with(link: &str) -> Result<()> {
    if !link.starts_with("tap") || link::is_free(link)? {
        return netns::ip(&[format!("link del {link}")]);
    }
    if link.starts_with(ASIDE) { Ok(()) } else { put_aside(link) }
}

fn put_aside(tap: &str) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(tap).with_context(|| format!("{tap} is gone"))?;
    netns::ip(&[format!("link set {tap} down"), format!("link set {tap} name {ASIDE}{index}")])
}

/// Takes an interface's tap from whoever has it open. The next [`apply`] makes a new one.
pub fn retire(name: &str, tap: &str) -> Result<()> {
    netns::inside(name, || {
        let held = links_there()?.contains(tap) && !link::is_free(tap)?;
        if held { put_aside(tap) } else { Ok(()) }
    })
}

/// Taps up, and the ways to their guests: one for each private address. Called when rules and services are there. `old`: the
/// plan that was raised last, if it is known.
pub fn raise(name: &str, plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    netns::inside(name, || {
        let there = guests()?;
        let wanted: BTreeSet<(String, String)> = plan
            .interfaces
            .iter()
            .flat_map(|i| i.addresses().map(|(ip, _)| (ip.to_string(), tap_name(&i.id))))
            .collect();
        let kept: BTreeSet<&String> = wanted.iter().map(|(ip, _)| ip).collect();
        let mut lines = Vec::new();
        // A way to the same address by another tap is replaced, not removed.
        for (ip, tap) in there.difference(&wanted) {
            lines.push(format!("neigh del {ip} dev {tap}"));
            if !kept.contains(ip) {
                lines.push(format!("route del {ip}/32 dev {tap} proto {PROTOCOL}"));
            }
        }
        for interface in &plan.interfaces {
            let tap = tap_name(&interface.id);
            // Of what nobody knows, neighbours may be missing too.
            let missing = |ip: &Ipv4Addr| old.is_none() || !there.contains(&(ip.to_string(), tap.clone()));
            let missing: Vec<_> = interface.addresses().map(|(ip, _)| ip).filter(missing).collect();
            if missing.is_empty() {
                continue;
            }
            netns::sysctl(&format!("net/ipv4/conf/{tap}/proxy_arp"), "1")?;
            netns::sysctl(&format!("net/ipv4/neigh/{tap}/proxy_delay"), "0")?;
            let subnet =
                plan.subnets.iter().find(|s| s.id == interface.subnet).context("an interface without a subnet")?;
            lines.push(format!("link set {tap} up"));
            for ip in missing {
                lines.push(format!("neigh replace {ip} lladdr {} dev {tap} nud permanent", interface.mac));
                lines.push(format!("route replace {ip}/32 dev {tap} src {} proto {PROTOCOL}", gateway(subnet)));
            }
        }
        netns::ip(&lines)?;
        ways(plan, old)?;
        ipv6::raise(plan, old.is_some()).context("IPv6")
    })
}

/// The routing tables of ways that lead to guests, and their routes.
fn tables(plan: &VpcPlan, there: &BTreeSet<String>) -> BTreeMap<u32, String> {
    let used: BTreeSet<&Way> = plan.subnets.iter().flat_map(|s| s.ways.iter().map(|w| &w.way)).collect();
    let route = |way: &&Way| match way {
        Way::Internet | Way::EgressOnly => None,
        Way::Interface(id) => {
            let on = plan.interfaces.iter().find(|i| i.id == *id)?;
            Some((mark(way), format!("via {} dev {} onlink", on.private_ip, tap_name(&on.id))))
        }
        Way::Nat(_) => Some((mark(way), format!("via {EDGE_IP} dev igw onlink"))),
        Way::Peering(id) | Way::NatPeering(_, id) => {
            let peer = plan.peers.iter().find(|p| p.id == *id && there.contains(&peer_name(id)))?;
            Some((mark(way), peer::route(peer)))
        }
    };
    used.iter().filter_map(route).collect()
}

fn ways(plan: &VpcPlan, old: Option<&VpcPlan>) -> Result<()> {
    let there = links_there()?;
    let wanted = tables(plan, &there);
    if old.is_some_and(|old| tables(old, &there) == wanted) {
        return Ok(());
    }
    let rules = netns::ip_json(&["rule", "show"])?;
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<u32>().ok());
    let of_ways = rules.iter().filter(|rule| rule["priority"] == WAYS);
    let tables: BTreeSet<u32> = of_ways.filter_map(|rule| number(&rule["table"])).collect();
    let mut lines = Vec::new();
    if !wanted.is_empty() && !rules.iter().any(|rule| rule["priority"] == OWN) {
        lines.push(format!("rule add pref {OWN} lookup main suppress_prefixlength 0"));
    }
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
    netns::ip(&lines)
}

/// The addresses that have a way to a guest, with the taps of these.
fn guests() -> Result<BTreeSet<(String, String)>> {
    const TABLE: &str = "/proc/thread-self/net/route";
    let table = std::fs::read_to_string(TABLE).with_context(|| format!("reading {TABLE}"))?;
    Ok(guests_in(&table))
}

/// Fields: interface, destination as the number that its bytes are in memory, … Source: Linux, net/ipv4/fib_trie.c.
fn guests_in(table: &str) -> BTreeSet<(String, String)> {
    let guest = |line: &str| {
        let mut fields = line.split_whitespace();
        let (tap, to) = (fields.next()?, u32::from_str_radix(fields.next()?, 16).ok()?);
        let ip = Ipv4Addr::from(to.to_ne_bytes());
        tap.starts_with("tap").then(|| (ip.to_string(), tap.to_owned()))
    };
    table.lines().skip(1).filter_map(guest).collect()
}

/// Ends the flows of addresses that changed hands, so that nobody inherits them.
pub fn forget_flows(name: &str, old: Option<&VpcPlan>, new: &VpcPlan) {
    let Some(old) = old else { return };
    let pairs = |plan: &VpcPlan| {
        let all = plan.interfaces.iter().flat_map(|i| i.addresses().map(|(ip, public)| (ip, i.id.clone(), public)));
        let endpoints = plan.endpoint_interfaces().map(|i| (i.private_ip, i.id.clone(), None));
        all.chain(endpoints).collect::<BTreeSet<_>>()
    };
    let (before, after) = (pairs(old), pairs(new));
    let changed: Vec<_> = before.difference(&after).cloned().collect();
    let nats = |plan: &VpcPlan| {
        let both = plan.nats.iter().flat_map(|nat| [Some(nat.private_ip), nat.public_ip]);
        both.flatten().collect::<BTreeSet<_>>()
    };
    let (nats, kept) = (nats(old), nats(new));
    let ipv6 = |plan: &VpcPlan| {
        plan.interfaces.iter().flat_map(|i| i.ipv6.iter().map(|ip| (*ip, i.id.clone()))).collect::<BTreeSet<_>>()
    };
    let (ipv6, kept_ipv6) = (ipv6(old), ipv6(new));
    let flush = netns::inside(name, || {
        for (private, _, public) in &changed {
            for (flag, ip) in [("--orig-src", Some(*private)), ("--reply-src", Some(*private)), ("--orig-dst", *public)]
            {
                if let Some(ip) = ip {
                    // Nothing to delete is told as a failure.
                    let _ = netns::feed("conntrack", &["-D", flag, &ip.to_string()], "");
                }
            }
        }
        for (ip, _) in ipv6.difference(&kept_ipv6) {
            for flag in ["--orig-src", "--reply-src"] {
                let _ = netns::feed("conntrack", &["-D", "-f", "ipv6", flag, &ip.to_string()], "");
            }
        }
        for ip in nats.difference(&kept) {
            let _ = netns::feed("conntrack", &["-D", "--reply-dst", &ip.to_string()], "");
        }
        Ok(())
    });
    if let Err(e) = flush {
        tracing::warn!(namespace = name, error = format!("{e:#}"), "old flows were not ended");
    }
}

pub fn remove(name: &str, edge_name: &str, digits: &str) -> Result<()> {
    if let Ok(id) = format!("vpc-{digits}").parse() {
        let peer = edge::link_name(&id);
        let _ = netns::inside(edge_name, || netns::ip(&[format!("link del {peer}")]));
    }
    // Persistent taps and sockets would keep the namespace alive without its name.
    let _ = netns::inside(name, || {
        let gone: Vec<_> = links_there()?.iter().map(|tap| format!("link del {tap}")).collect();
        netns::ip(&gone)
    });
    netns::ip(&[format!("netns del {name}")])
}

/// `peers`: those of its peers that this host has.
pub fn compare<'p>(
    name: &str,
    plan: &VpcPlan,
    peers: impl IntoIterator<Item = &'p PeerPlan>,
    found: &mut NetworkDifference,
) -> Result<()> {
    let (there, tables) = netns::inside(name, || {
        limit::compare(name, plan, found)?;
        Ok((links_there()?, netns::feed("nft", &["list", "tables"], "")?))
    })?;
    let mut wanted = taps_wanted(plan);
    wanted.extend(peer::wanted(peers));
    found.missing.extend(wanted.difference(&there).map(|tap| format!("link {tap} in {name}")));
    let unexpected = there.difference(&wanted).filter(|tap| !tap.starts_with(ASIDE));
    found.unexpected.extend(unexpected.map(|tap| format!("link {tap} in {name}")));
    for (table, wanted) in
        [("table inet vpc", true), ("table arp vpc", true), ("table inet flows", flow::is_wanted(plan))]
    {
        let there = tables.lines().any(|l| l == table);
        let different = match (wanted, there) {
            (true, false) => &mut found.missing,
            (false, true) => &mut found.unexpected,
            _ => continue,
        };
        different.push(format!("{table} in {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::network::driver::{NetworkConfig, Uplink};
    use crate::network::testing::vpc_plan;

    /// Names that nobody else has; what has them goes when the test ends.
    struct Names {
        config: NetworkConfig,
        vpc: String,
        edge: String,
    }

    impl Names {
        /// This thread moves to a network of its own, so that the machine's is not touched.
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        fn new() -> Option<Self> {
            let able = nix::unistd::Uid::effective().is_root() && netns::feed("ip", &["-V"], "").is_ok();
            if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
                eprintln!("skipped: needs root and iproute2");
                return None;
            }
            let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
            let (vpc, edge) = (format!("awan-{tag}-00000000000000001"), format!("awan-{tag}-edge"));
            Some(Self { config: NetworkConfig { tag, uplink: Uplink::Closed, outside: None }, vpc, edge })
        }

        fn ensure(&self) {
            edge::ensure(&self.config, &self.edge, "198.18.0.0/16".parse().expect("a network"))
                .expect("makes the edge");
            ensure(&self.vpc, &self.edge, &vpc_plan()).expect("makes the namespace");
        }

        /// Rules and routes of the VPC, and addresses and routes of the edge.
        fn made(&self) -> [String; 4] {
            let show =
                |name: &str, words: &[&str]| netns::inside(name, || netns::feed("ip", words, "")).expect("a namespace");
            [
                show(&self.vpc, &["rule", "show"]),
                show(&self.vpc, &["route", "show", "table", "all", "proto", "77"]),
                show(&self.edge, &["-4", "-brief", "addr", "show", "dev", "up0"])
                    .split_once(' ')
                    .expect("a name")
                    .1
                    .into(),
                show(&self.edge, &["route", "show"]),
            ]
        }
    }

    impl Drop for Names {
        fn drop(&mut self) {
            for name in [&self.vpc, &self.edge] {
                let _ = netns::ip(&[format!("netns del {name}")]);
            }
        }
    }

    #[test]
    fn a_tap_that_a_machine_holds_on_to_is_put_aside_and_goes_when_it_is_let_go() {
        let Some(names) = Names::new() else { return };
        names.ensure();
        let (plan, vpc) = (vpc_plan(), names.vpc.as_str());
        let tap = tap_name(&plan.interfaces[0].id);
        let remake = |plan: &VpcPlan| apply(vpc, plan, None).and_then(|()| raise(vpc, plan, None)).expect("applies");
        let open = || netns::inside(vpc, || link::open_tap(&tap));
        let taps = || netns::inside(vpc, links_there).expect("lists");
        let difference = |plan: &VpcPlan| {
            let mut found = NetworkDifference::default();
            compare(vpc, plan, &[], &mut found).expect("compares");
            found
        };
        remake(&plan);
        retire(vpc, &tap).expect("nobody has it");
        assert_eq!(taps(), [tap.clone()].into());
        let held = open().expect("opens");
        open().expect_err("is open");
        retire(vpc, &tap).expect("takes it away");
        let aside: Vec<_> = taps().into_iter().collect();
        assert!(aside.len() == 1 && aside[0].starts_with(ASIDE), "{aside:?}");
        remake(&plan);
        drop(open().expect("is a new one"));
        assert_eq!((taps().len(), difference(&plan)), (2, NetworkDifference::default()));
        let up = || netns::inside(vpc, || netns::feed("ip", &["-brief", "link", "show", "up"], "")).expect("lists");
        assert!(up().contains(&tap) && !up().contains(ASIDE), "{}", up());
        // The same where a plan has the interface no more.
        let held = (held, open().expect("opens"));
        let none = VpcPlan { interfaces: Vec::new(), ..vpc_plan() };
        remake(&none);
        assert_eq!((taps().len(), difference(&none)), (2, NetworkDifference::default()));
        drop(held);
        remake(&none);
        assert_eq!(taps(), BTreeSet::new());
    }

    #[test]
    fn what_was_cut_short_in_the_making_is_made_again() {
        let Some(names) = Names::new() else { return };
        names.ensure();
        let whole = names.made();
        assert_eq!(whole[0].lines().count(), 3, "{}", whole[0]);
        names.ensure();
        assert_eq!(names.made(), whole, "doing it again changes nothing");
        let Names { config, vpc, edge } = &names;
        // A namespace that lost its name takes its links with it only later.
        let host_link = format!("aw{}", config.tag);
        let gone = [format!("link del {host_link}"), format!("netns del {vpc}"), format!("netns del {edge}")];
        netns::ip(&gone).expect("removes");
        // As a kill leaves it: a name without a namespace, links without what belongs to them.
        std::fs::write(netns::path(edge), "").expect("writes");
        netns::add(edge).expect("makes");
        netns::ip(&[format!("link add {host_link} type veth peer name up0 netns {edge}")]).expect("makes");
        netns::add(vpc).expect("makes");
        let peer = edge::link_name(&vpc_plan().id);
        netns::ip(&[format!("link add igw netns {vpc} type veth peer name {peer} netns {edge}")]).expect("makes");
        names.ensure();
        assert_eq!(names.made(), whole);
    }
}
