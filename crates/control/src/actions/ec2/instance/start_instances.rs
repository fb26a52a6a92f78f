//! StartInstances.

use awan_model::instance::{Instance, State, VmReport, Wish, state};
use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::{run_instances, view};
use crate::error::{Code, Error, Result, missing, refuse};
use crate::schedule::Room;

pub fn start_instances(tx: &mut Tx<Tenant>, req: ec2::StartInstancesRequest) -> Result<ec2::StartInstancesResult> {
    // `AdditionalInfo` is reserved by EC2 and means nothing there either.
    let ec2::StartInstancesRequest { instance_ids, additional_info: _, dry_run: _ } = req;
    if instance_ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    let instances = view::by_ids(tx, &instance_ids)?;
    let mut room = Room::count(tx);
    let started = instances.iter().map(|i| start(tx, &mut room, i)).collect::<Result<_>>()?;
    Ok(ec2::StartInstancesResult { starting_instances: started })
}

fn start(tx: &mut Tx<Tenant>, room: &mut Room, instance: &Instance) -> Result<ec2::InstanceStateChange> {
    let report = tx.find::<VmReport>(&instance.id);
    let before = state(instance, report.as_deref());
    match before {
        // EC2: starting what runs is fine.
        State::Pending | State::Running => return Ok(view::change(&instance.id, before, before)),
        // Its run ended by itself, and what its owner chose for that case (termination, perhaps) comes first.
        State::Stopped if instance.wish == Wish::On => return Err(incorrect_state(instance, State::Stopping)),
        State::Stopped => {}
        _ => return Err(incorrect_state(instance, before)),
    }
    let root = tx.find::<Volume>(&instance.root_volume);
    if !root.is_some_and(|v| v.is_attached_to(&instance.id)) {
        let (id, device) = (&instance.id, &instance.root_device);
        let message = format!("The instance '{id}' does not have a volume attached at root ({device})");
        return Err(refuse(Code::IncorrectInstanceState, message));
    }
    let now = tx.now();
    let again = Instance {
        wish: Wish::On,
        run: instance.run + 1,
        force: false,
        reason: None,
        wished: now,
        launched: now,
        ..instance.clone()
    };
    let kind = run_instances::instance_kind(tx, &again.instance_type)?;
    tx.put(again.clone());
    room.place(tx, &again, &kind)?;
    Ok(view::change(&instance.id, before, State::Pending))
}

fn incorrect_state(instance: &Instance, state: State) -> Error {
    let id = &instance.id;
    refuse(
        Code::IncorrectInstanceState,
        format!("The instance '{id}' is not in a state from which it can be started. It is {state}."),
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::testing::{Cloud, check};

    #[test]
    fn a_stopped_instance_starts_again_and_a_terminated_one_does_not() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "stopped");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect("starts");
        assert_eq!(cloud.state("acme", &id), "pending");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "running");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        let refusal = cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect_err("too late");
        check(
            &refusal.replace(&*id, "i-1"),
            expect![[
                r#"IncorrectInstanceState: The instance 'i-1' is not in a state from which it can be started. It is shutting-down."#
            ]],
        );
        cloud.settle();
        cloud.audit();
    }
    #[test]
    fn a_guest_that_powers_off_to_be_terminated_is_not_revived() {
        let mut cloud = Cloud::new();
        let ask = [("InstanceInitiatedShutdownBehavior", "terminate")];
        let id = cloud.tenant("acme").run_with(&ask).expect("launches").remove(0);
        cloud.settle();
        cloud.declare_over(&id, awan_model::instance::Exit::Guest);
        let refusal =
            cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect_err("is on its way out");
        assert!(refusal.starts_with("IncorrectInstanceState"), "{refusal}");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "terminated");
        cloud.audit();
    }
}
