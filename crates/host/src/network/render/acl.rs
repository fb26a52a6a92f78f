//! Network ACLs as chains: each packet that enters or leaves a subnet is judged for itself, whatever passed before it.
//!
//! ```text
//!   tap ── leave_<subnet> ── to a tap of the same subnet: exempt
//!                         └─ ao_<acl> ── return: allowed ──► ai_<acl of the other tap> ──► security groups
//! ```
//!
//! The chains stand in the forward hook. Addresses of the internet are therefore translated already on their way in and
//! not yet on their way out, and what the router itself answers (DHCP, DNS, metadata) passes none of them.
//! Source: "Control subnet traffic with network access control lists", Amazon VPC documentation.
//!
//! Which subnet a packet comes from is told by its tap, not by the address that it says: a guest without source check
//! may say any. A NAT gateway has no tap, but it is in a subnet: what guests of other subnets send through it enters that
//! one and leaves it again.

use std::collections::{BTreeMap, BTreeSet};

use awan_model::group::Traffic;
use awan_model::id::{NetworkAclId, SubnetId};
use awan_model::network_acl::Peer;
use awan_model::plan::{AclEntryPlan, VpcPlan};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Ruleset, endpoint, nat_marks, tap, words};

pub fn chains(rules: &mut Ruleset, plan: &VpcPlan) {
    for acl in &plan.acls {
        let digits = acl.id.digits();
        rules.chain(&format!("ai_{digits}"), lines(&acl.ingress, "saddr"));
        rules.chain(&format!("ao_{digits}"), lines(&acl.egress, "daddr"));
    }
    let mut taps: BTreeMap<&SubnetId, BTreeSet<String>> = BTreeMap::new();
    for interface in &plan.interfaces {
        taps.entry(&interface.subnet).or_default().insert(tap(interface));
    }
    for nat in &plan.nats {
        taps.entry(&nat.subnet).or_default();
    }
    let near = endpoint::near(plan);
    for subnet in near.keys() {
        taps.entry(subnet).or_default();
    }
    let (mut leave, mut enter) = (Vec::new(), Vec::new());
    for (subnet, taps) in taps {
        let digits = subnet.digits();
        let [egress, ingress] = of(plan, subnet);
        // Whoever lets all through is not asked. What stays in a subnet is none of its ACL's: that is told first.
        let [out, into] = is_open(plan, subnet);
        leave.extend(taps.iter().filter(|_| !(out && into)).map(|tap| format!("{tap} : jump leave_{digits}")));
        enter.extend(taps.iter().filter(|_| !into).map(|tap| format!("{tap} : goto enter_{digits}")));
        rules.set(&format!("taps_{digits}"), "ifname", taps);
        let stays = [format!("oifname @taps_{digits} accept")];
        let lines = stays.into_iter().chain(near.get(subnet).cloned()).chain([egress]);
        rules.chain(&format!("leave_{digits}"), lines);
        rules.chain(&format!("enter_{digits}"), [ingress]);
    }
    rules.map("leave", "ifname : verdict", leave);
    rules.map("enter", "ifname : verdict", enter);
    nats(rules, plan);
}

/// Where a subnet's ACL judges what leaves and what enters. Of one that is not there nobody knows what it allows.
fn of(plan: &VpcPlan, subnet: &SubnetId) -> [String; 2] {
    let acl = plan.subnets.iter().find(|s| s.id == *subnet).and_then(|s| s.acl.as_ref());
    let there = acl.filter(|id| plan.acls.iter().any(|acl| acl.id == **id)).map(NetworkAclId::digits);
    ["ao", "ai"].map(|side| there.map_or("counter drop".to_owned(), |acl| format!("goto {side}_{acl}")))
}

/// Whether a subnet's ACL lets all leave, and all enter.
fn is_open(plan: &VpcPlan, subnet: &SubnetId) -> [bool; 2] {
    let acl = plan.subnets.iter().find(|s| s.id == *subnet).and_then(|s| s.acl.as_ref());
    let Some(acl) = acl.and_then(|id| plan.acls.iter().find(|acl| acl.id == *id)) else { return [false; 2] };
    let first = |entries: &[AclEntryPlan], all: IpNet| {
        let net = |e: &AclEntryPlan| match e.peer {
            Peer::Ipv4(net) => IpNet::V4(net),
            Peer::Ipv6(net) => IpNet::V6(net),
        };
        let first = entries.iter().find(|e| net(e).addr().is_ipv4() == all.addr().is_ipv4());
        first.is_some_and(|e| e.allow && e.traffic == Traffic::All && net(e) == all)
    };
    let (ipv4, ipv6) = (IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default()));
    [&acl.egress, &acl.ingress].map(|of| first(of, ipv4) && (plan.ipv6.is_empty() || first(of, ipv6)))
}

/// Of what is translated, only the kernel knows whose it is on its way back.
fn nats(rules: &mut Ruleset, plan: &VpcPlan) {
    let (mut leave, mut enter) = (Vec::new(), Vec::new());
    for nat in &plan.nats {
        let (digits, subnet) = (nat.id.digits(), nat.subnet.digits());
        let [egress, _] = of(plan, &nat.subnet);
        for (way, side) in [("out", "iifname"), ("back", "oifname")] {
            // Within the subnet of the gateway: the other side of its ACL is asked anyway.
            let neighbour = format!("{side} @taps_{subnet} return");
            let judged = format!("jump enter_{subnet}");
            rules.chain(&format!("nat_{way}_{digits}"), [neighbour, judged, egress.clone()]);
        }
        leave.extend(nat_marks(plan, nat).map(|(mark, _)| format!("{mark} : jump nat_out_{digits}")));
        let addresses = nat.public_ip.into_iter().chain([nat.private_ip]);
        enter.extend(addresses.map(|ip| format!("{ip} : jump nat_back_{digits}")));
    }
    rules.map("nat_leave", "mark : verdict", leave);
    rules.map("nat_enter", "ipv4_addr : verdict", enter);
}

/// `return` leads to what follows: the other subnet's ACL, then the groups.
fn lines(entries: &[AclEntryPlan], side: &str) -> Vec<String> {
    let line = |AclEntryPlan { number: _, allow, traffic, peer }: &AclEntryPlan| {
        let peer = match peer {
            Peer::Ipv4(net) if net.prefix_len() == 0 => "meta nfproto ipv4".to_owned(),
            Peer::Ipv4(net) => format!("ip {side} {net}"),
            Peer::Ipv6(net) if net.prefix_len() == 0 => "meta nfproto ipv6".to_owned(),
            Peer::Ipv6(net) => format!("ip6 {side} {net}"),
        };
        format!("{peer} {}{}", words(*traffic), if *allow { "return" } else { "counter drop" })
    };
    entries.iter().map(line).chain(["counter drop".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use awan_model::group::Traffic;
    use awan_model::plan::{AclPlan, NatPlan};

    use super::*;
    use crate::network::testing::{everything, vpc_plan};

    fn shown(plan: &VpcPlan) -> String {
        let mut rules = Ruleset::new("inet vpc");
        chains(&mut rules, plan);
        rules.whole()
    }

    #[test]
    fn a_default_acl_is_not_asked_and_ends_with_what_denies_the_rest() {
        let expected = r#"add table inet vpc
delete table inet vpc
table inet vpc {
  map enter { type ifname : verdict; }
  map leave { type ifname : verdict; }
  map nat_enter { type ipv4_addr : verdict; }
  map nat_leave { type mark : verdict; }
  set taps_00000000000000001 { type ifname; elements = { "tap000000000001" }; }
  chain ai_00000000000000001 {
    meta nfproto ipv4 return
    counter drop
  }
  chain ao_00000000000000001 {
    meta nfproto ipv4 return
    counter drop
  }
  chain enter_00000000000000001 {
    goto ai_00000000000000001
  }
  chain leave_00000000000000001 {
    oifname @taps_00000000000000001 accept
    goto ao_00000000000000001
  }
}
"#;
        assert_eq!(shown(&vpc_plan()), expected);
    }

    #[test]
    fn entries_stand_in_their_order_and_name_the_other_side() {
        let mut plan = vpc_plan();
        let entry = |number, allow, traffic, peer: &str| {
            let peer = peer.parse().map(Peer::Ipv4).or_else(|_| peer.parse().map(Peer::Ipv6)).expect("a network");
            AclEntryPlan { number, allow, traffic, peer }
        };
        let icmp = |kind, code| Traffic::Icmp { kind, code };
        let entries = vec![
            entry(1, false, Traffic::Tcp { from: 22, to: 22 }, "192.0.2.0/24"),
            entry(2, true, Traffic::Udp { from: 1024, to: 65_535 }, "0.0.0.0/0"),
            entry(3, true, icmp(Some(3), Some(4)), "0.0.0.0/0"),
            entry(4, false, icmp(None, None), "192.0.2.1/32"),
            entry(5, true, Traffic::Protocol(47), "10.0.0.0/8"),
            entry(6, false, Traffic::Icmpv6 { kind: Some(128), code: None }, "2001:db8::/32"),
            entry(7, true, Traffic::All, "::/0"),
        ];
        plan.acls[0] = AclPlan { egress: entries.clone(), ingress: entries, ..plan.acls[0].clone() };
        let egress = "  chain ao_00000000000000001 {
    ip daddr 192.0.2.0/24 tcp dport 22 counter drop
    meta nfproto ipv4 udp dport 1024-65535 return
    meta nfproto ipv4 icmp type 3 icmp code 4 return
    ip daddr 192.0.2.1/32 meta l4proto 1 counter drop
    ip daddr 10.0.0.0/8 meta l4proto 47 return
    ip6 daddr 2001:db8::/32 icmpv6 type 128 counter drop
    meta nfproto ipv6 return
    counter drop
  }
";
        let text = shown(&plan);
        assert!(text.contains(egress), "{text}");
        let ingress = egress.replace("ao_", "ai_").replace("daddr", "saddr");
        assert!(text.contains(&ingress), "{text}");
    }

    #[test]
    fn each_tap_meets_the_acl_of_its_own_subnet_and_without_one_nothing_passes() {
        let mut plan = vpc_plan();
        for n in [2_u8, 3] {
            let (mut subnet, mut interface) = (plan.subnets[0].clone(), plan.interfaces[0].clone());
            subnet.id = format!("subnet-{n:017}").parse().expect("an id");
            subnet.acl = format!("acl-{n:017}").parse().ok();
            interface.id = format!("eni-{n:017}").parse().expect("an id");
            interface.subnet = subnet.id.clone();
            plan.subnets.push(subnet);
            plan.interfaces.push(interface);
        }
        let id = plan.subnets[1].acl.clone().expect("an id");
        plan.acls.push(AclPlan { id, ingress: vec![everything()], egress: Vec::new() });
        let text = shown(&plan);
        for expected in [
            "map enter { type ifname : verdict; elements = { \"tap000000000003\" : goto enter_00000000000000003 }; }",
            "map leave { type ifname : verdict; elements = { \"tap000000000002\" : jump leave_00000000000000002, \"tap000000000003\" : jump leave_00000000000000003 }; }",
            "@taps_00000000000000002 accept\n    goto ao_00000000000000002\n",
            "chain enter_00000000000000002 {\n    goto ai_00000000000000002\n",
            "@taps_00000000000000003 accept\n    counter drop\n",
            "chain enter_00000000000000003 {\n    counter drop\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn an_acl_is_asked_unless_it_lets_all_through_whatever_else_it_says() {
        let entry = |number, allow, traffic, net: &str| {
            let peer = net.parse().map(Peer::Ipv4).or_else(|_| net.parse().map(Peer::Ipv6)).expect("a network");
            AclEntryPlan { number, allow, traffic, peer }
        };
        let (all, all6) = (entry(1, true, Traffic::All, "0.0.0.0/0"), entry(2, true, Traffic::All, "::/0"));
        let not = entry(3, false, Traffic::All, "0.0.0.0/0");
        let tcp = entry(4, true, Traffic::Tcp { from: 0, to: 65_535 }, "0.0.0.0/0");
        let half = entry(5, true, Traffic::All, "0.0.0.0/1");
        for (of, entries, ipv4, both) in [
            ("one family", vec![all.clone()], true, false),
            ("both", vec![all.clone(), all6.clone()], true, true),
            ("what comes too late", vec![all6.clone(), all.clone(), not.clone()], true, true),
            ("a refusal first", vec![not, all.clone(), all6], false, false),
            ("one protocol first", vec![tcp, all.clone()], false, false),
            ("half of it first", vec![half, all], false, false),
            ("nothing", Vec::new(), false, false),
        ] {
            let mut plan = vpc_plan();
            plan.acls[0].egress = entries;
            let subnet = plan.subnets[0].id.clone();
            assert_eq!(is_open(&plan, &subnet), [ipv4, true], "{of}");
            plan.ipv6 = vec!["2001:db8::/56".parse().expect("a network")];
            assert_eq!(is_open(&plan, &subnet), [both, false], "{of}, with IPv6");
        }
    }

    #[test]
    fn acls_are_asked_before_established_flows_pass() {
        let mut plan = vpc_plan();
        plan.acls[0].egress.clear();
        plan.acls[0].ingress.clear();
        let text = super::super::vpc(&plan).whole();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
        assert!(at("priority -20") < at("ct state established,related accept\n    ct state invalid drop"));
        assert!(at("iifname vmap @leave") < at("oifname vmap @enter"));
    }

    #[test]
    fn what_a_nat_gateway_sends_on_enters_its_subnet_and_leaves_it() {
        let mut plan = vpc_plan();
        let mut subnet = plan.subnets[0].clone();
        subnet.id = "subnet-00000000000000002".parse().expect("an id");
        let id = "nat-00000000000000007".parse().expect("an id");
        let (private_ip, public_ip) = ("10.0.0.9".parse().expect("an address"), "198.18.0.9".parse().ok());
        plan.nats.push(NatPlan { id, subnet: subnet.id.clone(), private_ip, public_ip });
        plan.subnets.push(subnet);
        let text = shown(&plan);
        for expected in [
            "  map nat_leave { type mark : verdict; elements = { 536870919 : jump nat_out_00000000000000007 }; }\n",
            "  map nat_enter { type ipv4_addr : verdict; elements = { 10.0.0.9 : jump nat_back_00000000000000007, 198.18.0.9 : jump nat_back_00000000000000007 }; }\n",
            "  set taps_00000000000000002 { type ifname; }\n",
            "{\n    iifname @taps_00000000000000002 return\n    jump enter_00000000000000002\n    goto ao_00000000000000001\n",
            "{\n    oifname @taps_00000000000000002 return\n    jump enter_00000000000000002\n    goto ao_00000000000000001\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
