//! What a guest's DHCP message says, read by hand: only a few fields matter, and no bytes may stop the service.
//! Source: RFC 2131, section 2, and RFC 2132.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;

const OPTIONS_AT: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const ETHERNET: [u8; 2] = [1, 6];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub kind: MessageType,
    pub xid: u32,
    pub flags: u16,
    /// The address that the client has and answers at.
    pub ciaddr: Ipv4Addr,
    pub mac: [u8; 6],
    /// The address that it asks for.
    pub wanted: Option<Ipv4Addr>,
    /// The server that it means.
    pub server: Option<Ipv4Addr>,
}

impl Request {
    /// None for what is no whole request of an Ethernet client.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(OPTIONS_AT)?;
        if head[0] != 1 || head[1..3] != ETHERNET || head[236..] != MAGIC {
            return None;
        }
        let number = |at: usize| head[at..at + 4].try_into().map(u32::from_be_bytes).ok();
        let mut found = Self {
            kind: MessageType::Unknown(0),
            xid: number(4)?,
            flags: u16::from_be_bytes([head[10], head[11]]),
            ciaddr: number(12)?.into(),
            mac: head[28..34].try_into().ok()?,
            wanted: None,
            server: None,
        };
        found.read(options)?;
        (found.kind != MessageType::Unknown(0)).then_some(found)
    }

    fn read(&mut self, mut options: &[u8]) -> Option<()> {
        loop {
            match *options {
                // The end, said or not.
                [] | [255, ..] => return Some(()),
                [0, ref rest @ ..] => options = rest,
                [code, length, ref rest @ ..] => {
                    let (value, after) = rest.split_at_checked(usize::from(length))?;
                    self.note(code, value);
                    options = after;
                }
                [_] => return None,
            }
        }
    }

    fn note(&mut self, code: u8, value: &[u8]) {
        let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        match code {
            50 => self.wanted = address(),
            53 if value.len() == 1 => self.kind = MessageType::from(value[0]),
            54 => self.server = address(),
            _ => {}
        }
    }
}

#[cfg(test)]
pub mod tests {
    use dhcproto::Encodable as _;
    use dhcproto::v4::{DhcpOption, Message};
    use proptest::prelude::*;

    use super::*;

    /// As a client sends it.
    pub fn discover(mac: [u8; 6]) -> Vec<u8> {
        let mut message = Message::default();
        message.set_xid(0x0102_0304).set_chaddr(&mac);
        message.opts_mut().insert(DhcpOption::MessageType(MessageType::Discover));
        message.opts_mut().insert(DhcpOption::RequestedIpAddress(Ipv4Addr::new(10, 0, 0, 9)));
        message.to_vec().expect("a message")
    }

    #[test]
    fn a_clients_message_is_read() {
        let mac = [0x0a, 0, 0, 0, 0, 1];
        let expected = Request {
            kind: MessageType::Discover,
            xid: 0x0102_0304,
            flags: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            mac,
            wanted: Some(Ipv4Addr::new(10, 0, 0, 9)),
            server: None,
        };
        assert_eq!(Request::parse(&discover(mac)), Some(expected));
    }

    #[test]
    fn lengths_that_lie_are_no_request() {
        let good = discover([0x0a, 0, 0, 0, 0, 1]);
        // The length of the hardware address.
        for length in [0, 5, 7, 16, 17, 255] {
            let mut bytes = good.clone();
            bytes[2] = length;
            assert_eq!(Request::parse(&bytes), None, "{length}");
        }
        for length in 0..OPTIONS_AT {
            assert_eq!(Request::parse(&good[..length]), None, "{length}");
        }
        // An option that reaches beyond the end, and client names (81) and identifiers (61) of no length.
        for options in [&[53, 200, 1][..], &[81, 0, 61, 0, 53], &[81, 0], &[53, 0, 255]] {
            assert_eq!(Request::parse(&[&good[..OPTIONS_AT], options].concat()), None, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in prop::bool::ANY, rest in prop::collection::vec(any::<u8>(), 0..400)) {
            let good = discover([0x0a, 0, 0, 0, 0, 1]);
            let start = if head { &good[..OPTIONS_AT] } else { &[] };
            let _ = Request::parse(&[start, &rest].concat());
        }
    }
}
