//! The active peering connections of a VPC.

use std::collections::BTreeSet;
use std::sync::Arc;

use awan_model::group::{Peer, SecurityGroup};
use awan_model::id::GroupId;
use awan_model::peering::{Peering, PeeringAnswer, State};
use awan_model::plan::{Member, MemberIpv6, PeerPlan};
use awan_model::vpc::Vpc;
use awan_state::{System, Tx};
use ipnet::Ipv4Net;

use super::network::{elastic, members};
use crate::network;

/// The groups of other VPCs that rules of these groups name.
pub fn named<'g>(groups: impl Iterator<Item = &'g Arc<SecurityGroup>>) -> BTreeSet<GroupId> {
    let rules = groups.flat_map(|group| &group.rules);
    rules
        .filter_map(|rule| if let Peer::Beyond(beyond) = &rule.peer { Some(beyond.group.clone()) } else { None })
        .collect()
}

pub fn of(tx: &mut Tx<System>, own: &Vpc, named: &BTreeSet<GroupId>) -> Vec<PeerPlan> {
    let (home, vpc) = (&own.home, &own.id);
    let mut found = Vec::new();
    for peering in tx.all::<Peering>() {
        let asked = peering.home == *home && peering.side.vpc == *vpc;
        if !asked && (peering.peer != *home || peering.peer_vpc != *vpc) {
            continue;
        }
        let answer = tx.find_in::<PeeringAnswer>(&peering.peer, &peering.id);
        if peering.state(answer.as_deref(), tx.now()) != State::Active {
            continue;
        }
        let (there, other, side) = if asked {
            (&peering.peer, &peering.peer_vpc, answer.as_ref().map(|answer| &answer.side))
        } else {
            (&peering.home, &peering.side.vpc, Some(&peering.side))
        };
        if let Some(other) = tx.find_in::<Vpc>(there, other) {
            // Nobody else speaks from here as who is of here, whatever ranges it took.
            let mine = |range: &Ipv4Net| own.cidrs().any(|cidr| network::overlap(&cidr, range));
            let ranges = other.cidrs().filter(|range| !mine(range)).collect();
            let ipv6 = other.ipv6.iter().map(|range| range.cidr).collect();
            let names = other.dns_hostnames && side.is_some_and(|side| side.dns);
            let wanted = names || !named.is_empty();
            let (members, members_ipv6) = if wanted { beyond(tx, &other, named, names) } else { Default::default() };
            let (id, vpc) = (peering.id.clone(), other.id.clone());
            found.push(PeerPlan { id, vpc, ranges, ipv6, asked, members, members_ipv6 });
        }
    }
    found
}

/// What counts here of the interfaces of another VPC.
fn beyond(tx: &mut Tx<System>, other: &Vpc, named: &BTreeSet<GroupId>, names: bool) -> (Vec<Member>, Vec<MemberIpv6>) {
    let elastic = elastic(tx, &other.home);
    let (mut members, mut ipv6) = members(tx, &other.home, &other.id, &elastic);
    for member in &mut members {
        member.groups.retain(|id| named.contains(id));
        member.public_ip = member.public_ip.filter(|_| names);
    }
    members.retain(|member| !member.groups.is_empty() || member.public_ip.is_some());
    for member in &mut ipv6 {
        member.groups.retain(|id| named.contains(id));
    }
    ipv6.retain(|member| !member.groups.is_empty());
    (members, ipv6)
}

#[cfg(test)]
mod tests {
    use awan_model::id::VpcCidrAssociationId;
    use awan_model::vpc::{Range, Vpc};
    use awan_state::System;

    use crate::error::Error;
    use crate::plan;
    use crate::testing::Cloud;

    #[test]
    fn a_peer_speaks_from_no_address_of_ours_though_it_has_the_range() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask);
        let mut vpc = |cidr| Cloud::ids(&call("CreateVpc", &[("CidrBlock", cidr)]).expect("makes"), "vpcId").remove(0);
        let (ours, theirs) = (vpc("10.2.0.0/16"), vpc("10.3.0.0/16"));
        let made = call("CreateVpcPeeringConnection", &[("VpcId", &theirs), ("PeerVpcId", &ours)]).expect("asks");
        let id = Cloud::ids(&made, "vpcPeeringConnectionId").remove(0);
        call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &id)]).expect("accepts");
        let made = call("CreateSubnet", &[("VpcId", &ours), ("CidrBlock", "10.2.0.0/24")]).expect("makes");
        let subnet = Cloud::ids(&made, "subnetId").remove(0);
        cloud.tenant("acme").run_with(&[("SubnetId", &subnet)]).expect("runs");
        // The API refuses it; earlier versions did not.
        let took = cloud.control.db.transact_blocking(System, "test", |tx| {
            let vpc = tx.all::<Vpc>().into_iter().find(|vpc| vpc.id.as_str() == theirs).expect("is there");
            let mut changed = (*vpc).clone();
            for cidr in ["10.2.128.0/17", "10.4.0.0/16"] {
                let id = VpcCidrAssociationId::made(tx.new_id(VpcCidrAssociationId::PREFIX));
                changed.secondary.push(Range { id, cidr: cidr.parse().expect("a range") });
            }
            tx.act_for_tenant(&vpc.home, |tx| tx.put(changed));
            Ok::<_, Error>(())
        });
        took.expect("takes them");
        let plans = cloud.control.db.read(System, |tx| plan::all(tx, 1));
        let peer = &plans.values().next().expect("a host").network.vpcs[0].peers[0];
        assert_eq!(peer.ranges, ["10.3.0.0/16", "10.4.0.0/16"].map(|cidr| cidr.parse().expect("a range")));
    }
}
