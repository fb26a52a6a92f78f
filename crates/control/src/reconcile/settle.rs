//! A run that ended by itself: what the tenant wished for that case becomes the wish.

use awan_model::instance::{Exit, Instance, Phase, Reason, ShutdownBehavior, VmReport, Wish};
use awan_state::{Ref, System, Tx};

pub fn settle(tx: &mut Tx<System>, at: &Ref<Instance>) {
    let Some(instance) = tx.find_at(at).filter(|i| i.wish == Wish::On) else { return };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    let Some(report) = report.filter(|r| r.run == instance.run && r.phase == Phase::Exited) else { return };
    let (wish, reason) = after(&instance, report.exit.as_ref());
    let mut changed = (*instance).clone();
    changed.wish = wish;
    changed.reason = Some(reason);
    changed.wished = tx.now();
    tx.act_for_tenant(&at.home, |tx| tx.put(changed));
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
    fn a_first_launch_that_fails_ends_terminated() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").launch();
        cloud.exit(&id, Exit::Failed("no kernel".into()));
        let (instance, report) = cloud.instance(&id);
        assert_eq!(state(&instance, report.as_ref()).as_str(), "terminated");
    }
}
