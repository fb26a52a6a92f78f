//! UpdateGroup: another name or path.

use awan_model::identity::{Group, id_of};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Code, Result, refuse};
use crate::identity::{self, get};

pub fn update_group(tx: &mut Tx<Tenant>, req: iam::UpdateGroupRequest) -> Result<()> {
    let iam::UpdateGroupRequest { group_name, new_path, new_group_name } = req;
    let mut group: Group = get(tx, &group_name.unwrap_or_default())?;
    if let Some(path) = new_path {
        group.about.path = identity::checked_path(Some(path))?;
    }
    let old = group.id.clone();
    if let Some(name) = new_group_name {
        group.about.name = identity::checked_name(name, "newGroupName", 128)?;
        group.id = id_of(&group.about.name);
    }
    if group.id != old {
        if tx.find::<Group>(&group.id).is_some() {
            let message = format!("Group with name {} already exists.", group.about.name);
            return Err(refuse(Code::EntityAlreadyExists, message));
        }
        tx.remove::<Group>(&old);
    }
    tx.put(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_name_that_is_taken_stays_with_its_owner() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        for name in ["a", "b"] {
            acme.iam("CreateGroup", &[("GroupName", name)]).expect("creates");
        }
        let refusal = acme.iam("UpdateGroup", &[("GroupName", "a"), ("NewGroupName", "b")]).expect_err("is taken");
        assert!(refusal.starts_with("EntityAlreadyExists"), "{refusal}");
        acme.iam("UpdateGroup", &[("GroupName", "a"), ("NewGroupName", "c"), ("NewPath", "/p/")]).expect("renames");
        let told = acme.iam("ListGroups", &[]).expect("lists");
        assert_eq!(Cloud::ids(&told, "GroupName"), ["b", "c"]);
    }
}
