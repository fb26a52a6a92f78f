//! Volumes as EC2 shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::instance::{Instance, VmReport};
use awan_model::volume::{Modification, Volume};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::{nobody_else, time};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::Page;
use crate::error::Result;
use crate::{keys, tagging};

/// A volume with everything that an answer or a filter asks about.
pub struct Seen {
    pub volume: Arc<Volume>,
    pub attachment_state: Option<&'static str>,
    pub tags: BTreeMap<String, String>,
}

pub fn see(tx: &mut Tx<Tenant>, volume: Arc<Volume>) -> Seen {
    let attachment_state = attachment_state(tx, &volume);
    let tags = tagging::of(tx, volume.id.as_str());
    Seen { volume, attachment_state, tags }
}

fn attachment_state(tx: &mut Tx<Tenant>, volume: &Volume) -> Option<&'static str> {
    let id = &volume.attachment.as_ref()?.instance;
    let instance = tx.find::<Instance>(id)?;
    let report = tx.find::<VmReport>(id);
    Some(volume.attachment_state(&instance, report.as_deref()))
}

/// The volumes of a request: those that it names, or those that a page may be cut from.
pub fn asked(tx: &mut Tx<Tenant>, ids: &[String], page: &Page, filtered: bool) -> Result<Vec<Arc<Volume>>> {
    if ids.is_empty() {
        return Ok(page.candidates::<Volume>(tx, filtered));
    }
    ids.iter().map(|id| Ok(tx.get::<Volume>(&id.parse()?)?)).collect()
}

pub fn attachment(volume: &Volume, state: &str) -> Option<ec2::VolumeAttachment> {
    let a = volume.attachment.as_ref()?;
    Some(ec2::VolumeAttachment {
        delete_on_termination: Some(a.delete_on_termination),
        volume_id: Some(volume.id.to_string()),
        instance_id: Some(a.instance.to_string()),
        device: Some(a.device.clone()),
        state: Some(state.into()),
        attach_time: time(a.at),
        ..Default::default()
    })
}

pub fn shown(seen: &Seen) -> ec2::Volume {
    let Seen { volume, attachment_state, tags } = seen;
    ec2::Volume {
        availability_zone_id: Some(zone_id(&volume.zone)),
        iops: number(volume.iops),
        tags: tagging::shown(tags),
        volume_type: Some(volume.kind.clone()),
        multi_attach_enabled: Some(false),
        operator: Some(nobody_else()),
        throughput: number(volume.throughput),
        volume_id: Some(volume.id.to_string()),
        size: number(Some(volume.size_gib)),
        snapshot_id: Some(volume.snapshot.as_ref().map(ToString::to_string).unwrap_or_default()),
        availability_zone: Some(volume.zone.clone()),
        state: Some(volume.state().into()),
        create_time: time(volume.created),
        attachments: attachment_state.and_then(|state| attachment(volume, state)).into_iter().collect(),
        encrypted: Some(volume.key.is_some()),
        kms_key_id: keys::shown(&volume.home, volume.key.is_some()),
        ..Default::default()
    }
}

pub fn number(value: Option<u32>) -> Option<i32> {
    value.and_then(|n| i32::try_from(n).ok())
}

pub fn modification_state(modification: &Modification) -> &'static str {
    if modification.ended.is_some() { "completed" } else { "modifying" }
}

pub fn modification(volume: &Volume) -> Option<ec2::VolumeModification> {
    let m = volume.modification.as_ref()?;
    Some(ec2::VolumeModification {
        volume_id: Some(volume.id.to_string()),
        modification_state: Some(modification_state(m).into()),
        target_size: number(Some(m.to.size_gib)),
        target_iops: number(m.to.iops),
        target_volume_type: Some(m.to.kind.clone()),
        target_throughput: number(m.to.throughput),
        target_multi_attach_enabled: Some(false),
        original_size: number(Some(m.from.size_gib)),
        original_iops: number(m.from.iops),
        original_volume_type: Some(m.from.kind.clone()),
        original_throughput: number(m.from.throughput),
        original_multi_attach_enabled: Some(false),
        progress: Some(if m.ended.is_some() { 100 } else { 0 }),
        start_time: time(m.began),
        end_time: m.ended.and_then(time),
        ..Default::default()
    })
}
