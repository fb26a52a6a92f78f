//! `awan purge`: ends every guest of a data directory and deletes all that it has on the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_host::driver::Stop;
use awan_host::hypervisor::probe::Accelerator;
use awan_host::hypervisor::qemu::{QemuConfig, QemuHypervisor};
use awan_host::network::driver::NetworkDriver;
use clap::Args;

use crate::rootless::Inside;
use crate::{config, lock, node, rootless, serve};

#[derive(Debug, Args)]
pub struct Purge {
    /// The data directory of a server that does not run
    #[arg(long, env = "AWAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// End guests, which may power off first, and remove networks, but keep the data
    #[arg(long)]
    keep_data: bool,
}

/// With `--keep-data`: how long guests may take to power off.
const GRACE: Duration = Duration::from_secs(30);

/// Any of these says that a folder is ours.
const OURS: [&str; 5] = [lock::CONTROL, lock::HOST, "tag", "endpoint", "credentials"];

/// A data directory that nobody else uses now.
pub struct Ready {
    data_dir: PathBuf,
    keep_data: bool,
    _held: Vec<lock::Held>,
    rootless: Option<Inside>,
}

/// None: there is nothing.
pub async fn prepare(purge: Purge) -> Result<Option<Ready>> {
    let data_dir = std::path::absolute(purge.data_dir.unwrap_or_else(config::default_data_dir))?;
    if !data_dir.exists() {
        return Ok(None);
    }
    must_be_ours(&data_dir)?;
    let held = lock::take(&data_dir, &[lock::CONTROL, lock::HOST]).await?;
    Ok(Some(Ready { data_dir, keep_data: purge.keep_data, _held: held, rootless: None }))
}

impl Ready {
    /// To be called while the program has one thread.
    pub fn enter(mut self) -> Result<Self> {
        if !rootless::is_ordinary_user() {
            rootless::must_not_be_here(&self.data_dir)?;
        } else if rootless::was_here(&self.data_dir) || self.data_dir.join("tag").exists() {
            rootless::find_programs();
            self.rootless = Some(rootless::enter(&self.data_dir, false)?);
        }
        Ok(self)
    }
}

pub async fn run(ready: Ready) -> Result<()> {
    let Ready { data_dir, keep_data, _held, rootless } = ready;
    if data_dir.join("tag").exists() {
        serve::must_be_root()?;
        let tag = node::tag(&data_dir)?;
        let _guests = node::take_guests(&node::run_dir(&tag)).await?;
        let accelerator = Accelerator { name: "tcg", cpu: "max", note: String::new() };
        let hypervisor = QemuHypervisor::open(QemuConfig {
            run_dir: node::run_dir(&tag),
            data_dir: data_dir.clone(),
            images: data_dir.join("images"),
            users: rootless.as_ref().map_or_else(|| Some(node::users_of_root(&tag)), |inside| inside.users.clone()),
            tag: tag.clone(),
            accelerator,
            grace: GRACE,
        })?;
        let how = if keep_data { Stop::Graceful } else { Stop::Force };
        hypervisor.purge(how).await.context("ending guests")?;
        NetworkDriver::purge(&tag).context("removing networks")?;
    }
    if rootless.is_some() {
        rootless::leave(&data_dir)?;
    }
    if !keep_data {
        std::fs::remove_dir_all(&data_dir).with_context(|| format!("deleting {}", data_dir.display()))?;
        // With it goes what is encrypted, wherever somebody still has the bytes. One that the operator put elsewhere stays.
        let key = config::default_master_key(&data_dir);
        match std::fs::remove_file(&key) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("deleting {}", key.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Against a slip of the tongue: `awan purge --data-dir /home`.
fn must_be_ours(data_dir: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(data_dir).with_context(|| format!("reading {}", data_dir.display()))?;
    if entries.next().is_some() && !OURS.iter().any(|name| data_dir.join(name).exists()) {
        bail!("{} is no data directory of Awan; nothing was deleted", data_dir.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(purge: Purge) -> Result<()> {
        match prepare(purge).await? {
            Some(ready) => super::run(ready).await,
            None => Ok(()),
        }
    }

    #[tokio::test]
    async fn only_what_is_ours_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let purge = |name: &str| Purge { data_dir: Some(folder.path().join(name)), keep_data: false };
        std::fs::create_dir_all(folder.path().join("home/photos")).expect("makes");
        let refusal = run(purge("home")).await.expect_err("refuses").to_string();
        assert!(refusal.ends_with("/home is no data directory of Awan; nothing was deleted"), "{refusal}");
        std::fs::create_dir(folder.path().join("data")).expect("makes");
        std::fs::write(folder.path().join("data/endpoint"), "").expect("writes");
        std::fs::write(folder.path().join("data-master.key"), "").expect("writes");
        run(purge("data")).await.expect("deletes");
        run(purge("data")).await.expect("is gone already");
        assert!(folder.path().join("home/photos").exists() && !folder.path().join("data").exists());
        assert!(!folder.path().join("data-master.key").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_in_use_is_not_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = lock::take(folder.path(), &[lock::CONTROL]).await.expect("takes");
        let purge = || Purge { data_dir: Some(folder.path().into()), keep_data: false };
        run(purge()).await.expect_err("in use");
        drop(held);
        run(purge()).await.expect("deletes");
        assert!(!folder.path().exists());
    }
}
