//! DeleteInstanceProfile: one without a role. Instances that have it keep a profile that gives nothing.

use awan_model::identity::InstanceProfile;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{conflict, get};

pub fn delete_instance_profile(tx: &mut Tx<Tenant>, req: iam::DeleteInstanceProfileRequest) -> Result<()> {
    let iam::DeleteInstanceProfileRequest { instance_profile_name } = req;
    let profile: InstanceProfile = get(tx, &instance_profile_name.unwrap_or_default())?;
    if profile.role.is_some() {
        return Err(conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    tx.remove::<InstanceProfile>(&profile.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_role_hinders_it() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        acme.iam("AddRoleToInstanceProfile", &both).expect("adds");
        assert!(acme.iam("DeleteInstanceProfile", &both[..1]).expect_err("has one").starts_with("DeleteConflict"));
        acme.iam("RemoveRoleFromInstanceProfile", &both).expect("removes");
        acme.iam("DeleteInstanceProfile", &both[..1]).expect("deletes");
        assert!(acme.iam("DeleteInstanceProfile", &both[..1]).expect_err("is gone").starts_with("NoSuchEntity"));
    }
}
