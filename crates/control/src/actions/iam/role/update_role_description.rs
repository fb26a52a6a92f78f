//! UpdateRoleDescription: the older way to change it.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::role::checked_description;
use crate::identity::{get, shown};

pub fn update_role_description(
    tx: &mut Tx<Tenant>,
    req: iam::UpdateRoleDescriptionRequest,
) -> Result<iam::UpdateRoleDescriptionResponse> {
    let iam::UpdateRoleDescriptionRequest { role_name, description } = req;
    let mut role: Role = get(tx, &role_name.unwrap_or_default())?;
    role.description = checked_description(description)?;
    let answer = shown::role(&role);
    tx.put(role);
    Ok(iam::UpdateRoleDescriptionResponse { role: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_description_is_shown() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("web");
        let ask = [("RoleName", "web"), ("Description", "d")];
        let told = cloud.tenant("acme").iam("UpdateRoleDescription", &ask).expect("updates");
        assert_eq!(Cloud::ids(&told, "Description"), ["d"]);
    }
}
