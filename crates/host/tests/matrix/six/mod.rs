//! The matrix over IPv6: the same networks with a second family, other packets, and a reference without translation.

mod dress;
mod model;
mod packet;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use awan_host::network::driver::Uplink;
use awan_model::group::{Peer, Traffic};
use awan_model::id::VpcId;
use awan_model::plan::InterfacePlan;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use self::dress::{OUTSIDE, POOL, Wardrobe, ip, net};
use self::model::{Reference, Verdict, nth, publics, served};
use self::packet::{ANSWERS, ASKS, Content, Packet};
use crate::lab::{HOST_IPV6 as HOST, HOST_MAC, Lab, ROUTER_MAC, Seen, UP_MAC};
use crate::model::{Handed, Outbound, Place, To};
use crate::topology::Topology;
use crate::wire::{self, ACK, BROADCAST, FIRST_PORT, SYN, Tag};

const BATCH: usize = 64;
const CHANGES: u32 = 3;
/// Nobody is there, or nobody may go there.
const NOWHERE: [&str; 11] = [
    "2001:db8:a00::1",
    "2001:db8:a00::2",
    "2001:db8:aff::5",
    HOST,
    "fd12:3456::9",
    "fd00:ec2::1",
    "fe80::1",
    "fe80::77",
    "ff02::1",
    "ff0e::1",
    "::1",
];

struct Probe {
    from: Place,
    packet: Packet,
    handed: Handed,
}

struct Flight {
    tag: Tag,
    from: Place,
    packet: Packet,
    verdict: Verdict,
    words: String,
}

struct Walk<'l> {
    lab: &'l mut Lab,
    topology: Topology,
    reference: Reference,
    packets: u64,
    next: u32,
}

/// How many packets were sent.
pub fn topology(seed: u64, packets: u64, mistake: Option<(&str, &str)>) -> Result<u64, String> {
    let mut topology = Topology::new(seed);
    let mut wardrobe = Wardrobe::default();
    wardrobe.dress(&mut topology);
    let (uplink, outbound) = match topology.rng.random_range(0..10) {
        0 | 1 => (Uplink::Closed, Outbound::Nothing),
        2..=4 => (Uplink::Routed, Outbound::All),
        _ => (Uplink::Masquerade, Outbound::Internet),
    };
    let mut lab = Lab::new(uplink);
    let plan = topology.plan.clone();
    let reference = Reference::new(plan.clone(), outbound, vec![ip(HOST)]);
    lab.apply(&plan).map_err(|e| format!("{e:#}"))?;
    if let Some(mistake) = mistake {
        crate::plant(&lab, &plan, mistake);
    }
    let mut walk = Walk { lab: &mut lab, topology, reference, packets: 0, next: 0 };
    let mut said = Vec::new();
    let mut whole = || -> Result<u64, String> {
        for change in 0..=u64::from(CHANGES) {
            if change > 0 {
                if mistake.is_some() {
                    break;
                }
                said.extend((0..3).filter_map(|_| walk.topology.change()));
                walk.topology.settle();
                wardrobe.dress(&mut walk.topology);
                let plan = walk.topology.plan.clone();
                walk.lab.apply(&plan).map_err(|e| format!("{e:#}"))?;
                walk.reference.change(plan);
                // What the kernel said while it made it.
                walk.lab.take();
            }
            let done = if mistake.is_some() { packets } else { packets * (change + 1) / u64::from(CHANGES + 1) };
            while walk.packets < done {
                walk.round()?;
            }
        }
        let different = walk.lab.differences(&walk.topology.plan).map_err(|e| format!("{e:#}"))?;
        if different.is_empty() { Ok(walk.packets) } else { Err(different.join("\n")) }
    };
    let sent = whole();
    let plan = &walk.topology.plan;
    sent.map_err(|wrong| {
        let (four, six) = (crate::topology::describe(plan), dress::describe(plan));
        format!("{wrong}\noutbound: {outbound:?}\nchanges: {said:#?}\n{four}{six}")
    })
}

impl Walk<'_> {
    /// New conversations, their answers, and what follows.
    fn round(&mut self) -> Result<(), String> {
        let mut first = Vec::new();
        for _ in 0..BATCH {
            let (tag, probe) = (Tag { n: self.next, stage: 0 }, self.probe());
            self.next += 1;
            first.push(self.fly(tag, probe));
        }
        let mut flights = self.land(first)?;
        for stage in 1..3 {
            let back: Vec<_> = flights.iter().filter_map(|flight| self.back(flight, stage)).collect();
            let back = back.into_iter().map(|(tag, probe)| self.fly(tag, probe)).collect();
            flights = self.land(back)?;
        }
        Ok(())
    }

    /// What the receiver says, and what one says who should never have heard of it.
    fn back(&mut self, flight: &Flight, stage: u8) -> Option<(Tag, Probe)> {
        let packet = flight.packet.answer();
        let from = match &flight.verdict {
            Ok(Place::Router(_) | Place::Edge) => return None,
            Ok(place) => place.clone(),
            Err(_) if stage > 1 => return None,
            Err(_) => Place::Guest(self.owner(flight.packet.destination)?.id),
        };
        Some((Tag { stage, ..flight.tag }, Probe { from, packet, handed: Handed::default() }))
    }

    fn owner(&self, ip: Ipv6Addr) -> Option<InterfacePlan> {
        self.topology.interfaces().into_iter().map(|(_, eni)| eni).find(|eni| eni.has(ip))
    }

    fn interface(&self, at: &Place) -> Option<InterfacePlan> {
        let Place::Guest(id) = at else { return None };
        self.topology.plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces).find(|eni| eni.id == *id).cloned()
    }

    fn probe(&mut self) -> Probe {
        let all = self.topology.interfaces();
        let (of_guest, port) =
            (!self.topology.chance(30), FIRST_PORT + u16::try_from(self.next % 60_000).expect("it fits"));
        let some = all.choose(&mut self.topology.rng).cloned();
        let Some((vpc, eni)) = some.filter(|_| of_guest) else { return self.worlds(port) };
        let source = self.source(&vpc, &eni);
        let destination = self.destination(&vpc);
        let content = self.content(destination, port);
        let mut handed = Handed::default();
        if self.topology.chance(6) {
            match self.topology.rng.random_range(0..4) {
                0 => handed.own_mac = false,
                1 => handed.to = To::All,
                2 => handed.to = To::Another,
                _ => handed.ttl = 1,
            }
        }
        Probe { from: Place::Guest(eni.id), packet: Packet { source, destination, content }, handed }
    }

    fn worlds(&mut self, port: u16) -> Probe {
        let public: Vec<_> = self.topology.plan.network.vpcs.iter().flat_map(publics).collect();
        let rng = &mut self.topology.rng;
        let outside = ip(OUTSIDE.choose(rng).expect("some"));
        let any = *public.choose(rng).unwrap_or(&outside);
        let source = match rng.random_range(0..10) {
            0 => any,
            1 => nth(net(POOL), 1),
            2 => ip("fd12:3456::9"),
            _ => outside,
        };
        let destination = if rng.random_range(0..10) == 0 { ip(NOWHERE.choose(rng).expect("some")) } else { any };
        // The host itself does not send what a link keeps.
        let destination = if model_keeps(destination) { any } else { destination };
        let content = self.content(destination, port);
        let ttl = if self.topology.chance(2) { 1 } else { 64 };
        let handed = Handed { ttl, ..Handed::default() };
        Probe { from: Place::World, packet: Packet { source, destination, content }, handed }
    }

    fn source(&mut self, vpc: &VpcId, eni: &InterfacePlan) -> Ipv6Addr {
        let honest = !self.topology.chance(if eni.source_dest_check { 12 } else { 40 });
        let vpcs = &self.topology.plan.network.vpcs;
        let all: Vec<_> = vpcs.iter().flat_map(publics).collect();
        let served: Vec<_> = vpcs.iter().filter(|other| other.id == *vpc).flat_map(served).collect();
        let rng = &mut self.topology.rng;
        if let Some(own) = eni.ipv6.choose(rng).filter(|_| honest) {
            return *own;
        }
        match rng.random_range(0..6) {
            0..=2 => *all.choose(rng).unwrap_or(&ip(HOST)),
            3 => ip(OUTSIDE.choose(rng).expect("some")),
            4 => *served.choose(rng).expect("some"),
            _ => ip(NOWHERE.choose(rng).expect("some")),
        }
    }

    fn destination(&mut self, vpc: &VpcId) -> Ipv6Addr {
        let vpcs = &self.topology.plan.network.vpcs;
        let own: Vec<_> = vpcs.iter().filter(|other| other.id == *vpc).collect();
        let (near, served): (Vec<_>, Vec<_>) =
            (own.iter().flat_map(|vpc| publics(vpc)).collect(), own.iter().flat_map(|vpc| served(vpc)).collect());
        let unused = own.iter().find_map(|vpc| Some(nth(*vpc.ipv6.first()?, 0x99)));
        let all: Vec<_> = vpcs.iter().flat_map(publics).collect();
        let rng = &mut self.topology.rng;
        let outside = ip(OUTSIDE.choose(rng).expect("some"));
        match rng.random_range(0..100) {
            0..=39 => *near.choose(rng).unwrap_or(&outside),
            40..=59 => *all.choose(rng).unwrap_or(&outside),
            60..=79 => outside,
            80..=87 => *served.choose(rng).expect("some"),
            88..=90 => unused.unwrap_or(outside),
            _ => ip(NOWHERE.choose(rng).expect("some")),
        }
    }

    /// Often what a rule of the receiver just allows or just does not.
    fn content(&mut self, to: Ipv6Addr, port: u16) -> Content {
        let groups = self.owner(to).map(|eni| eni.groups).unwrap_or_default();
        let all = self.topology.plan.network.vpcs.iter().flat_map(|vpc| &vpc.groups).filter(|g| groups.contains(&g.id));
        let rules = all.flat_map(|group| group.ingress.clone()).filter(|rule| !matches!(rule.peer, Peer::Ipv4(_)));
        let rules: Vec<_> = rules.collect();
        let rng = &mut self.topology.rng;
        if let Some(rule) = rules.choose(rng).filter(|_| rng.random_range(0..100) < 60) {
            let mut at = |from: u16, to: u16| {
                let near = [from.saturating_sub(1), from, from, to, to.saturating_add(1)];
                (*near.choose(rng).expect("some")).min(FIRST_PORT - 1)
            };
            match rule.traffic {
                Traffic::Tcp { from, to } => return Content::Tcp { from: port, to: at(from, to), flags: SYN },
                Traffic::Udp { from, to } => return Content::Udp { from: port, to: at(from, to) },
                Traffic::Icmpv6 { .. } => return Content::Icmp { kind: ASKS, id: port },
                _ => {}
            }
        }
        let to = *[22, 53, 80, 443, 1000, 1200, 2000, 3128].choose(rng).expect("some");
        match rng.random_range(0..20) {
            0..=8 => Content::Udp { from: port, to },
            9..=12 => Content::Tcp { from: port, to, flags: SYN },
            13 => Content::Tcp { from: port, to, flags: *[ACK, SYN | ACK, 0x11, 4, 0].choose(rng).expect("some") },
            14 => Content::Icmp { kind: ANSWERS, id: port },
            _ => Content::Icmp { kind: ASKS, id: port },
        }
    }

    fn fly(&mut self, tag: Tag, mut probe: Probe) -> Flight {
        let eni = self.interface(&probe.from);
        // Nobody listens to what is not an echo there, in this test.
        let served: Vec<_> = self.topology.plan.network.vpcs.iter().flat_map(served).collect();
        if served.contains(&probe.packet.destination) && !matches!(probe.packet.content, Content::Icmp { .. }) {
            probe.packet.content = Content::Udp { from: FIRST_PORT, to: 1200 };
        }
        let Probe { from, packet, handed } = probe;
        let verdict = match &from {
            Place::Guest(id) => self.reference.guest_sends(id, &packet, &handed),
            _ => self.reference.world_sends(&packet, handed.ttl),
        };
        let bytes = packet.bytes(handed.ttl, tag);
        let frame = match &eni {
            Some(eni) => {
                let mut own = eni.mac.0;
                own[4] ^= if handed.own_mac { 0 } else { 0x10 };
                let to = match handed.to {
                    To::Router => ROUTER_MAC,
                    To::All => BROADCAST,
                    To::Another => [0x0a, 1, 2, 3, 4, 5],
                };
                wire::ethernet(to, own, wire::IPV6, &bytes)
            }
            None => wire::ethernet(UP_MAC, HOST_MAC, wire::IPV6, &bytes),
        };
        self.lab.send(&from, &frame);
        self.packets += 1;
        let words = format!("from {from}: {packet} {handed:?}");
        Flight { tag, from, packet, verdict, words }
    }

    /// All that comes is what the reference says, and all that the reference says comes.
    fn land(&mut self, flights: Vec<Flight>) -> Result<Vec<Flight>, String> {
        let mut seen: BTreeMap<Tag, Vec<String>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for one in self.lab.take() {
            let Seen::Frame(at, frame) = one else { continue };
            match self.told(&at, &frame, &flights) {
                Ok(Some((tag, words))) => seen.entry(tag).or_default().push(words),
                Ok(None) => {}
                Err(strange) => wrong.push(format!("nobody sent at {at}: {strange}")),
            }
        }
        for flight in &flights {
            let comes = |at: &Place, packet: &Packet| format!("at {at}: {packet}");
            let expected = match &flight.verdict {
                Ok(at @ (Place::Guest(_) | Place::World)) => vec![comes(at, &flight.packet)],
                Ok(Place::Router(_)) => vec![comes(&flight.from, &flight.packet.answer())],
                Ok(Place::Edge) => vec![comes(&Place::World, &flight.packet.answer())],
                Err(_) => Vec::new(),
            };
            let found = seen.remove(&flight.tag).unwrap_or_default();
            if expected != found {
                let Tag { n, stage } = flight.tag;
                wrong.push(format!(
                    "packet {n}.{stage} {}\n  reference: {:?} {expected:?}\n  kernel:    {found:?}",
                    flight.words,
                    flight.verdict.as_ref().err()
                ));
            }
        }
        wrong.extend(seen.into_iter().map(|(tag, words)| format!("nobody sent now {tag:?}: {}", words.join("; "))));
        if wrong.is_empty() { Ok(flights) } else { Err(wrong.join("\n")) }
    }

    /// Which of what was sent it is, in words; nothing for what routers say of themselves.
    fn told(&self, at: &Place, frame: &[u8], flights: &[Flight]) -> Result<Option<(Tag, String)>, String> {
        let whole = || format!("{frame:02x?}");
        let (head, body) = frame.split_at_checked(14).ok_or_else(whole)?;
        let packet = Packet::read(body);
        if head[12..] != wire::IPV6.to_be_bytes() {
            return Err(whole());
        }
        let kind = match packet {
            Some(Packet { content: Content::Icmp { kind, .. }, .. }) => kind,
            // Before a report of who hears what, its header says so (RFC 3810).
            None if body[6] == 0 && head[0] == 0x33 => return Ok(None),
            _ => 0,
        };
        let ends = self.interface(at).map_or((HOST_MAC, UP_MAC), |eni| (eni.mac.0, ROUTER_MAC));
        let packet = packet.ok_or_else(whole)?;
        if (&head[..6], &head[6..12]) != (&ends.0[..], &ends.1[..]) {
            return Err(format!("{packet} from {:02x?} to {:02x?}", &head[6..12], &head[..6]));
        }
        let named = self.interface(at).is_none_or(|eni| eni.has(packet.destination));
        // To whom a packet names as its sender, a router may say that it has come far enough, or that there is a way
        // that is shorter.
        if matches!(kind, 3 | 137) && named {
            return Ok(None);
        }
        let tag = Tag::of(frame).or_else(|| {
            let Content::Tcp { to, .. } = packet.content else { return None };
            let of = |flight: &&Flight| {
                packet.is_reset() && flight.packet.answer().line() == packet.line() && to >= FIRST_PORT
            };
            flights.iter().find(of).map(|flight| flight.tag)
        });
        let tag = tag.ok_or_else(|| format!("{packet}"))?;
        Ok(Some((tag, format!("at {at}: {packet}"))))
    }
}

fn model_keeps(ip: Ipv6Addr) -> bool {
    ip.is_multicast() || ip.is_loopback() || ip.segments()[0] & 0xffc0 == 0xfe80
}
