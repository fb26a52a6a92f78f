//! DeleteAccessKey: it signs no more.

use awan_model::Missing;
use awan_model::identity::UserKey;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Error, Result};
use crate::identity;

pub fn delete_access_key(tx: &mut Tx<Tenant>, req: iam::DeleteAccessKeyRequest) -> Result<()> {
    let iam::DeleteAccessKeyRequest { user_name, access_key_id } = req;
    let user = identity::user_or_own(tx, user_name.as_deref())?;
    let id = access_key_id.unwrap_or_default();
    let key = tx.find::<UserKey>(&id).filter(|key| key.user == user.id);
    let key = key.ok_or_else(|| Error::from(Missing::of::<UserKey>(&id.chars().take(128).collect())))?;
    tx.remove::<UserKey>(&key.id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_key_goes_with_its_user_only() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        for name in ["u", "v"] {
            acme.iam("CreateUser", &[("UserName", name)]).expect("creates");
        }
        let made = acme.iam("CreateAccessKey", &[("UserName", "u")]).expect("creates");
        let id = Cloud::ids(&made, "AccessKeyId").remove(0);
        let mut delete = |user: &str| acme.iam("DeleteAccessKey", &[("UserName", user), ("AccessKeyId", &id)]);
        assert!(delete("v").expect_err("is another's").starts_with("NoSuchEntity"));
        delete("u").expect("deletes");
        assert!(delete("u").expect_err("is gone").starts_with("NoSuchEntity"));
    }
}
