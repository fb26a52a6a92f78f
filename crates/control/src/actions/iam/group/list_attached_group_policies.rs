//! ListAttachedGroupPolicies: managed policies.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn list_attached_group_policies(
    tx: &mut Tx<Tenant>,
    req: iam::ListAttachedGroupPoliciesRequest,
) -> Result<iam::ListAttachedGroupPoliciesResponse> {
    let iam::ListAttachedGroupPoliciesRequest { group_name, path_prefix, marker, max_items } = req;
    let (name, asked) = (group_name.unwrap_or_default(), (marker.as_deref(), max_items));
    let found = holder::attached::<Group>(tx, "ListAttachedGroupPolicies", &name, path_prefix.as_deref(), asked)?;
    let (attached_policies, is_truncated, marker) = found;
    Ok(iam::ListAttachedGroupPoliciesResponse { attached_policies, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_nobody_there_are_none() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListAttachedGroupPolicies", &[("GroupName", "x")]).expect_err("nobody");
        assert_eq!(refusal, "NoSuchEntity: The group with name x cannot be found.");
    }
}
