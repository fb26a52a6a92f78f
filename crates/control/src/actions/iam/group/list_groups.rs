//! ListGroups: without their members.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn list_groups(tx: &mut Tx<Tenant>, req: iam::ListGroupsRequest) -> Result<iam::ListGroupsResponse> {
    let iam::ListGroupsRequest { path_prefix, marker, max_items } = req;
    let all = identity::below::<Group>(tx, path_prefix.as_deref());
    let (page, is_truncated, marker) =
        identity::page(tx, "ListGroups", (marker.as_deref(), max_items), all, |one| one.id.clone())?;
    let groups = page.iter().map(|one| shown::group(one)).collect();
    Ok(iam::ListGroupsResponse { groups, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_path_and_in_pages() {
        let mut cloud = Cloud::new();
        for (name, path) in [("a", "/"), ("b", "/x/"), ("c", "/x/y/")] {
            let make = [("GroupName", name), ("Path", path)];
            cloud.tenant("acme").iam("CreateGroup", &make).expect("creates");
        }
        let told = cloud.tenant("acme").iam("ListGroups", &[("PathPrefix", "/x")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName"), ["b", "c"]);
        let told = cloud.tenant("acme").iam("ListGroups", &[("MaxItems", "2")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName"), ["a", "b"]);
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told = cloud.tenant("acme").iam("ListGroups", &[("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName"), ["c"]);
        let foreign = cloud.tenant("other").iam("ListGroups", &[("Marker", &marker)]).expect_err("is not theirs");
        assert!(foreign.starts_with("ValidationError"), "{foreign}");
        let told = cloud.tenant("other").iam("ListGroups", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName").len(), 0, "{told}");
    }
}
