//! The sockets of one VPC. Called inside its namespace, where they stay.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};
use awan_model::plan::VpcPlan;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

use super::{METADATA, TIME};
use crate::network::ipv6;
use crate::network::vpc::resolver;

pub struct Opened {
    pub dhcp: UdpSocket,
    pub dns_udp: Vec<UdpSocket>,
    pub dns_tcp: Vec<TcpListener>,
    pub time: UdpSocket,
    pub http: TcpListener,
}

const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

pub fn open(network: &VpcPlan) -> Result<Opened> {
    let (mut dns_udp, mut dns_tcp) = (Vec::new(), Vec::new());
    for ip in [resolver(network), RESOLVER] {
        let udp = UdpSocket::bind((ip, 53)).with_context(|| format!("serving DNS at {ip}"))?;
        udp.set_nonblocking(true)?;
        dns_udp.push(udp);
        let tcp = TcpListener::bind((ip, 53)).with_context(|| format!("serving DNS at {ip}"))?;
        tcp.set_nonblocking(true)?;
        dns_tcp.push(tcp);
    }
    let time = UdpSocket::bind((TIME, 123)).context("serving the time")?;
    time.set_nonblocking(true)?;
    let http = TcpListener::bind((METADATA, 80)).context("serving metadata")?;
    http.set_nonblocking(true)?;
    // Accepted sockets tell which interface they came in by: see `ingress`.
    setsockopt(&http, sockopt::Ipv4PacketInfo, &true)?;
    Ok(Opened { dhcp: dhcp()?, dns_udp, dns_tcp, time, http })
}

pub struct OpenedIpv6 {
    pub dhcp: UdpSocket,
    /// Where routers are asked for, and speak.
    pub router: UdpSocket,
    pub dns_udp: UdpSocket,
    pub dns_tcp: TcpListener,
    pub time: UdpSocket,
    pub http: TcpListener,
}

pub fn open_ipv6() -> Result<OpenedIpv6> {
    let resolver = (ipv6::RESOLVER, 53);
    let dns_udp = UdpSocket::bind(resolver).context("serving DNS over IPv6")?;
    let dns_tcp = TcpListener::bind(resolver).context("serving DNS over IPv6")?;
    let time = UdpSocket::bind((ipv6::TIME, 123)).context("serving the time over IPv6")?;
    let http = TcpListener::bind((ipv6::METADATA, 80)).context("serving metadata over IPv6")?;
    dns_udp.set_nonblocking(true)?;
    dns_tcp.set_nonblocking(true)?;
    time.set_nonblocking(true)?;
    http.set_nonblocking(true)?;
    setsockopt(&http, sockopt::Ipv6RecvPacketInfo, &true)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let dhcp = socket(AddressFamily::Inet6, SockType::Datagram, flags, None)?;
    setsockopt(&dhcp, sockopt::ReuseAddr, &true)?;
    setsockopt(&dhcp, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&dhcp, sockopt::Ipv6RecvPacketInfo, &true)?;
    let any = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 547, 0, 0));
    bind(dhcp.as_raw_fd(), &any).context("serving DHCP for IPv6")?;
    Ok(OpenedIpv6 { dhcp: dhcp.into(), router: router()?, dns_udp, dns_tcp, time, http })
}

/// Hears router solicitations (RFC 4861, 4.1) and nothing else.
fn router() -> Result<UdpSocket> {
    const SOLICITATION: usize = 133;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw =
        socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6).context("hearing for routers")?;
    setsockopt(&raw, sockopt::Ipv6RecvPacketInfo, &true)?;
    setsockopt(&raw, sockopt::Ipv6RecvHopLimit, &true)?;
    // A bit that is set is a kind that is not heard (RFC 3542, 3.2).
    let mut kinds = [u32::MAX; 8];
    kinds[SOLICITATION / 32] &= !(1 << (SOLICITATION % 32));
    let hops: libc::c_int = 255;
    option(raw.as_raw_fd(), (libc::IPPROTO_ICMPV6, 1), &kinds).context("ICMP6_FILTER")?;
    option(raw.as_raw_fd(), (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS), &hops).context("IPV6_MULTICAST_HOPS")?;
    Ok(raw.into())
}

/// Whether DHCP is heard on a tap: clients send to all servers of their link (RFC 8415, 7.1).
pub fn hear(dhcp: &UdpSocket, index: u32, on: bool) -> Result<()> {
    const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let done = if on { dhcp.join_multicast_v6(&SERVERS, index) } else { dhcp.leave_multicast_v6(&SERVERS, index) };
    done.with_context(|| format!("DHCP for IPv6 on link {index}"))
}

fn option<T>(fd: RawFd, (level, name): (libc::c_int, libc::c_int), value: &T) -> Result<()> {
    #[expect(unsafe_code, reason = "options without a safe form")]
    // SAFETY: the value lives through the call and has the size that is given.
    let result = unsafe {
        libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

fn dhcp() -> Result<UdpSocket> {
    let fd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::Broadcast, &true)?;
    setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
    no_checksum(fd.as_raw_fd())?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 67))).context("serving DHCP")?;
    Ok(fd.into())
}

/// On a tap the checksum would be left to hardware that is not there, and strict clients drop such packets.
fn no_checksum(fd: RawFd) -> Result<()> {
    let yes: libc::c_int = 1;
    #[expect(unsafe_code, reason = "an option without a safe form")]
    // SAFETY: the value lives through the call and has the size that is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("SO_NO_CHECK") }
}

/// The interface by which an accepted connection came in. Source: ip(7), IP_PKTINFO and IP_PKTOPTIONS; for IPv6, RFC 2292,
/// 6.2, whose option Linux still has for TCP.
pub fn ingress(fd: RawFd, ipv6: bool) -> Option<u32> {
    const IPV6_2292PKTOPTIONS: libc::c_int = 6;
    if ipv6 {
        // The index stands behind the address.
        return packet_option(fd, (libc::IPPROTO_IPV6, IPV6_2292PKTOPTIONS), libc::IPV6_PKTINFO, 16);
    }
    packet_option(fd, (libc::IPPROTO_IP, libc::IP_PKTOPTIONS), libc::IP_PKTINFO, 0)
}

/// A number at a place of a control message of this kind.
fn packet_option(fd: RawFd, (level, name): (libc::c_int, libc::c_int), kind: libc::c_int, at: usize) -> Option<u32> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut buffer = [0_u8; 256];
    let mut length = 256 as libc::socklen_t;
    #[expect(unsafe_code, reason = "an option without a safe form")]
    // SAFETY: buffer and length live through the call, and the length is the buffer's.
    let result = unsafe { libc::getsockopt(fd, level, name, buffer.as_mut_ptr().cast(), &raw mut length) };
    let mut rest = buffer.get(..usize::try_from(length).ok()?).filter(|_| result == 0)?;
    while rest.len() >= HEADER {
        let number = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        let size = usize::try_from(u64::from_ne_bytes(rest.get(..8)?.try_into().ok()?)).ok()?;
        if number(8)? == level && number(12)? == kind {
            return u32::try_from(number(HEADER + at)?).ok();
        }
        rest = rest.get(size.max(HEADER).next_multiple_of(8)..)?;
    }
    None
}

/// How many routers the answer may pass.
pub fn hop_limit(fd: &impl std::os::fd::AsFd, ipv6: bool, hops: u8) -> Result<()> {
    let hops = i32::from(hops);
    let set = if ipv6 { setsockopt(fd, sockopt::Ipv6Ttl, &hops) } else { setsockopt(fd, sockopt::Ipv4Ttl, &hops) };
    set.context("setting the hop limit")
}
