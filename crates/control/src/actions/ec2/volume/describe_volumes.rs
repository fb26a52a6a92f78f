//! DescribeVolumes.

use std::collections::BTreeMap;

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::{text_time, time};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "attachment.attach-time",
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "create-time",
    "encrypted",
    "fast-restored",
    "multi-attach-enabled",
    "operator.managed",
    "operator.principal",
    "size",
    "snapshot-id",
    "status",
    "volume-id",
    "volume-type",
];

pub fn describe_volumes(tx: &mut Tx<Tenant>, req: ec2::DescribeVolumesRequest) -> Result<ec2::DescribeVolumesResult> {
    let ec2::DescribeVolumesRequest {
        volume_ids,
        // There are no volumes that another service manages.
        include_managed_resources: _,
        dry_run: _,
        filters,
        next_token,
        max_results,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !volume_ids.is_empty();
    let page = Page::new(tx, "DescribeVolumes", (max_results, next_token.as_deref()), (5, 1000), named)?;
    let mut found = Vec::new();
    for id in &volume_ids {
        found.push(tx.get::<Volume>(&id.parse()?)?);
    }
    if !named {
        found = page.candidates::<Volume>(tx, !filters.is_empty());
    }
    let mut kept = Vec::new();
    for volume in found {
        let tags = tagging::of(tx, volume.id.as_str());
        if filters.match_all(|name| value(&volume, &tags, name)) {
            kept.push((volume, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(volume, _)| volume.id.clone());
    let volumes = kept.iter().map(|(volume, tags)| shown(volume, tagging::shown(tags))).collect();
    Ok(ec2::DescribeVolumesResult { next_token, volumes })
}

fn value(volume: &Volume, tags: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    let attachment = volume.attachment.as_ref();
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    match name {
        "attachment.attach-time" => some(attachment.and_then(|a| text_time(a.at))),
        "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
        "attachment.device" => some(attachment.map(|a| a.device.clone())),
        "attachment.instance-id" => some(attachment.map(|a| a.instance.to_string())),
        "attachment.status" => some(attachment.map(|_| "attached".into())),
        "availability-zone" => vec![volume.zone.clone()],
        "availability-zone-id" => vec![zone_id(&volume.zone)],
        "create-time" => some(text_time(volume.created)),
        "encrypted" | "fast-restored" | "multi-attach-enabled" | "operator.managed" => vec!["false".into()],
        "size" => vec![volume.size_gib.to_string()],
        "snapshot-id" => some(volume.snapshot.as_ref().map(ToString::to_string)),
        "status" => vec![volume.state().into()],
        "volume-id" => vec![volume.id.to_string()],
        "volume-type" => vec![volume.kind.clone()],
        tag => tagging::filter_values(tags, tag),
    }
}

fn shown(volume: &Volume, tags: Vec<ec2::Tag>) -> ec2::Volume {
    let attachment = |a: &awan_model::volume::VolumeAttachment| ec2::VolumeAttachment {
        delete_on_termination: Some(a.delete_on_termination),
        volume_id: Some(volume.id.to_string()),
        instance_id: Some(a.instance.to_string()),
        device: Some(a.device.clone()),
        state: Some("attached".into()),
        attach_time: time(a.at),
        ..Default::default()
    };
    ec2::Volume {
        availability_zone_id: Some(zone_id(&volume.zone)),
        tags,
        volume_type: Some(volume.kind.clone()),
        multi_attach_enabled: Some(false),
        volume_id: Some(volume.id.to_string()),
        size: i32::try_from(volume.size_gib).ok(),
        snapshot_id: Some(volume.snapshot.as_ref().map(ToString::to_string).unwrap_or_default()),
        availability_zone: Some(volume.zone.clone()),
        state: Some(volume.state().into()),
        create_time: time(volume.created),
        attachments: volume.attachment.iter().map(attachment).collect(),
        encrypted: Some(false),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_root_volume_is_shown_with_its_instance_and_in_pages() {
        let mut cloud = Cloud::new();
        let ids = cloud.tenant("acme").run_with(&[("MinCount", "7"), ("MaxCount", "7")]).expect("launches");
        let ask = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", ids[3].as_str())];
        let shown = cloud.tenant("acme").call("DescribeVolumes", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "instanceId"), [ids[3].clone()]);
        assert_eq!(Cloud::ids(&shown, "status"), ["in-use", "attached"], "{shown}");
        let first = cloud.tenant("acme").call("DescribeVolumes", &[("MaxResults", "5")]).expect("answers");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let second = cloud.tenant("acme").call("DescribeVolumes", &[("NextToken", &token)]).expect("answers");
        let count = |page: &str| Cloud::ids(page, "device").len();
        assert_eq!((count(&first), count(&second)), (5, 2));
    }
}
