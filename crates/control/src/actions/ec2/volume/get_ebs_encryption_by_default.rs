//! GetEbsEncryptionByDefault.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn get_ebs_encryption_by_default(
    tx: &mut Tx<Tenant>,
    req: ec2::GetEbsEncryptionByDefaultRequest,
) -> Result<ec2::GetEbsEncryptionByDefaultResult> {
    let ec2::GetEbsEncryptionByDefaultRequest { dry_run: _ } = req;
    let encrypt = defaults::read(tx).encrypt;
    Ok(ec2::GetEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(encrypt), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_accounts_volumes_are_not_encrypted_by_default() {
        let mut cloud = Cloud::new();
        let shown = cloud.tenant("acme").call("GetEbsEncryptionByDefault", &[]).expect("answers");
        assert_eq!(Cloud::ids(&shown, "ebsEncryptionByDefault"), ["false"]);
    }
}
