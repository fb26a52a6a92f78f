//! How interfaces and instances come together and part: for the actions that ask for it, and for what follows from reports.
//!
//! **Invariants.** An interface's attachment and its instance's list of interfaces change together, and each change is
//! counted, so that a host can say which of them it knows. An interface that a machine may have stays attached.

use std::sync::Arc;

use awan_model::id::AttachmentId;
use awan_model::instance::{Detach, Instance};
use awan_model::interface::NetworkInterface;
use awan_state::{Tenant, Tx};

use crate::actions::ec2::interface::draft;

/// The interfaces of an instance, its primary first.
pub fn attached(tx: &mut Tx<Tenant>, instance: &Instance) -> Vec<Arc<NetworkInterface>> {
    let all = std::iter::once(&instance.interface).chain(&instance.more_interfaces);
    let found: Vec<_> = all.filter_map(|id| tx.find::<NetworkInterface>(id)).collect();
    found.into_iter().filter(|eni| eni.is_attached_to(&instance.id)).collect()
}

/// Gives an instance one interface more.
pub fn attach(tx: &mut Tx<Tenant>, instance: &Instance, eni: &NetworkInterface, device_index: u32) -> AttachmentId {
    let attachment = draft::attachment(tx, (&instance.id, device_index), false);
    let id = attachment.id.clone();
    let index = |eni: &NetworkInterface| eni.attachment.as_ref().map_or(0, |a| a.device_index);
    let more = attached(tx, instance).into_iter().filter(|other| other.id != instance.interface);
    let mut all: Vec<_> = more.map(|other| (index(&other), other.id.clone())).collect();
    all.push((device_index, eni.id.clone()));
    all.sort_unstable();
    let more_interfaces = all.into_iter().map(|(_, id)| id).collect();
    let device_changes = instance.device_changes + 1;
    tx.put(Instance { more_interfaces, device_changes, ..instance.clone() });
    tx.put(NetworkInterface { attachment: Some(attachment), ..eni.clone() });
    id
}

/// Has the host of an instance take an interface away from its machine; it is free when the host has said so.
pub fn begin_detach(tx: &mut Tx<Tenant>, instance: &Instance, eni: &NetworkInterface, force: bool) {
    let change = instance.device_changes + 1;
    tx.put(Instance { device_changes: change, ..instance.clone() });
    let mut leaving = eni.clone();
    if let Some(attachment) = &mut leaving.attachment {
        attachment.detach = Some(Detach { change, force });
    }
    tx.put(leaving);
}

/// Parts an interface and an instance that has no machine, or whose machine has it no more.
pub fn release(tx: &mut Tx<Tenant>, instance: &Instance, eni: &NetworkInterface) {
    tx.put(NetworkInterface { attachment: None, ..eni.clone() });
    let mut left = instance.clone();
    left.more_interfaces.retain(|id| *id != eni.id);
    left.device_changes += 1;
    tx.put(left);
}
