//! What a host says of a machine's disks: a volume that it has no more is free, one that has grown is modified.

use std::sync::Arc;

use awan_model::instance::{DiskSeen, Instance, Phase, VmReport};
use awan_model::volume::{Modification, Shape, Volume};
use awan_state::{Home, Ref, System, Tx};

use crate::disks;

pub fn disks(tx: &mut Tx<System>, at: &Ref<Instance>) {
    for what in unsettled(tx, at) {
        let Some(instance) = tx.find_at(at) else { return };
        match what {
            Follows::Release(volume) => tx.act_for_tenant(&at.home, |tx| disks::release(tx, &instance, &volume)),
            Follows::Modified(volume) => {
                let ended = Some(tx.now());
                let modification = volume.modification.clone().map(|m| Modification { ended, ..m });
                tx.act_for_tenant(&at.home, |tx| tx.put(Volume { modification, ..(*volume).clone() }));
            }
        }
    }
}

pub enum Follows {
    Release(Arc<Volume>),
    Modified(Arc<Volume>),
}

/// What follows for the volumes of an instance; of one volume only one thing at a time.
pub fn unsettled(tx: &mut Tx<System>, at: &Ref<Instance>) -> Vec<Follows> {
    let Some(instance) = tx.find_at(at) else { return Vec::new() };
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    let mut out = Vec::new();
    for id in std::iter::once(&instance.root_volume).chain(&instance.data_volumes) {
        let Some(volume) = of(tx, &at.home, &instance, id) else { continue };
        if is_gone(&instance, &volume, report.as_deref()) {
            out.push(Follows::Release(volume));
        } else if is_modified(&instance, &volume, report.as_deref()) {
            out.push(Follows::Modified(volume));
        }
    }
    out
}

fn of(tx: &mut Tx<System>, home: &Home, instance: &Instance, id: &awan_model::id::VolumeId) -> Option<Arc<Volume>> {
    tx.find_in::<Volume>(home, id).filter(|volume| volume.is_attached_to(&instance.id))
}

/// Silence proves nothing: the host must have known that the volume was to go, and see that it has gone.
fn is_gone(instance: &Instance, volume: &Volume, report: Option<&VmReport>) -> bool {
    let Some(detach) = volume.attachment.as_ref().and_then(|a| a.detach) else { return false };
    let Some(report) = report.filter(|r| r.run == instance.run) else { return false };
    report.phase == Phase::Exited
        || (report.device_changes >= detach.change && report.disks.iter().all(|disk| disk.volume != volume.id))
}

fn is_modified(instance: &Instance, volume: &Volume, report: Option<&VmReport>) -> bool {
    let Some(modification) = volume.modification.as_ref().filter(|m| m.ended.is_none()) else { return false };
    let Some(report) = report.filter(|r| r.run == instance.run) else { return false };
    let Shape { size_gib, .. } = modification.to;
    let limits = Some(modification.to.limits());
    let is_so = |disk: &DiskSeen| disk.size_gib >= size_gib && disk.limits == limits;
    // What is opened anew grows before, and is held to its limits at once.
    report.phase == Phase::Exited || report.disks.iter().filter(|d| d.volume == volume.id).any(is_so)
}
