//! TerminateInstances: all of them, or none where one may not.

use awan_model::instance::{Instance, State, VmReport, Wish, state};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{stop_instances, view};
use crate::error::{Code, Result, missing, refuse};

pub fn terminate_instances(
    tx: &mut Tx<Tenant>,
    req: ec2::TerminateInstancesRequest,
) -> Result<ec2::TerminateInstancesResult> {
    let ec2::TerminateInstancesRequest { instance_ids, force, skip_os_shutdown, dry_run: _ } = req;
    if instance_ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let force = force == Some(true) || skip_os_shutdown == Some(true);
    let instances = view::by_ids(tx, &instance_ids)?;
    let terminating_instances = instances.iter().map(|i| terminate(tx, i, force)).collect::<Result<_>>()?;
    Ok(ec2::TerminateInstancesResult { terminating_instances })
}

fn terminate(tx: &mut Tx<Tenant>, instance: &Instance, force: bool) -> Result<ec2::InstanceStateChange> {
    let id = &instance.id;
    let report = tx.find::<VmReport>(id);
    let before = state(instance, report.as_deref());
    match before {
        // A second termination can only add force.
        State::ShuttingDown if force && !instance.force => {
            tx.put(Instance { force, ..instance.clone() });
            return Ok(view::change(id, before, before));
        }
        State::Terminated | State::ShuttingDown => return Ok(view::change(id, before, before)),
        State::Pending | State::Running | State::Stopping | State::Stopped => {}
    }
    // Source: "Enable stop protection": it protects from termination, too.
    let attribute = match (instance.termination_protection, instance.stop_protection) {
        (true, _) => Some("disableApiTermination"),
        (false, true) => Some("disableApiStop"),
        (false, false) => None,
    };
    if let Some(attribute) = attribute {
        let message = format!(
            "The instance '{id}' may not be terminated. Modify its '{attribute}' instance attribute and try again."
        );
        return Err(refuse(Code::OperationNotPermitted, message));
    }
    let reason = Some(stop_instances::user_initiated());
    tx.put(Instance { wish: Wish::Gone, force, reason, wished: tx.now(), ..instance.clone() });
    // Also of one that was stopped: until what it holds is gone, that is how it is shown.
    Ok(view::change(id, before, State::ShuttingDown))
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nothing_is_left_of_a_terminated_instance_but_its_record_for_an_hour() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "terminated");
        assert_eq!(cloud.counts(), (0, 0), "places, volumes");
        cloud.audit();
        cloud.pass(60 * 60 * 1000 + 1);
        cloud.settle();
        assert!(cloud.tenant("acme").instances().is_empty());
    }

    #[test]
    fn a_protected_instance_protects_the_whole_request() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let protect = [("InstanceId", b.as_str()), ("DisableApiTermination.Value", "true")];
        cloud.tenant("acme").call("ModifyInstanceAttribute", &protect).expect("protects");
        let both = [("InstanceId.1", a.as_str()), ("InstanceId.2", b.as_str())];
        let refusal = cloud.tenant("acme").call("TerminateInstances", &both).expect_err("protected");
        assert!(refusal.starts_with("OperationNotPermitted"), "{refusal}");
        assert_eq!(cloud.state("acme", &a), "running");
        let stop = [("InstanceId", a.as_str()), ("DisableApiStop.Value", "true")];
        cloud.tenant("acme").call("ModifyInstanceAttribute", &stop).expect("protects");
        let refusal = cloud.tenant("acme").call("TerminateInstances", &both[..1]).expect_err("cannot even stop");
        assert!(refusal.contains("'disableApiStop'"), "{refusal}");
    }

    #[test]
    fn a_second_termination_can_add_force_and_nothing_else() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let ask = [("InstanceId.1", id.as_str()), ("Force", "true")];
        cloud.tenant("acme").call("TerminateInstances", &ask[..1]).expect("terminates");
        let first = cloud.instance(&id).0;
        cloud.pass(1_000);
        cloud.tenant("acme").call("TerminateInstances", &ask).expect("hurries");
        let second = cloud.instance(&id).0;
        assert_eq!((first.force, second.force), (false, true));
        assert_eq!(first.wished, second.wished, "it was asked for then");
        cloud.tenant("acme").call("TerminateInstances", &ask[..1]).expect("again");
        assert_eq!(cloud.instance(&id).0, second);
    }
    #[test]
    fn a_stopped_instance_is_told_and_shown_to_shut_down_before_it_is_terminated() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.settle();
        let told = cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        assert_eq!(Cloud::ids(&told, "name"), ["shutting-down", "stopped"], "current and previous: {told}");
        let ask = [("InstanceId.1", id.as_str()), ("IncludeAllInstances", "true")];
        let state = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeInstanceStatus", &ask).expect("answers");
            Cloud::ids(&shown, "name").remove(0)
        };
        assert_eq!(state(&mut cloud), "shutting-down");
        cloud.settle();
        assert_eq!(state(&mut cloud), "terminated");
    }
}
