//! The images that everybody sees: built on the machine from its distribution's packages, or brought here by the operator;
//! named by their content.

pub mod bring;
pub mod known;
pub mod removal;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_control::operator::Builtin;
use awan_host::import::jail;
use awan_model::id::ImageId;
use awan_model::image::Boot;
use awan_model::import::Format;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Makes the tiny image. Runs as it stands: `images/tiny/build.sh OUTDIR CACHEDIR`.
const BUILD_TINY: &str = include_str!("../../../images/tiny/build.sh");
/// Makes one of Debian: `images/debian/build.sh RELEASE OUTDIR`.
const BUILD_DEBIAN: &str = include_str!("../../../images/debian/build.sh");
/// Both read it.
const DISK_PARTS: &str = include_str!("../../../images/disk.sh");
const DEBIAN_WITHIN: Duration = Duration::from_secs(60 * 60);
const BUILD_WITHIN: Duration = Duration::from_secs(300);
const DESCRIPTION: &str = "A few megabytes of Linux: DHCP, IMDSv2, SSH keys, user data, growing root, ACPI";

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    name: String,
    #[serde(default)]
    description: Option<String>,
    sha256: String,
    virtual_size_bytes: u64,
    /// Its kernel's, which lies beside the disk; without one, firmware starts what the disk holds.
    #[serde(default)]
    cmdline: Option<String>,
}

/// What the simulated hypervisor pretends to run.
pub fn simulated() -> Builtin {
    Builtin {
        name: "awan-tiny-simulated".into(),
        description: DESCRIPTION.into(),
        digest: "51a7ed00000000000000000000000001".into(),
        size_gib: 1,
        boot: Boot::Firmware,
    }
}

/// The file of an image that its digest is of.
pub const DISK: &str = "disk.qcow2";

pub fn read(folder: &Path) -> Result<Builtin> {
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let manifest: Manifest = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    if manifest.sha256.len() != 64 || !manifest.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        bail!("{}: sha256 is no digest", path.display());
    }
    Ok(Builtin {
        name: manifest.name,
        description: manifest.description.unwrap_or_else(|| DESCRIPTION.into()),
        digest: manifest.sha256,
        size_gib: u32::try_from(manifest.virtual_size_bytes.div_ceil(1 << 30)).unwrap_or(1).max(1),
        boot: manifest.cmdline.map_or(Boot::Firmware, |command_line| Boot::Direct { command_line }),
    })
}

/// The images that lie here, each in a folder with its id for a name.
pub fn present(images: &Path) -> Result<Vec<Builtin>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(images).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("ami-") && entry.path().join("manifest.json").exists() {
            found.push(read(&entry.path())?);
        }
    }
    Ok(found)
}

#[derive(Debug, clap::Args)]
pub struct ReadDisk {
    format: String,
    #[arg(long)]
    size: Option<u64>,
    #[arg(long)]
    user: Option<u32>,
}

impl ReadDisk {
    pub fn serve(&self) -> ExitCode {
        let format = Format::ALL.into_iter().find(|format| format.as_str() == self.format);
        let done = format.is_some_and(|format| jail::serve(format, self.size, self.user));
        if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Builds the tiny image, if there is none.
pub async fn ensure_tiny(images: &Path, cache: &Path) -> Result<()> {
    std::fs::create_dir_all(images).with_context(|| format!("making {}", images.display()))?;
    if present(images)?.iter().any(|i| i.name.starts_with("awan-tiny-")) {
        return Ok(());
    }
    tracing::info!("building the tiny image from the distribution's packages");
    let folder = images.join("new");
    let _ = std::fs::remove_dir_all(&folder);
    build(&folder, cache).await?;
    let image = read(&folder)?;
    let place: PathBuf = images.join(image.id().as_str());
    std::fs::rename(&folder, &place).with_context(|| format!("naming {}", place.display()))?;
    tracing::info!(image = %image.id(), name = image.name, "built");
    Ok(())
}

/// Writes the scripts down as they lie in the source, since one reads the other.
fn scripts() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("a folder for the scripts")?;
    for (path, text) in [("disk.sh", DISK_PARTS), ("tiny/build.sh", BUILD_TINY), ("debian/build.sh", BUILD_DEBIAN)] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().context("a script lies in a folder")?)?;
        std::fs::write(path, text)?;
    }
    Ok(folder)
}

async fn build(folder: &Path, cache: &Path) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    let scripts = scripts()?;
    let mut command = Command::new("sh");
    command.arg(scripts.path().join("tiny/build.sh")).arg(folder).arg(cache);
    run(command, BUILD_WITHIN).await.context("building the tiny image")
}

/// Builds an image of Debian, and says what it is called. Takes minutes.
pub async fn build_debian(release: &str, images: &Path) -> Result<(ImageId, bool)> {
    let (scripts, place) = (scripts()?, removal::work_in(images)?);
    let folder = place.path().join("image");
    let mut command = Command::new("sh");
    command.arg(scripts.path().join("debian/build.sh")).arg(release).arg(&folder);
    run(command, DEBIAN_WITHIN).await.with_context(|| format!("building Debian {release}"))?;
    bring::keep(&folder, images)
}

/// A program and all whom it starts, who end with this.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// What goes wrong is told with the last that was said.
async fn run(mut command: Command, within: Duration) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let child = command.spawn()?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    let mut terminated = signal(SignalKind::terminate())?;
    let output = tokio::select! {
        output = tokio::time::timeout(within, child.wait_with_output()) => output.context("it took too long")??,
        _ = tokio::signal::ctrl_c() => bail!("it was interrupted"),
        _ = terminated.recv() => bail!("it was ended"),
    };
    if output.status.success() {
        // None of them is left whom others could be taken for.
        group.0 = None;
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<_> = said.lines().rev().take(5).collect();
    bail!("{}", last.into_iter().rev().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_ends_with_all_whom_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("pid");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", told.display()));
        let ended = run(command, Duration::from_millis(500)).await.expect_err("is too slow");
        assert_eq!(ended.to_string(), "it took too long");
        let pid = std::fs::read_to_string(&told).expect("it had begun");
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            // One that nobody has buried yet is no more.
            stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
        };
        let gone = async {
            while is_alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("is gone");
    }
}
