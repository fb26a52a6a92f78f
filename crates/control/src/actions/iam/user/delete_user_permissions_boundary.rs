//! DeleteUserPermissionsBoundary: nothing is held back any more.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::holder;

pub fn delete_user_permissions_boundary(
    tx: &mut Tx<Tenant>,
    req: iam::DeleteUserPermissionsBoundaryRequest,
) -> Result<()> {
    let iam::DeleteUserPermissionsBoundaryRequest { user_name } = req;
    holder::set_boundary::<User>(tx, &user_name.unwrap_or_default(), None)
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn who_has_none_cannot_lose_it() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "x")]).expect("creates");
        let refusal =
            cloud.tenant("acme").iam("DeleteUserPermissionsBoundary", &[("UserName", "x")]).expect_err("has none");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
