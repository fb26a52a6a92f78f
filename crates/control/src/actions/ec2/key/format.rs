//! Keys: making them, reading them, and EC2's four fingerprints.
//!
//! Source: "Amazon EC2 key pairs": a created RSA key is known by the SHA-1 of its private key (PKCS #8, DER), an imported
//! one by the MD5 of its public key (DER); ED25519 keys by the SHA-256 of the public key, as OpenSSH prints it.

use md5::Md5;
use sha1::{Digest as _, Sha1};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

use crate::error::{Code, Error, Result, refuse};

pub const RSA_BITS: usize = 2048;
const RSA_BITS_IMPORTED: std::ops::RangeInclusive<usize> = 1024..=16384;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub kind: &'static str,
    pub private_pem: String,
    pub public_line: String,
    pub fingerprint: String,
}

/// Makes a key. Takes seconds for RSA: never inside a transaction.
pub fn make(kind: &str) -> Result<Made> {
    match kind {
        "rsa" => rsa(),
        "ed25519" => ed25519(),
        other => Err(unknown(other)),
    }
}

/// Refuses a kind that [`make`] would refuse.
pub fn known(kind: &str) -> Result<()> {
    if matches!(kind, "rsa" | "ed25519") { Ok(()) } else { Err(unknown(kind)) }
}

fn unknown(kind: &str) -> Error {
    crate::error::invalid_value(kind.chars().take(32).collect::<String>().escape_debug(), "KeyType")
}

fn ed25519() -> Result<Made> {
    let seed: [u8; 32] = rand::random();
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    let key = PrivateKey::from(pair);
    let public = key.public_key();
    Ok(Made {
        kind: "ed25519",
        private_pem: key.to_openssh(LineEnding::LF).map_err(Error::fault)?.to_string(),
        public_line: public.to_openssh().map_err(Error::fault)?,
        fingerprint: sha256(public),
    })
}

fn rsa() -> Result<Made> {
    use rsa::pkcs1::EncodeRsaPrivateKey as _;
    use rsa::pkcs8::EncodePrivateKey as _;
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).map_err(Error::fault)?;
    let pkcs8 = key.to_pkcs8_der().map_err(Error::fault)?;
    let pem = key.to_pkcs1_pem(rsa::pkcs8::LineEnding::LF).map_err(Error::fault)?;
    let pair = ssh_key::private::RsaKeypair::try_from(key).map_err(Error::fault)?;
    Ok(Made {
        kind: "rsa",
        private_pem: pem.to_string(),
        public_line: PublicKey::from(ssh_key::public::RsaPublicKey::from(&pair)).to_openssh().map_err(Error::fault)?,
        fingerprint: colons(&Sha1::digest(pkcs8.as_bytes())),
    })
}

/// Reads a public key that somebody brings: kind, line without comment, fingerprint.
pub fn import(text: &str) -> Result<(&'static str, String, String)> {
    let wrong = || refuse(Code::InvalidKeyFormat, "Key is not in valid OpenSSH public key format");
    let mut key = PublicKey::from_openssh(text.trim()).map_err(|_| wrong())?;
    key.set_comment("");
    let line = key.to_openssh().map_err(Error::fault)?.trim().to_owned();
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(("ed25519", line, sha256(&key))),
        Algorithm::Rsa { .. } => Ok(("rsa", line, rsa_fingerprint(&key).ok_or_else(wrong)?)),
        _ => Err(wrong()),
    }
}

fn rsa_fingerprint(key: &PublicKey) -> Option<String> {
    use rsa::pkcs8::EncodePublicKey as _;
    use rsa::traits::PublicKeyParts as _;
    let public = rsa::RsaPublicKey::try_from(key.key_data().rsa()?).ok()?;
    if !RSA_BITS_IMPORTED.contains(&(public.size() * 8)) {
        return None;
    }
    Some(colons(&Md5::digest(public.to_public_key_der().ok()?.as_bytes())))
}

fn sha256(key: &PublicKey) -> String {
    let text = key.fingerprint(HashAlg::Sha256).to_string();
    let hash = text.trim_start_matches("SHA256:");
    // EC2 pads it; OpenSSH does not.
    format!("{hash}{}", "=".repeat((4 - hash.len() % 4) % 4))
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_made_can_be_read_again() {
        for kind in ["rsa", "ed25519"] {
            let made = make(kind).expect("makes a key");
            let (read, line, fingerprint) = import(&made.public_line).expect("reads it");
            assert_eq!((read, line.as_str()), (kind, made.public_line.trim()));
            assert_eq!(made.fingerprint == fingerprint, kind == "ed25519", "RSA's differ by who made the key");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for bad in ["", "ssh-rsa", "ssh-dss AAAA", "ssh-ed25519 AAAA", "-----BEGIN RSA"] {
            assert!(import(bad).is_err(), "{bad}");
        }
    }
}
