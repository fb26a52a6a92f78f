//! ListInstanceProfilesForRole: those that give this role.

use awan_model::identity::{InstanceProfile, Role};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get, shown};

pub fn list_instance_profiles_for_role(
    tx: &mut Tx<Tenant>,
    req: iam::ListInstanceProfilesForRoleRequest,
) -> Result<iam::ListInstanceProfilesForRoleResponse> {
    let iam::ListInstanceProfilesForRoleRequest { role_name, marker, max_items } = req;
    let role: Role = get(tx, &role_name.unwrap_or_default())?;
    let mut all = tx.list::<InstanceProfile>();
    all.retain(|profile| profile.role.as_ref() == Some(&role.id));
    let asked = (marker.as_deref(), max_items);
    let found = identity::page(tx, "ListInstanceProfilesForRole", asked, all, |one| one.id.clone())?;
    let (page, is_truncated, marker) = found;
    let instance_profiles = page.iter().map(|one| shown::profile(tx, one)).collect();
    Ok(iam::ListInstanceProfilesForRoleResponse { instance_profiles, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn of_no_role_there_are_none() {
        let refusal = Cloud::new().tenant("acme").iam("ListInstanceProfilesForRole", &[("RoleName", "web")]);
        assert_eq!(refusal.expect_err("nobody"), "NoSuchEntity: The role with name web cannot be found.");
    }
}
