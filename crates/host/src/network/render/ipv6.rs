//! IPv6 of a VPC's rules. Addresses are the same inside and outside, so nothing is translated: what the internet may begin
//! is told by the way back.
//!
//! Link-local addresses are between a guest and its router alone, and only to find each other and to ask for addresses;
//! the router keeps what it learns that way for each tap by itself. What a guest can make it learn has a rate.

use std::collections::BTreeSet;

use awan_model::id::SubnetId;
use awan_model::plan::{InterfacePlan, SubnetPlan, VpcPlan, WayPlan};
use ipnet::IpNet;

use super::{EdgeIpv6, MARK_INTERNET, MARK_NOWHERE, Ruleset, WayOut, mark, member_set, peer_name, tap};

pub fn rules(rules: &mut Ruleset, plan: &VpcPlan) {
    let all = || plan.interfaces.iter().flat_map(|i| i.ipv6.iter().map(move |ip| (i, ip)));
    rules.set(
        "src_ok6",
        "ifname . ether_addr . ipv6_addr",
        all().map(|(i, ip)| format!("{} . {} . {ip}", tap(i), i.mac)),
    );
    rules.set("dst_ok6", "ifname . ipv6_addr", all().map(|(i, ip)| format!("{} . {ip}", tap(i))));
    rules.set("own6", "ipv6_addr", all().map(|(_, ip)| ip.to_string()));
    rules.set("inside6", "ipv6_addr; flags interval", plan.ipv6.iter().map(ToString::to_string));
    let ranges = plan.peers.iter().flat_map(|p| p.ipv6.iter().map(|net| format!("\"{}\" . {net}", peer_name(&p.id))));
    rules.set("peer_ok6", "ifname . ipv6_addr; flags interval", ranges);
    rules.set("nd_rate", "ifname; size 65535; flags dynamic,timeout; timeout 1m", []);
    for group in &plan.groups {
        let all = plan.members_ipv6.iter().chain(plan.peers.iter().flat_map(|peer| &peer.members_ipv6));
        let of = all.filter(|m| m.groups.contains(&group.id)).map(|m| m.ip.to_string());
        rules.set(&format!("{}_6", member_set(&group.id)), "ipv6_addr", of);
    }
    ways(rules, plan);
}

fn ways(rules: &mut Ruleset, plan: &VpcPlan) {
    let used: BTreeSet<&SubnetId> = plan.interfaces.iter().map(|i| &i.subnet).collect();
    let subnets: Vec<_> = plan.subnets.iter().filter(|s| s.ipv6.is_some() && used.contains(&s.id)).collect();
    for subnet in &subnets {
        let digits = subnet.id.digits();
        let ways = of(subnet);
        if is_map(&ways) {
            let all = ways.iter().map(|WayPlan { to, way }| format!("{to} : {}", mark(way)));
            rules.map(&format!("to6_{digits}"), "ipv6_addr : mark; flags interval", all);
        }
        rules.chain(&format!("way6_{digits}"), marked(&ways, digits, "daddr"));
        let back = [format!("meta mark {MARK_INTERNET} return"), "counter drop".to_owned()];
        rules.chain(&format!("back6_{digits}"), marked(&ways, digits, "saddr").into_iter().chain(back));
    }
    let known = || plan.interfaces.iter().filter(|i| subnets.iter().any(|s| s.id == i.subnet));
    let chain = |kind: &str, i: &InterfacePlan| format!("goto {kind}6_{}", i.subnet.digits());
    rules.map("ways6", "ifname : verdict", known().map(|i| format!("{} : {}", tap(i), chain("way", i))));
    let each = known().flat_map(|i| i.ipv6.iter().map(move |ip| format!("{ip} : {}", chain("back", i))));
    rules.map("back6", "ipv6_addr : verdict", each);
}

fn of(subnet: &SubnetPlan) -> Vec<&WayPlan> {
    subnet.ways.iter().filter(|way| matches!(way.to, IpNet::V6(_))).collect()
}

fn is_map(ways: &[&WayPlan]) -> bool {
    ways.iter().any(|way| way.to.prefix_len() > 0)
}

/// The mark of the way to what stands at a side of the packet.
fn marked(ways: &[&WayPlan], digits: &str, side: &str) -> Vec<String> {
    match ways {
        [] => vec![format!("meta mark set {MARK_NOWHERE}")],
        [all] if all.to.prefix_len() == 0 => vec![format!("meta mark set {}", mark(&all.way))],
        _ => vec![format!("meta mark set {MARK_NOWHERE}"), format!("meta mark set ip6 {side} map @to6_{digits}")],
    }
}

/// What is on the internet: global addresses, and IPv4's as a network with NAT64 shows them (RFC 6052).
const GLOBAL: &str = "2000::/3, 64:ff9b::/96";

/// What no router passes on.
const NOT_ROUTED: &str = "::/127, fe80::/10, ff00::/8, fd00:ec2::/32";

/// At the edge: adds what comes before flows that are there, and gives what comes after.
pub fn edge(rules: &mut Ruleset, ipv6: Option<&EdgeIpv6>, forward: &mut Vec<String>) -> Vec<String> {
    let Some(EdgeIpv6 { pool, host, public, host_addresses, way_out }) = ipv6 else {
        forward.push("meta nfproto ipv6 counter drop".to_owned());
        return Vec::new();
    };
    rules.set("public6", "ipv6_addr", public.iter().map(|(_, ip)| ip.to_string()));
    rules.set("public6_if", "ifname . ipv6_addr", public.iter().map(|(link, ip)| format!("\"{link}\" . {ip}")));
    rules.set("host6", "ipv6_addr; flags interval; auto-merge", host_addresses.iter().cloned());
    forward.extend([
        "iifname \"g-*\" iifname . ip6 saddr != @public6_if counter drop".to_owned(),
        "iifname \"up0\" ip6 saddr @public6 counter drop".to_owned(),
        format!("oifname \"up0\" ip6 daddr {pool} ip6 daddr != {host} counter drop"),
    ]);
    let mut rest = vec![
        "iifname \"g-*\" oifname \"g-*\" ip6 daddr @public6 accept".to_owned(),
        "iifname \"g-*\" ip6 daddr @host6 counter drop".to_owned(),
        match way_out {
            WayOut::All => format!("iifname \"g-*\" ip6 daddr {{ {NOT_ROUTED} }} counter drop"),
            WayOut::None | WayOut::Internet => format!("iifname \"g-*\" ip6 daddr != {{ {GLOBAL} }} counter drop"),
        },
    ];
    if *way_out != WayOut::None {
        rest.push("iifname \"g-*\" oifname \"up0\" meta nfproto ipv6 accept".to_owned());
    }
    rest.push("iifname \"up0\" ip6 daddr @public6 accept".to_owned());
    rest
}

pub const CHAINS: &[(&str, &str, &[&str])] = &[
    (
        "guest6",
        "",
        &[
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } goto guest_nd",
            "ip6 saddr fe80::/10 ip6 daddr { ff02::1:2, fe80::1 } udp sport 546 udp dport 547 goto guest_nd",
            "meta pkttype != host counter drop",
            "ip6 daddr { fe80::/10, ff00::/8 } counter drop",
            // Only the platform answers who asks for an address (RFC 8415).
            "udp sport 547 udp dport 546 counter drop",
            // The platform's own services, for which other addresses of theirs are kept.
            "ip6 daddr fd00:ec2::/32 fib daddr type != local counter drop",
            "fib daddr type local iifname . ether saddr . ip6 saddr != @src_ok6 counter drop",
            "iifname . ether saddr . ip6 saddr @src_ok6 goto guest_mark6",
            // Who may send for others is still not the router, nor somebody whom the router would look for on the link.
            "fib saddr type local counter drop",
            "ip6 saddr { ::/127, fe80::/10, ff00::/8 } counter drop",
            "iifname @nosdc goto guest_mark6",
            "counter drop",
        ],
    ),
    (
        "guest_nd",
        "",
        &[
            "update @nd_rate { iifname limit rate over 10/second burst 50 packets } counter drop",
            // Who has no address yet asks whether it is taken (RFC 4862, 5.4).
            "ip6 saddr { ::, fe80::/10 } accept",
            "iifname . ether saddr . ip6 saddr @src_ok6 accept",
            "counter drop",
        ],
    ),
    ("guest_mark6", "", &["iifname vmap @ways6"]),
    ("world6", "", &["ip6 daddr vmap @back6", "counter drop"]),
];
