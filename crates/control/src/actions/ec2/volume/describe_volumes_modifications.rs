//! DescribeVolumesModifications: of volumes that were modified, the last modification.

use awan_model::volume::{Modification, Volume};
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::view;
use crate::actions::ec2::instance::view::text_time;
use crate::describe::{Filters, Page};
use crate::error::{Code, Result, refuse};

const FILTERS: &[&str] = &[
    "modification-state",
    "original-iops",
    "original-size",
    "original-volume-type",
    "originalMultiAttachEnabled",
    "start-time",
    "target-iops",
    "target-size",
    "target-volume-type",
    "targetMultiAttachEnabled",
    "volume-id",
];

pub fn describe_volumes_modifications(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVolumesModificationsRequest,
) -> Result<ec2::DescribeVolumesModificationsResult> {
    let ec2::DescribeVolumesModificationsRequest {
        dry_run: _,
        volume_ids,
        filters,
        next_token,
        max_results,
        // There are no volumes that another service manages.
        include_managed_resources: _,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !volume_ids.is_empty();
    let bounds = (1, 500);
    let page = Page::new(tx, "DescribeVolumesModifications", (max_results, next_token.as_deref()), bounds, named)?;
    // Few volumes were ever modified, so a page cannot know how many it has to look at.
    let mut found = view::asked(tx, &volume_ids, &page, true)?;
    if let Some(never) = found.iter().find(|volume| named && volume.modification.is_none()) {
        let message = format!("Modification for volume '{}' does not exist.", never.id);
        return Err(refuse(Code::InvalidVolumeModificationNotFound, message));
    }
    found.retain(|volume| {
        volume.modification.as_ref().is_some_and(|m| filters.match_all(|name| value(volume, m, name)))
    });
    let (found, next_token) = page.cut(found, |volume| volume.id.clone());
    let volumes_modifications = found.iter().filter_map(|volume| view::modification(volume)).collect();
    Ok(ec2::DescribeVolumesModificationsResult { next_token, volumes_modifications })
}

fn value(volume: &Volume, m: &Modification, name: &str) -> Vec<String> {
    let some = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let number = |value: Option<u32>| some(value.map(|n| n.to_string()));
    match name {
        "modification-state" => vec![view::modification_state(m).into()],
        "original-iops" => number(m.from.iops),
        "original-size" => number(Some(m.from.size_gib)),
        "original-volume-type" => vec![m.from.kind.clone()],
        "start-time" => some(text_time(m.began)),
        "target-iops" => number(m.to.iops),
        "target-size" => number(Some(m.to.size_gib)),
        "target-volume-type" => vec![m.to.kind.clone()],
        "volume-id" => vec![volume.id.to_string()],
        "originalMultiAttachEnabled" | "targetMultiAttachEnabled" => vec!["false".into()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_was_modified_is_shown() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").volume("us-east-1a"), cloud.tenant("acme").volume("us-east-1a"));
        let grow = [("VolumeId", a.as_str()), ("Size", "9")];
        cloud.tenant("acme").call("ModifyVolume", &grow).expect("modifies");
        let shown = cloud.tenant("acme").call("DescribeVolumesModifications", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "volumeId"), std::slice::from_ref(&a));
        let refusal =
            cloud.tenant("acme").call("DescribeVolumesModifications", &[("VolumeId.1", &b)]).expect_err("never was");
        assert_eq!(
            refusal,
            format!("InvalidVolumeModification.NotFound: Modification for volume '{b}' does not exist.")
        );
        for (name, value, found) in [("target-size", "9", 1), ("modification-state", "modifying", 0)] {
            let ask = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
            let shown = cloud.tenant("acme").call("DescribeVolumesModifications", &ask).expect("answers");
            assert_eq!(Cloud::ids(&shown, "volumeId").len(), found, "{name}");
        }
    }
}
