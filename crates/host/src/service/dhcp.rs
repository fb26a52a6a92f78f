//! DHCP (RFC 2131): each interface gets its own address, whoever asks through it.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;

use awan_model::interface::{host_name, private_dns};
use awan_model::plan::{InterfacePlan, VpcPlan};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable as _, Decoder, Encodable as _};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg};
use tokio::io::Interest;

use super::{Shared, current};
use crate::network::vpc::{MTU, resolver};

const LEASE_S: u32 = 3600;
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

pub async fn serve(socket: UdpSocket, view: Shared) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket.as_raw_fd())).await;
        let Ok((bytes, index)) = received else { continue };
        let view = current(&view);
        let Some((network, interface)) = view.interface(index) else { continue };
        let Ok(request) = Message::decode(&mut Decoder::new(&bytes)) else { continue };
        let Some(answer) = reply(&request, network, interface) else { continue };
        if let Ok(bytes) = answer.to_vec() {
            send(socket.as_raw_fd(), index, gateway(network, interface), &bytes);
        }
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

fn send(fd: i32, index: u32, from: Ipv4Addr, bytes: &[u8]) {
    let info = libc::in_pktinfo {
        ipi_ifindex: index.cast_signed(),
        ipi_spec_dst: libc::in_addr { s_addr: u32::from(from).to_be() },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    // A lost answer is asked for again.
    let _ = sendmsg(fd, &[IoSlice::new(bytes)], &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to));
}

fn gateway(network: &VpcPlan, interface: &InterfacePlan) -> Ipv4Addr {
    let subnet = network.subnets.iter().find(|s| s.id == interface.subnet);
    subnet.map_or(Ipv4Addr::UNSPECIFIED, |s| Ipv4Addr::from(u32::from(s.cidr.network()).saturating_add(1)))
}

/// The answer to one message; none for what is not meant for this interface.
pub fn reply(request: &Message, network: &VpcPlan, interface: &InterfacePlan) -> Option<Message> {
    if request.opcode() != Opcode::BootRequest || request.chaddr() != interface.mac.0 {
        return None;
    }
    let kind = match request.opts().msg_type()? {
        MessageType::Discover => MessageType::Offer,
        MessageType::Inform => MessageType::Ack,
        MessageType::Request => {
            let asked = match request.opts().get(OptionCode::RequestedIpAddress) {
                Some(DhcpOption::RequestedIpAddress(ip)) => *ip,
                _ => request.ciaddr(),
            };
            if asked == interface.private_ip { MessageType::Ack } else { MessageType::Nak }
        }
        _ => return None,
    };
    let gateway = gateway(network, interface);
    let mut answer = Message::default();
    answer.set_opcode(Opcode::BootReply).set_xid(request.xid()).set_flags(request.flags()).set_chaddr(request.chaddr());
    let options = answer.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(gateway));
    if kind == MessageType::Nak {
        return Some(answer);
    }
    let subnet = network.subnets.iter().find(|s| s.id == interface.subnet)?;
    options.insert(DhcpOption::AddressLeaseTime(LEASE_S));
    options.insert(DhcpOption::SubnetMask(subnet.cidr.netmask()));
    options.insert(DhcpOption::Router(vec![gateway]));
    options.insert(DhcpOption::DomainNameServer(vec![resolver(network)]));
    options.insert(DhcpOption::InterfaceMtu(u16::try_from(MTU).unwrap_or(1500)));
    options.insert(DhcpOption::Hostname(host_name(interface.private_ip)));
    let full = private_dns(interface.private_ip, &network.region);
    options.insert(DhcpOption::DomainName(full.split_once('.').map_or(String::new(), |(_, domain)| domain.to_owned())));
    // A client that reads this ignores the router option (RFC 3442), so the default route is repeated.
    let routes = [("0.0.0.0/0", gateway)].map(|(net, via)| net.parse().ok().map(|net| (net, via)));
    let metadata = ipnet::Ipv4Net::new(METADATA, 32).ok().map(|net| (net, Ipv4Addr::UNSPECIFIED));
    options.insert(DhcpOption::ClasslessStaticRoute(routes.into_iter().chain([metadata]).flatten().collect()));
    answer.set_yiaddr(interface.private_ip);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::vpc_plan;

    fn ask(kind: MessageType, mac: [u8; 6], wanted: Option<Ipv4Addr>) -> Option<(MessageType, Ipv4Addr)> {
        let plan = vpc_plan();
        let mut request = Message::default();
        request.set_opcode(Opcode::BootRequest).set_chaddr(&mac);
        request.opts_mut().insert(DhcpOption::MessageType(kind));
        if let Some(ip) = wanted {
            request.opts_mut().insert(DhcpOption::RequestedIpAddress(ip));
        }
        let answer = reply(&request, &plan, &plan.interfaces[0])?;
        Some((answer.opts().msg_type()?, answer.yiaddr()))
    }

    #[test]
    fn an_interface_gets_its_own_address_and_no_other() {
        let own = Ipv4Addr::new(10, 0, 0, 5);
        let mac = [0x0a, 0, 0, 0, 0, 1];
        assert_eq!(ask(MessageType::Discover, mac, None), Some((MessageType::Offer, own)));
        assert_eq!(ask(MessageType::Request, mac, Some(own)), Some((MessageType::Ack, own)));
        let other = Ipv4Addr::new(10, 0, 0, 6);
        assert_eq!(ask(MessageType::Request, mac, Some(other)), Some((MessageType::Nak, Ipv4Addr::UNSPECIFIED)));
        assert_eq!(ask(MessageType::Discover, [0x0a, 0, 0, 0, 0, 2], None), None);
    }
}
