//! A terminated instance stays visible for an hour, then nothing of it is left.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::tag::Tags;
use awan_model::token::ClientToken;
use awan_state::{Millis, Ref, System, Tenant, Tx};

use super::Next;
use crate::token;

/// EC2: "terminated instances remain visible for a short while (usually one hour)".
pub const VISIBLE_MS: Millis = 60 * 60 * 1000;

pub fn expire(tx: &mut Tx<System>, at: &Ref<Instance>) -> Next {
    let Some(instance) = tx.find_at(at) else { return Next::OnChange };
    let report_at = Ref::<VmReport>::new(&at.home, &at.id);
    let report = tx.find_at(&report_at);
    if state(&instance, report.as_deref()) != State::Terminated {
        return Next::OnChange;
    }
    let ended = report.as_ref().map_or(instance.wished, |r| r.at).max(instance.wished);
    if tx.now() < ended + VISIBLE_MS {
        return Next::At(ended + VISIBLE_MS);
    }
    tx.forget(&report_at);
    tx.act_for_tenant(&at.home, |tx| {
        tx.remove::<Tags>(&at.id.to_string());
        tx.remove::<Instance>(&at.id);
        if let Some(token) = &instance.client_token {
            token_of_none(tx, &token::id("RunInstances", token));
        }
    });
    Next::OnChange
}

/// A client token lives for as long as anything that was made with it.
fn token_of_none(tx: &mut Tx<Tenant>, id: &String) {
    let Some(token) = tx.find::<ClientToken>(id) else { return };
    let there = |id: &String, tx: &mut Tx<Tenant>| id.parse().is_ok_and(|id| tx.find::<Instance>(&id).is_some());
    if !token.made.iter().any(|made| there(made, tx)) {
        tx.remove::<ClientToken>(id);
    }
}

#[cfg(test)]
mod tests {
    use awan_model::token::ClientToken;
    use awan_state::System;

    use super::VISIBLE_MS;
    use crate::testing::Cloud;

    #[test]
    fn a_client_token_lives_as_long_as_the_last_of_its_instances() {
        let mut cloud = Cloud::new();
        let launch = [("MinCount", "2"), ("MaxCount", "2"), ("ClientToken", "once")];
        let made = cloud.tenant("acme").run_with(&launch).expect("launches");
        cloud.settle();
        for (n, id) in made.iter().enumerate() {
            cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", id)]).expect("terminates");
            cloud.settle();
            if n == 1 {
                let refusal = cloud.tenant("acme").run_with(&launch).expect_err("all are terminated");
                assert!(refusal.starts_with("IdempotentInstanceTerminated"), "{refusal}");
            }
            cloud.pass(VISIBLE_MS + 1);
            cloud.settle();
            let tokens = cloud.control.db.read(System, |tx| tx.all::<ClientToken>().len());
            assert_eq!(tokens, 1 - n, "after {n}");
        }
        assert_eq!(cloud.tenant("acme").run_with(&launch).expect("is a new request").len(), 2);
        cloud.audit();
    }
}
