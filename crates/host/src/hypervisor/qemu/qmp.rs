//! QEMU's machine protocol: JSON lines over a socket. Source: QEMU, docs/interop/qmp-spec.rst.
//!
//! **Invariant:** QEMU may be hostile. Lines are bounded, and what is not understood is passed over.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// QEMU names each open file by all that is below it: of a hundred files below one another that is more than a mebibyte.
const LINE_MAX: u64 = 64 << 20;
/// Events kept for later; a hostile QEMU could say more.
const SAID_MAX: usize = 256;
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// A QEMU that does not read is not waited for.
const SENT_WITHIN: Duration = Duration::from_secs(1);

pub struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    /// What was read of a line when the reading was given up; the next reading goes on.
    partial: Vec<u8>,
    writer: OwnedWriteHalf,
    /// Counts questions, so that each answer is known.
    asked: u64,
    /// What was said while an answer was waited for.
    said: VecDeque<Event>,
}

/// What QEMU says by itself, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The machine is off. By the guest, or because it was told to.
    Shutdown {
        guest: bool,
    },
    /// The guest has let go of a device of this name.
    Deleted(String),
    /// What the guest asked of an open volume of this name could not be done.
    Failed(String),
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
        let mut qmp =
            Self { reader: BufReader::new(reader), partial: Vec::new(), writer, asked: 0, said: VecDeque::new() };
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
        let sent = tokio::time::timeout(SENT_WITHIN, self.writer.write_all(line.as_bytes()));
        Ok(sent.await.context("QEMU does not read")??)
    }

    /// The next thing that QEMU says. Replies to commands count as nothing.
    pub async fn event(&mut self) -> Event {
        if let Some(event) = self.said.pop_front() {
            return event;
        }
        let Ok(line) = self.line().await else { return Event::Gone };
        event(&line).unwrap_or(Event::Other)
    }

    /// Has a command done, with a descriptor if it takes one, and returns its answer.
    pub async fn ask(&mut self, command: &str, arguments: Value, fd: Option<BorrowedFd<'_>>) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }));
        let answered = async {
            let sent = match fd {
                Some(fd) => self.send(line.as_bytes(), fd).await?,
                None => 0,
            };
            self.writer.write_all(&line.as_bytes()[sent..]).await?;
            self.answer(id).await
        };
        tokio::time::timeout(REPLY_WITHIN, answered).await.with_context(|| format!("{command}: no answer"))?
    }

    async fn answer(&mut self, id: u64) -> Result<Value> {
        loop {
            let mut line = self.line().await?;
            if line["id"] == id {
                return match line.get_mut("return") {
                    Some(value) => Ok(value.take()),
                    None => bail!("QEMU refused: {}", line["error"]["desc"].as_str().unwrap_or("no reason")),
                };
            }
            if let Some(event) = event(&line).filter(|_| self.said.len() < SAID_MAX) {
                self.said.push_back(event);
            }
        }
    }

    /// Sends the beginning of a line, and with it a descriptor; returns how much.
    async fn send(&self, line: &[u8], fd: BorrowedFd<'_>) -> Result<usize> {
        let stream: &UnixStream = self.writer.as_ref();
        let rights = [fd.as_raw_fd()];
        loop {
            stream.writable().await?;
            let sent = stream.try_io(tokio::io::Interest::WRITABLE, || {
                let (line, rights) = ([IoSlice::new(line)], [ControlMessage::ScmRights(&rights)]);
                let flags = MsgFlags::MSG_NOSIGNAL;
                sendmsg::<()>(stream.as_raw_fd(), &line, &rights, flags, None).map_err(std::io::Error::from)
            });
            match sent {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                sent => return Ok(sent?),
            }
        }
    }
}

fn event(line: &Value) -> Option<Event> {
    match line.get("event")?.as_str()? {
        "SHUTDOWN" => Some(Event::Shutdown { guest: line["data"]["guest"].as_bool().unwrap_or(false) }),
        "DEVICE_DELETED" => Some(Event::Deleted(line["data"]["device"].as_str()?.to_owned())),
        "BLOCK_IO_ERROR" => Some(Event::Failed(line["data"]["node-name"].as_str()?.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const HELLO: &str = "{\"QMP\": {}}\r\n{\"return\": {}}\r\n";

    /// What a client makes of a QEMU that says this and hangs up, whatever it is told.
    async fn said(pieces: &'static [&'static str]) -> (Result<String, String>, Vec<Event>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        let speaker = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            for piece in pieces {
                let _ = stream.write_all(piece.as_bytes()).await;
                tokio::task::yield_now().await;
            }
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let connected = Qmp::connect(&path).await;
        let mut events = Vec::new();
        let status = match connected {
            Err(e) => Err(e.to_string()),
            Ok((mut qmp, status)) => {
                while events.last() != Some(&Event::Gone) {
                    // Reading is given up now and again, as it is when something else happens first.
                    if let Ok(event) = tokio::time::timeout(Duration::from_micros(50), qmp.event()).await {
                        events.push(event);
                    }
                }
                Ok(status)
            }
        };
        speaker.abort();
        (status, events)
    }

    #[tokio::test]
    async fn events_are_read_whole_however_they_arrive() {
        let (failed, shutdown) = (Event::Failed("disk0.2".into()), Event::Shutdown { guest: true });
        let pieces: &[&str] = &[
            HELLO,
            "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"running\"}}\n",
            "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"device\": \"\", \"node-name\": \"disk0.2\", \"nospace\": true}}\n",
            "{\"event\": \"SHUT",
            "DOWN\", \"data\": {\"gue",
            "st\": true}}\r\n{\"return\": {}}\r\n",
        ];
        assert_eq!(said(pieces).await, (Ok("running".into()), vec![failed, shutdown, Event::Other, Event::Gone]));
    }

    #[tokio::test]
    async fn what_is_no_qemu_is_refused() {
        assert_eq!(said(&["{}\n"]).await.0, Err("this is no QMP socket".into()));
        assert_eq!(said(&["\u{1}\u{2}\n"]).await.0, Err("QEMU sent what is no JSON".into()));
        assert_eq!(said(&[]).await.0, Err("QEMU closed the connection".into()));
        let refused = said(&["{\"QMP\": {}}\n{\"error\": {\"desc\": \"no\"}}\n"]).await.0;
        assert_eq!(refused, Err("QEMU refused: no".into()));
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).expect("listens");
        let flood = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
        });
        let given_up = tokio::time::timeout(Duration::from_secs(5), Qmp::connect(&path)).await;
        assert!(given_up.expect("in time").is_err());
        flood.abort();
    }
}
