//! AttachRolePolicy: a managed policy.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn attach_role_policy(tx: &mut Tx<Tenant>, req: iam::AttachRolePolicyRequest) -> Result<()> {
    let iam::AttachRolePolicyRequest { role_name, policy_arn } = req;
    holder::attach::<Role>(tx, &role_name.unwrap_or_default(), &policy_arn.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_attached_is_counted_listed_and_hinders_deletion() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        let mut acme = cloud.tenant("acme");
        let policy = [
            ("PolicyName", "p"),
            (
                "PolicyDocument",
                r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#,
            ),
        ];
        let arn = Cloud::ids(&acme.iam("CreatePolicy", &policy).expect("creates"), "Arn").remove(0);
        let attach = [("RoleName", "x"), ("PolicyArn", arn.as_str())];
        for _ in 0..2 {
            acme.iam("AttachRolePolicy", &attach).expect("attaches, also again");
        }
        let common = [("RoleName", "x"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
        acme.iam("AttachRolePolicy", &common).expect("attaches");
        let told = acme.iam("ListAttachedRolePolicies", &[("RoleName", "x")]).expect("lists");
        let mut names = Cloud::ids(&told, "PolicyName");
        names.sort();
        assert_eq!(names, ["AdministratorAccess", "p"]);
        let told = acme.iam("ListEntitiesForPolicy", &[("PolicyArn", &arn)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "RoleName"), ["x"]);
        let told = acme.iam("GetPolicy", &[("PolicyArn", &arn)]).expect("is there");
        assert_eq!(Cloud::ids(&told, "AttachmentCount"), ["1"]);
        assert!(acme.iam("DeleteRole", &[("RoleName", "x")]).expect_err("holds it").starts_with("DeleteConflict"));
        assert!(acme.iam("DeletePolicy", &[("PolicyArn", &arn)]).expect_err("is held").starts_with("DeleteConflict"));
        for ask in [attach, common] {
            acme.iam("DetachRolePolicy", &ask).expect("detaches");
        }
        acme.iam("DeletePolicy", &[("PolicyArn", &arn)]).expect("deletes");
        let refusal = acme.iam("AttachRolePolicy", &attach).expect_err("is gone");
        assert!(refusal.starts_with("NoSuchEntity: Policy arn"), "{refusal}");
    }
}
