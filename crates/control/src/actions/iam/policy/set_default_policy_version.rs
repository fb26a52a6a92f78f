//! SetDefaultPolicyVersion: the one that counts.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::managed;

pub fn set_default_policy_version(tx: &mut Tx<Tenant>, req: iam::SetDefaultPolicyVersionRequest) -> Result<()> {
    let iam::SetDefaultPolicyVersionRequest { policy_arn, version_id } = req;
    let mut policy = managed::own(tx, &policy_arn.unwrap_or_default())?;
    policy.default = managed::version(&policy, &version_id.unwrap_or_default())?.0;
    policy.updated = tx.now();
    tx.put(policy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_what_is_there_can_count() {
        let mut cloud = Cloud::new();
        let make = [
            ("PolicyName", "p"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let arn = Cloud::ids(&cloud.tenant("acme").iam("CreatePolicy", &make).expect("creates"), "Arn").remove(0);
        let ask = [("PolicyArn", arn.as_str()), ("VersionId", "v2")];
        let refusal = cloud.tenant("acme").iam("SetDefaultPolicyVersion", &ask).expect_err("is not there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
