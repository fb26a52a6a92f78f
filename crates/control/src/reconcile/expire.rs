//! A terminated instance stays visible for an hour, then nothing of it is left.

use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::tag::Tags;
use awan_state::{Millis, Ref, System, Tx};

use super::Next;

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
    });
    Next::OnChange
}
