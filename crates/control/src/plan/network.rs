//! A VPC for every host that has a part of it.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::dhcp_options::DhcpOptions;
use awan_model::flow_log::{Destination, FlowLog};
use awan_model::group::{Peer, Rule, SecurityGroup};
use awan_model::id::{GroupId, InterfaceId, LogGroupId, PrefixListId, VpcId};
use awan_model::instance::Placement;
use awan_model::interface::NetworkInterface;
use awan_model::log_group::LogGroup;
use awan_model::plan::{
    AclPlan, DhcpPlan, EndpointPlan, FlowLogPlan, GroupPlan, InterfacePlan, Member, MemberIpv6, NatPlan, PeerPlan,
    RulePlan, SecondaryPlan, SubnetPlan, VpcPlan,
};
use awan_model::prefix_list::PrefixList;
use awan_model::vpc::Vpc;
use awan_state::{Home, System, Tx};
use ipnet::IpNet;

use super::{Placed, acl, endpoints, peers, ways};

/// What all hosts of a VPC share.
pub struct Network {
    vpc: Arc<Vpc>,
    dhcp: DhcpPlan,
    subnets: Vec<SubnetPlan>,
    acls: Vec<AclPlan>,
    groups: HashMap<GroupId, Arc<SecurityGroup>>,
    members: Vec<Member>,
    members_ipv6: Vec<MemberIpv6>,
    elastic: Elastic,
    lists: Lists,
    nats: Vec<NatPlan>,
    peers: Vec<PeerPlan>,
    flow_logs: Vec<(Arc<FlowLog>, Option<LogGroupId>)>,
    endpoints: Vec<EndpointPlan>,
}

impl Network {
    pub fn read(tx: &mut Tx<System>, home: &Home, id: &VpcId) -> Option<Self> {
        let vpc = tx.find_in::<Vpc>(home, id)?;
        let lists: Lists = tx.all_in::<PrefixList>(home).into_iter().map(|list| (list.id.clone(), list)).collect();
        let options = vpc.dhcp_options.as_ref().and_then(|id| tx.find_in::<DhcpOptions>(home, id));
        let dhcp = options.map(|options| options.plan()).unwrap_or_default();
        let groups = tx.all_in::<SecurityGroup>(home).into_iter().filter(|g| g.vpc == *id).map(|g| (g.id.clone(), g));
        let groups: HashMap<_, _> = groups.collect();
        let elastic = elastic(tx, home);
        let peers = peers::of(tx, &vpc, &peers::named(groups.values()));
        let acls = acl::in_vpc(tx, home, id);
        let subnets = ways::subnets(tx, home, id, &lists, &peers, &acls);
        let acls = acl::plans(&acls);
        let nats = ways::nats(tx, home, id);
        let endpoints = endpoints::of(tx, &vpc);
        let (members, members_ipv6) = members(tx, home, id, &elastic);
        let flow_logs = flow_logs(tx, home);
        Some(Self {
            vpc,
            dhcp,
            subnets,
            acls,
            groups,
            members,
            members_ipv6,
            elastic,
            lists,
            nats,
            peers,
            endpoints,
            flow_logs,
        })
    }

    pub fn on_host(&self, placed: &[Placed]) -> VpcPlan {
        let interfaces: Vec<_> = placed.iter().filter_map(|p| self.interface(p)).collect();
        VpcPlan {
            home: self.vpc.home.clone(),
            id: self.vpc.id.clone(),
            cidr: self.vpc.cidr,
            more_cidrs: self.vpc.cidrs().skip(1).collect(),
            ipv6: self.vpc.ipv6.iter().map(|range| range.cidr).collect(),
            region: self.vpc.home.region().to_owned(),
            dns_support: self.vpc.dns_support,
            dns_hostnames: self.vpc.dns_hostnames,
            dhcp: self.dhcp.clone(),
            subnets: self.subnets.clone(),
            acls: self.acls.clone(),
            groups: self.groups_of(&interfaces),
            flow_logs: self
                .flow_logs
                .iter()
                .filter_map(|(log, group)| self.flow_log(log, group, &interfaces))
                .collect(),
            interfaces,
            members: self.members.clone(),
            members_ipv6: self.members_ipv6.clone(),
            nats: self.nats.clone(),
            peers: self.peers.clone(),
            endpoints: self.endpoints.clone(),
        }
    }

    fn interface(&self, placed: &Placed) -> Option<InterfacePlan> {
        let eni = &placed.eni;
        let attachment = eni.attachment.as_ref()?;
        let elastic = |ip: Ipv4Addr| self.elastic.get(&(eni.id.clone(), ip)).copied();
        let secondary = |ip: &Ipv4Addr| SecondaryPlan { private_ip: *ip, public_ip: elastic(*ip) };
        Some(InterfacePlan {
            id: eni.id.clone(),
            instance: attachment.instance.clone(),
            device_index: attachment.device_index,
            subnet: eni.subnet.clone(),
            mac: eni.mac,
            private_ip: eni.private_ip,
            public_ip: elastic(eni.private_ip).or(placed.public_ip),
            secondary: eni.secondary.iter().map(secondary).collect(),
            ipv6: eni.ipv6.clone(),
            groups: eni.groups.clone(),
            source_dest_check: eni.source_dest_check,
            bandwidth_mbps: placed.bandwidth_mbps,
        })
    }

    /// A log, if it is about any of these interfaces.
    fn flow_log(&self, log: &FlowLog, group: &Option<LogGroupId>, interfaces: &[InterfacePlan]) -> Option<FlowLogPlan> {
        let named = |name: &str| log.resource == name;
        let vpc = named(self.vpc.id.as_str());
        let about = interfaces.iter().filter(|i| vpc || named(i.subnet.as_str()) || named(i.id.as_str()));
        let interfaces: Vec<_> = about.map(|i| i.id.clone()).collect();
        (!interfaces.is_empty()).then(|| FlowLogPlan {
            id: log.id.clone(),
            interfaces,
            accepted: log.traffic != "REJECT",
            rejected: log.traffic != "ACCEPT",
            interval_s: log.interval_s,
            fields: log.fields(),
            group: group.clone(),
        })
    }

    /// The groups of these interfaces, and of endpoints, with their rules, and the groups that those name.
    fn groups_of(&self, interfaces: &[InterfacePlan]) -> Vec<GroupPlan> {
        let of_endpoints = self.endpoints.iter().flat_map(|e| &e.interfaces).flat_map(|i| &i.groups);
        let own: BTreeSet<&GroupId> = interfaces.iter().flat_map(|i| &i.groups).chain(of_endpoints).collect();
        let mut wanted = own.clone();
        for group in own.iter().filter_map(|id| self.groups.get(*id)) {
            wanted.extend(group.rules.iter().filter_map(|rule| match &rule.peer {
                Peer::Group(id) => Some(id),
                Peer::Beyond(beyond) => Some(&beyond.group),
                Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => None,
            }));
        }
        let plan = |id: &GroupId| match self.groups.get(id) {
            // Of a group that is only named, the members count; its own rules may name groups that are not here.
            Some(group) if own.contains(id) => group_plan(group, &self.lists, &self.peers),
            Some(group) => members_only(id, &group.name),
            None => members_only(id, ""),
        };
        wanted.into_iter().map(plan).collect()
    }
}

/// All logs of a home, each with the log group that it writes into.
fn flow_logs(tx: &mut Tx<System>, home: &Home) -> Vec<(Arc<FlowLog>, Option<LogGroupId>)> {
    let logs = tx.all_in::<FlowLog>(home);
    let with_group = |log: Arc<FlowLog>| {
        let group = match &log.destination {
            Destination::CloudWatch { group, .. } => tx.find_in::<LogGroup>(home, &LogGroup::key(group)),
            Destination::S3 { .. } | Destination::Firehose { .. } => None,
        };
        (log, group.map(|group| group.events.clone()))
    };
    logs.into_iter().map(with_group).collect()
}

fn members_only(id: &GroupId, name: &str) -> GroupPlan {
    GroupPlan { id: id.clone(), name: name.to_owned(), ingress: Vec::new(), egress: Vec::new() }
}

fn group_plan(group: &SecurityGroup, lists: &Lists, active: &[PeerPlan]) -> GroupPlan {
    let plan = |Rule { traffic, peer, .. }: &Rule| {
        let peers = match peer {
            Peer::PrefixList(id) => ranges(lists.get(id)),
            Peer::Beyond(beyond) if active.iter().all(|peer| peer.id != beyond.peering) => Vec::new(),
            Peer::Beyond(beyond) => vec![Peer::Group(beyond.group.clone())],
            Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::Group(_) => vec![peer.clone()],
        };
        let traffic = *traffic;
        peers.into_iter().map(move |peer| RulePlan { traffic, peer })
    };
    let rules = |egress: bool| {
        let mut rules: Vec<_> = group.rules.iter().filter(|r| r.egress == egress).flat_map(plan).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    };
    GroupPlan { id: group.id.clone(), name: group.name.clone(), ingress: rules(false), egress: rules(true) }
}

pub type Lists = HashMap<PrefixListId, Arc<PrefixList>>;

/// What a prefix list means now. One that has no ranges lets nobody in.
fn ranges(list: Option<&Arc<PrefixList>>) -> Vec<Peer> {
    let peer = |range: IpNet| match range {
        IpNet::V4(net) => Peer::Ipv4(net),
        IpNet::V6(net) => Peer::Ipv6(net),
    };
    list.map(|list| list.entries().iter().map(|entry| peer(entry.cidr)).collect()).unwrap_or_default()
}

/// All private addresses of a VPC.
pub fn members(tx: &mut Tx<System>, home: &Home, vpc: &VpcId, elastic: &Elastic) -> (Vec<Member>, Vec<MemberIpv6>) {
    let (mut members, mut ipv6) = (Vec::new(), Vec::new());
    for eni in tx.all_in::<NetworkInterface>(home).iter().filter(|eni| eni.vpc == *vpc) {
        let mut automatic = || {
            let instance = &eni.attachment.as_ref().filter(|a| a.device_index == 0)?.instance;
            tx.find_in::<Placement>(home, instance)?.public_ip
        };
        let automatic = automatic();
        for private_ip in eni.addresses() {
            let held = elastic.get(&(eni.id.clone(), private_ip)).copied();
            let public_ip = held.or(automatic.filter(|_| private_ip == eni.private_ip));
            members.push(Member { private_ip, groups: eni.groups.clone(), public_ip });
        }
        ipv6.extend(eni.ipv6.iter().map(|ip| MemberIpv6 { ip: *ip, groups: eni.groups.clone() }));
    }
    (members, ipv6)
}

/// Elastic addresses by the interface and the private address that have them.
pub type Elastic = HashMap<(InterfaceId, Ipv4Addr), Ipv4Addr>;

pub fn elastic(tx: &mut Tx<System>, home: &Home) -> Elastic {
    let addresses = tx.all_in::<Address>(home);
    let held = addresses
        .iter()
        .filter_map(|a| a.association.as_ref().map(|s| ((s.interface.clone(), s.private_ip), a.public_ip)));
    held.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::all;
    use crate::testing::Cloud;

    #[test]
    fn every_group_that_a_rule_of_the_plan_names_is_in_the_plan() {
        let mut cloud = Cloud::new();
        let vpc = Cloud::ids(&cloud.tenant("acme").call("DescribeVpcs", &[]).expect("answers"), "vpcId").remove(0);
        let mut groups = Vec::new();
        for name in ["a", "b", "c"] {
            let ask = [("GroupName", name), ("GroupDescription", name), ("VpcId", vpc.as_str())];
            let made = cloud.tenant("acme").call("CreateSecurityGroup", &ask).expect("makes");
            groups.push(Cloud::ids(&made, "groupId").remove(0));
        }
        for (group, names) in groups.iter().zip(&groups[1..]) {
            let ask = [
                ("GroupId", group.as_str()),
                ("IpPermissions.1.IpProtocol", "-1"),
                ("IpPermissions.1.Groups.1.GroupId", names.as_str()),
            ];
            cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &ask).expect("adds");
        }
        cloud.tenant("acme").run_with(&[("SecurityGroupId.1", &groups[0])]).expect("launches");
        let plans = cloud.control.db.read(System, |tx| all(tx, 1));
        let vpc = &plans.values().next().expect("a host").network.vpcs[0];
        let there: BTreeSet<_> = vpc.groups.iter().map(|g| g.id.to_string()).collect();
        assert_eq!(there, groups[..2].iter().cloned().collect());
        let named = vpc.groups.iter().flat_map(|g| g.ingress.iter().chain(&g.egress)).filter_map(|r| match &r.peer {
            Peer::Group(id) => Some(id.to_string()),
            Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) | Peer::Beyond(_) => None,
        });
        assert_eq!(named.collect::<BTreeSet<_>>(), [groups[1].clone()].into());
    }

    #[test]
    fn a_rule_that_means_a_list_lets_in_whom_the_list_names() {
        let mut cloud = Cloud::new();
        let (group, instance) = (cloud.tenant("acme").default_group(), cloud.tenant("acme").run());
        let list = [
            ("PrefixListName", "offices"),
            ("AddressFamily", "IPv4"),
            ("MaxEntries", "5"),
            ("Entry.1.Cidr", "192.0.2.0/24"),
        ];
        let list = cloud.tenant("acme").call("CreateManagedPrefixList", &list).expect("makes");
        let list = Cloud::ids(&list, "prefixListId").remove(0);
        let rule = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "-1"),
            ("IpPermissions.1.PrefixListIds.1.PrefixListId", list.as_str()),
        ];
        cloud.tenant("acme").call("AuthorizeSecurityGroupIngress", &rule).expect("adds");
        let let_in = |cloud: &Cloud| -> Vec<String> {
            let plans = cloud.control.db.read(System, |tx| all(tx, 1));
            let vpc = plans.values().next().expect("a host").network.vpcs[0].clone();
            let peers = vpc.groups.into_iter().flat_map(|g| g.ingress).map(|r| r.peer);
            peers.filter_map(|p| if let Peer::Ipv4(net) = p { Some(net.to_string()) } else { None }).collect()
        };
        assert_eq!(let_in(&cloud), ["192.0.2.0/24"]);
        let more = [("PrefixListId", list.as_str()), ("CurrentVersion", "1"), ("AddEntry.1.Cidr", "198.51.100.0/24")];
        cloud.tenant("acme").call("ModifyManagedPrefixList", &more).expect("changes");
        assert_eq!(let_in(&cloud), ["192.0.2.0/24", "198.51.100.0/24"]);
        let refusal =
            cloud.tenant("acme").call("DeleteManagedPrefixList", &[("PrefixListId", &list)]).expect_err("used");
        assert!(refusal.starts_with("DependencyViolation"), "{refusal}");
        cloud.tenant("acme").call("RevokeSecurityGroupIngress", &rule).expect("removes");
        cloud.tenant("acme").call("DeleteManagedPrefixList", &[("PrefixListId", &list)]).expect("deletes");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &instance)]).expect("terminates");
        cloud.audit();
    }

    #[test]
    fn a_log_is_about_the_interfaces_of_its_vpc_its_subnet_or_one() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let (instance, _) = cloud.instance(&id);
        let interface = instance.interface.clone();
        let shown = cloud.tenant("acme").call("DescribeNetworkInterfaces", &[]).expect("answers");
        let (vpc, subnet) = (Cloud::ids(&shown, "vpcId").remove(0), Cloud::ids(&shown, "subnetId").remove(0));
        let subnets = Cloud::ids(&cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers"), "subnetId");
        let other = subnets.into_iter().find(|id| *id != subnet).expect("another");
        let mut ids = Vec::new();
        for (kind, resource, traffic, more) in [
            ("VPC", vpc.as_str(), "ALL", ("MaxAggregationInterval", "60")),
            ("Subnet", subnet.as_str(), "ACCEPT", ("LogFormat", "${srcaddr} ${action}")),
            ("NetworkInterface", interface.as_str(), "REJECT", ("MaxAggregationInterval", "600")),
            ("Subnet", other.as_str(), "ALL", ("MaxAggregationInterval", "60")),
        ] {
            let destination = [("LogDestinationType", "s3"), ("LogDestination", "arn:aws:s3:::bucket")];
            let ask = [("ResourceType", kind), ("ResourceId.1", resource), ("TrafficType", traffic), more];
            let made = cloud.tenant("acme").call("CreateFlowLogs", &[&ask[..], &destination].concat()).expect("makes");
            ids.extend(Cloud::ids(&made, "item"));
        }
        let plans = cloud.control.db.read(System, |tx| all(tx, 1));
        let mut logs = plans.values().next().expect("a host").network.vpcs[0].flow_logs.clone();
        logs.sort_by_key(|log| ids.iter().position(|id| id == log.id.as_str()));
        let about: Vec<_> =
            logs.iter().map(|log| (log.accepted, log.rejected, log.interval_s, log.fields.len())).collect();
        assert_eq!(about, [(true, true, 60, 14), (true, false, 600, 2), (false, true, 600, 14)]);
        assert!(logs.iter().all(|log| log.interfaces == [interface.clone()]));
        assert_eq!(logs[1].fields, ["srcaddr", "action"]);
        assert!(logs.iter().all(|log| log.group.is_none()));
        let destination = [("LogGroupName", "flows"), ("DeliverLogsPermissionArn", "arn:aws:iam::1:role/r")];
        let ask = [("ResourceType", "VPC"), ("ResourceId.1", vpc.as_str()), ("TrafficType", "ALL")];
        let group = |cloud: &Cloud| {
            let plans = cloud.control.db.read(System, |tx| all(tx, 1));
            let logs = &plans.values().next().expect("a host").network.vpcs[0].flow_logs;
            logs.iter().find_map(|log| log.group.clone())
        };
        cloud.tenant("acme").call("CreateFlowLogs", &[&ask[..], &destination].concat()).expect("makes");
        let first = group(&cloud).expect("a group");
        let name = r#"{"logGroupName":"flows"}"#;
        cloud.tenant("acme").logs("DeleteLogGroup", name).expect("deletes");
        assert_eq!(group(&cloud), None);
        cloud.tenant("acme").logs("CreateLogGroup", name).expect("makes anew");
        assert!(group(&cloud).is_some_and(|second| second != first), "of the old one nothing is read");
    }
}
