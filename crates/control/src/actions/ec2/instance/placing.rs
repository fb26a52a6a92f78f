//! What a request says about an instance's place: zone, placement group, tenancy.

use std::sync::Arc;

use awan_model::capacity::Preference;
use awan_model::id::VpcId;
use awan_model::installation::Installation;
use awan_model::instance_type::InstanceType;
use awan_model::options::Options;
use awan_model::placement_group::{PlacementGroup, Strategy};
use awan_model::vpc::{Tenancy, Vpc};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::placement::describe_placement_groups::by_name;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::error::{Result, combination, invalid, invalid_value, refuse_both, refuse_if};
use crate::schedule::Rule;

#[derive(Default)]
pub struct Placing {
    pub zone: Option<String>,
    pub group: Option<Arc<PlacementGroup>>,
    pub partition: Option<u8>,
    pub dedicated: bool,
    /// In which capacity reservations.
    pub capacity: Preference,
}

impl Placing {
    pub fn rule(&self, tx: &mut Tx<Tenant>) -> Rule {
        let mut rule = Rule::new(tx, self.group.clone(), self.partition, self.dedicated, None);
        rule.preference = self.capacity.clone();
        rule
    }

    /// In a dedicated VPC all are dedicated.
    pub fn within(mut self, tx: &mut Tx<Tenant>, vpc: &VpcId, kind: &InstanceType) -> Result<Self> {
        self.dedicated |= tx.get::<Vpc>(vpc)?.tenancy == Tenancy::Dedicated;
        must_go_together(self.group.as_deref(), self.dedicated, kind)?;
        Ok(self)
    }

    pub fn set(&self, options: &mut Options) {
        options.group = self.group.as_ref().map(|g| g.id.clone());
        options.partition = self.partition;
        options.dedicated = self.dedicated;
        options.capacity = self.capacity.clone();
    }
}

pub fn placing(tx: &mut Tx<Tenant>, placement: Option<ec2::Placement>, kind: &InstanceType) -> Result<Placing> {
    let ec2::Placement {
        availability_zone_id,
        affinity,
        group_name,
        partition_number,
        host_id,
        tenancy,
        spread_domain,
        host_resource_group_arn,
        group_id,
        availability_zone,
    } = placement.unwrap_or_default();
    let there = |text: Option<String>| text.filter(|t| !t.is_empty());
    // "default" is what an instance without a Dedicated Host has.
    refuse_if(affinity.is_some_and(|a| a != "default"), "Placement.Affinity")?;
    refuse_if(there(host_id).is_some(), "Placement.HostId")?;
    refuse_if(there(spread_domain).is_some(), "Placement.SpreadDomain")?;
    refuse_if(there(host_resource_group_arn).is_some(), "Placement.HostResourceGroupArn")?;
    let zone = zone(tx, there(availability_zone), there(availability_zone_id))?;
    let group = group(tx, there(group_name), there(group_id))?;
    let dedicated = tenancy.map_or(Ok(false), |t| dedicated(&t))?;
    let partition = partition_number.map(|n| partition(group.as_deref(), n)).transpose()?;
    let placing = Placing { zone, group, partition, dedicated, capacity: Preference::default() };
    must_go_together(placing.group.as_deref(), placing.dedicated, kind)?;
    Ok(placing)
}

fn zone(tx: &mut Tx<Tenant>, name: Option<String>, id: Option<String>) -> Result<Option<String>> {
    refuse_both((name.is_some(), "AvailabilityZone"), (id.is_some(), "AvailabilityZoneId"))?;
    let Some(id) = id else { return Ok(name) };
    let region = tx.home().region().to_owned();
    let zones = tx.public::<Installation>(&Installation::ID.into()).map(|i| i.zones(&region)).unwrap_or_default();
    let found = zones.into_iter().find(|zone| zone_id(zone) == id);
    let shown: String = id.chars().take(64).collect();
    found.map(Some).ok_or_else(|| invalid(format!("Invalid availability zone ID: [{}]", shown.escape_debug())))
}

pub fn group(tx: &mut Tx<Tenant>, name: Option<String>, id: Option<String>) -> Result<Option<Arc<PlacementGroup>>> {
    refuse_both((name.is_some(), "GroupName"), (id.is_some(), "GroupId"))?;
    Ok(match (name, id) {
        (Some(name), _) => Some(by_name(tx, &name)?),
        (None, Some(id)) => Some(tx.get::<PlacementGroup>(&id.parse()?)?),
        (None, None) => None,
    })
}

pub fn dedicated(tenancy: &str) -> Result<bool> {
    match tenancy {
        "default" => Ok(false),
        "dedicated" => Ok(true),
        // There are no Dedicated Hosts to be on.
        "host" => Err(crate::error::unsupported("Placement.Tenancy host")),
        other => Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "tenancy")),
    }
}

pub fn partition(group: Option<&PlacementGroup>, number: i32) -> Result<u8> {
    let Some(Strategy::Partition { count }) = group.map(|g| g.strategy) else {
        return Err(combination("A partition number can be given with a placement group of partitions only"));
    };
    let partition = u8::try_from(number).ok().filter(|n| (1..=count).contains(n));
    partition.ok_or_else(|| invalid_value(number, "partitionNumber"))
}

/// Source: "ModifyInstancePlacement", EC2 API Reference, and "Placement strategies", EC2 User Guide.
pub fn must_go_together(group: Option<&PlacementGroup>, dedicated: bool, kind: &InstanceType) -> Result<()> {
    match group.map(|g| g.strategy) {
        Some(Strategy::Spread) if dedicated => {
            Err(combination("Instances of a spread placement group must have a tenancy of default"))
        }
        Some(Strategy::Cluster) if kind.burstable => Err(combination(format!(
            "Cluster placement groups are not supported by the '{}' instance type. Specify a supported instance type \
             or change the placement group strategy, and try your request again.",
            kind.id
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use awan_model::instance::Placement;
    use awan_state::System;

    use crate::testing::Cloud;

    fn group(cloud: &mut Cloud, strategy: &str) {
        let ask = [("GroupName", "g"), ("Strategy", strategy)];
        cloud.tenant("acme").call("CreatePlacementGroup", &ask).expect("makes");
    }

    fn host_of(cloud: &Cloud, id: &str) -> String {
        let places = cloud.control.db.read(System, awan_state::Tx::all::<Placement>);
        places.iter().find(|p| p.id.as_str() == id).map(|p| p.host.to_string()).expect("is placed")
    }

    /// A cloud of three hosts.
    fn three() -> Cloud {
        let mut cloud = Cloud::new();
        for name in ["b", "c"] {
            cloud.join(name, "*", 1_000);
        }
        cloud
    }

    const ZONE: (&str, &str) = ("Placement.AvailabilityZone", "us-east-1a");
    const GROUP: (&str, &str) = ("Placement.GroupName", "g");
    const LARGE: (&str, &str) = ("InstanceType", "m5.large");

    #[test]
    fn a_spread_group_has_one_instance_a_host() {
        let mut cloud = three();
        group(&mut cloud, "spread");
        let mut run =
            |least, most| cloud.tenant("acme").run_with(&[GROUP, ZONE, ("MinCount", least), ("MaxCount", most)]);
        let refusal = run("4", "4").expect_err("three hosts");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let ids = run("2", "4").expect("as many as there are hosts");
        assert_eq!(ids.len(), 3);
        let refusal = run("1", "1").expect_err("each host has one");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        cloud.settle();
        let hosts: std::collections::BTreeSet<_> = ids.iter().map(|id| host_of(&cloud, id)).collect();
        assert_eq!(hosts.len(), 3);
        let stop = [("InstanceId.1", ids[0].as_str())];
        cloud.tenant("acme").call("StopInstances", &stop).expect("stops");
        cloud.settle();
        cloud.tenant("acme").call("StartInstances", &stop).expect("its own host is free");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[stop[0]]).expect("answers");
        assert!(shown.contains("<groupName>g</groupName>") && shown.contains("<groupId>pg-"), "{shown}");
        let ask = [("Filter.1.Name", "placement-group-name"), ("Filter.1.Value.1", "g")];
        let shown = cloud.tenant("acme").call("DescribeInstances", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "instanceId").len(), 3);
        cloud.audit();
    }

    #[test]
    fn seven_of_a_spread_group_are_in_a_zone_at_most() {
        let mut cloud = three();
        for name in ["d", "e", "f", "h", "i", "j", "k"] {
            cloud.join(name, "*", 1_000);
        }
        group(&mut cloud, "spread");
        let seven = [GROUP, ZONE, ("MinCount", "7"), ("MaxCount", "9")];
        assert_eq!(cloud.tenant("acme").run_with(&seven).expect("launches").len(), 7);
        let refusal = cloud.tenant("acme").run_with(&[GROUP, ZONE]).expect_err("an eighth");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let there = ("Placement.AvailabilityZone", "us-east-1b");
        cloud.tenant("acme").run_with(&[GROUP, there]).expect("another zone");
    }

    #[test]
    fn partitions_share_no_host() {
        let mut cloud = three();
        let ask = [("GroupName", "g"), ("PartitionCount", "3")];
        cloud.tenant("acme").call("CreatePlacementGroup", &ask).expect("makes");
        let ask = [GROUP, ZONE, ("MinCount", "6"), ("MaxCount", "6")];
        let ids = cloud.tenant("acme").run_with(&ask).expect("launches");
        let mut hosts = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
        for id in &ids {
            let partition = cloud.instance(id).0.options.partition.expect("has one");
            hosts.entry(partition).or_default().insert(host_of(&cloud, id));
        }
        assert_eq!(hosts.len(), 3, "spread evenly: {hosts:?}");
        assert!(hosts.values().all(|h| h.len() == 1), "{hosts:?}");
        let second = [GROUP, ZONE, ("Placement.PartitionNumber", "2")];
        let id = cloud.tenant("acme").run_with(&second).expect("launches").remove(0);
        assert!(hosts[&2].contains(&host_of(&cloud, &id)));
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &id)]).expect("answers");
        assert!(shown.contains("<partitionNumber>2</partitionNumber>"), "{shown}");
        for (ask, code) in [
            (&[GROUP, ("Placement.PartitionNumber", "4")][..], "InvalidParameterValue"),
            (&[("Placement.PartitionNumber", "1")], "InvalidParameterCombination"),
        ] {
            let refusal = cloud.tenant("acme").run_with(ask).expect_err(code);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn a_cluster_stays_on_one_host_and_in_one_zone() {
        let mut cloud = three();
        group(&mut cloud, "cluster");
        let refusal = cloud.tenant("acme").run_with(&[GROUP]).expect_err("a burstable type");
        assert!(refusal.starts_with("InvalidParameterCombination"), "{refusal}");
        let ask = [GROUP, LARGE, ZONE, ("MinCount", "3"), ("MaxCount", "3")];
        let ids = cloud.tenant("acme").run_with(&ask).expect("launches");
        let hosts: std::collections::BTreeSet<_> = ids.iter().map(|id| host_of(&cloud, id)).collect();
        assert_eq!(hosts.len(), 1);
        let there = ("Placement.AvailabilityZone", "us-east-1b");
        let refusal = cloud.tenant("acme").run_with(&[GROUP, LARGE, there]).expect_err("another zone");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let id = cloud.tenant("acme").run_with(&[GROUP, LARGE]).expect("finds the zone").remove(0);
        assert_eq!(cloud.instance(&id).0.zone, "us-east-1a");
    }

    #[test]
    fn a_dedicated_instance_shares_its_host_with_no_other_account() {
        let mut cloud = three();
        let dedicated = ("Placement.Tenancy", "dedicated");
        let own = cloud.tenant("acme").run_with(&[dedicated]).expect("launches").remove(0);
        let mine = host_of(&cloud, &own);
        for _ in 0..6 {
            let id = cloud.tenant("other").run_with(&[]).expect("launches").remove(0);
            assert_ne!(host_of(&cloud, &id), mine);
        }
        let more = [dedicated, ("MinCount", "3"), ("MaxCount", "3")];
        for id in cloud.tenant("acme").run_with(&more).expect("launches") {
            assert_eq!(host_of(&cloud, &id), mine, "all others have foreign instances");
        }
        let refusal = cloud.tenant("third").run_with(&[dedicated]).expect_err("no host is without others");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", &own)]).expect("answers");
        assert!(shown.contains("<tenancy>dedicated</tenancy>"), "{shown}");
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn what_no_host_can_be_is_refused() {
        let mut cloud = Cloud::new();
        group(&mut cloud, "spread");
        for (ask, code) in [
            (&[("Placement.Tenancy", "host")][..], "UnsupportedOperation"),
            (&[("Placement.Tenancy", "shared")], "InvalidParameterValue"),
            (&[("Placement.HostId", "h-1")], "UnsupportedOperation"),
            (&[("Placement.Affinity", "host")], "UnsupportedOperation"),
            (&[("Placement.GroupName", "h")], "InvalidPlacementGroup.Unknown"),
            (&[("Placement.GroupId", "pg-00000000000000000")], "InvalidPlacementGroup.Unknown"),
            (&[GROUP, ("Placement.GroupId", "pg-00000000000000000")], "InvalidParameterCombination"),
            (&[GROUP, ("Placement.Tenancy", "dedicated")], "InvalidParameterCombination"),
            (&[("Placement.AvailabilityZoneId", "use1-az9")], "InvalidParameterValue"),
            (&[ZONE, ("Placement.AvailabilityZoneId", "use1-az1")], "InvalidParameterCombination"),
        ] {
            let refusal = cloud.tenant("acme").run_with(ask).expect_err(code);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        let id = cloud.tenant("acme").run_with(&[("Placement.AvailabilityZoneId", "use1-az2")]).expect("by id");
        assert_eq!(cloud.instance(&id[0]).0.zone, "us-east-1b");
    }
}
