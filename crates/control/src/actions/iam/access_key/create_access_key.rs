//! CreateAccessKey: its secret is told once. It signs at once.

use awan_model::identity::UserKey;
use awan_state::{Tenant, Tx};
use awan_wire::iam;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::error::Result;
use crate::identity;

/// "IAM and AWS STS quotas".
const KEYS_MAX: usize = 2;

pub fn create_access_key(
    tx: &mut Tx<Tenant>,
    req: iam::CreateAccessKeyRequest,
) -> Result<iam::CreateAccessKeyResponse> {
    let iam::CreateAccessKeyRequest { user_name } = req;
    let user = identity::user_or_own(tx, user_name.as_deref())?;
    if tx.list::<UserKey>().iter().filter(|key| key.user == user.id).count() >= KEYS_MAX {
        return Err(identity::over_quota("AccessKeysPerUser", KEYS_MAX));
    }
    let id = format!("AKIA{}", identity::letters(tx.random::<16>()));
    let secret = BASE64_STANDARD_NO_PAD.encode(tx.random::<30>());
    let (home, created) = (tx.home().clone(), tx.now());
    tx.put(UserKey { home, id: id.clone(), secret: secret.clone(), user: user.id, active: true, created, used: None });
    let key = iam::AccessKey {
        user_name: Some(user.about.name),
        access_key_id: Some(id),
        status: Some("Active".into()),
        secret_access_key: Some(secret),
        create_date: identity::time(created),
    };
    Ok(iam::CreateAccessKeyResponse { access_key: Some(key) })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn a_user_has_two_at_most() {
        let mut cloud = Cloud::new();
        let mut acme = cloud.tenant("acme");
        let user = [("UserName", "u")];
        assert!(acme.iam("CreateAccessKey", &user).expect_err("nobody").starts_with("NoSuchEntity"));
        assert!(acme.iam("CreateAccessKey", &[]).expect_err("is no user").starts_with("ValidationError"));
        acme.iam("CreateUser", &user).expect("creates");
        for _ in 0..2 {
            let made = acme.iam("CreateAccessKey", &user).expect("creates");
            assert_eq!(
                (Cloud::ids(&made, "AccessKeyId")[0].len(), Cloud::ids(&made, "SecretAccessKey")[0].len()),
                (20, 40)
            );
        }
        let refusal = acme.iam("CreateAccessKey", &user).expect_err("two are enough");
        assert_eq!(refusal, "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2");
    }
}
