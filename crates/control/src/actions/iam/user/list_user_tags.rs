//! ListUserTags: in the order of their keys.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get};

pub fn list_user_tags(tx: &mut Tx<Tenant>, req: iam::ListUserTagsRequest) -> Result<iam::ListUserTagsResponse> {
    let iam::ListUserTagsRequest { user_name, marker, max_items } = req;
    let one = get::<User>(tx, &user_name.unwrap_or_default())?;
    let asked = (marker.as_deref(), max_items);
    let (tags, is_truncated, marker) = identity::tags_page(tx, "ListUserTags", &one, asked)?;
    Ok(iam::ListUserTagsResponse { tags, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListUserTags", &[("UserName", "x")]).expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
