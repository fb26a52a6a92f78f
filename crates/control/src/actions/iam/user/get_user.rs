//! GetUser: the one that is named, or the one that asks.

use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity::{self, Who, shown};

pub fn get_user(tx: &mut Tx<Tenant>, req: iam::GetUserRequest) -> Result<iam::GetUserResponse> {
    let iam::GetUserRequest { user_name } = req;
    if user_name.is_none() && identity::who(tx.principal()) == Who::Root {
        let (id, arn) = (tx.home().account().to_owned(), tx.principal().to_owned());
        // The account itself, which nobody created as a user.
        let root = iam::User { user_id: Some(id), arn: Some(arn), ..Default::default() };
        return Ok(iam::GetUserResponse { user: Some(root) });
    }
    let user = identity::user_or_own(tx, user_name.as_deref())?;
    Ok(iam::GetUserResponse { user: Some(shown::user(&user)) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_account_is_shown_to_itself_and_users_to_their_account() {
        let mut cloud = Cloud::new();
        let told = cloud.tenant("acme").iam("GetUser", &[]).expect("answers");
        assert!(Cloud::ids(&told, "Arn")[0].ends_with(":root"), "{told}");
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "alice")]).expect("creates");
        let told = cloud.tenant("acme").iam("GetUser", &[("UserName", "ALICE")]).expect("is there");
        assert_eq!(Cloud::ids(&told, "UserName"), ["alice"]);
        let foreign = cloud.tenant("other").iam("GetUser", &[("UserName", "alice")]).expect_err("is not theirs");
        assert_eq!(foreign, "NoSuchEntity: The user with name alice cannot be found.");
    }
}
