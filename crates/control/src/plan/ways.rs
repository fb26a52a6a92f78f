//! Where a subnet's packets go: its route table, decided.
//!
//! Of two routes the more specific one counts, whatever the other leads to; so each address has one way or none, and a
//! host needs no more than a map of networks without a common address.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use awan_model::egress_only::EgressOnlyGateway;
use awan_model::gateway::InternetGateway;
use awan_model::id::{EgressOnlyGatewayId, InterfaceId, InternetGatewayId, NatGatewayId, PeeringId, SubnetId, VpcId};
use awan_model::interface::NetworkInterface;
use awan_model::nat::NatGateway;
use awan_model::network_acl::NetworkAcl;
use awan_model::plan::{NatPlan, PeerPlan, SubnetPlan, Way, WayPlan};
use awan_model::route::{Destination, RouteTable, Target};
use awan_model::subnet::Subnet;
use awan_state::{Home, System, Tx};
use ipnet::IpNet;

use super::acl;
use super::network::Lists;

/// What routes of a VPC can lead to at this moment.
struct Ends {
    gateways: HashSet<InternetGatewayId>,
    /// That an instance has.
    interfaces: HashSet<InterfaceId>,
    /// The subnets of NAT gateways, and whether they have a public address.
    nats: HashMap<NatGatewayId, (SubnetId, bool)>,
    peerings: HashSet<PeeringId>,
    egress_only: HashSet<EgressOnlyGatewayId>,
}

impl Ends {
    fn read(tx: &mut Tx<System>, home: &Home, vpc: &VpcId, peers: &[PeerPlan]) -> Self {
        let gateways = tx.all_in::<InternetGateway>(home);
        let attached = gateways.iter().filter(|gateway| gateway.vpc.as_ref() == Some(vpc));
        let interfaces = tx.all_in::<NetworkInterface>(home);
        let used = interfaces.iter().filter(|eni| eni.vpc == *vpc && eni.attachment.is_some());
        let nats = own_nats(tx, home, vpc);
        let egress_only = tx.all_in::<EgressOnlyGateway>(home);
        Self {
            gateways: attached.map(|gateway| gateway.id.clone()).collect(),
            interfaces: used.map(|eni| eni.id.clone()).collect(),
            nats: nats.iter().map(|nat| (nat.id.clone(), (nat.subnet.clone(), nat.address.is_some()))).collect(),
            peerings: peers.iter().map(|peer| peer.id.clone()).collect(),
            egress_only: egress_only.iter().filter(|g| g.vpc == *vpc).map(|g| g.id.clone()).collect(),
        }
    }

    /// `None`: nowhere.
    fn way(&self, target: &Target) -> Option<Way> {
        match target {
            Target::InternetGateway(id) => self.gateways.contains(id).then_some(Way::Internet),
            Target::NetworkInterface(id) => self.interfaces.contains(id).then(|| Way::Interface(id.clone())),
            Target::NatGateway(id) => self.nats.contains_key(id).then(|| Way::Nat(id.clone())),
            Target::VpcPeering(id) => self.peerings.contains(id).then(|| Way::Peering(id.clone())),
            Target::EgressOnly(id) => self.egress_only.contains(id).then_some(Way::EgressOnly),
            Target::Endpoint(_) | Target::Blackhole => None,
        }
    }
}

/// The NAT gateways of a VPC.
fn own_nats(tx: &mut Tx<System>, home: &Home, vpc: &VpcId) -> Vec<Arc<NatGateway>> {
    let mut all = tx.all_in::<NatGateway>(home);
    all.retain(|nat| nat.vpc == *vpc && nat.deleted.is_none());
    all
}

pub fn nats(tx: &mut Tx<System>, home: &Home, vpc: &VpcId) -> Vec<NatPlan> {
    let plan = |nat: &Arc<NatGateway>| NatPlan {
        id: nat.id.clone(),
        subnet: nat.subnet.clone(),
        private_ip: nat.private_ip,
        public_ip: nat.address.as_ref().map(|address| address.public_ip),
    };
    own_nats(tx, home, vpc).iter().map(plan).collect()
}

pub fn subnets(
    tx: &mut Tx<System>,
    home: &Home,
    vpc: &VpcId,
    lists: &Lists,
    peers: &[PeerPlan],
    acls: &[Arc<NetworkAcl>],
) -> Vec<SubnetPlan> {
    let ends = Ends::read(tx, home, vpc, peers);
    let tables: Vec<_> = tx.all_in::<RouteTable>(home).into_iter().filter(|t| t.vpc == *vpc).collect();
    let decided: Vec<_> = tables.iter().map(|table| decide(&routes(table, lists, &ends))).collect();
    let of = |subnet: &SubnetId| {
        let own = tables.iter().position(|t| t.associations.iter().any(|a| a.subnet == *subnet));
        own.or_else(|| tables.iter().position(|t| t.main)).map(|n| decided[n].as_slice()).unwrap_or_default()
    };
    let subnets = tx.all_in::<Subnet>(home);
    let own = subnets.iter().filter(|subnet| subnet.vpc == *vpc);
    let plan = |subnet: &Arc<Subnet>| {
        let ways = of(&subnet.id).iter().flat_map(|plan| match &plan.way {
            Way::Nat(id) => ends.nats.get(id).map(|(at, public)| by_nat(plan, id, *public, of(at))).unwrap_or_default(),
            _ => vec![plan.clone()],
        });
        SubnetPlan {
            id: subnet.id.clone(),
            cidr: subnet.cidr,
            ipv6: subnet.ipv6.as_ref().map(|range| range.cidr),
            acl: acl::of(acls, &subnet.id),
            ways: ways.collect(),
        }
    };
    own.map(plan).collect()
}

/// A NAT gateway sends on by the ways of its own subnet: to peers from its private address, and to the internet if it has
/// a public one. Source: "NAT gateways", Amazon VPC documentation.
fn by_nat(plan: &WayPlan, id: &NatGatewayId, public: bool, own: &[WayPlan]) -> Vec<WayPlan> {
    let sent = |own: &WayPlan| {
        let way = match &own.way {
            Way::Internet if public => Way::Nat(id.clone()),
            Way::Peering(peering) => Way::NatPeering(id.clone(), peering.clone()),
            _ => return None,
        };
        Some(WayPlan { to: common(plan.to, own.to)?, way })
    };
    own.iter().filter_map(sent).collect()
}

/// Of two networks one is in the other, or they have nothing in common.
fn common(a: IpNet, b: IpNet) -> Option<IpNet> {
    if a.contains(&b) { Some(b) } else { b.contains(&a).then_some(a) }
}

type Routes = Vec<(IpNet, Option<Way>)>;

/// The less specific first; of two that are as specific, the one that names its range counts: it comes last.
fn routes(table: &RouteTable, lists: &Lists, ends: &Ends) -> Routes {
    let (mut by_list, mut by_range) = (Routes::new(), Routes::new());
    for route in &table.routes {
        let way = ends.way(&route.target);
        match &route.destination {
            Destination::Ipv4(net) => by_range.push((IpNet::V4(*net), way)),
            Destination::Ipv6(net) => by_range.push((IpNet::V6(*net), way)),
            Destination::PrefixList(id) => {
                let entries = lists.get(id).map(|list| list.entries()).unwrap_or_default();
                by_list.extend(entries.iter().map(|entry| (entry.cidr, way.clone())));
            }
        }
    }
    by_list.extend(by_range);
    by_list.sort_by_key(|(net, _)| net.prefix_len());
    by_list
}

/// Of all addresses, which way the most specific route leads. What has none leads nowhere.
fn decide(routes: &[(IpNet, Option<Way>)]) -> Vec<WayPlan> {
    let mut decided: Vec<(IpNet, Way)> = Vec::new();
    for (net, way) in routes {
        decided = decided
            .into_iter()
            .flat_map(|(old, way)| without(old, *net).into_iter().map(move |left| (left, way.clone())))
            .collect();
        decided.extend(way.clone().map(|way| (*net, way)));
    }
    let mut ways: Vec<Way> = decided.iter().map(|(_, way)| way.clone()).collect();
    ways.sort_unstable();
    ways.dedup();
    let mut plans = Vec::new();
    for way in ways {
        let nets: Vec<_> = decided.iter().filter(|(_, of)| *of == way).map(|(net, _)| *net).collect();
        plans.extend(IpNet::aggregate(&nets).into_iter().map(|to| WayPlan { to, way: way.clone() }));
    }
    plans
}

/// What is left of a network without a part of it.
fn without(mut whole: IpNet, part: IpNet) -> Vec<IpNet> {
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
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect(text)
    }

    #[test]
    fn a_network_without_a_part_of_it_is_the_rest() {
        let left = without(net("0.0.0.0/0"), net("64.0.0.0/3"));
        assert_eq!(left, ["128.0.0.0/1", "0.0.0.0/2", "96.0.0.0/3"].map(net));
        assert_eq!(without(net("10.0.0.0/8"), net("10.0.0.0/8")), []);
        assert_eq!(without(net("10.0.0.0/8"), net("0.0.0.0/0")), []);
        assert_eq!(without(net("10.0.0.0/8"), net("11.0.0.0/8")), [net("10.0.0.0/8")]);
        assert_eq!(without(net("::/0"), net("0.0.0.0/0")), [net("::/0")], "another family");
    }

    #[test]
    fn a_nat_gateway_reaches_what_its_own_subnet_lets_out() {
        let way = |to: &str, way: &Way| WayPlan { to: net(to), way: way.clone() };
        let id: NatGatewayId = "nat-00000000000000001".parse().expect("an id");
        let peering: PeeringId = "pcx-00000000000000001".parse().expect("an id");
        let (nat, peer) = (Way::Nat(id.clone()), Way::NatPeering(id.clone(), peering.clone()));
        let own = [
            way("0.0.0.0/1", &Way::Internet),
            way("192.0.2.0/24", &nat),
            way("198.51.100.0/24", &Way::Internet),
            way("10.1.0.0/16", &Way::Peering(peering)),
        ];
        let by_nat = |to, public| by_nat(&way(to, &nat), &id, public, &own);
        assert_eq!(
            by_nat("0.0.0.0/0", true),
            [way("0.0.0.0/1", &nat), way("198.51.100.0/24", &nat), way("10.1.0.0/16", &peer)],
            "a way back to itself leads nowhere"
        );
        assert_eq!(by_nat("9.0.0.0/8", true), [way("9.0.0.0/8", &nat)]);
        assert_eq!(by_nat("192.0.2.0/25", true), []);
        assert_eq!(by_nat("0.0.0.0/0", false), [way("10.1.0.0/16", &peer)], "a private one reaches no internet");
        assert_eq!(by_nat("10.1.2.0/24", false), [way("10.1.2.0/24", &peer)]);
    }

    fn any_way() -> impl Strategy<Value = Option<Way>> {
        let interface = |n: u8| Some(Way::Interface(format!("eni-{n:017x}").parse().expect("an id")));
        prop_oneof![Just(None), Just(Some(Way::Internet)), (0_u8..2).prop_map(interface)]
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0_u8..=4).prop_map(|(ip, len)| IpNet::new(IpAddr::V4(ip.into()), len));
        let v6 = (any::<u128>(), 0_u8..=3).prop_map(|(ip, len)| IpNet::new(IpAddr::V6(ip.into()), len));
        prop_oneof![v4, v6].prop_map(|net| net.expect("a length").trunc())
    }

    proptest! {
        #[test]
        fn each_address_goes_where_the_longest_prefix_says(
            mut routes in prop::collection::vec((any_net(), any_way()), 0..8),
            addresses in prop::collection::vec(prop_oneof![
                any::<u32>().prop_map(|ip| IpAddr::V4(ip.into())),
                any::<u128>().prop_map(|ip| IpAddr::V6(ip.into())),
            ], 20),
        ) {
            routes.sort_by_key(|(net, _)| net.prefix_len());
            let decided = decide(&routes);
            for ip in addresses {
                let expected = routes.iter().rfind(|(net, _)| net.contains(&ip)).and_then(|(_, way)| way.clone());
                let found: Vec<_> = decided.iter().filter(|plan| plan.to.contains(&ip)).collect();
                prop_assert!(found.len() <= 1, "{ip} has two ways");
                prop_assert_eq!(found.first().map(|plan| plan.way.clone()), expected, "{}", ip);
            }
        }
    }
}
