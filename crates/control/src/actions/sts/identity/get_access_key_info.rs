//! GetAccessKeyInfo: the account of a user's key, told to that account only.

use awan_model::identity::UserKey;
use awan_state::{Tenant, Tx};
use awan_wire::sts;

use crate::error::{Code, Result, refuse};

pub fn get_access_key_info(
    tx: &mut Tx<Tenant>,
    req: sts::GetAccessKeyInfoRequest,
) -> Result<sts::GetAccessKeyInfoResponse> {
    let sts::GetAccessKeyInfoRequest { access_key_id } = req;
    let found = tx.find::<UserKey>(&access_key_id.unwrap_or_default());
    let key = found.ok_or_else(|| refuse(Code::AccessDenied, "The access key is none of a user of this account."))?;
    Ok(sts::GetAccessKeyInfoResponse { account: Some(key.home.account().to_owned()) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn foreign_keys_are_as_good_as_none() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").iam("CreateUser", &[("UserName", "u")]).expect("creates");
        let made = cloud.tenant("acme").iam("CreateAccessKey", &[("UserName", "u")]).expect("creates");
        let id = Cloud::ids(&made, "AccessKeyId").remove(0);
        let told = cloud.tenant("acme").sts_with("GetAccessKeyInfo", &[("AccessKeyId", &id)]).expect("is ours");
        assert_eq!(Cloud::ids(&told, "Account"), [cloud.tenant("acme").id().to_owned()]);
        let foreign = cloud.tenant("other").sts_with("GetAccessKeyInfo", &[("AccessKeyId", &id)]);
        let absent = cloud.tenant("other").sts_with("GetAccessKeyInfo", &[("AccessKeyId", "AKIANOBODY")]);
        assert_eq!(foreign, absent);
        assert!(absent.expect_err("is none").starts_with("AccessDenied"));
    }
}
