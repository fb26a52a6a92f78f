//! Packets sent, and what the kernel made of them beside what the reference says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use awan_model::id::InterfaceId;
use awan_model::plan::InterfacePlan;

use crate::lab::{HOST_MAC, Lab, ROUTER_MAC, Seen, UP_MAC};
use crate::model::{Arrival, Content, Handed, Packet, Place, Reference, To, Verdict};
use crate::probe::{Probe, Shape};
use crate::topology::Topology;
use crate::wire::{self, ACK, Arp, BROADCAST, Body, FIRST_PORT, Mac, RST, Tag};

/// Sent before anybody looks what came.
const BATCH: usize = 64;
/// Of one topology: each has a port of its own.
pub const FLOWS_MAX: u32 = 60_000;
/// Conversations that go on when the plan has changed.
const GO_ON_MAX: usize = 40;

/// Packets of a flow, in this order.
const FIRST: u8 = 0;
const ANSWER: u8 = 1;
const ERROR: u8 = 2;
const THIRD: u8 = 3;
/// Two for each later plan.
const LATER: u8 = 4;

pub struct Flight {
    tag: Tag,
    from: Place,
    packet: Packet,
    verdict: Verdict,
    words: String,
}

/// A conversation that both sides have taken part in.
#[derive(Clone)]
struct Conversation {
    n: u32,
    ends: [(Place, Packet); 2],
}

pub struct Trips<'l> {
    pub lab: &'l mut Lab,
    pub reference: Reference,
    pub topology: Topology,
    pub packets: u64,
    next: u32,
    conversations: Vec<Conversation>,
}

pub type Difference = String;

impl<'l> Trips<'l> {
    pub fn new(lab: &'l mut Lab, topology: Topology, reference: Reference) -> Self {
        Self { lab, reference, topology, packets: 0, next: 0, conversations: Vec::new() }
    }

    /// New flows, their answers, and what follows.
    pub fn round(&mut self, flows: u32) -> Result<(), Difference> {
        let mut probes = Vec::new();
        for _ in 0..flows {
            let n = self.next;
            let port = FIRST_PORT + u16::try_from(n % FLOWS_MAX).expect("it fits");
            let Some(probe) = self.topology.probe(port) else { continue };
            self.next += 1;
            probes.push((n, probe));
        }
        for batch in probes.chunks(BATCH) {
            self.batch(batch)?;
        }
        Ok(())
    }

    fn batch(&mut self, probes: &[(u32, Probe)]) -> Result<(), Difference> {
        let first = probes.iter().map(|(n, probe)| self.fly(Tag { n: *n, stage: FIRST }, probe)).collect();
        let first = self.land(first)?;
        let answers: Vec<_> =
            probes.iter().zip(&first).filter_map(|((_, probe), flight)| self.answer(probe, flight)).collect();
        let answers = answers.iter().map(|(n, probe)| self.fly(Tag { n: *n, stage: ANSWER }, probe)).collect();
        let answers = self.land(answers)?;
        let begun = |answer: &&Flight| answer.verdict.is_ok();
        let mut errors = Vec::new();
        let mut third = Vec::new();
        for answer in answers.iter().filter(begun) {
            let Some(first) = first.iter().find(|flight| flight.tag.n == answer.tag.n) else { continue };
            let (Ok(there), Ok(back)) = (&first.verdict, &answer.verdict) else { continue };
            let whole = back.at == first.from && back.packet.line() == first.packet.answer().line();
            if !whole || there.at != answer.from {
                continue;
            }
            let ends = [(first.from.clone(), first.packet), (there.at.clone(), there.packet.answer())];
            self.conversations.push(Conversation { n: answer.tag.n, ends });
            if matches!(first.packet.content, Content::Udp { .. } | Content::Tcp { .. }) {
                let error = Packet { error: Some((3, 3)), ..there.packet.answer() };
                errors.push((answer.tag.n, plain(&there.at, error)));
            }
            third.push((answer.tag.n, plain(&first.from, follows(&first.packet))));
        }
        let errors = errors.iter().map(|(n, probe)| self.fly(Tag { n: *n, stage: ERROR }, probe)).collect();
        self.land(errors)?;
        let third = third.iter().map(|(n, probe)| self.fly(Tag { n: *n, stage: THIRD }, probe)).collect();
        self.land(third).map(drop)
    }

    /// What the receiver says back; and what one says who should never have heard of it.
    fn answer(&self, probe: &Probe, flight: &Flight) -> Option<(u32, Probe)> {
        let n = flight.tag.n;
        if matches!(probe.packet.content, Content::Icmp { kind: 3 | 5 | 11, .. }) {
            return None;
        }
        match &flight.verdict {
            Ok(Arrival { at: Place::Router(_) | Place::Edge, .. }) => None,
            Ok(Arrival { at, packet }) => Some((n, plain(at, packet.answer()))),
            Err(_) if matches!(probe.packet.content, Content::Other(_)) => None,
            Err(_) => {
                let to = probe.packet.destination;
                let all = self.topology.interfaces();
                let (eni, own) = all.iter().find_map(|(_, eni)| {
                    let mut all = eni.addresses();
                    all.find(|(private, public)| *private == to || *public == Some(to)).map(|(ip, _)| (eni, ip))
                })?;
                let packet = Packet { destination: own, ..probe.packet };
                // Two that are each other's answers, though they came different ways: a kernel changes a port.
                let crossed = self.reference.crossed(&[packet, probe.packet], &packet.answer());
                (!crossed).then(|| (n, plain(&Place::Guest(eni.id.clone()), packet.answer())))
            }
        }
    }

    /// Another plan is in force: conversations go on, or not.
    pub fn go_on(&mut self, change: u8) -> Result<(), Difference> {
        let from = self.conversations.len().saturating_sub(GO_ON_MAX);
        let some = self.conversations.split_off(from);
        let there: Vec<InterfaceId> = self.topology.interfaces().into_iter().map(|(_, eni)| eni.id).collect();
        let here = |place: &Place| match place {
            Place::Guest(id) => there.contains(id),
            _ => true,
        };
        let mut going: BTreeSet<u32> = some.iter().map(|of| of.n).collect();
        for (side, stage) in [(0, LATER + change * 2), (1, LATER + change * 2 + 1)] {
            let ends = some.iter().map(|of| (of.n, of.ends[side].clone()));
            // Where the one side's went another way now, the other side's is no answer of it any more: see `answer`.
            let crossed = |packet: &Packet| self.reference.crossed(&[packet.answer()], packet);
            let probes: Vec<_> = ends
                .filter(|(_, (at, packet))| here(at) && !crossed(packet))
                .map(|(n, (at, packet))| (n, plain(&at, follows(&packet))))
                .collect();
            let flights = probes.iter().map(|(n, probe)| self.fly(Tag { n: *n, stage }, probe)).collect();
            let passed = |flight: Flight| flight.verdict.is_ok().then_some(flight.tag.n);
            let passed: BTreeSet<u32> = self.land(flights)?.into_iter().filter_map(passed).collect();
            going.retain(|n| passed.contains(n));
        }
        self.conversations = some.into_iter().filter(|of| going.contains(&of.n)).collect();
        Ok(())
    }

    /// Sends it.
    fn fly(&mut self, tag: Tag, probe: &Probe) -> Flight {
        let Probe { from, packet, handed, shape } = probe;
        let verdict = match from {
            Place::Guest(id) => self.reference.guest_sends(id, packet, handed),
            _ => self.reference.world_sends(packet, handed.ttl),
        };
        let eni = self.interface(from);
        let frame = match packet.error {
            None => probe.frame(eni.as_ref(), tag),
            Some((kind, code)) => {
                let quoted = packet.answer();
                let bytes = wire::icmp_error(packet.source, packet.destination, kind, code, &quoted, tag);
                match &eni {
                    Some(eni) => wire::ethernet(ROUTER_MAC, eni.mac.0, wire::IPV4, &bytes),
                    None => wire::ethernet(UP_MAC, HOST_MAC, wire::IPV4, &bytes),
                }
            }
        };
        // Between packets that belong together, whatever else they are, the order must be that of the reference.
        let alone = matches!(packet.content, Content::Other(_));
        if alone {
            self.lab.settle();
        }
        self.lab.send(from, &frame);
        if alone {
            self.lab.settle();
        }
        self.packets += 1;
        let mut words = format!("from {from}: {packet}");
        if *handed != Handed::default() || *shape != Shape::Plain {
            let _ = write!(words, " {handed:?} {shape:?}");
        }
        Flight { tag, from: from.clone(), packet: *packet, verdict, words }
    }

    fn interface(&self, at: &Place) -> Option<InterfacePlan> {
        let Place::Guest(id) = at else { return None };
        self.topology.plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces).find(|eni| eni.id == *id).cloned()
    }

    /// All that comes is what the reference says, and all that the reference says comes.
    fn land(&mut self, flights: Vec<Flight>) -> Result<Vec<Flight>, Difference> {
        let mut seen: BTreeMap<Tag, Vec<String>> = BTreeMap::new();
        let mut strange = Vec::new();
        for seen_one in self.lab.take() {
            match self.told(seen_one, &flights) {
                Told::Of(tag, words) => seen.entry(tag).or_default().push(words),
                Told::Noise => {}
                Told::Strange(words) => strange.push(words),
            }
        }
        let mut wrong = Vec::new();
        for flight in &flights {
            let expected: Vec<String> = self.expected(flight).into_iter().collect();
            let found = seen.remove(&flight.tag).unwrap_or_default();
            if expected != found {
                let verdict = match &flight.verdict {
                    Ok(_) => expected.join("; "),
                    Err(why) => format!("nothing ({why})"),
                };
                let found = if found.is_empty() { "nothing".into() } else { found.join("; ") };
                let Tag { n, stage } = flight.tag;
                wrong
                    .push(format!("packet {n}.{stage} {}\n  reference: {verdict}\n  kernel:    {found}", flight.words));
            }
        }
        wrong.extend(seen.into_iter().map(|(tag, words)| format!("nobody sent now {tag:?}: {}", words.join("; "))));
        wrong.extend(strange.into_iter().map(|words| format!("nobody sent {words}")));
        if wrong.is_empty() { Ok(flights) } else { Err(wrong.join("\n")) }
    }

    /// What is to be seen of it, in words.
    fn expected(&self, flight: &Flight) -> Option<String> {
        let Arrival { at, packet } = flight.verdict.as_ref().ok()?;
        Some(match at {
            Place::Guest(_) | Place::World => comes(at, packet),
            Place::Router(vpc) => match packet.content {
                Content::Udp { from, to } => asks(vpc.as_str(), SocketAddr::from((packet.source, from)), to),
                // Nobody listens there in this test; that somebody says so shows that it came.
                Content::Tcp { from, to, flags } => {
                    let flags = if flags & ACK == 0 { RST | ACK } else { RST };
                    let content = Content::Tcp { from: to, to: from, flags };
                    comes(&flight.from, &Packet::new(packet.destination, packet.source, content))
                }
                _ => comes(&flight.from, &packet.answer()),
            },
            Place::Edge => comes(&Place::World, &packet.answer()),
        })
    }

    fn told(&self, seen: Seen, flights: &[Flight]) -> Told {
        let (at, frame) = match seen {
            Seen::Frame(at, frame) => (at, frame),
            Seen::Asked(vpc, from, port, bytes) => {
                let words = asks(vpc.as_str(), from, port);
                return Tag::of(&bytes)
                    .map_or_else(|| Told::Strange(words.clone()), |tag| Told::Of(tag, words.clone()));
            }
        };
        let frame = wire::read(&frame);
        let ends = self.interface(&at).map_or((HOST_MAC, UP_MAC), |eni| (eni.mac.0, ROUTER_MAC));
        if (frame.to, frame.from) != ends {
            return Told::Strange(format!("at {at}, from {:02x?} to {:02x?}: {:?}", frame.from, frame.to, frame.body));
        }
        let (packet, tag, quoted) = match frame.body {
            Body::Packet { packet, tag, quoted } => (packet, tag, quoted),
            other => return Told::Strange(format!("at {at}: {other:?}")),
        };
        // A refused connection quotes nothing but the ports.
        let port = match packet.content {
            Content::Tcp { to, flags, .. } if flags & RST != 0 => to.checked_sub(FIRST_PORT).map(u32::from),
            _ => None,
        };
        let by_port = || flights.iter().map(|flight| flight.tag).find(|tag| Some(tag.n % FLOWS_MAX) == port);
        let Some(tag) = tag.or_else(by_port) else { return Told::Strange(format!("at {at}: {packet}")) };
        let Some(quoted) = quoted else { return Told::Of(tag, comes(&at, &packet)) };
        let Content::Icmp { kind, code, .. } = packet.content else { return Told::Strange(format!("{packet}")) };
        if tag.stage == ERROR {
            let error = Packet { error: Some((kind, code)), ..quoted.answer() };
            let same = (error.source, error.destination) == (packet.source, packet.destination);
            let words = if same { comes(&at, &error) } else { format!("{} in {packet}", comes(&at, &error)) };
            return Told::Of(tag, words);
        }
        let sent = flights.iter().find(|flight| flight.tag == tag);
        // A router may say to whom a packet names as its sender, and to nobody else, that it has come far enough.
        let named = self.interface(&at).is_none_or(|eni| eni.has(quoted.source));
        let fair = |sent: &Flight| sent.verdict.is_err() && named && quoted.line() == sent.packet.line();
        if (kind, code) == (11, 0) && sent.is_some_and(fair) {
            return Told::Noise;
        }
        Told::Of(tag, format!("{} about {quoted}", comes(&at, &packet)))
    }

    /// Who asks for whose hardware address, and who is told.
    pub fn arp(&mut self) -> Result<(), Difference> {
        for (vpc, eni) in self.topology.interfaces() {
            let vpc = self.topology.plan.network.vpcs.iter().find(|v| v.id == vpc).expect("it is there").clone();
            let place = Place::Guest(eni.id.clone());
            let own = eni.private_ip;
            let mut router = crate::model::served(&vpc);
            router.extend(vpc.endpoint_interfaces().map(|i| i.private_ip));
            let others = vpc.interfaces.iter().filter(|other| other.id != eni.id);
            let others: Vec<_> = others.flat_map(|other| other.addresses().map(|(ip, _)| ip)).collect();
            let mut asks: Vec<(Arp, bool)> = Vec::new();
            let mut ask = |from: (Mac, std::net::Ipv4Addr), to, answer, told| {
                asks.push((Arp { answer, from, to: ([0; 6], to) }, told));
            };
            for ip in &router {
                ask((eni.mac.0, own), *ip, false, true);
                ask((eni.mac.0, std::net::Ipv4Addr::UNSPECIFIED), *ip, false, true);
                ask(([0x0a, 9, 9, 9, 9, 9], own), *ip, false, false);
                ask((eni.mac.0, nth_other(own)), *ip, false, false);
            }
            for ip in &others {
                ask((eni.mac.0, own), *ip, false, true);
                ask((eni.mac.0, *ip), *ip, false, false);
                ask((eni.mac.0, *ip), own, true, false);
                ask((eni.mac.0, *ip), *router.first().expect("some"), false, false);
            }
            for (ip, _) in eni.addresses() {
                ask((eni.mac.0, own), ip, false, false);
            }
            for ip in [crate::model::nth(vpc.cidr, 700), crate::topology::OUTSIDE[0]] {
                ask((eni.mac.0, own), ip, false, false);
            }
            for (arp, told) in asks {
                self.lab.send(&place, &wire::ethernet(BROADCAST, eni.mac.0, wire::ARP, &arp.bytes()));
                let mut found = Vec::new();
                for seen in self.lab.take() {
                    match seen {
                        Seen::Frame(at, frame) if at == place => found.push(wire::read(&frame).body),
                        Seen::Frame(at, frame) => {
                            return Err(format!("{place} asked {arp:02x?}\n  at {at}: {frame:02x?}"));
                        }
                        Seen::Asked(..) => return Err("a service was asked by ARP".into()),
                    }
                }
                let answer = Arp { answer: true, from: (ROUTER_MAC, arp.to.1), to: arp.from };
                let expected: Vec<_> = told.then_some(Body::Arp(answer)).into_iter().collect();
                if found != expected {
                    return Err(format!(
                        "{place} asked {arp:02x?}\n  reference: {expected:02x?}\n  kernel:    {found:02x?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn nth_other(ip: std::net::Ipv4Addr) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(u32::from(ip) ^ 0x80)
}

enum Told {
    Of(Tag, String),
    Noise,
    Strange(String),
}

fn plain(from: &Place, packet: Packet) -> Probe {
    let handed = Handed { to: To::Router, ..Handed::default() };
    Probe { from: from.clone(), packet, handed, shape: Shape::Plain }
}

/// The next of the same direction.
fn follows(packet: &Packet) -> Packet {
    match packet.content {
        Content::Tcp { from, to, .. } => Packet { content: Content::Tcp { from, to, flags: ACK }, ..*packet },
        _ => *packet,
    }
}

fn comes(at: &Place, packet: &Packet) -> String {
    match packet.error {
        None => format!("at {at}: {packet}"),
        // What it quotes has no flags any more.
        error => format!("at {at}: {}", Packet { error, ..packet.line() }),
    }
}

fn asks(vpc: &str, from: SocketAddr, port: u16) -> String {
    format!("a service of {vpc} at port {port} from {from}")
}
