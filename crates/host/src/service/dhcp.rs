//! DHCP (RFC 2131): each interface gets its own address, whoever asks through it.

pub(crate) mod request;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use awan_model::interface::host_name;
use awan_model::plan::{DhcpPlan, InterfacePlan, VpcPlan};
use dhcproto::Encodable as _;
use dhcproto::v4::{DhcpOption, DhcpOptions, Flags, Message, MessageType, NodeType, Opcode};
use ipnet::Ipv4Net;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg};
use tokio::io::Interest;

pub use self::request::Request;
use super::{AFTER_ERROR, METADATA, Shared, current};
use crate::network::vpc::{MTU, resolver};

const LEASE_S: u32 = 3600;
/// What old clients take for the least length of a message (RFC 1542, 2.1).
const LENGTH_MIN: usize = 300;

pub async fn serve(socket: UdpSocket, view: Shared) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    loop {
        let Ok((bytes, index)) = socket.async_io(Interest::READABLE, || receive(socket.as_raw_fd())).await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let view = current(&view);
        let Some((network, interface)) = view.interface(index) else { continue };
        let Some(request) = Request::parse(&bytes) else { continue };
        let Some(answer) = reply(&request, network, interface) else { continue };
        let Ok(mut bytes) = answer.to_vec() else { continue };
        bytes.resize(bytes.len().max(LENGTH_MIN), 0);
        send(socket.as_raw_fd(), index, gateway(network, interface), destination(&request, &answer, interface), &bytes);
    }
}

fn receive(fd: i32) -> std::io::Result<(Vec<u8>, u32)> {
    let mut buffer = [0; 1500];
    let mut pieces = [std::io::IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let received = recvmsg::<SockaddrIn>(fd, &mut pieces, Some(&mut control), MsgFlags::empty())?;
    let index = received.cmsgs()?.find_map(|c| match c {
        ControlMessageOwned::Ipv4PacketInfo(info) => u32::try_from(info.ipi_ifindex).ok(),
        _ => None,
    });
    let length = received.bytes;
    Ok((buffer[..length].to_vec(), index.unwrap_or(0)))
}

fn send(fd: i32, index: u32, from: Ipv4Addr, to: Ipv4Addr, bytes: &[u8]) {
    let info = libc::in_pktinfo {
        ipi_ifindex: index.cast_signed(),
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let to = SockaddrIn::from(SocketAddrV4::new(to, 68));
    // A lost answer is asked for again.
    let _ = sendmsg(fd, &[IoSlice::new(bytes)], &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to));
}

/// A client that has its address listens there, and some of them nowhere else (RFC 2131, 4.1). What it only says that it
/// has is not believed: each address that answers are sent to costs a neighbour, and the whole machine has only so many.
fn destination(request: &Request, answer: &Message, interface: &InterfacePlan) -> Ipv4Addr {
    let has_it = answer.opts().msg_type() == Some(MessageType::Ack) && request.ciaddr == interface.private_ip;
    if has_it { request.ciaddr } else { Ipv4Addr::BROADCAST }
}

fn gateway(network: &VpcPlan, interface: &InterfacePlan) -> Ipv4Addr {
    let subnet = network.subnets.iter().find(|s| s.id == interface.subnet);
    subnet.map_or(Ipv4Addr::UNSPECIFIED, |s| Ipv4Addr::from(u32::from(s.cidr.network()).saturating_add(1)))
}

/// The answer to one message; none for what is not meant for this interface.
pub fn reply(request: &Request, network: &VpcPlan, interface: &InterfacePlan) -> Option<Message> {
    let subnet = network.subnets.iter().find(|s| s.id == interface.subnet)?;
    let gateway = gateway(network, interface);
    // What is said to another server is not ours to answer.
    if request.mac != interface.mac.0 || request.server.is_some_and(|server| server != gateway) {
        return None;
    }
    let own = interface.private_ip;
    let kind = match request.kind {
        MessageType::Discover => MessageType::Offer,
        MessageType::Request if request.wanted.unwrap_or(request.ciaddr) == own => MessageType::Ack,
        MessageType::Request => MessageType::Nak,
        // Who set its address by hand gets the rest; a wrong one would not be reached.
        MessageType::Inform if request.ciaddr == own => MessageType::Ack,
        _ => return None,
    };
    let mut answer = head(request, kind, gateway);
    if kind == MessageType::Nak {
        return Some(answer);
    }
    let options = answer.opts_mut();
    if request.kind != MessageType::Inform {
        options.insert(DhcpOption::AddressLeaseTime(LEASE_S));
    }
    options.insert(DhcpOption::SubnetMask(subnet.cidr.netmask()));
    options.insert(DhcpOption::Router(vec![gateway]));
    options.insert(DhcpOption::InterfaceMtu(u16::try_from(MTU).unwrap_or(1500)));
    options.insert(DhcpOption::Hostname(host_name(own)));
    chosen(options, network);
    options.insert(DhcpOption::ClasslessStaticRoute(vec![
        // A client that reads this ignores the router option (RFC 3442), so the default route is repeated.
        (Ipv4Net::default(), gateway),
        (Ipv4Net::from(METADATA), Ipv4Addr::UNSPECIFIED),
    ]));
    if request.kind != MessageType::Inform {
        answer.set_yiaddr(own);
    }
    Some(answer)
}

/// What the VPC's owner chose to tell.
fn chosen(options: &mut DhcpOptions, network: &VpcPlan) {
    let DhcpPlan {
        domain_name,
        resolver: own,
        name_servers,
        ntp_servers,
        netbios_name_servers,
        netbios_node_type,
        ipv6: _,
    } = &network.dhcp;
    let names: Vec<_> = own.then(|| resolver(network)).into_iter().chain(name_servers.iter().copied()).collect();
    if !names.is_empty() {
        options.insert(DhcpOption::DomainNameServer(names));
    }
    if let Some(domain) = domain_name {
        options.insert(DhcpOption::DomainName(domain.clone()));
    }
    if !ntp_servers.is_empty() {
        options.insert(DhcpOption::NtpServers(ntp_servers.clone()));
    }
    if !netbios_name_servers.is_empty() {
        options.insert(DhcpOption::NetBiosNameServers(netbios_name_servers.clone()));
    }
    if let Some(kind) = netbios_node_type {
        options.insert(DhcpOption::NetBiosNodeType(NodeType::from(*kind)));
    }
}

fn head(request: &Request, kind: MessageType, gateway: Ipv4Addr) -> Message {
    let mut answer = Message::default();
    answer.set_opcode(Opcode::BootReply).set_xid(request.xid).set_flags(Flags::new(request.flags));
    answer.set_chaddr(&request.mac);
    if kind == MessageType::Ack {
        answer.set_ciaddr(request.ciaddr);
    }
    answer.opts_mut().insert(DhcpOption::MessageType(kind));
    answer.opts_mut().insert(DhcpOption::ServerIdentifier(gateway));
    answer
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::network::testing::vpc_plan;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn request(kind: MessageType) -> Request {
        let (mac, none) = ([0x0a, 0, 0, 0, 0, 1], Ipv4Addr::UNSPECIFIED);
        Request { kind, xid: 7, flags: 0x8000, ciaddr: none, mac, wanted: None, server: None }
    }

    fn ask(request: &Request) -> Option<(MessageType, Ipv4Addr, Ipv4Addr)> {
        let plan = vpc_plan();
        let answer = reply(request, &plan, &plan.interfaces[0])?;
        Some((answer.opts().msg_type()?, answer.yiaddr(), destination(request, &answer, &plan.interfaces[0])))
    }

    #[test]
    fn an_interface_gets_its_own_address_and_no_other() {
        use MessageType::{Ack, Decline, Discover, Inform, Nak, Offer, Release};
        let (none, all) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        let discover = request(Discover);
        assert_eq!(ask(&discover), Some((Offer, OWN, all)));
        assert_eq!(ask(&Request { mac: [0x0a, 0, 0, 0, 0, 2], ..discover }), None);
        let take = Request { wanted: Some(OWN), server: Some(GATEWAY), ..request(MessageType::Request) };
        assert_eq!(ask(&take), Some((Ack, OWN, all)));
        assert_eq!(ask(&Request { wanted: Some(OTHER), ..take.clone() }), Some((Nak, none, all)));
        assert_eq!(ask(&Request { ciaddr: OTHER, ..take.clone() }), Some((Ack, OWN, all)), "it does not have that");
        assert_eq!(ask(&Request { server: Some(OTHER), ..take }), None);
        let renew = Request { ciaddr: OWN, ..request(MessageType::Request) };
        assert_eq!(ask(&renew), Some((Ack, OWN, OWN)));
        assert_eq!(ask(&Request { ciaddr: OTHER, ..renew }), Some((Nak, none, all)));
        assert_eq!(ask(&Request { ciaddr: OWN, ..request(Inform) }), Some((Ack, none, OWN)));
        assert_eq!(ask(&Request { ciaddr: OTHER, ..request(Inform) }), None);
        assert_eq!((ask(&request(Decline)), ask(&request(Release))), (None, None));
    }

    #[test]
    fn the_owner_of_a_network_chooses_what_guests_are_told() {
        let mut plan = vpc_plan();
        plan.dhcp = DhcpPlan {
            domain_name: Some("corp.example".into()),
            name_servers: vec![OTHER],
            ntp_servers: vec![OTHER],
            netbios_name_servers: vec![OTHER],
            netbios_node_type: Some(2),
            ..DhcpPlan::default()
        };
        let offer = reply(&request(MessageType::Discover), &plan, &plan.interfaces[0]).expect("an offer");
        let told: Vec<_> = offer.opts().iter().map(|(_, option)| format!("{option:?}")).collect();
        for expected in [
            "DomainName(\"corp.example\")",
            "DomainNameServer([10.0.0.6])",
            "NtpServers([10.0.0.6])",
            "NetBiosNameServers([10.0.0.6])",
            "NetBiosNodeType(P)",
        ] {
            assert!(told.iter().any(|text| text == expected), "{expected}: {told:?}");
        }
        plan.dhcp = DhcpPlan::default();
        let offer = reply(&request(MessageType::Discover), &plan, &plan.interfaces[0]).expect("an offer");
        let told: Vec<_> = offer.opts().iter().map(|(_, option)| format!("{option:?}")).collect();
        assert!(!told.iter().any(|text| text.starts_with("Domain")), "{told:?}");
    }

    #[test]
    fn an_offer_says_all_that_a_guest_needs() {
        let plan = vpc_plan();
        let offer = reply(&request(MessageType::Discover), &plan, &plan.interfaces[0]).expect("an offer");
        let mut options: Vec<_> = offer.opts().iter().map(|(code, o)| (u8::from(*code), format!("{o:?}"))).collect();
        options.sort();
        let text: Vec<_> = options.iter().map(|(code, text)| format!("{code} {text}")).collect();
        expect![[r#"
            1 SubnetMask(255.255.255.0)
            3 Router([10.0.0.1])
            6 DomainNameServer([10.0.0.2])
            12 Hostname("ip-10-0-0-5")
            15 DomainName("ec2.internal")
            26 InterfaceMtu(1500)
            51 AddressLeaseTime(3600)
            53 MessageType(Offer)
            54 ServerIdentifier(10.0.0.1)
            121 ClasslessStaticRoute([(0.0.0.0/0, 10.0.0.1), (169.254.169.254/32, 0.0.0.0)])"#]]
        .assert_eq(&text.join("\n"));
    }
}
