//! ListAccessKeys: without their secrets.

use std::sync::Arc;

use awan_model::identity::UserKey;
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::Result;
use crate::identity;

pub fn list_access_keys(tx: &mut Tx<Tenant>, req: iam::ListAccessKeysRequest) -> Result<iam::ListAccessKeysResponse> {
    let iam::ListAccessKeysRequest { user_name, marker, max_items } = req;
    let user = identity::user_or_own(tx, user_name.as_deref())?;
    let mut all = tx.list::<UserKey>();
    all.retain(|key| key.user == user.id);
    let asked = (marker.as_deref(), max_items);
    let (page, is_truncated, marker) = identity::page(tx, "ListAccessKeys", asked, all, |key| key.id.clone())?;
    let shown = |key: &Arc<UserKey>| iam::AccessKeyMetadata {
        user_name: Some(user.about.name.clone()),
        access_key_id: Some(key.id.clone()),
        status: Some(if key.active { "Active" } else { "Inactive" }.into()),
        create_date: identity::time(key.created),
    };
    let access_key_metadata = page.iter().map(shown).collect();
    Ok(iam::ListAccessKeysResponse { access_key_metadata, is_truncated, marker })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn only_those_of_one_user() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        for name in ["u", "v"] {
            acme.iam("CreateUser", &[("UserName", name)]).expect("creates");
            acme.iam("CreateAccessKey", &[("UserName", name)]).expect("creates");
        }
        let told = acme.iam("ListAccessKeys", &[("UserName", "u")]).expect("lists");
        assert_eq!(Cloud::ids(&told, "UserName"), ["u"]);
        assert!(!told.contains("Secret"), "{told}");
        let foreign = cloud.tenant("other").iam("ListAccessKeys", &[("UserName", "u")]).expect_err("is not theirs");
        assert!(foreign.starts_with("NoSuchEntity"), "{foreign}");
    }
}
