//! GetUserPolicy: an inline policy with its document.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn get_user_policy(tx: &mut Tx<Tenant>, req: iam::GetUserPolicyRequest) -> Result<iam::GetUserPolicyResponse> {
    let iam::GetUserPolicyRequest { user_name, policy_name } = req;
    let policy_name = policy_name.unwrap_or_default();
    let (name, policy, document) = holder::inline::<User>(tx, &user_name.unwrap_or_default(), &policy_name)?;
    Ok(iam::GetUserPolicyResponse { user_name: Some(name), policy_name: Some(policy), policy_document: Some(document) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_is_none() {
        let ask = [("UserName", "x"), ("PolicyName", "p")];
        let refusal = Cloud::new().tenant("acme").iam("GetUserPolicy", &ask).expect_err("nothing is there");
        assert_eq!(refusal, "NoSuchEntity: The user with name x cannot be found.");
    }
}
