//! Hosts in other processes: the same two messages over HTTP, questions with their answers, and the images they lack.
//!
//! `GET /host/v1/plan?after=N` waits for news and answers a plan and questions; `POST /host/v1/report` and
//! `POST /host/v1/answer` bring the rest; `GET /host/v1/image` and `/host/v1/image/part` give images. All carry the join
//! token and say who asks. `GET /host/v1/api` makes its connection one of the API's, for guests behind VPC endpoints.
//! Traffic is not encrypted: it belongs on a network of the operator's own.
//!
//! **Invariants.** A host whose control plane is away keeps what it has and asks again. A name belongs to the machine
//! that first joined with it: two machines never follow one plan.

mod fetch;
mod host;
mod images;
mod seats;
mod server;
mod through;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_model::id::HostId;
use awan_model::plan::HostPlan;
use awan_model::report::Ask;
use serde::{Deserialize, Serialize};

pub use self::fetch::FetchingVolumes;
pub use self::host::{Control, run};
pub use self::server::serve;
use crate::serve::write_secret;

/// How long a question for news waits for some.
const WAIT: Duration = Duration::from_secs(15);

pub fn make_token(path: &Path) -> Result<String> {
    if let Ok(token) = read_token(path) {
        return Ok(token);
    }
    let token = format!("{:032x}", rand::random::<u128>());
    write_secret(path, &token)?;
    Ok(token)
}

pub fn read_token(path: &Path) -> Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| {
        format!("reading the join token {}: copy the control plane's DIR/join-token there", path.display())
    })?;
    let token = token.trim().to_owned();
    if token.len() < 16 { bail!("{} holds no join token", path.display()) } else { Ok(token) }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub host: HostId,
    /// What this machine's data directory has and no other's.
    pub identity: String,
    /// Tells a machine from its copy, which has the same data.
    pub boot: String,
}

impl Who {
    pub fn here(host: HostId, data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("host-id");
        let identity = match std::fs::read_to_string(&path) {
            Ok(identity) => identity.trim().to_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let identity = format!("{:032x}", rand::random::<u128>());
                write_secret(&path, &identity)?;
                identity
            }
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot's id")?;
        Ok(Self { host, identity, boot: boot.trim().to_owned() })
    }

    fn query(&self) -> String {
        format!("host={}&identity={}&boot={}", self.host, self.identity, self.boot)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct News {
    plan: Option<Arc<HostPlan>>,
    asks: Vec<(u64, Ask)>,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    sha256: String,
}
