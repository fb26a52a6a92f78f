//! DescribeVpcPeeringConnections: those that this account asked for, and those that it is asked for.

use awan_state::{Tenant, Tx};
use awan_wire::{ec2, shape};

use super::peerings::{all, read, shown};
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "accepter-vpc-info.cidr-block",
    "accepter-vpc-info.owner-id",
    "accepter-vpc-info.vpc-id",
    "expiration-time",
    "requester-vpc-info.cidr-block",
    "requester-vpc-info.owner-id",
    "requester-vpc-info.vpc-id",
    "status-code",
    "status-message",
    "vpc-peering-connection-id",
];

pub fn describe_vpc_peering_connections(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVpcPeeringConnectionsRequest,
) -> Result<ec2::DescribeVpcPeeringConnectionsResult> {
    let ec2::DescribeVpcPeeringConnectionsRequest {
        next_token,
        max_results,
        dry_run: _,
        vpc_peering_connection_ids,
        filters,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !vpc_peering_connection_ids.is_empty();
    let token = (max_results, next_token.as_deref());
    let page = Page::new(tx, "DescribeVpcPeeringConnections", token, (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &vpc_peering_connection_ids {
        found.push(read(tx, &id.parse()?)?);
    }
    if !named {
        found = all(tx);
    }
    let mut kept = Vec::new();
    for known in found {
        let tags = tagging::of(tx, known.peering.id.as_str());
        let shown = shown(&known, tagging::shown(&tags));
        let values = |name: &str| {
            let side = |info: &Option<ec2::VpcPeeringConnectionVpcInfo>, what: &str| {
                let Some(info) = info else { return Vec::new() };
                match what {
                    "cidr-block" => info.cidr_block_set.iter().filter_map(|c| c.cidr_block.clone()).collect(),
                    "owner-id" => info.owner_id.iter().cloned().collect(),
                    _ => info.vpc_id.iter().cloned().collect(),
                }
            };
            match name {
                "expiration-time" => shown.expiration_time.iter().filter_map(text).collect(),
                "status-code" => shown.status.iter().filter_map(|s| s.code.clone()).collect(),
                "status-message" => shown.status.iter().filter_map(|s| s.message.clone()).collect(),
                "vpc-peering-connection-id" => vec![known.peering.id.to_string()],
                other => match other.split_once("-vpc-info.") {
                    Some(("accepter", what)) => side(&shown.accepter_vpc_info, what),
                    Some(("requester", what)) => side(&shown.requester_vpc_info, what),
                    _ => tagging::filter_values(&tags, other),
                },
            }
        };
        if filters.match_all(values) {
            kept.push((known.peering.id.clone(), shown));
        }
    }
    let (kept, next_token) = page.cut(kept, |(id, _)| id.clone());
    let vpc_peering_connections = kept.into_iter().map(|(_, shown)| shown).collect();
    Ok(ec2::DescribeVpcPeeringConnectionsResult { vpc_peering_connections, next_token })
}

/// A time as the answer writes it.
fn text(time: &shape::Timestamp) -> Option<String> {
    let mut out = String::new();
    shape::Leaf::write(time, &mut out).then_some(out)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn connections_are_found_by_either_side() {
        let mut cloud = Cloud::new();
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let mut vpc = |cidr| Cloud::ids(&call("CreateVpc", &[("CidrBlock", cidr)]), "vpcId").remove(0);
        let (a, b, c) = (vpc("10.1.0.0/16"), vpc("10.2.0.0/16"), vpc("10.3.0.0/16"));
        let mut ask = |from: &str, to: &str| {
            let made = call("CreateVpcPeeringConnection", &[("VpcId", from), ("PeerVpcId", to)]);
            Cloud::ids(&made, "vpcPeeringConnectionId").remove(0)
        };
        let (ab, cb) = (ask(&a, &b), ask(&c, &b));
        call("AcceptVpcPeeringConnection", &[("VpcPeeringConnectionId", &ab)]);
        let mut both = [ab.clone(), cb.clone()];
        both.sort();
        for (name, value, expected) in [
            ("requester-vpc-info.vpc-id", a.as_str(), std::slice::from_ref(&ab)),
            ("accepter-vpc-info.vpc-id", &b, &both),
            ("accepter-vpc-info.cidr-block", "10.2.0.0/16", std::slice::from_ref(&ab)),
            ("requester-vpc-info.cidr-block", "10.3.*", std::slice::from_ref(&cb)),
            ("status-code", "active", std::slice::from_ref(&ab)),
            ("status-message", "Pending*", std::slice::from_ref(&cb)),
            ("expiration-time", "20*Z", std::slice::from_ref(&cb)),
            ("vpc-peering-connection-id", &ab, std::slice::from_ref(&ab)),
        ] {
            let shown = call("DescribeVpcPeeringConnections", &[("Filter.1.Name", name), ("Filter.1.Value.1", value)]);
            assert_eq!(Cloud::ids(&shown, "vpcPeeringConnectionId"), expected, "{name}");
        }
    }
}
