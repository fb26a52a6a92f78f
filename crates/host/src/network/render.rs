//! A VPC's rules. Pure.
//!
//! Maps and sets keep the path of a packet as long for a thousand interfaces as for one. Source of the syntax: nft(8).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use awan_model::group::Traffic;
use awan_model::id::{GroupId, InterfaceId, PeeringId, SubnetId};
use awan_model::plan::{InterfacePlan, NatPlan, PeerPlan, VpcPlan, Way, WayPlan};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::ruleset::Ruleset;

mod acl;
mod endpoint;
mod group;
mod ipv6;

/// Marks of packets that leave through the internet gateway, and of those that no route sends anywhere.
pub const MARK_INTERNET: u32 = 1;
pub const MARK_NOWHERE: u32 = 2;
/// And of those that leave so that only answers come back.
pub const MARK_EGRESS_ONLY: u32 = 3;

/// Where each VPC's router serves besides: time, names, metadata.
pub const SERVICES: [Ipv4Addr; 3] = {
    const fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(169, 254, 169, last)
    }
    [at(123), at(253), at(254)]
};

/// The name of an interface's tap: at most 15 characters.
pub fn tap_name(id: &InterfaceId) -> String {
    let digits = id.digits();
    format!("tap{}", &digits[digits.len().saturating_sub(12)..])
}

/// Either end of the link between two VPCs that are peers: at most 15 characters.
pub fn peer_name(id: &PeeringId) -> String {
    let digits = id.digits();
    format!("pcx{}", &digits[digits.len().saturating_sub(12)..])
}

/// Interfaces with the same groups share one chain for each direction. Beside these, the addresses of endpoints.
type Combinations<'p> = BTreeMap<Vec<&'p GroupId>, (Vec<&'p InterfacePlan>, Vec<Ipv4Addr>)>;

pub fn vpc(plan: &VpcPlan) -> Ruleset {
    let mut rules = Ruleset::new("inet vpc");
    members(&mut rules, plan);
    // Each interface with each of its private addresses.
    let all = || plan.interfaces.iter().flat_map(|i| i.addresses().map(move |(ip, public)| (i, ip, public)));
    let known: BTreeSet<&SubnetId> = plan.subnets.iter().map(|s| &s.id).collect();
    let way = |i: &InterfacePlan| {
        if known.contains(&i.subnet) { format!("goto way_{}", i.subnet.digits()) } else { "drop".to_owned() }
    };
    let sender = |(i, ip, _): (&InterfacePlan, Ipv4Addr, _)| format!("{} . {} . {ip} : {}", tap(i), i.mac, way(i));
    rules.map("senders", "ifname . ether_addr . ipv4_addr : verdict", all().map(sender));
    rules.set("mac_ok", "ifname . ether_addr", plan.interfaces.iter().map(|i| format!("{} . {}", tap(i), i.mac)));
    rules.set("dst_ok", "ifname . ipv4_addr", all().map(|(i, ip, _)| format!("{} . {ip}", tap(i))));
    let any = || plan.interfaces.iter().filter(|i| !i.source_dest_check);
    rules.set("nosdc", "ifname", any().map(tap));
    rules.map("senders_any", "ifname : verdict", any().map(|i| format!("{} : {}", tap(i), way(i))));
    ways(&mut rules, plan);
    acl::chains(&mut rules, plan);
    groups(&mut rules, plan);
    let public = || all().filter_map(|(_, ip, public)| public.map(|public| (public, ip)));
    rules.map("public_to_private", "ipv4_addr : ipv4_addr", public().map(|(a, b)| format!("{a} : {b}")));
    rules.map("private_to_public", "ipv4_addr : ipv4_addr", public().map(|(a, b)| format!("{b} : {a}")));
    rules.set("has_public", "ipv4_addr", public().map(|(_, private)| private.to_string()));
    let nats = || plan.nats.iter().flat_map(|nat| nat_marks(plan, nat));
    rules.map("nat", "mark : ipv4_addr", nats().map(|(mark, ip)| format!("{mark} : {ip}")));
    rules.set("nat_marks", "mark", nats().map(|(mark, _)| mark.to_string()));
    let gateways = plan.nats.iter().filter(|nat| nat.public_ip.is_some()).map(nat_mark);
    rules.set("out", "mark", gateways.chain([MARK_INTERNET]).map(|mark| mark.to_string()));
    let ranges = plan.peers.iter().flat_map(|p| p.ranges.iter().map(|net| format!("\"{}\" . {net}", peer_name(&p.id))));
    rules.set("peer_ok", "ifname . ipv4_addr; flags interval", ranges);
    let inside = plan.cidrs().chain(plan.peers.iter().flat_map(|p| p.ranges.iter().copied()));
    let inside: BTreeSet<String> = inside.map(|net| net.to_string()).collect();
    rules.set("inside", "ipv4_addr; flags interval; auto-merge", inside);
    ipv6::rules(&mut rules, plan);
    endpoint::rules(&mut rules, plan);
    for (name, hook, lines) in CHAINS.iter().chain(ipv6::CHAINS).chain(endpoint::CHAINS) {
        // A map that has nothing is not asked.
        let says = |line: &&str| line.rsplit_once("vmap @").is_none_or(|(_, map)| !rules.is_empty(map));
        let lines: Vec<_> = lines.iter().copied().filter(says).map(str::to_owned).collect();
        rules.hooked(name, hook, lines);
    }
    rules
}

/// As nft quotes it.
fn tap(interface: &InterfacePlan) -> String {
    format!("\"{}\"", tap_name(&interface.id))
}

/// The marks of ways, which are also the numbers of their routing tables: the same for as long as what they lead to is
/// there, because routes change apart from rules. Four bits say what it is, the others are the last of its id: among
/// those of one VPC as good as the whole.
pub fn mark(way: &Way) -> u32 {
    let of = |digits| u32::from_str_radix(last(digits), 16).unwrap_or_default();
    let (kind, number) = match way {
        Way::Internet => return MARK_INTERNET,
        Way::EgressOnly => return MARK_EGRESS_ONLY,
        Way::Interface(id) => (1, of(id.digits())),
        Way::Nat(id) => (2, of(id.digits())),
        Way::Peering(id) => (3, of(id.digits())),
        Way::NatPeering(nat, peering) => (4, of(nat.digits()) ^ of(peering.digits()).rotate_left(3)),
    };
    (kind << 28) | (number & 0x0fff_ffff)
}

fn nat_mark(nat: &NatPlan) -> u32 {
    mark(&Way::Nat(nat.id.clone()))
}

/// The marks of what leaves by a NAT gateway, with the address that it leaves from: to the internet, and to each peer.
fn nat_marks<'p>(plan: &'p VpcPlan, nat: &'p NatPlan) -> impl Iterator<Item = (u32, Ipv4Addr)> + 'p {
    let internet = nat.public_ip.map(|ip| (nat_mark(nat), ip));
    let peer = |peer: &PeerPlan| (mark(&Way::NatPeering(nat.id.clone(), peer.id.clone())), nat.private_ip);
    internet.into_iter().chain(plan.peers.iter().map(peer))
}

fn last(digits: &str) -> &str {
    &digits[digits.len().saturating_sub(7)..]
}

/// The way of each subnet's packets.
fn ways(rules: &mut Ruleset, plan: &VpcPlan) {
    let used: BTreeSet<&SubnetId> = plan.interfaces.iter().map(|i| &i.subnet).collect();
    for subnet in plan.subnets.iter().filter(|s| used.contains(&s.id)) {
        let digits = subnet.id.digits();
        let mut lines = vec![format!("meta mark set {MARK_NOWHERE}")];
        let ways: Vec<_> = subnet.ways.iter().filter(|way| matches!(way.to, IpNet::V4(_))).collect();
        match ways.as_slice() {
            [] => {}
            [all] if all.to.prefix_len() == 0 => lines = vec![format!("meta mark set {}", mark(&all.way))],
            ways => {
                let all = ways.iter().map(|WayPlan { to, way }| format!("{to} : {}", mark(way)));
                rules.map(&format!("to_{digits}"), "ipv4_addr : mark; flags interval", all);
                lines.push(format!("meta mark set ip daddr map @to_{digits}"));
            }
        }
        rules.chain(&format!("way_{digits}"), lines);
    }
}

/// Only an interface's own addresses may speak for it.
pub fn arp(plan: &VpcPlan) -> Ruleset {
    let mut rules = Ruleset::new("arp vpc");
    let own = plan.interfaces.iter().flat_map(|i| {
        // 0.0.0.0: a guest asks whether an address is taken before it takes it (RFC 5227).
        let own = i.addresses().map(|(ip, _)| ip).chain([Ipv4Addr::UNSPECIFIED]);
        own.map(|ip| format!("{} . {} . {ip}", tap(i), i.mac))
    });
    rules.set("ok", "ifname . ether_addr . ipv4_addr", own);
    // The router answers for whatever it has a way to, and it has one to everywhere.
    let services = SERVICES.map(|ip| ip.to_string());
    let near = plan.cidrs().map(|net| net.to_string()).chain(services);
    rules.set("near", "ipv4_addr; flags interval", near);
    let lines = [
        "iifname != \"tap*\" accept",
        "arp operation request iifname . arp saddr ether . arp saddr ip @ok arp daddr ip @near accept",
    ];
    rules.hooked("c_in", "type filter hook input priority 0; policy drop;", lines.map(str::to_owned));
    rules
}

/// The addresses of every group that a rule names.
fn members(rules: &mut Ruleset, plan: &VpcPlan) {
    for group in &plan.groups {
        let all = plan.members.iter().chain(plan.peers.iter().flat_map(|peer| &peer.members));
        let of = all.filter(|m| m.groups.contains(&group.id)).map(|m| m.private_ip.to_string());
        rules.set(&member_set(&group.id), "ipv4_addr", of);
    }
}

fn member_set(id: &GroupId) -> String {
    format!("m_{}", id.digits())
}

fn groups(rules: &mut Ruleset, plan: &VpcPlan) {
    for group in &plan.groups {
        let ipv6 = !plan.ipv6.is_empty();
        group::chain(rules, &format!("si_{}", group.id.digits()), &group.ingress, "saddr", ipv6);
        group::chain(rules, &format!("so_{}", group.id.digits()), &group.egress, "daddr", ipv6);
    }
    let mut combinations = Combinations::new();
    for interface in &plan.interfaces {
        combinations.entry(sorted(&interface.groups)).or_default().0.push(interface);
    }
    for endpoint in plan.endpoint_interfaces() {
        combinations.entry(sorted(&endpoint.groups)).or_default().1.push(endpoint.private_ip);
    }
    let known: BTreeSet<&GroupId> = plan.groups.iter().map(|g| &g.id).collect();
    let (mut ingress, mut egress, mut endpoints) = (Vec::new(), Vec::new(), Vec::new());
    for (ids, (interfaces, addresses)) in &combinations {
        let n: Vec<_> = ids.iter().map(|id| last(id.digits())).collect();
        let n = n.join("_");
        for (direction, side) in [("ci", "si"), ("co", "so")] {
            let known = ids.iter().filter(|id| known.contains(*id));
            let lines = known.map(|id| format!("jump {side}_{}", id.digits())).chain(["counter drop".to_owned()]);
            rules.chain(&format!("{direction}_{n}"), lines);
        }
        ingress.extend(interfaces.iter().map(|i| format!("{} : goto ci_{n}", tap(i))));
        egress.extend(interfaces.iter().map(|i| format!("{} : goto co_{n}", tap(i))));
        endpoints.extend(addresses.iter().map(|ip| format!("{ip} : goto ci_{n}")));
    }
    rules.map("ingress", "ifname : verdict", ingress);
    rules.map("egress", "ifname : verdict", egress);
    rules.map("endpoint_ingress", "ipv4_addr : verdict", endpoints);
}

fn sorted(ids: &[GroupId]) -> Vec<&GroupId> {
    let mut ids: Vec<&GroupId> = ids.iter().collect();
    ids.sort();
    ids
}

fn words(traffic: Traffic) -> String {
    let ports = |name: &str, from: u16, to: u16| {
        if from == to { format!("{name} dport {from} ") } else { format!("{name} dport {from}-{to} ") }
    };
    let icmp = |name: &str, number: u8, kind: Option<u8>, code: Option<u8>| match (kind, code) {
        (None, _) => format!("meta l4proto {number} "),
        (Some(kind), None) => format!("{name} type {kind} "),
        (Some(kind), Some(code)) => format!("{name} type {kind} {name} code {code} "),
    };
    match traffic {
        Traffic::All => String::new(),
        Traffic::Tcp { from, to } => ports("tcp", from, to),
        Traffic::Udp { from, to } => ports("udp", from, to),
        Traffic::Icmp { kind, code } => icmp("icmp", 1, kind, code),
        Traffic::Icmpv6 { kind, code } => icmp("icmpv6", 58, kind, code),
        Traffic::Protocol(number) => format!("meta l4proto {number} "),
    }
}

/// The path of a packet: who sends it (raw), ACLs, egress group, ingress group, then translation at the gateway. ACLs
/// come before what lets established flows pass: they have no memory.
/// Egress and ingress are base chains of their own, because `accept` ends only its own base chain.
const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "raw_pre",
        "type filter hook prerouting priority raw; policy accept;",
        &[
            r#"iifname "tap*" goto guest_in"#,
            r#"iifname "pcx*" iifname . ip saddr != @peer_ok counter drop"#,
            r#"iifname "pcx*" iifname . ip6 saddr != @peer_ok6 counter drop"#,
            // Who says to be of this VPC, or of a peer, is not behind the internet gateway.
            r#"iifname "igw" ip saddr @inside counter drop"#,
            r#"iifname "igw" ip6 saddr @inside6 counter drop"#,
        ],
    ),
    (
        "guest_in",
        "",
        &[
            // Nearly all packets: from its own addresses, to one that others may have.
            "meta pkttype host ip daddr != 224.0.0.0/3 ip daddr != 169.254.0.0/16 \
             iifname . ether saddr . ip saddr vmap @senders",
            "iifname . ether saddr != @mac_ok counter drop",
            "meta nfproto ipv4 goto guest4",
            "meta nfproto ipv6 goto guest6",
            "counter drop",
        ],
    ),
    (
        "guest4",
        "",
        &[
            "ip daddr 255.255.255.255 udp sport 68 udp dport 67 goto guest_asks",
            // No broadcasts, no multicasts, in whatever frame. What is from nobody to nobody is one to the kernel.
            "meta pkttype != host counter drop",
            "ip daddr { 0.0.0.0, 224.0.0.0/4, 255.255.255.255 } counter drop",
            "ip daddr 169.254.0.0/16 fib daddr type != local counter drop",
            "iifname . ether saddr . ip saddr vmap @senders",
            // Services know an interface by its address, also one that may send for others.
            "fib daddr type local counter drop",
            "iifname vmap @senders_any",
            "counter drop",
        ],
    ),
    ("guest_asks", "", &["ip saddr 0.0.0.0 accept", "iifname . ether saddr . ip saddr vmap @senders", "counter drop"]),
    (
        "c_input",
        "type filter hook input priority 0; policy drop;",
        &[
            r#"iifname "lo" accept"#,
            "ip daddr @endpoints goto endpoint_in",
            "ct state established,related accept",
            "icmp type echo-request accept",
            "icmpv6 type echo-request accept",
            r#"iifname "tap*" icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept"#,
            r#"iifname "tap*" udp dport { 53, 67, 123, 547 } accept"#,
            r#"iifname "tap*" tcp dport { 53, 80 } accept"#,
        ],
    ),
    (
        "acl_forward",
        "type filter hook forward priority -20; policy accept;",
        &[
            "tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu",
            "iifname vmap @leave",
            // A name at a time: to look one up in a set with an asterisk costs more than all of these.
            r#"oifname "igw" meta mark vmap @nat_leave"#,
            r#"oifname "pcx*" meta mark vmap @nat_leave"#,
            r#"iifname "igw" ct direction reply ct reply ip daddr vmap @nat_enter"#,
            r#"iifname "pcx*" ct direction reply ct reply ip daddr vmap @nat_enter"#,
            "oifname vmap @enter",
        ],
    ),
    (
        "sg_egress",
        "type filter hook forward priority 0; policy accept;",
        &[
            "ct state established,related accept",
            r#"iifname != "tap*" accept"#,
            "ct state invalid drop",
            "iifname vmap @egress",
            "drop",
        ],
    ),
    (
        "sg_ingress",
        "type filter hook forward priority 10; policy accept;",
        &[
            r#"oifname "tap*" goto guest_out"#,
            r#"iifname "pcx*" counter drop"#,
            // The way out is there for all to see; theirs is it whose mark says so.
            r#"oifname "igw" meta nfproto ipv4 meta mark != @out counter drop"#,
            r#"oifname "igw" ct state new ip saddr != @has_public meta mark != @nat_marks counter drop"#,
            r#"oifname { "igw", "pcx*" } meta mark @nat_marks meta l4proto != { icmp, tcp, udp } counter drop"#,
            r#"oifname "igw" ip6 saddr != @own6 counter drop"#,
            r#"iifname "igw" ct state new jump world"#,
        ],
    ),
    (
        "guest_out",
        "",
        &[
            // What a route sends to an interface. All else comes to a guest by a route to its own address alone.
            "meta mark & 0xf0000000 == 0x10000000 jump guest_dst",
            "ct state established,related accept",
            "ct state invalid drop",
            "jump guest_dst",
            r#"iifname "igw" ct state new jump world"#,
            "oifname vmap @ingress",
            "drop",
        ],
    ),
    (
        "guest_dst",
        "",
        &[
            "meta nfproto ipv4 oifname . ip daddr != @dst_ok oifname != @nosdc counter drop",
            "meta nfproto ipv6 oifname . ip6 daddr != @dst_ok6 oifname != @nosdc counter drop",
        ],
    ),
    // What the internet begins.
    ("world", "", &["meta nfproto ipv4 ct status & dnat != dnat counter drop", "meta nfproto ipv6 goto world6"]),
    (
        "c_dnat",
        "type nat hook prerouting priority dstnat; policy accept;",
        &[r#"iifname "igw" dnat ip to ip daddr map @public_to_private"#],
    ),
    (
        "c_snat",
        "type nat hook postrouting priority srcnat; policy accept;",
        &[
            r#"oifname { "igw", "pcx*" } snat ip to meta mark map @nat"#,
            r#"oifname "igw" snat ip to ip saddr map @private_to_public"#,
        ],
    ),
];

/// Where all VPCs of a host meet the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub pool: Ipv4Net,
    /// The host's own address in the pool.
    pub host: Ipv4Addr,
    /// The gateway link of a VPC and a public address behind it.
    pub public: Vec<(String, Ipv4Addr)>,
    /// What guests must not reach beyond the edge: the host's own addresses and broadcasts, some of them ranges.
    pub host_addresses: Vec<String>,
    pub way_out: WayOut,
    pub ipv6: Option<EdgeIpv6>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeIpv6 {
    pub pool: Ipv6Net,
    /// The host's own address in the pool.
    pub host: Ipv6Addr,
    pub public: Vec<(String, Ipv6Addr)>,
    pub host_addresses: Vec<String>,
    pub way_out: WayOut,
}

/// What guests may reach beyond the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    None,
    /// What is on the internet: not the networks around the host, which know it only as itself.
    Internet,
    /// All that the host can reach: public addresses are addresses of its networks.
    All,
}

/// Networks that are nobody's on the internet (RFC 6890); guests reach none of them through the edge.
const PRIVATE: &str =
    "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 240.0.0.0/4";

/// Of these, those that no router passes on.
const NOT_ROUTED: &str = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 240.0.0.0/4";

pub fn edge(edge: &Edge) -> Ruleset {
    let mut rules = Ruleset::new("inet edge");
    rules.set("public", "ipv4_addr", edge.public.iter().map(|(_, ip)| ip.to_string()));
    rules.set("public_if", "ifname . ipv4_addr", edge.public.iter().map(|(link, ip)| format!("\"{link}\" . {ip}")));
    rules.set("host", "ipv4_addr; flags interval; auto-merge", edge.host_addresses.iter().cloned());
    let input = [
        "iifname \"lo\" accept",
        "iifname \"up0\" icmp type echo-request accept",
        "iifname \"up0\" icmpv6 type echo-request accept",
    ];
    rules.hooked("c_input", "type filter hook input priority 0; policy drop;", input.map(str::to_owned));
    let mut forward = vec![
        "iifname \"g-*\" iifname . ip saddr != @public_if counter drop".to_owned(),
        // The world has none of the addresses that guests have.
        "iifname \"up0\" ip saddr @public counter drop".to_owned(),
        // What nobody has of the pool is nowhere else either.
        format!("oifname \"up0\" ip daddr {} ip daddr != {} counter drop", edge.pool, edge.host),
    ];
    let rest = ipv6::edge(&mut rules, edge.ipv6.as_ref(), &mut forward);
    forward.extend([
        "ct state established,related accept".to_owned(),
        "iifname \"g-*\" oifname \"g-*\" ip daddr @public accept".to_owned(),
        "iifname \"g-*\" ip daddr @host counter drop".to_owned(),
    ]);
    forward.extend(rest);
    let nobodys = if edge.way_out == WayOut::All { NOT_ROUTED } else { PRIVATE };
    forward.push(format!("iifname \"g-*\" ip daddr {{ {nobodys} }} counter drop"));
    if edge.way_out != WayOut::None {
        forward.push("iifname \"g-*\" oifname \"up0\" meta nfproto ipv4 accept".to_owned());
    }
    forward.push("iifname \"up0\" ip daddr @public accept".to_owned());
    rules.hooked("c_forward", "type filter hook forward priority 0; policy drop;", forward);
    rules
}

/// Flows that a public address may have begun, of those that the edge and the host can keep in mind for all. In a table
/// of its own that is never replaced: who has been counted stays so.
pub fn guard(flows_each: u64) -> String {
    format!(
        "add table inet guard\n\
         add set inet guard flows {{ type ipv4_addr; size 65535; flags dynamic; }}\n\
         add chain inet guard c_forward {{ type filter hook forward priority -10; policy accept; }}\n\
         flush chain inet guard c_forward\n\
         add rule inet guard c_forward iifname \"g-*\" ct state new \
         add @flows {{ ip saddr ct count over {flows_each} }} counter drop\n\
         add set inet guard flows6 {{ type ipv6_addr; size 65535; flags dynamic; }}\n\
         add rule inet guard c_forward iifname \"g-*\" ct state new \
         add @flows6 {{ ip6 saddr ct count over {flows_each} }} counter drop\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::vpc_plan;

    #[test]
    fn every_rule_of_a_group_becomes_a_line_of_its_chain() {
        let text = vpc(&vpc_plan()).whole();
        for line in [
            "    ip saddr 203.0.113.0/24 tcp dport 22 accept",
            "    ip saddr @m_00000000000000001 accept",
            "    meta nfproto ipv4 udp dport 1000-2000 accept",
            "    meta nfproto ipv4 icmp type 8 accept",
            "    meta nfproto ipv4 accept",
            "  set m_00000000000000001 { type ipv4_addr; elements = { 10.0.0.5 }; }",
            "  map public_to_private { type ipv4_addr : ipv4_addr; elements = { 198.18.0.3 : 10.0.0.5 }; }",
            "    meta mark set 1",
            "  map senders { type ifname . ether_addr . ipv4_addr : verdict; elements = { \"tap000000000001\" . 0a:00:00:00:00:01 . 10.0.0.5 : goto way_00000000000000001 }; }",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn each_network_goes_its_way_and_what_has_none_goes_nowhere() {
        let mut plan = vpc_plan();
        let way = |to: &str, way| WayPlan { to: to.parse().expect("a network"), way };
        let eni = Way::Interface("eni-00000000000000001".parse().expect("an id"));
        plan.subnets[0].ways = vec![way("0.0.0.0/1", Way::Internet), way("192.0.2.0/24", eni)];
        let text = vpc(&plan).whole();
        let map = "  map to_00000000000000001 { type ipv4_addr : mark; flags interval; \
                   elements = { 0.0.0.0/1 : 1, 192.0.2.0/24 : 268435457 }; }\n";
        assert!(text.contains(map), "{text}");
        let chain = "  chain way_00000000000000001 {\n    meta mark set 2\n    \
                     meta mark set ip daddr map @to_00000000000000001\n  }\n";
        assert!(text.contains(chain), "{text}");
        plan.subnets[0].ways.clear();
        let text = vpc(&plan).whole();
        assert!(text.contains("  chain way_00000000000000001 {\n    meta mark set 2\n  }\n"), "{text}");
    }

    #[test]
    fn a_vpc_without_interfaces_lets_nothing_through() {
        let mut plan = vpc_plan();
        plan.interfaces.clear();
        let text = vpc(&plan).whole();
        assert!(text.contains("  map ingress { type ifname : verdict; }"), "{text}");
        assert!(text.contains("policy drop"), "{text}");
    }

    #[test]
    fn a_secondary_address_is_its_interfaces_own() {
        let mut plan = vpc_plan();
        let private_ip = "10.0.0.6".parse().expect("an address");
        let public_ip = "198.18.0.4".parse().ok();
        plan.interfaces[0].secondary.push(awan_model::plan::SecondaryPlan { private_ip, public_ip });
        let text = format!("{}{}", arp(&plan).whole(), vpc(&plan).whole());
        for part in [
            "\"tap000000000001\" . 0a:00:00:00:00:01 . 10.0.0.5 : goto way_00000000000000001, \"tap000000000001\" . 0a:00:00:00:00:01 . 10.0.0.6 : goto way_00000000000000001 }",
            "set ok { type ifname . ether_addr . ipv4_addr; elements = { \"tap000000000001\" . 0a:00:00:00:00:01 . 0.0.0.0,",
            "set dst_ok { type ifname . ipv4_addr; elements = { \"tap000000000001\" . 10.0.0.5, \"tap000000000001\" . 10.0.0.6 }",
            "elements = { 198.18.0.3 : 10.0.0.5, 198.18.0.4 : 10.0.0.6 }",
            "elements = { 10.0.0.5 : 198.18.0.3, 10.0.0.6 : 198.18.0.4 }",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
