//! CreatePolicyVersion: five at most.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_model::identity::PolicyVersion;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Code, Result, refuse};
use crate::identity::document::{self, Purpose};
use crate::identity::managed::{self, DOCUMENT_MAX};
use crate::identity::shown;

/// "IAM and AWS STS quotas".
const VERSIONS_MAX: usize = 5;

pub fn create_policy_version(
    tx: &mut Tx<Tenant>,
    req: iam::CreatePolicyVersionRequest,
) -> Result<iam::CreatePolicyVersionResponse> {
    let iam::CreatePolicyVersionRequest { policy_arn, policy_document, set_as_default } = req;
    let mut policy = managed::own(tx, &policy_arn.unwrap_or_default())?;
    let document = policy_document.unwrap_or_default();
    document::check(&document, Purpose::Permission, DOCUMENT_MAX, "PolicySize")?;
    if policy.versions.len() >= VERSIONS_MAX {
        let message = "A managed policy can have up to 5 versions. Before you create a new version, you must delete an \
                       existing version.";
        return Err(refuse(Code::LimitExceeded, message));
    }
    let (number, now) = (policy.next, tx.now());
    policy.versions.insert(number, PolicyVersion { document, created: now });
    policy.next += 1;
    policy.updated = now;
    if set_as_default == Some(true) {
        policy.default = number;
    }
    let answer = shown::version(&policy, (number, &policy.versions[&number]), false);
    tx.put(policy);
    Ok(iam::CreatePolicyVersionResponse { policy_version: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn numbers_are_never_used_again() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let make = [
            ("PolicyName", "p"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let arn = Cloud::ids(&acme.iam("CreatePolicy", &make).expect("creates"), "Arn").remove(0);
        let new = [("PolicyArn", arn.as_str()), make[1], ("SetAsDefault", "true")];
        for n in 2..=5 {
            let made = acme.iam("CreatePolicyVersion", &new).expect("creates");
            assert_eq!(Cloud::ids(&made, "VersionId"), [format!("v{n}")]);
        }
        assert!(acme.iam("CreatePolicyVersion", &new).expect_err("a sixth").starts_with("LimitExceeded"));
        let refusal = acme.iam("DeletePolicyVersion", &[new[0], ("VersionId", "v5")]).expect_err("is the default");
        assert!(refusal.starts_with("DeleteConflict"), "{refusal}");
        acme.iam("SetDefaultPolicyVersion", &[new[0], ("VersionId", "v1")]).expect("sets");
        acme.iam("DeletePolicyVersion", &[new[0], ("VersionId", "v5")]).expect("deletes");
        let made = acme.iam("CreatePolicyVersion", &new[..2]).expect("creates");
        assert_eq!((&*Cloud::ids(&made, "VersionId")[0], &*Cloud::ids(&made, "IsDefaultVersion")[0]), ("v6", "false"));
        let told = acme.iam("ListPolicyVersions", &new[..1]).expect("lists");
        assert_eq!(Cloud::ids(&told, "VersionId"), ["v6", "v4", "v3", "v2", "v1"]);
    }
}
