//! For tests: a VPC that the driver made from a plan, with guests behind its taps. A guest is a namespace whose interface
//! is wired to the guest's end of the tap, as a hypervisor would do it. The test's thread is the world outside.
//!
//! ```text
//!   this thread ── edge ── VPC ── tap ═ wire ═ eth0 ── guest
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use awan_model::id::InstanceId;
use awan_model::instance::Wish;
use awan_model::interface::Mac;
use awan_model::plan::{HostPlan, InterfacePlan, VpcPlan};
use awan_model::report::TrafficSeen;
use ipnet::Ipv4Net;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tokio::runtime::Runtime;

use super::driver::{NetworkConfig, NetworkDriver, Uplink};
use super::testing::{Namespace, vpc_plan};
use super::{Services as _, link, netns};
use crate::driver::Network as _;
use crate::hypervisor::testing::{plan, vm};
use crate::service::endpoint::testing::Echo;
use crate::service::{GuestServices, ServiceConfig};

/// What is on its way arrives within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// What has not arrived after this time was dropped.
const SOON: Duration = Duration::from_millis(300);
/// The world's own address.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

pub struct Lab {
    pub plan: HostPlan,
    guests: BTreeMap<InstanceId, Namespace>,
    wires: Vec<Wire>,
    driver: Arc<NetworkDriver>,
    services: Arc<GuestServices>,
    tag: String,
    sent: Cell<u64>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// Another interface for a plan, with everything else as the first one has it.
pub fn interface(instance: u8, subnet: u8, ip: &str) -> InterfacePlan {
    let mut new = vpc_plan().interfaces.remove(0);
    let ip: Ipv4Addr = ip.parse().expect("an address");
    let last = ip.octets();
    new.id = format!("eni-000000000{:08x}", u32::from(ip)).parse().expect("an id");
    new.instance = format!("i-{instance:017x}").parse().expect("an id");
    new.subnet = format!("subnet-{subnet:017x}").parse().expect("an id");
    new.mac = Mac([0x0a, 0, last[0], last[1], last[2], last[3]]);
    (new.private_ip, new.public_ip) = (ip, None);
    new
}

impl Lab {
    /// None where networks cannot be made.
    pub fn new(network: VpcPlan) -> Option<Self> {
        Self::by(network, Uplink::Closed)
    }

    pub fn by(network: VpcPlan, uplink: Uplink) -> Option<Self> {
        let able = nix::unistd::geteuid().is_root()
            && std::path::Path::new("/dev/net/tun").exists()
            && netns::feed("nft", &["--version"], "").is_ok()
            && netns::feed("ip", &["-V"], "").is_ok();
        if !able || unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(std::io::stderr(), "skipped: needs root, /dev/net/tun, iproute2 and nftables");
            return None;
        }
        netns::ip(&["link set lo up".to_owned()]).expect("a loopback");
        let folder = tempfile::tempdir().expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let secret = folder.path().join("secret");
        let (api, handle) = (Arc::new(Echo), runtime.handle().clone());
        let config = ServiceConfig { secret, resolvers: Vec::new(), api, runtime: handle };
        let services = GuestServices::new(config).expect("services");
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let config = NetworkConfig { tag: tag.clone(), uplink, outside: None };
        let driver = NetworkDriver::new(config, services.clone()).expect("a driver");
        let mut plan = plan(Vec::new());
        plan.network.public_pool = "198.18.0.0/16".parse().ok();
        plan.network.ipv6_pool = "2001:db8:a00::/40".parse().ok();
        plan.network.vpcs.push(network);
        let (guests, wires, sent) = (BTreeMap::new(), Vec::new(), Cell::new(0));
        let mut lab = Self { plan, guests, wires, driver, services, tag, sent, runtime, _folder: folder };
        lab.boot();
        Some(lab)
    }

    fn boot(&mut self) {
        let interfaces = self.network().interfaces.clone();
        for interface in &interfaces {
            let id = &interface.instance;
            if !self.guests.contains_key(id) {
                self.guests.insert(id.clone(), Namespace::new());
                self.plan.vms.push(vm(id.as_str(), Wish::On, 1));
            }
        }
        self.apply();
        for interface in &interfaces {
            let subnet = self.network().subnets.iter().find(|s| s.id == interface.subnet).expect("its subnet").cidr;
            let router = self.driver.open(&self.network().id, &interface.id).expect("the guest's end");
            let guest = &self.guests[&interface.instance];
            let name = format!("eth{}", interface.device_index);
            let own = guest.inside(|| link::open_tap(&name)).expect("an interface");
            self.wires.push(Wire::new(router, own));
            configure(guest, interface, subnet);
            let router =
                self.network().subnets.iter().find(|s| s.id == interface.subnet).and_then(|subnet| subnet.ipv6);
            if let Some(net) = router.filter(|_| !interface.ipv6.is_empty()) {
                guest.inside(|| finds(Ipv6Addr::from(u128::from(net.network()) + 1)));
            }
        }
        self.vpc(carries);
        self.guests.values().for_each(|guest| guest.inside(carries));
    }

    pub fn network(&self) -> &VpcPlan {
        &self.plan.network.vpcs[0]
    }

    pub fn network_mut(&mut self) -> &mut VpcPlan {
        &mut self.plan.network.vpcs[0]
    }

    /// The plan is in force when this returns.
    pub fn apply(&self) {
        self.runtime.block_on(self.driver.apply(&self.plan)).expect("applies");
    }

    pub fn differences(&self) -> Vec<String> {
        let found = self.runtime.block_on(self.driver.compare(&self.plan)).expect("compares");
        found.missing.into_iter().chain(found.unexpected).collect()
    }

    /// What the taps of the plan's interfaces have counted, in their order.
    pub fn traffic(&self) -> Vec<TrafficSeen> {
        self.runtime.block_on(self.driver.traffic(&self.plan)).expect("counts")
    }

    /// The guest that has an address.
    pub fn guest(&self, ip: &str) -> &Namespace {
        let ip: IpAddr = ip.parse().expect("an address");
        let interface = self.network().interfaces.iter().find(|i| i.has(ip)).expect("an interface");
        &self.guests[&interface.instance]
    }

    pub fn namespace(&self) -> String {
        self.driver.namespace(&self.network().id)
    }

    /// What the router does.
    pub fn vpc<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::inside(&self.namespace(), || Ok(work())).expect("a namespace")
    }

    /// A socket of the guest whose address it is.
    pub fn udp(&self, ip: &str, port: u16) -> UdpSocket {
        self.guest(ip).inside(|| bound(ip, port))
    }

    /// Sends to where the other socket is bound.
    pub fn reaches(&self, from: &UdpSocket, to: &UdpSocket) {
        let at = to.local_addr().expect("an address");
        self.reaches_by(from, to, at);
    }

    pub fn is_lost(&self, from: &UdpSocket, to: &UdpSocket) {
        let at = to.local_addr().expect("an address");
        self.is_lost_by(from, to, at);
    }

    /// Sends to an address that leads to the other socket, and says who seems to have sent it.
    pub fn reaches_by(&self, from: &UdpSocket, to: &UdpSocket, at: impl Into<SocketAddr>) -> IpAddr {
        let at = at.into();
        let (word, sender) = self.send(from, to, at, PATIENCE).unwrap_or_else(|| panic!("nothing came to {at}"));
        // What was thought lost had only been slow.
        assert_eq!(word, self.sent.get(), "what came to {at} was sent before");
        sender
    }

    pub fn is_lost_by(&self, from: &UdpSocket, to: &UdpSocket, at: impl Into<SocketAddr>) {
        let at = at.into();
        assert_eq!(self.send(from, to, at, SOON), None, "something came to {at}");
    }

    fn send(&self, from: &UdpSocket, to: &UdpSocket, at: SocketAddr, within: Duration) -> Option<(u64, IpAddr)> {
        self.sent.set(self.sent.get() + 1);
        from.send_to(&self.sent.get().to_be_bytes(), at).expect("sends");
        to.set_read_timeout(Some(within)).expect("a time");
        let mut word = [0; 8];
        let (_, sender) = heard(|| to.recv_from(&mut word)).ok()?;
        Some((u64::from_be_bytes(word), sender.ip()))
    }
}

/// Waits until all links here carry: the kernel says so to itself a little later than to others, and drops what is sent
/// before.
fn carries() {
    let until = Instant::now() + PATIENCE;
    let links = || netns::ip_json(&["link", "show", "up"]).expect("shows");
    while links().iter().any(|link| link["operstate"] == "DOWN") {
        assert!(Instant::now() < until, "a link does not carry");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.wires.clear();
        self.services.close(&self.network().id);
        let purged = NetworkDriver::purge(&self.tag);
        if !std::thread::panicking() {
            purged.expect("leaves nothing");
        }
    }
}

/// A process that ends somewhere interrupts a wait that has a bound (signal(7)): then it begins again.
pub fn heard<T>(mut wait: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match wait() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A socket of this thread's namespace.
pub fn bound(ip: &str, port: u16) -> UdpSocket {
    UdpSocket::bind((ip, port)).unwrap_or_else(|e| panic!("{ip}:{port}: {e}"))
}

fn configure(guest: &Namespace, interface: &InterfacePlan, subnet: Ipv4Net) {
    let name = format!("eth{}", interface.device_index);
    let off = if interface.ipv6.is_empty() { "1" } else { "0" };
    // Nobody asks whether an address is taken: until it is told, it has none.
    for (whose, setting, value) in
        [("all", "accept_dad", "0"), (&name, "accept_dad", "0"), ("all", "disable_ipv6", off)]
    {
        let _ = guest.inside(|| netns::sysctl(&format!("net/ipv6/conf/{whose}/{setting}"), value));
    }
    let mut lines = vec![
        "link set lo up".to_owned(),
        format!("link set {name} address {} up", interface.mac),
        format!("addr add {}/{} dev {name}", interface.private_ip, subnet.prefix_len()),
    ];
    lines.extend(interface.secondary.iter().map(|s| format!("addr add {}/32 dev {name}", s.private_ip)));
    let gateway = Ipv4Addr::from(u32::from(subnet.network()) + 1);
    // What has an interface's address leaves by it; what has none, by the first.
    let table = 100 + interface.device_index;
    lines.push(format!("route add default via {gateway} dev {name} metric {table}"));
    lines.push(format!("route add default via {gateway} dev {name} table {table}"));
    lines.extend(interface.addresses().map(|(ip, _)| format!("rule add from {ip} lookup {table}")));
    guest.ip(&lines);
    // As DHCP gives them: nobody is on the link but the router.
    let lines = interface.ipv6.iter().map(|ip| format!("addr add {ip}/128 dev {name} nodad"));
    let router =
        (!interface.ipv6.is_empty()).then(|| format!("route add default via fe80::1 dev {name} metric {table}"));
    let lines: Vec<_> = lines.chain(router).collect();
    guest.inside(|| netns::ip6(&lines)).expect("ip");
}

/// Whether an echo request is answered.
pub fn pings(guest: &Namespace, to: &str) -> bool {
    let to: Ipv4Addr = to.parse().expect("an address");
    guest.inside(|| {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp);
        let socket = UdpSocket::from(raw.expect("a raw socket"));
        let id: [u8; 2] = rand::random();
        let mut request = [8, 0, 0, 0, id[0], id[1], 0, 1];
        let sum: u32 = request.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        let check = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("a short sum");
        request[2..4].copy_from_slice(&check.to_be_bytes());
        socket.send_to(&request, (to, 0)).expect("sends");
        let until = Instant::now() + SOON;
        let mut answer = [0; 128];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left)).expect("a time");
            // After the header of IP: an echo reply with this number.
            if socket.recv(&mut answer).is_ok() && answer[20] == 0 && answer[24..26] == id {
                return true;
            }
        }
        false
    })
}

/// Waits until who has an address answers: the kernel gives a new address its routes when it has time for it, and looks
/// for a neighbour for three seconds at most.
pub fn finds(to: Ipv6Addr) {
    let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6);
    let socket = UdpSocket::from(raw.expect("a raw socket"));
    socket.set_read_timeout(Some(SOON)).expect("a time");
    let until = Instant::now() + PATIENCE;
    let mut answer = [0; 128];
    loop {
        // Where there is no way yet, it is not even sent.
        let _ = socket.send_to(&[128, 0, 0, 0, 0, 7, 0, 1], (to, 0));
        let asked = Instant::now();
        while asked.elapsed() < SOON {
            if socket.recv_from(&mut answer).is_ok_and(|(_, from)| from.ip() == to && answer[0] == 129) {
                return;
            }
        }
        assert!(Instant::now() < until, "{to} does not answer");
    }
}

/// Carries frames between two taps until it goes.
struct Wire {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    fn new(a: OwnedFd, b: OwnedFd) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                carry(&a, &b);
            }
        });
        Self { over, thread: Some(thread) }
    }
}

fn carry(a: &OwnedFd, b: &OwnedFd) {
    let mut ends = [a, b].map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
    if poll(&mut ends, PollTimeout::from(20_u8)).is_err() {
        return;
    }
    let ready = ends.map(|end| end.revents().is_some_and(|r| r.contains(PollFlags::POLLIN)));
    let mut frame = [0; 2048];
    for (ready, from, to) in [(ready[0], a, b), (ready[1], b, a)] {
        // An end that is down takes nothing; its frames are lost, as on a cable.
        if ready && let Ok(length) = nix::unistd::read(from, &mut frame) {
            let _ = nix::unistd::write(to, &frame[..length]);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
