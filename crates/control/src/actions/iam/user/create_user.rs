//! CreateUser: somebody who can have keys.

use awan_model::identity::{Policies, User};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, holder, shown};

pub fn create_user(tx: &mut Tx<Tenant>, req: iam::CreateUserRequest) -> Result<iam::CreateUserResponse> {
    let iam::CreateUserRequest { path, user_name, permissions_boundary, tags } = req;
    let (id, about) = identity::new::<User>(tx, (user_name, "userName", 64), path, &tags)?;
    let boundary = holder::checked_boundary(tx, permissions_boundary.as_deref())?;
    let user = User { home: tx.home().clone(), id, about, policies: Policies { boundary, ..Policies::default() } };
    let answer = shown::user(&user);
    tx.put(user);
    Ok(iam::CreateUserResponse { user: Some(answer) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_user_has_one_name_whatever_its_case() {
        let mut cloud = Cloud::new();
        let make =
            [("UserName", "Alice"), ("Path", "/staff/"), ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")];
        let made = cloud.tenant("acme").iam("CreateUser", &make).expect("creates");
        assert!(Cloud::ids(&made, "UserId")[0].starts_with("AIDA") && Cloud::ids(&made, "UserId")[0].len() == 21);
        assert!(Cloud::ids(&made, "Arn")[0].ends_with(":user/staff/Alice"), "{made}");
        for (name, code) in [("alice", "EntityAlreadyExists"), ("a b", "ValidationError"), ("", "ValidationError")] {
            let refusal = cloud.tenant("acme").iam("CreateUser", &[("UserName", name)]).expect_err(name);
            assert!(refusal.starts_with(code), "{refusal}");
        }
        let wrong = [("UserName", "bob"), ("Path", "staff")];
        assert!(cloud.tenant("acme").iam("CreateUser", &wrong).expect_err("no path").starts_with("ValidationError"));
        cloud.tenant("other").iam("CreateUser", &[("UserName", "alice")]).expect("is another account");
    }
}
