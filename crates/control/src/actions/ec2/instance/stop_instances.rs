//! StopInstances.

use awan_model::instance::{Instance, Reason, State, VmReport, Wish, state};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::error::{Code, Result, missing, refuse, refuse_if};

pub fn stop_instances(tx: &mut Tx<Tenant>, req: ec2::StopInstancesRequest) -> Result<ec2::StopInstancesResult> {
    let ec2::StopInstancesRequest { instance_ids, hibernate, skip_os_shutdown, dry_run: _, force } = req;
    refuse_if(hibernate == Some(true), "Hibernate")?;
    if instance_ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let force = force == Some(true) || skip_os_shutdown == Some(true);
    let instances = view::by_ids(tx, &instance_ids)?;
    let stopping_instances = instances.iter().map(|i| stop(tx, i, force)).collect::<Result<_>>()?;
    Ok(ec2::StopInstancesResult { stopping_instances })
}

fn stop(tx: &mut Tx<Tenant>, instance: &Instance, force: bool) -> Result<ec2::InstanceStateChange> {
    let id = &instance.id;
    let report = tx.find::<VmReport>(id);
    let before = state(instance, report.as_deref());
    match before {
        State::Stopped => return Ok(view::change(id, before, before)),
        State::Running => {}
        // A second stop can only add force.
        State::Stopping if force => {}
        State::Stopping => return Ok(view::change(id, before, before)),
        // EC2: not while it is pending, and not when it is on its way out.
        State::Pending | State::ShuttingDown | State::Terminated => {
            let message = format!("This instance '{id}' is not in a state from which it can be stopped.");
            return Err(refuse(Code::IncorrectInstanceState, message));
        }
    }
    if instance.stop_protection {
        let message = format!(
            "The instance '{id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
        );
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    tx.put(Instance { wish: Wish::Off, force, reason: Some(user_initiated()), wished: tx.now(), ..instance.clone() });
    Ok(view::change(id, before, State::Stopping))
}

pub fn user_initiated() -> Reason {
    let code = "Client.UserInitiatedShutdown";
    Reason { code: code.into(), message: format!("{code}: User initiated shutdown") }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn one_wrong_id_stops_nothing() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let both = [("InstanceId.1", id.as_str()), ("InstanceId.2", "i-00000000000000000")];
        let refusal = cloud.tenant("acme").call("StopInstances", &both).expect_err("one is not there");
        assert_eq!(refusal, "InvalidInstanceID.NotFound: The instance ID 'i-00000000000000000' does not exist");
        assert_eq!(cloud.state("acme", &id), "running");
    }

    #[test]
    fn what_is_pending_can_be_neither_stopped_nor_rebooted() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        for action in ["StopInstances", "RebootInstances"] {
            let refusal = cloud.tenant("acme").call(action, &[("InstanceId.1", &id)]).expect_err("pending");
            assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        }
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
    }

    #[test]
    fn a_stopped_instance_gives_back_its_place_and_keeps_its_disk() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        assert_eq!(cloud.state("acme", &id), "stopping");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "stopped");
        assert_eq!(cloud.counts(), (0, 1), "places, volumes");
        cloud.audit();
    }
}
