//! DeletePolicyVersion: not the default one.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{conflict, managed};

pub fn delete_policy_version(tx: &mut Tx<Tenant>, req: iam::DeletePolicyVersionRequest) -> Result<()> {
    let iam::DeletePolicyVersionRequest { policy_arn, version_id } = req;
    let mut policy = managed::own(tx, &policy_arn.unwrap_or_default())?;
    let (number, _) = managed::version(&policy, &version_id.unwrap_or_default())?;
    if number == policy.default {
        return Err(conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(&number);
    tx.put(policy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_no_policy_there_is_none() {
        let ask = [("PolicyArn", "arn:aws:iam::123456789012:policy/p"), ("VersionId", "v1")];
        let refusal = Cloud::new().tenant("acme").iam("DeletePolicyVersion", &ask).expect_err("is not there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
