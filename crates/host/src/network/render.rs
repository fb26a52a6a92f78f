//! A VPC's rules as text for `nft -f`: the whole table, replaced in one transaction. Pure.
//!
//! Maps and sets keep the path of a packet as long for a thousand interfaces as for one. Source of the syntax: nft(8).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, InterfaceId};
use awan_model::plan::{GroupPlan, InterfacePlan, RulePlan, VpcPlan};
use ipnet::Ipv4Net;

/// Marks of packets from subnets that lead out, and from those that do not.
pub const MARK_INTERNET: u32 = 1;
pub const MARK_PRIVATE: u32 = 2;

/// The name of an interface's tap: at most 15 characters.
pub fn tap_name(id: &InterfaceId) -> String {
    let digits = id.digits();
    format!("tap{}", &digits[digits.len().saturating_sub(12)..])
}

/// Joins elements; an empty set has none to write.
fn elements(all: &BTreeSet<String>) -> String {
    if all.is_empty() {
        String::new()
    } else {
        format!(" elements = {{ {} }};", all.iter().cloned().collect::<Vec<_>>().join(", "))
    }
}

struct Text(String);

impl Text {
    fn set(&mut self, kind: &str, name: &str, of: &str, all: impl IntoIterator<Item = String>) {
        let all: BTreeSet<String> = all.into_iter().collect();
        let _ = writeln!(self.0, "  {kind} {name} {{ type {of};{} }}", elements(&all));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }
}

/// Interfaces with the same groups share one chain for each direction.
type Combinations<'p> = BTreeMap<Vec<&'p GroupId>, Vec<&'p InterfacePlan>>;

pub fn vpc(plan: &VpcPlan) -> String {
    let mut text = Text(arp(plan));
    text.line("add table inet vpc\ndelete table inet vpc\ntable inet vpc {");
    members(&mut text, plan);
    // Each interface with each of its private addresses.
    let all = || plan.interfaces.iter().flat_map(|i| i.addresses().map(move |(ip, public)| (i, ip, public)));
    let triple = |(i, ip, _): (&InterfacePlan, Ipv4Addr, _)| format!("\"{}\" . {} . {ip}", tap_name(&i.id), i.mac);
    text.set("set", "src_ok", "ifname . ether_addr . ipv4_addr", all().map(triple));
    text.set(
        "set",
        "mac_ok",
        "ifname . ether_addr",
        plan.interfaces.iter().map(|i| format!("\"{}\" . {}", tap_name(&i.id), i.mac)),
    );
    text.set("set", "dst_ok", "ifname . ipv4_addr", all().map(|(i, ip, _)| format!("\"{}\" . {ip}", tap_name(&i.id))));
    let unchecked = plan.interfaces.iter().filter(|i| !i.source_dest_check);
    text.set("set", "nosdc", "ifname", unchecked.map(|i| format!("\"{}\"", tap_name(&i.id))));
    ways(&mut text, plan);
    groups(&mut text, plan);
    let public = || all().filter_map(|(_, ip, public)| public.map(|public| (public, ip)));
    text.set("map", "public_to_private", "ipv4_addr : ipv4_addr", public().map(|(a, b)| format!("{a} : {b}")));
    text.set("map", "private_to_public", "ipv4_addr : ipv4_addr", public().map(|(a, b)| format!("{b} : {a}")));
    text.set("set", "has_public", "ipv4_addr", public().map(|(_, private)| private.to_string()));
    text.line(CHAINS);
    text.0
}

/// What leads out of each subnet: subnets with the same routes share a chain.
fn ways(text: &mut Text, plan: &VpcPlan) {
    let mut chains: BTreeMap<&[Ipv4Net], usize> = BTreeMap::new();
    let mut of = Vec::new();
    for interface in &plan.interfaces {
        let subnet = plan.subnets.iter().find(|s| s.id == interface.subnet);
        let next = chains.len();
        let n = *chains.entry(subnet.map_or(&[], |s| &s.internet)).or_insert(next);
        of.push(format!("\"{}\" : goto way_{n}", tap_name(&interface.id)));
    }
    for (networks, n) in &chains {
        let everywhere = networks.iter().any(|net| net.prefix_len() == 0);
        let some = !everywhere && !networks.is_empty();
        if some {
            let all = networks.iter().map(ToString::to_string);
            text.set("set", &format!("out_{n}"), "ipv4_addr; flags interval", all);
        }
        let _ = writeln!(text.0, "  chain way_{n} {{");
        let _ = writeln!(text.0, "    meta mark set {}", if everywhere { MARK_INTERNET } else { MARK_PRIVATE });
        if some {
            let _ = writeln!(text.0, "    ip daddr @out_{n} meta mark set {MARK_INTERNET}");
        }
        text.line("  }");
    }
    text.set("map", "ways", "ifname : verdict", of);
}

/// Only an interface's own addresses may speak for it.
fn arp(plan: &VpcPlan) -> String {
    let mut text = Text("add table arp vpc\ndelete table arp vpc\ntable arp vpc {\n".to_owned());
    let own = plan.interfaces.iter().flat_map(|i| {
        // 0.0.0.0: a guest asks whether an address is taken before it takes it (RFC 5227).
        let own = i.addresses().map(|(ip, _)| ip).chain([Ipv4Addr::UNSPECIFIED]);
        own.map(|ip| format!("\"{}\" . {} . {ip}", tap_name(&i.id), i.mac))
    });
    text.set("set", "ok", "ifname . ether_addr . ipv4_addr", own);
    text.line("  chain c_in { type filter hook input priority 0; policy drop;");
    text.line("    iifname != \"tap*\" accept");
    text.line("    arp operation request iifname . arp saddr ether . arp saddr ip @ok accept");
    text.line("  }\n}");
    text.0
}

/// The addresses of every group that a rule names.
fn members(text: &mut Text, plan: &VpcPlan) {
    for group in &plan.groups {
        let of = plan.members.iter().filter(|m| m.groups.contains(&group.id)).map(|m| m.private_ip.to_string());
        text.set("set", &member_set(&group.id), "ipv4_addr", of);
    }
}

fn member_set(id: &GroupId) -> String {
    format!("m_{}", id.digits())
}

fn groups(text: &mut Text, plan: &VpcPlan) {
    for group in &plan.groups {
        chain(text, "si", group, &group.ingress, "saddr");
        chain(text, "so", group, &group.egress, "daddr");
    }
    let mut combinations = Combinations::new();
    for interface in &plan.interfaces {
        let mut ids: Vec<&GroupId> = interface.groups.iter().collect();
        ids.sort();
        combinations.entry(ids).or_default().push(interface);
    }
    let known: BTreeSet<&GroupId> = plan.groups.iter().map(|g| &g.id).collect();
    let (mut ingress, mut egress) = (Vec::new(), Vec::new());
    for (n, (ids, interfaces)) in combinations.iter().enumerate() {
        for (direction, side) in [("ci", "si"), ("co", "so")] {
            let _ = writeln!(text.0, "  chain {direction}_{n} {{");
            for id in ids.iter().filter(|id| known.contains(*id)) {
                let _ = writeln!(text.0, "    jump {side}_{}", id.digits());
            }
            text.line("    counter drop\n  }");
        }
        for interface in interfaces {
            let tap = tap_name(&interface.id);
            ingress.push(format!("\"{tap}\" : goto ci_{n}"));
            egress.push(format!("\"{tap}\" : goto co_{n}"));
        }
    }
    text.set("map", "ingress", "ifname : verdict", ingress);
    text.set("map", "egress", "ifname : verdict", egress);
}

fn chain(text: &mut Text, prefix: &str, group: &GroupPlan, rules: &[RulePlan], side: &str) {
    let _ = writeln!(text.0, "  chain {prefix}_{} {{", group.id.digits());
    for RulePlan { traffic, peer } in rules {
        let peer = match peer {
            Peer::Ipv4(net) if net.prefix_len() == 0 => "meta nfproto ipv4".to_owned(),
            Peer::Ipv4(net) => format!("ip {side} {net}"),
            Peer::Ipv6(net) => format!("ip6 {side} {net}"),
            Peer::Group(id) => format!("ip {side} @{}", member_set(id)),
            // A plan has the ranges in its place.
            Peer::PrefixList(_) => continue,
        };
        let _ = writeln!(text.0, "    {peer} {}accept", words(*traffic));
    }
    text.line("  }");
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

/// The path of a packet: who sends it (raw), egress group, ingress group, then translation at the gateway.
/// Egress and ingress are base chains of their own, because `accept` ends only its own base chain.
const CHAINS: &str = r#"
  chain raw_pre { type filter hook prerouting priority raw; policy accept;
    iifname "tap*" goto guest_in
  }
  chain guest_in {
    iifname . ether saddr != @mac_ok counter drop
    meta nfproto ipv4 goto guest4
    counter drop
  }
  chain guest4 {
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    ip daddr 169.254.0.0/16 fib daddr type != local counter drop
    ip daddr 169.254.0.0/16 iifname . ether saddr . ip saddr != @src_ok counter drop
    iifname . ether saddr . ip saddr @src_ok goto guest_mark
    iifname @nosdc goto guest_mark
    counter drop
  }
  chain guest_mark { iifname vmap @ways; }
  chain c_input { type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmp type echo-request accept
    iifname "tap*" udp dport { 53, 67 } accept
    iifname "tap*" tcp dport { 53, 80 } accept
  }
  chain c_mss { type filter hook forward priority -30; policy accept;
    tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu
  }
  chain sg_egress { type filter hook forward priority 0; policy accept;
    iifname != "tap*" accept
    ct state established,related accept
    ct state invalid drop
    iifname vmap @egress
    drop
  }
  chain sg_ingress { type filter hook forward priority 10; policy accept;
    oifname "igw" ct state new ip saddr != @has_public counter drop
    iifname "igw" ct state new ct status & dnat != dnat counter drop
    oifname != "tap*" accept
    oifname . ip daddr != @dst_ok oifname != @nosdc counter drop
    ct state established,related accept
    ct state invalid drop
    oifname vmap @ingress
    drop
  }
  chain c_dnat { type nat hook prerouting priority dstnat; policy accept;
    iifname "igw" dnat ip to ip daddr map @public_to_private
  }
  chain c_snat { type nat hook postrouting priority srcnat; policy accept;
    oifname "igw" snat ip to ip saddr map @private_to_public
  }
}"#;

/// Where all VPCs of a host meet the world.
pub struct Edge {
    /// The gateway link of a VPC and a public address behind it.
    pub public: Vec<(String, std::net::Ipv4Addr)>,
    /// What guests must not reach beyond the edge: the host's own addresses and broadcasts, some of them ranges.
    pub host_addresses: Vec<String>,
    pub outbound: bool,
}

/// Networks that are nobody's on the internet (RFC 6890); guests reach none of them through the edge.
const PRIVATE: &str = "10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16";

pub fn edge(edge: &Edge) -> String {
    let mut text = Text("add table inet edge\ndelete table inet edge\ntable inet edge {\n".to_owned());
    text.set("set", "public", "ipv4_addr", edge.public.iter().map(|(_, ip)| ip.to_string()));
    text.set(
        "set",
        "public_if",
        "ifname . ipv4_addr",
        edge.public.iter().map(|(link, ip)| format!("\"{link}\" . {ip}")),
    );
    text.set("set", "host", "ipv4_addr; flags interval; auto-merge", edge.host_addresses.iter().cloned());
    text.line("  chain c_input { type filter hook input priority 0; policy drop;");
    text.line("    iifname \"lo\" accept");
    text.line("    iifname \"up0\" icmp type echo-request accept\n  }");
    text.line("  chain c_forward { type filter hook forward priority 0; policy drop;");
    text.line("    iifname \"g-*\" iifname . ip saddr != @public_if counter drop");
    text.line("    ct state established,related accept");
    text.line("    iifname \"g-*\" oifname \"g-*\" ip daddr @public accept");
    text.line("    iifname \"g-*\" ip daddr @host counter drop");
    let _ = writeln!(text.0, "    iifname \"g-*\" ip daddr {{ {PRIVATE} }} counter drop");
    if edge.outbound {
        text.line("    iifname \"g-*\" oifname \"up0\" accept");
    }
    text.line("    iifname \"up0\" ip daddr @public accept\n  }\n}");
    text.0
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
         add @flows {{ ip saddr ct count over {flows_each} }} counter drop\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::vpc_plan;

    #[test]
    fn every_rule_of_a_group_becomes_a_line_of_its_chain() {
        let text = vpc(&vpc_plan());
        for line in [
            "    ip saddr 203.0.113.0/24 tcp dport 22 accept",
            "    ip saddr @m_00000000000000001 accept",
            "    meta nfproto ipv4 udp dport 1000-2000 accept",
            "    meta nfproto ipv4 icmp type 8 accept",
            "    meta nfproto ipv4 accept",
            "  set m_00000000000000001 { type ipv4_addr; elements = { 10.0.0.5 }; }",
            "  map public_to_private { type ipv4_addr : ipv4_addr; elements = { 198.18.0.3 : 10.0.0.5 }; }",
            "    meta mark set 1",
            "  map ways { type ifname : verdict; elements = { \"tap000000000001\" : goto way_0 }; }",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_no_route_sends_to_the_gateway_leads_nowhere() {
        let mut plan = vpc_plan();
        plan.subnets[0].internet = vec!["0.0.0.0/1".parse().expect("a network")];
        let text = vpc(&plan);
        let expected = "  set out_0 { type ipv4_addr; flags interval; elements = { 0.0.0.0/1 }; }\n  chain way_0 {\n    \
                        meta mark set 2\n    ip daddr @out_0 meta mark set 1\n  }\n";
        assert!(text.contains(expected), "{text}");
        plan.subnets[0].internet.clear();
        let text = vpc(&plan);
        assert!(text.contains("  chain way_0 {\n    meta mark set 2\n  }\n"), "{text}");
    }

    #[test]
    fn a_vpc_without_interfaces_lets_nothing_through() {
        let mut plan = vpc_plan();
        plan.interfaces.clear();
        let text = vpc(&plan);
        assert!(text.contains("  map ingress { type ifname : verdict; }"), "{text}");
        assert!(text.contains("policy drop"), "{text}");
    }

    #[test]
    fn a_secondary_address_is_its_interfaces_own() {
        let mut plan = vpc_plan();
        let private_ip = "10.0.0.6".parse().expect("an address");
        let public_ip = "198.18.0.4".parse().ok();
        plan.interfaces[0].secondary.push(awan_model::plan::SecondaryPlan { private_ip, public_ip });
        let text = vpc(&plan);
        for part in [
            "set src_ok { type ifname . ether_addr . ipv4_addr; elements = { \"tap000000000001\" . 0a:00:00:00:00:01 . 10.0.0.5, \"tap000000000001\" . 0a:00:00:00:00:01 . 10.0.0.6 }",
            "set ok { type ifname . ether_addr . ipv4_addr; elements = { \"tap000000000001\" . 0a:00:00:00:00:01 . 0.0.0.0,",
            "set dst_ok { type ifname . ipv4_addr; elements = { \"tap000000000001\" . 10.0.0.5, \"tap000000000001\" . 10.0.0.6 }",
            "elements = { 198.18.0.3 : 10.0.0.5, 198.18.0.4 : 10.0.0.6 }",
            "elements = { 10.0.0.5 : 198.18.0.3, 10.0.0.6 : 198.18.0.4 }",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
