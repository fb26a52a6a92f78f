//! PutRolePolicy: an inline policy, new or instead of the old one.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn put_role_policy(tx: &mut Tx<Tenant>, req: iam::PutRolePolicyRequest) -> Result<()> {
    let iam::PutRolePolicyRequest { role_name, policy_name, policy_document } = req;
    holder::put_inline::<Role>(tx, &role_name.unwrap_or_default(), policy_name, &policy_document.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_inline_policy_is_kept_as_it_is_and_goes_with_its_name() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#;
        let put = [("RoleName", "x"), ("PolicyName", "p"), ("PolicyDocument", document)];
        let mut acme = cloud.tenant("acme");
        acme.iam("PutRolePolicy", &put).expect("puts");
        let named = [("RoleName", "X"), ("PolicyName", "p")];
        let told = acme.iam("GetRolePolicy", &named).expect("is there");
        assert_eq!(Cloud::ids(&told, "PolicyDocument"), [crate::identity::document::encoded(document)]);
        let told = acme.iam("ListRolePolicies", &named[..1]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member"), ["p"]);
        let broken = [("RoleName", "x"), ("PolicyName", "p"), ("PolicyDocument", "[]")];
        assert!(acme.iam("PutRolePolicy", &broken).expect_err("is none").starts_with("MalformedPolicyDocument"));
        let absent = [("RoleName", "y"), ("PolicyName", "p"), ("PolicyDocument", document)];
        let refusal = acme.iam("PutRolePolicy", &absent).expect_err("is not there");
        assert_eq!(refusal, "NoSuchEntity: The role with name y cannot be found.");
        assert!(acme.iam("DeleteRole", &named[..1]).expect_err("has a policy").starts_with("DeleteConflict"));
        acme.iam("DeleteRolePolicy", &named).expect("deletes");
        let refusal = acme.iam("GetRolePolicy", &named).expect_err("is gone");
        assert_eq!(refusal, "NoSuchEntity: The role policy with name p cannot be found.");
        acme.iam("DeleteRole", &named[..1]).expect("deletes");
    }
}
