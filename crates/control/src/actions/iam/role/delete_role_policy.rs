//! DeleteRolePolicy: an inline policy.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn delete_role_policy(tx: &mut Tx<Tenant>, req: iam::DeleteRolePolicyRequest) -> Result<()> {
    let iam::DeleteRolePolicyRequest { role_name, policy_name } = req;
    holder::delete_inline::<Role>(tx, &role_name.unwrap_or_default(), &policy_name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_is_not_deleted() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        let ask = [("RoleName", "x"), ("PolicyName", "p")];
        let refusal = cloud.tenant("acme").iam("DeleteRolePolicy", &ask).expect_err("has none");
        assert_eq!(refusal, "NoSuchEntity: The role policy with name p cannot be found.");
    }
}
