//! DescribeImageAttribute: of an image of one's own.

use awan_model::image::Image;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::describe_images::{protection, supported};
use crate::error::{Code, Result, invalid_value, missing, refuse};
use crate::sharing;

pub fn describe_image_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeImageAttributeRequest,
) -> Result<ec2::ImageAttribute> {
    let ec2::DescribeImageAttributeRequest { attribute, image_id, dry_run: _ } = req;
    let attribute = attribute.ok_or_else(|| missing("Attribute"))?;
    let id = image_id.ok_or_else(|| missing("ImageId"))?.parse()?;
    let image = sharing::own::<Image>(tx, &id, "image")?;
    let mut told = ec2::ImageAttribute { image_id: Some(id.to_string()), ..Default::default() };
    let value = |text: String| Some(ec2::AttributeValue { value: Some(text) });
    match attribute.as_str() {
        "description" => told.description = value(image.description.clone()),
        "launchPermission" => told.launch_permissions = permissions(&image),
        "bootMode" => told.boot_mode = image.details.boot_mode.clone().and_then(value),
        "sriovNetSupport" if image.details.sriov => told.sriov_net_support = value("simple".into()),
        "imdsSupport" => told.imds_support = supported(&image).and_then(|v| value(v.into())),
        "deregistrationProtection" => told.deregistration_protection = value(protection(&image, tx.now()).into()),
        // Nothing here has any.
        "kernel" | "ramdisk" | "productCodes" | "sriovNetSupport" | "tpmSupport" | "uefiData" | "lastLaunchedTime" => {}
        // EC2's answer too, in the documentation of the action.
        "blockDeviceMapping" => {
            return Err(refuse(Code::AuthFailure, "Unauthorized attempt to access restricted resource"));
        }
        other => return Err(invalid_value(other.chars().take(32).collect::<String>().escape_debug(), "attribute")),
    }
    Ok(told)
}

fn permissions(image: &Image) -> Vec<ec2::LaunchPermission> {
    let all = image.public.then(|| ec2::LaunchPermission { group: Some("all".into()), ..Default::default() });
    let of = |user: &String| ec2::LaunchPermission { user_id: Some(user.clone()), ..Default::default() };
    all.into_iter().chain(image.details.shared_with.iter().map(of)).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_attribute_is_the_owners_to_see() {
        let mut cloud = Cloud::new();
        let (builtin, own) = cloud.image_of("acme");
        for (id, attribute, expected) in [
            (&own, "description", "<description><value></value></description>"),
            (&own, "launchPermission", "<launchPermission/>"),
            (&own, "deregistrationProtection", "<value>disabled</value>"),
            (&own, "imdsSupport", "<value>v2.0</value>"),
            (&own, "kernel", "<imageId>"),
            (&own, "blockDeviceMapping", "AuthFailure"),
            (&own, "colour", "InvalidParameterValue"),
            (&builtin, "description", "AuthFailure: Not authorized for image:ami-"),
        ] {
            let ask = [("ImageId", id.as_str()), ("Attribute", attribute)];
            let told = cloud.tenant("acme").call("DescribeImageAttribute", &ask).unwrap_or_else(|refusal| refusal);
            assert!(told.contains(expected), "{attribute}: {told}");
        }
    }
}
