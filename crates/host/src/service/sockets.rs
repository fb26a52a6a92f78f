//! The sockets of one VPC. Called inside its namespace, where they stay.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};
use awan_model::plan::VpcPlan;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};

use super::METADATA;
use crate::network::vpc::resolver;

pub struct Opened {
    pub dhcp: UdpSocket,
    pub dns_udp: Vec<UdpSocket>,
    pub dns_tcp: Vec<TcpListener>,
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
    let http = TcpListener::bind((METADATA, 80)).context("serving metadata")?;
    http.set_nonblocking(true)?;
    // Accepted sockets tell which interface they came in by: see `ingress`.
    setsockopt(&http, sockopt::Ipv4PacketInfo, &true)?;
    Ok(Opened { dhcp: dhcp()?, dns_udp, dns_tcp, http })
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

/// The interface by which an accepted connection came in. Source: ip(7), IP_PKTINFO and IP_PKTOPTIONS.
pub fn ingress(fd: RawFd) -> Option<u32> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut buffer = [0_u8; 256];
    let mut length = 256 as libc::socklen_t;
    #[expect(unsafe_code, reason = "an option without a safe form")]
    // SAFETY: buffer and length live through the call, and the length is the buffer's.
    let result = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_IP, libc::IP_PKTOPTIONS, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    let mut rest = buffer.get(..usize::try_from(length).ok()?).filter(|_| result == 0)?;
    while rest.len() >= HEADER {
        let number = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        let size = usize::try_from(u64::from_ne_bytes(rest.get(..8)?.try_into().ok()?)).ok()?;
        if number(8)? == libc::IPPROTO_IP && number(12)? == libc::IP_PKTINFO {
            return u32::try_from(number(HEADER)?).ok();
        }
        rest = rest.get(size.max(HEADER).next_multiple_of(8)..)?;
    }
    None
}

/// How many routers the answer may pass.
pub fn hop_limit(fd: &impl std::os::fd::AsFd, hops: u8) -> Result<()> {
    setsockopt(fd, sockopt::Ipv4Ttl, &i32::from(hops)).context("setting the hop limit")
}
