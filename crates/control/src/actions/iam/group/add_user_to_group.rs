//! AddUserToGroup: again is fine.

use awan_model::identity::{Group, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::get;

pub fn add_user_to_group(tx: &mut Tx<Tenant>, req: iam::AddUserToGroupRequest) -> Result<()> {
    let iam::AddUserToGroupRequest { group_name, user_name } = req;
    let mut group: Group = get(tx, &group_name.unwrap_or_default())?;
    let user: User = get(tx, &user_name.unwrap_or_default())?;
    group.members.insert(user.id);
    tx.put(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn both_must_be_there() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateGroup", &[("GroupName", "g")]).expect("creates");
        acme.iam("CreateUser", &[("UserName", "u")]).expect("creates");
        for (group, user, fine) in [("g", "u", true), ("g", "u", true), ("h", "u", false), ("g", "v", false)] {
            let done = acme.iam("AddUserToGroup", &[("GroupName", group), ("UserName", user)]);
            assert_eq!(done.is_ok(), fine, "{group} {user} {done:?}");
        }
    }
}
