//! PutGroupPolicy: an inline policy, new or instead of the old one.
//!
//! Record only: no request is allowed or refused by a policy yet.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn put_group_policy(tx: &mut Tx<Tenant>, req: iam::PutGroupPolicyRequest) -> Result<()> {
    let iam::PutGroupPolicyRequest { group_name, policy_name, policy_document } = req;
    holder::put_inline::<Group>(tx, &group_name.unwrap_or_default(), policy_name, &policy_document.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn an_inline_policy_is_kept_as_it_is_and_goes_with_its_name() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "x")]).expect("creates");
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"}]}"#;
        let put = [("GroupName", "x"), ("PolicyName", "p"), ("PolicyDocument", document)];
        let mut acme = cloud.tenant("acme");
        acme.iam("PutGroupPolicy", &put).expect("puts");
        let named = [("GroupName", "X"), ("PolicyName", "p")];
        let told = acme.iam("GetGroupPolicy", &named).expect("is there");
        assert_eq!(Cloud::ids(&told, "PolicyDocument"), [crate::identity::document::encoded(document)]);
        let told = acme.iam("ListGroupPolicies", &named[..1]).expect("lists");
        assert_eq!(Cloud::ids(&told, "member"), ["p"]);
        let broken = [("GroupName", "x"), ("PolicyName", "p"), ("PolicyDocument", "[]")];
        assert!(acme.iam("PutGroupPolicy", &broken).expect_err("is none").starts_with("MalformedPolicyDocument"));
        let absent = [("GroupName", "y"), ("PolicyName", "p"), ("PolicyDocument", document)];
        let refusal = acme.iam("PutGroupPolicy", &absent).expect_err("is not there");
        assert_eq!(refusal, "NoSuchEntity: The group with name y cannot be found.");
        assert!(acme.iam("DeleteGroup", &named[..1]).expect_err("has a policy").starts_with("DeleteConflict"));
        acme.iam("DeleteGroupPolicy", &named).expect("deletes");
        let refusal = acme.iam("GetGroupPolicy", &named).expect_err("is gone");
        assert_eq!(refusal, "NoSuchEntity: The group policy with name p cannot be found.");
        acme.iam("DeleteGroup", &named[..1]).expect("deletes");
    }
}
