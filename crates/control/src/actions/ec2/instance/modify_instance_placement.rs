//! ModifyInstancePlacement: of a stopped instance, whose next start follows it.

use awan_model::instance::Instance;
use awan_model::options::Options;
use awan_model::placement_group::PlacementGroup;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::modify_instance_attribute::must_be_stopped;
use super::{placing, run_instances};
use crate::error::{Result, combination, missing, refuse_if};

pub fn modify_instance_placement(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyInstancePlacementRequest,
) -> Result<ec2::ModifyInstancePlacementResult> {
    let ec2::ModifyInstancePlacementRequest {
        group_name,
        partition_number,
        host_resource_group_arn,
        group_id,
        instance_id,
        tenancy,
        affinity,
        host_id,
    } = req;
    let instance = tx.get::<Instance>(&instance_id.ok_or_else(|| missing("InstanceId"))?.parse()?)?;
    refuse_if(host_resource_group_arn.is_some(), "HostResourceGroupArn")?;
    refuse_if(affinity.as_deref().is_some_and(|a| a != "default"), "Affinity")?;
    refuse_if(host_id.is_some(), "HostId")?;
    let leaves = group_name.as_deref() == Some("");
    if !leaves
        && [&group_name, &group_id, &tenancy, &affinity].iter().all(|m| m.is_none())
        && partition_number.is_none()
    {
        return Err(combination("The request must contain a placement to modify"));
    }
    must_be_stopped(tx, &instance, "placement")?;
    let mut options = instance.options.clone();
    if let Some(name) = tenancy {
        options.dedicated = placing::dedicated(&name)?;
    }
    let named = placing::group(tx, group_name.filter(|name| !name.is_empty()), group_id.filter(|id| !id.is_empty()))?;
    if leaves || named.as_ref().is_some_and(|g| options.group.as_ref() != Some(&g.id)) {
        // A group of partitions gives the next start one of its own.
        options = Options { group: named.as_ref().map(|g| g.id.clone()), partition: None, ..options };
    }
    let group = options.group.as_ref().and_then(|id| tx.find::<PlacementGroup>(id));
    if let Some(number) = partition_number {
        options.partition = Some(placing::partition(group.as_deref(), number)?);
    }
    let kind = run_instances::instance_kind(tx, &instance.instance_type)?;
    placing::must_go_together(group.as_deref(), options.dedicated, &kind)?;
    tx.put(Instance { options, ..(*instance).clone() });
    Ok(ec2::ModifyInstancePlacementResult { r#return: Some(true) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_stopped_instance_joins_a_group_and_leaves_it() {
        let mut cloud = Cloud::new();
        for (name, strategy) in [("s", "spread"), ("p", "partition"), ("c", "cluster")] {
            let ask = [("GroupName", name), ("Strategy", strategy)];
            cloud.tenant("acme").call("CreatePlacementGroup", &ask).expect("makes");
        }
        let member = cloud.tenant("acme").run_with(&[("Placement.GroupName", "s")]).expect("launches").remove(0);
        let id = cloud.tenant("acme").run();
        let set = |cloud: &mut Cloud, ask: &[(&str, &str)]| {
            let ask: Vec<_> = [("InstanceId", id.as_str())].into_iter().chain(ask.iter().copied()).collect();
            cloud.tenant("acme").call("ModifyInstancePlacement", &ask)
        };
        let join = [("GroupName", "s")];
        let refusal = set(&mut cloud, &join).expect_err("runs");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        let at = [("InstanceId.1", id.as_str())];
        cloud.tenant("acme").call("StopInstances", &at).expect("stops");
        cloud.settle();
        set(&mut cloud, &join).expect("joins");
        let refusal = cloud.tenant("acme").call("StartInstances", &at).expect_err("one host, which has one");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        for (ask, code) in [
            (&[("Tenancy", "dedicated")][..], "InvalidParameterCombination"),
            (&[("PartitionNumber", "1")], "InvalidParameterCombination"),
            (&[("GroupName", "c")], "InvalidParameterCombination"),
            (&[("GroupName", "x")], "InvalidPlacementGroup.Unknown"),
            (&[("Tenancy", "host")], "UnsupportedOperation"),
            (&[], "InvalidParameterCombination"),
        ] {
            let refusal = set(&mut cloud, ask).expect_err(code);
            assert!(refusal.starts_with(code), "{ask:?}: {refusal}");
        }
        set(&mut cloud, &[("GroupName", "p"), ("PartitionNumber", "2"), ("Tenancy", "dedicated")]).expect("changes");
        cloud.tenant("acme").call("StartInstances", &at).expect("starts");
        let options = cloud.instance(&id).0.options;
        assert!(options.dedicated && options.partition == Some(2), "{options:?}");
        cloud.settle();
        cloud.tenant("acme").call("StopInstances", &at).expect("stops");
        cloud.settle();
        set(&mut cloud, &[("GroupName", ""), ("Tenancy", "default")]).expect("leaves");
        assert_eq!(cloud.instance(&id).0.options.group, None);
        cloud.tenant("acme").call("DeletePlacementGroup", &[("GroupName", "p")]).expect("nobody is in it");
        assert!(cloud.instance(&member).0.options.group.is_some());
        cloud.audit();
    }
}
