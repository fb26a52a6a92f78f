//! ListAttachedRolePolicies: managed policies.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn list_attached_role_policies(
    tx: &mut Tx<Tenant>,
    req: iam::ListAttachedRolePoliciesRequest,
) -> Result<iam::ListAttachedRolePoliciesResponse> {
    let iam::ListAttachedRolePoliciesRequest { role_name, path_prefix, marker, max_items } = req;
    let (name, asked) = (role_name.unwrap_or_default(), (marker.as_deref(), max_items));
    let found = holder::attached::<Role>(tx, "ListAttachedRolePolicies", &name, path_prefix.as_deref(), asked)?;
    let (attached_policies, is_truncated, marker) = found;
    Ok(iam::ListAttachedRolePoliciesResponse { attached_policies, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_are_none() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListAttachedRolePolicies", &[("RoleName", "x")]).expect_err("nobody");
        assert_eq!(refusal, "NoSuchEntity: The role with name x cannot be found.");
    }
}
