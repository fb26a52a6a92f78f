//! GetGroup: with its members.

use awan_model::identity::{Group, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, get, shown};

pub fn get_group(tx: &mut Tx<Tenant>, req: iam::GetGroupRequest) -> Result<iam::GetGroupResponse> {
    let iam::GetGroupRequest { group_name, marker, max_items } = req;
    let group: Group = get(tx, &group_name.unwrap_or_default())?;
    let members = group.members.iter().filter_map(|id| tx.find::<User>(id)).collect();
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "GetGroup", asked, members, |user| user.id.clone())?;
    let users = page.iter().map(|user| shown::user(user)).collect();
    Ok(iam::GetGroupResponse { group: Some(shown::group(&group)), users, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn nobody_elses() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateGroup", &[("GroupName", "g")]).expect("creates");
        let told = cloud.tenant("acme").iam("GetGroup", &[("GroupName", "g")]).expect("is there");
        assert_eq!((Cloud::ids(&told, "GroupName").len(), Cloud::ids(&told, "UserName").len()), (1, 0));
        let foreign = cloud.tenant("other").iam("GetGroup", &[("GroupName", "g")]).expect_err("is not theirs");
        assert_eq!(foreign, "NoSuchEntity: The group with name g cannot be found.");
    }
}
