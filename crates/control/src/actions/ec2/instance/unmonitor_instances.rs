//! UnmonitorInstances.
//!
//! Record only: no metrics are kept, so none become coarser.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::monitor_instances::set;
use crate::error::{Result, refuse_if};

pub fn unmonitor_instances(
    tx: &mut Tx<Tenant>,
    req: ec2::UnmonitorInstancesRequest,
) -> Result<ec2::UnmonitorInstancesResult> {
    let ec2::UnmonitorInstancesRequest { instance_ids, metric_category_ids, dry_run: _ } = req;
    refuse_if(!metric_category_ids.is_empty(), "MetricCategoryId")?;
    Ok(ec2::UnmonitorInstancesResult { instance_monitorings: set(tx, &instance_ids, false)? })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_launched_with_monitoring_can_go_without() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run_with(&[("Monitoring.Enabled", "true")]).expect("launches").remove(0);
        assert!(cloud.instance(&id).0.monitoring);
        cloud.tenant("acme").call("UnmonitorInstances", &[("InstanceId.1", &id)]).expect("switches");
        assert!(!cloud.instance(&id).0.monitoring);
    }
}
