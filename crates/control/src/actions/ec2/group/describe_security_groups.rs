//! DescribeSecurityGroups.

use std::collections::BTreeMap;

use awan_model::group::{Peer, SecurityGroup};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{beyond, rules};
use crate::actions::ec2::instance::launch;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "description",
    "egress.ip-permission.cidr",
    "egress.ip-permission.from-port",
    "egress.ip-permission.group-id",
    "egress.ip-permission.group-name",
    "egress.ip-permission.ipv6-cidr",
    "egress.ip-permission.prefix-list-id",
    "egress.ip-permission.protocol",
    "egress.ip-permission.to-port",
    "egress.ip-permission.user-id",
    "group-id",
    "group-name",
    "ip-permission.cidr",
    "ip-permission.from-port",
    "ip-permission.group-id",
    "ip-permission.group-name",
    "ip-permission.ipv6-cidr",
    "ip-permission.prefix-list-id",
    "ip-permission.protocol",
    "ip-permission.to-port",
    "ip-permission.user-id",
    "owner-id",
    "vpc-id",
];

pub fn describe_security_groups(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeSecurityGroupsRequest,
) -> Result<ec2::DescribeSecurityGroupsResult> {
    let ec2::DescribeSecurityGroupsRequest { group_ids, group_names, next_token, max_results, dry_run: _, filters } =
        req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !group_ids.is_empty() || !group_names.is_empty();
    let page = Page::new(tx, "DescribeSecurityGroups", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &group_ids {
        found.push(tx.get::<SecurityGroup>(&id.parse()?)?);
    }
    for name in &group_names {
        let vpc = launch::default_vpc(tx)?;
        let id = launch::by_name(tx, &vpc.id, name)?;
        found.push(tx.get::<SecurityGroup>(&id)?);
    }
    if !named {
        found = tx.list::<SecurityGroup>();
    }
    let names: BTreeMap<_, _> = tx.list::<SecurityGroup>().iter().map(|g| (g.id.clone(), g.name.clone())).collect();
    let mut kept = Vec::new();
    for group in found {
        let tags = tagging::of(tx, group.id.as_str());
        if filters.match_all(|name| value(&group, &names, &tags, name)) {
            kept.push((group, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(group, _)| group.id.clone());
    let states = beyond::states(tx, kept.iter().flat_map(|(group, _)| &group.rules));
    let security_groups = kept.iter().map(|(group, tags)| shown(group, &states, tagging::shown(tags))).collect();
    Ok(ec2::DescribeSecurityGroupsResult { next_token, security_groups })
}

type Names = BTreeMap<awan_model::id::GroupId, String>;

fn value(group: &SecurityGroup, names: &Names, tags: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    match name {
        "description" => return vec![group.description.clone()],
        "group-id" => return vec![group.id.to_string()],
        "group-name" => return vec![group.name.clone()],
        "owner-id" => return vec![group.home.account().into()],
        "vpc-id" => return vec![group.vpc.to_string()],
        tag if tag.starts_with("tag") => return tagging::filter_values(tags, tag),
        _ => {}
    }
    let (egress, what) = match name.strip_prefix("egress.") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    let of = |rule: &awan_model::group::Rule| {
        let (protocol, from, to) = rules::wire_traffic(rule.traffic);
        match (what.trim_start_matches("ip-permission."), &rule.peer) {
            ("cidr", Peer::Ipv4(net)) => Some(net.to_string()),
            ("ipv6-cidr", Peer::Ipv6(net)) => Some(net.to_string()),
            ("prefix-list-id", Peer::PrefixList(id)) => Some(id.to_string()),
            ("group-id", Peer::Group(id)) => Some(id.to_string()),
            ("group-name", Peer::Group(id)) => names.get(id).cloned(),
            ("user-id", Peer::Group(_)) => Some(group.home.account().into()),
            ("group-id", Peer::Beyond(beyond)) => Some(beyond.group.to_string()),
            ("user-id", Peer::Beyond(beyond)) => Some(beyond.account.clone()),
            ("protocol", _) => Some(protocol),
            ("from-port", _) => from.map(|n| n.to_string()),
            ("to-port", _) => to.map(|n| n.to_string()),
            _ => None,
        }
    };
    group.rules.iter().filter(|r| r.egress == egress).filter_map(of).collect()
}

fn shown(group: &SecurityGroup, states: &beyond::States, tags: Vec<ec2::Tag>) -> ec2::SecurityGroup {
    let (account, region) = (group.home.account(), group.home.region());
    ec2::SecurityGroup {
        group_id: Some(group.id.to_string()),
        ip_permissions_egress: rules::permissions(group, true, states),
        tags,
        vpc_id: Some(group.vpc.to_string()),
        security_group_arn: Some(format!("arn:aws:ec2:{region}:{account}:security-group/{}", group.id)),
        owner_id: Some(account.into()),
        group_name: Some(group.name.clone()),
        description: Some(group.description.clone()),
        ip_permissions: rules::permissions(group, false, states),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_default_group_lets_its_members_in_and_all_out() {
        let mut cloud = Cloud::new();
        let shown =
            cloud.tenant("acme").call("DescribeSecurityGroups", &[("GroupName.1", "default")]).expect("answers");
        let ids = Cloud::ids(&shown, "groupId");
        assert_eq!(ids[0], ids[1], "a group that names itself: {shown}");
        assert_eq!(Cloud::ids(&shown, "cidrIp"), ["0.0.0.0/0"]);
    }
}
