//! DHCP for IPv6 (RFC 8415): each interface gets its own addresses, whoever asks through it. Section numbers are the RFC's.
//!
//! An interface has all its addresses in one association (IA_NA); a client that asks for more of them is told that there
//! are no more. Prefixes are not given, and relays not known.

use std::io::IoSlice;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use awan_model::plan::{DhcpIpv6Plan, InterfacePlan, VpcPlan};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg};
use tokio::io::Interest;

use super::{AFTER_ERROR, Shared, current};
use crate::network::ipv6::{RESOLVER, ROUTER};
use crate::network::vpc::ROUTER_MAC;

/// Source: "DHCP option sets in Amazon VPC", Amazon VPC User Guide.
const PREFERRED_S: u32 = 140;
/// An address that is not preferred any more goes on for as long as nobody is here to answer, within reason.
const VALID_S: u32 = 3600;
/// What one message may name. No client of one interface needs more.
const ASSOCIATIONS_MAX: usize = 8;
const ADDRESSES_MAX: usize = 64;
/// A DUID (11.1).
const DUID_MAX: usize = 130;

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const INFORMATION_REQUEST: u8 = 11;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const NAME_SERVERS: u16 = 23;
const DOMAINS: u16 = 24;
/// RFC 5908.
const TIME_SERVER: u16 = 56;
const TIME_SERVER_ADDRESS: u16 = 1;

const SUCCESS: u16 = 0;
const NO_ADDRESSES: u16 = 2;
const NOT_ON_LINK: u16 = 4;

pub async fn serve(socket: UdpSocket, view: Shared) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket.as_raw_fd())).await;
        let Ok((bytes, index, from)) = received else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let view = current(&view);
        let Some((network, interface)) = view.interface(index) else { continue };
        let Some(request) = Request::parse(&bytes) else { continue };
        if let Some(answer) = reply(&request, network, interface) {
            send(socket.as_raw_fd(), index, from, &answer);
        }
    }
}

fn receive(fd: i32) -> std::io::Result<(Vec<u8>, u32, Ipv6Addr)> {
    let mut buffer = [0; 1500];
    let mut pieces = [std::io::IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let received = recvmsg::<SockaddrIn6>(fd, &mut pieces, Some(&mut control), MsgFlags::empty())?;
    let index = received.cmsgs()?.find_map(|c| match c {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_ifindex),
        _ => None,
    });
    let (length, from) = (received.bytes, received.address.map_or(Ipv6Addr::UNSPECIFIED, |a| a.ip()));
    Ok((buffer[..length].to_vec(), index.unwrap_or(0), from))
}

fn send(fd: i32, index: u32, to: Ipv6Addr, bytes: &[u8]) {
    let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ROUTER.octets() }, ipi6_ifindex: index };
    let to = SockaddrIn6::from(SocketAddrV6::new(to, 546, 0, index));
    // A lost answer is asked for again.
    let _ = sendmsg(fd, &[IoSlice::new(bytes)], &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&to));
}

/// A client's message, as far as it counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    kind: u8,
    xid: [u8; 3],
    client: Option<Vec<u8>>,
    server: Option<Vec<u8>>,
    rapid: bool,
    /// Each with its number and the addresses that the client has or wishes for.
    associations: Vec<([u8; 4], Vec<Ipv6Addr>)>,
}

impl Request {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[kind, a, b, c], options) = bytes.split_first_chunk::<4>()?;
        let mut request =
            Self { kind, xid: [a, b, c], client: None, server: None, rapid: false, associations: Vec::new() };
        for option in Options(options) {
            let (code, data) = option?;
            match code {
                CLIENT_ID | SERVER_ID => {
                    let id = Some(data.to_vec()).filter(|id| (3..=DUID_MAX).contains(&id.len()));
                    let place = if code == CLIENT_ID { &mut request.client } else { &mut request.server };
                    *place = Some(id?);
                }
                IA_NA if request.associations.len() < ASSOCIATIONS_MAX => request.associations.push(association(data)?),
                IA_NA => return None,
                RAPID_COMMIT => request.rapid = true,
                _ => {}
            }
        }
        Some(request)
    }
}

fn association(data: &[u8]) -> Option<([u8; 4], Vec<Ipv6Addr>)> {
    let number = *data.first_chunk()?;
    let mut addresses = Vec::new();
    for option in Options(data.get(12..)?) {
        let (code, data) = option?;
        if code == IA_ADDRESS {
            addresses.push(Ipv6Addr::from(*data.first_chunk::<16>()?));
        }
    }
    (addresses.len() <= ADDRESSES_MAX).then_some((number, addresses))
}

/// Codes and contents; `None` where a length lies, which is the last.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let whole = self.0.split_first_chunk::<4>().and_then(|(&[a, b, c, d], rest)| {
            let length = usize::from(u16::from_be_bytes([c, d]));
            Some((u16::from_be_bytes([a, b]), rest.get(..length)?, rest.get(length..)?))
        });
        let (code, data, rest) = whole.map_or((0, None, &[][..]), |(code, data, rest)| (code, Some(data), rest));
        self.0 = rest;
        Some(data.map(|data| (code, data)))
    }
}

fn server_id() -> Vec<u8> {
    // Of a link-layer address (11.4).
    [&[0, 3, 0, 1][..], &ROUTER_MAC].concat()
}

/// The answer to one message; none for what is not meant for this server, or not for one that asks here (16).
pub fn reply(request: &Request, network: &VpcPlan, interface: &InterfacePlan) -> Option<Vec<u8>> {
    if interface.ipv6.is_empty() {
        return None;
    }
    let named = request.server.as_ref().map(|server| *server == server_id());
    let fits = match request.kind {
        SOLICIT | CONFIRM | REBIND => named.is_none() && request.client.is_some(),
        REQUEST | RENEW | RELEASE | DECLINE => named == Some(true) && request.client.is_some(),
        INFORMATION_REQUEST => named != Some(false) && request.associations.is_empty(),
        _ => false,
    };
    if !fits {
        return None;
    }
    let rapid = request.kind == SOLICIT && request.rapid;
    let kind = if request.kind == SOLICIT && !rapid { ADVERTISE } else { REPLY };
    let mut answer = Answer(vec![kind, request.xid[0], request.xid[1], request.xid[2]]);
    answer.put(SERVER_ID, &server_id());
    if let Some(client) = &request.client {
        answer.put(CLIENT_ID, client);
    }
    match request.kind {
        CONFIRM => {
            let mut all = request.associations.iter().flat_map(|(_, addresses)| addresses).peekable();
            all.peek()?;
            answer.status(if all.all(|ip| interface.ipv6.contains(ip)) { SUCCESS } else { NOT_ON_LINK });
            return Some(answer.0);
        }
        RELEASE | DECLINE => {
            answer.status(SUCCESS);
            return Some(answer.0);
        }
        _ => {}
    }
    if rapid {
        answer.put(RAPID_COMMIT, &[]);
    }
    let renews = matches!(request.kind, RENEW | REBIND);
    for (n, (number, had)) in request.associations.iter().enumerate() {
        // What the client has and the interface has not any more ends now.
        let gone = had.iter().filter(|ip| renews && (n > 0 || !interface.ipv6.contains(ip)));
        let own = if n == 0 { interface.ipv6.as_slice() } else { &[] };
        answer.put(IA_NA, &association_of(*number, own, gone, lifetimes(network)));
    }
    answer.about(network);
    Some(answer.0)
}

/// For how long an address is preferred, and for how long it is valid.
fn lifetimes(network: &VpcPlan) -> (u32, u32) {
    let preferred = network.dhcp.ipv6.preferred_s.unwrap_or(PREFERRED_S);
    (preferred, preferred.max(VALID_S))
}

fn association_of<'a>(
    number: [u8; 4],
    own: &[Ipv6Addr],
    gone: impl Iterator<Item = &'a Ipv6Addr>,
    (preferred, valid): (u32, u32),
) -> Vec<u8> {
    let mut inner = Answer(number.to_vec());
    // When to renew, and when to ask anybody (21.4).
    inner.0.extend((preferred / 2).to_be_bytes());
    inner.0.extend((preferred / 5 * 4).to_be_bytes());
    for (ip, times) in own.iter().map(|ip| (ip, [preferred, valid])).chain(gone.map(|ip| (ip, [0, 0]))) {
        inner.put(IA_ADDRESS, &[&ip.octets()[..], &times.map(u32::to_be_bytes).concat()].concat());
    }
    if own.is_empty() {
        inner.status(NO_ADDRESSES);
    }
    inner.0
}

struct Answer(Vec<u8>);

impl Answer {
    fn put(&mut self, code: u16, data: &[u8]) {
        let Ok(length) = u16::try_from(data.len()) else { return };
        self.0.extend(code.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(data);
    }

    fn status(&mut self, code: u16) {
        self.put(STATUS, &code.to_be_bytes());
    }

    /// What guests are told beside their addresses.
    fn about(&mut self, network: &VpcPlan) {
        let DhcpIpv6Plan { name_servers, ntp_servers, preferred_s: _ } = &network.dhcp.ipv6;
        let own = (network.dhcp.resolver && network.dns_support).then_some(&RESOLVER);
        let servers: Vec<u8> = own.into_iter().chain(name_servers).flat_map(Ipv6Addr::octets).collect();
        if !servers.is_empty() {
            self.put(NAME_SERVERS, &servers);
        }
        for server in ntp_servers {
            let mut inner = Answer(Vec::new());
            inner.put(TIME_SERVER_ADDRESS, &server.octets());
            self.put(TIME_SERVER, &inner.0);
        }
        let names = network.dhcp.domain_name.as_deref().unwrap_or_default();
        let names: Vec<u8> = names.split_whitespace().filter_map(labels).flatten().collect();
        if !names.is_empty() {
            self.put(DOMAINS, &names);
        }
    }
}

/// A name as DNS writes it (RFC 1035, 3.1).
fn labels(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        out.push(u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n))?);
        out.extend(label.bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::testing::vpc_plan;

    const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 8);

    fn message(kind: u8, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = Answer(vec![kind, 1, 2, 3]);
        options.iter().for_each(|(code, data)| message.put(*code, data));
        message.0
    }

    fn client() -> (u16, Vec<u8>) {
        (CLIENT_ID, vec![0, 3, 0, 1, 0x0a, 0, 0, 0, 0, 1])
    }

    fn asks_for(number: u8, addresses: &[Ipv6Addr]) -> (u16, Vec<u8>) {
        let mut inner = Answer(vec![0, 0, 0, number, 0, 0, 0, 0, 0, 0, 0, 0]);
        addresses.iter().for_each(|ip| inner.put(IA_ADDRESS, &[&ip.octets()[..], &[0; 8]].concat()));
        (IA_NA, inner.0)
    }

    /// Addresses with their lifetimes.
    type Given = Vec<(Ipv6Addr, u32)>;

    /// The kind of the answer, and what each of its associations gives.
    fn answer(options: &[(u16, Vec<u8>)], kind: u8) -> Option<(u8, Vec<Given>)> {
        let mut plan = vpc_plan();
        plan.interfaces[0].ipv6 = vec![OWN];
        let request = Request::parse(&message(kind, options)).expect("a message");
        let answer = reply(&request, &plan, &plan.interfaces[0])?;
        assert_eq!(answer[1..4], [1, 2, 3]);
        let of = |data: &[u8]| {
            let inner =
                Options(&data[12..]).map(|option| option.expect("whole")).filter(|(code, _)| *code == IA_ADDRESS);
            let seconds = |data: &[u8]| u32::from_be_bytes(*data[20..].first_chunk().expect("a lifetime"));
            inner.map(|(_, data)| (Ipv6Addr::from(*data.first_chunk().expect("an address")), seconds(data))).collect()
        };
        let options: Vec<_> = Options(&answer[4..]).map(|option| option.expect("whole")).collect();
        assert!(options.contains(&(SERVER_ID, &server_id()[..])));
        Some((answer[0], options.iter().filter(|(code, _)| *code == IA_NA).map(|(_, data)| of(data)).collect()))
    }

    #[test]
    fn an_interface_gets_its_own_addresses_and_no_others() {
        let (server, own) = ((SERVER_ID, server_id()), vec![(OWN, VALID_S)]);
        let wish = [client(), asks_for(1, &[OTHER])];
        assert_eq!(answer(&wish, SOLICIT), Some((ADVERTISE, vec![own.clone()])));
        assert_eq!(
            answer(&[&wish[..], &[(RAPID_COMMIT, Vec::new())]].concat(), SOLICIT),
            Some((REPLY, vec![own.clone()]))
        );
        let request = [client(), server.clone(), asks_for(1, &[])];
        assert_eq!(answer(&request, REQUEST), Some((REPLY, vec![own.clone()])));
        let two = [client(), server.clone(), asks_for(1, &[]), asks_for(2, &[])];
        assert_eq!(answer(&two, REQUEST), Some((REPLY, vec![own.clone(), Vec::new()])), "there are no more");
        let renew = [client(), server, asks_for(1, &[OTHER, OWN])];
        assert_eq!(answer(&renew, RENEW), Some((REPLY, vec![vec![(OWN, VALID_S), (OTHER, 0)]])), "the other ends");
        assert_eq!(answer(&wish, REBIND), Some((REPLY, vec![vec![(OWN, VALID_S), (OTHER, 0)]])));
        assert_eq!(answer(&[], INFORMATION_REQUEST), Some((REPLY, Vec::new())));
    }

    #[test]
    fn what_is_for_another_server_or_from_nobody_is_not_answered() {
        let other = (SERVER_ID, vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
        let wish = asks_for(1, &[]);
        for (kind, options) in [
            (REQUEST, vec![client(), other.clone(), wish.clone()]),
            (REQUEST, vec![client(), wish.clone()]),
            (REQUEST, vec![(SERVER_ID, server_id()), wish.clone()]),
            (SOLICIT, vec![client(), (SERVER_ID, server_id()), wish.clone()]),
            (SOLICIT, vec![wish.clone()]),
            (INFORMATION_REQUEST, vec![other]),
            (CONFIRM, vec![client(), wish.clone()]),
            (REPLY, vec![client(), wish.clone()]),
            (12, vec![client(), wish]),
        ] {
            assert_eq!(answer(&options, kind), None, "{kind}: {options:?}");
        }
        let mut plan = vpc_plan();
        plan.interfaces[0].ipv6.clear();
        let request = Request::parse(&message(SOLICIT, &[client(), asks_for(1, &[])])).expect("a message");
        assert_eq!(reply(&request, &plan, &plan.interfaces[0]), None, "it has none");
    }

    #[test]
    fn a_client_that_comes_back_is_told_whether_its_addresses_are_still_its_own() {
        let mut plan = vpc_plan();
        plan.interfaces[0].ipv6 = vec![OWN];
        for (addresses, expected) in [(&[OWN][..], SUCCESS), (&[OTHER], NOT_ON_LINK), (&[OWN, OTHER], NOT_ON_LINK)] {
            let request = Request::parse(&message(CONFIRM, &[client(), asks_for(1, addresses)])).expect("a message");
            let answer = reply(&request, &plan, &plan.interfaces[0]).expect("an answer");
            let status = Options(&answer[4..]).flatten().find(|(code, _)| *code == STATUS).expect("a status").1;
            assert_eq!(status, expected.to_be_bytes(), "{addresses:?}");
        }
    }

    #[test]
    fn the_owner_of_a_network_chooses_what_guests_are_told() {
        let mut plan = vpc_plan();
        plan.interfaces[0].ipv6 = vec![OWN];
        let told = |plan: &VpcPlan| {
            let request = Request::parse(&message(SOLICIT, &[client(), asks_for(1, &[])])).expect("a message");
            let answer = reply(&request, plan, &plan.interfaces[0]).expect("an answer");
            let options = Options(&answer[4..]).map(|option| option.expect("whole"));
            let own =
                |(code, data): (u16, &[u8])| (code > CLIENT_ID && code != SERVER_ID).then(|| (code, data.to_vec()));
            options.filter_map(own).collect::<Vec<_>>()
        };
        // Renewals, then the address, and how long it is preferred and valid.
        let given = |numbers: [u32; 4]| {
            let [renew, rebind, preferred, valid] = numbers.map(u32::to_be_bytes);
            let address = [&OWN.octets()[..], &preferred, &valid].concat();
            (IA_NA, [&[0, 0, 0, 1][..], &renew, &rebind, &[0, 5, 0, 24], &address].concat())
        };
        let domain = (DOMAINS, b"\x03ec2\x08internal\x00".to_vec());
        let resolver = (NAME_SERVERS, RESOLVER.octets().to_vec());
        assert_eq!(told(&plan), [given([70, 112, 140, 3600]), resolver, domain]);
        plan.dhcp = awan_model::plan::DhcpPlan::default();
        plan.dhcp.ipv6 = DhcpIpv6Plan { name_servers: vec![OTHER], ntp_servers: vec![OWN], preferred_s: Some(7200) };
        let time = (TIME_SERVER, [&[0, 1, 0, 16][..], &OWN.octets()].concat());
        let names = (NAME_SERVERS, OTHER.octets().to_vec());
        assert_eq!(told(&plan), [given([3600, 5760, 7200, 7200]), names, time]);
    }

    #[test]
    fn lengths_that_lie_are_no_request() {
        let good = message(SOLICIT, &[client(), asks_for(1, &[OWN])]);
        assert!(Request::parse(&good).is_some());
        for length in 0..good.len() {
            // At the end of an option a message may end.
            let whole = [4, 4 + 14].contains(&length);
            assert_eq!(Request::parse(&good[..length]).is_some(), whole, "{length}");
        }
        let many: Vec<_> = (0..9).map(|n| asks_for(n, &[])).collect();
        assert_eq!(Request::parse(&message(SOLICIT, &many)), None);
        assert_eq!(Request::parse(&message(SOLICIT, &[asks_for(1, &[OWN; 65])])), None);
        assert_eq!(Request::parse(&message(SOLICIT, &[(CLIENT_ID, vec![0; 131])])), None);
    }

    #[test]
    fn names_are_written_as_in_dns() {
        assert_eq!(labels("ec2.internal"), Some(b"\x03ec2\x08internal\x00".to_vec()));
        assert_eq!((labels("a..b"), labels(&"x".repeat(64))), (None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind: u8, rest in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..60, to: u8) {
            let mut plan = vpc_plan();
            plan.interfaces[0].ipv6 = vec![OWN];
            let mut near = message(SOLICIT, &[client(), asks_for(1, &[OWN])]);
            if let Some(byte) = near.get_mut(cut) {
                *byte = to;
            }
            for bytes in [[&[kind][..], &rest].concat(), near] {
                if let Some(request) = Request::parse(&bytes) {
                    let _ = reply(&request, &plan, &plan.interfaces[0]);
                }
            }
        }
    }
}
