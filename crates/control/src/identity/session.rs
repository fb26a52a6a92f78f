//! Temporary credentials: a key, a secret and a token that says, sealed, whose they are and until when.
//!
//! **Invariant:** nothing is stored. The token is sealed with the installation's key, and the secret follows from it, so
//! nobody can change what a token says or make one.

use awan_state::Millis;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// `ASIA…`
    pub key: String,
    pub account: String,
    /// The ARN under which its requests come.
    pub principal: String,
    /// The unique id of the user or role; empty for the account itself. With it goes whatever was issued for it.
    pub unique_id: String,
    pub expires: Millis,
}

pub struct Credentials {
    pub key: String,
    pub secret: String,
    pub token: String,
    pub expires: Millis,
}

const SECRET: &[u8] = b"awan session secret\n";
const TOKEN: &[u8] = b"awan session token\n";
const MAC: usize = 32;

pub fn issue(seal: &[u8; 32], session: &Session) -> Credentials {
    let said = serde_json::to_vec(session).expect("a session is plain data");
    let mut sealed = mac(seal, TOKEN, &said).to_vec();
    sealed.extend(&said);
    Credentials {
        key: session.key.clone(),
        secret: secret(seal, &said),
        token: BASE64_STANDARD.encode(sealed),
        expires: session.expires,
    }
}

/// What a token of this installation says, and the secret that goes with it.
pub fn open(seal: &[u8; 32], token: &str) -> Option<(Session, String)> {
    let sealed = BASE64_STANDARD.decode(token).ok()?;
    let (claimed, said) = sealed.split_at_checked(MAC)?;
    authenticator(seal, TOKEN, said).verify_slice(claimed).ok()?;
    Some((serde_json::from_slice(said).ok()?, secret(seal, said)))
}

/// Forty characters, as secrets have.
fn secret(seal: &[u8; 32], said: &[u8]) -> String {
    BASE64_STANDARD.encode(&mac(seal, SECRET, said)[..30])
}

fn authenticator(seal: &[u8; 32], purpose: &[u8], said: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(seal).expect("HMAC takes keys of any length");
    mac.update(purpose);
    mac.update(said);
    mac
}

fn mac(seal: &[u8; 32], purpose: &[u8], said: &[u8]) -> [u8; MAC] {
    authenticator(seal, purpose, said).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_as_it_was_issued_and_not_otherwise() {
        let session = Session {
            key: "ASIAEXAMPLE".into(),
            account: "123456789012".into(),
            principal: "arn:aws:sts::123456789012:assumed-role/web/s".into(),
            unique_id: "AROAEXAMPLE".into(),
            expires: 1_795_521_600_000,
        };
        let issued = issue(&[1; 32], &session);
        assert_eq!(issued.secret.len(), 40);
        assert_eq!(open(&[1; 32], &issued.token), Some((session.clone(), issued.secret.clone())));
        assert_eq!(open(&[2; 32], &issued.token), None, "of another installation");
        let other = issue(&[1; 32], &Session { expires: session.expires + 1, ..session });
        assert_ne!(other.secret, issued.secret);
        let bytes = BASE64_STANDARD.decode(&issued.token).expect("is base64");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(open(&[1; 32], &BASE64_STANDARD.encode(changed)), None, "byte {at}");
        }
        for text in ["", "AAAA", "*", "é"] {
            assert_eq!(open(&[1; 32], text), None, "{text}");
        }
    }
}
