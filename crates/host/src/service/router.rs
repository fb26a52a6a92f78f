//! What a guest's router says of itself (RFC 4861): that it is there, and that addresses are given by DHCP. It names no
//! network, so a guest makes up no address and takes nobody for a neighbour: all goes to the router.
//!
//! It is said to who asks, to interfaces that are new, and from time to time to all that have an IPv6 address.

use std::io::IoSlice;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg};
use tokio::io::Interest;
use tokio::sync::Notify;

use super::{AFTER_ERROR, Shared, View, current};
use crate::network::ipv6::ROUTER;
use crate::network::vpc::{MTU, ROUTER_MAC};

const LIFETIME_S: u16 = 1800;
const EVERY: Duration = Duration::from_secs(60);
/// Taps come up a moment after they are planned.
const SOON: Duration = Duration::from_secs(1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// Addresses, and what else there is to know, by DHCP (4.2).
const MANAGED_AND_OTHER: u8 = 0xc0;
const HOPS: u8 = 64;
/// Who is further away cannot send with it (6.1.1).
const HOPS_OF_NEIGHBOURS: i32 = 255;

/// A raw socket is asked and told like one of UDP.
pub async fn serve(socket: UdpSocket, view: Shared, changed: Arc<Notify>) {
    let Ok(socket) = tokio::net::UdpSocket::from_std(socket) else { return };
    let mut next = tokio::time::Instant::now() + SOON;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                let view = current(&view);
                view.taps.keys().filter(|index| has_ipv6(&view, **index)).for_each(|index| say(&socket, *index));
                next += EVERY;
            }
            () = changed.notified() => next = tokio::time::Instant::now() + SOON,
            asked = socket.async_io(Interest::READABLE, || receive(socket.as_raw_fd())) => match asked {
                Ok(Some(index)) if has_ipv6(&current(&view), index) => say(&socket, index),
                Ok(_) => {}
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            },
        }
    }
}

fn has_ipv6(view: &View, index: u32) -> bool {
    view.interface(index).is_some_and(|(_, interface)| !interface.ipv6.is_empty())
}

/// The tap by which somebody asks who is a neighbour.
fn receive(fd: i32) -> std::io::Result<Option<u32>> {
    let mut buffer = [0; 256];
    let mut pieces = [std::io::IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let received = recvmsg::<SockaddrIn6>(fd, &mut pieces, Some(&mut control), MsgFlags::empty())?;
    let (mut index, mut hops) = (None, None);
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => index = Some(info.ipi6_ifindex),
            ControlMessageOwned::Ipv6HopLimit(limit) => hops = Some(limit),
            _ => {}
        }
    }
    let length = received.bytes;
    let asks = length >= 8 && buffer[..2] == [SOLICITATION, 0] && hops == Some(HOPS_OF_NEIGHBOURS);
    Ok(index.filter(|_| asks))
}

/// To all on the link, who are the guest alone, so that no neighbour need be known.
fn say(socket: &tokio::net::UdpSocket, index: u32) {
    let bytes = advertisement();
    let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ROUTER.octets() }, ipi6_ifindex: index };
    let to = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    // A tap that is not up hears it the next time.
    let _ = sendmsg(socket.as_raw_fd(), &[IoSlice::new(&bytes)], &control, MsgFlags::empty(), Some(&to));
}

/// The checksum is the kernel's work (RFC 3542, 3.1).
fn advertisement() -> Vec<u8> {
    let mut out = vec![ADVERTISEMENT, 0, 0, 0, HOPS, MANAGED_AND_OTHER];
    out.extend(LIFETIME_S.to_be_bytes());
    // Nothing about how long neighbours are reachable.
    out.extend([0; 8]);
    // The router's link-layer address, and the length of packets.
    out.extend([1, 1]);
    out.extend(ROUTER_MAC);
    out.extend([5, 1, 0, 0]);
    out.extend(MTU.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_names_the_router_and_no_network() {
        let bytes = advertisement();
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..8], [134, 0, 0, 0, 64, 0xc0, 0x07, 0x08]);
        assert_eq!(bytes[16..24], [1, 1, 0x0a, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(bytes[24..], [5, 1, 0, 0, 0, 0, 0x05, 0xdc]);
    }
}
