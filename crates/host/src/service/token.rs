//! Session tokens of the metadata service: sealed, so that nothing is kept, and good for one run of one instance.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use awan_model::id::InstanceId;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub const TTL_MAX: u64 = 21_600;

const KEY: usize = 32;

pub struct Sealer([u8; KEY]);

impl Sealer {
    /// Makes a secret only where there is none: another one would end every token that guests hold.
    pub fn open(path: &Path) -> Result<Self> {
        let read = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::make(path),
            read => read.with_context(|| format!("reading {}", path.display()))?,
        };
        if let Ok(key) = read.try_into() {
            return Ok(Self(key));
        }
        tracing::warn!(path = %path.display(), "no secret was in the file: guests' metadata tokens end");
        Self::make(path)
    }

    /// Whole or not at all, and readable by nobody else.
    fn make(path: &Path) -> Result<Self> {
        let key: [u8; KEY] = rand::random();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&key)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(Self(key))
    }

    fn mac(&self, id: &InstanceId, run: u32, expires: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("metadata {id} {run} {expires}").as_bytes());
        mac
    }

    /// `now` and `ttl` in seconds.
    pub fn seal(&self, id: &InstanceId, run: u32, now: u64, ttl: u64) -> String {
        let expires = now + ttl;
        let mut bytes = expires.to_be_bytes().to_vec();
        bytes.extend(self.mac(id, run, expires).finalize().into_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// How long the token is good yet; none if it never was, or no longer is.
    pub fn left(&self, id: &InstanceId, run: u32, now: u64, token: &str) -> Option<u64> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (time, mac) = bytes.split_first_chunk::<8>()?;
        let expires = u64::from_be_bytes(*time);
        // All bytes are looked at, so that time tells nothing.
        self.mac(id, run, expires).verify_slice(mac).ok()?;
        expires.checked_sub(now).filter(|left| *left > 0)
    }
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

    #[test]
    fn a_secret_is_made_once_and_kept_to_oneself() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let id: InstanceId = "i-00000000000000001".parse().expect("an id");
        let token = Sealer::open(&path).expect("makes one").seal(&id, 1, 1000, 60);
        assert_eq!(Sealer::open(&path).expect("reads it").left(&id, 1, 1000, &token), Some(60));
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!((mode & 0o777, std::fs::read_dir(folder.path()).expect("a folder").count()), (0o600, 1));
        std::fs::write(&path, "short").expect("a file");
        assert_eq!(Sealer::open(&path).expect("makes another").left(&id, 1, 1000, &token), None);
        assert_eq!(std::fs::read(&path).map(|bytes| bytes.len()).ok(), Some(KEY));
    }
}
