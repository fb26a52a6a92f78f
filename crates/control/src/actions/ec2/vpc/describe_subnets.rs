//! DescribeSubnets.

use std::collections::HashMap;

use awan_model::interface::NetworkInterface;
use awan_model::subnet::{Ipv6Range, Subnet};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_vpcs::open_to_gateways;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "availability-zone",
    "availabilityZone",
    "availability-zone-id",
    "available-ip-address-count",
    "cidr-block",
    "cidr",
    "cidrBlock",
    "customer-owned-ipv4-pool",
    "default-for-az",
    "defaultForAz",
    "enable-dns64",
    "enable-lni-at-device-index",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.state",
    "ipv6-native",
    "map-public-ip-on-launch",
    "map-customer-owned-ip-on-launch",
    "outpost-arn",
    "owner-id",
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record",
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record",
    "private-dns-name-options-on-launch.hostname-type",
    "state",
    "subnet-arn",
    "subnet-id",
    "vpc-id",
];

pub fn describe_subnets(tx: &mut Tx<Tenant>, req: ec2::DescribeSubnetsRequest) -> Result<ec2::DescribeSubnetsResult> {
    let ec2::DescribeSubnetsRequest { filters, subnet_ids, next_token, max_results, dry_run: _ } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page =
        Page::new(tx, "DescribeSubnets", (max_results, next_token.as_deref()), (5, 1000), !subnet_ids.is_empty())?;
    let mut found = Vec::new();
    for id in &subnet_ids {
        found.push(tx.get::<Subnet>(&id.parse()?)?);
    }
    if subnet_ids.is_empty() {
        found = tx.list::<Subnet>();
    }
    let mut taken: HashMap<_, usize> = HashMap::new();
    for eni in tx.list::<NetworkInterface>() {
        *taken.entry(eni.subnet.clone()).or_default() += eni.addresses().count();
    }
    let mut kept = Vec::new();
    for subnet in found {
        let tags = tagging::of(tx, subnet.id.as_str());
        let free = subnet.usable().count().saturating_sub(taken.get(&subnet.id).copied().unwrap_or(0));
        if filters.match_all(|name| value(&subnet, free, &tags, name)) {
            kept.push((subnet, free, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(subnet, ..)| subnet.id.clone());
    let subnets = kept.iter().map(|(subnet, free, tags)| shown(subnet, *free, tagging::shown(tags))).collect();
    Ok(ec2::DescribeSubnetsResult { next_token, subnets })
}

fn arn(subnet: &Subnet) -> String {
    format!("arn:aws:ec2:{}:{}:subnet/{}", subnet.home.region(), subnet.home.account(), subnet.id)
}

fn value(subnet: &Subnet, free: usize, tags: &std::collections::BTreeMap<String, String>, name: &str) -> Vec<String> {
    let of_range = |of: fn(&Ipv6Range) -> String| subnet.ipv6.as_ref().map(of).into_iter().collect();
    let value = match name {
        "ipv6-cidr-block-association.association-id" => return of_range(|range| range.id.to_string()),
        "ipv6-cidr-block-association.ipv6-cidr-block" => return of_range(|range| range.cidr.to_string()),
        "ipv6-cidr-block-association.state" => return of_range(|_| "associated".into()),
        "availability-zone" | "availabilityZone" => subnet.zone.clone(),
        "availability-zone-id" => zone_id(&subnet.zone),
        "available-ip-address-count" => free.to_string(),
        "cidr-block" | "cidr" | "cidrBlock" => subnet.cidr.to_string(),
        "default-for-az" | "defaultForAz" => subnet.default_for_zone.to_string(),
        "enable-dns64"
        | "ipv6-native"
        | "map-customer-owned-ip-on-launch"
        | "private-dns-name-options-on-launch.enable-resource-name-dns-a-record"
        | "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record" => "false".into(),
        "private-dns-name-options-on-launch.hostname-type" => "ip-name".into(),
        "map-public-ip-on-launch" => subnet.map_public_ip.to_string(),
        "owner-id" => subnet.home.account().into(),
        "state" => "available".into(),
        "subnet-arn" => arn(subnet),
        "subnet-id" => subnet.id.to_string(),
        "vpc-id" => subnet.vpc.to_string(),
        tag => return tagging::filter_values(tags, tag),
    };
    vec![value]
}

pub fn shown(subnet: &Subnet, free: usize, tags: Vec<ec2::Tag>) -> ec2::Subnet {
    ec2::Subnet {
        availability_zone_id: Some(zone_id(&subnet.zone)),
        map_customer_owned_ip_on_launch: Some(false),
        owner_id: Some(subnet.home.account().into()),
        assign_ipv6_address_on_creation: Some(subnet.assign_ipv6),
        ipv6_cidr_block_association_set: subnet.ipv6.iter().map(|r| ipv6_association(r, "associated")).collect(),
        tags,
        subnet_arn: Some(arn(subnet)),
        enable_dns64: Some(false),
        ipv6_native: Some(false),
        block_public_access_states: Some(open_to_gateways()),
        private_dns_name_options_on_launch: Some(ec2::PrivateDnsNameOptionsOnLaunch {
            hostname_type: Some("ip-name".into()),
            enable_resource_name_dns_a_record: Some(false),
            enable_resource_name_dns_aaaa_record: Some(false),
        }),
        subnet_id: Some(subnet.id.to_string()),
        state: Some("available".into()),
        vpc_id: Some(subnet.vpc.to_string()),
        cidr_block: Some(subnet.cidr.to_string()),
        available_ip_address_count: i32::try_from(free).ok(),
        availability_zone: Some(subnet.zone.clone()),
        default_for_az: Some(subnet.default_for_zone),
        map_public_ip_on_launch: Some(subnet.map_public_ip),
        ..Default::default()
    }
}

pub fn ipv6_association(range: &Ipv6Range, state: &str) -> ec2::SubnetIpv6CidrBlockAssociation {
    ec2::SubnetIpv6CidrBlockAssociation {
        association_id: Some(range.id.to_string()),
        ipv6_cidr_block: Some(range.cidr.to_string()),
        ipv6_cidr_block_state: Some(ec2::SubnetCidrBlockState { state: Some(state.into()), ..Default::default() }),
        ipv6_address_attribute: Some("public".into()),
        ip_source: Some("amazon".into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_zone_has_a_default_subnet_with_its_free_addresses_counted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        let shown = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let mut free = Cloud::ids(&shown, "availableIpAddressCount");
        free.sort();
        assert_eq!(free, ["4090", "4091", "4091"]);
        assert_eq!(Cloud::ids(&shown, "internetGatewayBlockMode"), ["off"; 3]);
    }
}
