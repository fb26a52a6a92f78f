//! EnableEbsEncryptionByDefault.
//!
//! Record only: nothing encrypts yet, so while it is on no volume can be made, at a launch neither.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn enable_ebs_encryption_by_default(
    tx: &mut Tx<Tenant>,
    req: ec2::EnableEbsEncryptionByDefaultRequest,
) -> Result<ec2::EnableEbsEncryptionByDefaultResult> {
    let ec2::EnableEbsEncryptionByDefaultRequest { dry_run: _ } = req;
    let encrypt = defaults::change(tx, |defaults| defaults.encrypt = true).encrypt;
    Ok(ec2::EnableEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(encrypt) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_is_told_that_a_volume_is_encrypted_that_is_not() {
        let mut cloud = Cloud::new();
        let told = cloud.tenant("acme").call("EnableEbsEncryptionByDefault", &[]).expect("enables");
        assert_eq!(Cloud::ids(&told, "ebsEncryptionByDefault"), ["true"]);
        let make = [("AvailabilityZone", "us-east-1a"), ("Size", "1")];
        let refusal = cloud.tenant("acme").call("CreateVolume", &make).expect_err("would be encrypted");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        let refusal = cloud.tenant("acme").run_with(&[]).expect_err("its root would be encrypted");
        assert!(refusal.starts_with("UnsupportedOperation"), "{refusal}");
        cloud.tenant("other").call("CreateVolume", &make).expect("it is the account's own");
        let told = cloud.tenant("acme").call("DisableEbsEncryptionByDefault", &[]).expect("disables");
        assert_eq!(Cloud::ids(&told, "ebsEncryptionByDefault"), ["false"]);
        cloud.tenant("acme").call("CreateVolume", &make).expect("makes");
        cloud.audit();
    }
}
