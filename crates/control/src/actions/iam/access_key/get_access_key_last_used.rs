//! GetAccessKeyLastUsed: to within some minutes, since not every request is written down.

use awan_model::Missing;
use awan_model::identity::{User, UserKey};
use awan_state::{Tenant, Tx};
use awan_wire::iam;

use crate::error::{Error, Result};
use crate::identity;

pub fn get_access_key_last_used(
    tx: &mut Tx<Tenant>,
    req: iam::GetAccessKeyLastUsedRequest,
) -> Result<iam::GetAccessKeyLastUsedResponse> {
    let iam::GetAccessKeyLastUsedRequest { access_key_id } = req;
    let id = access_key_id.unwrap_or_default();
    let key = tx.find::<UserKey>(&id);
    let key = key.ok_or_else(|| Error::from(Missing::of::<UserKey>(&id.chars().take(128).collect())))?;
    let used = key.used.as_ref();
    // A key that never signed has no date, and these words.
    let or_none = |text: Option<&String>| Some(text.map_or("N/A", String::as_str).to_owned());
    let last_used = iam::AccessKeyLastUsed {
        last_used_date: used.and_then(|used| identity::time(used.at)),
        service_name: or_none(used.map(|used| &used.service)),
        region: or_none(used.map(|used| &used.region)),
    };
    let user_name = tx.find::<User>(&key.user).map(|user| user.about.name.clone());
    Ok(iam::GetAccessKeyLastUsedResponse { user_name, access_key_last_used: Some(last_used) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_key_that_never_signed_says_so() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "u")]).expect("creates");
        let made = cloud.tenant("acme").iam("CreateAccessKey", &[("UserName", "u")]).expect("creates");
        let id = Cloud::ids(&made, "AccessKeyId").remove(0);
        let ask = [("AccessKeyId", id.as_str())];
        let told = cloud.tenant("acme").iam("GetAccessKeyLastUsed", &ask).expect("answers");
        assert_eq!(Cloud::ids(&told, "ServiceName"), ["N/A"]);
        let foreign = cloud.tenant("other").iam("GetAccessKeyLastUsed", &ask).expect_err("is not theirs");
        assert!(foreign.starts_with("NoSuchEntity"), "{foreign}");
    }
}
