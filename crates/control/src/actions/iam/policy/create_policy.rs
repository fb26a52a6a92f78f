//! CreatePolicy: a managed policy and its first version.
//!
//! Record only: no request is allowed or refused by a policy yet.

use std::collections::BTreeMap;

use awan_model::identity::{ManagedPolicy, PolicyVersion};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::document::{self, Purpose};
use crate::identity::managed::DOCUMENT_MAX;
use crate::identity::role::checked_description;
use crate::identity::{self, shown};

pub fn create_policy(tx: &mut Tx<Tenant>, req: iam::CreatePolicyRequest) -> Result<iam::CreatePolicyResponse> {
    let iam::CreatePolicyRequest { policy_name, path, policy_document, description, tags } = req;
    let document = policy_document.unwrap_or_default();
    document::check(&document, Purpose::Permission, DOCUMENT_MAX, "PolicySize")?;
    let (id, about) = identity::new::<ManagedPolicy>(tx, (policy_name, "policyName", 128), path, &tags)?;
    let now = tx.now();
    let policy = ManagedPolicy {
        home: tx.home().clone(),
        id,
        about,
        description: checked_description(description)?,
        versions: BTreeMap::from([(1, PolicyVersion { document, created: now })]),
        default: 1,
        next: 2,
        updated: now,
    };
    let answer = shown::policy(tx, &policy);
    tx.put(policy);
    Ok(iam::CreatePolicyResponse { policy: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_policy_begins_with_its_first_version() {
        let mut cloud = Cloud::new();
        let make = [
            ("PolicyName", "p"),
            ("Path", "/x/"),
            ("Description", "d"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let made = cloud.tenant("acme").iam("CreatePolicy", &make).expect("creates");
        assert!(Cloud::ids(&made, "PolicyId")[0].starts_with("ANPA"), "{made}");
        assert!(Cloud::ids(&made, "Arn")[0].ends_with(":policy/x/p"), "{made}");
        assert_eq!(Cloud::ids(&made, "DefaultVersionId"), ["v1"]);
        let refusal = cloud.tenant("acme").iam("CreatePolicy", &make).expect_err("is there");
        assert_eq!(refusal, "EntityAlreadyExists: A policy called p already exists. Duplicate names are not allowed.");
        let wrong = [("PolicyName", "q"), ("PolicyDocument", "{}")];
        assert!(
            cloud
                .tenant("acme")
                .iam("CreatePolicy", &wrong)
                .expect_err("is none")
                .starts_with("MalformedPolicyDocument")
        );
    }
}
