//! ListRoleTags: in the order of their keys.

use awan_model::identity::Role;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get};

pub fn list_role_tags(tx: &mut Tx<Tenant>, req: iam::ListRoleTagsRequest) -> Result<iam::ListRoleTagsResponse> {
    let iam::ListRoleTagsRequest { role_name, marker, max_items } = req;
    let one = get::<Role>(tx, &role_name.unwrap_or_default())?;
    let asked = (marker.as_deref(), max_items);
    let (tags, is_truncated, marker) = identity::tags_page(tx, "ListRoleTags", &one, asked)?;
    Ok(iam::ListRoleTagsResponse { tags, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListRoleTags", &[("RoleName", "x")]).expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
