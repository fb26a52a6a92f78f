//! GetEbsDefaultKmsKeyId.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn get_ebs_default_kms_key_id(
    tx: &mut Tx<Tenant>,
    req: ec2::GetEbsDefaultKmsKeyIdRequest,
) -> Result<ec2::GetEbsDefaultKmsKeyIdResult> {
    let ec2::GetEbsDefaultKmsKeyIdRequest { dry_run: _ } = req;
    let defaults = defaults::read(tx);
    Ok(ec2::GetEbsDefaultKmsKeyIdResult { kms_key_id: Some(defaults::key(&defaults)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_account_that_chose_none_has_awss_key() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("GetEbsDefaultKmsKeyId", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "kmsKeyId"), ["alias/aws/ebs"]);
    }
}
