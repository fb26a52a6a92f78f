//! Session tokens of the metadata service: sealed, so that nothing is kept, and good for one run of one instance.

use std::path::Path;

use anyhow::{Context as _, Result};
use awan_model::id::InstanceId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub const TTL_MAX: u64 = 21_600;

pub struct Sealer([u8; 32]);

impl Sealer {
    pub fn open(path: &Path) -> Result<Self> {
        if let Ok(bytes) = std::fs::read(path)
            && let Ok(key) = bytes.try_into()
        {
            return Ok(Self(key));
        }
        let key: [u8; 32] = rand::random();
        write(path, &key).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(key))
    }

    fn mac(&self, id: &InstanceId, run: u32, expires: u64) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id} {run} {expires}").as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// `now` and `ttl` in seconds.
    pub fn seal(&self, id: &InstanceId, run: u32, now: u64, ttl: u64) -> String {
        let expires = now + ttl;
        let mut bytes = expires.to_be_bytes().to_vec();
        bytes.extend(self.mac(id, run, expires));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// How long the token is good yet; none if it never was, or no longer is.
    pub fn left(&self, id: &InstanceId, run: u32, now: u64, token: &str) -> Option<u64> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok().filter(|b| b.len() == 40)?;
        let (time, mac) = bytes.split_at(8);
        let expires = u64::from_be_bytes(time.try_into().ok()?);
        let good = self.mac(id, run, expires);
        // All bytes are looked at, so that time tells nothing.
        let same = mac.iter().zip(good).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        expires.checked_sub(now).filter(|left| same && *left > 0)
    }
}

fn write(path: &Path, key: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_run_of_one_instance_to_the_second() {
        let sealer = Sealer([7; 32]);
        let id: InstanceId = "i-00000000000000001".parse().expect("an id");
        let other: InstanceId = "i-00000000000000002".parse().expect("an id");
        let token = sealer.seal(&id, 1, 1000, 60);
        assert_eq!(sealer.left(&id, 1, 1000, &token), Some(60));
        assert_eq!(sealer.left(&id, 1, 1059, &token), Some(1));
        assert_eq!(sealer.left(&id, 1, 1060, &token), None);
        assert_eq!(sealer.left(&id, 2, 1000, &token), None);
        assert_eq!(sealer.left(&other, 1, 1000, &token), None);
        assert_eq!(Sealer([8; 32]).left(&id, 1, 1000, &token), None);
        for bad in ["", "x", &token[..20], &format!("{token}A")] {
            assert_eq!(sealer.left(&id, 1, 1000, bad), None, "{bad}");
        }
    }
}
