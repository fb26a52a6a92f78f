//! GetPolicyVersion: with its document.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{managed, shown};

pub fn get_policy_version(
    tx: &mut Tx<Tenant>,
    req: iam::GetPolicyVersionRequest,
) -> Result<iam::GetPolicyVersionResponse> {
    let iam::GetPolicyVersionRequest { policy_arn, version_id } = req;
    let policy = managed::get(tx, &policy_arn.unwrap_or_default())?;
    let version = managed::version(&policy, &version_id.unwrap_or_default())?;
    Ok(iam::GetPolicyVersionResponse { policy_version: Some(shown::version(&policy, version, true)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_document_comes_encoded() {
        let mut cloud = Cloud::new();
        let common = ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess");
        let told = cloud.tenant("acme").iam("GetPolicyVersion", &[common, ("VersionId", "v1")]).expect("is there");
        assert!(Cloud::ids(&told, "Document")[0].starts_with("%7B%22Version%22%3A%222012-10-17%22"), "{told}");
        for id in ["v2", "1", ""] {
            let refusal = cloud.tenant("acme").iam("GetPolicyVersion", &[common, ("VersionId", id)]).expect_err(id);
            assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
        }
    }
}
