//! A machine of its own for a driver: a thread in namespaces that nobody else is in. Frames go in and come out at guests'
//! taps, at the host's side of the edge, and at the services of VPCs.
//!
//! **Quiet.** Nobody waits for a while to see whether a frame comes. A tap's frame is followed up to the first link
//! before its write returns, and each link puts it at the end of one queue of this processor, on which the thread stays.
//! So what was sent through a link later comes out later, whoever else sends from this processor, and when
//! [`Lab::settle`] has sent something through a link more often than any frame crosses one, all that can come has come.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use awan_host::driver::Network as _;
use awan_host::network::driver::{NetworkConfig, NetworkDriver, Uplink};
use awan_host::network::{NamespaceInfo, Services, netns};
use awan_model::id::{InterfaceId, VpcId};
use awan_model::plan::HostPlan;
use ipnet::Ipv4Net;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket, sockopt,
};
use nix::unistd::{Pid, read, write};

use crate::model::Place;
use crate::topology::net;
use crate::wire::Mac;

pub const ROUTER_MAC: Mac = awan_host::network::vpc::ROUTER_MAC;
/// Both ends of the link between the host and the edge.
pub const HOST_MAC: Mac = [0x0a, 0xff, 0, 0, 1, 1];
pub const UP_MAC: Mac = [0x0a, 0xff, 0, 0, 1, 2];
/// The host's own network beside the pool.
pub const HOST_NET: &str = "203.0.113.20/29";
/// The host's own, beside its end of the pool.
pub const HOST_IPV6: &str = "2001:db8:ffff::20";
/// What a tap has before each frame: struct virtio_net_hdr of linux/virtio_net.h, all zero.
pub const HEADER: usize = 10;
/// No frame crosses more links.
const LINKS_MAX: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);
/// Served to guests.
const SERVED: [u16; 3] = [53, 67, 123];

/// Whether this machine can; what it lacks is said. Asked once: no test counts the processes that another one asks by.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn able() -> bool {
    static ABLE: OnceLock<bool> = OnceLock::new();
    let able = *ABLE.get_or_init(|| {
        let root = nix::unistd::Uid::effective().is_root();
        let programs = [("nft", "--version"), ("ip", "-V"), ("conntrack", "--version")];
        let there = programs.iter().all(|(program, word)| netns::feed(program, &[word], "").is_ok());
        root && there && std::path::Path::new("/dev/net/tun").exists()
    });
    if !able {
        eprintln!("skipped: needs root, iproute2, nftables, conntrack and /dev/net/tun");
    }
    able
}

/// Topologies that share a processor: making and removing one is mostly waiting for the kernel. Their batches together
/// are far fewer frames than the queue of a processor takes (net.core.netdev_max_backlog).
const SHARING: usize = 4;
/// More would only wait for each other: the kernel makes and removes one link at a time.
const THREADS_MAX: usize = 16;

/// Runs on as many threads as this machine has use for, each [`apart`].
pub fn apart_each(topologies: u64, work: impl Fn() + Copy + Send) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (processors * SHARING).min(THREADS_MAX).min(usize::try_from(topologies).unwrap_or(usize::MAX));
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|n| scope.spawn(move || apart(n, work))).collect();
        for thread in all {
            thread.join().expect("it ran").expect("it does not panic");
        }
    });
}

/// Runs on a thread in network and mount namespaces of its own, on one processor. What it leaves goes with it.
pub fn apart<T: Send>(worker: usize, work: impl FnOnce() -> T + Send) -> std::thread::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces");
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("a view of its own");
            mount(Some("none"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a folder of its own");
            std::fs::create_dir("/run/netns").expect("a folder");
            stay(worker);
            world();
            work()
        });
        thread.join()
    })
}

pub fn stay(worker: usize) {
    let me = Pid::from_raw(0);
    let may = sched_getaffinity(me).expect("says where it may run");
    let may: Vec<usize> = (0..CpuSet::count()).filter(|n| may.is_set(*n).unwrap_or(false)).collect();
    let mut only = CpuSet::new();
    only.set(may[worker % may.len()]).expect("a processor");
    sched_setaffinity(me, &only).expect("stays there");
}

/// What the host has beside this: a network, and a way to all others. What comes by the edge is seen and goes no further.
fn world() {
    let lines = [
        "link set lo up".to_owned(),
        "link add lan0 type veth peer name lan1".to_owned(),
        "link set lan0 addrgenmode none".to_owned(),
        "link set lan1 addrgenmode none".to_owned(),
        "link set lan0 up".to_owned(),
        "link set lan1 up".to_owned(),
        format!("addr add {HOST_NET} brd + dev lan0"),
        "route add default via 203.0.113.17 dev lan0".to_owned(),
    ];
    netns::ip(&lines).expect("makes a network");
    if awan_host::network::ipv6::is_there() {
        // As a host is that has had guests with IPv6: a router has an address more.
        netns::sysctl("net/ipv6/conf/all/forwarding", "1").expect("a setting");
        let lines = [
            format!("addr add {HOST_IPV6}/64 dev lan0 nodad"),
            "route add default via 2001:db8:ffff::1 dev lan0".into(),
        ];
        netns::ip6(&lines).expect("makes a network");
        let own = HOST_IPV6.parse().expect("an address");
        awan_host::network::ipv6::await_own(&[own].into()).expect("looks");
    }
    let rules = "table inet world { chain c_in { type filter hook prerouting priority raw; iifname \"aw*\" drop; }; }";
    netns::feed("nft", &["-f", "-"], rules).expect("loads");
    // What it shows afterwards is compared with what it shows now: the kernel is a little behind.
    let until = Instant::now() + PATIENCE;
    let links = || netns::ip_json(&["link", "show", "up"]).expect("shows");
    let behind = |link: &serde_json::Value| link["operstate"] != "UP" && link["operstate"] != "UNKNOWN";
    let local = || netns::feed("ip", &["-6", "route", "show", "table", "local"], "").expect("shows");
    while links().iter().any(behind) || (awan_host::network::ipv6::is_there() && !local().contains(HOST_IPV6)) {
        assert!(Instant::now() < until, "the host's networks are not there");
    }
}

/// Addresses that the host has beside the pool's first, and broadcasts.
pub fn host_addresses() -> Vec<Ipv4Net> {
    [net("203.0.113.20/32"), net("203.0.113.23/32"), net("127.0.0.0/8")].into()
}

/// In place of the product's services: what asks for one is kept.
#[derive(Default)]
struct Listeners(Mutex<BTreeMap<VpcId, Vec<UdpSocket>>>);

impl Services for Listeners {
    fn update(&self, _: &HostPlan, namespaces: &[NamespaceInfo]) -> anyhow::Result<()> {
        let mut all = self.0.lock().expect("nobody panicked");
        for namespace in namespaces.iter().filter(|info| !all.contains_key(&info.vpc)).collect::<Vec<_>>() {
            let open = || {
                let bound = |port: &u16| -> anyhow::Result<UdpSocket> {
                    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                };
                SERVED.iter().map(bound).collect::<anyhow::Result<Vec<_>>>()
            };
            all.insert(namespace.vpc.clone(), netns::inside(&namespace.path.to_string_lossy(), open)?);
        }
        Ok(())
    }

    fn close(&self, vpc: &VpcId) {
        self.0.lock().expect("nobody panicked").remove(vpc);
    }
}

pub struct Lab {
    pub tag: String,
    pub driver: Arc<NetworkDriver>,
    runtime: tokio::runtime::Runtime,
    listeners: Arc<Listeners>,
    taps: BTreeMap<InterfaceId, OwnedFd>,
    /// VPCs and peerings.
    links: BTreeSet<String>,
    /// The host's side of the edge, once it is there.
    up: Option<OwnedFd>,
    /// Sends to itself through a link.
    quiet: UdpSocket,
}

pub enum Seen {
    Frame(Place, Vec<u8>),
    /// By a service of a VPC: who asked, at which port, what.
    Asked(VpcId, SocketAddr, u16, Vec<u8>),
}

impl Lab {
    pub fn new(uplink: Uplink) -> Self {
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let listeners = Arc::new(Listeners::default());
        let config = NetworkConfig { tag: tag.clone(), uplink, outside: None };
        let driver = NetworkDriver::new(config, listeners.clone()).expect("nft is there");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let quiet = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        quiet.connect(quiet.local_addr().expect("has one")).expect("to itself");
        quiet.set_read_timeout(Some(PATIENCE)).expect("bounded");
        let runtime = runtime.expect("a runtime");
        Self { tag, driver, runtime, listeners, taps: BTreeMap::new(), links: BTreeSet::new(), up: None, quiet }
    }

    pub fn apply(&mut self, plan: &HostPlan) -> anyhow::Result<()> {
        self.apply_but_for(plan, &BTreeSet::new())
    }

    /// Somebody else opens the taps of these.
    pub fn apply_but_for(&mut self, plan: &HostPlan, others: &BTreeSet<InterfaceId>) -> anyhow::Result<()> {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE * 3, self.driver.apply(plan)).await })??;
        let wanted: BTreeMap<&InterfaceId, &VpcId> =
            plan.network.vpcs.iter().flat_map(|vpc| vpc.interfaces.iter().map(|eni| (&eni.id, &vpc.id))).collect();
        self.taps.retain(|id, _| wanted.contains_key(id));
        let mut new = BTreeSet::new();
        for (id, vpc) in wanted {
            if !self.taps.contains_key(id) && !others.contains(id) {
                let tap = self.driver.open(vpc, id)?;
                fcntl(&tap, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                self.taps.insert(id.clone(), tap);
                new.insert(self.driver.namespace(vpc));
            }
        }
        // Other links come with VPCs and peerings.
        let links: BTreeSet<String> = plan
            .network
            .vpcs
            .iter()
            .flat_map(|vpc| std::iter::once(vpc.id.to_string()).chain(vpc.peers.iter().map(|peer| peer.id.to_string())))
            .collect();
        if !links.is_subset(&self.links) {
            new.extend(plan.network.vpcs.iter().map(|vpc| self.driver.namespace(&vpc.id)));
            new.insert(format!("awan-{}-edge", self.tag));
        }
        self.links = links;
        if self.up.is_none() {
            self.up = Some(raw_socket(&format!("aw{}", self.tag))?);
        }
        carry(&new)
    }

    /// Differences between the plan and the machine, as the driver sees them.
    pub fn differences(&self, plan: &HostPlan) -> anyhow::Result<Vec<String>> {
        let found = self.runtime.block_on(self.driver.compare(plan))?;
        Ok(found.missing.into_iter().chain(found.unexpected).collect())
    }

    pub fn send(&self, from: &Place, frame: &[u8]) {
        match from {
            Place::Guest(id) => {
                let mut whole = vec![0; HEADER];
                whole.extend(frame);
                match write(&self.taps[id], &whole) {
                    Ok(n) if n == whole.len() => {}
                    // The kernel looks at what is no frame at all, and refuses it.
                    Err(Errno::EINVAL) => {}
                    other => panic!("writing to {id}: {other:?}"),
                }
            }
            Place::World => {
                let up = self.up.as_ref().expect("the edge is there");
                send(up.as_raw_fd(), frame, MsgFlags::empty()).expect("sends");
            }
            Place::Router(_) | Place::Edge => panic!("they only answer"),
        }
    }

    /// Until all that was sent has come out where it comes out.
    pub fn settle(&self) {
        for n in 0..LINKS_MAX {
            let word = [u8::try_from(n).expect("few")];
            self.quiet.send(&word).expect("sends");
            let mut back = [0; 2];
            assert_eq!(self.quiet.recv(&mut back).expect("in time"), 1);
            assert_eq!(back[0], word[0]);
        }
    }

    /// What came since the last time.
    pub fn take(&self) -> Vec<Seen> {
        self.settle();
        let mut all = Vec::new();
        let mut buffer = vec![0; 4096];
        for (id, tap) in &self.taps {
            loop {
                match read(tap, &mut buffer) {
                    Ok(n) => all.push(Seen::Frame(Place::Guest(id.clone()), buffer[HEADER..n].to_vec())),
                    Err(Errno::EAGAIN) => break,
                    Err(e) => panic!("reading from {id}: {e}"),
                }
            }
        }
        if let Some(up) = &self.up {
            loop {
                match recv(up.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                    // Others on the host may say something too; what comes by the edge is from its end.
                    Ok(n) if buffer[6..12] == UP_MAC => all.push(Seen::Frame(Place::World, buffer[..n].to_vec())),
                    Ok(_) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(e) => panic!("reading from the host's side of the edge: {e}"),
                }
            }
        }
        for (vpc, sockets) in self.listeners.0.lock().expect("nobody panicked").iter() {
            for (socket, port) in sockets.iter().zip(SERVED) {
                loop {
                    match socket.recv_from(&mut buffer) {
                        Ok((n, from)) => all.push(Seen::Asked(vpc.clone(), from, port, buffer[..n].to_vec())),
                        Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                        Err(e) => panic!("reading from a service: {e}"),
                    }
                }
            }
        }
        all
    }
}

/// Waits until all links carry: the kernel says so to itself a little later than to others, and drops what is sent
/// before.
fn carry(namespaces: &BTreeSet<String>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    let idle = || netns::ip_json(&["link", "show", "up"]).map(|all| all.iter().any(|l| l["operstate"] == "DOWN"));
    for name in namespaces {
        while netns::inside(name, idle)? {
            anyhow::ensure!(Instant::now() < until, "a link in {name} does not carry");
        }
    }
    Ok(())
}

/// What a machine shows of its networks, and the files that go with them.
pub fn shown() -> String {
    let ip = [
        ["-o", "-d", "link", "show"].as_slice(),
        &["-o", "addr", "show"],
        &["route", "show", "table", "all"],
        &["rule", "show"],
        &["neigh", "show"],
    ];
    let mut text: String = ip.iter().map(|words| netns::feed("ip", words, "").expect("shows")).collect();
    text += &netns::feed("nft", &["list", "ruleset"], "").expect("shows");
    for folder in ["/run", "/run/netns"] {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.path().display().to_string()).collect();
        names.sort();
        text += &names.join("\n");
    }
    text
}

/// Open files of this process, and processes that it started.
pub fn held() -> (usize, String) {
    // The first runtime of a process opens what all of them share.
    drop(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build());
    let files = std::fs::read_dir("/proc/self/fd").expect("a folder").count();
    let tasks = std::fs::read_dir("/proc/self/task").expect("a folder").flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    (files, children.collect())
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.listeners.0.lock().expect("nobody panicked").clear();
        self.taps.clear();
        let _ = NetworkDriver::purge(&self.tag);
    }
}

/// Sees and sends whole frames of a link. Source: packet(7).
fn raw_socket(link: &str) -> anyhow::Result<OwnedFd> {
    let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&raw, sockopt::RcvBufForce, &(16 << 20))?;
    let address = nix::ifaddrs::getifaddrs()?.find_map(|at| {
        let link_address = at.address?.as_link_addr().copied();
        link_address.filter(|_| at.interface_name == link)
    });
    let address = address.ok_or_else(|| anyhow::anyhow!("{link} is not there"))?;
    bind(raw.as_raw_fd(), &address)?;
    Ok(raw)
}
