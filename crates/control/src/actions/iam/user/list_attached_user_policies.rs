//! ListAttachedUserPolicies: managed policies.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn list_attached_user_policies(
    tx: &mut Tx<Tenant>,
    req: iam::ListAttachedUserPoliciesRequest,
) -> Result<iam::ListAttachedUserPoliciesResponse> {
    let iam::ListAttachedUserPoliciesRequest { user_name, path_prefix, marker, max_items } = req;
    let (name, asked) = (user_name.unwrap_or_default(), (marker.as_deref(), max_items));
    let found = holder::attached::<User>(tx, "ListAttachedUserPolicies", &name, path_prefix.as_deref(), asked)?;
    let (attached_policies, is_truncated, marker) = found;
    Ok(iam::ListAttachedUserPoliciesResponse { attached_policies, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_are_none() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListAttachedUserPolicies", &[("UserName", "x")]).expect_err("nobody");
        assert_eq!(refusal, "NoSuchEntity: The user with name x cannot be found.");
    }
}
