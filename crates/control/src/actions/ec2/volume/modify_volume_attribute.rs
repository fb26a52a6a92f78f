//! ModifyVolumeAttribute.
//!
//! Record only: nothing here ever disables the I/O of a volume, so what is to happen then is kept and shown.

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};

pub fn modify_volume_attribute(tx: &mut Tx<Tenant>, req: ec2::ModifyVolumeAttributeRequest) -> Result<()> {
    let ec2::ModifyVolumeAttributeRequest { auto_enable_io, volume_id, dry_run: _ } = req;
    let volume = tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    let auto_enable_io = auto_enable_io.and_then(|v| v.value).ok_or_else(|| missing("AutoEnableIO"))?;
    tx.put(Volume { auto_enable_io, ..(*volume).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_attribute_is_kept() {
        let mut cloud = Cloud::new();
        let volume = cloud.tenant("acme").volume("us-east-1a");
        let set = [("VolumeId", volume.as_str()), ("AutoEnableIO.Value", "true")];
        cloud.tenant("acme").call("ModifyVolumeAttribute", &set).expect("sets");
        let ask = [("VolumeId", volume.as_str()), ("Attribute", "autoEnableIO")];
        let shown = cloud.tenant("acme").call("DescribeVolumeAttribute", &ask).expect("answers");
        assert_eq!(Cloud::ids(&shown, "value"), ["true"]);
        let refusal = cloud.tenant("acme").call("ModifyVolumeAttribute", &set[..1]).expect_err("says nothing");
        assert!(refusal.starts_with("MissingParameter"), "{refusal}");
    }
}
