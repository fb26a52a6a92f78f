//! GetRole: with who may become it.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{get, shown};

pub fn get_role(tx: &mut Tx<Tenant>, req: iam::GetRoleRequest) -> Result<iam::GetRoleResponse> {
    let iam::GetRoleRequest { role_name } = req;
    let role: Role = get(tx, &role_name.unwrap_or_default())?;
    Ok(iam::GetRoleResponse { role: Some(shown::role(&role)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_elses() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").role("web");
        cloud.tenant("acme").iam("GetRole", &[("RoleName", "WEB")]).expect("is there");
        let foreign = cloud.tenant("other").iam("GetRole", &[("RoleName", "web")]).expect_err("is not theirs");
        assert_eq!(foreign, "NoSuchEntity: The role with name web cannot be found.");
    }
}
