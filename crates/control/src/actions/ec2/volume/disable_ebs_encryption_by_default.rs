//! DisableEbsEncryptionByDefault.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::Result;

pub fn disable_ebs_encryption_by_default(
    tx: &mut Tx<Tenant>,
    req: ec2::DisableEbsEncryptionByDefaultRequest,
) -> Result<ec2::DisableEbsEncryptionByDefaultResult> {
    let ec2::DisableEbsEncryptionByDefaultRequest { dry_run: _ } = req;
    let encrypt = defaults::change(tx, |defaults| defaults.encrypt = false).encrypt;
    Ok(ec2::DisableEbsEncryptionByDefaultResult { ebs_encryption_by_default: Some(encrypt) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_off_can_be_turned_off() {
        let mut cloud = Cloud::new();
        for _ in 0..2 {
            let told = cloud.tenant("acme").call("DisableEbsEncryptionByDefault", &[]).expect("disables");
            assert_eq!(Cloud::ids(&told, "ebsEncryptionByDefault"), ["false"]);
        }
    }
}
