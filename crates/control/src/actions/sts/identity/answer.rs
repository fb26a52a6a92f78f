//! Temporary credentials as STS shows them.

use awan_wire::shape::Timestamp;
use awan_wire::sts;

use crate::identity::session::Credentials;

pub fn shown(credentials: Credentials) -> sts::Credentials {
    let Credentials { key, secret, token, expires } = credentials;
    sts::Credentials {
        access_key_id: Some(key),
        secret_access_key: Some(secret),
        session_token: Some(token),
        expiration: i64::try_from(expires / 1000 * 1000).ok().map(Timestamp),
    }
}
