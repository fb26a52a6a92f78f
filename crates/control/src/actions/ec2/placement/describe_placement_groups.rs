//! DescribePlacementGroups.

use std::sync::Arc;

use awan_model::placement_group::{PlacementGroup, Strategy};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::describe::Filters;
use crate::error::{Code, Error, Result, refuse};
use crate::tagging;

const FILTERS: &[&str] = &["tag:*", "group-name", "group-arn", "spread-level", "state", "strategy"];

pub fn describe_placement_groups(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribePlacementGroupsRequest,
) -> Result<ec2::DescribePlacementGroupsResult> {
    let ec2::DescribePlacementGroupsRequest { group_ids, dry_run: _, group_names, filters } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let mut found = Vec::new();
    for name in &group_names {
        found.push(by_name(tx, name)?);
    }
    for id in &group_ids {
        found.push(tx.get::<PlacementGroup>(&id.parse()?)?);
    }
    if group_names.is_empty() && group_ids.is_empty() {
        found = tx.list::<PlacementGroup>();
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup();
    let mut placement_groups = Vec::new();
    for group in found {
        let tags = tagging::of(tx, group.id.as_str());
        let values = |name: &str| match name {
            "group-name" => vec![group.name.clone()],
            "group-arn" => vec![group.arn()],
            "spread-level" => spread_level(&group).into_iter().collect(),
            "state" => vec!["available".to_owned()],
            "strategy" => vec![group.strategy.as_str().into()],
            tag => tagging::filter_values(&tags, tag),
        };
        if filters.match_all(values) {
            placement_groups.push(shown(&group, tagging::shown(&tags)));
        }
    }
    Ok(ec2::DescribePlacementGroupsResult { placement_groups })
}

pub fn by_name(tx: &mut Tx<Tenant>, name: &str) -> Result<Arc<PlacementGroup>> {
    let found = tx.lookup(PlacementGroup::BY_NAME, name).and_then(|id| tx.find::<PlacementGroup>(&id.parse().ok()?));
    found.ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Error {
    let shown: String = name.chars().take(255).collect();
    let message = format!("The Placement Group '{}' is unknown.", shown.escape_debug());
    refuse(Code::InvalidPlacementGroupUnknown, message)
}

fn spread_level(group: &PlacementGroup) -> Option<String> {
    (group.strategy == Strategy::Spread).then(|| "rack".to_owned())
}

pub fn shown(group: &PlacementGroup, tags: Vec<ec2::Tag>) -> ec2::PlacementGroup {
    let partition_count = match group.strategy {
        Strategy::Partition { count } => Some(count.into()),
        Strategy::Cluster | Strategy::Spread => None,
    };
    ec2::PlacementGroup {
        group_name: Some(group.name.clone()),
        state: Some("available".into()),
        strategy: Some(group.strategy.as_str().into()),
        partition_count,
        group_id: Some(group.id.to_string()),
        tags,
        group_arn: Some(group.arn()),
        spread_level: spread_level(group),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn groups_are_found_by_name_id_and_filter() {
        let mut cloud = Cloud::new();
        let mut id = String::new();
        for (name, strategy) in [("a", "spread"), ("b", "cluster"), ("c", "partition")] {
            let ask = [("GroupName", name), ("Strategy", strategy)];
            let made = cloud.tenant("acme").call("CreatePlacementGroup", &ask).expect("makes");
            id = Cloud::ids(&made, "groupId").remove(0);
        }
        let ask = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "team"), ("Tag.1.Value", "x")];
        cloud.tenant("acme").call("CreateTags", &ask).expect("tags");
        let names = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            Cloud::ids(&cloud.tenant("acme").call("DescribePlacementGroups", ask).expect("answers"), "groupName")
        };
        assert_eq!(names(&mut cloud, &[]), ["a", "b", "c"]);
        assert_eq!(names(&mut cloud, &[("GroupName.1", "b"), ("GroupId.1", &id)]), ["b", "c"]);
        for (filter, value, expected) in [
            ("strategy", "cluster", "b"),
            ("spread-level", "rack", "a"),
            ("group-arn", "*:placement-group/b", "b"),
            ("tag:team", "x", "c"),
        ] {
            let ask = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
            assert_eq!(names(&mut cloud, &ask), [expected], "{filter}");
        }
        for ask in [("GroupName.1", "a"), ("GroupId.1", id.as_str())] {
            let refusal = cloud.tenant("other").call("DescribePlacementGroups", &[ask]).expect_err("foreign");
            assert_eq!(refusal, format!("InvalidPlacementGroup.Unknown: The Placement Group '{}' is unknown.", ask.1));
        }
    }
}
