//! DeleteRole: one that has nothing any more, and that no profile has. Its sessions end with it.

use awan_model::identity::{InstanceProfile, Role};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{conflict, get, holder};

pub fn delete_role(tx: &mut Tx<Tenant>, req: iam::DeleteRoleRequest) -> Result<()> {
    let iam::DeleteRoleRequest { role_name } = req;
    let role: Role = get(tx, &role_name.unwrap_or_default())?;
    if tx.list::<InstanceProfile>().iter().any(|profile| profile.role.as_ref() == Some(&role.id)) {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    holder::must_be_bare(&role)?;
    tx.remove::<Role>(&role.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_profile_hinders_it() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        acme.iam("AddRoleToInstanceProfile", &both).expect("adds");
        assert!(acme.iam("DeleteRole", &both[1..]).expect_err("is in use").starts_with("DeleteConflict"));
        acme.iam("RemoveRoleFromInstanceProfile", &both).expect("removes");
        acme.iam("DeleteRole", &both[1..]).expect("deletes");
        assert!(acme.iam("DeleteRole", &both[1..]).expect_err("is gone").starts_with("NoSuchEntity"));
    }
}
