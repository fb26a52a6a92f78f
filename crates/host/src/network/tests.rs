//! Network ACLs on real packets, through the driver's own namespaces.
//!
//! ```text
//!   subnet 1 (ACL 1): a 10.0.0.5, b 10.0.0.6      subnet 2 (ACL 2): c 10.0.1.5, which also has 10.0.1.6
//! ```

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use awan_model::group::Traffic;
use awan_model::network_acl::Peer;
use awan_model::plan::{
    AclEntryPlan, AclPlan, EndpointInterfacePlan, EndpointPlan, GroupPlan, NatPlan, SecondaryPlan, VpcPlan, Way,
};
use nix::sys::socket::{setsockopt, sockopt};

use super::lab::{Lab, WORLD, bound, heard, interface, pings};
use super::testing::{everything, vpc_plan};

const A: &str = "10.0.0.5";
const B: &str = "10.0.0.6";
const C: &str = "10.0.1.5";
const PUBLIC_A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
const PUBLIC_B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);
const PUBLIC_NAT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const PATIENCE: Duration = Duration::from_secs(10);

/// Groups let everything pass, so that only ACLs decide.
fn two_subnets() -> VpcPlan {
    let mut plan = vpc_plan();
    plan.groups[0].ingress = plan.groups[0].egress.clone();
    let mut second = plan.subnets[0].clone();
    second.id = "subnet-00000000000000002".parse().expect("an id");
    second.cidr = "10.0.1.0/24".parse().expect("a network");
    second.acl = "acl-00000000000000002".parse().ok();
    plan.acls.push(AclPlan { id: second.acl.clone().expect("an id"), ..plan.acls[0].clone() });
    plan.subnets.push(second);
    let (mut a, mut b, mut c) = (interface(1, 1, A), interface(2, 1, B), interface(3, 2, C));
    (a.public_ip, b.public_ip) = (Some(PUBLIC_A), Some(PUBLIC_B));
    c.secondary.push(SecondaryPlan { private_ip: Ipv4Addr::new(10, 0, 1, 6), public_ip: None });
    plan.interfaces = vec![a, b, c];
    plan
}

/// A subnet without guests, its ACL that lets everything pass, and a NAT gateway in it that subnet 2 is led to.
fn with_nat() -> VpcPlan {
    let mut plan = two_subnets();
    let mut third = plan.subnets[0].clone();
    third.id = "subnet-00000000000000003".parse().expect("an id");
    third.cidr = "10.0.2.0/24".parse().expect("a network");
    third.acl = "acl-00000000000000003".parse().ok();
    plan.acls.push(AclPlan { id: third.acl.clone().expect("an id"), ..plan.acls[0].clone() });
    let id: awan_model::id::NatGatewayId = "nat-00000000000000001".parse().expect("an id");
    plan.subnets[1].ways[0].way = Way::Nat(id.clone());
    let private_ip = "10.0.2.9".parse().expect("an address");
    plan.nats.push(NatPlan { id, subnet: third.id.clone(), private_ip, public_ip: Some(PUBLIC_NAT) });
    plan.subnets.push(third);
    plan
}

fn entry(number: u16, allow: bool, traffic: Traffic, peer: &str) -> AclEntryPlan {
    AclEntryPlan { number, allow, traffic, peer: Peer::Ipv4(peer.parse().expect("a network")) }
}

/// In the order of their numbers, as a plan has them.
fn sorted<const N: usize>(mut entries: [AclEntryPlan; N]) -> Vec<AclEntryPlan> {
    entries.sort_by_key(|e| e.number);
    entries.into()
}

const PORT_7: Traffic = Traffic::Udp { from: 7, to: 7 };

#[test]
fn the_lowest_number_that_matches_decides() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, c, other) = (lab.udp(A, 7000), lab.udp(C, 7), lab.udp(C, 8));
    lab.reaches(&a, &c);
    lab.network_mut().acls[1].ingress = sorted([everything(), entry(90, false, PORT_7, "10.0.0.0/24")]);
    lab.apply();
    lab.is_lost(&a, &c);
    lab.reaches(&a, &other);
    lab.reaches(&c, &a);
    lab.network_mut().acls[1].ingress = sorted([everything(), entry(110, false, PORT_7, "10.0.0.0/24")]);
    lab.apply();
    lab.reaches(&a, &c);
    lab.network_mut().acls[1].ingress = sorted([everything(), entry(90, false, PORT_7, "10.0.0.6/32")]);
    lab.apply();
    lab.reaches(&a, &c);
    lab.is_lost(&lab.udp(B, 7000), &c);
    // What no entry matches is denied, on either side.
    lab.network_mut().acls[1].ingress.clear();
    lab.apply();
    lab.is_lost(&a, &c);
    lab.network_mut().acls[1].ingress = vec![everything()];
    lab.network_mut().acls[0].egress = vec![entry(1, true, PORT_7, "10.0.1.6/32")];
    lab.apply();
    lab.is_lost(&a, &c);
    lab.reaches(&a, &lab.udp("10.0.1.6", 7));
    assert_eq!(lab.differences(), [""; 0]);
}

#[test]
fn answers_are_judged_too_also_of_a_connection_that_was_there_before() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let listener = lab.guest(C).inside(|| TcpListener::bind((C, 80))).expect("listens");
    let at: SocketAddr = format!("{C}:80").parse().expect("an address");
    let connect = |lab: &Lab, within| lab.guest(A).inside(|| TcpStream::connect_timeout(&at, within));
    let ephemeral = entry(100, true, Traffic::Tcp { from: 1024, to: 65_535 }, "10.0.0.0/24");
    lab.network_mut().acls[1].ingress = vec![entry(100, true, Traffic::Tcp { from: 80, to: 80 }, "10.0.0.0/24")];
    lab.network_mut().acls[1].egress = vec![ephemeral.clone()];
    lab.apply();
    let mut near = connect(&lab, PATIENCE).expect("connects");
    let (mut far, _) = listener.accept().expect("accepts");
    let mut byte = [0];
    for side in [&near, &far] {
        side.set_read_timeout(Some(PATIENCE)).expect("a time");
    }
    near.write_all(b"1").expect("sends");
    far.read_exact(&mut byte).expect("is heard");

    lab.network_mut().acls[1].egress.clear();
    lab.apply();
    far.write_all(b"2").expect("is in the buffer");
    near.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
    let lost = heard(|| near.read(&mut byte)).expect_err("nothing comes");
    assert_eq!(lost.kind(), std::io::ErrorKind::WouldBlock);
    assert!(connect(&lab, Duration::from_millis(500)).is_err(), "no answer comes back");

    lab.network_mut().acls[1].egress = vec![ephemeral];
    lab.apply();
    near.set_read_timeout(Some(PATIENCE)).expect("a time");
    near.read_exact(&mut byte).expect("it goes on");
    assert_eq!(&byte, b"2");
}

#[test]
fn within_a_subnet_and_with_the_router_no_acl_judges() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, b, c) = (lab.udp(A, 7000), lab.udp(B, 7), lab.udp(C, 7));
    for acl in &mut lab.network_mut().acls {
        (acl.ingress, acl.egress) = (Vec::new(), Vec::new());
    }
    lab.apply();
    lab.reaches(&a, &b);
    lab.reaches(&b, &a);
    assert!(pings(lab.guest(A), B));
    lab.is_lost(&a, &c);
    lab.is_lost(&c, &a);
    assert!(!pings(lab.guest(A), C));

    assert!(pings(lab.guest(A), "10.0.0.1"), "the router");
    let status = lab.guest(A).inside(|| {
        let to = SocketAddr::from(([169, 254, 169, 254], 80));
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let token = "PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
        stream.write_all(token.as_bytes()).expect("sends");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[9..]).into_owned()
    });
    assert_eq!(status, "200");
    let mac = lab.network().interfaces[0].mac.0;
    let (dhcp, dns) = lab.guest(A).inside(|| {
        let client = bound("0.0.0.0", 68);
        setsockopt(&client, sockopt::BindToDevice, &"eth0".into()).expect("bound to a device");
        client.set_broadcast(true).expect("broadcast");
        let offer = answer(&client, &crate::service::dhcp::request::tests::discover(mac), "255.255.255.255:67");
        // A question for the name of the root, in its shortest form.
        let question = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
        (offer, answer(&bound(A, 0), &question, "10.0.0.2:53"))
    });
    assert_eq!(dhcp[16..20], [10, 0, 0, 5], "the address that is offered");
    assert_eq!(dns[..2], [7, 7]);
}

fn answer(socket: &UdpSocket, request: &[u8], to: &str) -> Vec<u8> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    socket.send_to(request, to).expect("sends");
    let mut answer = vec![0; 1500];
    let length = heard(|| socket.recv(&mut answer)).expect("an answer");
    answer.truncate(length);
    answer
}

#[test]
fn icmp_is_judged_by_type() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let echo = |kind| Traffic::Icmp { kind: Some(kind), code: Some(0) };
    assert!(pings(lab.guest(A), C) && pings(lab.guest(C), A));
    lab.network_mut().acls[1].ingress = sorted([entry(50, false, echo(8), "0.0.0.0/0"), everything()]);
    lab.apply();
    assert!(!pings(lab.guest(A), C), "a request is denied");
    assert!(pings(lab.guest(C), A), "a reply is another type");
    lab.network_mut().acls[1].ingress = vec![entry(50, true, echo(0), "10.0.0.5/32")];
    lab.apply();
    assert!(pings(lab.guest(C), A));
    assert!(!pings(lab.guest(C), B));
    lab.network_mut().acls[1].ingress = vec![entry(50, true, Traffic::Icmp { kind: None, code: None }, "10.0.0.0/24")];
    lab.apply();
    assert!(pings(lab.guest(A), C) && pings(lab.guest(C), B));
}

#[test]
fn what_comes_through_the_gateway_is_judged_by_who_sent_it() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let (a, b, world) = (lab.udp(A, 7), lab.udp(B, 7), bound("198.18.0.1", 7000));
    let to_a = (PUBLIC_A, 7);
    assert_eq!(lab.reaches_by(&world, &a, to_a), WORLD);
    lab.network_mut().acls[0].ingress = sorted([entry(1, false, PORT_7, "198.18.0.1/32"), everything()]);
    lab.apply();
    lab.is_lost_by(&world, &a, to_a);
    // The same flow again, which has been let in before.
    lab.network_mut().acls[0].ingress = vec![everything()];
    lab.network_mut().acls[0].egress = sorted([entry(1, false, Traffic::All, "198.18.0.1/32"), everything()]);
    lab.apply();
    assert_eq!(lab.reaches_by(&world, &a, to_a), WORLD);
    lab.is_lost_by(&a, &world, (WORLD, 7000));
    lab.network_mut().acls[0].egress = vec![everything()];
    lab.apply();
    assert_eq!(lab.reaches_by(&a, &world, (WORLD, 7000)), PUBLIC_A);

    // Who names its neighbour's public address leaves the subnet, and enters it as its own.
    assert_eq!(lab.reaches_by(&a, &b, (PUBLIC_B, 7)), PUBLIC_A);
    lab.network_mut().acls[0].ingress = vec![entry(1, true, Traffic::All, "10.0.0.0/8")];
    lab.apply();
    lab.is_lost_by(&a, &b, (PUBLIC_B, 7));
    lab.reaches(&a, &b);
    lab.network_mut().acls[0].ingress = vec![entry(1, true, Traffic::All, "198.18.0.3/32")];
    lab.network_mut().acls[0].egress = vec![entry(1, true, Traffic::All, "198.18.0.4/32")];
    lab.apply();
    assert_eq!(lab.reaches_by(&a, &b, (PUBLIC_B, 7)), PUBLIC_A);
    lab.is_lost_by(&b, &a, (PUBLIC_A, 7));
}

#[test]
fn what_goes_through_a_nat_gateway_enters_and_leaves_its_subnet_too() {
    let Some(mut lab) = Lab::new(with_nat()) else { return };
    let (a, c) = (lab.udp(A, 7), lab.udp(C, 7));
    let there = |lab: &Lab| assert_eq!(lab.reaches_by(&c, &a, (PUBLIC_A, 7)), PUBLIC_NAT);
    let back = (PUBLIC_NAT, 7);
    there(&lab);
    assert_eq!(lab.reaches_by(&a, &c, back), PUBLIC_A);
    let all = |number, peer| entry(number, true, Traffic::All, peer);
    lab.network_mut().acls[2].ingress = sorted([entry(1, false, Traffic::All, "10.0.1.0/24"), everything()]);
    lab.apply();
    lab.is_lost_by(&c, &a, (PUBLIC_A, 7));
    lab.network_mut().acls[2].ingress = vec![everything()];
    lab.network_mut().acls[2].egress = sorted([entry(1, false, PORT_7, "198.18.0.3/32"), everything()]);
    lab.apply();
    lab.is_lost_by(&c, &a, (PUBLIC_A, 7));
    lab.network_mut().acls[2].ingress = vec![all(1, "10.0.1.5/32")];
    lab.network_mut().acls[2].egress = vec![all(1, "198.18.0.3/32"), all(2, "10.0.1.5/32")];
    lab.apply();
    there(&lab);
    lab.is_lost_by(&a, &c, back);
    lab.network_mut().acls[2].ingress.push(all(2, "198.18.0.3/32"));
    lab.network_mut().acls[2].egress.pop();
    lab.apply();
    lab.is_lost_by(&a, &c, back);
    lab.network_mut().acls[2].egress.push(all(2, "10.0.1.5/32"));
    lab.apply();
    assert_eq!(lab.reaches_by(&a, &c, back), PUBLIC_A);

    // In the gateway's own subnet, only what the gateway itself sends and gets crosses the border.
    let id = lab.network().subnets[1].id.clone();
    lab.network_mut().nats[0].subnet = id;
    for acl in [1, 2] {
        lab.network_mut().acls[acl].ingress = if acl == 1 { vec![all(1, "198.18.0.3/32")] } else { Vec::new() };
        lab.network_mut().acls[acl].egress = lab.network().acls[acl].ingress.clone();
    }
    lab.apply();
    there(&lab);
    assert_eq!(lab.reaches_by(&a, &c, back), PUBLIC_A);
}

#[test]
fn a_foreign_source_does_not_make_a_neighbour() {
    let mut plan = two_subnets();
    plan.interfaces[2].source_dest_check = false;
    let Some(mut lab) = Lab::new(plan) else { return };
    // Says that it is of the subnet to which it sends, and is not.
    lab.guest(C).ip(&["addr add 10.0.0.99/32 dev eth0".to_owned(), "rule add from 10.0.0.99 lookup 100".to_owned()]);
    let liar = lab.guest(C).inside(|| {
        // It asks for its router as itself; nobody answers a stranger.
        super::netns::sysctl("net/ipv4/conf/eth0/arp_announce", "2").expect("sets");
        bound("10.0.0.99", 7)
    });
    let a = lab.udp(A, 7);
    lab.reaches(&liar, &a);
    lab.network_mut().acls[0].ingress = sorted([entry(1, false, Traffic::All, "10.0.0.99/32"), everything()]);
    lab.apply();
    lab.is_lost(&liar, &a);
    lab.network_mut().acls[0].ingress = vec![everything()];
    lab.network_mut().acls[1].egress.clear();
    lab.apply();
    lab.is_lost(&liar, &a);
}

#[test]
fn each_interface_of_a_guest_is_judged_by_the_acl_of_its_subnet() {
    let mut plan = two_subnets();
    let mut second = interface(1, 2, "10.0.1.7");
    second.device_index = 1;
    plan.interfaces.push(second);
    let Some(mut lab) = Lab::new(plan) else { return };
    let (b, c) = (lab.udp(B, 7000), lab.udp(C, 7000));
    let (first, second) = (lab.udp(A, 7), lab.udp("10.0.1.7", 7));
    for (from, to) in [(&b, &first), (&b, &second), (&c, &first), (&c, &second), (&first, &c), (&second, &b)] {
        lab.reaches(from, to);
    }
    lab.network_mut().acls[1].ingress.clear();
    lab.apply();
    for (from, to) in [(&b, &first), (&c, &first), (&c, &second), (&second, &b)] {
        lab.reaches(from, to);
    }
    for (from, to) in [(&b, &second), (&first, &c)] {
        lab.is_lost(from, to);
    }
}

#[test]
fn entries_of_every_kind_are_taken_by_the_kernel() {
    let Some(mut lab) = Lab::new(two_subnets()) else { return };
    let kinds = [
        Traffic::All,
        Traffic::Tcp { from: 0, to: 65_535 },
        Traffic::Udp { from: 53, to: 53 },
        Traffic::Icmp { kind: None, code: None },
        Traffic::Icmp { kind: Some(3), code: Some(4) },
        Traffic::Icmp { kind: Some(255), code: None },
        Traffic::Icmpv6 { kind: None, code: None },
        Traffic::Icmpv6 { kind: Some(1), code: Some(255) },
        Traffic::Protocol(0),
        Traffic::Protocol(255),
    ];
    let peers = ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"].map(|net| Peer::Ipv4(net.parse().expect("a network")));
    let more = ["::/0", "2001:db8::/32", "2001:db8::1/128"].map(|net| Peer::Ipv6(net.parse().expect("a network")));
    let peers = peers.into_iter().chain(more);
    let entries = peers.flat_map(|peer| kinds.map(|traffic| AclEntryPlan { number: 7, allow: false, traffic, peer }));
    let entries: Vec<_> = entries.collect();
    lab.network_mut().acls[1].ingress = entries.clone();
    lab.network_mut().acls[1].egress = entries;
    lab.apply();
    lab.is_lost(&lab.udp(A, 7000), &lab.udp(C, 7));
}

const ENDPOINT: &str = "10.0.1.9";

/// An endpoint in subnet 2 with a group of its own, which lets subnet 1 reach HTTP's port.
fn with_endpoint() -> VpcPlan {
    let mut plan = two_subnets();
    let (id, group) = ("eni-00000000000000009".parse().expect("an id"), "sg-00000000000000009".parse().expect("an id"));
    let mut rule = plan.groups[0].egress[0].clone();
    (rule.traffic, rule.peer) =
        (Traffic::Tcp { from: 80, to: 80 }, awan_model::group::Peer::Ipv4("10.0.0.0/24".parse().expect("a network")));
    let groups = vec![awan_model::id::GroupId::clone(&group)];
    plan.groups.push(GroupPlan { id: group, name: "endpoint".into(), ingress: vec![rule], egress: Vec::new() });
    let (subnet, private_ip) = (plan.subnets[1].id.clone(), ENDPOINT.parse().expect("an address"));
    let interfaces = vec![EndpointInterfacePlan { id, subnet, private_ip, groups }];
    let id = "vpce-00000000000000001".parse().expect("an id");
    plan.endpoints.push(EndpointPlan { id, interfaces, names: std::collections::BTreeMap::new() });
    plan
}

/// What the API says to a guest that says this through an endpoint. The API says the endpoint, and what it hears.
fn asks(lab: &Lab, guest: &str, port: u16, within: Duration) -> Option<String> {
    lab.guest(guest).inside(|| {
        let at: SocketAddr = format!("{ENDPOINT}:{port}").parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&at, within).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(b"a question").expect("sends");
        stream.shutdown(std::net::Shutdown::Write).expect("has no more");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        Some(answer)
    })
}

#[test]
fn an_endpoint_leads_to_the_api_whom_its_group_and_the_acls_let_there() {
    const SOON: Duration = Duration::from_millis(500);
    let Some(mut lab) = Lab::new(with_endpoint()) else { return };
    let whole = Some("vpce-00000000000000001\na question".to_owned());
    assert_eq!(asks(&lab, A, 80, PATIENCE), whole);
    assert_eq!(asks(&lab, A, 443, SOON), None, "the group does not let it in");
    assert_eq!(asks(&lab, C, 80, SOON), None, "nor who is in its subnet");
    assert!(!pings(lab.guest(A), ENDPOINT), "endpoints carry TCP alone");

    // ACLs judge what crosses the bounds of its subnet, answers too.
    let everything = || vec![everything()];
    lab.network_mut().acls[1].egress = vec![entry(100, true, Traffic::Tcp { from: 1, to: 1023 }, "10.0.0.0/24")];
    lab.apply();
    assert_eq!(asks(&lab, A, 80, SOON), None, "no answer comes back");
    (lab.network_mut().acls[1].egress, lab.network_mut().acls[1].ingress) = (everything(), Vec::new());
    lab.apply();
    assert_eq!(asks(&lab, A, 80, SOON), None, "nothing goes there");
    lab.network_mut().groups[1].ingress[0].peer = awan_model::group::Peer::Ipv4("10.0.1.0/24".parse().expect("one"));
    lab.apply();
    assert_eq!(asks(&lab, C, 80, PATIENCE), whole, "within its subnet no ACL is asked");
    lab.network_mut().acls[1].ingress = everything();
    lab.network_mut().groups[0].egress.clear();
    lab.apply();
    assert_eq!(asks(&lab, C, 80, SOON), None, "the guest's own group does not let it out");
    *lab.network_mut() = with_endpoint();
    lab.apply();

    // With the endpoint its connections go, and its address is the next one's.
    let at: SocketAddr = format!("{ENDPOINT}:80").parse().expect("an address");
    let mut idle = lab.guest(A).inside(|| TcpStream::connect_timeout(&at, PATIENCE)).expect("connects");
    idle.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut heard_first = [0; 23];
    idle.read_exact(&mut heard_first).expect("the API is there");
    lab.network_mut().endpoints.clear();
    lab.network_mut().interfaces[2]
        .secondary
        .push(SecondaryPlan { private_ip: ENDPOINT.parse().expect("one"), public_ip: None });
    lab.apply();
    idle.set_read_timeout(Some(SOON)).expect("a time");
    assert!(!matches!(heard(|| idle.read(&mut [0])), Ok(1..)), "nobody speaks for it");
    lab.guest(C).ip(&[format!("addr add {ENDPOINT}/32 dev eth0")]);
    let c = lab.udp(ENDPOINT, 7);
    lab.reaches(&lab.udp(A, 7000), &c);
    assert_eq!(asks(&lab, A, 80, SOON), None);
    assert_eq!(lab.differences(), [""; 0]);
}
