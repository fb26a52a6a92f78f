//! A terminated instance takes with it what was made to go with it; a volume of these may be kept in the recycle bin.

use awan_model::id::InterfaceId;
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_state::{Ref, System, Tx};

use crate::{disks, network, recycle_bin};

pub fn terminate(tx: &mut Tx<System>, at: &Ref<Instance>) {
    let Some(instance) = tx.find_at(at) else { return };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    if state(&instance, report.as_deref()) != State::Terminated {
        return;
    }
    volumes(tx, &instance);
    for id in std::iter::once(&instance.interface).chain(&instance.more_interfaces) {
        interface(tx, &instance, id);
    }
}

fn volumes(tx: &mut Tx<System>, instance: &Instance) {
    let home = &instance.home;
    for volume in tx.act_for_tenant(home, |tx| disks::attached(tx, instance)) {
        if volume.attachment.as_ref().is_some_and(|a| a.delete_on_termination) {
            tx.act_for_tenant(home, |tx| {
                disks::release(tx, instance, &volume);
                recycle_bin::remove_volume(tx, &volume);
            });
        } else {
            tx.act_for_tenant(home, |tx| disks::release(tx, instance, &volume));
        }
    }
}

fn interface(tx: &mut Tx<System>, instance: &Instance, id: &InterfaceId) {
    let home = &instance.home;
    let Some(eni) = tx.find_in::<NetworkInterface>(home, id) else { return };
    let Some(attachment) = eni.attachment.as_ref().filter(|a| a.instance == instance.id) else { return };
    if attachment.delete_on_termination {
        tx.act_for_tenant(home, |tx| network::remove_interface(tx, &eni));
    } else {
        let mut kept = (*eni).clone();
        kept.attachment = None;
        tx.act_for_tenant(home, |tx| tx.put(kept));
    }
}
