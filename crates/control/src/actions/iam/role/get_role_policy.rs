//! GetRolePolicy: an inline policy with its document.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn get_role_policy(tx: &mut Tx<Tenant>, req: iam::GetRolePolicyRequest) -> Result<iam::GetRolePolicyResponse> {
    let iam::GetRolePolicyRequest { role_name, policy_name } = req;
    let policy_name = policy_name.unwrap_or_default();
    let (name, policy, document) = holder::inline::<Role>(tx, &role_name.unwrap_or_default(), &policy_name)?;
    Ok(iam::GetRolePolicyResponse { role_name: Some(name), policy_name: Some(policy), policy_document: Some(document) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_is_none() {
        let ask = [("RoleName", "x"), ("PolicyName", "p")];
        let refusal = Cloud::new().tenant("acme").iam("GetRolePolicy", &ask).expect_err("nothing is there");
        assert_eq!(refusal, "NoSuchEntity: The role with name x cannot be found.");
    }
}
