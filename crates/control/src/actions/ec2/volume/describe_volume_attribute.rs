//! DescribeVolumeAttribute.

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::actions::ec2::vpc::create_vpc::brief;
use crate::error::{Result, invalid_value, missing};

pub fn describe_volume_attribute(
    tx: &mut Tx<Tenant>,
    req: ec2::DescribeVolumeAttributeRequest,
) -> Result<ec2::DescribeVolumeAttributeResult> {
    let ec2::DescribeVolumeAttributeRequest { attribute, volume_id, dry_run: _ } = req;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    let mut out = ec2::DescribeVolumeAttributeResult { volume_id: Some(volume.id.to_string()), ..Default::default() };
    match attribute.as_deref().ok_or_else(|| missing("Attribute"))? {
        "autoEnableIO" => {
            out.auto_enable_io = Some(ec2::AttributeBooleanValue { value: Some(volume.auto_enable_io) });
        }
        // Nothing is sold here, so no volume has any.
        "productCodes" => {}
        other => return Err(invalid_value(brief(other), "attribute")),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn each_attribute_is_shown_alone() {
        let mut cloud = Cloud::new();
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let mut ask = |name: &str| {
            cloud.tenant("acme").call("DescribeVolumeAttribute", &[("VolumeId", volume.as_str()), ("Attribute", name)])
        };
        assert!(ask("autoEnableIO").expect("answers").contains("<autoEnableIO><value>false</value></autoEnableIO>"));
        assert!(!ask("productCodes").expect("answers").contains("autoEnableIO"));
        assert!(ask("colour").expect_err("unknown").starts_with("InvalidParameterValue"));
    }
}
