//! ListUsers: without what each is allowed.

use awan_model::identity::User;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, shown};

pub fn list_users(tx: &mut Tx<Tenant>, req: iam::ListUsersRequest) -> Result<iam::ListUsersResponse> {
    let iam::ListUsersRequest { path_prefix, marker, max_items } = req;
    let all = identity::below::<User>(tx, path_prefix.as_deref());
    let (page, is_truncated, marker) =
        identity::page(tx, "ListUsers", (marker.as_deref(), max_items), all, |one| one.id.clone())?;
    let users = page.iter().map(|one| shown::user(one)).collect();
    Ok(iam::ListUsersResponse { users, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn by_path_and_in_pages() {
        let mut cloud = Cloud::new();
        for (name, path) in [("a", "/"), ("b", "/x/"), ("c", "/x/y/")] {
            let make = [("UserName", name), ("Path", path)];
            cloud.tenant("acme").iam("CreateUser", &make).expect("creates");
        }
        let told = cloud.tenant("acme").iam("ListUsers", &[("PathPrefix", "/x")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "UserName"), ["b", "c"]);
        let told = cloud.tenant("acme").iam("ListUsers", &[("MaxItems", "2")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "UserName"), ["a", "b"]);
        let marker = Cloud::ids(&told, "Marker").remove(0);
        let told = cloud.tenant("acme").iam("ListUsers", &[("Marker", &marker)]).expect("lists");
        assert_eq!(Cloud::ids(&told, "UserName"), ["c"]);
        let foreign = cloud.tenant("other").iam("ListUsers", &[("Marker", &marker)]).expect_err("is not theirs");
        assert!(foreign.starts_with("ValidationError"), "{foreign}");
        let told = cloud.tenant("other").iam("ListUsers", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "UserName").len(), 0, "{told}");
    }
}
