//! ListInstanceProfiles: with their roles.

use awan_model::identity::InstanceProfile;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn list_instance_profiles(
    tx: &mut Tx<Tenant>,
    req: iam::ListInstanceProfilesRequest,
) -> Result<iam::ListInstanceProfilesResponse> {
    let iam::ListInstanceProfilesRequest { path_prefix, marker, max_items } = req;
    let all = identity::below::<InstanceProfile>(tx, path_prefix.as_deref());
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "ListInstanceProfiles", asked, all, |one| one.id.clone())?;
    let instance_profiles = page.iter().map(|one| shown::profile(tx, one)).collect();
    Ok(iam::ListInstanceProfilesResponse { instance_profiles, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_path_and_in_pages() {
        let mut cloud = Cloud::new();
        for (name, path) in [("a", "/"), ("b", "/x/"), ("c", "/x/y/")] {
            let make = [("InstanceProfileName", name), ("Path", path)];
            cloud.tenant("acme").iam("CreateInstanceProfile", &make).expect("creates");
        }
        let told = cloud.tenant("acme").iam("ListInstanceProfiles", &[("PathPrefix", "/x")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "InstanceProfileName"), ["b", "c"]);
        let told = cloud.tenant("acme").iam("ListInstanceProfiles", &[("MaxItems", "2")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "InstanceProfileName"), ["a", "b"]);
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told = cloud.tenant("acme").iam("ListInstanceProfiles", &[("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "InstanceProfileName"), ["c"]);
        let foreign =
            cloud.tenant("other").iam("ListInstanceProfiles", &[("Marker", &marker)]).expect_err("is not theirs");
        assert!(foreign.starts_with("ValidationError"), "{foreign}");
        let told = cloud.tenant("other").iam("ListInstanceProfiles", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "InstanceProfileName").len(), 0, "{told}");
    }
}
