//! DeleteUserPolicy: an inline policy.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn delete_user_policy(tx: &mut Tx<Tenant>, req: iam::DeleteUserPolicyRequest) -> Result<()> {
    let iam::DeleteUserPolicyRequest { user_name, policy_name } = req;
    holder::delete_inline::<User>(tx, &user_name.unwrap_or_default(), &policy_name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_is_not_deleted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "x")]).expect("creates");
        let ask = [("UserName", "x"), ("PolicyName", "p")];
        let refusal = cloud.tenant("acme").iam("DeleteUserPolicy", &ask).expect_err("has none");
        assert_eq!(refusal, "NoSuchEntity: The user policy with name p cannot be found.");
    }
}
