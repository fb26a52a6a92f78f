//! DeletePolicy: one that nobody has, with one version left.

use awan_model::identity::ManagedPolicy;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder::Users;
use crate::identity::{conflict, managed};

pub fn delete_policy(tx: &mut Tx<Tenant>, req: iam::DeletePolicyRequest) -> Result<()> {
    let iam::DeletePolicyRequest { policy_arn } = req;
    let arn = policy_arn.unwrap_or_default();
    let policy = managed::own(tx, &arn)?;
    if Users::of(tx, &arn, false).count() + Users::of(tx, &arn, true).count() > 0 {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    if policy.versions.len() > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
             The default version is deleted with the policy.",
        ));
    }
    tx.remove::<ManagedPolicy>(&policy.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn versions_hinder_it_and_what_aws_names_stays() {
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
        let ask = [("PolicyArn", arn.as_str()), ("PolicyDocument", make[1].1)];
        acme.iam("CreatePolicyVersion", &ask).expect("creates");
        assert!(acme.iam("DeletePolicy", &ask[..1]).expect_err("has two").starts_with("DeleteConflict"));
        acme.iam("DeletePolicyVersion", &[ask[0], ("VersionId", "v2")]).expect("deletes");
        acme.iam("DeletePolicy", &ask[..1]).expect("deletes");
        assert!(acme.iam("DeletePolicy", &ask[..1]).expect_err("is gone").starts_with("NoSuchEntity"));
        let common = [("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
        assert!(acme.iam("DeletePolicy", &common).expect_err("is everybody's").starts_with("AccessDenied"));
    }
}
