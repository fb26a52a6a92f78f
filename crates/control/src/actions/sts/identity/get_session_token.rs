//! GetSessionToken: credentials of the caller's own for a while.

use awan_state::{Tenant, Tx};
use awan_wire::sts;

use super::answer::shown;
use crate::error::{Code, Result, refuse, refuse_if};
use crate::identity::{self, Who};

const SHORTEST_S: i32 = 900;
const USUAL_S: i32 = 12 * 3_600;
const LONGEST_S: i32 = 36 * 3_600;
/// Of the account itself.
const ROOT_S: i32 = 3_600;

pub fn get_session_token(
    tx: &mut Tx<Tenant>,
    req: sts::GetSessionTokenRequest,
) -> Result<sts::GetSessionTokenResponse> {
    // Tokens are short.
    let sts::GetSessionTokenRequest { duration_seconds, serial_number, token_code, minimum_session_token_size: _ } =
        req;
    refuse_if(serial_number.is_some(), "SerialNumber")?;
    refuse_if(token_code.is_some(), "TokenCode")?;
    let principal = tx.principal().to_owned();
    let (unique_id, most) = match identity::who(&principal) {
        Who::Session { .. } => {
            return Err(refuse(Code::AccessDenied, "Cannot call GetSessionToken with session credentials"));
        }
        Who::User { .. } => (identity::caller_id(tx), LONGEST_S),
        Who::Root => (String::new(), ROOT_S),
    };
    let seconds = duration_seconds.unwrap_or(USUAL_S.min(most));
    if !(SHORTEST_S..=LONGEST_S).contains(&seconds) {
        return Err(identity::invalid("DurationSeconds must be between 900 and 129600"));
    }
    let credentials = identity::temporary(tx, principal, unique_id, seconds.min(most));
    Ok(sts::GetSessionTokenResponse { credentials: Some(shown(credentials)), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use crate::testing::Cloud;

    #[test]
    fn the_account_gets_an_hour() {
        let mut cloud = Cloud::new();
        let told = cloud.tenant("acme").sts("GetSessionToken").expect("answers");
        assert!(Cloud::ids(&told, "AccessKeyId")[0].starts_with("ASIA"), "{told}");
        assert_eq!(Cloud::ids(&told, "Expiration"), ["2026-11-24T13:00:00.000Z"]);
        for (name, value, code) in
            [("DurationSeconds", "1", "ValidationError"), ("TokenCode", "123456", "UnsupportedOperation")]
        {
            let refusal = cloud.tenant("acme").sts_with("GetSessionToken", &[(name, value)]).expect_err(name);
            assert!(refusal.starts_with(code), "{refusal}");
        }
    }
}
