//! The services on real sockets, in network namespaces that live no longer than a thread of the test.
//!
//! ```text
//!   VPC ── tap0 ═ eth0 ── guest ── eth1 ═ eth0 ── container
//! ```

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use awan_model::instance::Wish;
use awan_model::plan::HostPlan;
use dhcproto::v4::{Message as Dhcp, MessageType};
use dhcproto::{Decodable as _, Decoder};
use hickory_proto::op::{Message as Dns, Query};
use hickory_proto::rr::{Name, RecordType};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt};
use tokio::runtime::Runtime;

use super::endpoint::testing::Echo;
use super::*;
use crate::hypervisor::testing::{plan, vm};
use crate::network::netns;
use crate::network::testing::{Namespace, vpc_plan};

const MAC: [u8; 6] = [0x0a, 0, 0, 0, 0, 1];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The resolver's other address, the same in every VPC.
const EVERYWHERE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";

struct Lab {
    services: Arc<GuestServices>,
    plan: HostPlan,
    vpc: Namespace,
    guest: Namespace,
    container: Namespace,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// None where namespaces cannot be made.
fn lab() -> Option<Lab> {
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(std::io::stderr(), "skipped: network namespaces need root");
        return None;
    }
    let (vpc, guest, container) = (Namespace::new(), Namespace::new(), Namespace::new());
    wire(&vpc, &guest, &container);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (secret, handle) = (folder.path().join("secret"), runtime.handle().clone());
    let config = ServiceConfig { secret, resolvers: Vec::new(), api: Arc::new(Echo), runtime: handle };
    let mut plan = plan(vec![vm("i-00000000000000001", Wish::On, 1)]);
    plan.network.vpcs.push(vpc_plan());
    let services = GuestServices::new(config).expect("services");
    let lab = Lab { services, plan, vpc, guest, container, _runtime: runtime, _folder: folder };
    lab.update();
    Some(lab)
}

fn wire(vpc: &Namespace, guest: &Namespace, container: &Namespace) {
    let lines = |text: String| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    vpc.ip(&vpc_lines(guest));
    guest.ip(&lines(format!(
        "link set lo up
        link set eth0 address 0a:00:00:00:00:01 up
        addr add {GUEST}/24 dev eth0
        addr add {FOREIGN}/24 dev eth0
        route add 169.254.169.252/30 dev eth0
        route add 169.254.169.123/32 dev eth0
        link add name eth1 type veth peer name eth0 netns {}
        addr add 172.17.0.1/24 dev eth1
        link set eth1 up",
        container.id
    )));
    container.ip(&lines(format!(
        "link set lo up
        link set eth0 up
        addr add {CONTAINER}/24 dev eth0
        route add default via 172.17.0.1"
    )));
    // Only the container's: what the guest says of itself must arrive as it was said.
    let nat = format!("type nat hook postrouting priority 100; ip saddr {CONTAINER} masquerade;");
    let rules = format!("table ip lab {{ chain c_post {{ {nat} }}; }}\n");
    guest.inside(|| {
        netns::sysctl("net/ipv4/ip_forward", "1").expect("forwarding");
        netns::feed("nft", &["-f", "-"], &rules).expect("nft");
    });
}

/// What a VPC's namespace has when its services come.
fn vpc_lines(guest: &Namespace) -> Vec<String> {
    let own = [Ipv4Addr::new(10, 0, 0, 1), RESOLVER, EVERYWHERE, TIME, METADATA];
    let mut lines = vec!["link set lo up".to_owned()];
    lines.extend(own.map(|ip| format!("addr add {ip}/32 dev lo")));
    lines.push(format!("link add name tap0 type veth peer name eth0 netns {}", guest.id));
    lines.push("link set tap0 up".to_owned());
    lines.extend([GUEST, FOREIGN].map(|ip| format!("route add {ip}/32 dev tap0")));
    lines
}

impl Lab {
    fn info(&self, namespace: &Namespace) -> NamespaceInfo {
        let index = namespace.inside(|| nix::net::if_::if_nametoindex("tap0")).expect("a tap");
        let network = &self.plan.network.vpcs[0];
        let taps = vec![(network.interfaces[0].id.clone(), "tap0".to_owned(), index)];
        NamespaceInfo { vpc: network.id.clone(), path: namespace.path(), taps }
    }

    fn update(&self) {
        self.services.update(&self.plan, &[self.info(&self.vpc)]).expect("served");
    }

    fn hop_limit(&mut self, hops: u8) {
        self.plan.vms[0].metadata.options.hop_limit = hops;
        self.update();
    }
}

fn connected(from: Ipv4Addr, to: (Ipv4Addr, u16)) -> std::io::Result<TcpStream> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(std::net::SocketAddrV4::new(from, 0)))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&stream), &SockaddrIn::from(std::net::SocketAddrV4::new(to.0, to.1)))?;
    Ok(stream)
}

/// What comes back within a time until the service closes; the client says all at once and closes its side.
fn http(namespace: &Namespace, from: Ipv4Addr, request: &str, within: Duration) -> String {
    namespace.inside(|| {
        let mut stream = connected(from, (METADATA, 80)).expect("a connection");
        stream.write_all(request.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        stream.set_read_timeout(Some(within)).expect("a time");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text")
    })
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn tokens_and_metadata_are_given_to_the_one_who_asks_by_its_own_interface() {
    let Some(lab) = lab() else { return };
    let ask = |from, request: &str| http(&lab.guest, from, request, PATIENCE);
    assert_eq!(status(&ask(GUEST, "GET /latest/meta-data/ HTTP/1.0\r\n\r\n")), "401");
    let given = ask(GUEST, TOKEN);
    assert!(given.contains("\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60\r\n"), "{given}");
    let answer = ask(GUEST, &get("/latest/meta-data/instance-id", body(&given)));
    assert_eq!((status(&answer), body(&answer)), ("200", "i-00000000000000001"));
    assert_eq!(status(&ask(FOREIGN, &get("/latest/meta-data/instance-id", body(&given)))), "404");
    assert_eq!(status(&ask(FOREIGN, TOKEN)), "404");
    let long = format!("GET /latest/ HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(status(&ask(GUEST, &long)), "431");
    assert_eq!(status(&ask(GUEST, "rubbish\r\n\r\n")), "400");
}

#[test]
fn a_token_passes_as_many_routers_as_the_instance_allows() {
    let Some(mut lab) = lab() else { return };
    let ask = |lab: &Lab, request: &str, within| http(&lab.container, CONTAINER, request, within);
    assert_eq!(status(&ask(&lab, TOKEN, PATIENCE)), "200");
    lab.hop_limit(1);
    assert_eq!(status(&ask(&lab, "GET /latest/ HTTP/1.0\r\n\r\n", PATIENCE)), "401");
    // Long enough for a lost answer to be sent again.
    let soon = Duration::from_millis(1500);
    assert_eq!(ask(&lab, TOKEN, soon), "");
    let both = format!("{}GET /latest/ HTTP/1.0\r\n\r\n", TOKEN.replace("1.0", "1.1"));
    assert_eq!(ask(&lab, &both, soon), "");
    assert_eq!(status(&http(&lab.guest, GUEST, TOKEN, PATIENCE)), "200");
}

#[test]
fn addresses_are_given_also_after_a_message_that_lies() {
    let Some(lab) = lab() else { return };
    let offer = lab.guest.inside(|| {
        let client = UdpSocket::bind("0.0.0.0:68").expect("the client's port");
        setsockopt(&client, sockopt::BindToDevice, &"eth0".into()).expect("bound to a device");
        client.set_broadcast(true).expect("broadcast");
        client.set_read_timeout(Some(PATIENCE)).expect("a time");
        let discover = dhcp::request::tests::discover(MAC);
        let mut lie = discover.clone();
        lie[2] = 255;
        for message in [&lie, &[&discover[..240], &[53, 1, 1, 81, 0]].concat(), &discover] {
            client.send_to(message, "255.255.255.255:67").expect("sent");
        }
        let mut buffer = [0; 1500];
        let (length, from) = client.recv_from(&mut buffer).expect("an offer");
        assert_eq!(from, SocketAddr::from(([10, 0, 0, 1], 67)));
        Dhcp::decode(&mut Decoder::new(&buffer[..length])).expect("a message")
    });
    assert_eq!((offer.opts().msg_type(), offer.yiaddr()), (Some(MessageType::Offer), GUEST));
}

#[test]
fn names_are_answered_by_udp_and_tcp() {
    let Some(lab) = lab() else { return };
    let mut question = Dns::query();
    question.add_query(Query::query(Name::from_ascii("ip-10-0-0-5.ec2.internal.").expect("a name"), RecordType::A));
    let question = question.to_vec().expect("bytes");
    let addresses = |bytes: &[u8]| -> Vec<String> {
        Dns::from_vec(bytes).expect("a message").answers.iter().map(|r| r.data.to_string()).collect()
    };
    for resolver in [RESOLVER, EVERYWHERE] {
        let answer = lab.guest.inside(|| {
            let socket = UdpSocket::bind((GUEST, 0)).expect("a port");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time");
            socket.send_to(&question, (resolver, 53)).expect("sent");
            let mut buffer = [0; 1500];
            let length = socket.recv(&mut buffer).expect("an answer");
            buffer[..length].to_vec()
        });
        assert_eq!(addresses(&answer), ["10.0.0.5"]);
    }
    lab.guest.inside(|| {
        let mut stream = connected(GUEST, (RESOLVER, 53)).expect("a connection");
        let framed = [&u16::try_from(question.len()).expect("short").to_be_bytes()[..], &question].concat();
        stream.write_all(&[&framed[..], &framed].concat()).expect("sent");
        for _ in 0..2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("an answer");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).expect("an answer");
            assert_eq!(addresses(&answer), ["10.0.0.5"]);
        }
    });
}

#[test]
fn the_time_is_told_to_guests() {
    let Some(lab) = lab() else { return };
    let told = lab.guest.inside(|| {
        let socket = UdpSocket::bind((GUEST, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut question = [0; 48];
        question[0] = 4 << 3 | 3;
        socket.send_to(&question, (TIME, 123)).expect("sent");
        let mut told = [0; 100];
        let (length, from) = socket.recv_from(&mut told).expect("an answer");
        assert_eq!((length, from), (48, SocketAddr::from((TIME, 123))));
        u32::from_be_bytes(told[40..44].try_into().expect("four"))
    });
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!(now.abs_diff(u64::from(told) - 2_208_988_800) <= PATIENCE.as_secs(), "{told} {now}");
}

#[test]
fn closing_leaves_nothing_open_in_the_namespace() {
    let Some(lab) = lab() else { return };
    let open = || {
        let list = |name| lab.vpc.inside(move || std::fs::read_to_string(format!("/proc/thread-self/net/{name}")));
        let count = |name| list(name).expect("a list").lines().skip(1).filter(|l| !l.contains(" 06 ")).count();
        (count("tcp"), count("udp"))
    };
    let mut idle = lab.guest.inside(|| connected(GUEST, (METADATA, 80)).expect("a connection"));
    idle.write_all(b"GET /").expect("sent");
    assert_eq!(status(&http(&lab.guest, GUEST, TOKEN, PATIENCE)), "200");
    assert!(open().0 >= 4 && open().1 == 4, "{:?}", open());
    lab.services.close(&lab.plan.network.vpcs[0].id);
    assert_eq!(open().1, 0);
    assert!(matches!(idle.read(&mut [0; 1]), Ok(0) | Err(_)));
    lab.update();
    assert_eq!(status(&http(&lab.guest, GUEST, TOKEN, PATIENCE)), "200");
}

#[test]
fn a_namespace_made_anew_is_served_anew() {
    let Some(lab) = lab() else { return };
    let (vpc, guest) = (Namespace::new(), Namespace::new());
    wire(&vpc, &guest, &Namespace::new());
    lab.services.update(&lab.plan, &[lab.info(&vpc)]).expect("served");
    assert_eq!(status(&http(&guest, GUEST, TOKEN, PATIENCE)), "200");
    let refused = lab.guest.inside(|| connected(GUEST, (METADATA, 80)).map(drop));
    assert_eq!(refused.expect_err("nobody listens").kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn one_vpc_that_cannot_be_served_leaves_the_others_served() {
    let Some(lab) = lab() else { return };
    lab.services.close(&lab.plan.network.vpcs[0].id);
    let gone = NamespaceInfo {
        vpc: "vpc-00000000000000002".parse().expect("an id"),
        path: "/proc/self/no-such-namespace".into(),
        taps: Vec::new(),
    };
    assert!(lab.services.update(&lab.plan, &[gone, lab.info(&lab.vpc)]).is_err());
    assert_eq!(status(&http(&lab.guest, GUEST, TOKEN, PATIENCE)), "200");
}
