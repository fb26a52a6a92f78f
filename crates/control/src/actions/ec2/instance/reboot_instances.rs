//! RebootInstances.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::error::{Code, Result, missing, refuse};

pub fn reboot_instances(tx: &mut Tx<Tenant>, req: ec2::RebootInstancesRequest) -> Result<()> {
    let ec2::RebootInstancesRequest { instance_ids, dry_run: _ } = req;
    if instance_ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    for instance in view::by_ids(tx, &instance_ids)? {
        let report = tx.find::<VmReport>(&instance.id);
        let now = state(&instance, report.as_deref());
        if matches!(now, State::ShuttingDown | State::Terminated) {
            // "Requests to reboot terminated instances are ignored."
            continue;
        }
        if now != State::Running {
            let message =
                format!("The instance '{}' is not in a state from which it can be rebooted. It is {now}.", instance.id);
            return Err(refuse(Code::IncorrectInstanceState, message));
        }
        tx.put(Instance { reboots: instance.reboots + 1, ..(*instance).clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_runs_can_be_rebooted() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("RebootInstances", &[("InstanceId.1", &id)]).expect("reboots");
        assert_eq!(cloud.instance(&id).0.reboots, 1);
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        let refusal = cloud.tenant("acme").call("RebootInstances", &[("InstanceId.1", &id)]).expect_err("stopping");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.tenant("acme").call("RebootInstances", &[("InstanceId.1", &id)]).expect("is ignored");
        assert_eq!(cloud.instance(&id).0.reboots, 1);
    }
}
