//! A VPC for every host that has a part of it.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::dhcp_options::DhcpOptions;
use awan_model::group::{Peer, Rule, SecurityGroup};
use awan_model::id::{GroupId, InterfaceId, PrefixListId, VpcId};
use awan_model::instance::Placement;
use awan_model::interface::NetworkInterface;
use awan_model::plan::{
    AclPlan, DhcpPlan, GroupPlan, InterfacePlan, Member, NatPlan, PeerPlan, RulePlan, SecondaryPlan, SubnetPlan,
    VpcPlan,
};
use awan_model::prefix_list::PrefixList;
use awan_model::vpc::Vpc;
use awan_state::{Home, System, Tx};
use ipnet::IpNet;

use super::{Placed, acl, peers, ways};

/// What all hosts of a VPC share.
pub struct Network {
    vpc: Arc<Vpc>,
    dhcp: DhcpPlan,
    subnets: Vec<SubnetPlan>,
    acls: Vec<AclPlan>,
    groups: HashMap<GroupId, Arc<SecurityGroup>>,
    members: Vec<Member>,
    elastic: Elastic,
    lists: Lists,
    nats: Vec<NatPlan>,
    peers: Vec<PeerPlan>,
}

impl Network {
    pub fn read(tx: &mut Tx<System>, home: &Home, id: &VpcId) -> Option<Self> {
        let vpc = tx.find_in::<Vpc>(home, id)?;
        let lists: Lists = tx.all_in::<PrefixList>(home).into_iter().map(|list| (list.id.clone(), list)).collect();
        let options = vpc.dhcp_options.as_ref().and_then(|id| tx.find_in::<DhcpOptions>(home, id));
        let dhcp = options.map(|options| options.plan()).unwrap_or_default();
        let elastic = elastic(tx, home);
        let groups = tx.all_in::<SecurityGroup>(home).into_iter().filter(|g| g.vpc == *id).map(|g| (g.id.clone(), g));
        let groups = groups.collect();
        let peers = peers::of(tx, home, id);
        let acls = acl::in_vpc(tx, home, id);
        let subnets = ways::subnets(tx, home, id, &lists, &peers, &acls);
        let acls = acl::plans(&acls);
        let nats = ways::nats(tx, home, id);
        let mut members = Vec::new();
        for eni in tx.all_in::<NetworkInterface>(home).iter().filter(|eni| eni.vpc == *id) {
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
        }
        Some(Self { vpc, dhcp, subnets, acls, groups, members, elastic, lists, nats, peers })
    }

    pub fn on_host(&self, placed: &[Placed]) -> VpcPlan {
        let interfaces: Vec<_> = placed.iter().filter_map(|p| self.interface(p)).collect();
        VpcPlan {
            home: self.vpc.home.clone(),
            id: self.vpc.id.clone(),
            cidr: self.vpc.cidr,
            more_cidrs: self.vpc.cidrs().skip(1).collect(),
            region: self.vpc.home.region().to_owned(),
            dns_support: self.vpc.dns_support,
            dns_hostnames: self.vpc.dns_hostnames,
            dhcp: self.dhcp.clone(),
            subnets: self.subnets.clone(),
            acls: self.acls.clone(),
            groups: self.groups_of(&interfaces),
            interfaces,
            members: self.members.clone(),
            nats: self.nats.clone(),
            peers: self.peers.clone(),
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
            groups: eni.groups.clone(),
            source_dest_check: eni.source_dest_check,
        })
    }

    /// The groups of these interfaces with their rules, and the groups that those name.
    fn groups_of(&self, interfaces: &[InterfacePlan]) -> Vec<GroupPlan> {
        let own: BTreeSet<&GroupId> = interfaces.iter().flat_map(|i| &i.groups).collect();
        let mut wanted = own.clone();
        for group in own.iter().filter_map(|id| self.groups.get(*id)) {
            wanted.extend(group.rules.iter().filter_map(|rule| match &rule.peer {
                Peer::Group(id) => Some(id),
                Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => None,
            }));
        }
        let plan = |group: &Arc<SecurityGroup>| {
            // Of a group that is only named, the members count; its own rules may name groups that are not here.
            if own.contains(&group.id) { group_plan(group, &self.lists) } else { members_only(group) }
        };
        wanted.into_iter().filter_map(|id| self.groups.get(id)).map(plan).collect()
    }
}

fn members_only(group: &SecurityGroup) -> GroupPlan {
    GroupPlan { id: group.id.clone(), name: group.name.clone(), ingress: Vec::new(), egress: Vec::new() }
}

fn group_plan(group: &SecurityGroup, lists: &Lists) -> GroupPlan {
    let plan = |Rule { traffic, peer, .. }: &Rule| {
        let peers = match peer {
            Peer::PrefixList(id) => ranges(lists.get(id)),
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

/// Elastic addresses by the interface and the private address that have them.
type Elastic = HashMap<(InterfaceId, Ipv4Addr), Ipv4Addr>;

fn elastic(tx: &mut Tx<System>, home: &Home) -> Elastic {
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
            Peer::Ipv4(_) | Peer::Ipv6(_) | Peer::PrefixList(_) => None,
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
}
