//! The reference for IPv6: as for IPv4, but nothing is translated, so a conversation is its two addresses and ports.
//! Pages are named where they decide.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use awan_model::group::{Peer, Traffic};
use awan_model::id::{InterfaceId, SubnetId, VpcId};
use awan_model::network_acl;
use awan_model::plan::{HostPlan, InterfacePlan, VpcPlan, Way};
use ipnet::Ipv6Net;

use super::packet::{ASKS, Content, Packet};
use crate::model::{Handed, Outbound, Place, To};
use crate::wire::ACK;

/// At whom it arrives, or why at nobody.
pub type Verdict = Result<Place, &'static str>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Where {
    Vpc(VpcId),
    Edge,
}

pub struct Reference {
    plan: Arc<HostPlan>,
    outbound: Outbound,
    /// What the host takes for itself.
    host: Vec<Ipv6Addr>,
    /// The edge has an address of its own from the first VPC with IPv6 on, and keeps it.
    edge: bool,
    memory: HashSet<(Where, Packet)>,
}

impl Reference {
    pub fn new(plan: HostPlan, outbound: Outbound, host: Vec<Ipv6Addr>) -> Self {
        let edge = has_ipv6(&plan);
        Self { plan: Arc::new(plan), outbound, host, edge, memory: HashSet::new() }
    }

    /// Only new conversations are looked at then.
    pub fn change(&mut self, plan: HostPlan) {
        self.edge |= has_ipv6(&plan);
        self.plan = Arc::new(plan);
    }

    pub fn guest_sends(&mut self, id: &InterfaceId, packet: &Packet, handed: &Handed) -> Verdict {
        let plan = self.plan.clone();
        let own = |vpc: &VpcPlan| vpc.interfaces.iter().find(|eni| eni.id == *id).cloned();
        let Some((vpc, eni)) = plan.network.vpcs.iter().find_map(|vpc| Some((vpc, own(vpc)?))) else {
            return Err("nobody's interface");
        };
        if vpc.ipv6.is_empty() {
            return Err("the VPC has no IPv6");
        }
        if !handed.own_mac || handed.to != To::Router {
            return Err("frames lead to the router alone, from their own sender");
        }
        let own = eni.has(packet.source);
        // "Source/destination checking": EC2 User Guide, "Elastic network interfaces".
        if !own && eni.source_dest_check {
            return Err("source check");
        }
        if !own && (!is_unicast(packet.source) || served(vpc).contains(&packet.source)) {
            return Err("nobody's source");
        }
        if served(vpc).contains(&packet.destination) {
            // Services tell who asks by an interface's own addresses.
            let asks = own && matches!(packet.content, Content::Icmp { kind: ASKS, .. });
            return if asks { Ok(Place::Router(vpc.id.clone())) } else { Err("not served") };
        }
        if !is_unicast(packet.destination) || is_platforms(packet.destination) {
            return Err("link-local addresses, multicasts and the platform's own lead nowhere");
        }
        if handed.ttl < 2 {
            return Err("it has come far enough");
        }
        let known = self.knows(&vpc.id, packet);
        if !known && !packet.begins() {
            return Err("it belongs to no conversation");
        }
        if !known && !allowed(vpc, &eni, packet.destination, packet.content, true) {
            return Err("the sender's groups");
        }
        // "Route tables": the local route leads to every address of the VPC.
        let way = if vpc.ipv6.iter().any(|range| range.contains(&packet.destination)) {
            let owner = vpc.interfaces.iter().find(|other| other.has(packet.destination));
            Way::Interface(owner.ok_or("nobody has this address")?.id.clone())
        } else {
            way(vpc, &eni.subnet, packet.destination).ok_or("no route")?
        };
        self.go(vpc, &eni, packet, way)
    }

    fn go(&mut self, vpc: &VpcPlan, eni: &InterfacePlan, packet: &Packet, way: Way) -> Verdict {
        let leaves = || judged(vpc, &eni.subnet, packet.destination, packet.content, true);
        if let Way::Interface(id) = &way {
            let to = vpc.interfaces.iter().find(|other| other.id == *id && !other.ipv6.is_empty());
            let to = to.ok_or("the route's interface is away, or has no such address")?;
            if to.subnet != eni.subnet && !leaves() {
                return Err("the ACL of the sender's subnet");
            }
            return self.deliver(vpc, Some(&eni.subnet), to, packet);
        }
        if !leaves() {
            return Err("the ACL of the sender's subnet");
        }
        match way {
            Way::Interface(_) | Way::Nat(_) | Way::NatPeering(..) => Err("it leads nowhere"),
            Way::Peering(id) => {
                let peer = vpc.peers.iter().find(|peer| peer.id == id).ok_or("no such peer")?;
                let plan = self.plan.clone();
                let other = plan.network.vpcs.iter().find(|other| other.id == peer.vpc).ok_or("it is not here")?;
                self.remember(Where::Vpc(vpc.id.clone()), packet);
                self.enter_from_peer(vpc, other, packet)
            }
            Way::Internet | Way::EgressOnly => {
                if !publics(vpc).any(|ip| ip == packet.source) {
                    return Err("an address that nobody has leaves by no gateway");
                }
                self.remember(Where::Vpc(vpc.id.clone()), packet);
                self.edge(packet, Some(vpc))
            }
        }
    }

    pub fn world_sends(&mut self, packet: &Packet, hops: u8) -> Verdict {
        // The edge itself is the first that it comes to.
        let edges_own = self.plan.network.ipv6_pool.map(|pool| nth(pool, 2));
        let far_enough = hops < 3 && edges_own != Some(packet.destination);
        if far_enough { Err("it has come far enough") } else { self.edge(packet, None) }
    }

    /// Between the VPCs and the world. `inside`: the VPC that it comes from.
    fn edge(&mut self, packet: &Packet, inside: Option<&VpcPlan>) -> Verdict {
        let plan = self.plan.clone();
        let vpcs = &plan.network.vpcs;
        let Some(pool) = plan.network.ipv6_pool.filter(|_| self.edge) else {
            return Err("nobody has IPv6");
        };
        let asked = self.memory.contains(&(Where::Edge, packet.line()));
        let owner = |ip| vpcs.iter().find(|vpc| publics(vpc).any(|own| own == ip));
        if inside.is_none() && owner(packet.source).is_some() {
            return Err("an address that the world does not have");
        }
        if let Some(vpc) = owner(packet.destination) {
            if !is_unicast(packet.source) {
                return Err("nobody's source");
            }
            self.remember_edge(packet);
            return self.enter_from_internet(vpc, packet);
        }
        let (host, up) = (nth(pool, 1), nth(pool, 2));
        if inside.is_none() {
            let asks = packet.destination == up && matches!(packet.content, Content::Icmp { kind: ASKS, .. });
            return if asks && is_unicast(packet.source) { Ok(Place::Edge) } else { Err("nobody's address") };
        }
        if pool.contains(&packet.destination) && packet.destination != host {
            return Err("nobody's address");
        }
        if !asked {
            let to = packet.destination;
            if to == host || self.host.contains(&to) {
                return Err("the host's address");
            }
            match self.outbound {
                Outbound::Nothing => return Err("guests do not reach the world"),
                Outbound::Internet if !is_global(to) => return Err("not on the internet"),
                Outbound::Internet | Outbound::All => {}
            }
        }
        self.remember_edge(packet);
        Ok(Place::World)
    }

    fn enter_from_internet(&mut self, vpc: &VpcPlan, packet: &Packet) -> Verdict {
        if vpc.ipv6.iter().any(|range| range.contains(&packet.source)) {
            return Err("an address that the world does not have");
        }
        let to = vpc.interfaces.iter().find(|eni| eni.has(packet.destination)).ok_or("nobody has this address")?;
        if !self.knows(&vpc.id, packet) {
            if !packet.begins() {
                return Err("it belongs to no conversation");
            }
            // "Egress-only internet gateways": who is out there begins nothing; and nothing is begun by a gateway that the
            // subnet has no route to.
            if way(vpc, &to.subnet, packet.source) != Some(Way::Internet) {
                return Err("the way back does not lead there");
            }
        }
        let to = to.clone();
        self.deliver(vpc, None, &to, packet)
    }

    fn enter_from_peer(&mut self, from: &VpcPlan, vpc: &VpcPlan, packet: &Packet) -> Verdict {
        let Some(peer) = vpc.peers.iter().find(|peer| peer.vpc == from.id) else { return Err("it is nobody's peer") };
        // "VPC peering limitations": no edge-to-edge routing, so only the peer's own addresses come by it.
        if !peer.ipv6.iter().any(|range| range.contains(&packet.source)) {
            return Err("not the peer's address");
        }
        let to = vpc.interfaces.iter().find(|eni| eni.has(packet.destination)).ok_or("nobody has this address")?;
        if !self.knows(&vpc.id, packet) && !packet.begins() {
            return Err("it belongs to no conversation");
        }
        self.deliver(vpc, None, to, packet)
    }

    fn deliver(&mut self, vpc: &VpcPlan, from: Option<&SubnetId>, to: &InterfacePlan, packet: &Packet) -> Verdict {
        if to.source_dest_check && !to.has(packet.destination) {
            return Err("destination check");
        }
        if from != Some(&to.subnet) && !judged(vpc, &to.subnet, packet.source, packet.content, false) {
            return Err("the ACL of the receiver's subnet");
        }
        if !self.knows(&vpc.id, packet) && !allowed(vpc, to, packet.source, packet.content, false) {
            return Err("the receiver's groups");
        }
        self.remember(Where::Vpc(vpc.id.clone()), packet);
        Ok(Place::Guest(to.id.clone()))
    }

    fn knows(&self, vpc: &VpcId, packet: &Packet) -> bool {
        self.memory.contains(&(Where::Vpc(vpc.clone()), packet.line()))
    }

    /// It judges no beginnings, and takes up again what it forgot.
    fn remember_edge(&mut self, packet: &Packet) {
        if packet.begins() || matches!(packet.content, Content::Tcp { flags: ACK, .. }) {
            self.remember(Where::Edge, packet);
        }
    }

    fn remember(&mut self, at: Where, packet: &Packet) {
        self.memory.insert((at.clone(), packet.answer().line()));
        self.memory.insert((at, packet.line()));
    }
}

fn has_ipv6(plan: &HostPlan) -> bool {
    plan.network.vpcs.iter().any(|vpc| !vpc.ipv6.is_empty())
}

pub fn publics(vpc: &VpcPlan) -> impl Iterator<Item = Ipv6Addr> {
    vpc.interfaces.iter().flat_map(|eni| eni.ipv6.iter().copied())
}

/// The first address of each subnet, the time, the resolver, the metadata.
pub fn served(vpc: &VpcPlan) -> Vec<Ipv6Addr> {
    let routers = vpc.subnets.iter().filter_map(|subnet| Some(nth(subnet.ipv6?, 1)));
    routers
        .chain(["fd00:ec2::123", "fd00:ec2::253", "fd00:ec2::254"].map(|ip| ip.parse().expect("an address")))
        .collect()
}

pub fn nth(net: Ipv6Net, n: u128) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()) + n)
}

fn way(vpc: &VpcPlan, subnet: &SubnetId, to: Ipv6Addr) -> Option<Way> {
    let subnet = vpc.subnets.iter().find(|s| s.id == *subnet)?;
    subnet.ways.iter().find(|way| way.to.contains(&IpAddr::V6(to))).map(|way| way.way.clone())
}

/// "Security group rules": what any rule of any group of the interface allows.
fn allowed(vpc: &VpcPlan, eni: &InterfacePlan, other: Ipv6Addr, content: Content, egress: bool) -> bool {
    let groups = vpc.groups.iter().filter(|group| eni.groups.contains(&group.id));
    let mut rules = groups.flat_map(|group| if egress { &group.egress } else { &group.ingress });
    rules.any(|rule| {
        let of = match &rule.peer {
            Peer::Ipv6(net) => net.contains(&other),
            Peer::Group(id) => {
                let beyond = vpc.peers.iter().flat_map(|peer| &peer.members_ipv6);
                vpc.members_ipv6.iter().chain(beyond).any(|m| m.ip == other && m.groups.contains(id))
            }
            Peer::Ipv4(_) | Peer::PrefixList(_) | Peer::Beyond(_) => false,
        };
        of && is_such(rule.traffic, content)
    })
}

/// "Network ACL rules": the entry with the lowest number that matches decides; what none matches is denied.
fn judged(vpc: &VpcPlan, subnet: &SubnetId, other: Ipv6Addr, content: Content, egress: bool) -> bool {
    let acl = vpc.subnets.iter().find(|s| s.id == *subnet).and_then(|s| s.acl.as_ref());
    let acl = acl.and_then(|id| vpc.acls.iter().find(|acl| acl.id == *id));
    let entries = acl.iter().flat_map(|acl| if egress { &acl.egress } else { &acl.ingress });
    let matching = entries.filter(|entry| match entry.peer {
        network_acl::Peer::Ipv6(net) => net.contains(&other) && is_such(entry.traffic, content),
        network_acl::Peer::Ipv4(_) => false,
    });
    matching.min_by_key(|entry| entry.number).is_some_and(|entry| entry.allow)
}

fn is_such(traffic: Traffic, content: Content) -> bool {
    match (traffic, content) {
        (Traffic::All, _) => true,
        (Traffic::Tcp { from, to }, Content::Tcp { to: port, .. })
        | (Traffic::Udp { from, to }, Content::Udp { to: port, .. }) => (from..=to).contains(&port),
        (Traffic::Icmpv6 { kind, code }, Content::Icmp { kind: k, .. }) => {
            kind.is_none_or(|kind| kind == k) && code.is_none_or(|code| code == 0)
        }
        (Traffic::Protocol(number), content) => number == content.protocol(),
        _ => false,
    }
}

fn is_unicast(ip: Ipv6Addr) -> bool {
    !ip.is_multicast() && !ip.is_loopback() && !ip.is_unspecified() && ip.segments()[0] & 0xffc0 != 0xfe80
}

/// Kept for services beside guests.
fn is_platforms(ip: Ipv6Addr) -> bool {
    ip.segments()[..2] == [0xfd00, 0x0ec2]
}

/// Source: "IPv6 Global Unicast Address Assignments", IANA; RFC 6052 for what leads to IPv4.
fn is_global(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xe000 == 0x2000 || ip.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
}
