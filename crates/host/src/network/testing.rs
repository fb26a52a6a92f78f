//! A small network for tests.

use awan_model::Home;
use awan_model::group::{Peer, Traffic};
use awan_model::id::GroupId;
use awan_model::interface::Mac;
use awan_model::plan::{DhcpPlan, GroupPlan, InterfacePlan, Member, RulePlan, SubnetPlan, VpcPlan, Way, WayPlan};

pub fn vpc_plan() -> VpcPlan {
    let group: GroupId = "sg-00000000000000001".parse().expect("an id");
    let any = Peer::Ipv4("0.0.0.0/0".parse().expect("a network"));
    let rule = |traffic, peer: &Peer| RulePlan { traffic, peer: peer.clone() };
    let ingress = vec![
        rule(Traffic::Tcp { from: 22, to: 22 }, &Peer::Ipv4("203.0.113.0/24".parse().expect("a network"))),
        rule(Traffic::All, &Peer::Group(group.clone())),
        rule(Traffic::Udp { from: 1000, to: 2000 }, &any),
        rule(Traffic::Icmp { kind: Some(8), code: None }, &any),
    ];
    let subnet = "subnet-00000000000000001";
    let private_ip = "10.0.0.5".parse().expect("an address");
    let public_ip = Some("198.18.0.3".parse().expect("an address"));
    VpcPlan {
        home: Home::new("123456789012", "us-east-1"),
        id: "vpc-00000000000000001".parse().expect("an id"),
        cidr: "10.0.0.0/16".parse().expect("a network"),
        more_cidrs: Vec::new(),
        region: "us-east-1".into(),
        dns_support: true,
        dns_hostnames: true,
        dhcp: DhcpPlan { domain_name: Some("ec2.internal".into()), resolver: true, ..DhcpPlan::default() },
        subnets: vec![SubnetPlan {
            id: subnet.parse().expect("an id"),
            cidr: "10.0.0.0/24".parse().expect("a network"),
            ways: vec![WayPlan { to: "0.0.0.0/0".parse().expect("a network"), way: Way::Internet }],
        }],
        groups: vec![GroupPlan {
            id: group.clone(),
            name: "default".into(),
            ingress,
            egress: vec![rule(Traffic::All, &any)],
        }],
        interfaces: vec![InterfacePlan {
            id: "eni-00000000000000001".parse().expect("an id"),
            instance: "i-00000000000000001".parse().expect("an id"),
            device_index: 0,
            subnet: subnet.parse().expect("an id"),
            mac: Mac([0x0a, 0, 0, 0, 0, 1]),
            private_ip,
            public_ip,
            secondary: Vec::new(),
            groups: vec![group.clone()],
            source_dest_check: true,
        }],
        members: vec![Member { private_ip, groups: vec![group], public_ip }],
        nats: Vec::new(),
        peers: Vec::new(),
    }
}
