//! Random packets: most of them as guests and the world send them, some as an attacker does.

use std::net::Ipv4Addr;

use awan_model::group::Traffic;
use awan_model::id::VpcId;
use awan_model::plan::{InterfacePlan, VpcPlan};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use crate::lab::{HOST_MAC, ROUTER_MAC, UP_MAC};
use crate::model::{Content, Handed, Packet, Place, To, endpoint, nth, publics, served};
use crate::topology::{OUTSIDE, POOL, Topology, net};
use crate::wire::{self, BROADCAST, FIRST_PORT, Header, Mac, SYN, Tag};

/// Of the world, but not of the internet.
const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 5);
/// Where nobody is, or nobody may go.
const NOWHERE: [Ipv4Addr; 19] = [
    Ipv4Addr::new(198, 18, 0, 1),
    Ipv4Addr::new(198, 18, 0, 2),
    Ipv4Addr::new(198, 18, 200, 200),
    Ipv4Addr::new(203, 0, 113, 20),
    Ipv4Addr::new(203, 0, 113, 23),
    Ipv4Addr::new(10, 99, 0, 1),
    Ipv4Addr::new(100, 99, 1, 1),
    LAN,
    Ipv4Addr::new(169, 254, 241, 1),
    Ipv4Addr::new(169, 254, 241, 2),
    Ipv4Addr::new(169, 254, 242, 1),
    Ipv4Addr::new(169, 254, 169, 1),
    Ipv4Addr::new(224, 0, 0, 1),
    Ipv4Addr::new(239, 1, 1, 1),
    Ipv4Addr::BROADCAST,
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(0, 1, 2, 3),
];

#[derive(Debug, Clone)]
pub struct Probe {
    pub from: Place,
    pub packet: Packet,
    pub handed: Handed,
    pub shape: Shape,
}

/// What is around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Plain,
    /// It says by which routers it wants to go (RFC 791, "Loose Source and Record Route").
    Routed(Ipv4Addr),
    WrongChecksum,
    /// In a virtual LAN of its own making.
    Tagged,
    /// Said to be IPv6.
    Six,
}

impl Probe {
    /// As the interface sends it; `None`: the world does.
    pub fn frame(&self, eni: Option<&InterfacePlan>, tag: Tag) -> Vec<u8> {
        let header = Header { ttl: self.handed.ttl, options: options(self.shape) };
        let mut body = wire::ipv4(&self.packet, &header, &tag.bytes());
        if self.shape == Shape::WrongChecksum {
            body[10] ^= 0x55;
        }
        let Some(eni) = eni else { return wire::ethernet(UP_MAC, HOST_MAC, wire::IPV4, &body) };
        let mut from: Mac = eni.mac.0;
        if !self.handed.own_mac {
            from[4] ^= 0x10;
        }
        let to = match self.handed.to {
            To::Router => ROUTER_MAC,
            To::All => BROADCAST,
            To::Another => [0x0a, 1, 2, 3, 4, 5],
        };
        match self.shape {
            Shape::Tagged => {
                let mut inner = vec![0, 5];
                inner.extend(wire::IPV4.to_be_bytes());
                inner.extend(body);
                wire::ethernet(to, from, wire::VLAN, &inner)
            }
            Shape::Six => wire::ethernet(to, from, wire::IPV6, &body),
            _ => wire::ethernet(to, from, wire::IPV4, &body),
        }
    }
}

fn options(shape: Shape) -> Vec<u8> {
    match shape {
        Shape::Routed(by) => {
            let mut bytes = vec![131, 7, 4];
            bytes.extend(by.octets());
            bytes.push(0);
            bytes
        }
        _ => Vec::new(),
    }
}

impl Topology {
    /// `port`: no other probe of this topology has it.
    pub fn probe(&mut self, port: u16) -> Option<Probe> {
        let all = self.interfaces();
        if all.is_empty() || self.chance(25) {
            return Some(self.worlds_probe(&all, port));
        }
        let (vpc, eni) = all.choose(&mut self.rng)?.clone();
        self.probe_of(&vpc, &eni, &all, port)
    }

    /// `all`: what there is beside it.
    pub fn probe_of(
        &mut self,
        vpc: &VpcId,
        eni: &InterfacePlan,
        all: &[(VpcId, InterfacePlan)],
        port: u16,
    ) -> Option<Probe> {
        let vpc = self.plan.network.vpcs.iter().find(|v| v.id == *vpc)?.clone();
        if self.chance(2) {
            return Some(self.asks_for_address(eni));
        }
        let source = self.source(&vpc, eni, all);
        let destination = self.destination(&vpc, all);
        let mut content = self.content(destination, all, port);
        if endpoint(&vpc, destination).is_some() && self.chance(85) {
            content = Content::Tcp { from: port, to: if self.chance(50) { 80 } else { 443 }, flags: SYN };
        }
        let packet = self.distinct(Packet::new(source, destination, content), port);
        let mut probe =
            Probe { from: Place::Guest(eni.id.clone()), packet, handed: Handed::default(), shape: Shape::Plain };
        if self.chance(8) {
            self.distort(&mut probe, all);
        }
        Some(probe)
    }

    fn asks_for_address(&mut self, eni: &InterfacePlan) -> Probe {
        let source = if self.chance(50) { Ipv4Addr::UNSPECIFIED } else { eni.private_ip };
        let content = Content::Udp { from: if self.chance(80) { 68 } else { 69 }, to: 67 };
        let to = *[To::Router, To::All, To::All, To::Another].choose(&mut self.rng).expect("some");
        Probe {
            from: Place::Guest(eni.id.clone()),
            packet: Packet::new(source, Ipv4Addr::BROADCAST, content),
            handed: Handed { to, ..Handed::default() },
            shape: Shape::Plain,
        }
    }

    fn distort(&mut self, probe: &mut Probe, all: &[(VpcId, InterfacePlan)]) {
        match self.rng.random_range(0..9) {
            0 => probe.handed.own_mac = false,
            1 => probe.handed.to = To::All,
            2 => probe.handed.to = To::Another,
            3 | 4 => probe.handed.ttl = 1,
            5 => {
                let by = all.choose(&mut self.rng).map_or(LAN, |(_, eni)| eni.private_ip);
                probe.shape = Shape::Routed(by);
            }
            6 => probe.shape = Shape::WrongChecksum,
            7 => probe.shape = Shape::Tagged,
            _ => probe.shape = Shape::Six,
        }
        probe.handed.odd = probe.shape != Shape::Plain;
    }

    fn source(&mut self, vpc: &VpcPlan, eni: &InterfacePlan, all: &[(VpcId, InterfacePlan)]) -> Ipv4Addr {
        let own: Vec<_> = eni.addresses().map(|(private, _)| private).collect();
        let own = *own.choose(&mut self.rng).expect("the primary");
        if !self.chance(if eni.source_dest_check { 10 } else { 40 }) {
            return own;
        }
        let other = all.choose(&mut self.rng).map_or(own, |(_, eni)| eni.private_ip);
        match self.rng.random_range(0..9) {
            0 | 1 => other,
            2 => vpc.interfaces.choose(&mut self.rng).map_or(own, |eni| eni.private_ip),
            3 => all.iter().find_map(|(_, eni)| eni.public_ip).unwrap_or(other),
            4 | 5 => *OUTSIDE.choose(&mut self.rng).expect("some"),
            6 => nth(vpc.cidr, self.rng.random_range(1..4)),
            7 => served(vpc).into_iter().next_back().unwrap_or(own),
            _ => *NOWHERE.choose(&mut self.rng).expect("some"),
        }
    }

    fn destination(&mut self, vpc: &VpcPlan, all: &[(VpcId, InterfacePlan)]) -> Ipv4Addr {
        let any = all.choose(&mut self.rng).map_or(LAN, |(_, eni)| eni.private_ip);
        let own: Vec<_> = vpc.interfaces.iter().flat_map(InterfacePlan::addresses).map(|(ip, _)| ip).collect();
        let public: Vec<_> = self.plan.network.vpcs.iter().flat_map(publics).collect();
        let endpoints: Vec<_> = vpc.endpoint_interfaces().map(|i| i.private_ip).collect();
        match self.rng.random_range(0..100) {
            0..=19 if !endpoints.is_empty() => *endpoints.choose(&mut self.rng).unwrap_or(&any),
            0..=34 => *own.choose(&mut self.rng).unwrap_or(&any),
            35..=46 => any,
            47..=66 => *public.choose(&mut self.rng).unwrap_or(&any),
            67..=82 => *OUTSIDE.choose(&mut self.rng).expect("some"),
            83..=89 => *Vec::from_iter(served(vpc)).choose(&mut self.rng).unwrap_or(&any),
            90..=92 => nth(vpc.cidr, self.rng.random_range(0..600)),
            93 => vpc.subnets.choose(&mut self.rng).map_or(any, |subnet| subnet.cidr.broadcast()),
            94 => nth(net(POOL), self.rng.random_range(0..64)),
            _ => *NOWHERE.choose(&mut self.rng).expect("some"),
        }
    }

    fn worlds_probe(&mut self, all: &[(VpcId, InterfacePlan)], port: u16) -> Probe {
        let public: Vec<_> = self.plan.network.vpcs.iter().flat_map(publics).collect();
        let any = all.choose(&mut self.rng).map_or(LAN, |(_, eni)| eni.private_ip);
        let outside = *OUTSIDE.choose(&mut self.rng).expect("some");
        let source = match self.rng.random_range(0..100) {
            0..=74 => outside,
            75..=79 => LAN,
            80..=84 => nth(net(POOL), 1),
            85..=90 => any,
            91..=94 => *public.choose(&mut self.rng).unwrap_or(&outside),
            _ => *NOWHERE.choose(&mut self.rng).expect("some"),
        };
        let destination = match self.rng.random_range(0..100) {
            0..=79 => *public.choose(&mut self.rng).unwrap_or(&any),
            80..=89 => any,
            90..=94 => nth(net(POOL), self.rng.random_range(0..64)),
            _ => *NOWHERE.choose(&mut self.rng).expect("some"),
        };
        let content = self.content(destination, all, port);
        let packet = self.distinct(Packet::new(source, destination, content), port);
        let ttl = if self.chance(2) { 1 } else { 64 };
        let handed = Handed { ttl, ..Handed::default() };
        Probe { from: Place::World, packet, handed, shape: Shape::Plain }
    }

    /// Often what a rule of the receiver, if there is one, just allows or just does not.
    fn content(&mut self, to: Ipv4Addr, all: &[(VpcId, InterfacePlan)], port: u16) -> Content {
        let mut receivers = all.iter().filter(|(_, eni)| eni.addresses().any(|(a, b)| a == to || b == Some(to)));
        let groups = receivers.next().map(|(_, eni)| eni.groups.clone()).unwrap_or_default();
        let rules = self.plan.network.vpcs.iter().flat_map(|vpc| &vpc.groups).filter(|g| groups.contains(&g.id));
        let rules: Vec<_> = rules.flat_map(|group| group.ingress.clone()).collect();
        if let Some(rule) = rules.choose(&mut self.rng).filter(|_| self.rng.random_range(0..100) < 60) {
            let mut at = |from: u16, to: u16| {
                let near = [from.saturating_sub(1), from, from, to, to.saturating_add(1)];
                (*near.choose(&mut self.rng).expect("some")).min(FIRST_PORT - 1)
            };
            match rule.traffic {
                Traffic::Tcp { from, to } => return Content::Tcp { from: port, to: at(from, to), flags: SYN },
                Traffic::Udp { from, to } => return Content::Udp { from: port, to: at(from, to) },
                Traffic::Icmp { kind, code } => {
                    return Content::Icmp { kind: kind.unwrap_or(8), code: code.unwrap_or(0), id: port };
                }
                Traffic::Protocol(number) if !matches!(number, 1 | 6 | 17) => return Content::Other(number),
                _ => {}
            }
        }
        let to = *[22, 53, 67, 80, 123, 443, 1000, 1200, 2000, 2500, 3128].choose(&mut self.rng).expect("some");
        match self.rng.random_range(0..100) {
            0..=39 => Content::Udp { from: port, to },
            40..=64 => Content::Tcp { from: port, to, flags: SYN },
            65..=68 => {
                let flags = *[0x10, 0x12, 0x11, 0x04, 0x14, 0, 0x29, 0x06, 0x03].choose(&mut self.rng).expect("some");
                Content::Tcp { from: port, to, flags }
            }
            69..=90 => {
                let kind = *[8, 8, 8, 8, 13, 15, 17, 0, 3, 5, 9, 11, 14].choose(&mut self.rng).expect("some");
                Content::Icmp { kind, code: self.rng.random_range(0..3) / 2, id: port }
            }
            _ => Content::Other(*[50, 58, 99, 200].choose(&mut self.rng).expect("some")),
        }
    }

    /// Without ports, packets between the same two belong together, and which came first would decide. Each such pair
    /// and protocol is tried once, whatever the two are called; what comes again has ports.
    fn distinct(&mut self, packet: Packet, port: u16) -> Packet {
        let Content::Other(number) = packet.content else { return packet };
        let all = self.interfaces();
        let names = |ip: Ipv4Addr| {
            let has = |(_, eni): &(VpcId, InterfacePlan)| {
                let own = eni.addresses().find(|(private, public)| *private == ip || *public == Some(ip));
                own.map(|(private, _)| [eni.id.to_string(), private.to_string()])
            };
            let mut names: Vec<String> = all.iter().find_map(has).into_iter().flatten().collect();
            names.push(ip.to_string());
            names
        };
        let (from, to) = (names(packet.source), names(packet.destination));
        let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (a.min(b).clone(), a.max(b).clone(), number)));
        let pairs: Vec<_> = pairs.collect();
        if pairs.iter().all(|pair| pair.0 != pair.1 && !self.spoken.contains(pair)) {
            self.spoken.extend(pairs);
            return packet;
        }
        Packet { content: Content::Udp { from: port, to: 1200 }, ..packet }
    }
}
