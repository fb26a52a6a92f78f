//! UpdateUser: another name or path. Keys and groups follow.

use awan_model::identity::{Group, User, UserKey, id_of};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Code, Result, refuse};
use crate::identity::{self, get};

pub fn update_user(tx: &mut Tx<Tenant>, req: iam::UpdateUserRequest) -> Result<()> {
    let iam::UpdateUserRequest { user_name, new_path, new_user_name } = req;
    let mut user: User = get(tx, &user_name.unwrap_or_default())?;
    if let Some(path) = new_path {
        user.about.path = identity::checked_path(Some(path))?;
    }
    let old = user.id.clone();
    if let Some(name) = new_user_name {
        user.about.name = identity::checked_name(name, "newUserName", 64)?;
        user.id = id_of(&user.about.name);
    }
    if user.id != old {
        if tx.find::<User>(&user.id).is_some() {
            let message = format!("User with name {} already exists.", user.about.name);
            return Err(refuse(Code::EntityAlreadyExists, message));
        }
        follow(tx, &old, &user.id);
        tx.remove::<User>(&old);
    }
    tx.put(user);
    Ok(())
}

fn follow(tx: &mut Tx<Tenant>, old: &str, new: &str) {
    for key in tx.list::<UserKey>().iter().filter(|key| key.user == old) {
        tx.put(UserKey { user: new.to_owned(), ..(**key).clone() });
    }
    for group in tx.list::<Group>().iter().filter(|group| group.members.contains(old)) {
        let mut group = (**group).clone();
        group.members.remove(old);
        group.members.insert(new.to_owned());
        tx.put(group);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn what_a_user_has_goes_with_the_new_name() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        for name in ["alice", "bob"] {
            acme.iam("CreateUser", &[("UserName", name)]).expect("creates");
        }
        acme.iam("CreateAccessKey", &[("UserName", "alice")]).expect("creates");
        acme.iam("CreateGroup", &[("GroupName", "g")]).expect("creates");
        acme.iam("AddUserToGroup", &[("GroupName", "g"), ("UserName", "alice")]).expect("adds");
        let taken = [("UserName", "alice"), ("NewUserName", "Bob")];
        assert!(acme.iam("UpdateUser", &taken).expect_err("is taken").starts_with("EntityAlreadyExists"));
        let rename = [("UserName", "alice"), ("NewUserName", "Carol"), ("NewPath", "/x/")];
        acme.iam("UpdateUser", &rename).expect("renames");
        assert!(acme.iam("GetUser", &[("UserName", "alice")]).is_err());
        let told = acme.iam("GetUser", &[("UserName", "carol")]).expect("is there");
        assert!(Cloud::ids(&told, "Arn")[0].ends_with(":user/x/Carol"), "{told}");
        assert_eq!(acme.iam("ListAccessKeys", &[("UserName", "carol")]).expect("lists").matches("AKIA").count(), 1);
        let told = acme.iam("GetGroup", &[("GroupName", "g")]).expect("is there");
        assert_eq!(Cloud::ids(&told, "UserName"), ["Carol"]);
        acme.iam("UpdateUser", &[("UserName", "carol"), ("NewUserName", "carol")]).expect("another case");
    }
}
