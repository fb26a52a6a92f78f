//! DeleteRolePermissionsBoundary: nothing is held back any more.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn delete_role_permissions_boundary(
    tx: &mut Tx<Tenant>,
    req: iam::DeleteRolePermissionsBoundaryRequest,
) -> Result<()> {
    let iam::DeleteRolePermissionsBoundaryRequest { role_name } = req;
    holder::set_boundary::<Role>(tx, &role_name.unwrap_or_default(), None)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn who_has_none_cannot_lose_it() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("x");
        let refusal =
            cloud.tenant("acme").iam("DeleteRolePermissionsBoundary", &[("RoleName", "x")]).expect_err("has none");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
