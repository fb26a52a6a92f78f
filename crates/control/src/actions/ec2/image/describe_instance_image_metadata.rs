//! DescribeInstanceImageMetadata: what instances were launched from, be that gone or hidden by now.

use std::sync::Arc;

use awan_model::account::BUILTIN_ALIAS;
use awan_model::image::Image;
use awan_model::instance::Instance;
use awan_state::{Shareable as _, Tenant, Tx};
use awan_wire::ec2;

use super::describe_images::creation_date;
use crate::actions::ec2::instance::view::{self, Seen, text_time, time};
use crate::actions::ec2::region::describe_availability_zones::zone_id;
use crate::describe::{Filters, Page};
use crate::error::Result;
use crate::{sharing, tagging};

const FILTERS: &[&str] = &[
    "tag:*",
    "availability-zone",
    "instance-id",
    "image-allowed",
    "instance-state-name",
    "instance-type",
    "launch-time",
    "owner-alias",
    "owner-id",
    "zone-id",
];

pub fn describe_instance_image_metadata(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeInstanceImageMetadataRequest,
) -> Result<ec2::DescribeInstanceImageMetadataResult> {
    let ec2::DescribeInstanceImageMetadataRequest { filters, instance_ids, max_results, next_token, dry_run: _ } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let named = !instance_ids.is_empty();
    let bounds = (5, 1000);
    let page = Page::new(tx, "DescribeInstanceImageMetadata", (max_results, next_token.as_deref()), bounds, named)?;
    let found = match named {
        true => view::by_ids(tx, &instance_ids)?,
        false => page.candidates::<Instance>(tx, !filters.is_empty()),
    };
    let mut kept = Vec::new();
    for instance in found {
        let seen = view::see(tx, instance);
        let image = sharing::of_image::<Image>(tx, &seen.instance.image).ok();
        if filters.match_all(|name| value(&seen, image.as_deref(), name)) {
            kept.push((seen, image));
        }
    }
    let (kept, next_token) = page.cut(kept, |(seen, _)| seen.instance.id.clone());
    let instance_image_metadata = kept.iter().map(|(seen, image)| shown(tx, seen, image.as_ref())).collect();
    Ok(ec2::DescribeInstanceImageMetadataResult { instance_image_metadata, next_token })
}

fn value(seen: &Seen, image: Option<&Image>, name: &str) -> Vec<String> {
    let instance = &seen.instance;
    let value = match name {
        "availability-zone" => instance.zone.clone(),
        "instance-id" => instance.id.to_string(),
        "image-allowed" => "true".into(),
        "instance-state-name" => seen.state.to_string(),
        "instance-type" => instance.instance_type.clone(),
        "launch-time" => return text_time(instance.launched).into_iter().collect(),
        "owner-alias" => return image.filter(|i| i.is_builtin()).map(|_| BUILTIN_ALIAS.into()).into_iter().collect(),
        "owner-id" => instance.home.account().to_owned(),
        "zone-id" => zone_id(&instance.zone),
        tag => return tagging::filter_values(&seen.tags, tag),
    };
    vec![value]
}

fn shown(tx: &mut Tx<Tenant>, seen: &Seen, image: Option<&Arc<Image>>) -> ec2::InstanceImageMetadata {
    let instance = &seen.instance;
    // Of one that was taken from this account's eyes it learns nothing new.
    let visible = image.filter(|image| image.visible_to(tx.home()));
    let state = match visible {
        None => "deregistered",
        Some(image) if image.details.disabled => "disabled",
        Some(_) => "available",
    };
    let about = ec2::ImageMetadata {
        image_id: Some(instance.image.to_string()),
        name: visible.map(|image| image.name.clone()),
        owner_id: visible.map(|image| image.home.account().to_owned()),
        state: Some(state.into()),
        image_owner_alias: visible.filter(|image| image.is_builtin()).map(|_| BUILTIN_ALIAS.into()),
        creation_date: visible.map(|image| creation_date(image)),
        deprecation_time: visible.and_then(|image| image.details.deprecated).and_then(text_time),
        image_allowed: Some(true),
        is_public: visible.map(|image| image.public),
        ..Default::default()
    };
    ec2::InstanceImageMetadata {
        instance_id: Some(instance.id.to_string()),
        instance_type: Some(instance.instance_type.clone()),
        launch_time: time(instance.launched),
        availability_zone: Some(instance.zone.clone()),
        zone_id: Some(zone_id(&instance.zone)),
        state: Some(ec2::InstanceState { code: Some(seen.state.code()), name: Some(seen.state.to_string()) }),
        owner_id: Some(instance.home.account().into()),
        tags: tagging::shown(&seen.tags),
        image_metadata: Some(about),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_instance_tells_what_it_was_launched_from() {
        let mut cloud = Cloud::new();
        let (_, image) = cloud.image_of("acme");
        let id = cloud.tenant("acme").run_with(&[("ImageId", &image)]).expect("launches").remove(0);
        let ask = [("InstanceId.1", id.as_str())];
        let told = cloud.tenant("acme").call("DescribeInstanceImageMetadata", &ask).expect("answers");
        assert_eq!(
            (Cloud::ids(&told, "imageId"), Cloud::ids(&told, "name").contains(&"a copy".into())),
            (vec![image.clone()], true)
        );
        cloud.tenant("acme").call("DeregisterImage", &[("ImageId", &image)]).expect("goes");
        let told = cloud.tenant("acme").call("DescribeInstanceImageMetadata", &ask).expect("answers");
        assert_eq!(Cloud::ids(&told, "imageState"), ["deregistered"], "{told}");
        let filter = [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "stopped")];
        let told = cloud.tenant("acme").call("DescribeInstanceImageMetadata", &filter).expect("answers");
        assert!(Cloud::ids(&told, "imageId").is_empty(), "{told}");
        let refusal = cloud.tenant("other").call("DescribeInstanceImageMetadata", &ask).expect_err("a foreign one");
        assert!(refusal.starts_with("InvalidInstanceID.NotFound"), "{refusal}");
    }
}
