//! QEMU's machine protocol: JSON lines over a socket. Source: QEMU, docs/interop/qmp-spec.rst.
//!
//! **Invariant:** QEMU may be hostile. Lines are bounded, and what is not understood is passed over.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

const LINE_MAX: u64 = 1 << 20;
const REPLY_WITHIN: Duration = Duration::from_secs(10);

pub struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    /// What was read of a line when the reading was given up; the next reading goes on.
    partial: Vec<u8>,
    writer: OwnedWriteHalf,
}

/// What QEMU says by itself, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The machine is off. By the guest, or because it was told to.
    Shutdown {
        guest: bool,
    },
    Other,
    /// QEMU closed the connection.
    Gone,
}

impl Qmp {
    /// Connects and says hello; returns the run state (`running`, `shutdown`, …).
    pub async fn connect(socket: &Path) -> Result<(Self, String)> {
        let stream =
            UnixStream::connect(socket).await.with_context(|| format!("connecting to {}", socket.display()))?;
        let (reader, writer) = stream.into_split();
        let mut qmp = Self { reader: BufReader::new(reader), partial: Vec::new(), writer };
        let hello = async {
            let greeting = qmp.line().await?;
            if greeting.get("QMP").is_none() {
                bail!("this is no QMP socket");
            }
            qmp.execute("qmp_capabilities").await?;
            qmp.reply().await?;
            qmp.execute("query-status").await?;
            let status = qmp.reply().await?;
            Ok(status["status"].as_str().unwrap_or("unknown").to_owned())
        };
        let status = tokio::time::timeout(REPLY_WITHIN, hello).await.context("QEMU does not answer")??;
        Ok((qmp, status))
    }

    async fn line(&mut self) -> Result<Value> {
        let left = LINE_MAX.saturating_sub(self.partial.len() as u64);
        let read = (&mut self.reader).take(left).read_until(b'\n', &mut self.partial).await?;
        if read == 0 {
            bail!("QEMU closed the connection");
        }
        let line = std::mem::take(&mut self.partial);
        serde_json::from_slice(&line).context("QEMU sent what is no JSON")
    }

    async fn reply(&mut self) -> Result<Value> {
        loop {
            let line = self.line().await?;
            if let Some(value) = line.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = line.get("error") {
                bail!("QEMU refused: {}", error["desc"].as_str().unwrap_or("no reason"));
            }
        }
    }

    pub async fn execute(&mut self, command: &str) -> Result<()> {
        let line = format!("{}\n", json!({ "execute": command }));
        self.writer.write_all(line.as_bytes()).await?;
        Ok(())
    }

    /// The next thing that QEMU says. Replies to commands count as nothing.
    pub async fn event(&mut self) -> Event {
        let Ok(line) = self.line().await else { return Event::Gone };
        match line.get("event").and_then(Value::as_str) {
            Some("SHUTDOWN") => Event::Shutdown { guest: line["data"]["guest"].as_bool().unwrap_or(false) },
            _ => Event::Other,
        }
    }
}
