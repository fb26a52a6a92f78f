//! The master keys of this host, and the keys of volumes that follow from them.
//!
//! **Invariants.** A volume's key is made where a file is about to be opened, and is in memory only: no record, plan, log
//! or command line has it. Who has a store and no master key, or a master key and no store, has no key.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use awan_model::key::SealedKey;
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;

use crate::volume::luks::{Luks, random};

/// As many lines are read of a file of master keys.
const KEYS_MAX: usize = 64;

/// What is to be written in a line: 256 bits.
const DIGITS: usize = 64;

/// Those of a file, one to a line in hexadecimal digits. The first makes the keys of new volumes; the others were first
/// before.
#[derive(Clone, Default)]
pub struct MasterKeys {
    file: PathBuf,
    keys: Vec<(String, [u8; 32])>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|(name, _)| name).collect();
        f.debug_struct("MasterKeys").field("file", &self.file).field("names", &names).finish_non_exhaustive()
    }
}

impl MasterKeys {
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Option<Vec<_>> = lines.take(KEYS_MAX).map(parsed).collect();
        let keys = keys.filter(|keys| !keys.is_empty());
        // What is in it is no text of a message.
        let keys =
            keys.with_context(|| format!("{} holds no master key: {DIGITS} hexadecimal digits", file.display()))?;
        let named = keys.into_iter().map(|key| (name(&key), key)).collect();
        Ok(Self { file: file.to_owned(), keys: named })
    }

    /// Reads a file, or makes it with a new key where there is none.
    pub fn read_or_make(file: &Path) -> Result<Self> {
        let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(file);
        match opened {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Self::read(file),
            Err(e) => return Err(e).with_context(|| format!("making {}", file.display())),
            Ok(mut out) => {
                let key: [u8; 32] = random()?;
                let written = writeln!(out, "{}", hex(&key)).and_then(|()| out.sync_all());
                // Half a key must not be taken for none.
                written.inspect_err(|_| drop(std::fs::remove_file(file))).context("writing a master key")?;
                if let Some(folder) = file.parent() {
                    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).context("keeping a master key")?;
                }
            }
        }
        Self::read(file)
    }

    /// Theirs; the first is used for new volumes.
    pub fn names(&self) -> Vec<String> {
        self.keys.iter().map(|(name, _)| name.clone()).collect()
    }

    /// `None`: it is not encrypted.
    pub fn opens(&self, sealed: Option<&SealedKey>) -> Result<Option<Key>> {
        sealed.map(|sealed| self.key(sealed)).transpose()
    }

    pub fn key(&self, sealed: &SealedKey) -> Result<Key> {
        let SealedKey { master, of, seed } = sealed;
        let Some((_, key)) = self.keys.iter().find(|(name, _)| name == master) else {
            let known: Vec<_> = self.keys.iter().map(|(name, _)| name.as_str()).collect();
            let (known, file) = (known.join(", "), self.file.display());
            let why = format!(
                "the key of {of} needs the master key {master}, which this host does not have: {file} has {known:?}"
            );
            return Err(Missing(why).into());
        };
        Ok(Key(mac(key, &[b"volume ", of.as_bytes(), b"\0", seed])))
    }
}

/// There is no such master key. It may be there again.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

fn parsed(line: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if line.len() != DIGITS || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (n, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&line[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(key)
}

/// It tells nothing of the key.
fn name(key: &[u8; 32]) -> String {
    hex(&mac(key, &[b"name"])[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key has any length");
    parts.iter().fold(mac.chain_update(b"awan "), Mac::chain_update).finalize().into_bytes().into()
}

/// What opens the files of one volume.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// As QEMU takes it: a text.
    pub fn passphrase(&self) -> String {
        hex(&self.0)
    }

    /// A header for a new file that it opens.
    pub fn luks(&self) -> Result<Luks> {
        Luks::new(self.passphrase().as_bytes())
    }

    /// A file of its own in memory, for a program that inherits it and opens it by its number.
    pub fn file(&self) -> Result<std::os::fd::OwnedFd> {
        let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
        let made = nix::sys::memfd::memfd_create(c"key", flags).context("making a file in memory")?;
        let mut file = std::fs::File::from(made);
        file.write_all(self.passphrase().as_bytes())?;
        Ok(file.into())
    }
}

/// The keys of a disk's files, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    pub keys: Vec<Key>,
    of: Vec<Option<usize>>,
}

impl Secrets {
    pub fn of(files: &[Option<Key>]) -> Self {
        let mut secrets = Self::default();
        for key in files {
            let at = key.as_ref().map(|key| {
                secrets.keys.iter().position(|known| known == key).unwrap_or_else(|| {
                    secrets.keys.push(key.clone());
                    secrets.keys.len() - 1
                })
            });
            secrets.of.push(at);
        }
        secrets
    }

    /// Which of them opens a file; `None`: it is not encrypted.
    pub fn of_file(&self, n: usize) -> Option<usize> {
        self.of.get(n).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(master: &str, of: &str) -> SealedKey {
        SealedKey { master: master.into(), of: of.into(), seed: [7; 32] }
    }

    #[test]
    fn a_key_follows_from_its_master_its_volume_and_its_seed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("master.key");
        std::fs::write(&file, format!("# of 2026\n{}\n{}\n", "0b".repeat(32), "01".repeat(32))).expect("writes");
        let keys = MasterKeys::read(&file).expect("reads");
        let (new, old) = (keys.keys[0].0.clone(), keys.keys[1].0.clone());
        assert_eq!(keys.names(), [new.clone(), old.clone()]);
        // As Python's hmac computes them.
        assert_eq!(new, "ab2b50de");
        let one = keys.key(&sealed(&new, "vol-1")).expect("a key");
        assert_eq!(one.passphrase(), "691e44519a1a579e5119647872566dd6c759eebd97dd95b62adf519be5be9572");
        let other = SealedKey { seed: [8; 32], ..sealed(&new, "vol-1") };
        for other in [sealed(&old, "vol-1"), sealed(&new, "vol-2"), other] {
            assert_ne!(keys.key(&other).expect("a key"), one);
        }
        let refusal = keys.key(&sealed("beefbeef", "vol-1")).expect_err("is not there").to_string();
        assert!(refusal.contains("needs the master key beefbeef, which this host does not have"), "{refusal}");
        assert!(!format!("{keys:?} {one:?}").contains("0b0b") && !format!("{one:?}").contains(&one.passphrase()[..4]));
    }

    #[test]
    fn a_file_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("master.key");
        let made = MasterKeys::read_or_make(&file).expect("makes");
        assert_eq!(std::fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKeys::read_or_make(&file).expect("reads").names(), made.names());
        for wrong in ["", "# nothing\n", "abcd\n", &"zz".repeat(32), &format!("{}\nhalf\n", "01".repeat(32))] {
            std::fs::write(&file, wrong).expect("writes");
            let refusal = MasterKeys::read_or_make(&file).expect_err("is no key").to_string();
            assert!(refusal.contains("holds no master key"), "{refusal}");
        }
    }
}
