//! ListInstanceProfileTags: in the order of their keys.

use awan_model::identity::InstanceProfile;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get};

pub fn list_instance_profile_tags(
    tx: &mut Tx<Tenant>,
    req: iam::ListInstanceProfileTagsRequest,
) -> Result<iam::ListInstanceProfileTagsResponse> {
    let iam::ListInstanceProfileTagsRequest { instance_profile_name, marker, max_items } = req;
    let one = get::<InstanceProfile>(tx, &instance_profile_name.unwrap_or_default())?;
    let asked = (marker.as_deref(), max_items);
    let (tags, is_truncated, marker) = identity::tags_page(tx, "ListInstanceProfileTags", &one, asked)?;
    Ok(iam::ListInstanceProfileTagsResponse { tags, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let refusal = Cloud::new()
            .tenant("acme")
            .iam("ListInstanceProfileTags", &[("InstanceProfileName", "x")])
            .expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
