//! The host's side: brings messages, for ever.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_host::link::Peer;
use awan_model::report::{Answer, Ask, Report};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::http::request::Builder;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{News, WAIT, Who};
use crate::client;

const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// The control plane, as a host reaches it.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) url: String,
    token: String,
    who: Who,
}

/// An answer of the control plane that is none.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the control plane refuses (status {}): {}", self.status, self.why)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// It will say the same tomorrow, unless somebody changes something.
    pub fn is_final(&self) -> bool {
        matches!(self.status, 400..=499)
    }
}

pub fn is_final(e: &anyhow::Error) -> bool {
    e.downcast_ref::<Refused>().is_some_and(Refused::is_final)
}

impl Control {
    pub fn new(url: &str, token: String, who: Who) -> Result<Self> {
        client::authority(url)?;
        Ok(Self { url: url.to_owned(), token, who })
    }

    /// `path` with its query, to which who asks is added.
    pub(super) fn request(&self, method: &str, path: &str) -> Result<Builder> {
        let joint = if path.contains('?') { '&' } else { '?' };
        Ok(Request::builder()
            .method(method)
            .uri(format!("{path}{joint}{}", self.who.query()))
            .header("host", client::authority(&self.url)?)
            .header("authorization", format!("Bearer {}", self.token)))
    }

    pub async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Bytes> {
        let request = self.request(method, path)?;
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)))?;
        let reply = async { client::send(client::tcp(&self.url).await?, request).await };
        let (status, body) = tokio::time::timeout(WAIT * 2, reply).await.context("no answer")??;
        if status != 200 {
            let why = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(Refused { status, why }.into());
        }
        Ok(body)
    }

    pub async fn get<T: for<'d> Deserialize<'d>>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(&self.send("GET", path, Vec::new()).await?).context("reading the answer")
    }

    async fn post<T: Serialize>(&self, path: &str, what: &T) -> Result<()> {
        self.send("POST", path, serde_json::to_vec(what)?).await.map(drop)
    }
}

/// Moves messages for ever. Ends only if the control plane refuses this host from the start.
pub async fn run(control: Control, peer: Peer) -> Result<()> {
    let Peer { plans, asks, mut reports } = peer;
    let down = async {
        let (mut after, mut patience, mut joined) = (0, PATIENCE, false);
        loop {
            match control.get::<News>(&format!("/host/v1/plan?after={after}")).await {
                Ok(news) => {
                    (patience, joined) = (PATIENCE, true);
                    after = after.max(1);
                    if let Some(plan) = news.plan {
                        after = plan.revision;
                        plans.send_replace(Some(plan));
                    }
                    for (id, ask) in news.asks {
                        tokio::spawn(pass_on(control.clone(), asks.clone(), id, ask));
                    }
                }
                // Whoever started this host is there to read it.
                Err(e) if !joined && is_final(&e) => return Err(e.context(format!("joining {}", control.url))),
                Err(e) => {
                    tracing::warn!(error = format!("{e:#}"), "the control plane is away; what runs goes on");
                    // It may have started anew: connect anew.
                    after = 0;
                    tokio::time::sleep(patience).await;
                    patience = (patience * 2).min(PATIENCE_MAX);
                }
            }
        }
    };
    let up = async {
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            if let Some(report) = report
                && let Err(e) = control.post::<Report>("/host/v1/report", &report).await
            {
                tracing::warn!(error = format!("{e:#}"), "a report did not arrive; the next one is tried");
            }
        }
    };
    tokio::select! { done = down => done, () = up => Ok(()) }
}

async fn pass_on(control: Control, asks: tokio::sync::mpsc::Sender<(Ask, oneshot::Sender<Answer>)>, id: u64, ask: Ask) {
    let (answer, answered) = oneshot::channel();
    if asks.send((ask, answer)).await.is_err() {
        return;
    }
    if let Ok(given) = answered.await
        && let Err(e) = control.post("/host/v1/answer", &(id, given)).await
    {
        tracing::warn!(error = format!("{e:#}"), "an answer did not arrive");
    }
}
