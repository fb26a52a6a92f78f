//! DescribeImages.

use std::sync::Arc;

use awan_model::account::BUILTIN_ALIAS;
use awan_model::image::Image;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::instance::view::time;
use crate::describe::{Filters, Page};
use crate::error::{Result, invalid_value};
use crate::tagging;

const FILTERS: &[&str] = &[
    "tag:*",
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.encrypted",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "boot-mode",
    "creation-date",
    "description",
    "ena-support",
    "free-tier-eligible",
    "hypervisor",
    "image-allowed",
    "image-id",
    "image-type",
    "image-watermark.source-image-creation-time",
    "image-watermark.source-image-id",
    "image-watermark.source-image-region",
    "image-watermark.watermark-creation-time",
    "image-watermark.watermark-key",
    "instance-type-specification.supported-instance-type",
    "instance-type-specification.unsupported-instance-type",
    "is-public",
    "kernel-id",
    "manifest-location",
    "name",
    "owner-alias",
    "owner-id",
    "platform",
    "product-code",
    "product-code.type",
    "public-ssm-parameter-name",
    "ramdisk-id",
    "root-device-name",
    "root-device-type",
    "scan-result.critical-fix-available-since",
    "scan-result.finding-scan-date",
    "scan-result.high-fix-available-since",
    "scan-result.highest-finding-severity-label",
    "scan-result.informational-fix-available-since",
    "scan-result.low-fix-available-since",
    "scan-result.medium-fix-available-since",
    "source-image-id",
    "source-image-region",
    "source-instance-id",
    "sriov-net-support",
    "state",
    "state-reason-code",
    "state-reason-message",
    "virtualization-type",
];

pub fn describe_images(tx: &mut Tx<Tenant>, req: ec2::DescribeImagesRequest) -> Result<ec2::DescribeImagesResult> {
    let ec2::DescribeImagesRequest {
        executable_users,
        image_ids,
        owners,
        // No image is deprecated or disabled.
        include_deprecated: _,
        include_disabled: _,
        max_results,
        next_token,
        dry_run: _,
        filters,
    } = req;
    let filters = Filters::new(&filters, FILTERS)?;
    let page = Page::new(tx, "DescribeImages", (max_results, next_token.as_deref()), (1, 1000), !image_ids.is_empty())?;
    let mut found = Vec::new();
    for id in &image_ids {
        found.push(tx.shared::<Image>(&id.parse()?)?);
    }
    if image_ids.is_empty() {
        found = tx.all_shared::<Image>();
    }
    let own = tx.home().account().to_owned();
    for owner in &owners {
        let known = matches!(owner.as_str(), "self" | "amazon" | "aws-marketplace")
            || awan_model::account::Account::is_id(owner);
        if !known {
            return Err(invalid_value(owner.chars().take(64).collect::<String>().escape_debug(), "owner"));
        }
    }
    let of = |image: &Image, who: &str| match who {
        "self" => image.home.account() == own,
        BUILTIN_ALIAS => image.is_builtin(),
        id => image.home.account() == id,
    };
    found.retain(|i| owners.is_empty() || owners.iter().any(|who| of(i, who)));
    let may_run = |i: &Image, user: &str| {
        if user == "all" { i.public } else { user == "self" && i.home.account() != own && !i.public }
    };
    found.retain(|i| executable_users.is_empty() || executable_users.iter().any(|user| may_run(i, user)));
    let mut kept = Vec::new();
    for image in found {
        let tags = tagging::of(tx, image.id.as_str());
        if filters.match_all(|name| value(&image, &tags, name)) {
            kept.push((image, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(image, _)| image.id.clone());
    let images = kept.iter().map(|(image, tags)| shown(image, tags)).collect();
    Ok(ec2::DescribeImagesResult { next_token, images })
}

type Tags = std::collections::BTreeMap<String, String>;

fn creation_date(image: &Image) -> String {
    let at = time(image.created).and_then(|t| jiff::Timestamp::from_millisecond(t.0).ok());
    at.map(|t| t.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()).unwrap_or_default()
}

fn value(image: &Arc<Image>, tags: &Tags, name: &str) -> Vec<String> {
    let value = match name {
        "architecture" => image.architecture.clone(),
        "block-device-mapping.delete-on-termination" | "ena-support" => "true".into(),
        "block-device-mapping.device-name" | "root-device-name" => image.root_device.clone(),
        "block-device-mapping.snapshot-id" => image.snapshot.to_string(),
        "block-device-mapping.volume-size" => image.size_gib.to_string(),
        "block-device-mapping.volume-type" => "gp3".into(),
        "block-device-mapping.encrypted" => "false".into(),
        "creation-date" => creation_date(image),
        "description" => image.description.clone(),
        "hypervisor" => "xen".into(),
        "image-id" => image.id.to_string(),
        "image-type" => "machine".into(),
        "is-public" => image.public.to_string(),
        "manifest-location" => location(image),
        "name" => image.name.clone(),
        "owner-alias" if image.is_builtin() => BUILTIN_ALIAS.into(),
        "owner-id" => image.home.account().to_owned(),
        "root-device-type" => "ebs".into(),
        "state" => "available".into(),
        "virtualization-type" => "hvm".into(),
        tag if tag.starts_with("tag") => return tagging::filter_values(tags, tag),
        // Known names of what no image here has: kernel, platform, product codes, state reason, scans, a source.
        _ => return Vec::new(),
    };
    vec![value]
}

fn location(image: &Image) -> String {
    let owner = if image.is_builtin() { BUILTIN_ALIAS } else { image.home.account() };
    format!("{owner}/{}", image.name)
}

fn shown(image: &Image, tags: &Tags) -> ec2::Image {
    let ebs = ec2::EbsBlockDevice {
        delete_on_termination: Some(true),
        snapshot_id: Some(image.snapshot.to_string()),
        volume_size: i32::try_from(image.size_gib).ok(),
        volume_type: Some("gp3".into()),
        encrypted: Some(false),
        ..Default::default()
    };
    let device =
        ec2::BlockDeviceMapping { ebs: Some(ebs), device_name: Some(image.root_device.clone()), ..Default::default() };
    ec2::Image {
        platform_details: Some("Linux/UNIX".into()),
        usage_operation: Some("RunInstances".into()),
        block_device_mappings: vec![device],
        description: Some(image.description.clone()),
        ena_support: Some(true),
        hypervisor: Some("xen".into()),
        image_owner_alias: image.is_builtin().then(|| BUILTIN_ALIAS.into()),
        name: Some(image.name.clone()),
        root_device_name: Some(image.root_device.clone()),
        root_device_type: Some("ebs".into()),
        tags: tagging::shown(tags),
        virtualization_type: Some("hvm".into()),
        imds_support: Some("v2.0".into()),
        image_id: Some(image.id.to_string()),
        image_location: Some(location(image)),
        state: Some("available".into()),
        owner_id: Some(image.home.account().into()),
        creation_date: Some(creation_date(image)),
        public: Some(image.public),
        architecture: Some(image.architecture.clone()),
        image_type: Some("machine".into()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn built_in_images_are_amazons() {
        let mut cloud = Cloud::new();
        let all = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "amazon")]).expect("answers");
        assert_eq!(Cloud::ids(&all, "name"), ["awan-tiny-test"]);
        let own = cloud.tenant("acme").call("DescribeImages", &[("Owner.1", "self")]).expect("answers");
        assert!(Cloud::ids(&own, "imageId").is_empty());
    }
}
