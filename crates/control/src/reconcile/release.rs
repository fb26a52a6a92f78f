//! Gives back the place of a run that its host has declared over.

use awan_model::instance::{Instance, Phase, Placement, VmReport};
use awan_state::{Ref, System, Tx};

pub fn release(tx: &mut Tx<System>, at: &Ref<Instance>) {
    let place = Ref::<Placement>::new(&at.home, &at.id);
    let Some(placed) = tx.find_at(&place) else { return };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    // Nothing is assumed from silence: until the host speaks about this very run, the place is taken.
    if report.is_some_and(|r| r.run == placed.run && r.host == placed.host && r.phase == Phase::Exited) {
        tx.remove(&place);
    }
}
