//! Random plans, and random changes of them.
//!
//! Few addresses, ports and networks, so that chance often makes them meet: VPCs have the same ranges, groups name each
//! other, public addresses come back to other interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use awan_model::Home;
use awan_model::group::{Peer, Traffic};
use awan_model::id::{GroupId, HostId, InterfaceId, NetworkAclId, SubnetId, VpcId};
use awan_model::interface::Mac;
use awan_model::network_acl;
use awan_model::plan::{
    AclEntryPlan, AclPlan, DhcpPlan, EndpointInterfacePlan, EndpointPlan, FlowLogPlan, GroupPlan, HostPlan,
    InterfacePlan, Member, NatPlan, NetworkPlan, PROTOCOL, PeerPlan, RulePlan, SecondaryPlan, SubnetPlan, VpcPlan, Way,
    WayPlan,
};
use ipnet::{IpNet, Ipv4Net};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::model::nth;
use crate::wire::FIRST_PORT;

pub const POOL: &str = "198.18.0.0/16";
/// Of the world; none of them is the host's.
pub const OUTSIDE: [Ipv4Addr; 5] = [
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(198, 51, 100, 9),
    Ipv4Addr::new(198, 51, 100, 130),
    Ipv4Addr::new(203, 0, 113, 77),
    Ipv4Addr::new(9, 9, 9, 9),
];
const RANGES: [&str; 6] =
    ["10.0.0.0/16", "10.0.0.0/16", "10.0.0.0/17", "10.1.0.0/16", "172.31.0.0/16", "192.168.16.0/20"];
const MORE_RANGES: [&str; 2] = ["100.64.0.0/16", "10.200.0.0/24"];
const PORTS: [u16; 8] = [22, 53, 67, 80, 443, 1000, 1500, 2000];

pub struct Topology {
    pub rng: StdRng,
    pub plan: HostPlan,
    /// Interfaces of other hosts: their groups' rules count here too.
    elsewhere: BTreeMap<VpcId, Vec<Member>>,
    /// Addresses that guests of a subnet choose from.
    pub room: u32,
    /// Who has spoken with whom in a protocol without ports.
    pub spoken: BTreeSet<(String, String, u8)>,
}

pub fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

impl Topology {
    pub fn new(seed: u64) -> Self {
        let network = NetworkPlan { vpcs: Vec::new(), public_pool: Some(net(POOL)), ipv6_pool: None };
        let plan = HostPlan {
            protocol: PROTOCOL,
            store: "matrix".into(),
            revision: 1,
            host: HostId::new("matrix").expect("a name"),
            vms: Vec::new(),
            volumes: Vec::new(),
            consoles: Vec::new(),
            contents: Vec::new(),
            exports: Vec::new(),
            images: None,
            network,
        };
        let rng = StdRng::seed_from_u64(seed);
        let mut topology = Self { rng, plan, elsewhere: BTreeMap::new(), room: 10, spoken: BTreeSet::new() };
        for _ in 0..*[1, 2, 2, 2, 3, 3].choose(&mut topology.rng).expect("some") {
            topology.add_vpc();
        }
        for _ in 0..2 {
            topology.add_peering();
        }
        topology.settle();
        topology
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.choose(&mut self.rng).cloned()
    }

    fn digits(&mut self) -> String {
        format!("{:017x}", self.rng.next_u64())
    }

    fn id<T: std::str::FromStr>(&mut self, prefix: &str) -> T {
        format!("{prefix}-{}", self.digits()).parse().ok().expect("an id")
    }

    fn vpc(&mut self, at: usize) -> &mut VpcPlan {
        &mut self.plan.network.vpcs[at]
    }

    fn any_vpc(&mut self) -> Option<usize> {
        let count = self.plan.network.vpcs.len();
        (count > 0).then(|| self.rng.random_range(0..count))
    }

    pub fn interfaces(&self) -> Vec<(VpcId, InterfacePlan)> {
        let of = |vpc: &VpcPlan| vpc.interfaces.iter().map(|eni| (vpc.id.clone(), eni.clone())).collect::<Vec<_>>();
        self.plan.network.vpcs.iter().flat_map(of).collect()
    }

    fn add_vpc(&mut self) {
        let cidr = net(RANGES[self.rng.random_range(0..RANGES.len())]);
        let more = if self.chance(25) { vec![net(MORE_RANGES[self.rng.random_range(0..2)])] } else { Vec::new() };
        let id: VpcId = self.id("vpc");
        let vpc = VpcPlan {
            home: Home::new("123456789012", "us-east-1"),
            id: id.clone(),
            cidr,
            more_cidrs: more.clone(),
            ipv6: Vec::new(),
            region: "us-east-1".into(),
            dns_support: true,
            dns_hostnames: true,
            dhcp: DhcpPlan { resolver: true, ..DhcpPlan::default() },
            subnets: Vec::new(),
            acls: Vec::new(),
            groups: Vec::new(),
            interfaces: Vec::new(),
            members: Vec::new(),
            members_ipv6: Vec::new(),
            nats: Vec::new(),
            peers: Vec::new(),
            // Nor do logs.
            flow_logs: vec![FlowLogPlan {
                id: "fl-00000000000000001".parse().expect("an id"),
                interfaces: Vec::new(),
                accepted: true,
                rejected: true,
                interval_s: 60,
                fields: Vec::new(),
                group: None,
            }],
            endpoints: Vec::new(),
        };
        self.plan.network.vpcs.push(vpc);
        let at = self.plan.network.vpcs.len() - 1;
        let mut ranges: Vec<Ipv4Net> = cidr.subnets(24).expect("a length").take(2).collect();
        ranges.extend(more.iter().flat_map(|net| net.subnets(24).expect("a length").take(1)));
        for _ in 0..2 {
            let id = self.id("acl");
            self.vpc(at).acls.push(AclPlan { id, ingress: Vec::new(), egress: Vec::new() });
        }
        for cidr in ranges {
            let (id, acl) = (self.id("subnet"), self.any_acl(at));
            self.vpc(at).subnets.push(SubnetPlan { id, cidr, ipv6: None, acl, ways: Vec::new() });
        }
        // The default one first.
        self.change_acl(at, 0, 100);
        self.change_acl(at, 1, 40);
        for _ in 0..self.rng.random_range(1..=3) {
            self.add_group(at);
        }
        for _ in 0..self.rng.random_range(2..=4) {
            self.add_interface(at);
        }
        if self.chance(60) {
            self.add_nat(at);
        }
        for group in 0..self.vpc(at).groups.len() {
            self.change_rules(at, group);
        }
        while self.chance(70) {
            self.add_endpoint(at);
        }
        for _ in 0..self.rng.random_range(0..3) {
            let Some(member) = self.member_elsewhere(at) else { continue };
            self.elsewhere.entry(id.clone()).or_default().push(member);
        }
        for subnet in 0..self.vpc(at).subnets.len() {
            self.change_ways(at, subnet);
        }
    }

    fn member_elsewhere(&mut self, at: usize) -> Option<Member> {
        let subnets = self.vpc(at).subnets.clone();
        let cidr = self.pick(&subnets)?.cidr;
        let private_ip = nth(cidr, self.rng.random_range(100..110));
        let groups = own_groups(self.vpc(at));
        Some(Member { private_ip, groups: self.pick(&groups).into_iter().collect(), public_ip: None })
    }

    fn add_group(&mut self, at: usize) {
        let id = self.id("sg");
        self.vpc(at).groups.push(GroupPlan { id, name: "group".into(), ingress: Vec::new(), egress: Vec::new() });
    }

    fn any_traffic(&mut self) -> Traffic {
        let port = *PORTS.choose(&mut self.rng).expect("some");
        match self.rng.random_range(0..12) {
            0..=2 => Traffic::All,
            3 => Traffic::Tcp { from: port, to: port },
            4 => Traffic::Tcp { from: port, to: port.saturating_add(500) },
            5 => Traffic::Tcp { from: 0, to: u16::MAX },
            6 => Traffic::Udp { from: port, to: port },
            7 => Traffic::Udp { from: port, to: port.saturating_add(1000) },
            8 => Traffic::Icmp { kind: None, code: None },
            9 => Traffic::Icmp { kind: Some(8), code: if self.chance(50) { Some(0) } else { None } },
            10 => Traffic::Icmp { kind: Some(13), code: None },
            _ => match self.rng.random_range(0..5) {
                0 => Traffic::Protocol(50),
                1 => Traffic::Protocol(99),
                2 => Traffic::Protocol(17),
                3 => Traffic::Protocol(6),
                _ => Traffic::Icmpv6 { kind: None, code: None },
            },
        }
    }

    fn any_peer(&mut self, at: usize) -> Peer {
        let everyone = Peer::Ipv4(net("0.0.0.0/0"));
        let (cidr, ids) = (self.vpc(at).cidr, own_groups(self.vpc(at)));
        let peers: Vec<_> = self.vpc(at).peers.iter().map(|peer| peer.vpc.clone()).collect();
        let beyond: Vec<_> =
            self.plan.network.vpcs.iter().filter(|vpc| peers.contains(&vpc.id)).flat_map(own_groups).collect();
        let all = self.interfaces();
        match self.rng.random_range(0..12) {
            0..=3 => everyone,
            4 => Peer::Ipv4(cidr),
            5 => Peer::Ipv4(self.vpc(at).subnets[0].cidr),
            6 => {
                let ip = self.pick(&all).and_then(|(_, eni)| eni.public_ip);
                ip.map_or(everyone, |ip| Peer::Ipv4(ip.into()))
            }
            7 => self.pick(&all).map_or(everyone, |(_, eni)| Peer::Ipv4(eni.private_ip.into())),
            8 => Peer::Ipv4(Ipv4Net::new(*OUTSIDE.choose(&mut self.rng).expect("some"), 25).expect("a length").trunc()),
            9 => Peer::Ipv6("::/0".parse().expect("a network")),
            10 if !beyond.is_empty() => self.pick(&beyond).map_or(everyone, Peer::Group),
            _ => self.pick(&ids).map_or(everyone, Peer::Group),
        }
    }

    fn change_rules(&mut self, at: usize, group: usize) {
        for egress in [false, true] {
            let open = self.chance(if egress { 60 } else { 15 });
            // Many are told to the kernel in another way than few.
            let many = self.chance(25);
            let count = if many { self.rng.random_range(8..40) } else { self.rng.random_range(0..5) };
            let mut rules: Vec<_> =
                (0..count).map(|_| RulePlan { traffic: self.any_traffic(), peer: self.any_peer(at) }).collect();
            // Of many, one that allows everything would leave nothing to the others.
            rules.retain(|rule| !(many && rule.traffic == Traffic::All && rule.peer == Peer::Ipv4(net("0.0.0.0/0"))));
            if open {
                rules.push(RulePlan { traffic: Traffic::All, peer: Peer::Ipv4(net("0.0.0.0/0")) });
            }
            rules.sort_unstable();
            rules.dedup();
            let group = &mut self.vpc(at).groups[group];
            *(if egress { &mut group.egress } else { &mut group.ingress }) = rules;
        }
    }

    fn any_acl(&mut self, at: usize) -> Option<NetworkAclId> {
        let all = self.vpc(at).acls.clone();
        match self.rng.random_range(0..50) {
            0 => None,
            1..=35 => all.first().map(|acl| acl.id.clone()),
            _ => all.last().map(|acl| acl.id.clone()),
        }
    }

    /// `open`: of a hundred, how many lines of it let everything through.
    fn change_acl(&mut self, at: usize, acl: usize, open: u32) {
        for egress in [false, true] {
            let everything = AclEntryPlan {
                number: 1000,
                allow: true,
                traffic: Traffic::All,
                peer: network_acl::Peer::Ipv4(net("0.0.0.0/0")),
            };
            let mut entries: Vec<AclEntryPlan> = Vec::new();
            if open < 100 {
                for number in 0..self.rng.random_range(0..6) {
                    let traffic = match self.rng.random_range(0..4) {
                        0 => Traffic::Tcp { from: FIRST_PORT, to: u16::MAX },
                        1 => Traffic::Udp { from: FIRST_PORT, to: u16::MAX },
                        _ => self.any_traffic(),
                    };
                    let peer = match self.any_peer(at) {
                        Peer::Ipv4(net) => network_acl::Peer::Ipv4(net),
                        _ => network_acl::Peer::Ipv6("::/0".parse().expect("a network")),
                    };
                    entries.push(AclEntryPlan { number: number * 10, allow: self.chance(65), traffic, peer });
                }
            }
            if self.chance(open) {
                entries.push(everything);
            }
            let acl = &mut self.vpc(at).acls[acl];
            *(if egress { &mut acl.egress } else { &mut acl.ingress }) = entries;
        }
    }

    fn any_groups(&mut self, at: usize) -> Vec<GroupId> {
        let all = own_groups(self.vpc(at));
        let count = *[1, 1, 1, 2, 2, 3, 0].choose(&mut self.rng).expect("some");
        all.sample(&mut self.rng, count.min(all.len())).cloned().collect()
    }

    fn free_private(&mut self, at: usize, subnet: &SubnetId) -> Option<Ipv4Addr> {
        let cidr = self.vpc(at).subnets.iter().find(|s| s.id == *subnet)?.cidr;
        let vpc = self.vpc(at);
        let mut taken: BTreeSet<_> =
            vpc.interfaces.iter().flat_map(InterfacePlan::addresses).map(|(ip, _)| ip).collect();
        taken.extend(vpc.endpoint_interfaces().map(|i| i.private_ip).chain(vpc.nats.iter().map(|nat| nat.private_ip)));
        let free: Vec<_> = (4..4 + self.room).map(|n| nth(cidr, n)).filter(|ip| !taken.contains(ip)).collect();
        self.pick(&free)
    }

    fn free_public(&mut self) -> Option<Ipv4Addr> {
        let taken: BTreeSet<_> = self.plan.network.vpcs.iter().flat_map(crate::model::publics).collect();
        let free: Vec<_> =
            (16..20 + 2 * self.room).map(|n| nth(net(POOL), n)).filter(|ip| !taken.contains(ip)).collect();
        self.pick(&free)
    }

    pub fn add_interface(&mut self, at: usize) -> Option<InterfaceId> {
        let subnets: Vec<_> = self.vpc(at).subnets.iter().map(|subnet| subnet.id.clone()).collect();
        let subnet = self.pick(&subnets)?;
        let private_ip = self.free_private(at, &subnet)?;
        let public_ip = if self.chance(60) { self.free_public() } else { None };
        let mut mac = [0; 6];
        self.rng.fill_bytes(&mut mac[1..]);
        mac[0] = 0x0a;
        mac[1] &= 0x7f;
        let eni = InterfacePlan {
            id: self.id("eni"),
            instance: self.id("i"),
            device_index: 0,
            subnet: subnet.clone(),
            mac: Mac(mac),
            private_ip,
            public_ip,
            secondary: Vec::new(),
            ipv6: Vec::new(),
            groups: self.any_groups(at),
            source_dest_check: !self.chance(25),
            // Limits change no verdict.
            bandwidth_mbps: (mac[5] % 3 == 0).then_some(10_000),
        };
        let id = eni.id.clone();
        if mac[5] % 2 == 0 {
            self.vpc(at).flow_logs[0].interfaces.push(id.clone());
        }
        self.vpc(at).interfaces.push(eni);
        while self.chance(25) {
            self.add_secondary(at);
        }
        Some(id)
    }

    fn add_secondary(&mut self, at: usize) {
        let Some(last) = self.vpc(at).interfaces.last().cloned() else { return };
        let Some(private_ip) = self.free_private(at, &last.subnet) else { return };
        let public_ip = if self.chance(50) { self.free_public() } else { None };
        let last = self.vpc(at).interfaces.last_mut().expect("there is one");
        last.secondary.push(SecondaryPlan { private_ip, public_ip });
    }

    fn add_nat(&mut self, at: usize) {
        let public_ip = if self.chance(75) { self.free_public() } else { None };
        let subnets: Vec<_> = self.vpc(at).subnets.iter().map(|subnet| subnet.id.clone()).collect();
        let (id, Some(subnet)) = (self.id("nat"), self.pick(&subnets)) else { return };
        let Some(private_ip) = self.free_private(at, &subnet) else { return };
        self.vpc(at).nats.push(NatPlan { id, subnet, private_ip, public_ip });
    }

    /// In one subnet or in several, often with a group that lets everybody in.
    fn add_endpoint(&mut self, at: usize) -> Option<String> {
        let mut interfaces = Vec::new();
        if self.chance(80) {
            self.add_group(at);
            let open = RulePlan { traffic: Traffic::All, peer: Peer::Ipv4(net("0.0.0.0/0")) };
            self.vpc(at).groups.last_mut()?.ingress.push(open);
        }
        let newest = own_groups(self.vpc(at)).into_iter().next_back();
        let groups = if self.chance(70) { newest.into_iter().collect() } else { self.any_groups(at) };
        for subnet in self.vpc(at).subnets.clone() {
            if self.chance(70) {
                let (id, private_ip, groups) = (self.id("eni"), self.free_private(at, &subnet.id)?, groups.clone());
                interfaces.push(EndpointInterfacePlan { id, subnet: subnet.id, private_ip, groups });
            }
        }
        let id = self.id("vpce");
        let said = format!("{id} is new");
        self.vpc(at).endpoints.push(EndpointPlan { id, interfaces, names: BTreeMap::new() });
        Some(said)
    }

    fn change_endpoints(&mut self, at: usize) -> Option<String> {
        let groups = self.any_groups(at);
        match self.rng.random_range(0..4) {
            0 => self.add_endpoint(at),
            1 => {
                let interface = self.vpc(at).endpoints.first_mut()?.interfaces.first_mut()?;
                interface.groups = groups;
                Some(format!("other groups of {}", interface.id))
            }
            2 => Some(format!("{} is gone", self.vpc(at).endpoints.pop()?.id)),
            _ => {
                // A guest gets the address, which was nobody's for no moment.
                let gone = self.vpc(at).endpoints.first_mut()?.interfaces.pop()?;
                let eni = self.vpc(at).interfaces.iter_mut().find(|eni| eni.subnet == gone.subnet)?;
                eni.secondary.push(SecondaryPlan { private_ip: gone.private_ip, public_ip: None });
                Some(format!("{} went from {} to {}", gone.private_ip, gone.id, eni.id))
            }
        }
    }

    fn any_way(&mut self, at: usize) -> Option<Way> {
        let vpc = self.vpc(at);
        let nats = vpc.nats.iter().filter(|nat| nat.public_ip.is_some());
        let nats: Vec<_> = nats.map(|nat| Way::Nat(nat.id.clone())).collect();
        let peers: Vec<_> = vpc.peers.iter().map(|peer| Way::Peering(peer.id.clone())).collect();
        let mut interfaces: Vec<_> = vpc.interfaces.iter().map(|eni| Way::Interface(eni.id.clone())).collect();
        interfaces.push(Way::Interface(self.id("eni")));
        match self.rng.random_range(0..10) {
            0..=4 => Some(Way::Internet),
            5 | 6 => self.pick(&nats),
            7 => self.pick(&interfaces),
            8 => self.pick(&peers),
            _ => None,
        }
    }

    /// A route table: a default, and more specific routes over it.
    fn change_ways(&mut self, at: usize, subnet: usize) {
        let mut ways: Vec<(Ipv4Net, Way)> = Vec::new();
        let mut put = |to: Ipv4Net, way: Option<Way>| {
            let less =
                ways.iter().flat_map(|(net, way)| without(*net, to).into_iter().map(move |net| (net, way.clone())));
            ways = less.collect();
            ways.extend(way.map(|way| (to, way)));
        };
        put(net("0.0.0.0/0"), self.any_way(at));
        for peer in self.vpc(at).peers.clone() {
            for range in peer.ranges {
                let nats: Vec<_> = self.vpc(at).nats.iter().map(|nat| nat.id.clone()).collect();
                let nat = if self.chance(40) { self.pick(&nats) } else { None };
                let way = nat.map_or(Way::Peering(peer.id.clone()), |nat| Way::NatPeering(nat, peer.id.clone()));
                if self.chance(80) {
                    put(range, Some(way));
                }
            }
        }
        for to in ["198.51.100.0/24", "198.51.100.128/25", "203.0.113.0/24", "198.18.0.16/29"] {
            if self.chance(20) {
                let way = self.any_way(at);
                put(net(to), way);
            }
        }
        let ways = ways.into_iter().map(|(to, way)| WayPlan { to: IpNet::V4(to), way });
        self.vpc(at).subnets[subnet].ways = ways.collect();
    }

    fn add_peering(&mut self) {
        let (Some(a), Some(b)) = (self.any_vpc(), self.any_vpc()) else { return };
        let [first, second] = [a, b].map(|at| self.vpc(at).clone());
        let overlap = first.cidrs().any(|x| second.cidrs().any(|y| x.contains(&y) || y.contains(&x)));
        let ranges = |vpc: &VpcPlan| vpc.cidrs().collect::<Vec<_>>();
        let known = |vpc: &VpcPlan| vpc.peers.iter().any(|peer| peer.vpc == second.id);
        if a == b || overlap || known(&first) {
            return;
        }
        let id: awan_model::id::PeeringId = self.id("pcx");
        let peer = |of: &VpcPlan, asked| PeerPlan {
            id: id.clone(),
            vpc: of.id.clone(),
            ranges: ranges(of),
            ipv6: Vec::new(),
            asked,
            members: Vec::new(),
            members_ipv6: Vec::new(),
        };
        let (to_second, to_first) = (peer(&second, true), peer(&first, false));
        self.vpc(a).peers.push(to_second);
        self.vpc(b).peers.push(to_first);
        for at in [a, b] {
            for subnet in 0..self.vpc(at).subnets.len() {
                self.change_ways(at, subnet);
            }
        }
    }

    /// One change, in words. `None`: it did not apply.
    pub fn change(&mut self) -> Option<String> {
        let at = self.any_vpc()?;
        let count = self.vpc(at).interfaces.len();
        let eni = if count == 0 { None } else { Some(self.rng.random_range(0..count)) };
        let said = match self.rng.random_range(0..18) {
            0..=2 => {
                let groups = own_groups(self.vpc(at)).len();
                let group = self.rng.random_range(0..groups);
                self.change_rules(at, group);
                format!("other rules of {}", self.vpc(at).groups[group].id)
            }
            3 => {
                let (eni, groups) = (eni?, self.any_groups(at));
                self.vpc(at).interfaces[eni].groups = groups;
                format!("other groups of {}", self.vpc(at).interfaces[eni].id)
            }
            4 => {
                let eni = &mut self.vpc(at).interfaces[eni?];
                eni.source_dest_check = !eni.source_dest_check;
                format!("source/destination check of {}: {}", eni.id, eni.source_dest_check)
            }
            5..=10 => self.change_addresses(at, eni)?,
            11 | 12 => {
                let count = self.vpc(at).subnets.len();
                let subnet = self.rng.random_range(0..count);
                self.change_ways(at, subnet);
                format!("other ways of {}", self.vpc(at).subnets[subnet].id)
            }
            13 => self.change_gateways(at)?,
            14 => {
                self.change_acl(at, 1, 40);
                format!("other entries of {}", self.vpc(at).acls[1].id)
            }
            15 => {
                let (count, acl) = (self.vpc(at).subnets.len(), self.any_acl(at));
                let subnet = self.rng.random_range(0..count);
                self.vpc(at).subnets[subnet].acl = acl.clone();
                format!("the ACL of {} is {acl:?}", self.vpc(at).subnets[subnet].id)
            }
            16 => self.change_endpoints(at)?,
            _ => self.change_vpcs(at),
        };
        Some(said)
    }

    fn change_addresses(&mut self, at: usize, eni: Option<usize>) -> Option<String> {
        Some(match self.rng.random_range(0..6) {
            0 => format!("{} is new", self.add_interface(at)?),
            1 => {
                let gone = self.vpc(at).interfaces.remove(eni?);
                let said = format!("{} is gone", gone.id);
                said
            }
            2 => {
                // Another interface with the same addresses.
                let eni = eni?;
                let id = self.id("eni");
                let old = std::mem::replace(&mut self.vpc(at).interfaces[eni].id, id);
                let mac = &mut self.vpc(at).interfaces[eni].mac.0;
                mac[5] ^= 1;
                format!("{} has the addresses of {old}", self.vpc(at).interfaces[eni].id)
            }
            3 => {
                let all = self.interfaces();
                let (other, public) = self.pick(&all).and_then(|(_, other)| Some((other.id, other.public_ip?)))?;
                let mut all = self.plan.network.vpcs.iter_mut().flat_map(|vpc| &mut vpc.interfaces);
                all.find(|eni| eni.id == other)?.public_ip = None;
                let eni = &mut self.vpc(at).interfaces[eni?];
                eni.public_ip = Some(public);
                format!("{public} went from {other} to {}", eni.id)
            }
            4 => {
                let eni = &mut self.vpc(at).interfaces[eni?];
                format!("{} lost {:?}", eni.id, eni.secondary.pop()?)
            }
            _ => {
                self.vpc(at).interfaces.rotate_left(eni?);
                self.add_secondary(at);
                "a secondary address".into()
            }
        })
    }

    fn change_gateways(&mut self, at: usize) -> Option<String> {
        if self.chance(50) {
            self.add_peering();
            return Some("perhaps a peering".into());
        }
        match self.vpc(at).nats.pop() {
            Some(nat) => {
                // As the planner has it: no way leads to what is gone.
                for subnet in &mut self.vpc(at).subnets {
                    subnet
                        .ways
                        .retain(|way| !matches!(&way.way, Way::Nat(id) | Way::NatPeering(id, _) if *id == nat.id));
                }
                Some(format!("{} is gone", nat.id))
            }
            None => {
                self.add_nat(at);
                for subnet in 0..self.vpc(at).subnets.len() {
                    self.change_ways(at, subnet);
                }
                Some("a NAT gateway".into())
            }
        }
    }

    fn change_vpcs(&mut self, at: usize) -> String {
        if self.plan.network.vpcs.len() < 3 {
            self.add_vpc();
            self.add_peering();
            return "a VPC".into();
        }
        let gone = self.plan.network.vpcs.remove(at);
        let said = format!("{} is gone", gone.id);
        self.elsewhere.remove(&gone.id);
        // A peer may be on another host; then the plan still names it.
        if self.chance(70) {
            for vpc in &mut self.plan.network.vpcs {
                let ids: Vec<_> =
                    vpc.peers.iter().filter(|peer| peer.vpc == gone.id).map(|peer| peer.id.clone()).collect();
                vpc.peers.retain(|peer| peer.vpc != gone.id);
                for subnet in &mut vpc.subnets {
                    let leads =
                        |way: &Way| matches!(way, Way::Peering(id) | Way::NatPeering(_, id) if ids.contains(id));
                    subnet.ways.retain(|way| !leads(&way.way));
                }
            }
        }
        said
    }

    /// Of what the planner derives, that which follows from the rest.
    pub fn settle(&mut self) {
        for vpc in &mut self.plan.network.vpcs {
            let own = vpc.interfaces.iter().flat_map(|eni| {
                let member = |(private_ip, public_ip)| Member { private_ip, groups: eni.groups.clone(), public_ip };
                eni.addresses().map(member).collect::<Vec<_>>()
            });
            let of_endpoint = |i: &EndpointInterfacePlan| Member {
                private_ip: i.private_ip,
                groups: i.groups.clone(),
                public_ip: None,
            };
            let own = own.chain(vpc.endpoint_interfaces().map(of_endpoint));
            vpc.members = own.chain(self.elsewhere.get(&vpc.id).cloned().unwrap_or_default()).collect();
        }
        let members: BTreeMap<_, _> =
            self.plan.network.vpcs.iter().map(|vpc| (vpc.id.clone(), vpc.members.clone())).collect();
        for vpc in &mut self.plan.network.vpcs {
            vpc.groups.retain(|group| !group.name.is_empty());
            let own = own_groups(vpc);
            let rules = vpc.groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress));
            let named = rules.filter_map(|rule| if let Peer::Group(id) = &rule.peer { Some(id.clone()) } else { None });
            let beyond: BTreeSet<_> = named.filter(|id| !own.contains(id)).collect();
            for peer in &mut vpc.peers {
                peer.members = members.get(&peer.vpc).cloned().unwrap_or_default();
                peer.members.iter_mut().for_each(|member| member.groups.retain(|id| beyond.contains(id)));
                peer.members.retain(|member| !member.groups.is_empty());
            }
            let plan = |id| GroupPlan { id, name: String::new(), ingress: Vec::new(), egress: Vec::new() };
            vpc.groups.extend(beyond.into_iter().map(plan));
        }
        self.plan.revision += 1;
    }
}

/// Those of the VPC itself. Groups of its peers have no name here.
fn own_groups(vpc: &VpcPlan) -> Vec<GroupId> {
    vpc.groups.iter().filter(|group| !group.name.is_empty()).map(|group| group.id.clone()).collect()
}

/// What is left of a network without a part of it.
fn without(whole: Ipv4Net, part: Ipv4Net) -> Vec<Ipv4Net> {
    if part.contains(&whole) {
        return Vec::new();
    }
    if !whole.contains(&part) {
        return vec![whole];
    }
    let halves = whole.subnets(whole.prefix_len() + 1).expect("it is longer");
    halves.flat_map(|half| without(half, part)).collect()
}

/// A plan as a person reads it.
pub fn describe(plan: &HostPlan) -> String {
    let mut text = String::new();
    for vpc in &plan.network.vpcs {
        text += &format!("{} {}\n", vpc.id, vpc.cidrs().map(|net| net.to_string()).collect::<Vec<_>>().join(" "));
        for subnet in &vpc.subnets {
            let acl = subnet.acl.as_ref().map_or("no ACL", |id| id.as_str());
            text += &format!("  {} {} {acl}\n", subnet.id, subnet.cidr);
            let mut by_way: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for WayPlan { to, way } in &subnet.ways {
                by_way.entry(format!("{way:?}")).or_default().push(to.to_string());
            }
            for (way, mut nets) in by_way {
                if nets.len() > 8 {
                    nets.truncate(7);
                    nets.push("...".into());
                }
                text += &format!("    {way}: {}\n", nets.join(" "));
            }
        }
        for eni in &vpc.interfaces {
            let addresses = eni.addresses().map(|(private, public)| match public {
                Some(public) => format!("{private}={public}"),
                None => private.to_string(),
            });
            let groups: Vec<_> = eni.groups.iter().map(ToString::to_string).collect();
            text += &format!(
                "  {} {} {} in {} groups {}{}\n",
                eni.id,
                eni.mac,
                addresses.collect::<Vec<_>>().join(" "),
                eni.subnet,
                groups.join(" "),
                if eni.source_dest_check { "" } else { " unchecked" }
            );
        }
        for group in &vpc.groups {
            for (side, rules) in [("in", &group.ingress), ("out", &group.egress)] {
                for RulePlan { traffic, peer } in rules {
                    text += &format!("  {} {side} {traffic:?} {peer:?}\n", group.id);
                }
            }
        }
        for acl in &vpc.acls {
            for (side, entries) in [("in", &acl.ingress), ("out", &acl.egress)] {
                for AclEntryPlan { number, allow, traffic, peer } in entries {
                    text += &format!("  {} {side} {number} allow {allow} {traffic:?} {peer:?}\n", acl.id);
                }
            }
        }
        for member in &vpc.members {
            text += &format!("  member {} {:?}\n", member.private_ip, member.groups);
        }
        for EndpointInterfacePlan { id, subnet, private_ip, groups } in vpc.endpoint_interfaces() {
            text += &format!("  endpoint {id} {private_ip} in {subnet} groups {groups:?}\n");
        }
        for nat in &vpc.nats {
            text += &format!("  {} {} {:?} in {}\n", nat.id, nat.private_ip, nat.public_ip, nat.subnet);
        }
        for peer in &vpc.peers {
            text +=
                &format!("  {} to {} {:?}{}\n", peer.id, peer.vpc, peer.ranges, if peer.asked { " asked" } else { "" });
            for member in &peer.members {
                text += &format!("    member {} {:?}\n", member.private_ip, member.groups);
            }
        }
    }
    text
}
