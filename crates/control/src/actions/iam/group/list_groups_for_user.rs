//! ListGroupsForUser: the groups that a user is in.

use awan_model::identity::{Group, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get, shown};

pub fn list_groups_for_user(
    tx: &mut Tx<Tenant>,
    req: iam::ListGroupsForUserRequest,
) -> Result<iam::ListGroupsForUserResponse> {
    let iam::ListGroupsForUserRequest { user_name, marker, max_items } = req;
    let user: User = get(tx, &user_name.unwrap_or_default())?;
    let mut all = tx.list::<Group>();
    all.retain(|group| group.members.contains(&user.id));
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "ListGroupsForUser", asked, all, |group| group.id.clone())?;
    let groups = page.iter().map(|group| shown::group(group)).collect();
    Ok(iam::ListGroupsForUserResponse { groups, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_where_the_user_is() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateUser", &[("UserName", "u")]).expect("creates");
        for name in ["a", "b"] {
            acme.iam("CreateGroup", &[("GroupName", name)]).expect("creates");
        }
        acme.iam("AddUserToGroup", &[("GroupName", "b"), ("UserName", "u")]).expect("adds");
        let told = acme.iam("ListGroupsForUser", &[("UserName", "u")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName"), ["b"]);
        assert!(acme.iam("ListGroupsForUser", &[("UserName", "v")]).is_err());
    }
}
