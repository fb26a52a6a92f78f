//! IPv6 on real packets, through the driver's own namespaces.
//!
//! ```text
//!   subnet 1: a …:1::a, b …:1::b      subnet 2: c …:2::c      outside …:ffff::2 ── this thread ── edge ── VPC
//! ```

use std::io::{IoSlice, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use awan_model::group::{Peer, Traffic};
use awan_model::network_acl;
use awan_model::plan::{AclEntryPlan, MemberIpv6, RulePlan, VpcPlan, Way, WayPlan};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendmsg, setsockopt,
    socket, sockopt,
};

use super::super::driver::Uplink;
use super::super::lab::{Lab, bound, finds, heard, interface};
use super::super::testing::{Namespace, vpc_plan};
use super::{METADATA, RESOLVER, ROUTER, TIME, netns, tap_name};

const A: &str = "2001:db8:a00:101::a";
const B: &str = "2001:db8:a00:101::b";
const C: &str = "2001:db8:a00:102::c";
const OUTSIDE: &str = "2001:db8:ffff::2";
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const PATIENCE: Duration = Duration::from_secs(10);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect(text)
}

/// Groups and ACLs let everything pass.
fn two_subnets() -> VpcPlan {
    let mut plan = vpc_plan();
    plan.ipv6 = vec!["2001:db8:a00:100::/56".parse().expect("a network")];
    let all = RulePlan { traffic: Traffic::All, peer: Peer::Ipv6("::/0".parse().expect("a network")) };
    plan.groups[0].ingress = vec![all.clone()];
    plan.groups[0].egress = vec![all];
    let entry = everything();
    (plan.acls[0].ingress, plan.acls[0].egress) = (vec![entry.clone()], vec![entry]);
    plan.subnets[0].ipv6 = "2001:db8:a00:101::/64".parse().ok();
    let mut second = plan.subnets[0].clone();
    second.id = "subnet-00000000000000002".parse().expect("an id");
    second.cidr = "10.0.1.0/24".parse().expect("a network");
    second.ipv6 = "2001:db8:a00:102::/64".parse().ok();
    plan.subnets.push(second);
    let (mut a, mut b, mut c) = (interface(1, 1, "10.0.0.5"), interface(2, 1, "10.0.0.6"), interface(3, 2, "10.0.1.5"));
    for (interface, own) in [(&mut a, A), (&mut b, B), (&mut c, C)] {
        interface.ipv6 = vec![ip(own)];
        plan.members_ipv6.push(MemberIpv6 { ip: ip(own), groups: interface.groups.clone() });
    }
    plan.interfaces = vec![a, b, c];
    plan
}

fn everything() -> AclEntryPlan {
    entry(101, true, Traffic::All, "::/0")
}

fn entry(number: u16, allow: bool, traffic: Traffic, peer: &str) -> AclEntryPlan {
    AclEntryPlan { number, allow, traffic, peer: network_acl::Peer::Ipv6(peer.parse().expect("a network")) }
}

fn out(way: Way) -> Vec<WayPlan> {
    vec![WayPlan { to: "::/0".parse().expect("a network"), way }]
}

#[test]
fn guests_speak_for_themselves_and_reach_who_is_there() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, b, c) = (lab.udp(A, 7000), lab.udp(B, 7), lab.udp(C, 7));
    for (from, to) in [(&a, &b), (&b, &a), (&a, &c), (&c, &a)] {
        lab.reaches(from, to);
    }
    assert_eq!(lab.reaches_by(&a, &c, c.local_addr().expect("an address")), IpAddr::V6(ip(A)));
    assert_eq!(lab.differences(), [""; 0]);
    // In another's name, of its own subnet or of none.
    for lie in [C, "2001:db8:a00:101::99", "2001:db8:ffff::7"] {
        lab.guest(A).ip(&[format!("addr add {lie}/128 dev eth0 nodad")]);
        let liar = lab.guest(A).inside(|| bound(lie, 9));
        lab.is_lost(&liar, &b);
    }
    // An interface without the check may say anything, and still only to who is there.
    lab.network_mut().interfaces[0].source_dest_check = false;
    lab.apply();
    let forwards = lab.guest(A).inside(|| bound("2001:db8:ffff::7", 10));
    lab.reaches(&forwards, &b);
    lab.network_mut().interfaces[0].source_dest_check = true;
    lab.apply();
    lab.is_lost(&forwards, &b);
    // An address that went is nobody's; one that came is there.
    let moved = "2001:db8:a00:101::cc";
    lab.network_mut().interfaces[1].ipv6 = vec![ip(moved)];
    lab.apply();
    lab.guest("10.0.0.6").ip(&[format!("addr add {moved}/128 dev eth0 nodad")]);
    lab.is_lost(&a, &b);
    lab.reaches(&a, &lab.udp(moved, 8));
}

#[test]
fn no_guest_finds_another_as_a_neighbour() {
    let Some(lab) = Lab::new(two_subnets()) else { return };
    let (a, b) = (lab.guest(A), lab.guest(B));
    let index = |guest: &Namespace| guest.inside(|| if_nametoindex("eth0").expect("a link"));
    let near = |guest: &Namespace| {
        let shown = guest.inside(|| netns::ip_json(&["-6", "addr", "show", "dev", "eth0", "scope", "link"]));
        // What is filtered out leaves empty places.
        let shown = shown.expect("shows");
        let all = shown.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
        let mut near = all.filter_map(|address| address["local"].as_str()).filter(|text| text.starts_with("fe80:"));
        ip(near.next().expect("a link-local address"))
    };
    let hears = b.inside(|| UdpSocket::bind(("::", 5000)).expect("binds"));
    hears.join_multicast_v6(&ALL_NODES, index(b)).expect("joins");
    let says = a.inside(|| UdpSocket::bind(("::", 5001)).expect("binds"));
    for to in [ALL_NODES, near(b)] {
        let to = SocketAddr::V6(SocketAddrV6::new(to, 5000, 0, index(a)));
        if says.send_to(b"x", to).is_ok() {
            hears.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
            assert!(heard(|| hears.recv(&mut [0; 8])).is_err(), "something came to {to}");
        }
    }
    // Its neighbour is asked for, and nobody answers.
    a.ip(&[format!("route add {B}/128 dev eth0")]);
    let own = lab.udp(A, 7000);
    lab.is_lost(&own, &lab.udp(B, 7));
    a.ip(&[format!("route del {B}/128 dev eth0")]);
    lab.reaches(&own, &lab.udp(B, 7));
}

/// As only a neighbour can say it. What the kernel cannot send, nobody hears.
fn says(link: &str, to: Ipv6Addr, message: &[u8]) {
    let raw =
        socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6).expect("a socket");
    let raw = UdpSocket::from(raw);
    // Who lies is not to believe it itself.
    raw.set_multicast_loop_v6(false).expect("an option");
    let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, if_nametoindex(link).expect("a link")));
    let hops = [ControlMessage::Ipv6HopLimit(&255)];
    let _ = sendmsg(raw.as_raw_fd(), &[IoSlice::new(message)], &hops, MsgFlags::empty(), Some(&to));
}

#[expect(clippy::disallowed_methods, reason = "no change of a kernel's mind can be waited for")]
fn comes_true(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_guest_tells_another_of_a_router_or_a_neighbour_or_gives_it_an_address() {
    let Some(lab) = Lab::new(two_subnets()) else { return };
    let (guest, b) = (lab.guest(A), lab.guest(B));
    let (from, to) = (lab.udp(A, 7000), lab.udp(B, 7));
    lab.reaches(&to, &from);
    // A router that lets packets pass 77 others, and a neighbour that says to be the router.
    let router = [&[134, 0, 0, 0, 77, 0, 7, 8][..], &[0; 8]].concat();
    let neighbour = [&[136, 0, 0, 0, 0xa0, 0, 0, 0][..], &ROUTER.octets(), &[2, 1, 0x0a, 0, 9, 9, 9, 9]].concat();
    let hops = || b.inside(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/hop_limit")).expect("a setting");
    let known =
        || b.inside(|| netns::feed("ip", &["-6", "neigh", "show", "fe80::1", "dev", "eth0"], "")).expect("shows");
    for message in [&router, &neighbour] {
        for to in [ALL_NODES, ip(B)] {
            guest.inside(|| says("eth0", to, message));
        }
    }
    // It comes after them by the same way.
    lab.reaches(&from, &to);
    assert_eq!(hops().trim(), "64");
    assert!(known().contains("0a:ff:ff:ff:ff:01"), "{}", known());
    // The router itself would be believed.
    let tap = tap_name(&lab.network().interfaces[1].id);
    lab.vpc(|| says(&tap, ALL_NODES, &router));
    comes_true("no router was heard", || hops().trim() == "77");
    lab.vpc(|| says(&tap, ALL_NODES, &neighbour));
    comes_true("no neighbour was heard", || known().contains("0a:00:09:09:09:09"));
    let table = ["neigh", "replace", "fe80::1", "lladdr", "0a:ff:ff:ff:ff:01", "dev", "eth0"].join(" ");
    b.ip(&[table]);

    let client = b.inside(|| bound(B, 546));
    lab.is_lost(&guest.inside(|| bound(A, 547)), &client);
    lab.reaches(&from, &client);
}

#[test]
fn who_sends_what_is_too_big_for_the_way_is_told_so() {
    let Some(mut lab) = Lab::by(two_subnets(), Uplink::Routed) else { return };
    let world = outside();
    lab.network_mut().subnets[0].ways = out(Way::Internet);
    lab.network_mut().groups[0].ingress.clear();
    lab.apply();
    netns::ip(&["link set wan mtu 1280".to_owned()]).expect("a link");
    let (near, far) = (lab.udp(A, 7000), world.inside(|| bound(OUTSIDE, 53)));
    let way = || lab.guest(A).inside(|| netns::feed("ip", &["-6", "route", "get", OUTSIDE], "")).expect("shows");
    lab.reaches_by(&near, &far, (ip(OUTSIDE), 53));
    assert!(!way().contains("mtu 1280"), "{}", way());
    near.send_to(&[0; 1400], (OUTSIDE, 53)).expect("sends");
    comes_true("nobody told", || way().contains("mtu 1280"));
}

#[test]
fn groups_and_acls_judge_both_families() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, b, c, other) = (lab.udp(A, 7000), lab.udp(B, 7000), lab.udp(C, 7), lab.udp(C, 8));
    lab.network_mut().acls[0].ingress =
        vec![entry(90, false, Traffic::Udp { from: 7, to: 7 }, &format!("{A}/128")), everything()];
    lab.apply();
    lab.is_lost(&a, &c);
    lab.reaches(&a, &other);
    lab.reaches(&b, &c);
    lab.network_mut().acls[0].ingress = vec![super::super::testing::everything()];
    lab.apply();
    lab.is_lost(&b, &c);
    lab.network_mut().acls[0].ingress = vec![everything()];
    let group = lab.network().groups[0].id.clone();
    let rule = |peer| vec![RulePlan { traffic: Traffic::Udp { from: 7, to: 7 }, peer }];
    lab.network_mut().groups[0].ingress = rule(Peer::Group(group.clone()));
    lab.apply();
    lab.reaches(&a, &c);
    lab.is_lost(&a, &other);
    // Who is no member any more.
    lab.network_mut().members_ipv6.retain(|member| member.ip != ip(B));
    lab.apply();
    let new = lab.guest(B).inside(|| bound(B, 7001));
    lab.is_lost(&new, &c);
    lab.network_mut().groups[0].ingress = rule(Peer::Ipv6(format!("{B}/128").parse().expect("a network")));
    lab.apply();
    lab.reaches(&new, &c);
    let newer = lab.guest(A).inside(|| bound(A, 7002));
    lab.is_lost(&newer, &c);
    // A rule for the other family lets nobody in.
    lab.network_mut().groups[0].ingress = rule(Peer::Ipv4("0.0.0.0/0".parse().expect("a network")));
    lab.apply();
    lab.is_lost(&lab.guest(B).inside(|| bound(B, 7003)), &c);
}

/// Somebody whom this host sends on to, and who sends the pool to this host.
fn outside() -> Namespace {
    let outside = Namespace::new();
    let lines = |text: String| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    netns::ip(&[format!("link add wan type veth peer name wan netns {}", outside.id), "link set wan up".to_owned()])
        .expect("a link");
    netns::ip6(&["addr add 2001:db8:ffff::1/64 dev wan nodad".to_owned()]).expect("an address");
    outside.ip(&["link set lo up".to_owned(), "link set wan up".to_owned()]);
    outside
        .inside(|| {
            netns::ip6(&lines(format!(
                "addr add {OUTSIDE}/64 dev wan nodad
                route add 2001:db8:a00::/40 via 2001:db8:ffff::1 dev wan"
            )))
        })
        .expect("an address");
    outside.inside(|| finds(ip("2001:db8:ffff::1")));
    outside
}

#[test]
fn gateways_translate_nothing_and_an_egress_only_one_lets_nobody_begin() {
    let Some(mut lab) = Lab::by(two_subnets(), Uplink::Routed) else { return };
    let world = outside();
    let far = world.inside(|| bound(OUTSIDE, 53));
    let port = std::cell::Cell::new(20_000);
    // Flows that are new, so that none is remembered.
    let fresh = |lab: &Lab, own: &str| {
        port.set(port.get() + 1);
        lab.udp(own, port.get())
    };
    let begins_and_is_answered = |lab: &Lab, own: &str| {
        let near = fresh(lab, own);
        let seen = lab.reaches_by(&near, &far, (ip(OUTSIDE), 53));
        assert_eq!(seen, IpAddr::V6(ip(own)), "it is its own address that is seen");
        lab.reaches(&far, &near);
    };
    let is_kept_in = |lab: &Lab, own: &str| lab.is_lost_by(&fresh(lab, own), &far, (ip(OUTSIDE), 53));
    let comes_in = |lab: &Lab, own: &str| lab.reaches(&far, &fresh(lab, own));
    let is_kept_out = |lab: &Lab, own: &str| lab.is_lost(&far, &fresh(lab, own));

    lab.network_mut().subnets[0].ways = out(Way::Internet);
    lab.network_mut().subnets[1].ways = out(Way::EgressOnly);
    lab.apply();
    begins_and_is_answered(&lab, A);
    comes_in(&lab, A);
    begins_and_is_answered(&lab, C);
    is_kept_out(&lab, C);
    assert_eq!(lab.differences(), [""; 0]);

    // Without a way, neither.
    lab.network_mut().subnets[0].ways.clear();
    lab.apply();
    is_kept_in(&lab, A);
    is_kept_out(&lab, A);
    // Only what the way leads to: to the others not, and from them nobody comes.
    let half = |to: &str, way| vec![WayPlan { to: to.parse().expect("a network"), way }];
    lab.network_mut().subnets[0].ways = half("2001:db8:fffe::/47", Way::Internet);
    lab.apply();
    comes_in(&lab, A);
    lab.network_mut().subnets[0].ways = half("2001:db8:fffe::/48", Way::Internet);
    lab.apply();
    is_kept_out(&lab, A);
    is_kept_in(&lab, A);

    // In somebody else's name nothing leaves, also from who may forward for others.
    lab.network_mut().subnets[0].ways = out(Way::Internet);
    lab.network_mut().interfaces[0].source_dest_check = false;
    lab.apply();
    lab.guest(A).ip(&["addr add 2001:db8:a00:1ff::1/128 dev eth0 nodad".to_owned()]);
    let liar = lab.guest(A).inside(|| bound("2001:db8:a00:1ff::1", 9));
    lab.is_lost_by(&liar, &far, (ip(OUTSIDE), 53));
    // Nor in the name of a guest from outside.
    world.inside(|| netns::ip6(&[format!("addr add {B}/128 dev lo nodad")])).expect("an address");
    let liar = world.inside(|| bound(B, 9));
    lab.is_lost(&liar, &fresh(&lab, A));
    let near = fresh(&lab, A);
    // The host itself is nobody's neighbour.
    let host = bound("2001:db8:a00::1", 99);
    lab.is_lost(&near, &host);
}

#[test]
fn where_the_host_lends_its_address_it_does_so_for_this_family_too() {
    let Some(mut lab) = Lab::by(two_subnets(), Uplink::Masquerade) else { return };
    let world = outside();
    let far = world.inside(|| bound(OUTSIDE, 53));
    lab.network_mut().subnets[0].ways = out(Way::Internet);
    lab.apply();
    lab.is_lost_by(&lab.udp(A, 7000), &far, (ip(OUTSIDE), 53));
    netns::ip6(&[format!("route add default via {OUTSIDE} dev wan")]).expect("a way out");
    lab.apply();
    let seen = lab.reaches_by(&lab.udp(A, 7001), &far, (ip(OUTSIDE), 53));
    assert_eq!(seen, IpAddr::V6(ip("2001:db8:ffff::1")));
}

/// A question of DHCP and its answer.
fn asked(client: &UdpSocket, index: u32, bytes: &[u8]) -> Option<Vec<u8>> {
    let servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    client.send_to(bytes, SocketAddr::V6(SocketAddrV6::new(servers, 547, 0, index))).expect("sends");
    let mut answer = [0; 1500];
    let length = heard(|| client.recv(&mut answer)).ok()?;
    Some(answer[..length].to_vec())
}

#[test]
fn a_guest_learns_its_router_and_its_addresses_from_the_platform_alone() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let guest = lab.guest(A);
    let routes = || guest.inside(|| netns::feed("ip", &["-6", "route", "show", "default", "proto", "ra"], ""));
    comes_true("no router", || routes().expect("shows").contains("via fe80::1 dev eth0"));
    let own = guest.inside(|| netns::feed("ip", &["-6", "addr", "show", "dev", "eth0", "scope", "global"], ""));
    let own = own.expect("shows");
    assert_eq!(own.matches("inet6").count(), 1, "it made up none: {own}");

    let index = guest.inside(|| if_nametoindex("eth0").expect("a link"));
    let client = guest.inside(|| UdpSocket::bind(("::", 546)).expect("binds"));
    setsockopt(&client, sockopt::ReuseAddr, &true).expect("an option");
    let solicit = [
        &[1, 7, 7, 7][..],
        &[0, 1, 0, 10, 0, 3, 0, 1, 0x0a, 0, 0, 0, 0, 1],
        &[0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let advertised = asked(&client, index, &solicit).expect("an answer");
    assert_eq!(advertised[..4], [2, 7, 7, 7]);
    let octets = ip(A).octets();
    assert!(advertised.windows(16).any(|part| part == octets), "{advertised:?}");
    assert!(!advertised.windows(16).any(|part| part == ip(B).octets()));

    // A question for the address of its own name (RFC 1035, 4.1).
    let question =
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0bip-10-0-0-5\x03ec2\x08internal\x00\x00\x01\x00\x01";
    let asks = lab.udp(A, 7000);
    asks.set_read_timeout(Some(PATIENCE)).expect("a time");
    asks.send_to(question, (RESOLVER, 53)).expect("sends");
    let mut answer = [0; 512];
    let length = heard(|| asks.recv(&mut answer)).expect("an answer");
    assert!(answer[..length].ends_with(&[0, 4, 10, 0, 0, 5]), "{:?}", &answer[..length]);

    // A question of a client of NTP, version 4 (RFC 5905, 7.3).
    let mut asks_time = [0; 48];
    asks_time[0] = 4 << 3 | 3;
    asks.send_to(&asks_time, (TIME, 123)).expect("sends");
    let (length, from) = heard(|| asks.recv_from(&mut answer)).expect("an answer");
    assert_eq!((length, from), (48, SocketAddr::from((TIME, 123))));

    let get = |lab: &Lab, token: Option<&str>, path: &str| {
        lab.guest(A).inside(|| {
            let to = SocketAddr::from((METADATA, 80));
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            let request = match token {
                None => "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n".to_owned(),
                Some(token) => format!("GET {path} HTTP/1.0\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"),
            };
            stream.write_all(request.as_bytes()).expect("sends");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
            (head[9..12].to_owned(), body.to_owned())
        })
    };
    assert_eq!(get(&lab, None, "").0, "403", "it is asked for");
    lab.plan.vms.iter_mut().for_each(|vm| vm.metadata.options.ipv6 = true);
    lab.apply();
    let (status, token) = get(&lab, None, "");
    assert_eq!(status, "200");
    assert_eq!(get(&lab, Some(&token), "/latest/meta-data/ipv6"), ("200".into(), A.into()));
    let id = lab.network().interfaces[0].instance.to_string();
    assert_eq!(get(&lab, Some(&token), "/latest/meta-data/instance-id"), ("200".into(), id));
}

#[test]
fn without_a_range_there_is_nothing_of_it() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, b) = (lab.udp(A, 7000), lab.udp(B, 7));
    lab.reaches(&a, &b);
    let network = lab.network_mut();
    network.ipv6.clear();
    network.members_ipv6.clear();
    network.subnets.iter_mut().for_each(|subnet| subnet.ipv6 = None);
    network.interfaces.iter_mut().for_each(|interface| interface.ipv6.clear());
    lab.apply();
    lab.is_lost(&a, &b);
    let v4 = lab.udp("10.0.0.5", 7000);
    lab.network_mut().groups[0].ingress =
        vec![RulePlan { traffic: Traffic::All, peer: Peer::Ipv4("0.0.0.0/0".parse().expect("a network")) }];
    lab.network_mut().groups[0].egress = lab.network().groups[0].ingress.clone();
    lab.apply();
    lab.reaches(&v4, &lab.udp("10.0.0.6", 7));
    // And it comes back, as for a range that is associated with a VPC that is there.
    let whole = two_subnets();
    *lab.network_mut() = whole;
    lab.apply();
    lab.reaches(&a, &b);
    assert_eq!(lab.differences(), [""; 0]);
}
