//! A VPC of the driver's making with guests in namespaces, and the same path without the driver.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Result, bail};
use awan_host::driver::{Fut, Network as _};
use awan_host::network::driver::{NetworkConfig, NetworkDriver, Uplink};
use awan_host::network::{netns, vpc};
use awan_host::service::endpoint::{Api, Door, Duplex};
use awan_host::service::{GuestServices, ServiceConfig};
use awan_model::Home;
use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, HostId};
use awan_model::interface::Mac;
use awan_model::network_acl;
use awan_model::plan::{
    AclEntryPlan, AclPlan, DhcpPlan, GroupPlan, HostPlan, InterfacePlan, Member, NetworkPlan, PROTOCOL, RulePlan,
    SubnetPlan, VpcPlan, Way, WayPlan,
};

/// How many rules that do not match stand in front of the one that does, and the subnet of the second guest.
const PAIRS: [(u32, u32); 4] = [(0, 0), (10, 0), (1000, 0), (0, 1)];
const ROUTER: &str = "bare-router";

pub struct Cloud {
    driver: Arc<NetworkDriver>,
    runtime: tokio::runtime::Runtime,
    tag: String,
    _folder: tempfile::TempDir,
}

/// No network here has endpoints.
#[derive(Debug)]
struct NoApi;

impl Api for NoApi {
    fn dial<'a>(&'a self, door: &'a Door) -> Fut<'a, Result<Box<dyn Duplex>>> {
        Box::pin(async { bail!("{} leads nowhere", door.endpoint) })
    }
}

/// From one namespace to an address of another.
pub struct Path {
    pub name: String,
    pub from: String,
    pub to: String,
    pub address: Ipv4Addr,
}

impl Cloud {
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let secret = folder.path().join("secret");
        let services =
            ServiceConfig { secret, resolvers: Vec::new(), api: Arc::new(NoApi), runtime: runtime.handle().clone() };
        let tag = format!("{:06x}", rand::random::<u32>() & 0xff_ffff);
        let config = NetworkConfig { tag: tag.clone(), uplink: Uplink::Closed, outside: None };
        Ok(Self { driver: NetworkDriver::new(config, GuestServices::new(services)?)?, runtime, tag, _folder: folder })
    }

    pub fn apply(&self, plan: &HostPlan) -> Result<()> {
        self.runtime.block_on(self.driver.apply(plan))
    }

    /// The bare one first.
    pub fn paths(&self) -> Result<Vec<Path>> {
        let mut plan = host(network());
        self.apply(&plan)?;
        let mut paths = vec![bare()?];
        for (n, (rules, subnet)) in (0..).zip(PAIRS) {
            let group = group(n + 1, rules);
            let guests = [(0, 2 * n), (subnet, 2 * n + 1)].map(|(subnet, n)| interface(n, subnet, &group.id));
            let names = guests.each_ref().map(|guest| format!("guest-{}", guest.private_ip));
            let vpc = &mut plan.network.vpcs[0];
            for (guest, name) in guests.iter().zip(&names) {
                join(&self.driver.namespace(&vpc.id), guest, name)?;
            }
            let address = guests[1].private_ip;
            vpc.groups.push(group);
            vpc.members.extend(guests.iter().map(member));
            vpc.interfaces.extend(guests);
            let where_to = if subnet == 0 { "" } else { ", to another subnet" };
            let name = format!("{rules} rules before the one that allows{where_to}");
            let [from, to] = names;
            paths.push(Path { name, from, to, address });
        }
        self.apply(&plan)?;
        Ok(paths)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = NetworkDriver::purge(&self.tag);
    }
}

/// A guest's link in place of its tap: the driver finds one of that name there.
fn join(vpc: &str, guest: &InterfacePlan, name: &str) -> Result<()> {
    let digits = guest.id.digits();
    let (tap, mac) = (format!("tap{}", &digits[digits.len() - 12..]), guest.mac);
    let router = vpc::ROUTER_MAC.map(|byte| format!("{byte:02x}")).join(":");
    netns::add(name)?;
    netns::ip(&[format!(
        "link add {tap} netns {vpc} address {router} type veth peer name eth0 netns {name} address {mac}"
    )])?;
    let own = u32::from(guest.private_ip);
    netns::inside(name, || settle(guest.private_ip, Ipv4Addr::from((own & !0xfff) + 1), 20))
}

fn settle(own: Ipv4Addr, gateway: Ipv4Addr, prefix: u8) -> Result<()> {
    netns::ip(&[
        "link set lo up".to_owned(),
        format!("addr add {own}/{prefix} dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {gateway}"),
    ])
}

/// Two namespaces and a router between them that does nothing else.
fn bare() -> Result<Path> {
    netns::add(ROUTER)?;
    netns::inside(ROUTER, || netns::sysctl("net/ipv4/ip_forward", "1"))?;
    for n in [0, 1] {
        let (name, gateway) = (format!("bare-{n}"), Ipv4Addr::new(10, 9, n, 1));
        netns::add(&name)?;
        netns::ip(&[format!("link add bare{n} netns {ROUTER} type veth peer name eth0 netns {name}")])?;
        netns::inside(ROUTER, || {
            netns::ip(&[format!("addr add {gateway}/24 dev bare{n}"), format!("link set bare{n} up")])
        })?;
        netns::inside(&name, || settle(Ipv4Addr::new(10, 9, n, 5), gateway, 24))?;
    }
    let (from, to) = ("bare-0".to_owned(), "bare-1".to_owned());
    Ok(Path { name: "bare router".to_owned(), from, to, address: Ipv4Addr::new(10, 9, 1, 5) })
}

/// A VPC whose one group has a few rules and so many members.
pub fn many(count: u32) -> HostPlan {
    let mut vpc = network();
    let group = group(1, 10);
    vpc.interfaces = (0..count).map(|n| interface(n, 0, &group.id)).collect();
    vpc.members = vpc.interfaces.iter().map(member).collect();
    vpc.groups = vec![group];
    host(vpc)
}

fn host(vpc: VpcPlan) -> HostPlan {
    HostPlan {
        protocol: PROTOCOL,
        store: "bench".into(),
        revision: 1,
        host: HostId::new("bench").expect("a name"),
        vms: Vec::new(),
        volumes: Vec::new(),
        consoles: Vec::new(),
        contents: Vec::new(),
        exports: Vec::new(),
        images: None,
        network: NetworkPlan { vpcs: vec![vpc], public_pool: "198.18.0.0/16".parse().ok(), ipv6_pool: None },
    }
}

fn id<T: std::str::FromStr>(prefix: &str, n: u32) -> T {
    format!("{prefix}-{n:017x}").parse().ok().expect("an id")
}

fn network() -> VpcPlan {
    let peer = network_acl::Peer::Ipv4("0.0.0.0/0".parse().expect("a network"));
    let everything = AclEntryPlan { number: 100, allow: true, traffic: Traffic::All, peer };
    let subnet = |n: u8| SubnetPlan {
        id: id("subnet", n.into()),
        cidr: format!("10.0.{}.0/20", n * 16).parse().expect("a network"),
        ipv6: None,
        acl: Some(id("acl", 1)),
        ways: vec![WayPlan { to: "0.0.0.0/0".parse().expect("a network"), way: Way::Internet }],
    };
    VpcPlan {
        home: Home::new("123456789012", "us-east-1"),
        id: id("vpc", 1),
        cidr: "10.0.0.0/16".parse().expect("a network"),
        more_cidrs: Vec::new(),
        ipv6: Vec::new(),
        region: "us-east-1".into(),
        dns_support: true,
        dns_hostnames: true,
        dhcp: DhcpPlan { resolver: true, ..DhcpPlan::default() },
        subnets: vec![subnet(0), subnet(1)],
        acls: vec![AclPlan { id: id("acl", 1), ingress: vec![everything.clone()], egress: vec![everything] }],
        groups: Vec::new(),
        interfaces: Vec::new(),
        members: Vec::new(),
        members_ipv6: Vec::new(),
        nats: Vec::new(),
        peers: Vec::new(),
        flow_logs: Vec::new(),
        endpoints: Vec::new(),
    }
}

/// Last, a rule for members of the group on their way in and for everybody on their way out.
fn group(n: u32, others: u32) -> GroupPlan {
    let id: GroupId = id("sg", n);
    let other = |n: u32| RulePlan {
        traffic: Traffic::Tcp { from: 10_000 + (n % 1000) as u16, to: 10_000 + (n % 1000) as u16 },
        peer: Peer::Ipv4(Ipv4Addr::from(0xc612_0000 + n).into()),
    };
    let rules = |last| (0..others).map(other).chain([RulePlan { traffic: Traffic::All, peer: last }]).collect();
    let everybody = Peer::Ipv4("0.0.0.0/0".parse().expect("a network"));
    GroupPlan { name: format!("with-{others}"), ingress: rules(Peer::Group(id.clone())), egress: rules(everybody), id }
}

fn interface(n: u32, subnet: u32, group: &GroupId) -> InterfacePlan {
    let [_, _, high, low] = n.to_be_bytes();
    InterfacePlan {
        id: id("eni", n + 1),
        instance: id("i", n + 1),
        device_index: 0,
        subnet: id("subnet", subnet),
        mac: Mac([0x0a, 0, 0, 0, high, low]),
        private_ip: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 10)) + subnet * 0x1000 + n),
        public_ip: None,
        secondary: Vec::new(),
        ipv6: Vec::new(),
        groups: vec![group.clone()],
        source_dest_check: true,
        bandwidth_mbps: None,
    }
}

fn member(interface: &InterfacePlan) -> Member {
    Member { private_ip: interface.private_ip, groups: interface.groups.clone(), public_ip: None }
}
