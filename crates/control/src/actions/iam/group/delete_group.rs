//! DeleteGroup: an empty one.

use awan_model::identity::Group;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{conflict, get, holder};

pub fn delete_group(tx: &mut Tx<Tenant>, req: iam::DeleteGroupRequest) -> Result<()> {
    let iam::DeleteGroupRequest { group_name } = req;
    let group: Group = get(tx, &group_name.unwrap_or_default())?;
    if !group.members.is_empty() {
        return Err(conflict("Cannot delete entity, must remove users from group first."));
    }
    holder::must_be_bare(&group)?;
    tx.remove::<Group>(&group.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn members_hinder_it() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateGroup", &[("GroupName", "g")]).expect("creates");
        acme.iam("CreateUser", &[("UserName", "u")]).expect("creates");
        let both = [("GroupName", "g"), ("UserName", "u")];
        acme.iam("AddUserToGroup", &both).expect("adds");
        assert!(acme.iam("DeleteGroup", &both[..1]).expect_err("has one").starts_with("DeleteConflict"));
        acme.iam("RemoveUserFromGroup", &both).expect("removes");
        acme.iam("DeleteGroup", &both[..1]).expect("deletes");
        assert!(acme.iam("DeleteGroup", &both[..1]).expect_err("is gone").starts_with("NoSuchEntity"));
    }
}
