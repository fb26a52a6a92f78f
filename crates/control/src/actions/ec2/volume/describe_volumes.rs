//! DescribeVolumes.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view::{self, Seen};
use crate::actions::ec2::instance::view::text_time;
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
    let found = view::asked(tx, &volume_ids, &page, !filters.is_empty())?;
    let mut kept = Vec::new();
    for volume in found {
        let seen = view::see(tx, volume);
        if filters.match_all(|name| value(&seen, name)) {
            kept.push(seen);
        }
    }
    let (kept, next_token) = page.cut(kept, |seen| seen.volume.id.clone());
    let volumes = kept.iter().map(view::shown).collect();
    Ok(ec2::DescribeVolumesResult { next_token, volumes })
}

fn value(seen: &Seen, name: &str) -> Vec<String> {
    let Seen { volume, attachment_state, tags } = seen;
    let attachment = volume.attachment.as_ref();
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    match name {
        "attachment.attach-time" => some(attachment.and_then(|a| text_time(a.at))),
        "attachment.delete-on-termination" => some(attachment.map(|a| a.delete_on_termination.to_string())),
        "attachment.device" => some(attachment.map(|a| a.device.clone())),
        "attachment.instance-id" => some(attachment.map(|a| a.instance.to_string())),
        "attachment.status" => some(attachment_state.map(Into::into)),
        "availability-zone" => vec![volume.zone.clone()],
        "availability-zone-id" => vec![zone_id(&volume.zone)],
        "create-time" => some(text_time(volume.created)),
        "encrypted" => vec![volume.key.is_some().to_string()],
        "fast-restored" | "multi-attach-enabled" | "operator.managed" => vec!["false".into()],
        "size" => vec![volume.size_gib.to_string()],
        "snapshot-id" => some(volume.snapshot.as_ref().map(ToString::to_string)),
        "status" => vec![volume.state().into()],
        "volume-id" => vec![volume.id.to_string()],
        "volume-type" => vec![volume.kind.clone()],
        tag => tagging::filter_values(tags, tag),
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
        assert_eq!(Cloud::ids(&shown, "status"), ["in-use", "attaching"], "{shown}");
        assert_eq!(Cloud::ids(&shown, "managed"), ["false"]);
        let first = cloud.tenant("acme").call("DescribeVolumes", &[("MaxResults", "5")]).expect("answers");
        let token = Cloud::ids(&first, "nextToken").remove(0);
        let second = cloud.tenant("acme").call("DescribeVolumes", &[("NextToken", &token)]).expect("answers");
        let count = |page: &str| Cloud::ids(page, "device").len();
        assert_eq!((count(&first), count(&second)), (5, 2));
    }
}
