//! ListRoles: with their trust policies.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn list_roles(tx: &mut Tx<Tenant>, req: iam::ListRolesRequest) -> Result<iam::ListRolesResponse> {
    let iam::ListRolesRequest { path_prefix, marker, max_items } = req;
    let all = identity::below::<Role>(tx, path_prefix.as_deref());
    let (page, is_truncated, marker) =
        identity::page(tx, "ListRoles", (marker.as_deref(), max_items), all, |one| one.id.clone())?;
    let roles = page.iter().map(|one| shown::role(one)).collect();
    Ok(iam::ListRolesResponse { roles, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_path_and_in_pages() {
        let mut cloud = Cloud::new();
        for (name, path) in [("a", "/"), ("b", "/x/"), ("c", "/x/y/")] {
            let make = [
                ("RoleName", name),
                ("Path", path),
                (
                    "AssumeRolePolicyDocument",
                    r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"ec2.amazonaws.com"}}}"#,
                ),
            ];
            cloud.tenant("acme").iam("CreateRole", &make).expect("creates");
        }
        let told = cloud.tenant("acme").iam("ListRoles", &[("PathPrefix", "/x")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "RoleName"), ["b", "c"]);
        let told = cloud.tenant("acme").iam("ListRoles", &[("MaxItems", "2")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "RoleName"), ["a", "b"]);
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told = cloud.tenant("acme").iam("ListRoles", &[("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "RoleName"), ["c"]);
        let foreign = cloud.tenant("other").iam("ListRoles", &[("Marker", &marker)]).expect_err("is not theirs");
        assert!(foreign.starts_with("ValidationError"), "{foreign}");
        let told = cloud.tenant("other").iam("ListRoles", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "RoleName").len(), 0, "{told}");
    }
}
