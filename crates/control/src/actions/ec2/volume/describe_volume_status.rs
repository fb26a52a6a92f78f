//! DescribeVolumeStatus: fine, as long as the host that has the bytes is heard, and could read and write what the guest asked
//! for. What failed once is impaired until it is detached or its instance stops.

use std::sync::Arc;

use awan_model::instance::{Instance, Phase, VmReport};
use awan_model::volume::{Volume, VolumePlacement};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::schedule;

const FILTERS: &[&str] = &[
    "action.code",
    "action.description",
    "action.event-id",
    "attachment-status.instance-id",
    "attachment-status.io-performance",
    "availability-zone",
    "availability-zone-id",
    "event.description",
    "event.event-id",
    "event.event-type",
    "event.not-after",
    "event.not-before",
    "operator.managed",
    "operator.principal",
    "volume-status.details-name",
    "volume-status.details-status",
    "volume-status.status",
];

pub fn describe_volume_status(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVolumeStatusRequest,
) -> Result<ec2::DescribeVolumeStatusResult> {
    let ec2::DescribeVolumeStatusRequest {
        max_results,
        next_token,
        volume_ids,
        // There are no volumes that another service manages.
        include_managed_resources: _,
        dry_run: _,
        filters,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !volume_ids.is_empty();
    let bounds = (5, 1000);
    let page = Page::new(tx, "DescribeVolumeStatus", (max_results, next_token.as_deref()), bounds, named)?;
    let mut kept = Vec::new();
    for volume in view::asked(tx, &volume_ids, &page, !filters.is_empty())? {
        let health = health(tx, &volume);
        if filters.match_all(|name| value(&volume, health, name)) {
            kept.push((volume, health));
        }
    }
    let (kept, next_token) = page.cut(kept, |(volume, _)| volume.id.clone());
    let volume_statuses = kept.iter().map(|(volume, health)| shown(volume, *health)).collect();
    Ok(ec2::DescribeVolumeStatusResult { next_token, volume_statuses })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Fine,
    Unheard,
    Failed,
}

fn health(tx: &mut Tx<Tenant>, volume: &Arc<Volume>) -> Health {
    if !tx.find::<VolumePlacement>(&volume.id).is_none_or(|place| schedule::is_alive(tx, &place.host)) {
        return Health::Unheard;
    }
    let Some(id) = volume.attachment.as_ref().map(|a| &a.instance) else { return Health::Fine };
    let run = tx.find::<Instance>(id).map(|instance| instance.run);
    let report = tx.find::<VmReport>(id).filter(|report| Some(report.run) == run && report.phase != Phase::Exited);
    let failed = report.is_some_and(|report| report.disks.iter().any(|disk| disk.volume == volume.id && disk.failed));
    if failed { Health::Failed } else { Health::Fine }
}

fn statuses(health: Health) -> [(&'static str, &'static str); 2] {
    let io = match health {
        Health::Fine => "passed",
        Health::Unheard => "insufficient-data",
        Health::Failed => "failed",
    };
    [("io-enabled", io), ("io-performance", "not-applicable")]
}

fn status(health: Health) -> &'static str {
    match health {
        Health::Fine => "ok",
        Health::Unheard => "insufficient-data",
        Health::Failed => "impaired",
    }
}

fn value(volume: &Volume, health: Health, name: &str) -> Vec<String> {
    match name {
        "attachment-status.instance-id" => volume.attachment.iter().map(|a| a.instance.to_string()).collect(),
        "availability-zone" => vec![volume.zone.clone()],
        "availability-zone-id" => vec![zone_id(&volume.zone)],
        "operator.managed" => vec!["false".into()],
        "volume-status.details-name" => statuses(health).map(|(name, _)| name.into()).to_vec(),
        "volume-status.details-status" => statuses(health).map(|(_, status)| status.into()).to_vec(),
        "volume-status.status" => vec![status(health).into()],
        // Nothing is planned for volumes here, and their performance is not measured.
        _ => Vec::new(),
    }
}

fn shown(volume: &Volume, health: Health) -> ec2::VolumeStatusItem {
    let details = statuses(health)
        .map(|(name, status)| ec2::VolumeStatusDetails { name: Some(name.into()), status: Some(status.into()) });
    let attachment = |a: &awan_model::volume::VolumeAttachment| ec2::VolumeStatusAttachmentStatus {
        instance_id: Some(a.instance.to_string()),
        io_performance: Some("not-applicable".into()),
    };
    ec2::VolumeStatusItem {
        availability_zone: Some(volume.zone.clone()),
        availability_zone_id: Some(zone_id(&volume.zone)),
        volume_id: Some(volume.id.to_string()),
        volume_status: Some(ec2::VolumeStatusInfo { details: details.to_vec(), status: Some(status(health).into()) }),
        attachment_statuses: volume.attachment.iter().map(attachment).collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use awan_state::System;

    use crate::hosts;
    use crate::testing::Cloud;

    #[test]
    fn a_volume_is_fine_while_the_host_that_has_its_bytes_is_heard() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").run();
        cloud.tenant("acme").volume("us-east-1a");
        let fine = [("Filter.1.Name", "volume-status.status"), ("Filter.1.Value.1", "ok")];
        let count = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeVolumeStatus", &fine).expect("answers");
            Cloud::ids(&shown, "volumeId").len()
        };
        assert_eq!(count(&mut cloud), 2);
        let away = hosts::Heard { hosts: HashMap::new(), long_enough: true };
        cloud.control.db.transact_blocking(System, "test", |tx| hosts::note_liveness(tx, &away)).expect("notes");
        assert_eq!(count(&mut cloud), 1, "one has no bytes yet");
    }

    #[test]
    fn what_failed_is_impaired_until_its_instance_stops() {
        let mut cloud = Cloud::new();
        let instance = cloud.tenant("acme").run();
        cloud.report_failed_disks(&instance);
        let told = |cloud: &mut Cloud| {
            let shown = cloud.tenant("acme").call("DescribeVolumeStatus", &[]).expect("answers");
            Cloud::ids(&shown, "status")
        };
        assert_eq!(told(&mut cloud), ["failed", "not-applicable", "impaired"]);
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &instance)]).expect("stops");
        cloud.settle();
        assert_eq!(told(&mut cloud)[2], "ok");
    }
}
