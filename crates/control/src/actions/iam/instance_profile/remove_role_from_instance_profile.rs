//! RemoveRoleFromInstanceProfile: instances that have it get no more credentials.

use awan_model::identity::{InstanceProfile, Role};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{absent, get};

pub fn remove_role_from_instance_profile(
    tx: &mut Tx<Tenant>,
    req: iam::RemoveRoleFromInstanceProfileRequest,
) -> Result<()> {
    let iam::RemoveRoleFromInstanceProfileRequest { instance_profile_name, role_name } = req;
    let mut profile: InstanceProfile = get(tx, &instance_profile_name.unwrap_or_default())?;
    let role: Role = get(tx, &role_name.unwrap_or_default())?;
    if profile.role.as_ref() != Some(&role.id) {
        return Err(absent::<Role>(&role.about.name));
    }
    profile.role = None;
    tx.put(profile);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_the_role_that_is_there() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.role("web");
        let both = [("InstanceProfileName", "p"), ("RoleName", "web")];
        acme.iam("CreateInstanceProfile", &both[..1]).expect("creates");
        let refusal = acme.iam("RemoveRoleFromInstanceProfile", &both).expect_err("is not in it");
        assert_eq!(refusal, "NoSuchEntity: The role with name web cannot be found.");
    }
}
