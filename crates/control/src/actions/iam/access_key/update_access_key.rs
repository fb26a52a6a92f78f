//! UpdateAccessKey: active or not. What is inactive is refused at once.

use awan_model::Missing;
use awan_model::identity::UserKey;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Error, Result};
use crate::identity;

pub fn update_access_key(tx: &mut Tx<Tenant>, req: iam::UpdateAccessKeyRequest) -> Result<()> {
    let iam::UpdateAccessKeyRequest { user_name, access_key_id, status } = req;
    let user = identity::user_or_own(tx, user_name.as_deref())?;
    let id = access_key_id.unwrap_or_default();
    let key = tx.find::<UserKey>(&id).filter(|key| key.user == user.id);
    let key = key.ok_or_else(|| Error::from(Missing::of::<UserKey>(&id.chars().take(128).collect())))?;
    let active = match status.as_deref() {
        Some("Active") => true,
        Some("Inactive") => false,
        _ => return Err(identity::invalid("The status of a key is Active or Inactive")),
    };
    tx.put(UserKey { active, ..(*key).clone() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_status_is_kept() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        acme.iam("CreateUser", &[("UserName", "u")]).expect("creates");
        let made = acme.iam("CreateAccessKey", &[("UserName", "u")]).expect("creates");
        let id = Cloud::ids(&made, "AccessKeyId").remove(0);
        let mut set = |id: &str, status: &str| {
            acme.iam("UpdateAccessKey", &[("UserName", "u"), ("AccessKeyId", id), ("Status", status)])
        };
        set(&id, "Inactive").expect("sets");
        assert!(set(&id, "Gone").expect_err("is no status").starts_with("ValidationError"));
        assert_eq!(
            set("AKIANOBODY", "Active").expect_err("is not there"),
            "NoSuchEntity: The Access Key with id AKIANOBODY cannot be found."
        );
        let told = acme.iam("ListAccessKeys", &[("UserName", "u")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "Status"), ["Inactive"]);
    }
}
