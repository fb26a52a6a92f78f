//! CreatePlacementGroup.

use awan_model::id::PlacementGroupId;
use awan_model::placement_group::{PlacementGroup, Strategy};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_placement_groups::shown;
use crate::error::{Code, Result, combination, invalid, invalid_value, missing, refuse, refuse_if};
use crate::tagging;

/// EC2's default quota per region. Source: "Placement groups", EC2 User Guide.
const GROUPS_MAX: usize = 500;
const NAME_MAX: usize = 255;
/// Source: "Placement strategies", EC2 User Guide: at most seven partitions a zone.
const PARTITIONS: std::ops::RangeInclusive<i32> = 1..=7;
const PARTITIONS_DEFAULT: u8 = 2;

pub fn create_placement_group(
    tx: &mut Tx<Tenant>,
    req: ec2::CreatePlacementGroupRequest,
) -> Result<ec2::CreatePlacementGroupResult> {
    let ec2::CreatePlacementGroupRequest {
        partition_count,
        tag_specifications,
        spread_level,
        linked_group_id,
        operator,
        parent_group_id,
        dry_run: _,
        group_name,
        strategy,
    } = req;
    refuse_if(linked_group_id.is_some(), "LinkedGroupId")?;
    refuse_if(operator.is_some(), "Operator")?;
    refuse_if(parent_group_id.is_some(), "ParentGroupId")?;
    let name = name(group_name)?;
    let strategy = chosen(strategy.as_deref(), partition_count)?;
    if let Some(level) = spread_level {
        spread(&level, strategy)?;
    }
    if tx.lookup(PlacementGroup::BY_NAME, &name).is_some() {
        let message = format!("The Placement Group '{}' already exists.", name.escape_debug());
        return Err(refuse(Code::InvalidPlacementGroupDuplicate, message));
    }
    if tx.list::<PlacementGroup>().len() >= GROUPS_MAX {
        return Err(refuse(Code::PlacementGroupLimitExceeded, "The maximum number of placement groups was reached."));
    }
    let tags = tagging::specified(&tag_specifications, "placement-group", &["placement-group"])?;
    let id = PlacementGroupId::made(tx.new_id(PlacementGroupId::PREFIX));
    let group = PlacementGroup { home: tx.home().clone(), id, name, strategy, created: tx.now() };
    tagging::add(tx, group.id.as_str(), &tags)?;
    tx.put(group.clone());
    Ok(ec2::CreatePlacementGroupResult { placement_group: Some(shown(&group, tags)) })
}

fn name(name: Option<String>) -> Result<String> {
    let name = name.filter(|n| !n.is_empty()).ok_or_else(|| missing("groupName"))?;
    if !name.is_ascii() || name.len() > NAME_MAX || name.bytes().any(|b| b.is_ascii_control()) {
        return Err(invalid(format!("A placement group's name has at most {NAME_MAX} ASCII characters")));
    }
    Ok(name)
}

fn chosen(strategy: Option<&str>, count: Option<i32>) -> Result<Strategy> {
    let strategy = match (strategy.filter(|s| !s.is_empty()), count) {
        (Some("partition"), None) => Strategy::Partition { count: PARTITIONS_DEFAULT },
        // EC2: a count alone asks for partitions.
        (Some("partition") | None, Some(n)) => {
            let count = u8::try_from(n).ok().filter(|_| PARTITIONS.contains(&n));
            Strategy::Partition { count: count.ok_or_else(|| invalid_value(n, "partitionCount"))? }
        }
        (Some("cluster"), None) => Strategy::Cluster,
        (Some("spread"), None) => Strategy::Spread,
        (Some("cluster" | "spread"), Some(_)) => {
            return Err(combination("The parameter partitionCount is valid with the strategy partition only"));
        }
        (Some("precision-time"), _) => return Err(crate::error::unsupported("Strategy precision-time")),
        (Some(other), _) => {
            return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "strategy"));
        }
        (None, None) => return Err(missing("strategy")),
    };
    Ok(strategy)
}

fn spread(level: &str, strategy: Strategy) -> Result<()> {
    if strategy != Strategy::Spread {
        return Err(combination("The parameter spreadLevel is valid with the strategy spread only"));
    }
    match level {
        // What EC2 calls a rack is here a host: what fails together.
        "rack" => Ok(()),
        // Source: "CreatePlacementGroup", EC2 API Reference: for groups on Outposts.
        "host" => Err(invalid("The spread level host can be used with Outpost placement groups only")),
        other => Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "spreadLevel")),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_group_has_a_name_of_its_own_and_a_strategy() {
        let mut cloud = Cloud::new();
        let mut make = |ask: &[(&str, &str)]| cloud.tenant("acme").call("CreatePlacementGroup", ask);
        let made = make(&[("GroupName", "a"), ("Strategy", "spread"), ("SpreadLevel", "rack")]).expect("makes");
        assert!(made.contains("<spreadLevel>rack</spreadLevel>") && made.contains(":placement-group/a<"), "{made}");
        let made = make(&[("GroupName", "b"), ("PartitionCount", "3")]).expect("makes");
        assert!(made.contains("<partitionCount>3</partitionCount>"), "{made}");
        for (ask, code) in [
            (&[("GroupName", "a"), ("Strategy", "cluster")][..], "InvalidPlacementGroup.Duplicate"),
            (&[("GroupName", "c"), ("Strategy", "nearby")], "InvalidParameterValue"),
            (&[("GroupName", "c")], "MissingParameter"),
            (&[("Strategy", "cluster")], "MissingParameter"),
            (&[("GroupName", "é"), ("Strategy", "cluster")], "InvalidParameterValue"),
            (&[("GroupName", "c"), ("Strategy", "partition"), ("PartitionCount", "8")], "InvalidParameterValue"),
            (&[("GroupName", "c"), ("Strategy", "spread"), ("PartitionCount", "2")], "InvalidParameterCombination"),
            (&[("GroupName", "c"), ("Strategy", "cluster"), ("SpreadLevel", "rack")], "InvalidParameterCombination"),
            (&[("GroupName", "c"), ("Strategy", "cluster"), ("ParentGroupId", "pg-1")], "UnsupportedOperation"),
        ] {
            let refusal = make(ask).expect_err(code);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        cloud
            .tenant("other")
            .call("CreatePlacementGroup", &[("GroupName", "a"), ("Strategy", "cluster")])
            .expect("own");
        cloud.audit();
    }
}
