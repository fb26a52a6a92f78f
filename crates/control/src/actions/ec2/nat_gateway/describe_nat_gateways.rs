//! DescribeNatGateways.

use awan_model::address::Address;
use awan_model::nat::NatGateway;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "nat-gateway-id", "state", "subnet-id", "vpc-id"];

pub fn describe_nat_gateways(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeNatGatewaysRequest,
) -> Result<ec2::DescribeNatGatewaysResult> {
    let ec2::DescribeNatGatewaysRequest { dry_run: _, filter, max_results, nat_gateway_ids, next_token } = req;
    let filters = Filters::new(&filter, FILTERS)?;
    let named = !nat_gateway_ids.is_empty();
    let page = Page::new(tx, "DescribeNatGateways", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &nat_gateway_ids {
        found.push(tx.get::<NatGateway>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<NatGateway>();
    }
    let mut kept = Vec::new();
    for gateway in found {
        let tags = tagging::of(tx, gateway.id.as_str());
        let values = |name: &str| match name {
            "nat-gateway-id" => vec![gateway.id.to_string()],
            "state" => vec![gateway.state().to_owned()],
            "subnet-id" => vec![gateway.subnet.to_string()],
            "vpc-id" => vec![gateway.vpc.to_string()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((gateway, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(gateway, _)| gateway.id.clone());
    let nat_gateways = kept.iter().map(|(gateway, tags)| shown(tx, gateway, tagging::shown(tags))).collect();
    Ok(ec2::DescribeNatGatewaysResult { nat_gateways, next_token })
}

pub fn shown(tx: &mut Tx<Tenant>, gateway: &NatGateway, tags: Vec<ec2::Tag>) -> ec2::NatGateway {
    let allocation = gateway.address.as_ref().map(|a| a.allocation.clone());
    // A deleted one has given its address back.
    let address = allocation.as_ref().filter(|_| gateway.deleted.is_none()).and_then(|id| tx.find::<Address>(id));
    let association = address.and_then(|a| a.association.as_ref().map(|held| held.id.to_string()));
    let own = ec2::NatGatewayAddress {
        allocation_id: allocation.map(|id| id.to_string()),
        network_interface_id: Some(gateway.interface.to_string()),
        private_ip: Some(gateway.private_ip.to_string()),
        public_ip: gateway.address.as_ref().map(|a| a.public_ip.to_string()),
        association_id: association,
        is_primary: Some(true),
        status: Some("succeeded".into()),
        ..Default::default()
    };
    ec2::NatGateway {
        create_time: time(gateway.created),
        delete_time: gateway.deleted.and_then(time),
        nat_gateway_addresses: vec![own],
        nat_gateway_id: Some(gateway.id.to_string()),
        state: Some(gateway.state().into()),
        subnet_id: Some(gateway.subnet.to_string()),
        vpc_id: Some(gateway.vpc.to_string()),
        tags,
        connectivity_type: Some(if gateway.address.is_some() { "public" } else { "private" }.into()),
        availability_mode: Some("zonal".into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn gateways_are_found_by_where_they_are() {
        let mut cloud = Cloud::new();
        let subnets = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let subnets = Cloud::ids(&subnets, "subnetId");
        for subnet in &subnets[..2] {
            let ask = [("SubnetId", subnet.as_str()), ("ConnectivityType", "private")];
            cloud.tenant("acme").call("CreateNatGateway", &ask).expect("makes");
        }
        for (name, value, expected) in [
            ("subnet-id", subnets[0].as_str(), 1),
            ("state", "available", 2),
            ("state", "deleted", 0),
            ("vpc-id", "vpc-*", 2),
        ] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant("acme").call("DescribeNatGateways", &ask).expect("answers");
            assert_eq!(Cloud::ids(&shown, "natGatewayId").len(), expected, "{name}={value}");
        }
    }
}
