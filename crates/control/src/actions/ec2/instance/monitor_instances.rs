//! MonitorInstances.
//!
//! Record only: no metrics are kept, so none become finer.

use awan_model::instance::Instance;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::modify_instance_attribute::must_be_there;
use super::view;
use crate::error::{Result, missing, refuse_if};

pub fn monitor_instances(
    tx: &mut Tx<Tenant>,
    req: ec2::MonitorInstancesRequest,
) -> Result<ec2::MonitorInstancesResult> {
    let ec2::MonitorInstancesRequest { instance_ids, metric_category_ids, dry_run: _ } = req;
    refuse_if(!metric_category_ids.is_empty(), "MetricCategoryId")?;
    Ok(ec2::MonitorInstancesResult { instance_monitorings: set(tx, &instance_ids, true)? })
}

/// The states in the answer are those of EC2, which takes a while.
pub fn set(tx: &mut Tx<Tenant>, ids: &[String], on: bool) -> Result<Vec<ec2::InstanceMonitoring>> {
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let mut shown = Vec::new();
    for instance in view::by_ids(tx, ids)? {
        must_be_there(tx, &instance)?;
        let state = match (instance.monitoring, on) {
            (false, true) => "pending",
            (true, true) => "enabled",
            (true, false) => "disabling",
            (false, false) => "disabled",
        };
        let monitoring = ec2::Monitoring { state: Some(state.into()), ..Default::default() };
        let instance_id = Some(instance.id.to_string());
        shown.push(ec2::InstanceMonitoring { instance_id, monitoring: Some(monitoring) });
        tx.put(Instance { monitoring: on, ..(*instance).clone() });
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn monitoring_is_switched_for_all_or_none() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let (one, absent) = (("InstanceId.1", id.as_str()), ("InstanceId.2", "i-00000000000000000"));
        let mut ask = |action: &str, ids: &[(&str, &str)]| cloud.tenant("acme").call(action, ids);
        for (action, code) in [("MonitorInstances", "InvalidInstanceID.NotFound"), ("UnmonitorInstances", "Inv")] {
            assert!(ask(action, &[one, absent]).expect_err("absent").starts_with(code));
            assert!(ask(action, &[]).expect_err("none").starts_with("MissingParameter"));
        }
        for (action, state) in [
            ("MonitorInstances", "pending"),
            ("MonitorInstances", "enabled"),
            ("UnmonitorInstances", "disabling"),
            ("UnmonitorInstances", "disabled"),
        ] {
            assert_eq!(Cloud::ids(&ask(action, &[one]).expect("switches"), "state"), [state]);
        }
        ask("MonitorInstances", &[one]).expect("switches");
        assert!(cloud.instance(&id).0.monitoring);
    }
}
