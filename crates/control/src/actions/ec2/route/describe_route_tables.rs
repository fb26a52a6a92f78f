//! DescribeRouteTables, and how a route table is shown.

use std::collections::BTreeMap;

use awan_model::interface::NetworkInterface;
use awan_model::route::{Destination, Route, RouteTable, Target};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::target::is_active;
use crate::actions::ec2::endpoint::endpoints;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "association.gateway-id",
    "association.main",
    "association.route-table-association-id",
    "association.route-table-id",
    "association.subnet-id",
    "owner-id",
    "route-table-id",
    "route.destination-cidr-block",
    "route.destination-ipv6-cidr-block",
    "route.destination-prefix-list-id",
    "route.egress-only-internet-gateway-id",
    "route.gateway-id",
    "route.instance-id",
    "route.nat-gateway-id",
    "route.origin",
    "route.state",
    "route.transit-gateway-id",
    "route.vpc-peering-connection-id",
    "vpc-id",
];

pub fn describe_route_tables(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeRouteTablesRequest,
) -> Result<ec2::DescribeRouteTablesResult> {
    let ec2::DescribeRouteTablesRequest { next_token, max_results, dry_run: _, route_table_ids, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !route_table_ids.is_empty();
    let page = Page::new(tx, "DescribeRouteTables", (max_results, next_token.as_deref()), (5, 100), named)?;
    let mut found = Vec::new();
    for id in &route_table_ids {
        found.push(tx.get::<RouteTable>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<RouteTable>();
    }
    let mut kept = Vec::new();
    for table in found {
        let tags = tagging::of(tx, table.id.as_str());
        let shown = shown(tx, &table, tagging::shown(&tags));
        if filters.match_all(|name| values(&shown, &tags, name)) {
            kept.push((table, shown));
        }
    }
    let (kept, next_token) = page.cut(kept, |(table, _)| table.id.clone());
    let route_tables = kept.into_iter().map(|(_, shown)| shown).collect();
    Ok(ec2::DescribeRouteTablesResult { route_tables, next_token })
}

fn values(table: &ec2::RouteTable, tags: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    let associations = |of: fn(&ec2::RouteTableAssociation) -> Option<String>| {
        table.associations.iter().filter_map(of).collect::<Vec<_>>()
    };
    let routes = |of: fn(&ec2::Route) -> &Option<String>| table.routes.iter().filter_map(|r| of(r).clone()).collect();
    match name {
        "association.main" => associations(|a| a.main.map(|main| main.to_string())),
        "association.route-table-association-id" => associations(|a| a.route_table_association_id.clone()),
        "association.route-table-id" => associations(|a| a.route_table_id.clone()),
        "association.subnet-id" => associations(|a| a.subnet_id.clone()),
        "owner-id" => table.owner_id.iter().cloned().collect(),
        "route-table-id" => table.route_table_id.iter().cloned().collect(),
        "route.destination-cidr-block" => routes(|r| &r.destination_cidr_block),
        "route.destination-ipv6-cidr-block" => routes(|r| &r.destination_ipv6_cidr_block),
        "route.destination-prefix-list-id" => routes(|r| &r.destination_prefix_list_id),
        "route.egress-only-internet-gateway-id" => routes(|r| &r.egress_only_internet_gateway_id),
        "route.gateway-id" => routes(|r| &r.gateway_id),
        "route.instance-id" => routes(|r| &r.instance_id),
        "route.nat-gateway-id" => routes(|r| &r.nat_gateway_id),
        "route.vpc-peering-connection-id" => routes(|r| &r.vpc_peering_connection_id),
        "route.origin" => routes(|r| &r.origin),
        "route.state" => routes(|r| &r.state),
        "vpc-id" => table.vpc_id.iter().cloned().collect(),
        // What no route and no association has yet.
        other => tagging::filter_values(tags, other),
    }
}

pub fn shown(tx: &mut Tx<Tenant>, table: &RouteTable, tags: Vec<ec2::Tag>) -> ec2::RouteTable {
    let vpc = tx.find::<Vpc>(&table.vpc);
    let local = vpc.iter().flat_map(|vpc| vpc.cidrs()).map(|cidr| ec2::Route {
        destination_cidr_block: Some(cidr.to_string()),
        gateway_id: Some("local".into()),
        origin: Some("CreateRouteTable".into()),
        state: Some("active".into()),
        ..Default::default()
    });
    let local_ipv6 = vpc.iter().flat_map(|vpc| &vpc.ipv6).map(|range| ec2::Route {
        destination_ipv6_cidr_block: Some(range.cidr.to_string()),
        gateway_id: Some("local".into()),
        origin: Some("CreateRouteTable".into()),
        state: Some("active".into()),
        ..Default::default()
    });
    let of_endpoints = endpoints::routes(tx, table);
    let local = local.chain(local_ipv6);
    let routes = local.chain(table.routes.iter().chain(&of_endpoints).map(|r| route(tx, table, r))).collect();
    let association = |id: &str, subnet: Option<String>| ec2::RouteTableAssociation {
        main: Some(subnet.is_none()),
        route_table_association_id: Some(id.to_owned()),
        route_table_id: Some(table.id.to_string()),
        subnet_id: subnet,
        association_state: associated(),
        ..Default::default()
    };
    let main = table.main_association().map(|id| association(id.as_str(), None));
    let explicit = table.associations.iter().map(|a| association(a.id.as_str(), Some(a.subnet.to_string())));
    ec2::RouteTable {
        associations: main.into_iter().chain(explicit).collect(),
        propagating_vgws: Vec::new(),
        route_table_id: Some(table.id.to_string()),
        routes,
        tags,
        vpc_id: Some(table.vpc.to_string()),
        owner_id: Some(table.home.account().into()),
    }
}

pub fn associated() -> Option<ec2::RouteTableAssociationState> {
    Some(ec2::RouteTableAssociationState { state: Some("associated".into()), ..Default::default() })
}

/// A route works while its target is there.
fn route(tx: &mut Tx<Tenant>, table: &RouteTable, route: &Route) -> ec2::Route {
    let Route { destination, target } = route;
    let state = if is_active(tx, table, target) { "active" } else { "blackhole" };
    let mut out = ec2::Route { origin: Some("CreateRoute".into()), state: Some(state.into()), ..ec2::Route::default() };
    let text = Some(destination.to_string());
    match destination {
        Destination::Ipv4(_) => out.destination_cidr_block = text,
        Destination::Ipv6(_) => out.destination_ipv6_cidr_block = text,
        Destination::PrefixList(_) => out.destination_prefix_list_id = text,
    }
    match target {
        Target::InternetGateway(id) => out.gateway_id = Some(id.to_string()),
        Target::NatGateway(id) => out.nat_gateway_id = Some(id.to_string()),
        Target::NetworkInterface(id) => {
            out.network_interface_id = Some(id.to_string());
            let eni = tx.find::<NetworkInterface>(id);
            if let Some(attachment) = eni.as_ref().and_then(|eni| eni.attachment.as_ref()) {
                out.instance_id = Some(attachment.instance.to_string());
                out.instance_owner_id = Some(table.home.account().into());
            }
        }
        Target::VpcPeering(id) => out.vpc_peering_connection_id = Some(id.to_string()),
        Target::EgressOnly(id) => out.egress_only_internet_gateway_id = Some(id.to_string()),
        // EC2 shows endpoints as gateways.
        Target::Endpoint(id) => out.gateway_id = Some(id.to_string()),
        Target::Blackhole => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_main_table_of_the_default_vpc_leads_out() {
        let mut cloud = Cloud::new();
        let ask = [
            ("Filter.1.Name", "association.main"),
            ("Filter.1.Value.1", "true"),
            ("Filter.2.Name", "route.gateway-id"),
            ("Filter.2.Value.1", "igw-*"),
        ];
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "destinationCidrBlock"), ["172.31.0.0/16", "0.0.0.0/0"]);
        assert_eq!(Cloud::ids(&shown, "origin"), ["CreateRouteTable", "CreateRoute"]);
        assert_eq!(Cloud::ids(&shown, "main"), ["true"]);
        let ask = [("Filter.1.Name", "route.nat-gateway-id"), ("Filter.1.Value.1", "*")];
        let shown = cloud.tenant("acme").call("DescribeRouteTables", &ask).expect("answers");
        assert!(Cloud::ids(&shown, "routeTableId").is_empty(), "{shown}");
    }
}
