//! Frames as bytes. Sources: RFC 791 (IPv4), 792 (ICMP), 768 (UDP), 9293 (TCP), 826 (ARP).

use std::net::Ipv4Addr;

use crate::model::{Content, Packet};

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
pub const IPV4: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const IPV6: u16 = 0x86dd;
pub const VLAN: u16 = 0x8100;

/// The first port that flows have of their own; all ports that they go to are lower.
pub const FIRST_PORT: u16 = 4096;

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// The last bytes of every frame that is sent: they say which it is, wherever it comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// Of the flow.
    pub n: u32,
    /// The how many-th of its packets.
    pub stage: u8,
}

const MAGIC: &[u8; 5] = b"aWaNm";
const TAG_LENGTH: usize = 10;

impl Tag {
    pub fn bytes(self) -> [u8; TAG_LENGTH] {
        let mut bytes = [0; TAG_LENGTH];
        bytes[..5].copy_from_slice(MAGIC);
        bytes[5..9].copy_from_slice(&self.n.to_be_bytes());
        bytes[9] = self.stage;
        bytes
    }

    pub fn of(bytes: &[u8]) -> Option<Self> {
        let last: &[u8; TAG_LENGTH] = bytes.last_chunk()?;
        let n = u32::from_be_bytes([last[5], last[6], last[7], last[8]]);
        last.starts_with(MAGIC).then_some(Self { n, stage: last[9] })
    }
}

/// What of an IPv4 header is not the packet's own.
#[derive(Debug, Clone)]
pub struct Header {
    pub ttl: u8,
    pub options: Vec<u8>,
}

impl Default for Header {
    fn default() -> Self {
        Self { ttl: 64, options: Vec::new() }
    }
}

pub fn ethernet(to: Mac, from: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + body.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    frame
}

pub fn ipv4(packet: &Packet, header: &Header, rest: &[u8]) -> Vec<u8> {
    let body = content(packet, rest);
    let mut bytes = ip_header(packet, header, body.len());
    bytes.extend(body);
    bytes
}

/// What is sent when something cannot be delivered: it quotes the packet's beginning.
pub fn icmp_error(from: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, quoted: &Packet, tag: Tag) -> Vec<u8> {
    let whole = ipv4(quoted, &Header::default(), &[]);
    let mut rest = whole[..whole.len().min(28)].to_vec();
    rest.extend(tag.bytes());
    ipv4(&Packet::new(from, to, Content::Icmp { kind, code, id: 0 }), &Header::default(), &rest)
}

fn ip_header(packet: &Packet, header: &Header, length: usize) -> Vec<u8> {
    let words = 5 + header.options.len() / 4;
    let total = u16::try_from(words * 4 + length).expect("short");
    let mut bytes = vec![0x40 | u8::try_from(words).expect("few"), 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 7, 0, 0, header.ttl, packet.content.protocol(), 0, 0]);
    bytes.extend(packet.source.octets());
    bytes.extend(packet.destination.octets());
    bytes.extend(&header.options);
    let sum = checksum(&[&bytes]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn content(packet: &Packet, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20 + rest.len());
    match packet.content {
        Content::Tcp { from, to, flags } => {
            // Each side counts from its own number, so that the kernel sees a conversation. Who began it has the high
            // port.
            let (seq, ack): (u32, u32) = match (flags, from >= FIRST_PORT) {
                (SYN, _) => (1000, 0),
                (ACK, true) => (1001, 5001),
                (ACK, false) => (5001, 1001),
                _ => (5000, 1001),
            };
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend(seq.to_be_bytes());
            bytes.extend(ack.to_be_bytes());
            bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        Content::Udp { from, to } => {
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
            bytes.extend(u16::try_from(8 + rest.len()).expect("short").to_be_bytes());
            bytes.extend([0, 0]);
        }
        Content::Icmp { kind, code, id } => {
            bytes.extend([kind, code, 0, 0]);
            bytes.extend(id.to_be_bytes());
            bytes.extend([0, 1]);
        }
        Content::Other(_) => bytes.extend([0; 4]),
    }
    bytes.extend(rest);
    if let Some((at, pseudo)) = place_of_sum(packet, bytes.len()) {
        let sum = match (packet.content, checksum(&[&pseudo, &bytes])) {
            // Of UDP, zero says that there is none.
            (Content::Udp { .. }, 0) => 0xffff,
            (_, sum) => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// Where the checksum is, and what is summed before the bytes themselves.
fn place_of_sum(packet: &Packet, length: usize) -> Option<(usize, Vec<u8>)> {
    let at = match packet.content {
        Content::Tcp { .. } => 16,
        Content::Udp { .. } => 6,
        Content::Icmp { .. } => return Some((2, Vec::new())),
        Content::Other(_) => return None,
    };
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(packet.source.octets());
    pseudo.extend(packet.destination.octets());
    pseudo.extend([0, packet.content.protocol()]);
    pseudo.extend(u16::try_from(length).expect("short").to_be_bytes());
    Some((at, pseudo))
}

pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        let mut words = part.chunks_exact(2);
        for word in words.by_ref() {
            sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u32::from(*last) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Packet {
        packet: Packet,
        tag: Option<Tag>,
        /// Of an error, the packet that it is about.
        quoted: Option<Packet>,
    },
    Arp(Arp),
    /// With what is wrong with it.
    Other(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arp {
    pub answer: bool,
    pub from: (Mac, Ipv4Addr),
    pub to: (Mac, Ipv4Addr),
}

impl Arp {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, if self.answer { 2 } else { 1 }];
        for (mac, ip) in [self.from, self.to] {
            bytes.extend(mac);
            bytes.extend(ip.octets());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 28] = bytes.first_chunk()?;
        let end = |at: usize| {
            let mac: Mac = bytes[at..at + 6].try_into().expect("six");
            (mac, address(&bytes[at + 6..]))
        };
        bytes.starts_with(&[0, 1, 8, 0, 6, 4, 0]).then(|| Self { answer: bytes[7] == 2, from: end(8), to: end(18) })
    }
}

fn address(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

pub struct Frame {
    pub to: Mac,
    pub from: Mac,
    pub body: Body,
}

pub fn read(frame: &[u8]) -> Frame {
    let Some((head, body)) = frame.split_at_checked(14) else {
        return Frame { to: [0; 6], from: [0; 6], body: Body::Other(format!("{frame:02x?}")) };
    };
    let strange = || Body::Other(format!("{frame:02x?}"));
    let body = match number(&head[12..]) {
        IPV4 => packet(body, true).unwrap_or_else(strange),
        ARP => Arp::read(body).map_or_else(strange, Body::Arp),
        _ => strange(),
    };
    let mac = |at: usize| head[at..at + 6].try_into().expect("six");
    Frame { to: mac(0), from: mac(6), body }
}

/// `whole`: not cut off, so that its sums must be right.
fn packet(bytes: &[u8], whole: bool) -> Option<Body> {
    let length = usize::from(bytes.first()? & 15) * 4;
    let (head, rest) = bytes.split_at_checked(length).filter(|_| length >= 20)?;
    let (source, destination) = (address(&head[12..]), address(&head[16..]));
    let piece = number(&head[6..]) & 0x1fff != 0;
    let eight = rest.first_chunk::<8>();
    let content = match (head[9], eight) {
        _ if piece => Content::Other(head[9]),
        (6, Some(eight)) => {
            Content::Tcp { from: number(eight), to: number(&eight[2..]), flags: rest.get(13).copied().unwrap_or(0) }
        }
        (17, Some(eight)) => Content::Udp { from: number(eight), to: number(&eight[2..]) },
        (1, Some(eight)) => Content::Icmp { kind: eight[0], code: eight[1], id: number(&eight[4..]) },
        (other, _) => Content::Other(other),
    };
    let packet = Packet::new(source, destination, content);
    let sums = || {
        let body = place_of_sum(&packet, rest.len()).is_none_or(|(_, pseudo)| checksum(&[&pseudo, rest]) == 0);
        checksum(&[head]) == 0 && (body || number(&head[6..]) & 0x3fff != 0)
    };
    if whole && !sums() {
        return Some(Body::Other(format!("{packet} with a wrong checksum: {bytes:02x?}")));
    }
    let is_error = matches!(content, Content::Icmp { kind: 3 | 4 | 5 | 11 | 12, .. });
    let quoted = rest.get(8..).filter(|_| is_error).and_then(|inner| match self::packet(inner, false)? {
        Body::Packet { packet, .. } => Some(packet),
        Body::Arp(_) | Body::Other(_) => None,
    });
    Some(Body::Packet { packet, tag: Tag::of(bytes), quoted })
}
