//! ModifyEbsDefaultKmsKeyId.
//!
//! Record only: there is no other key than that of `alias/aws/ebs`, and with another nothing is encrypted. EC2 does not look
//! for the key before it answers either.

use awan_state::{Tenant, Tx};
use awan_wire::ec2;

use super::defaults;
use crate::error::{Result, invalid, missing};

/// KMS: an ARN of an alias has at most so many characters.
const KEY_MAX: usize = 512;

pub fn modify_ebs_default_kms_key_id(
    tx: &mut Tx<Tenant>,
    req: ec2::ModifyEbsDefaultKmsKeyIdRequest,
) -> Result<ec2::ModifyEbsDefaultKmsKeyIdResult> {
    let ec2::ModifyEbsDefaultKmsKeyIdRequest { kms_key_id, dry_run: _ } = req;
    let key = kms_key_id.filter(|key| !key.is_empty()).ok_or_else(|| missing("KmsKeyId"))?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-');
    if key.len() > KEY_MAX || !key.chars().all(fine) {
        return Err(invalid("Invalid KMS key id: a key's id or ARN, or an alias or its ARN, is expected"));
    }
    let defaults = defaults::change(tx, |defaults| defaults.kms_key = Some(key));
    Ok(ec2::ModifyEbsDefaultKmsKeyIdResult { kms_key_id: Some(defaults::key(&defaults)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_key_is_kept_until_it_is_reset() {
        let mut cloud = Cloud::new();
        let shown = |cloud: &mut Cloud, action: &str, ask: &[(&str, &str)]| {
            Cloud::ids(&cloud.tenant("acme").call(action, ask).expect(action), "kmsKeyId").remove(0)
        };
        let told = shown(&mut cloud, "ModifyEbsDefaultKmsKeyId", &[("KmsKeyId", "1234abcd")]);
        assert!(told.starts_with("arn:aws:kms:us-east-1:") && told.ends_with(":key/1234abcd"), "{told}");
        assert_eq!(shown(&mut cloud, "GetEbsDefaultKmsKeyId", &[]), told);
        let refusal =
            cloud.tenant("acme").call("ModifyEbsDefaultKmsKeyId", &[("KmsKeyId", "a key")]).expect_err("no id");
        assert!(refusal.starts_with("InvalidParameterValue"), "{refusal}");
        assert_eq!(shown(&mut cloud, "ResetEbsDefaultKmsKeyId", &[]), "alias/aws/ebs");
        assert_eq!(shown(&mut cloud, "GetEbsDefaultKmsKeyId", &[]), "alias/aws/ebs");
    }
}
