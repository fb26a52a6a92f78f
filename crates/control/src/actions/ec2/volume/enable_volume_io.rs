//! EnableVolumeIO. The I/O of a volume is never disabled here, so what is asked for is so already.

use awan_model::volume::Volume;
use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use crate::error::{Result, missing};

pub fn enable_volume_io(tx: &mut Tx<Tenant>, req: ec2::EnableVolumeIORequest) -> Result<()> {
    let ec2::EnableVolumeIORequest { dry_run: _, volume_id } = req;
    tx.get::<Volume>(&volume_id.ok_or_else(|| missing("VolumeId"))?.parse()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_volume_that_is_there_has_its_io_enabled() {
        let mut cloud = Cloud::new();
        let volume = cloud.tenant("acme").volume("us-east-1a");
        cloud.tenant("acme").call("EnableVolumeIO", &[("VolumeId", &volume)]).expect("is enabled");
        let refusal = cloud.tenant("other").call("EnableVolumeIO", &[("VolumeId", &volume)]).expect_err("foreign");
        assert!(refusal.starts_with("InvalidVolume.NotFound"), "{refusal}");
    }
}
