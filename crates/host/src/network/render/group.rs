//! The rules of a security group. All of them allow, so their order means nothing: many become sets, and the first packet
//! of a flow meets as little of a thousand rules as of ten.
//!
//! **Invariant:** what a set's networks and ports are together no two of its elements share; the kernel refuses others. A
//! rule within another one is left out, one that overlaps another stays a line.

use std::collections::BTreeMap;

use awan_model::group::{Peer, Traffic};
use awan_model::plan::RulePlan;
use ipnet::Ipv4Net;

use super::{Ruleset, member_set, words};

/// So many lines are no longer than the way through a set.
const FEW: usize = 4;

/// TCP or UDP of a network, and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    net: Ipv4Net,
    protocol: &'static str,
    from: u16,
    to: u16,
}

/// A chain with all that is allowed.
pub fn chain(rules: &mut Ruleset, name: &str, of: &[RulePlan], side: &str, ipv6: bool) {
    let ports: Vec<Ports> = of.iter().filter_map(ports).collect();
    let networks: Vec<Ipv4Net> = of.iter().filter_map(network).collect();
    let (mut lines, mut rest) = (Vec::new(), of.to_vec());
    if networks.len() > FEW {
        rest.retain(|rule| network(rule).is_none());
        let set = format!("n_{name}");
        rules.set(&set, "ipv4_addr; flags interval; auto-merge", networks.iter().map(Ipv4Net::to_string));
        lines.push(format!("ip {side} @{set} accept"));
    }
    if ports.len() > FEW {
        rest.retain(|rule| self::ports(rule).is_none());
        let (apart, overlapping) = apart(ports);
        let set = format!("p_{name}");
        rules.set(&set, "ipv4_addr . inet_proto . inet_service; flags interval", apart.iter().map(Ports::element));
        lines.push(format!("ip {side} . meta l4proto . th dport @{set} accept"));
        lines.extend(overlapping.iter().flat_map(|ports| line(&ports.rule(), side, ipv6)));
    }
    lines.extend(rest.iter().flat_map(|rule| line(rule, side, ipv6)));
    rules.chain(name, lines);
}

fn ports(rule: &RulePlan) -> Option<Ports> {
    let Peer::Ipv4(net) = rule.peer else { return None };
    let net = net.trunc();
    match rule.traffic {
        Traffic::Tcp { from, to } => Some(Ports { net, protocol: "tcp", from, to }),
        Traffic::Udp { from, to } => Some(Ports { net, protocol: "udp", from, to }),
        _ => None,
    }
}

/// Of a rule for all traffic of some network. That of all networks is quicker told as a line.
fn network(rule: &RulePlan) -> Option<Ipv4Net> {
    match (&rule.peer, rule.traffic) {
        (Peer::Ipv4(net), Traffic::All) if net.prefix_len() > 0 => Some(net.trunc()),
        _ => None,
    }
}

/// Those of which no two share anything; and those that overlap one of them. Wide ones first: only a network that holds
/// another one can overlap it.
fn apart(mut all: Vec<Ports>) -> (Vec<Ports>, Vec<Ports>) {
    all.sort_by_key(|p| {
        (p.net.prefix_len(), std::cmp::Reverse(p.to.saturating_sub(p.from)), p.net, p.protocol, p.from)
    });
    let mut kept: BTreeMap<(Ipv4Net, &str), Vec<Ports>> = BTreeMap::new();
    let mut overlapping = Vec::new();
    for ports in all {
        let around = (0..=ports.net.prefix_len()).filter_map(|len| Ipv4Net::new(ports.net.addr(), len).ok());
        let around = around.filter_map(|net| kept.get(&(net.trunc(), ports.protocol))).flatten();
        let met: Vec<&Ports> = around.filter(|other| other.from <= ports.to && ports.from <= other.to).collect();
        if met.is_empty() {
            kept.entry((ports.net, ports.protocol)).or_default().push(ports);
        } else if !met.iter().any(|other| other.from <= ports.from && ports.to <= other.to) {
            overlapping.push(ports);
        }
    }
    (kept.into_values().flatten().collect(), overlapping)
}

impl Ports {
    fn element(&self) -> String {
        let Self { net, protocol, from, to } = self;
        // As a range: older releases of nft take no network of all addresses beside other keys.
        let net = if net.prefix_len() == 0 { "0.0.0.0-255.255.255.255".to_owned() } else { net.to_string() };
        if from == to { format!("{net} . {protocol} . {from}") } else { format!("{net} . {protocol} . {from}-{to}") }
    }

    fn rule(&self) -> RulePlan {
        let Self { net, protocol, from, to } = *self;
        let traffic = if protocol == "tcp" { Traffic::Tcp { from, to } } else { Traffic::Udp { from, to } };
        RulePlan { traffic, peer: Peer::Ipv4(net) }
    }
}

fn line(RulePlan { traffic, peer }: &RulePlan, side: &str, ipv6: bool) -> Vec<String> {
    let peers = match peer {
        Peer::Ipv4(net) if net.prefix_len() == 0 => vec!["meta nfproto ipv4".to_owned()],
        Peer::Ipv4(net) => vec![format!("ip {side} {net}")],
        Peer::Ipv6(net) if net.prefix_len() == 0 => vec!["meta nfproto ipv6".to_owned()],
        Peer::Ipv6(net) => vec![format!("ip6 {side} {net}")],
        Peer::Group(id) if ipv6 => {
            let set = member_set(id);
            vec![format!("ip {side} @{set}"), format!("ip6 {side} @{set}_6")]
        }
        Peer::Group(id) => vec![format!("ip {side} @{}", member_set(id))],
        // A plan has ranges and groups in their place.
        Peer::PrefixList(_) | Peer::Beyond(_) => Vec::new(),
    };
    let words = words(*traffic);
    peers.into_iter().map(|peer| format!("{peer} {words}accept")).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn rule(protocol: &str, net: &str, from: u16, to: u16) -> RulePlan {
        let traffic = match protocol {
            "tcp" => Traffic::Tcp { from, to },
            "udp" => Traffic::Udp { from, to },
            _ => Traffic::All,
        };
        RulePlan { traffic, peer: Peer::Ipv4(net.parse().expect("a network")) }
    }

    fn shown(of: &[RulePlan]) -> String {
        let mut rules = Ruleset::new("inet vpc");
        chain(&mut rules, "si_1", of, "saddr", false);
        rules.whole()
    }

    #[test]
    fn many_rules_become_sets_of_which_no_two_elements_share_anything() {
        let mut rules = vec![
            rule("tcp", "0.0.0.0/0", 443, 443),
            // Within the first.
            rule("tcp", "10.0.0.0/8", 443, 443),
            rule("tcp", "10.0.0.0/8", 1000, 2000),
            // Overlap the one above.
            rule("tcp", "10.1.0.0/16", 1500, 2500),
            rule("tcp", "10.0.0.0/8", 2000, 2001),
            rule("udp", "10.1.0.0/16", 1500, 2500),
            rule("all", "0.0.0.0/0", 0, 0),
        ];
        for n in 1..=5 {
            rules.push(rule("all", &format!("192.0.2.{n}/32"), 0, 0));
        }
        rules.push(RulePlan { traffic: Traffic::Icmp { kind: Some(8), code: None }, peer: rules[0].peer.clone() });
        expect![[r#"
            add table inet vpc
            delete table inet vpc
            table inet vpc {
              set n_si_1 { type ipv4_addr; flags interval; auto-merge; elements = { 192.0.2.1/32, 192.0.2.2/32, 192.0.2.3/32, 192.0.2.4/32, 192.0.2.5/32 }; }
              set p_si_1 { type ipv4_addr . inet_proto . inet_service; flags interval; elements = { 0.0.0.0-255.255.255.255 . tcp . 443, 10.0.0.0/8 . tcp . 1000-2000, 10.1.0.0/16 . udp . 1500-2500 }; }
              chain si_1 {
                ip saddr @n_si_1 accept
                ip saddr . meta l4proto . th dport @p_si_1 accept
                ip saddr 10.0.0.0/8 tcp dport 2000-2001 accept
                ip saddr 10.1.0.0/16 tcp dport 1500-2500 accept
                meta nfproto ipv4 accept
                meta nfproto ipv4 icmp type 8 accept
              }
            }
        "#]]
        .assert_eq(&shown(&rules));
    }

    #[test]
    fn few_rules_are_lines() {
        let rules: Vec<_> = (1..=4).map(|n| rule("tcp", "0.0.0.0/0", n, n)).collect();
        let text = shown(&rules);
        assert!(!text.contains("set ") && text.contains("    meta nfproto ipv4 tcp dport 4 accept\n"), "{text}");
    }
}
