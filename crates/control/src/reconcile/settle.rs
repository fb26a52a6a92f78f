//! A run that ended by itself: what the tenant wished for that case becomes the wish.

use awan_model::instance::{Exit, Instance, Phase, Reason, ShutdownBehavior, VmReport, Wish};
use awan_state::{Ref, System, Tx};

pub fn settle(tx: &mut Tx<System>, at: &Ref<Instance>) {
    let Some(instance) = tx.find_at(at) else { return };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    let Some(mut changed) = report.and_then(|report| ended(&instance, &report)) else { return };
    changed.wished = tx.now();
    tx.act_for_tenant(&at.home, |tx| tx.put(changed));
}

/// The instance as its end leaves it; `None`: it is so already. Whoever looks sees it so from the report on.
pub fn ended(instance: &Instance, report: &VmReport) -> Option<Instance> {
    if instance.wish != Wish::On || report.run != instance.run || report.phase != Phase::Exited {
        return None;
    }
    let (wish, reason) = after(instance, report.exit.as_ref());
    Some(Instance { wish, reason: Some(reason), ..instance.clone() })
}

/// What the end of a run means for the instance.
fn after(instance: &Instance, exit: Option<&Exit>) -> (Wish, Reason) {
    let reason = |code: &str, message: &str| Reason { code: code.into(), message: format!("{code}: {message}") };
    let by_guest = reason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown");
    let internal = reason("Server.InternalError", "Internal error on launch");
    match exit {
        Some(Exit::Guest) if instance.shutdown == ShutdownBehavior::Terminate => (Wish::Gone, by_guest),
        Some(Exit::Guest) => (Wish::Off, by_guest),
        // EC2 takes away what never came to life, and keeps what had lived.
        Some(Exit::Failed(_)) if instance.run == 1 => (Wish::Gone, internal),
        Some(Exit::Failed(_) | Exit::Crashed(_) | Exit::Asked) | None => (Wish::Off, internal),
    }
}

#[cfg(test)]
mod tests {
    use awan_model::instance::state;

    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_guest_that_powers_off_is_stopped_or_terminated_as_its_owner_chose() {
        for (shutdown, expected) in [(ShutdownBehavior::Stop, "stopped"), (ShutdownBehavior::Terminate, "terminated")] {
            let mut cloud = Cloud::new();
            let id = cloud.tenant("acme").run();
            cloud.edit(&id, |i| i.shutdown = shutdown);
            cloud.exit(&id, Exit::Guest);
            let (instance, report) = cloud.instance(&id);
            assert_eq!(state(&instance, report.as_ref()).as_str(), expected);
            assert_eq!(instance.reason.map(|r| r.code), Some("Client.InstanceInitiatedShutdown".into()));
        }
    }

    #[test]
    fn who_looks_before_the_next_turn_sees_why_it_ended() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        let (instance, report) = cloud.instance(&id);
        let report = VmReport { phase: Phase::Exited, exit: Some(Exit::Guest), ..report.expect("runs") };
        assert_eq!(instance.reason, None);
        let seen = ended(&instance, &report).expect("it ended");
        assert_eq!(
            (seen.wish, seen.reason.map(|r| r.code)),
            (Wish::Off, Some("Client.InstanceInitiatedShutdown".into()))
        );
        assert_eq!(ended(&instance, &VmReport { run: 0, ..report }), None, "an earlier run");
    }

    #[test]
    fn a_first_launch_that_fails_ends_terminated() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        cloud.exit(&id, Exit::Failed("no kernel".into()));
        let (instance, report) = cloud.instance(&id);
        assert_eq!(state(&instance, report.as_ref()).as_str(), "terminated");
    }
}
