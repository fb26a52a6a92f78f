//! ResetEbsDefaultKmsKeyId.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn reset_ebs_default_kms_key_id(
    tx: &mut Tx<Tenant>,
    req: ec2::ResetEbsDefaultKmsKeyIdRequest,
) -> Result<ec2::ResetEbsDefaultKmsKeyIdResult> {
    let ec2::ResetEbsDefaultKmsKeyIdRequest { dry_run: _ } = req;
    let defaults = defaults::change(tx, |defaults| defaults.kms_key = None);
    Ok(ec2::ResetEbsDefaultKmsKeyIdResult { kms_key_id: Some(defaults::key(&defaults)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_reset_of_what_was_never_set_is_fine() {
        let mut cloud = Cloud::new();
        let told = cloud.tenant("acme").call("ResetEbsDefaultKmsKeyId", &[]).expect("resets");
        assert_eq!(Cloud::ids(&told, "kmsKeyId"), ["alias/aws/ebs"]);
    }
}
