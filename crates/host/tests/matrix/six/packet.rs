//! Frames of IPv6 as bytes. Sources: RFC 8200 (IPv6), 4443 (ICMPv6); the rest is as for IPv4.

use std::fmt;
use std::net::Ipv6Addr;

use crate::wire::{self, ACK, FIRST_PORT, RST, SYN, Tag};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    Tcp { from: u16, to: u16, flags: u8 },
    Udp { from: u16, to: u16 },
    Icmp { kind: u8, id: u16 },
}

pub const ASKS: u8 = 128;
pub const ANSWERS: u8 = 129;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packet {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub content: Content,
}

impl Content {
    pub fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } => 58,
        }
    }
}

impl Packet {
    /// May it be the first of a conversation?
    pub fn begins(&self) -> bool {
        match self.content {
            Content::Tcp { flags, .. } => flags == SYN,
            Content::Icmp { kind, .. } => kind == ASKS,
            Content::Udp { .. } => true,
        }
    }

    pub fn answer(&self) -> Self {
        let content = match self.content {
            Content::Tcp { from, to, flags } => {
                Content::Tcp { from: to, to: from, flags: if flags == SYN { SYN | ACK } else { ACK } }
            }
            Content::Udp { from, to } => Content::Udp { from: to, to: from },
            Content::Icmp { kind, id } => Content::Icmp { kind: if kind == ASKS { ANSWERS } else { ASKS }, id },
        };
        Self { source: self.destination, destination: self.source, content }
    }

    /// What all packets of one direction of a conversation have in common.
    pub fn line(mut self) -> Self {
        if let Content::Tcp { flags, .. } = &mut self.content {
            *flags = 0;
        }
        self
    }

    pub fn bytes(&self, hops: u8, tag: Tag) -> Vec<u8> {
        let mut body = self.body();
        body.extend(tag.bytes());
        let length = u16::try_from(body.len()).expect("short");
        if let Content::Udp { .. } = self.content {
            body[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let pseudo =
            [&self.source.octets()[..], &self.destination.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0]];
        let pseudo = [pseudo.concat(), vec![self.content.protocol()]].concat();
        let at = match self.content {
            Content::Tcp { .. } => 16,
            Content::Udp { .. } => 6,
            Content::Icmp { .. } => 2,
        };
        let sum = match wire::checksum(&[&pseudo, &body]) {
            0 => 0xffff,
            sum => sum,
        };
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([self.content.protocol(), hops]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(body);
        bytes
    }

    fn body(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        match self.content {
            Content::Tcp { from, to, flags } => {
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
                bytes.extend([0; 4]);
            }
            Content::Icmp { kind, id } => {
                bytes.extend([kind, 0, 0, 0]);
                bytes.extend(id.to_be_bytes());
                bytes.extend([0, 1]);
            }
        }
        bytes
    }

    /// Of a frame's body. `None`: it is none of these.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(40)?;
        let address = |at: usize| head[at..at + 16].first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        let number = |at: usize| rest.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let content = match head[6] {
            6 => Content::Tcp { from: number(0)?, to: number(2)?, flags: *rest.get(13)? },
            17 => Content::Udp { from: number(0)?, to: number(2)? },
            58 => Content::Icmp { kind: *rest.first()?, id: number(4)? },
            _ => return None,
        };
        (head[0] >> 4 == 6).then_some(Self { source: address(8)?, destination: address(24)?, content })
    }

    pub fn is_reset(&self) -> bool {
        matches!(self.content, Content::Tcp { flags, .. } if flags & RST != 0)
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, content } = self;
        write!(f, "{source} -> {destination} {content:?}")
    }
}
