//! What a host says of a machine's interfaces: one that was to go, and that the machine has no more, is free.

use std::sync::Arc;

use awan_model::instance::{Instance, Phase, VmReport};
use awan_model::interface::NetworkInterface;
use awan_state::{Ref, System, Tx};

use crate::interfaces;

pub fn interfaces(tx: &mut Tx<System>, at: &Ref<Instance>) {
    for eni in unsettled(tx, at) {
        let Some(instance) = tx.find_at(at) else { return };
        tx.act_for_tenant(&at.home, |tx| interfaces::release(tx, &instance, &eni));
    }
}

/// Interfaces that are gone, and still attached.
pub fn unsettled(tx: &mut Tx<System>, at: &Ref<Instance>) -> Vec<Arc<NetworkInterface>> {
    let Some(instance) = tx.find_at(at) else { return Vec::new() };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    let found = instance.more_interfaces.iter().filter_map(|id| tx.find_in::<NetworkInterface>(&at.home, id));
    found.filter(|eni| eni.is_attached_to(&instance.id) && is_gone(&instance, eni, report.as_deref())).collect()
}

/// Silence proves nothing: the host must have known that the interface was to go, and see that it has gone.
fn is_gone(instance: &Instance, eni: &NetworkInterface, report: Option<&VmReport>) -> bool {
    let Some(detach) = eni.attachment.as_ref().and_then(|a| a.detach) else { return false };
    let Some(report) = report.filter(|r| r.run == instance.run) else { return false };
    report.phase == Phase::Exited
        || (report.device_changes >= detach.change && report.interfaces.iter().all(|seen| seen.mac != eni.mac))
}
