//! DescribeImages.

use std::sync::Arc;

use awan_model::account::BUILTIN_ALIAS;
use awan_model::image::{Image, Protection};
use awan_model::snapshot::Phase;
use awan_state::{Millis, Tenant, Tx};
use awan_wire::ec2;

use super::devices;
use crate::actions::ec2::instance::view::text_time;
use crate::actions::ec2::snapshot::describe_snapshots::known;
use crate::describe::{Filters, Page};
use crate::error::Result;
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
        include_deprecated,
        include_disabled,
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
    known(&owners, &["self", "amazon", "aws-marketplace", "aws-backup-vault"])?;
    known(&executable_users, &["self", "all"])?;
    let now = tx.now();
    let old = |i: &Image| i.details.deprecated.is_some_and(|at| at <= now) && i.home.account() != own;
    found.retain(|i| include_disabled == Some(true) || !i.details.disabled);
    found.retain(|i| include_deprecated == Some(true) || !image_ids.is_empty() || !old(i));
    found.retain(|i| owners.is_empty() || owners.iter().any(|who| is_of(i, who, &own)));
    found.retain(|i| executable_users.is_empty() || executable_users.iter().any(|user| may_run(i, user, &own)));
    let mut kept = Vec::new();
    for image in found {
        let tags = tagging::of(tx, image.id.as_str());
        if filters.match_all(|name| value(&image, &tags, name)) {
            kept.push((image, tags));
        }
    }
    let (kept, next_token) = page.cut(kept, |(image, _)| image.id.clone());
    let images = kept.iter().map(|(image, tags)| shown(image, tags, now)).collect();
    Ok(ec2::DescribeImagesResult { next_token, images })
}

fn is_of(image: &Image, who: &str, own: &str) -> bool {
    match who {
        "self" => image.home.account() == own,
        BUILTIN_ALIAS => image.is_builtin(),
        id => image.home.account() == id,
    }
}

/// Whom else an image is for is its owner's to know.
fn may_run(image: &Image, user: &str, own: &str) -> bool {
    let named = |user: &str| image.details.shared_with.contains(user);
    match user {
        "all" => image.public,
        "self" => named(own),
        id => named(id) && (id == own || image.home.account() == own),
    }
}

type Tags = std::collections::BTreeMap<String, String>;

pub fn creation_date(image: &Image) -> String {
    text_time(image.created).unwrap_or_default()
}

fn value(image: &Arc<Image>, tags: &Tags, name: &str) -> Vec<String> {
    let details = &image.details;
    if let Some(name) = name.strip_prefix("block-device-mapping.") {
        return devices::shown(image).into_iter().filter_map(|device| of_device(device, name)).collect();
    }
    let value = match name {
        "architecture" => image.architecture.clone(),
        "ena-support" => (!details.no_ena).to_string(),
        "root-device-name" => image.root_device.clone(),
        "boot-mode" => return details.boot_mode.iter().cloned().collect(),
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
        "source-image-id" => return details.copy_of.iter().map(|origin| origin.image.to_string()).collect(),
        "source-image-region" => return details.copy_of.iter().map(|origin| origin.region.clone()).collect(),
        "source-instance-id" => return details.source_instance.iter().map(ToString::to_string).collect(),
        "sriov-net-support" if details.sriov => "simple".into(),
        "state" => state(image).into(),
        "virtualization-type" => "hvm".into(),
        tag if tag.starts_with("tag") => return tagging::filter_values(tags, tag),
        // Known names of what no image here has: kernel, platform, product codes, state reason, scans, watermarks.
        _ => return Vec::new(),
    };
    vec![value]
}

fn of_device(device: ec2::BlockDeviceMapping, name: &str) -> Option<String> {
    let ebs = device.ebs?;
    match name {
        "delete-on-termination" => ebs.delete_on_termination.map(|yes| yes.to_string()),
        "device-name" => device.device_name,
        "snapshot-id" => ebs.snapshot_id,
        "volume-size" => ebs.volume_size.map(|gib| gib.to_string()),
        "volume-type" => ebs.volume_type,
        "encrypted" => ebs.encrypted.map(|yes| yes.to_string()),
        _ => None,
    }
}

fn state(image: &Image) -> &'static str {
    match image.details.phase {
        Phase::Pending => "pending",
        Phase::Error => "failed",
        Phase::Completed if image.details.disabled => "disabled",
        Phase::Completed => "available",
    }
}

/// What instances of the image must be asked with, for their metadata.
pub fn supported(image: &Image) -> Option<&'static str> {
    (image.is_builtin() || image.details.imds_v2).then_some("v2.0")
}

pub fn protection(image: &Image, now: Millis) -> &'static str {
    match image.details.protection {
        Protection::On => "enabled-without-cooldown",
        Protection::OnWithCooldown => "enabled-with-cooldown",
        Protection::Cooling(until) if now < until => "disabled-with-cooldown",
        Protection::Cooling(_) | Protection::Off => "disabled",
    }
}

fn location(image: &Image) -> String {
    let owner = if image.is_builtin() { BUILTIN_ALIAS } else { image.home.account() };
    format!("{owner}/{}", image.name)
}

fn shown(image: &Image, tags: &Tags, now: Millis) -> ec2::Image {
    let details = &image.details;
    ec2::Image {
        platform_details: Some("Linux/UNIX".into()),
        usage_operation: Some("RunInstances".into()),
        block_device_mappings: devices::shown(image),
        description: Some(image.description.clone()),
        ena_support: Some(!details.no_ena),
        hypervisor: Some("xen".into()),
        image_owner_alias: image.is_builtin().then(|| BUILTIN_ALIAS.into()),
        name: Some(image.name.clone()),
        root_device_name: Some(image.root_device.clone()),
        root_device_type: Some("ebs".into()),
        tags: tagging::shown(tags),
        virtualization_type: Some("hvm".into()),
        boot_mode: details.boot_mode.clone(),
        deprecation_time: details.deprecated.and_then(text_time),
        imds_support: supported(image).map(str::to_owned),
        source_instance_id: details.source_instance.as_ref().map(ToString::to_string),
        deregistration_protection: Some(protection(image, now).into()),
        source_image_id: details.copy_of.as_ref().map(|origin| origin.image.to_string()),
        source_image_region: details.copy_of.as_ref().map(|origin| origin.region.clone()),
        sriov_net_support: details.sriov.then(|| "simple".into()),
        image_id: Some(image.id.to_string()),
        image_location: Some(location(image)),
        state: Some(state(image).into()),
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
