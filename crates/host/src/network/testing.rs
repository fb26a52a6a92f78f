//! A small network for tests, and namespaces for what takes part in it.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use awan_model::Home;
use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, NetworkAclId};
use awan_model::interface::Mac;
use awan_model::network_acl;
use awan_model::plan::{
    AclEntryPlan, AclPlan, DhcpPlan, GroupPlan, InterfacePlan, Member, RulePlan, SubnetPlan, VpcPlan, Way, WayPlan,
};
use nix::sched::{CloneFlags, unshare};

use super::netns;

const PATIENCE: Duration = Duration::from_secs(10);

/// Exists as long as its thread.
pub struct Namespace {
    thread: Option<JoinHandle<()>>,
    _end: mpsc::Sender<()>,
    pub id: i32,
}

impl Namespace {
    pub fn new() -> Self {
        let (end, ended) = mpsc::channel();
        let (say, heard) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            say.send(nix::unistd::gettid().as_raw()).expect("the test lives");
            let _ = ended.recv();
        });
        Self { thread: Some(thread), _end: end, id: heard.recv_timeout(PATIENCE).expect("a namespace") }
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.id).into()
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::inside(self.path().to_str().expect("text"), || Ok(work())).expect("a namespace")
    }

    pub fn ip(&self, lines: &[String]) {
        self.inside(|| netns::ip(lines)).expect("ip");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let (none, _) = mpsc::channel();
        drop(std::mem::replace(&mut self._end, none));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

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
    let acl: NetworkAclId = "acl-00000000000000001".parse().expect("an id");
    let subnet = "subnet-00000000000000001";
    let private_ip = "10.0.0.5".parse().expect("an address");
    let public_ip = Some("198.18.0.3".parse().expect("an address"));
    VpcPlan {
        home: Home::new("123456789012", "us-east-1"),
        id: "vpc-00000000000000001".parse().expect("an id"),
        cidr: "10.0.0.0/16".parse().expect("a network"),
        more_cidrs: Vec::new(),
        ipv6: Vec::new(),
        region: "us-east-1".into(),
        dns_support: true,
        dns_hostnames: true,
        dhcp: DhcpPlan { domain_name: Some("ec2.internal".into()), resolver: true, ..DhcpPlan::default() },
        subnets: vec![SubnetPlan {
            id: subnet.parse().expect("an id"),
            cidr: "10.0.0.0/24".parse().expect("a network"),
            ipv6: None,
            acl: Some(acl.clone()),
            ways: vec![WayPlan { to: "0.0.0.0/0".parse().expect("a network"), way: Way::Internet }],
        }],
        acls: vec![AclPlan { id: acl, ingress: vec![everything()], egress: vec![everything()] }],
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
            ipv6: Vec::new(),
            groups: vec![group.clone()],
            source_dest_check: true,
            bandwidth_mbps: None,
        }],
        members: vec![Member { private_ip, groups: vec![group], public_ip }],
        members_ipv6: Vec::new(),
        nats: Vec::new(),
        peers: Vec::new(),
        flow_logs: Vec::new(),
        endpoints: Vec::new(),
    }
}

/// What a default ACL has.
pub fn everything() -> AclEntryPlan {
    let peer = network_acl::Peer::Ipv4("0.0.0.0/0".parse().expect("a network"));
    AclEntryPlan { number: 100, allow: true, traffic: Traffic::All, peer }
}
