//! DescribeVpcs.

use awan_model::vpc::{Ipv6Range, Range, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "cidr",
    "cidr-block",
    "cidr-block-association.association-id",
    "cidr-block-association.cidr-block",
    "cidr-block-association.state",
    "dhcp-options-id",
    "is-default",
    "isDefault",
    "ipv6-cidr-block-association.association-id",
    "ipv6-cidr-block-association.ipv6-cidr-block",
    "ipv6-cidr-block-association.ipv6-pool",
    "ipv6-cidr-block-association.state",
    "owner-id",
    "state",
    "vpc-id",
];

pub fn describe_vpcs(tx: &mut Tx<Tenant>, req: ec2::DescribeVpcsRequest) -> Result<ec2::DescribeVpcsResult> {
    let ec2::DescribeVpcsRequest { filters, vpc_ids, next_token, max_results, dry_run: _ } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page = Page::new(tx, "DescribeVpcs", (max_results, next_token.as_deref()), (5, 1000), !vpc_ids.is_empty())?;
    let mut found = Vec::new();
    for id in &vpc_ids {
        found.push(tx.get::<Vpc>(&id.parse()?)?);
    }
    if vpc_ids.is_empty() {
        found = tx.list::<Vpc>();
    }
    let mut kept = Vec::new();
    for vpc in found {
        let tags = tagging::of(tx, vpc.id.as_str());
        let values = |name: &str| match name {
            "cidr" | "cidr-block" => vec![vpc.cidr.to_string()],
            "cidr-block-association.cidr-block" => vpc.cidrs().map(|cidr| cidr.to_string()).collect(),
            "cidr-block-association.association-id" => vpc.ranges().map(|range| range.id.to_string()).collect(),
            "cidr-block-association.state" => vec!["associated".into()],
            "ipv6-cidr-block-association.ipv6-cidr-block" => vpc.ipv6.iter().map(|r| r.cidr.to_string()).collect(),
            "ipv6-cidr-block-association.association-id" => vpc.ipv6.iter().map(|r| r.id.to_string()).collect(),
            "ipv6-cidr-block-association.ipv6-pool" => vpc.ipv6.iter().map(|_| POOL.into()).collect(),
            "ipv6-cidr-block-association.state" => vpc.ipv6.iter().map(|_| "associated".into()).collect(),
            "dhcp-options-id" => vec![vpc.dhcp_options().to_owned()],
            "is-default" | "isDefault" => vec![vpc.is_default.to_string()],
            "owner-id" => vec![vpc.home.account().into()],
            "state" => vec!["available".into()],
            "vpc-id" => vec![vpc.id.to_string()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            kept.push((vpc, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(vpc, _)| vpc.id.clone());
    Ok(ec2::DescribeVpcsResult {
        next_token,
        vpcs: kept.iter().map(|(vpc, tags)| shown(vpc, tagging::shown(tags))).collect(),
    })
}

pub fn shown(vpc: &Vpc, tags: Vec<ec2::Tag>) -> ec2::Vpc {
    ec2::Vpc {
        owner_id: Some(vpc.home.account().into()),
        instance_tenancy: Some(vpc.tenancy.as_str().into()),
        cidr_block_association_set: vpc.ranges().map(|range| association(&range, "associated")).collect(),
        ipv6_cidr_block_association_set: vpc.ipv6.iter().map(|r| ipv6_association(vpc, r, "associated")).collect(),
        is_default: Some(vpc.is_default),
        block_public_access_states: Some(open_to_gateways()),
        tags,
        vpc_id: Some(vpc.id.to_string()),
        state: Some("available".into()),
        cidr_block: Some(vpc.cidr.to_string()),
        dhcp_options_id: Some(vpc.dhcp_options().to_owned()),
        ..Default::default()
    }
}

/// Nothing keeps a VPC from its internet gateway: there is no VPC Block Public Access.
pub fn open_to_gateways() -> ec2::BlockPublicAccessStates {
    ec2::BlockPublicAccessStates { internet_gateway_block_mode: Some("off".into()) }
}

pub fn association(range: &Range, state: &str) -> ec2::VpcCidrBlockAssociation {
    ec2::VpcCidrBlockAssociation {
        association_id: Some(range.id.to_string()),
        cidr_block: Some(range.cidr.to_string()),
        cidr_block_state: Some(ec2::VpcCidrBlockState { state: Some(state.into()), ..Default::default() }),
    }
}

/// How EC2 calls the pool that is its own.
const POOL: &str = "Amazon";

pub fn ipv6_association(vpc: &Vpc, range: &Ipv6Range, state: &str) -> ec2::VpcIpv6CidrBlockAssociation {
    ec2::VpcIpv6CidrBlockAssociation {
        association_id: Some(range.id.to_string()),
        ipv6_cidr_block: Some(range.cidr.to_string()),
        ipv6_cidr_block_state: Some(ec2::VpcCidrBlockState { state: Some(state.into()), ..Default::default() }),
        network_border_group: Some(vpc.home.region().into()),
        ipv6_pool: Some(POOL.into()),
        ipv6_address_attribute: Some("public".into()),
        ip_source: Some("amazon".into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_new_account_has_its_default_vpc() {
        let mut cloud = Cloud::new();
        let shown = cloud
            .tenant("acme")
            .call("DescribeVpcs", &[("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "true")])
            .expect("answers");
        assert_eq!(Cloud::ids(&shown, "vpcId").len(), 1, "{shown}");
        assert!(shown.contains("172.31.0.0/16"), "{shown}");
        assert_eq!(Cloud::ids(&shown, "internetGatewayBlockMode"), ["off"]);
    }

    /// Only the first is documented; EC2 takes the other too, and Ansible's ec2_vpc_net sends it.
    #[test]
    fn its_range_is_found_by_either_name() {
        let mut cloud = Cloud::new();
        for name in ["cidr", "cidr-block"] {
            for (range, found) in [("172.31.0.0/16", 1), ("10.0.0.0/16", 0)] {
                let filter = [("Filter.1.Name", name), ("Filter.1.Value.1", range)];
                let shown = cloud.tenant("acme").call("DescribeVpcs", &filter).expect("answers");
                assert_eq!(Cloud::ids(&shown, "vpcId").len(), found, "{name}: {shown}");
            }
        }
    }
}
