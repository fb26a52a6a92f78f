//! Taps: opening a guest's end, and asking whether somebody answers behind it. Called inside the namespace.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use awan_model::id::InterfaceId;

use super::render::tap_name;

const ANSWER_WITHIN: Duration = Duration::from_millis(300);
const ARP_LENGTH: usize = 28;

/// The indexes of taps that are there.
pub fn indexes(interfaces: Vec<InterfaceId>) -> Result<Vec<(InterfaceId, String, u32)>> {
    // One socket for all: `if_nametoindex` makes one for each name.
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
    let any = rustix::net::socket(family, kind, None).context("a socket")?;
    let found = interfaces.into_iter().filter_map(|id| {
        let name = tap_name(&id);
        let index = rustix::net::netdevice::name_to_index(&any, &name).ok()?;
        Some((id, name, index))
    });
    Ok(found.collect())
}

/// The guest's end of a persistent tap.
pub fn open_tap(name: &str) -> Result<OwnedFd> {
    opened(name).with_context(|| format!("opening tap {name}"))
}

/// Whether nobody has a tap open.
pub fn is_free(name: &str) -> Result<bool> {
    match opened(name) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => Ok(false),
        Err(e) => Err(e).with_context(|| format!("opening tap {name}")),
    }
}

/// Source: Linux, Documentation/networking/tuntap.rst.
fn opened(name: &str) -> std::io::Result<OwnedFd> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    #[expect(unsafe_code, reason = "the ioctl has no safe form")]
    // SAFETY: the request is zeroed, its name is shorter than its array, and the descriptor lives.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(15)) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags =
            i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR).unwrap_or_default();
        libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &raw const request)
    };
    if result == 0 { Ok(tun.into()) } else { Err(std::io::Error::last_os_error()) }
}

/// Asks by ARP (RFC 826) who has the address, and waits a little for the one whose it is.
pub fn answers(tap: &str, ip: Ipv4Addr) -> Result<bool> {
    // From 0.0.0.0, so that no neighbour table learns anything.
    answers_as(tap, ip, &[0; 4])
}

/// As [`answers`], for who has an address here.
pub fn answers_as(tap: &str, ip: Ipv4Addr, own: &[u8; 4]) -> Result<bool> {
    let index = nix::net::if_::if_nametoindex(tap).with_context(|| format!("{tap} is gone"))?;
    let socket = arp_socket(index)?;
    let mut request = request(super::vpc::ROUTER_MAC, ip);
    request[14..18].copy_from_slice(own);
    send(&socket, index, &request)?;
    let until = Instant::now() + ANSWER_WITHIN;
    let mut answer = [0; 64];
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        match receive(&socket, &mut answer, left) {
            Some(n) if n >= ARP_LENGTH && answer[7] == 2 && answer[14..18] == ip.octets() => return Ok(true),
            Some(_) => {}
            None => return Ok(false),
        }
    }
    Ok(false)
}

/// Tells a network who has an address from now on (a gratuitous request, RFC 5227).
pub fn announce(link: &str, ip: Ipv4Addr) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(link).with_context(|| format!("{link} is gone"))?;
    let text = std::fs::read_to_string(format!("/sys/class/net/{link}/address")).unwrap_or_default();
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    let mut frame = request(mac, ip);
    frame[14..18].copy_from_slice(&ip.octets());
    send(&arp_socket(index)?, index, &frame)
}

fn request(mac: [u8; 6], ip: Ipv4Addr) -> [u8; ARP_LENGTH] {
    let mut request = [0; ARP_LENGTH];
    request[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    request[8..14].copy_from_slice(&mac);
    request[24..28].copy_from_slice(&ip.octets());
    request
}

fn address(index: u32) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: u16::try_from(libc::ETH_P_ARP).unwrap_or_default().to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    }
}

const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn arp_socket(index: u32) -> Result<OwnedFd> {
    let to = address(index);
    #[expect(unsafe_code, reason = "packet sockets have no safe form")]
    // SAFETY: plain numbers; the address lives through the call; the new descriptor is ours.
    unsafe {
        let protocol = i32::from(u16::try_from(libc::ETH_P_ARP).unwrap_or_default().to_be());
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol);
        if fd < 0 {
            bail!("a packet socket: {}", std::io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        if libc::bind(fd, (&raw const to).cast(), ADDRESS_LENGTH) != 0 {
            bail!("binding a packet socket: {}", std::io::Error::last_os_error());
        }
        Ok(socket)
    }
}

fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> Result<()> {
    let to = address(index);
    #[expect(unsafe_code, reason = "packet sockets have no safe form")]
    // SAFETY: frame and address live through the call.
    let sent = unsafe {
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), ADDRESS_LENGTH)
    };
    if sent < 0 { bail!("asking by ARP: {}", std::io::Error::last_os_error()) } else { Ok(()) }
}

fn receive(socket: &OwnedFd, into: &mut [u8], within: Duration) -> Option<usize> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd as _;
    let wait = PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO);
    let ready = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], wait);
    if !matches!(ready, Ok(1..)) {
        return None;
    }
    nix::unistd::read(socket, into).ok()
}
