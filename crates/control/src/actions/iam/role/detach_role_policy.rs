//! DetachRolePolicy: a managed policy that is attached.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn detach_role_policy(tx: &mut Tx<Tenant>, req: iam::DetachRolePolicyRequest) -> Result<()> {
    let iam::DetachRolePolicyRequest { role_name, policy_arn } = req;
    holder::detach::<Role>(tx, &role_name.unwrap_or_default(), &policy_arn.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_attached_cannot_be_detached() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        let ask = [("RoleName", "x"), ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess")];
        let refusal = cloud.tenant("acme").iam("DetachRolePolicy", &ask).expect_err("is not attached");
        assert_eq!(refusal, "NoSuchEntity: Policy arn:aws:iam::aws:policy/AdministratorAccess was not found.");
    }
}
