//! IPv6 for the plans of [`Topology`]: most VPCs have a range, most subnets a part of it, most interfaces addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, VpcId};
use awan_model::network_acl;
use awan_model::plan::{AclEntryPlan, HostPlan, MemberIpv6, RulePlan, VpcPlan, Way, WayPlan};
use ipnet::{IpNet, Ipv6Net};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::model::nth;
use crate::topology::Topology;
use crate::wire::FIRST_PORT;

pub const POOL: &str = "2001:db8:a00::/40";
pub const OUTSIDE: [&str; 4] = ["2001:db8:fffe::7", "2001:db8:fffe:8000::9", "2a00::77", "64:ff9b::102:304"];

pub fn net(text: &str) -> Ipv6Net {
    text.parse().expect("a network")
}

pub fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// Which range each VPC has, for as long as it is there.
#[derive(Default)]
pub struct Wardrobe(BTreeMap<VpcId, Option<Ipv6Net>>);

impl Wardrobe {
    /// Whatever the plan's other half became, this half follows, and changes a little besides.
    pub fn dress(&mut self, topology: &mut Topology) {
        topology.plan.network.ipv6_pool = Some(net(POOL));
        for at in 0..topology.plan.network.vpcs.len() {
            self.ranges(topology, at);
            addresses(topology, at);
        }
        let ranges: BTreeMap<VpcId, Vec<Ipv6Net>> =
            topology.plan.network.vpcs.iter().map(|vpc| (vpc.id.clone(), vpc.ipv6.clone())).collect();
        for vpc in &mut topology.plan.network.vpcs {
            for peer in &mut vpc.peers {
                peer.ipv6 = ranges.get(&peer.vpc).cloned().unwrap_or_default();
            }
        }
        for at in 0..topology.plan.network.vpcs.len() {
            rules(topology, at);
            acls(topology, at);
            ways(topology, at);
        }
        members(&mut topology.plan);
    }

    fn ranges(&mut self, topology: &mut Topology, at: usize) {
        let id = topology.plan.network.vpcs[at].id.clone();
        let (count, has) = (self.0.len(), topology.chance(85));
        let range = *self.0.entry(id).or_insert_with(|| {
            let first = u128::from(net(POOL).network()) + ((u128::try_from(count).expect("few") + 1) << 72);
            has.then(|| Ipv6Net::new_assert(first.into(), 56))
        });
        let vpc = &mut topology.plan.network.vpcs[at];
        let Some(range) = range else { return };
        vpc.ipv6 = vec![range];
        for (n, subnet) in (0_u128..).zip(&mut vpc.subnets) {
            // The third has none.
            subnet.ipv6 = (n < 2).then(|| Ipv6Net::new_assert((u128::from(range.network()) | (n << 64)).into(), 64));
        }
    }
}

fn addresses(topology: &mut Topology, at: usize) {
    for n in 0..topology.plan.network.vpcs[at].interfaces.len() {
        let (new, gone, more) = (topology.chance(85), topology.chance(10), topology.chance(20));
        let place = topology.rng.random_range(0x10..0x18);
        let vpc = &mut topology.plan.network.vpcs[at];
        let taken: BTreeSet<Ipv6Addr> = super::model::publics(vpc).collect();
        let eni = &mut vpc.interfaces[n];
        if gone {
            eni.ipv6.pop();
        }
        let Some(range) = vpc.subnets.iter().find(|s| s.id == eni.subnet).and_then(|subnet| subnet.ipv6) else {
            continue;
        };
        let ip = nth(range, place);
        if ((eni.ipv6.is_empty() && new) || more) && !taken.contains(&ip) {
            eni.ipv6.push(ip);
        }
    }
}

fn any_traffic(topology: &mut Topology) -> Traffic {
    let port = *[22, 53, 80, 443, 1000, 1500, 2000].choose(&mut topology.rng).expect("some");
    match topology.rng.random_range(0..9) {
        0 | 1 => Traffic::All,
        2 => Traffic::Tcp { from: port, to: port },
        3 => Traffic::Tcp { from: 0, to: u16::MAX },
        4 => Traffic::Udp { from: port, to: port.saturating_add(500) },
        5 => Traffic::Udp { from: 0, to: u16::MAX },
        6 => Traffic::Icmpv6 { kind: None, code: None },
        7 => Traffic::Icmpv6 { kind: Some(128), code: if topology.chance(50) { Some(0) } else { None } },
        _ => Traffic::Protocol(*[6, 17, 58, 50].choose(&mut topology.rng).expect("some")),
    }
}

fn any_net(topology: &mut Topology, at: usize) -> Ipv6Net {
    let everyone = net("::/0");
    let vpc = &topology.plan.network.vpcs[at];
    let nets: Vec<Ipv6Net> = vpc.ipv6.iter().copied().chain(vpc.subnets.iter().filter_map(|s| s.ipv6)).collect();
    let all: Vec<Ipv6Addr> = topology.plan.network.vpcs.iter().flat_map(super::model::publics).collect();
    match topology.rng.random_range(0..10) {
        0..=3 => everyone,
        4..=6 => *nets.choose(&mut topology.rng).unwrap_or(&everyone),
        7 | 8 => all.choose(&mut topology.rng).map_or(everyone, |ip| (*ip).into()),
        _ => net("2001:db8:fffe::/49"),
    }
}

fn rules(topology: &mut Topology, at: usize) {
    for n in 0..topology.plan.network.vpcs[at].groups.len() {
        if topology.plan.network.vpcs[at].groups[n].name.is_empty() {
            continue;
        }
        for egress in [false, true] {
            let mut new = BTreeSet::new();
            for _ in 0..topology.rng.random_range(0..4) {
                let traffic = any_traffic(topology);
                new.insert(RulePlan { traffic, peer: Peer::Ipv6(any_net(topology, at)) });
            }
            if topology.chance(if egress { 70 } else { 20 }) {
                new.insert(RulePlan { traffic: Traffic::All, peer: Peer::Ipv6(net("::/0")) });
            }
            let other = topology.chance(40);
            let group = &mut topology.plan.network.vpcs[at].groups[n];
            let rules = if egress { &mut group.egress } else { &mut group.ingress };
            let is_ipv6 = |rule: &RulePlan| matches!(rule.peer, Peer::Ipv6(_));
            if other || !rules.iter().any(is_ipv6) {
                rules.retain(|rule| !is_ipv6(rule));
                rules.extend(new);
                rules.sort_unstable();
            }
        }
    }
}

/// Their numbers are between those of IPv4.
fn acls(topology: &mut Topology, at: usize) {
    for n in 0..topology.plan.network.vpcs[at].acls.len() {
        for egress in [false, true] {
            let mut new = Vec::new();
            // The first lets everything through.
            for number in (5..30).step_by(10).filter(|_| n > 0) {
                let traffic = match topology.rng.random_range(0..3) {
                    0 => Traffic::Udp { from: FIRST_PORT, to: u16::MAX },
                    _ => any_traffic(topology),
                };
                let (allow, peer) = (topology.chance(65), network_acl::Peer::Ipv6(any_net(topology, at)));
                new.push(AclEntryPlan { number, allow, traffic, peer });
            }
            if n == 0 || topology.chance(50) {
                let peer = network_acl::Peer::Ipv6(net("::/0"));
                new.push(AclEntryPlan { number: 1001, allow: true, traffic: Traffic::All, peer });
            }
            let acl = &mut topology.plan.network.vpcs[at].acls[n];
            let entries = if egress { &mut acl.egress } else { &mut acl.ingress };
            entries.retain(|entry| entry.number % 10 == 0);
            entries.extend(new);
            entries.sort_by_key(|entry| entry.number);
        }
    }
}

fn any_way(topology: &mut Topology, at: usize) -> Option<Way> {
    let vpc = &topology.plan.network.vpcs[at];
    let interfaces: Vec<_> = vpc.interfaces.iter().map(|eni| Way::Interface(eni.id.clone())).collect();
    let peers: Vec<_> = vpc.peers.iter().map(|peer| Way::Peering(peer.id.clone())).collect();
    match topology.rng.random_range(0..10) {
        0..=3 => Some(Way::Internet),
        4..=6 => Some(Way::EgressOnly),
        7 => interfaces.choose(&mut topology.rng).cloned(),
        8 => peers.choose(&mut topology.rng).cloned(),
        _ => None,
    }
}

fn ways(topology: &mut Topology, at: usize) {
    for n in 0..topology.plan.network.vpcs[at].subnets.len() {
        let subnet = &topology.plan.network.vpcs[at].subnets[n];
        let some = subnet.ways.iter().any(|way| matches!(way.to, IpNet::V6(_)));
        let peers = topology.plan.network.vpcs[at].peers.clone();
        let known = |way: &Way| match way {
            Way::Peering(id) => peers.iter().any(|peer| peer.id == *id),
            _ => true,
        };
        if subnet.ipv6.is_none() || (some && subnet.ways.iter().all(|way| known(&way.way)) && !topology.chance(40)) {
            continue;
        }
        let mut ways: Vec<(Ipv6Net, Way)> = Vec::new();
        let mut put = |to: Ipv6Net, way: Option<Way>| {
            let old = std::mem::take(&mut ways);
            ways.extend(
                old.into_iter().flat_map(|(net, way)| without(net, to).into_iter().map(move |net| (net, way.clone()))),
            );
            ways.extend(way.map(|way| (to, way)));
        };
        put(net("::/0"), any_way(topology, at));
        for peer in &peers {
            for range in &peer.ipv6 {
                if topology.chance(80) {
                    put(*range, Some(Way::Peering(peer.id.clone())));
                }
            }
        }
        for to in ["2001:db8:fffe::/48", "2001:db8:fffe:8000::/49", "2a00::/12"] {
            if topology.chance(20) {
                put(net(to), any_way(topology, at));
            }
        }
        let new = ways.into_iter().map(|(to, way)| WayPlan { to: IpNet::V6(to), way });
        let ways = &mut topology.plan.network.vpcs[at].subnets[n].ways;
        ways.retain(|way| matches!(way.to, IpNet::V4(_)));
        ways.extend(new);
    }
}

/// What is left of a network without a part of it.
fn without(mut whole: Ipv6Net, part: Ipv6Net) -> Vec<Ipv6Net> {
    if part.contains(&whole) {
        return Vec::new();
    }
    let mut left = Vec::new();
    if !whole.contains(&part) {
        return vec![whole];
    }
    while whole != part {
        for half in whole.subnets(whole.prefix_len() + 1).expect("it is longer") {
            if half.contains(&part) { whole = half } else { left.push(half) }
        }
    }
    left
}

fn members(plan: &mut HostPlan) {
    let of = |vpc: &VpcPlan| -> Vec<MemberIpv6> {
        let each = vpc.interfaces.iter().flat_map(|eni| eni.ipv6.iter().map(|ip| (*ip, eni.groups.clone())));
        each.map(|(ip, groups)| MemberIpv6 { ip, groups }).collect()
    };
    let all: BTreeMap<VpcId, Vec<MemberIpv6>> = plan.network.vpcs.iter().map(|vpc| (vpc.id.clone(), of(vpc))).collect();
    for vpc in &mut plan.network.vpcs {
        vpc.members_ipv6 = all[&vpc.id].clone();
        // Groups of peers have no name here.
        let beyond: BTreeSet<GroupId> =
            vpc.groups.iter().filter(|group| group.name.is_empty()).map(|group| group.id.clone()).collect();
        for peer in &mut vpc.peers {
            peer.members_ipv6 = all.get(&peer.vpc).cloned().unwrap_or_default();
            peer.members_ipv6.iter_mut().for_each(|member| member.groups.retain(|id| beyond.contains(id)));
            peer.members_ipv6.retain(|member| !member.groups.is_empty());
        }
    }
}

/// What [`crate::topology::describe`] does not say.
pub fn describe(plan: &HostPlan) -> String {
    let mut text = String::new();
    for vpc in &plan.network.vpcs {
        text += &format!("{} {:?}\n", vpc.id, vpc.ipv6);
        for subnet in &vpc.subnets {
            text += &format!("  {} {:?}\n", subnet.id, subnet.ipv6);
        }
        for eni in &vpc.interfaces {
            text += &format!("  {} {:?} in {}\n", eni.id, eni.ipv6, eni.subnet);
        }
        for peer in &vpc.peers {
            text += &format!("  {} {:?} {:?}\n", peer.id, peer.ipv6, peer.members_ipv6);
        }
    }
    text
}
