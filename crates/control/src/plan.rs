//! Snapshot to plans: everything that each host must be. Pure, and computed whole each time (constant work).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use awan_model::address::Address;
use awan_model::dhcp_options::DhcpOptions;
use awan_model::gateway::InternetGateway;
use awan_model::group::{Peer, Rule, SecurityGroup};
use awan_model::host::HostRecord;
use awan_model::id::{GroupId, HostId, InterfaceId, PrefixListId, VpcId};
use awan_model::image::{Boot, Image};
use awan_model::installation::Installation;
use awan_model::instance::{Instance, Placement, Wish};
use awan_model::interface::NetworkInterface;
use awan_model::plan::{
    DhcpPlan, DiskPlan, GroupPlan, HostPlan, InterfacePlan, Member, Metadata, NetworkPlan, PROTOCOL, RulePlan,
    SecondaryPlan, SubnetPlan, VmPlan, VolumePlan, VpcPlan,
};
use awan_model::prefix_list::PrefixList;
use awan_model::route::{Destination, RouteTable, Target};
use awan_model::subnet::Subnet;
use awan_model::tag::Tags;
use awan_model::volume::{Volume, VolumePlacement};
use awan_model::vpc::Vpc;
use awan_state::{Home, Ref, Revision, System, Tx};
use ipnet::{IpNet, Ipv4Net};

/// The plans of all hosts.
pub fn all(tx: &mut Tx<System>, revision: Revision) -> BTreeMap<HostId, HostPlan> {
    let Some(installation) = tx.find_in::<Installation>(&Home::installation(), &Installation::ID.into()) else {
        return BTreeMap::new();
    };
    let mut plans: BTreeMap<HostId, HostPlan> =
        tx.all::<HostRecord>().iter().map(|host| (host.id.clone(), empty(&installation, &host.id, revision))).collect();
    let mut vpcs: BTreeMap<(HostId, VpcId), Vec<Placed>> = BTreeMap::new();
    for place in tx.all::<Placement>() {
        let Some(plan) = plans.get_mut(&place.host) else { continue };
        let Some(instance) = tx.find_in::<Instance>(&place.home, &place.id) else { continue };
        let enis = interfaces(tx, &instance, &place);
        plan.vms.extend(vm(tx, &instance, &place, &enis));
        for eni in enis {
            let public_ip = place.public_ip.filter(|_| eni.id == instance.interface);
            vpcs.entry((place.host.clone(), eni.vpc.clone())).or_default().push(Placed { public_ip, eni });
        }
    }
    let mut networks: HashMap<VpcId, Option<Network>> = HashMap::new();
    for ((host, vpc), placed) in vpcs {
        let network = networks.entry(vpc.clone()).or_insert_with(|| Network::read(tx, &placed[0].eni.home, &vpc));
        if let (Some(network), Some(plan)) = (network, plans.get_mut(&host)) {
            plan.network.vpcs.push(network.on_host(&placed));
        }
    }
    volumes(tx, &mut plans);
    plans
}

struct Placed {
    /// The automatic one.
    public_ip: Option<Ipv4Addr>,
    eni: Arc<NetworkInterface>,
}

/// What this run of an instance has of its interfaces, in the order of their device index.
fn interfaces(tx: &mut Tx<System>, instance: &Instance, place: &Placement) -> Vec<Arc<NetworkInterface>> {
    let ids = std::iter::once(&instance.interface).chain(&instance.more_interfaces);
    let found: Vec<_> = ids.filter_map(|id| tx.find_in::<NetworkInterface>(&instance.home, id)).collect();
    let own = |eni: &Arc<NetworkInterface>| {
        eni.attachment.as_ref().is_some_and(|a| a.instance == instance.id && a.since_run <= place.run)
    };
    found.into_iter().filter(own).collect()
}

fn empty(installation: &Installation, host: &HostId, revision: Revision) -> HostPlan {
    HostPlan {
        protocol: PROTOCOL,
        store: installation.store.clone(),
        revision,
        host: host.clone(),
        vms: Vec::new(),
        volumes: Vec::new(),
        consoles: Vec::new(),
        network: NetworkPlan { vpcs: Vec::new(), public_pool: Some(installation.public_pool) },
    }
}

fn volumes(tx: &mut Tx<System>, plans: &mut BTreeMap<HostId, HostPlan>) {
    for place in tx.all::<VolumePlacement>() {
        let Some(plan) = plans.get_mut(&place.host) else { continue };
        let Some(volume) = tx.find_in::<Volume>(&place.home, &place.id) else { continue };
        let instance = volume.attachment.as_ref().and_then(|a| tx.find_in::<Instance>(&volume.home, &a.instance));
        if let Some(instance) = instance.filter(|i| i.root_volume == volume.id && i.wish != Wish::Gone) {
            plan.consoles.push(instance.id.clone());
        }
        plan.volumes.push(VolumePlan {
            home: volume.home.clone(),
            id: volume.id.clone(),
            size_gib: volume.size_gib,
            image: volume.image.clone(),
        });
    }
}

fn vm(
    tx: &mut Tx<System>,
    instance: &Instance,
    place: &Placement,
    interfaces: &[Arc<NetworkInterface>],
) -> Option<VmPlan> {
    // What it was launched from may be deregistered; what its root began as is not.
    let root = tx.find_in::<Volume>(&instance.home, &instance.root_volume);
    let image = root.and_then(|root| root.image.clone());
    let began_as = image.as_ref().and_then(|image| tx.find_by::<Image>("image", image.as_str()));
    let boot = began_as.map_or(Boot::Firmware, |image| image.boot.clone());
    let volumes = attached(tx, instance);
    Some(VmPlan {
        home: instance.home.clone(),
        id: instance.id.clone(),
        wish: if place.run == instance.run { instance.wish } else { return None },
        run: place.run,
        reboots: instance.reboots,
        force: instance.force,
        instance_type: instance.instance_type.clone(),
        vcpus: place.vcpus,
        memory_mib: place.memory_mib,
        boot,
        image: image.unwrap_or_else(|| instance.image.clone()),
        disks: volumes.iter().filter_map(|v| disk(v)).collect(),
        yank: volumes.iter().filter(|v| is_forced(v)).map(|v| v.id.clone()).collect(),
        disk_changes: instance.disk_changes,
        interfaces: interfaces.iter().map(|eni| eni.id.clone()).collect(),
        metadata: metadata(tx, instance),
    })
}

fn attached(tx: &mut Tx<System>, instance: &Instance) -> Vec<Arc<Volume>> {
    let all = std::iter::once(&instance.root_volume).chain(&instance.data_volumes);
    let found: Vec<_> = all.filter_map(|id| tx.find_in::<Volume>(&instance.home, id)).collect();
    found.into_iter().filter(|volume| volume.is_attached_to(&instance.id)).collect()
}

/// What is to go is in no plan.
fn disk(volume: &Volume) -> Option<DiskPlan> {
    let attachment = volume.attachment.as_ref().filter(|a| a.detach.is_none())?;
    Some(DiskPlan { volume: volume.id.clone(), device: attachment.device.clone() })
}

fn is_forced(volume: &Volume) -> bool {
    volume.attachment.as_ref().and_then(|a| a.detach).is_some_and(|detach| detach.force)
}

fn metadata(tx: &mut Tx<System>, instance: &Instance) -> Metadata {
    let tags = if instance.metadata.tags {
        tx.find_at(&Ref::<Tags>::new(&instance.home, &instance.id.to_string()))
            .map(|t| t.tags.clone())
            .unwrap_or_default()
    } else {
        BTreeMap::new()
    };
    Metadata {
        image: instance.image.clone(),
        options: instance.metadata.clone(),
        account: instance.home.account().to_owned(),
        region: instance.home.region().to_owned(),
        zone: instance.zone.clone(),
        reservation: instance.reservation.clone(),
        launch_index: instance.launch_index,
        architecture: instance.architecture.clone(),
        key_name: instance.key_name.clone(),
        public_key: instance.public_key.clone(),
        user_data: instance.user_data.clone(),
        tags,
        launched: instance.launched,
        root_device: instance.root_device.clone(),
        profile: crate::identity::instance::planned(tx, instance),
    }
}

/// What all hosts of a VPC share.
struct Network {
    vpc: Arc<Vpc>,
    dhcp: DhcpPlan,
    subnets: Vec<SubnetPlan>,
    groups: HashMap<GroupId, Arc<SecurityGroup>>,
    members: Vec<Member>,
    elastic: Elastic,
    lists: Lists,
}

impl Network {
    fn read(tx: &mut Tx<System>, home: &Home, id: &VpcId) -> Option<Self> {
        let vpc = tx.find_in::<Vpc>(home, id)?;
        let lists = tx.all_in::<PrefixList>(home).into_iter().map(|list| (list.id.clone(), list)).collect();
        let options = vpc.dhcp_options.as_ref().and_then(|id| tx.find_in::<DhcpOptions>(home, id));
        let dhcp = options.map(|options| options.plan()).unwrap_or_default();
        let elastic = elastic(tx, home);
        let groups = tx.all_in::<SecurityGroup>(home).into_iter().filter(|g| g.vpc == *id).map(|g| (g.id.clone(), g));
        let groups = groups.collect();
        let subnets = subnets(tx, home, id);
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
        Some(Self { vpc, dhcp, subnets, groups, members, elastic, lists })
    }

    fn on_host(&self, placed: &[Placed]) -> VpcPlan {
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
            groups: self.groups_of(&interfaces),
            interfaces,
            members: self.members.clone(),
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

type Lists = HashMap<PrefixListId, Arc<PrefixList>>;

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

fn subnets(tx: &mut Tx<System>, home: &Home, vpc: &VpcId) -> Vec<SubnetPlan> {
    let attached = |gateway: &InternetGateway| gateway.vpc.as_ref() == Some(vpc);
    let gateways: Vec<_> =
        tx.all_in::<InternetGateway>(home).iter().filter(|g| attached(g)).map(|g| g.id.clone()).collect();
    let tables: Vec<_> = tx.all_in::<RouteTable>(home).into_iter().filter(|t| t.vpc == *vpc).collect();
    let out = |target: &Target| matches!(target, Target::InternetGateway(id) if gateways.contains(id));
    let lists: Lists = tx.all_in::<PrefixList>(home).into_iter().map(|list| (list.id.clone(), list)).collect();
    let ways: Vec<_> = tables.iter().map(|table| leads_out(table, &lists, out)).collect();
    let of = |subnet: &Arc<Subnet>| {
        let own = tables
            .iter()
            .position(|t| t.associations.iter().any(|a| a.subnet == subnet.id))
            .or_else(|| tables.iter().position(|t| t.main));
        let internet = own.map(|n| ways[n].clone()).unwrap_or_default();
        SubnetPlan { id: subnet.id.clone(), cidr: subnet.cidr, internet }
    };
    tx.all_in::<Subnet>(home).iter().filter(|s| s.vpc == *vpc).map(of).collect()
}

/// Of all addresses, those for which the most specific route is one that leads `out`.
fn leads_out(table: &RouteTable, lists: &Lists, out: impl Fn(&Target) -> bool) -> Vec<Ipv4Net> {
    let mut routes: Vec<(Ipv4Net, bool)> = Vec::new();
    for route in &table.routes {
        match &route.destination {
            Destination::Ipv4(net) => routes.push((*net, out(&route.target))),
            // Of two that are as specific, the one that names its range counts: it comes last.
            Destination::PrefixList(id) => {
                let entries = lists.get(id).map(|list| list.entries()).unwrap_or_default();
                let nets = entries.iter().filter_map(|e| if let IpNet::V4(net) = e.cidr { Some(net) } else { None });
                routes.splice(0..0, nets.map(|net| (net, out(&route.target))));
            }
            Destination::Ipv6(_) => {}
        }
    }
    routes.sort_unstable_by_key(|(net, _)| net.prefix_len());
    let mut found: Vec<Ipv4Net> = Vec::new();
    for (net, out) in routes {
        found = found.into_iter().flat_map(|old| without(old, net)).collect();
        found.extend(out.then_some(net));
    }
    Ipv4Net::aggregate(&found)
}

/// What is left of a network without a part of it.
fn without(mut whole: Ipv4Net, part: Ipv4Net) -> Vec<Ipv4Net> {
    if !whole.contains(&part) {
        return if part.contains(&whole) { Vec::new() } else { vec![whole] };
    }
    let mut left = Vec::new();
    while whole != part {
        let Ok(halves) = whole.subnets(whole.prefix_len().saturating_add(1)) else { break };
        for half in halves {
            if half.contains(&part) { whole = half } else { left.push(half) }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_network_without_a_part_of_it_is_the_rest() {
        let net = |text: &str| text.parse::<Ipv4Net>().expect(text);
        let left = without(net("0.0.0.0/0"), net("64.0.0.0/3"));
        assert_eq!(left, ["128.0.0.0/1", "0.0.0.0/2", "96.0.0.0/3"].map(net));
        assert_eq!(without(net("10.0.0.0/8"), net("10.0.0.0/8")), []);
        assert_eq!(without(net("10.0.0.0/8"), net("0.0.0.0/0")), []);
        assert_eq!(without(net("10.0.0.0/8"), net("11.0.0.0/8")), [net("10.0.0.0/8")]);
    }

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
