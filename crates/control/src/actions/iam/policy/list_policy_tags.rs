//! ListPolicyTags: in the order of their keys.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, managed};

pub fn list_policy_tags(tx: &mut Tx<Tenant>, req: iam::ListPolicyTagsRequest) -> Result<iam::ListPolicyTagsResponse> {
    let iam::ListPolicyTagsRequest { policy_arn, marker, max_items } = req;
    let one = managed::get(tx, &policy_arn.unwrap_or_default())?;
    let asked = (marker.as_deref(), max_items);
    let (tags, is_truncated, marker) = identity::tags_page(tx, "ListPolicyTags", &one, asked)?;
    Ok(iam::ListPolicyTagsResponse { tags, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_is_not_there_has_no_tags() {
        let refusal =
            Cloud::new().tenant("acme").iam("ListPolicyTags", &[("PolicyArn", "x")]).expect_err("nothing is there");
        assert!(refusal.starts_with("NoSuchEntity"), "{refusal}");
    }
}
