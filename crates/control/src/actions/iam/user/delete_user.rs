//! DeleteUser: one that has nothing any more.

use awan_model::identity::{Group, User, UserKey};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{conflict, get, holder};

pub fn delete_user(tx: &mut Tx<Tenant>, req: iam::DeleteUserRequest) -> Result<()> {
    let iam::DeleteUserRequest { user_name } = req;
    let user: User = get(tx, &user_name.unwrap_or_default())?;
    if tx.list::<UserKey>().iter().any(|key| key.user == user.id) {
        return Err(conflict("Cannot delete entity, must delete access keys first."));
    }
    holder::must_be_bare(&user)?;
    if tx.list::<Group>().iter().any(|group| group.members.contains(&user.id)) {
        return Err(conflict("Cannot delete entity, must remove users from group first."));
    }
    tx.remove::<User>(&user.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn keys_and_groups_hinder_it() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateUser", &[("UserName", "u")]).expect("creates");
        let key = acme.iam("CreateAccessKey", &[("UserName", "u")]).expect("creates");
        let key = Cloud::ids(&key, "AccessKeyId").remove(0);
        acme.iam("CreateGroup", &[("GroupName", "g")]).expect("creates");
        let both = [("GroupName", "g"), ("UserName", "u")];
        acme.iam("AddUserToGroup", &both).expect("adds");
        for (undo, ask) in [
            ("DeleteAccessKey", vec![("UserName", "u"), ("AccessKeyId", key.as_str())]),
            ("RemoveUserFromGroup", both.to_vec()),
        ] {
            assert!(acme.iam("DeleteUser", &[("UserName", "u")]).expect_err("has it").starts_with("DeleteConflict"));
            acme.iam(undo, &ask).expect("undoes");
        }
        acme.iam("DeleteUser", &[("UserName", "u")]).expect("deletes");
        assert!(acme.iam("DeleteUser", &[("UserName", "u")]).expect_err("is gone").starts_with("NoSuchEntity"));
    }
}
