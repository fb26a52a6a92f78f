//! How volumes and instances come together and part: for the actions that ask for it, and for what follows from reports.
//!
//! **Invariants.** A volume's attachment and its instance's list of volumes change together, and each change is counted,
//! so that a host can say which of them it knows. A volume that a machine may have open stays attached.

use std::sync::Arc;

use awan_model::id::VolumeId;
use awan_model::instance::{Detach, Instance, Placement};
use awan_model::volume::{Volume, VolumeAttachment};
use awan_state::{Tenant, Tx};

/// The volumes of an instance, its root first.
pub fn attached(tx: &mut Tx<Tenant>, instance: &Instance) -> Vec<Arc<Volume>> {
    let all = std::iter::once(&instance.root_volume).chain(&instance.data_volumes);
    let found: Vec<_> = all.filter_map(|id| tx.find::<Volume>(id)).collect();
    found.into_iter().filter(|volume| volume.is_attached_to(&instance.id)).collect()
}

pub fn attach(tx: &mut Tx<Tenant>, instance: &Instance, volume: &Volume, device: &str) -> Volume {
    let (id, at) = (volume.id.clone(), tx.now());
    let attachment = VolumeAttachment {
        instance: instance.id.clone(),
        device: device.to_owned(),
        delete_on_termination: false,
        at,
        detach: None,
    };
    let attached = Volume { attachment: Some(attachment), ..volume.clone() };
    let mut changed = instance.clone();
    changed.device_changes += 1;
    if device == instance.root_device {
        changed.root_volume = id;
    } else {
        changed.data_volumes.push(id);
    }
    tx.put(changed);
    tx.put(attached.clone());
    attached
}

/// Has the host of an instance take a volume away from its machine; the volume is free when the host has said so.
pub fn begin_detach(tx: &mut Tx<Tenant>, instance: &Instance, volume: &Volume, force: bool) -> Volume {
    let change = instance.device_changes + 1;
    tx.put(Instance { device_changes: change, ..instance.clone() });
    let mut leaving = volume.clone();
    if let Some(attachment) = &mut leaving.attachment {
        attachment.detach = Some(Detach { change, force });
    }
    tx.put(leaving.clone());
    leaving
}

/// Parts a volume and an instance that has no machine, or whose machine has it no more.
pub fn release(tx: &mut Tx<Tenant>, instance: &Instance, volume: &Volume) {
    tx.put(Volume { attachment: None, ..volume.clone() });
    forget(tx, instance, &volume.id);
}

fn forget(tx: &mut Tx<Tenant>, instance: &Instance, volume: &VolumeId) {
    let Some(now) = tx.find::<Instance>(&instance.id) else { return };
    let mut changed = (*now).clone();
    changed.data_volumes.retain(|id| id != volume);
    changed.device_changes += 1;
    tx.put(changed);
}

/// An instance that has its place may have a machine.
pub fn may_have_machine(tx: &mut Tx<Tenant>, instance: &Instance) -> bool {
    tx.find::<Placement>(&instance.id).is_some()
}
