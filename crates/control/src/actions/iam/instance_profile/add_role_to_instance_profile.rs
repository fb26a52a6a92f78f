//! AddRoleToInstanceProfile: one role at most.

use awan_model::identity::{InstanceProfile, Role};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{get, over_quota};

pub fn add_role_to_instance_profile(tx: &mut Tx<Tenant>, req: iam::AddRoleToInstanceProfileRequest) -> Result<()> {
    let iam::AddRoleToInstanceProfileRequest { instance_profile_name, role_name } = req;
    let mut profile: InstanceProfile = get(tx, &instance_profile_name.unwrap_or_default())?;
    let role: Role = get(tx, &role_name.unwrap_or_default())?;
    if profile.role.is_some() {
        return Err(over_quota("InstanceSessionsPerInstanceProfile", 1));
    }
    profile.role = Some(role.id);
    tx.put(profile);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_second_role_is_one_too_many() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        let nobody = [("InstanceProfileName", "p"), ("RoleName", "none")];
        assert!(acme.iam("AddRoleToInstanceProfile", &nobody).expect_err("nobody").starts_with("NoSuchEntity"));
        acme.iam("AddRoleToInstanceProfile", &both).expect("adds");
        assert!(acme.iam("AddRoleToInstanceProfile", &both).expect_err("has one").starts_with("LimitExceeded"));
        let told = acme.iam("GetInstanceProfile", &both[..1]).expect("is there");
        assert_eq!(Cloud::ids(&told, "RoleName"), ["web"]);
        let told = acme.iam("ListInstanceProfilesForRole", &both[1..]).expect("lists");
        assert_eq!(Cloud::ids(&told, "InstanceProfileName"), ["p"]);
    }
}
