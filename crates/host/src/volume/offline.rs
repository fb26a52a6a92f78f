//! Disks as `qemu-img` and its like open them, which no machine has open.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use anyhow::Result;
use tokio::process::Command;

use crate::driver::BlockDevice;
use crate::keys::Secrets;

/// A disk as `qemu-img` opens it, which inherits what opens the files: so no key is on a command line.
pub fn opened(command: &mut Command, device: &BlockDevice) -> Result<(serde_json::Value, Vec<OwnedFd>)> {
    let secrets = Secrets::of(&device.keys);
    let mut held = Vec::new();
    for (n, key) in secrets.keys.iter().enumerate() {
        let file = key.file()?;
        let at = format!("/proc/self/fd/{}", file.as_raw_fd());
        command.arg("--object");
        command.arg(serde_json::json!({"qom-type": "secret", "id": format!("key{n}"), "file": at}).to_string());
        held.push(file);
    }
    let inherited: Vec<_> = held.iter().map(AsRawFd::as_raw_fd).collect();
    #[expect(unsafe_code, reason = "a descriptor stays open only in this child")]
    // SAFETY: one system call for each descriptor; no lock is taken and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let keep = |fd: &RawFd| {
                if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            };
            inherited.iter().try_for_each(keep)
        });
    }
    let mut disk = serde_json::Value::Null;
    let files: Vec<_> = std::iter::once(&device.path).chain(&device.backing).collect();
    for (n, path) in files.into_iter().enumerate().rev() {
        disk = serde_json::json!({"driver": "qcow2", "backing": disk, "file": {"driver": "file", "filename": path}});
        if let Some(key) = secrets.of_file(n) {
            disk["encrypt"] = serde_json::json!({"format": "luks", "key-secret": format!("key{key}")});
        }
    }
    Ok((disk, held))
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// What `qemu-io` says of a disk.
    pub async fn io(device: &BlockDevice, command: &str) -> String {
        let mut qemu_io = Command::new("qemu-io");
        let (disk, _secrets) = opened(&mut qemu_io, device).expect("holds the keys");
        let output = qemu_io.args(["-c", command]).arg(format!("json:{disk}")).output().await.expect("runs");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use awan_model::Home;
    use awan_model::id::{ImageId, VolumeId};
    use awan_model::import::Taken;
    use awan_model::key::SealedKey;
    use awan_model::plan::{EncryptionPlan, LayerPlan, VolumePlan};

    use super::super::luks;
    use super::super::qcow2::FileVolumes;
    use super::testing::io;
    use super::*;
    use crate::driver::Volumes as _;
    use crate::keys::MasterKeys;

    const VOLUME: &str = "vol-00000000000000001";

    fn layer(n: u32) -> ImageId {
        ImageId::made(format!("ami-{n:017x}"))
    }

    /// A volume of which these layers were kept, or which began as another's.
    fn planned(key: &SealedKey, began: Option<(u32, &SealedKey)>, layers: &[u32], size_gib: u32) -> VolumePlan {
        let one = |n: &u32| LayerPlan { id: layer(*n), generation: *n, kept: false, volume_gib: Some(1) };
        let below = began.map(|(n, key)| (layer(n), key.clone())).into_iter().collect();
        VolumePlan {
            image: began.map(|(n, _)| layer(n)),
            layers: layers.iter().map(one).collect(),
            encryption: Some(EncryptionPlan { key: key.clone(), below }),
            ..VolumePlan::empty(Home::new("1", "r"), key.of.parse().expect("an id"), size_gib)
        }
    }

    fn sealed(keys: &MasterKeys, of: &str) -> SealedKey {
        SealedKey { master: keys.names().swap_remove(0), of: of.into(), seed: luks::random().expect("is random") }
    }

    /// All files below a folder that hold some bytes.
    fn holding(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).expect("reads").flatten() {
            if entry.file_type().expect("is there").is_dir() {
                found.extend(holding(&entry.path(), needle));
            } else if std::fs::read(entry.path()).expect("reads").windows(needle.len()).any(|bytes| bytes == needle) {
                found.push(entry.path());
            }
        }
        found
    }

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn what_is_written_to_an_encrypted_volume_is_on_the_disk_for_nobody_without_its_key() {
        if Command::new("qemu-img").arg("--version").output().await.is_err() {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (at, file) = (folder.path().join("d"), folder.path().join("master.key"));
        let open = || {
            let keys = MasterKeys::read_or_make(&file).expect("a key");
            FileVolumes::with_keys(at.join("v"), at.join("i"), keys).expect("opens")
        };
        let volumes = open();
        let keys = MasterKeys::read(&file).expect("reads");
        let key = sealed(&keys, VOLUME);
        let encrypted = |layers: &[u32], size_gib| planned(&key, None, layers, size_gib);
        let taken = |n: u32, below: Option<u32>| {
            let (volume, key) = (VOLUME.parse().expect("an id"), Some(key.clone()));
            Taken { volume, below: below.map(layer), generation: n, set: layer(n), volume_gib: 1, key }
        };
        let canary: String = (0..600).map(|n| format!("canary {n:>4} ")).collect();
        let written = folder.path().join("canary");
        std::fs::write(&written, &canary).expect("writes");
        let write = |at: &str| format!("write -s {} {at} 6k", written.display());
        let first = volumes.ensure(&encrypted(&[], 1)).await.expect("makes");
        assert!(io(&first, &write("1M")).await.contains("wrote 6144"));
        // The second is nothing yet when it is kept; the volume then grows, with nobody at it.
        volumes.keep(&layer(1), &taken(1, None)).await.expect("keeps");
        volumes.keep(&layer(2), &taken(2, Some(1))).await.expect("keeps");
        volumes.ensure(&encrypted(&[1, 2], 1)).await.expect("goes on");
        let grown = volumes.ensure(&encrypted(&[1, 2], 2)).await.expect("grows");
        assert_eq!((grown.size_gib, grown.backing.len()), (2, 2));
        assert!(io(&grown, &write("1536M")).await.contains("wrote 6144"));
        // A volume of the first snapshot has a key of its own, and needs the other's.
        let own = sealed(&keys, "vol-00000000000000002");
        let child = planned(&own, Some((1, &key)), &[], 1);
        let child = volumes.ensure(&child).await.expect("makes");
        assert!(io(&child, &write("2M")).await.contains("wrote 6144"));
        assert_ne!(child.keys[0], child.keys[1]);
        for (device, at) in [(&grown, "1M"), (&grown, "1536M"), (&child, "1M"), (&child, "2M")] {
            let said = io(device, &format!("read -v {at} 64")).await;
            assert!(said.contains("canary....0.cana"), "{said}");
        }
        // All that QEMU counts of the files is as it should be.
        for device in [&grown, &child] {
            let mut check = Command::new("qemu-img");
            check.args(["check", "-q"]);
            let (disk, _secrets) = opened(&mut check, device).expect("holds the keys");
            let output = check.arg(format!("json:{disk}")).output().await.expect("runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let keys = [grown.keys[0].clone().expect("a key"), child.keys[0].clone().expect("a key")];
        let passphrases = keys.map(|key| key.passphrase());
        let absent = [b"canary    0".as_slice(), passphrases[0].as_bytes(), passphrases[1].as_bytes()];
        for needle in absent {
            assert_eq!(holding(&at, needle), Vec::<PathBuf>::new());
        }
        assert_eq!(holding(folder.path(), absent[0]).len(), 1, "what is looked for is found");
        // Another key opens nothing, and no key opens nothing.
        let wrong = BlockDevice { keys: vec![child.keys[0].clone(); 3], ..grown.clone() };
        assert!(io(&wrong, "read 1M 1").await.contains("Invalid password, cannot unlock any keyslot"));
        let none = BlockDevice { keys: Vec::new(), ..grown };
        assert!(!io(&none, "read 1M 1").await.contains("read 1/1"));
        // A host with another master key says so, and has all else.
        std::fs::remove_file(&file).expect("loses it");
        let volumes = open();
        let refusal = volumes.ensure(&encrypted(&[1, 2], 2)).await.expect_err("has no key").to_string();
        assert!(refusal.contains(&format!("the key of {VOLUME} needs the master key {}", key.master)), "{refusal}");
        let id: VolumeId = "vol-00000000000000003".parse().expect("an id");
        volumes.ensure(&VolumePlan::empty(Home::new("1", "r"), id, 1)).await.expect("needs none");
    }
}
