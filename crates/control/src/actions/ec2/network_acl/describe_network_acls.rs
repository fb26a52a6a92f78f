//! DescribeNetworkAcls, and how a network ACL is shown.

use std::collections::BTreeMap;

use awan_model::network_acl::{Entry, NetworkAcl};
use awan_model::vpc::Vpc;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::entries;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "association.association-id",
    "association.network-acl-id",
    "association.subnet-id",
    "default",
    "entry.cidr",
    "entry.egress",
    "entry.icmp.code",
    "entry.icmp.type",
    "entry.ipv6-cidr",
    "entry.port-range.from",
    "entry.port-range.to",
    "entry.protocol",
    "entry.rule-action",
    "entry.rule-number",
    "network-acl-id",
    "owner-id",
    "vpc-id",
];

pub fn describe_network_acls(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeNetworkAclsRequest,
) -> Result<ec2::DescribeNetworkAclsResult> {
    let ec2::DescribeNetworkAclsRequest { next_token, max_results, dry_run: _, network_acl_ids, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !network_acl_ids.is_empty();
    let page = Page::new(tx, "DescribeNetworkAcls", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &network_acl_ids {
        found.push(tx.get::<NetworkAcl>(&id.parse()?)?);
    }
    if !named {
        found = tx.list::<NetworkAcl>();
    }
    let mut kept = Vec::new();
    for acl in found {
        let tags = tagging::of(tx, acl.id.as_str());
        let shown = shown(tx, &acl, tagging::shown(&tags));
        if filters.match_all(|name| values(&shown, &tags, name)) {
            kept.push((acl, shown));
        }
    }
    let (kept, next_token) = page.cut(kept, |(acl, _)| acl.id.clone());
    let network_acls = kept.into_iter().map(|(_, shown)| shown).collect();
    Ok(ec2::DescribeNetworkAclsResult { network_acls, next_token })
}

fn values(acl: &ec2::NetworkAcl, tags: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    fn some(one: Option<impl ToString>) -> Option<String> {
        one.map(|one| one.to_string())
    }
    let associations = |of: fn(&ec2::NetworkAclAssociation) -> &Option<String>| {
        acl.associations.iter().filter_map(|a| of(a).clone()).collect::<Vec<_>>()
    };
    let entries = |of: fn(&ec2::NetworkAclEntry) -> Option<String>| acl.entries.iter().filter_map(of).collect();
    match name {
        "association.association-id" => associations(|a| &a.network_acl_association_id),
        "association.network-acl-id" => associations(|a| &a.network_acl_id),
        "association.subnet-id" => associations(|a| &a.subnet_id),
        "default" => some(acl.is_default).into_iter().collect(),
        "entry.cidr" => entries(|e| e.cidr_block.clone()),
        "entry.egress" => entries(|e| some(e.egress)),
        "entry.icmp.code" => entries(|e| some(e.icmp_type_code.as_ref()?.code)),
        "entry.icmp.type" => entries(|e| some(e.icmp_type_code.as_ref()?.r#type)),
        "entry.ipv6-cidr" => entries(|e| e.ipv6_cidr_block.clone()),
        "entry.port-range.from" => entries(|e| some(e.port_range.as_ref()?.from)),
        "entry.port-range.to" => entries(|e| some(e.port_range.as_ref()?.to)),
        "entry.protocol" => acl.entries.iter().flat_map(protocols).collect(),
        "entry.rule-action" => entries(|e| e.rule_action.clone()),
        "entry.rule-number" => entries(|e| some(e.rule_number)),
        "network-acl-id" => acl.network_acl_id.iter().cloned().collect(),
        "owner-id" => acl.owner_id.iter().cloned().collect(),
        "vpc-id" => acl.vpc_id.iter().cloned().collect(),
        tag => tagging::filter_values(tags, tag),
    }
}

/// A protocol can be asked for by its number or its name.
fn protocols(entry: &ec2::NetworkAclEntry) -> Vec<String> {
    let number = entry.protocol.clone().unwrap_or_default();
    let name = match number.as_str() {
        "1" => Some("icmp"),
        "6" => Some("tcp"),
        "17" => Some("udp"),
        _ => None,
    };
    name.map(str::to_owned).into_iter().chain([number]).collect()
}

pub fn shown(tx: &mut Tx<Tenant>, acl: &NetworkAcl, tags: Vec<ec2::Tag>) -> ec2::NetworkAcl {
    let ipv6 = tx.find::<Vpc>(&acl.vpc).is_some_and(|vpc| !vpc.ipv6.is_empty());
    let association = |a: &awan_model::network_acl::Association| ec2::NetworkAclAssociation {
        network_acl_association_id: Some(a.id.to_string()),
        network_acl_id: Some(acl.id.to_string()),
        subnet_id: Some(a.subnet.to_string()),
    };
    let side = |egress: bool| {
        let own = acl.entries.iter().filter(move |e| e.egress == egress).map(entries::shown);
        let last = ipv6.then(|| entries::shown(&Entry::none_ipv6(egress)));
        own.chain([entries::shown(&Entry::none(egress))]).chain(last)
    };
    ec2::NetworkAcl {
        associations: acl.associations.iter().map(association).collect(),
        // EC2 shows egress first.
        entries: side(true).chain(side(false)).collect(),
        is_default: Some(acl.is_default),
        network_acl_id: Some(acl.id.to_string()),
        tags,
        vpc_id: Some(acl.vpc.to_string()),
        owner_id: Some(acl.home.account().into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_vpc_has_its_default_acl_which_serves_all_its_subnets() {
        let mut cloud = Cloud::new();
        let ask = [("Filter.1.Name", "default"), ("Filter.1.Value.1", "true")];
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &ask).expect("answers");
        let mut served = Cloud::ids(&shown, "subnetId");
        served.sort();
        let subnets = cloud.tenant("acme").call("DescribeSubnets", &[]).expect("answers");
        let mut subnets = Cloud::ids(&subnets, "subnetId");
        subnets.sort();
        assert_eq!(served, subnets);
        assert_eq!(Cloud::ids(&shown, "ruleNumber"), ["100", "32767", "100", "32767"]);
        assert_eq!(Cloud::ids(&shown, "egress"), ["true", "true", "false", "false"]);
        let made = cloud.tenant("acme").call("CreateVpc", &[("CidrBlock", "10.7.0.0/16")]).expect("makes");
        let vpc = Cloud::ids(&made, "vpcId").remove(0);
        let ask = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc.as_str())];
        let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "networkAclId").len(), 1, "{shown}");
        for (name, value, expected) in [
            ("entry.protocol", "-1", 2),
            ("entry.protocol", "tcp", 0),
            ("association.subnet-id", subnets[0].as_str(), 1),
            ("entry.rule-number", "32767", 2),
            ("entry.cidr", "10.*", 0),
        ] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant("acme").call("DescribeNetworkAcls", &ask).expect("answers");
            assert_eq!(Cloud::ids(&shown, "default").len(), expected, "{name}={value}");
        }
    }
}
