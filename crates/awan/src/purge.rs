//! `awan purge`: ends every guest of a data directory and deletes all that it has on the machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_host::hypervisor::probe::Accelerator;
use awan_host::hypervisor::qemu::{QemuConfig, QemuHypervisor};
use awan_host::network::driver::NetworkDriver;
use clap::Args;

use crate::{config, node, serve};

#[derive(Debug, Args)]
pub struct Purge {
    /// The data directory of a server that does not run
    #[arg(long, env = "AWAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// End guests and remove networks, but keep the data
    #[arg(long)]
    keep_data: bool,
}

pub async fn run(purge: Purge) -> Result<()> {
    let data_dir = purge.data_dir.unwrap_or_else(config::default_data_dir);
    if data_dir.join("tag").exists() {
        serve::must_be_root()?;
        let tag = node::tag(&data_dir)?;
        let accelerator = Accelerator { name: "tcg", cpu: "max", note: String::new() };
        let hypervisor = QemuHypervisor::open(QemuConfig {
            run_dir: node::run_dir(&tag),
            data_dir: data_dir.clone(),
            images: data_dir.join("images"),
            uid_base: node::uid_base(&tag),
            tag: tag.clone(),
            accelerator,
            grace: Duration::from_secs(1),
        })?;
        hypervisor.purge().await.context("ending guests")?;
        NetworkDriver::purge(&tag).context("removing networks")?;
    }
    if !purge.keep_data && data_dir.exists() {
        std::fs::remove_dir_all(&data_dir).with_context(|| format!("deleting {}", data_dir.display()))?;
    }
    Ok(())
}
