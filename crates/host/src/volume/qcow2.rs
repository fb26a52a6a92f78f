//! Volumes as qcow2 files: copy-on-write children of images.
//!
//! **Invariants.** Formats are given, never guessed. A file appears under its name only when it is whole. What tenants
//! name never becomes a path: only ids do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::Home;
use awan_model::id::{ImageId, VolumeId};
use awan_model::plan::VolumePlan;
use awan_model::report::VolumeSeen;
use tokio::process::Command;

use crate::driver::{BlockDevice, Fut, Volumes};

const CREATE_WITHIN: Duration = Duration::from_secs(60);
const GIB: u64 = 1 << 30;

pub struct FileVolumes {
    folder: PathBuf,
    images: PathBuf,
}

impl FileVolumes {
    pub fn new(folder: PathBuf, images: PathBuf) -> Result<Arc<Self>> {
        for path in [&folder, &images] {
            std::fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        }
        // What tenants write is nobody else's to read, whoever may enter the folder above.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to others", folder.display()))?;
        let volumes = Self { folder, images };
        volumes.sweep()?;
        Ok(Arc::new(volumes))
    }

    /// Removes what an interrupted creation left.
    fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "new") {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn path(&self, id: &VolumeId) -> PathBuf {
        self.folder.join(format!("{id}.qcow2"))
    }

    fn image(&self, id: &ImageId) -> PathBuf {
        self.images.join(id.as_str()).join("disk.qcow2")
    }

    async fn make(&self, volume: &VolumePlan) -> Result<BlockDevice> {
        let path = self.path(&volume.id);
        let backing: Vec<PathBuf> = volume.image.iter().map(|image| self.image(image)).collect();
        let bytes = u64::from(volume.size_gib) * GIB;
        if path.exists() {
            grow(&path, bytes).await?;
        } else {
            let new = path.with_extension("new");
            create(&new, backing.first(), bytes).await?;
            // A name must not survive a power failure that its content does not.
            let file = tokio::fs::File::open(&new).await?;
            file.sync_all().await.with_context(|| format!("writing {}", new.display()))?;
            std::fs::rename(&new, &path).with_context(|| format!("naming {}", path.display()))?;
        }
        let size_gib = u32::try_from(virtual_size(&path)? / GIB).unwrap_or(u32::MAX);
        Ok(BlockDevice { volume: volume.id.clone(), path, format: "qcow2", backing, size_gib })
    }

    fn list(&self) -> Result<Vec<VolumeSeen>> {
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let named = path.extension().is_some_and(|e| e == "qcow2").then(|| stem.parse().ok()).flatten();
            if let Some(id) = named {
                // One broken file must not hide the others; whoever wants to use it is told.
                let size = virtual_size(&path).unwrap_or_else(|e| {
                    tracing::error!(volume = %id, error = format!("{e:#}"), "a volume cannot be read");
                    0
                });
                // Whose it is and how large it is meant to be, the plan knows.
                let size_gib = u32::try_from(size / GIB).unwrap_or(u32::MAX);
                seen.push(VolumeSeen { home: Home::installation(), id, size_gib });
            }
        }
        seen.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(seen)
    }
}

/// From the header of a file that this program made: bytes 24 to 31, big endian (QEMU: docs/interop/qcow2.txt).
fn virtual_size(path: &Path) -> Result<u64> {
    use std::io::Read as _;
    let mut header = [0; 32];
    let mut file = std::fs::File::open(path)?;
    file.read_exact(&mut header).with_context(|| format!("reading the header of {}", path.display()))?;
    if header[..4] != *b"QFI\xfb" {
        bail!("{} is not qcow2", path.display());
    }
    let (_, size) = header.split_at(24);
    Ok(u64::from_be_bytes(size.try_into().context("eight bytes")?))
}

async fn create(path: &Path, backing: Option<&PathBuf>, bytes: u64) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]);
    if let Some(image) = backing {
        if !image.is_file() {
            bail!("the image {} is not on this host", image.display());
        }
        command.args(["-F", "qcow2", "-b"]).arg(image);
    }
    run(command.arg(path).arg(bytes.to_string())).await
}

async fn grow(path: &Path, bytes: u64) -> Result<()> {
    if virtual_size(path)? >= bytes {
        return Ok(());
    }
    run(Command::new("qemu-img").args(["resize", "-q", "-f", "qcow2"]).arg(path).arg(bytes.to_string())).await
}

async fn run(command: &mut Command) -> Result<()> {
    let output = tokio::time::timeout(CREATE_WITHIN, command.kill_on_drop(true).output());
    let output = output.await.context("qemu-img took too long")?.context("starting qemu-img")?;
    if output.status.success() { Ok(()) } else { bail!("qemu-img: {}", String::from_utf8_lossy(&output.stderr).trim()) }
}

impl Volumes for FileVolumes {
    fn observe(&self) -> Fut<'_, Result<Vec<VolumeSeen>>> {
        Box::pin(async { self.list() })
    }

    fn ensure<'a>(&'a self, volume: &'a VolumePlan) -> Fut<'a, Result<BlockDevice>> {
        Box::pin(self.make(volume))
    }

    fn release<'a>(&'a self, id: &'a VolumeId) -> Fut<'a, Result<()>> {
        Box::pin(async {
            match std::fs::remove_file(self.path(id)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
                _ => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    async fn a_volume_is_made_grown_listed_and_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let mut plan = VolumePlan {
            home: Home::new("1", "r"),
            id: "vol-00000000000000001".parse().expect("an id"),
            size_gib: 1,
            image: None,
        };
        if Command::new("qemu-img").arg("--version").output().await.is_err() {
            eprintln!("skipped: there is no qemu-img");
            return;
        }
        for size_gib in [1, 3, 2] {
            plan.size_gib = size_gib;
            volumes.ensure(&plan).await.expect("ensures");
        }
        let seen = volumes.observe().await.expect("lists");
        assert_eq!(seen.iter().map(|v| v.size_gib).collect::<Vec<_>>(), [3], "a volume never shrinks");
        volumes.release(&plan.id).await.expect("deletes");
        volumes.release(&plan.id).await.expect("it is gone, which is fine");
        assert_eq!(volumes.observe().await.expect("lists"), []);
    }

    #[test]
    fn nobody_else_enters_the_folder_of_volumes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("v");
        std::fs::create_dir(&path).expect("makes");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("opens to all");
        FileVolumes::new(path.clone(), folder.path().join("i")).expect("opens");
        assert_eq!(std::fs::metadata(path).expect("is there").permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn an_image_that_is_not_here_makes_no_volume() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let plan = VolumePlan {
            home: Home::new("1", "r"),
            id: "vol-00000000000000001".parse().expect("an id"),
            size_gib: 1,
            image: Some("ami-00000000000000001".parse().expect("an id")),
        };
        assert!(volumes.ensure(&plan).await.is_err());
        assert_eq!(volumes.observe().await.expect("lists"), []);
    }

    #[tokio::test]
    async fn a_broken_volume_is_listed_and_never_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let volumes = FileVolumes::new(folder.path().join("v"), folder.path().join("i")).expect("opens");
        let id: VolumeId = "vol-00000000000000001".parse().expect("an id");
        std::fs::write(volumes.path(&id), vec![b'x'; 4096]).expect("writes");
        let plan = VolumePlan { home: Home::new("1", "r"), id: id.clone(), size_gib: 1, image: None };
        assert!(volumes.ensure(&plan).await.is_err(), "what it holds is not guessed");
        let seen = volumes.observe().await.expect("lists");
        assert_eq!(seen.iter().map(|v| (&v.id, v.size_gib)).collect::<Vec<_>>(), [(&id, 0)]);
    }
}
