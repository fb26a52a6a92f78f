//! DetachUserPolicy: a managed policy that is attached.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn detach_user_policy(tx: &mut Tx<Tenant>, req: iam::DetachUserPolicyRequest) -> Result<()> {
    let iam::DetachUserPolicyRequest { user_name, policy_arn } = req;
    holder::detach::<User>(tx, &user_name.unwrap_or_default(), &policy_arn.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_attached_cannot_be_detached() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "x")]).expect("creates");
        let ask = [("UserName", "x"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
        let refusal = cloud.tenant("acme").iam("DetachUserPolicy", &ask).expect_err("is not attached");
        assert_eq!(refusal, "NoSuchEntity: Policy arn:aws:iam::aws:policy/AdministratorAccess was not found.");
    }
}
