//! What becomes of a packet, by EC2's rules: the reference that the kernel's verdict is compared with.
//!
//! It reads the same plan as the driver and shares nothing else with it. Written to be read beside the Amazon VPC User
//! Guide, whose pages are named where they decide, and not to be fast.
//!
//! **Memory.** A security group remembers what it let through ("Security group connection tracking", Amazon EC2 User
//! Guide). Here a VPC remembers a conversation once its first packet passed all of the VPC: was delivered, or was handed
//! to the gateway or to a peer. TCP begins with SYN, and ICMP with what asks for an answer: nothing else begins a
//! conversation.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, InterfaceId, NatGatewayId, PeeringId, SubnetId, VpcId};
use awan_model::network_acl;
use awan_model::plan::{EndpointInterfacePlan, HostPlan, InterfacePlan, NatPlan, RulePlan, SubnetPlan, VpcPlan, Way};
use ipnet::{IpNet, Ipv4Net};

use crate::wire::{ACK, RST, SYN};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Tcp {
        from: u16,
        to: u16,
        flags: u8,
    },
    Udp {
        from: u16,
        to: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// Another protocol, by its number.
    Other(u8),
}

impl Content {
    pub fn protocol(self) -> u8 {
        match self {
            Self::Icmp { .. } => 1,
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Other(number) => number,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub content: Content,
    /// In truth an ICMP error, of this type and code, about a packet that this would answer (RFC 792).
    pub error: Option<(u8, u8)>,
}

impl Packet {
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, content: Content) -> Self {
        Self { source, destination, content, error: None }
    }

    /// As everybody sees it who looks at it alone.
    pub fn shown(&self) -> Content {
        self.error.map_or(self.content, |(kind, code)| Content::Icmp { kind, code, id: 0 })
    }

    /// May it be the first of a conversation?
    fn begins(&self) -> bool {
        match self.shown() {
            Content::Tcp { flags, .. } => flags == SYN,
            Content::Icmp { kind, .. } => matches!(kind, 8 | 13 | 15 | 17),
            // ICMP for IPv6 means nothing elsewhere.
            Content::Other(58) => false,
            Content::Udp { .. } | Content::Other(_) => true,
        }
    }

    /// The one that answers it.
    pub fn answer(&self) -> Self {
        let content = match self.content {
            Content::Tcp { from, to, flags } => {
                Content::Tcp { from: to, to: from, flags: if flags == SYN { SYN | ACK } else { ACK } }
            }
            Content::Udp { from, to } => Content::Udp { from: to, to: from },
            Content::Icmp { kind, code, id } => Content::Icmp { kind: other_kind(kind), code, id },
            Content::Other(number) => Content::Other(number),
        };
        Self::new(self.destination, self.source, content)
    }

    /// What all packets of one direction of a conversation have in common.
    pub fn line(mut self) -> Self {
        self.error = None;
        if let Content::Tcp { flags, .. } = &mut self.content {
            *flags = 0;
        }
        self
    }
}

/// Asking and answering come in pairs (RFC 792, RFC 950).
fn other_kind(kind: u8) -> u8 {
    match kind {
        8 => 0,
        0 => 8,
        13 | 15 | 17 => kind + 1,
        14 | 16 | 18 => kind - 1,
        other => other,
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, content, error } = self;
        if let Some((kind, code)) = error {
            write!(f, "ICMP error {kind}/{code} of ")?;
        }
        match content {
            Content::Tcp { from, to, flags } => {
                write!(f, "TCP {source}:{from} -> {destination}:{to} flags {flags:#04x}")
            }
            Content::Udp { from, to } => write!(f, "UDP {source}:{from} -> {destination}:{to}"),
            Content::Icmp { kind, code, id } => {
                write!(f, "ICMP {source} -> {destination} type {kind} code {code} id {id}")
            }
            Content::Other(number) => write!(f, "protocol {number} {source} -> {destination}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    Guest(InterfaceId),
    /// What serves the guests of a VPC: addresses, names, metadata, endpoints.
    Router(VpcId),
    /// What the host has for the edge's own address.
    Edge,
    /// Everything behind the host's side of the edge.
    World,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(id) => id.fmt(f),
            Self::Router(id) => write!(f, "the services of {id}"),
            Self::Edge => f.write_str("the edge"),
            Self::World => f.write_str("the world"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    pub at: Place,
    pub packet: Packet,
}

/// Where it arrives and as what, or why it does not.
pub type Verdict = Result<Arrival, &'static str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Router,
    All,
    Another,
}

/// How a guest hands a packet over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// From its own hardware address.
    pub own_mac: bool,
    /// To which hardware address.
    pub to: To,
    /// Routers may send it on so often.
    pub ttl: u8,
    /// With a route that the sender chose (RFC 791), or not sound.
    pub odd: bool,
}

impl Default for Handed {
    fn default() -> Self {
        Self { own_mac: true, to: To::Router, ttl: 64, odd: false }
    }
}

/// What remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Where {
    Vpc(VpcId),
    Edge,
}

/// A private address, the interface that has it, and the public one in front of it; or a NAT gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Guest(Ipv4Addr, InterfaceId, Option<Ipv4Addr>),
    Nat(Ipv4Addr),
}

#[derive(Debug, Clone)]
struct Known {
    /// With its addresses translated.
    becomes: Packet,
    /// Those of the VPC that it is between.
    ends: Vec<End>,
}

/// What guests may reach behind the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbound {
    Nothing,
    /// Not the networks around the host.
    Internet,
    All,
}

pub struct Reference {
    plan: Arc<HostPlan>,
    outbound: Outbound,
    /// What the host takes for itself: its addresses, and the broadcasts of its networks.
    pub host: Vec<Ipv4Net>,
    memory: HashMap<(Where, Packet), Known>,
}

impl Reference {
    pub fn new(plan: HostPlan, outbound: Outbound, host: Vec<Ipv4Net>) -> Self {
        Self { plan: Arc::new(plan), outbound, host, memory: HashMap::new() }
    }

    /// Another plan is in force. What went, or has another place now, remembers nothing.
    pub fn change(&mut self, plan: HostPlan) {
        self.memory.retain(|(at, _), known| match at {
            Where::Edge => true,
            Where::Vpc(id) => plan.network.vpcs.iter().find(|vpc| vpc.id == *id).is_some_and(|vpc| {
                let now = ends(vpc);
                known.ends.iter().all(|end| now.contains(end))
            }),
        });
        self.plan = Arc::new(plan);
    }

    pub fn guest_sends(&mut self, id: &InterfaceId, packet: &Packet, handed: &Handed) -> Verdict {
        let plan = self.plan.clone();
        let own = |vpc: &VpcPlan| vpc.interfaces.iter().find(|eni| eni.id == *id).cloned();
        let Some((vpc, eni)) = plan.network.vpcs.iter().find_map(|vpc| Some((vpc, own(vpc)?))) else {
            return Err("nobody's interface");
        };
        if !handed.own_mac {
            return Err("the hardware address of another");
        }
        if handed.odd {
            return Err("not sound");
        }
        if handed.to == To::Another {
            return Err("no VPC carries frames between guests");
        }
        // A guest asks for an address, or to keep its own (RFC 2131, 4.3.2 and 4.3.6).
        if packet.destination == Ipv4Addr::BROADCAST {
            let asks = match packet.content {
                Content::Udp { from: 68, to: 67 } => packet.source.is_unspecified() || eni.has(packet.source),
                _ => false,
            };
            let at = Place::Router(vpc.id.clone());
            return asks.then_some(Arrival { at, packet: *packet }).ok_or("broadcasts reach nobody");
        }
        // "Amazon VPC FAQs": no multicast, no broadcast.
        if handed.to != To::Router {
            return Err("broadcasts reach nobody");
        }
        self.leave(vpc, &eni, packet, handed.ttl)
    }

    fn leave(&mut self, vpc: &VpcPlan, eni: &InterfacePlan, packet: &Packet, ttl: u8) -> Verdict {
        // "Source/destination checking": EC2 User Guide, "Elastic network interfaces".
        let own = eni.has(packet.source);
        if !own && eni.source_dest_check {
            return Err("source check");
        }
        let platforms = |ip: Ipv4Addr| served(vpc).contains(&ip) || endpoint(vpc, ip).is_some();
        if !own && (!is_unicast(packet.source) || platforms(packet.source)) {
            return Err("nobody's source");
        }
        if served(vpc).contains(&packet.destination) {
            return self.serve(vpc, packet, own);
        }
        if let Some(endpoint) = endpoint(vpc, packet.destination) {
            return if own {
                ask(vpc, eni, endpoint, packet)
            } else {
                Err("endpoints answer an interface's own addresses")
            };
        }
        if packet.destination.is_link_local() || !is_unicast(packet.destination) {
            return Err("link-local addresses, broadcasts and multicasts lead nowhere");
        }
        if ttl < 2 {
            return Err("it has come far enough");
        }
        let known = self.knows(&Where::Vpc(vpc.id.clone()), packet);
        if known.is_none() {
            if !packet.begins() {
                return Err("it belongs to no conversation");
            }
            if !allowed(vpc, &eni.groups, packet.destination, packet.shown(), Direction::Egress) {
                return Err("the sender's groups");
            }
        }
        // "Route tables": the local route leads to every address of the VPC.
        let way = if vpc.cidrs().any(|range| range.contains(&packet.destination)) {
            let owner = vpc.interfaces.iter().find(|other| other.has(packet.destination));
            Way::Interface(owner.ok_or("nobody has this address")?.id.clone())
        } else {
            way(vpc, &eni.subnet, packet.destination).ok_or("no route")?
        };
        self.go(vpc, eni, packet, known, way)
    }

    fn go(&mut self, vpc: &VpcPlan, eni: &InterfacePlan, packet: &Packet, known: Option<Packet>, way: Way) -> Verdict {
        let leaves = |subnet| judged(vpc, subnet, packet.destination, packet.shown(), Direction::Egress);
        if let Way::Interface(id) = way {
            let to = vpc.interfaces.iter().find(|other| other.id == id).ok_or("the route's interface is away")?;
            // "Network ACLs": they judge what crosses the bounds of a subnet, each packet for itself.
            if to.subnet != eni.subnet && !leaves(&eni.subnet) {
                return Err("the ACL of the sender's subnet");
            }
            return self.deliver(vpc, Some(&eni.subnet), to, packet, known, packet.destination);
        }
        if !leaves(&eni.subnet) {
            return Err("the ACL of the sender's subnet");
        }
        let source = known.map(|becomes| becomes.source);
        match way {
            Way::Interface(_) => Err("it was delivered"),
            Way::Peering(id) => self.hand_to_peer(vpc, &id, packet, source.unwrap_or(packet.source)),
            Way::Internet => {
                // "Internet gateways": one translates an instance's private address to its public one; what has none
                // does not leave.
                let of = |eni: &InterfacePlan| eni.addresses().find(|(private, _)| *private == packet.source)?.1;
                let source = source.or_else(|| vpc.interfaces.iter().find_map(of)).ok_or("no public address")?;
                self.hand_to_edge(vpc, packet, source)
            }
            Way::EgressOnly => Err("egress-only gateways are for IPv6"),
            Way::Nat(id) => {
                let nat = passes_nat(vpc, &id, eni, packet)?;
                let public = nat.public_ip.ok_or("a private NAT gateway reaches no internet")?;
                self.hand_to_edge(vpc, packet, source.unwrap_or(public))
            }
            Way::NatPeering(id, peering) => {
                let private = passes_nat(vpc, &id, eni, packet)?.private_ip;
                self.hand_to_peer(vpc, &peering, packet, source.unwrap_or(private))
            }
        }
    }

    fn hand_to_peer(&mut self, vpc: &VpcPlan, id: &PeeringId, packet: &Packet, source: Ipv4Addr) -> Verdict {
        let peer = vpc.peers.iter().find(|peer| peer.id == *id).ok_or("no such peer")?;
        let plan = self.plan.clone();
        let other = plan.network.vpcs.iter().find(|other| other.id == peer.vpc);
        let other = other.ok_or("the peer is not here")?;
        let out = Packet { source, ..*packet };
        self.remember(vpc, packet, &out);
        self.enter_from_peer(vpc, other, &out)
    }

    fn hand_to_edge(&mut self, vpc: &VpcPlan, packet: &Packet, source: Ipv4Addr) -> Verdict {
        let out = Packet { source, ..*packet };
        self.remember(vpc, packet, &out);
        self.edge(&out, Some(vpc))
    }

    /// A VPC's own services. Neither groups nor ACLs judge them ("Control traffic to your AWS resources using security
    /// groups"), but only an interface's own addresses may ask: they tell who it is.
    fn serve(&mut self, vpc: &VpcPlan, packet: &Packet, own: bool) -> Verdict {
        let served = match packet.content {
            Content::Icmp { kind, .. } => kind == 8,
            Content::Udp { to, .. } => matches!(to, 53 | 67 | 123),
            Content::Tcp { to, flags, .. } => matches!(to, 53 | 80) && flags & RST == 0,
            Content::Other(_) => false,
        };
        match (own, served) {
            (false, _) => Err("services answer an interface's own addresses"),
            (true, false) => Err("not served"),
            (true, true) => Ok(Arrival { at: Place::Router(vpc.id.clone()), packet: *packet }),
        }
    }

    /// Between the VPCs and the world. Whoever was let through is answered. `inside`: the VPC that it comes from.
    fn edge(&mut self, packet: &Packet, inside: Option<&VpcPlan>) -> Verdict {
        if inside.is_some_and(|vpc| !publics(vpc).contains(&packet.source)) {
            return Err("not a public address of the VPC");
        }
        let asked = self.knows(&Where::Edge, packet).is_some();
        let plan = self.plan.clone();
        let vpcs = &plan.network.vpcs;
        let owner = vpcs.iter().find(|vpc| publics(vpc).contains(&packet.destination));
        let of_pool = |n| plan.network.public_pool.map(|pool| nth(pool, n));
        let ours = vpcs.iter().any(|vpc| publics(vpc).contains(&packet.source)) || of_pool(2) == Some(packet.source);
        if inside.is_none() && ours {
            return Err("an address that the world does not have");
        }
        let Some(vpc) = owner else {
            if inside.is_none() {
                let own = of_pool(2) == Some(packet.destination);
                let echo = matches!(packet.content, Content::Icmp { kind: 8, .. });
                let answered = own && echo && is_unicast(packet.source);
                return answered
                    .then_some(Arrival { at: Place::Edge, packet: *packet })
                    .ok_or("nobody's public address");
            }
            let first = of_pool(1) == Some(packet.destination);
            if !first && plan.network.public_pool.is_some_and(|pool| pool.contains(&packet.destination)) {
                return Err("nobody's public address");
            }
            if !asked && (first || self.host.iter().any(|net| net.contains(&packet.destination))) {
                return Err("the host's address");
            }
            if !asked {
                let to = packet.destination;
                match self.outbound {
                    Outbound::Nothing => return Err("guests do not reach the world"),
                    Outbound::Internet if is_private(to) || is_nobodys(to) => return Err("a private address"),
                    Outbound::All if is_nobodys(to) => return Err("no router passes this on"),
                    Outbound::Internet | Outbound::All => {}
                }
            }
            self.remember_edge(packet);
            return Ok(Arrival { at: Place::World, packet: *packet });
        };
        if !is_unicast(packet.source) {
            return Err("nobody's source");
        }
        self.remember_edge(packet);
        self.enter_from_internet(vpc, packet)
    }

    pub fn world_sends(&mut self, packet: &Packet, ttl: u8) -> Verdict {
        // The edge itself is the first that it comes to.
        let edges_own = self.plan.network.public_pool.map(|pool| nth(pool, 2));
        if ttl < 3 && edges_own != Some(packet.destination) {
            return Err("it has come far enough");
        }
        self.edge(packet, None)
    }

    fn enter_from_internet(&mut self, vpc: &VpcPlan, packet: &Packet) -> Verdict {
        let known = self.knows(&Where::Vpc(vpc.id.clone()), packet);
        // Who says to be of the VPC, or of a peer, is not behind the internet gateway.
        let peers = vpc.peers.iter().flat_map(|peer| peer.ranges.iter().copied());
        if vpc.cidrs().chain(peers).any(|range| range.contains(&packet.source)) {
            return Err("an address that the world does not have");
        }
        let destination = match known {
            Some(becomes) => becomes.destination,
            None => {
                let of = |eni: &InterfacePlan| eni.addresses().find(|(_, public)| *public == Some(packet.destination));
                let Some((private, _)) = vpc.interfaces.iter().find_map(of) else {
                    return Err("nobody is behind this address");
                };
                private
            }
        };
        match vpc.nats.iter().find(|nat| nat.public_ip == Some(packet.destination)) {
            Some(nat) => self.enter_by_nat(vpc, nat, packet, destination, known),
            None => self.enter(vpc, None, packet, destination, known),
        }
    }

    /// The other way through a NAT gateway's subnet.
    fn enter_by_nat(
        &mut self,
        vpc: &VpcPlan,
        nat: &NatPlan,
        packet: &Packet,
        destination: Ipv4Addr,
        known: Option<Packet>,
    ) -> Verdict {
        if !judged(vpc, &nat.subnet, packet.source, packet.shown(), Direction::Ingress) {
            return Err("the ACL of the NAT gateway's subnet");
        }
        let to = vpc.interfaces.iter().find(|eni| eni.has(destination)).ok_or("nobody has this address")?;
        let leaves = || judged(vpc, &nat.subnet, destination, packet.shown(), Direction::Egress);
        if to.subnet != nat.subnet && !leaves() {
            return Err("the ACL of the NAT gateway's subnet");
        }
        self.enter(vpc, Some(&nat.subnet), packet, destination, known)
    }

    fn enter_from_peer(&mut self, from: &VpcPlan, vpc: &VpcPlan, packet: &Packet) -> Verdict {
        let Some(peer) = vpc.peers.iter().find(|peer| peer.vpc == from.id) else { return Err("it is nobody's peer") };
        // "VPC peering limitations": no edge-to-edge routing, so only the peer's own addresses come by it.
        if !peer.ranges.iter().any(|range| range.contains(&packet.source)) {
            return Err("not the peer's address");
        }
        let known = self.knows(&Where::Vpc(vpc.id.clone()), packet);
        let destination = known.map_or(packet.destination, |becomes| becomes.destination);
        match vpc.nats.iter().find(|nat| nat.private_ip == packet.destination) {
            Some(nat) if known.is_some() => self.enter_by_nat(vpc, nat, packet, destination, known),
            _ => self.enter(vpc, None, packet, destination, known),
        }
    }

    /// `destination`: the private address that it is meant for.
    fn enter(
        &mut self,
        vpc: &VpcPlan,
        from: Option<&SubnetId>,
        packet: &Packet,
        destination: Ipv4Addr,
        known: Option<Packet>,
    ) -> Verdict {
        if known.is_none() && !packet.begins() {
            return Err("it belongs to no conversation");
        }
        let to = vpc.interfaces.iter().find(|eni| eni.has(destination)).ok_or("nobody has this address")?;
        self.deliver(vpc, from, to, packet, known, destination)
    }

    /// `from`: the subnet that it comes from, if it is of this VPC.
    fn deliver(
        &mut self,
        vpc: &VpcPlan,
        from: Option<&SubnetId>,
        to: &InterfacePlan,
        packet: &Packet,
        known: Option<Packet>,
        destination: Ipv4Addr,
    ) -> Verdict {
        if to.source_dest_check && !to.has(destination) {
            return Err("destination check");
        }
        let enters = || judged(vpc, &to.subnet, packet.source, packet.shown(), Direction::Ingress);
        if from != Some(&to.subnet) && !enters() {
            return Err("the ACL of the receiver's subnet");
        }
        if known.is_none() && !allowed(vpc, &to.groups, packet.source, packet.shown(), Direction::Ingress) {
            return Err("the receiver's groups");
        }
        let becomes = known.unwrap_or(Packet { destination, ..*packet });
        self.remember(vpc, packet, &becomes);
        Ok(Arrival {
            at: Place::Guest(to.id.clone()),
            packet: Packet { content: packet.content, error: packet.error, ..becomes },
        })
    }

    /// Whether a VPC let one of these through and does not expect this answer.
    pub fn crossed(&self, packets: &[Packet], answer: &Packet) -> bool {
        let mut vpcs = self.plan.network.vpcs.iter().map(|vpc| Where::Vpc(vpc.id.clone()));
        vpcs.any(|at| packets.iter().any(|p| self.knows(&at, p).is_some()) && self.knows(&at, answer).is_none())
    }

    fn knows(&self, at: &Where, packet: &Packet) -> Option<Packet> {
        self.memory.get(&(at.clone(), packet.line())).map(|known| known.becomes)
    }

    fn remember(&mut self, vpc: &VpcPlan, packet: &Packet, becomes: &Packet) {
        let between = ends(vpc).into_iter().filter(|end| match end {
            End::Guest(private, _, public) => {
                *private == packet.source || *private == becomes.destination || *public == Some(packet.destination)
            }
            End::Nat(public) => *public == becomes.source,
        });
        self.remember_at(Where::Vpc(vpc.id.clone()), packet, becomes, between.collect());
    }

    /// It judges no beginnings, and takes up again what it forgot.
    fn remember_edge(&mut self, packet: &Packet) {
        if packet.begins() || matches!(packet.shown(), Content::Tcp { flags: ACK, .. }) {
            self.remember_at(Where::Edge, packet, packet, Vec::new());
        }
    }

    fn remember_at(&mut self, at: Where, packet: &Packet, becomes: &Packet, ends: Vec<End>) {
        let answer = (at.clone(), becomes.answer().line());
        if self.memory.contains_key(&(at.clone(), packet.line())) {
            return;
        }
        self.memory.insert(answer, Known { becomes: packet.answer().line(), ends: ends.clone() });
        self.memory.insert((at, packet.line()), Known { becomes: becomes.line(), ends });
    }
}

/// "NAT gateways": they carry TCP, UDP and ICMP. One is in a subnet: what others send through it enters that and leaves it
/// again.
fn passes_nat<'v>(
    vpc: &'v VpcPlan,
    id: &NatGatewayId,
    from: &InterfacePlan,
    packet: &Packet,
) -> Result<&'v NatPlan, &'static str> {
    if matches!(packet.content, Content::Other(_)) {
        return Err("NAT gateways carry TCP, UDP and ICMP");
    }
    let nat = vpc.nats.iter().find(|nat| nat.id == *id).ok_or("no such NAT gateway")?;
    let enters = || judged(vpc, &nat.subnet, packet.source, packet.shown(), Direction::Ingress);
    let leaves = || judged(vpc, &nat.subnet, packet.destination, packet.shown(), Direction::Egress);
    if nat.subnet != from.subnet && !(enters() && leaves()) {
        return Err("the ACL of the NAT gateway's subnet");
    }
    Ok(nat)
}

fn ends(vpc: &VpcPlan) -> Vec<End> {
    let guests = vpc
        .interfaces
        .iter()
        .flat_map(|eni| eni.addresses().map(|(private, public)| End::Guest(private, eni.id.clone(), public)));
    let nats = vpc.nats.iter().flat_map(|nat| nat.public_ip.into_iter().chain([nat.private_ip]));
    guests.chain(nats.map(End::Nat)).collect()
}

/// The public addresses that lead to a VPC.
pub fn publics(vpc: &VpcPlan) -> BTreeSet<Ipv4Addr> {
    let of_guests = vpc.interfaces.iter().flat_map(|eni| eni.addresses().filter_map(|(_, public)| public));
    of_guests.chain(vpc.nats.iter().filter_map(|nat| nat.public_ip)).collect()
}

/// "Subnet sizing", "Amazon DNS server": of each subnet the first address, of the VPC the second, and the link-local
/// addresses of the time, of the resolver and of the metadata.
pub fn served(vpc: &VpcPlan) -> BTreeSet<Ipv4Addr> {
    let mut all: BTreeSet<_> = vpc.subnets.iter().map(|subnet| nth(subnet.cidr, 1)).collect();
    all.insert(nth(vpc.cidr, 2));
    all.extend([123, 253, 254].map(|last| Ipv4Addr::new(169, 254, 169, last)));
    all
}

pub fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) + n)
}

fn way(vpc: &VpcPlan, subnet: &SubnetId, to: Ipv4Addr) -> Option<Way> {
    let subnet: &SubnetPlan = vpc.subnets.iter().find(|s| s.id == *subnet)?;
    subnet.ways.iter().find(|way| way.to.contains(&IpNet::from(std::net::IpAddr::V4(to)))).map(|way| way.way.clone())
}

#[derive(Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

pub fn endpoint(vpc: &VpcPlan, ip: Ipv4Addr) -> Option<&EndpointInterfacePlan> {
    vpc.endpoint_interfaces().find(|endpoint| endpoint.private_ip == ip)
}

/// "Access an AWS service using an interface VPC endpoint": an endpoint is in a subnet, with an ACL and groups as
/// everybody there. Nobody listens in this test, so its answer is that somebody says so; and an answer too meets ACLs.
fn ask(vpc: &VpcPlan, eni: &InterfacePlan, endpoint: &EndpointInterfacePlan, packet: &Packet) -> Verdict {
    let crosses = |from: (&SubnetId, Ipv4Addr), to: (&SubnetId, Ipv4Addr), content| {
        let leaves = || judged(vpc, from.0, to.1, content, Direction::Egress);
        from.0 == to.0 || (leaves() && judged(vpc, to.0, from.1, content, Direction::Ingress))
    };
    let (guest, there) = ((&eni.subnet, packet.source), (&endpoint.subnet, packet.destination));
    if !crosses(guest, there, packet.shown()) {
        return Err("an ACL between the sender and the endpoint");
    }
    let Content::Tcp { from, to: to @ (80 | 443), flags: SYN } = packet.shown() else {
        return Err("endpoints carry TCP to their ports");
    };
    if !allowed(vpc, &eni.groups, packet.destination, packet.shown(), Direction::Egress) {
        return Err("the sender's groups");
    }
    if !allowed(vpc, &endpoint.groups, packet.source, packet.shown(), Direction::Ingress) {
        return Err("the endpoint's groups");
    }
    if !crosses(there, guest, Content::Tcp { from: to, to: from, flags: RST | ACK }) {
        return Err("an ACL between the endpoint and who asked");
    }
    Ok(Arrival { at: Place::Router(vpc.id.clone()), packet: *packet })
}

/// "Security group rules": what any rule of any group of the interface allows.
fn allowed(vpc: &VpcPlan, of: &[GroupId], other: Ipv4Addr, content: Content, direction: Direction) -> bool {
    let groups = vpc.groups.iter().filter(|group| of.contains(&group.id));
    let mut rules = groups.flat_map(|group| match direction {
        Direction::Ingress => &group.ingress,
        Direction::Egress => &group.egress,
    });
    rules.any(|RulePlan { traffic, peer }| is_of(vpc, peer, other) && is_such(*traffic, content))
}

/// "Network ACL rules": the entry with the lowest number that matches decides; what none matches is denied.
fn judged(vpc: &VpcPlan, subnet: &SubnetId, other: Ipv4Addr, content: Content, direction: Direction) -> bool {
    let acl = vpc.subnets.iter().find(|s| s.id == *subnet).and_then(|s| s.acl.as_ref());
    let acl = acl.and_then(|id| vpc.acls.iter().find(|acl| acl.id == *id));
    let entries = acl.iter().flat_map(|acl| match direction {
        Direction::Ingress => &acl.ingress,
        Direction::Egress => &acl.egress,
    });
    let matching = entries.filter(|entry| match entry.peer {
        network_acl::Peer::Ipv4(net) => net.contains(&other) && is_such(entry.traffic, content),
        network_acl::Peer::Ipv6(_) => false,
    });
    matching.min_by_key(|entry| entry.number).is_some_and(|entry| entry.allow)
}

fn is_of(vpc: &VpcPlan, peer: &Peer, address: Ipv4Addr) -> bool {
    match peer {
        Peer::Ipv4(net) => net.contains(&address),
        // "the private IP addresses of the network interfaces associated with the referenced security group"
        Peer::Group(id) => {
            let beyond = vpc.peers.iter().flat_map(|peer| &peer.members);
            vpc.members.iter().chain(beyond).any(|m| m.private_ip == address && m.groups.contains(id))
        }
        Peer::Ipv6(_) | Peer::PrefixList(_) | Peer::Beyond(_) => false,
    }
}

fn is_such(traffic: Traffic, content: Content) -> bool {
    let same = |rule: Option<u8>, number: u8| rule.is_none_or(|rule| rule == number);
    match (traffic, content) {
        (Traffic::All, _) => true,
        (Traffic::Tcp { from, to }, Content::Tcp { to: port, .. })
        | (Traffic::Udp { from, to }, Content::Udp { to: port, .. }) => (from..=to).contains(&port),
        (Traffic::Icmp { kind, code }, Content::Icmp { kind: k, code: c, .. }) => same(kind, k) && same(code, c),
        (Traffic::Protocol(number), content) => number == content.protocol(),
        _ => false,
    }
}

fn is_unicast(ip: Ipv4Addr) -> bool {
    !ip.is_multicast() && !ip.is_broadcast() && !ip.is_loopback() && !ip.is_unspecified()
}

/// Nobody's on the internet (RFC 1918, RFC 6598).
fn is_private(ip: Ipv4Addr) -> bool {
    ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
}

/// Nobody's anywhere (RFC 6890).
fn is_nobodys(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_link_local() || matches!(ip.octets()[0], 0 | 240..)
}
