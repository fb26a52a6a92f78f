//! Hosts in other processes: the same two messages over HTTP, and questions with their answers.
//!
//! `GET /host/v1/plan?host=H&after=N` waits for news and answers a plan and questions; `POST /host/v1/report` and
//! `POST /host/v1/answer` bring the rest. All carry the join token. Traffic is not encrypted: it belongs on a network
//! of the operator's own.
//!
//! **Invariant:** a host whose control plane is away keeps what it has and asks again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use awan_control::Control;
use awan_control::hosts::Connection;
use awan_host::link::Peer;
use awan_model::id::HostId;
use awan_model::plan::HostPlan;
use awan_model::report::{Answer, Ask, Report};
use axum::Json;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::client;
use crate::serve::write_secret;

const WAIT: Duration = Duration::from_secs(15);
const BODY_MAX: usize = 64 << 20;
const AGAIN_MAX: Duration = Duration::from_secs(5);

pub fn make_token(path: &Path) -> Result<String> {
    if let Ok(token) = read_token(path) {
        return Ok(token);
    }
    let token = format!("{:032x}", rand::random::<u128>());
    write_secret(path, &token)?;
    Ok(token)
}

pub fn read_token(path: &Path) -> Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| format!("reading the join token {}", path.display()))?;
    let token = token.trim().to_owned();
    if token.len() < 16 { bail!("{} holds no join token", path.display()) } else { Ok(token) }
}

#[derive(Debug, Serialize, Deserialize)]
struct News {
    plan: Option<Arc<HostPlan>>,
    asks: Vec<(u64, Ask)>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    host: HostId,
    /// The revision of the plan that the host has; 0: it has none and connects anew.
    after: u64,
}

struct Server {
    control: Arc<Control>,
    token: String,
    connections: Mutex<HashMap<HostId, Arc<tokio::sync::Mutex<Connection>>>>,
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
}

pub async fn serve(listener: TcpListener, control: Arc<Control>, token: String, _images: PathBuf) -> Result<()> {
    let (connections, pending) = (Mutex::default(), Mutex::default());
    let server = Arc::new(Server { control, token, connections, pending, next: AtomicU64::new(1) });
    let router = axum::Router::new()
        .route("/host/v1/plan", get(plan))
        .route("/host/v1/report", post(report))
        .route("/host/v1/answer", post(answer))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(server);
    axum::serve(listener, router).await.context("serving hosts")
}

impl Server {
    fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        // Compared over its whole length, so that time tells nothing.
        let same = given.is_some_and(|g| {
            g.len() == self.token.len() && g.bytes().zip(self.token.bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0
        });
        if same { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    fn connection(&self, wanted: &Wanted) -> Arc<tokio::sync::Mutex<Connection>> {
        let mut all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.after == 0 || !all.contains_key(&wanted.host) {
            let new = self.control.hosts.connect(&wanted.host);
            all.insert(wanted.host.clone(), Arc::new(tokio::sync::Mutex::new(new)));
        }
        all[&wanted.host].clone()
    }
}

async fn plan(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Result<Json<News>, StatusCode> {
    server.admit(&headers)?;
    let connection = server.connection(&wanted);
    let mut connection = connection.lock().await;
    let Connection { plans, asks } = &mut *connection;
    let newer = |plan: &Option<Arc<HostPlan>>| plan.as_ref().is_some_and(|p| p.revision > wanted.after);
    let mut news = News { plan: None, asks: Vec::new() };
    let wait = async {
        tokio::select! {
            found = plans.wait_for(newer) => news.plan = found.ok().and_then(|p| p.clone()),
            Some((ask, answer)) = asks.recv() => {
                let id = server.next.fetch_add(1, Ordering::Relaxed);
                server.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
                news.asks.push((id, ask));
            }
        }
    };
    let _ = tokio::time::timeout(WAIT, wait).await;
    // Answers that nobody waits for any more are forgotten.
    server.pending.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, a| !a.is_closed());
    Ok(Json(news))
}

async fn report(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Result<(), StatusCode> {
    server.admit(&headers)?;
    let taken = server.control.hosts.report(&server.control.db, report).await;
    taken.map_err(|e| {
        tracing::error!(error = %e, "a report was not taken in");
        StatusCode::SERVICE_UNAVAILABLE
    })
}

async fn answer(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Json((id, given)): Json<(u64, Answer)>,
) -> Result<(), StatusCode> {
    server.admit(&headers)?;
    let waiting = server.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    if let Some(waiting) = waiting {
        let _ = waiting.send(given);
    }
    Ok(())
}

/// The host's side: for ever.
pub async fn host(url: &str, token: &str, host: &HostId, peer: Peer) -> Result<()> {
    client::authority(url)?;
    let Peer { plans, asks, mut reports } = peer;
    let down = async {
        let mut after = 0;
        let mut patience = Duration::from_millis(200);
        loop {
            match call::<(), News>(url, token, "GET", &format!("/host/v1/plan?host={host}&after={after}"), None).await {
                Ok(news) => {
                    patience = Duration::from_millis(200);
                    if let Some(plan) = news.plan {
                        after = plan.revision;
                        plans.send_replace(Some(plan));
                    } else if after == 0 {
                        after = 1;
                    }
                    for (id, ask) in news.asks {
                        tokio::spawn(pass_on(url.to_owned(), token.to_owned(), asks.clone(), id, ask));
                    }
                }
                Err(e) => {
                    tracing::warn!(error = format!("{e:#}"), "the control plane is away; what runs goes on");
                    // It may have started anew: connect anew.
                    after = 0;
                    tokio::time::sleep(patience).await;
                    patience = (patience * 2).min(AGAIN_MAX);
                }
            }
        }
    };
    let up = async {
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            if let Some(report) = report
                && let Err(e) = call::<Report, ()>(url, token, "POST", "/host/v1/report", Some(&report)).await
            {
                tracing::warn!(error = format!("{e:#}"), "a report did not arrive; the next one is tried");
            }
        }
    };
    tokio::select! { () = down => {}, () = up => {} }
    Ok(())
}

async fn pass_on(
    url: String,
    token: String,
    asks: tokio::sync::mpsc::Sender<(Ask, oneshot::Sender<Answer>)>,
    id: u64,
    ask: Ask,
) {
    let (answer, answered) = oneshot::channel();
    if asks.send((ask, answer)).await.is_err() {
        return;
    }
    if let Ok(given) = answered.await
        && let Err(e) = call::<(u64, Answer), ()>(&url, &token, "POST", "/host/v1/answer", Some(&(id, given))).await
    {
        tracing::warn!(error = format!("{e:#}"), "an answer did not arrive");
    }
}

async fn call<B: Serialize, T: for<'d> Deserialize<'d>>(
    url: &str,
    token: &str,
    method: &str,
    path: &str,
    body: Option<&B>,
) -> Result<T> {
    let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", client::authority(url)?)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(bytes)))?;
    let reply = async { client::send(client::tcp(url).await?, request).await };
    let (status, body) = tokio::time::timeout(WAIT * 2, reply).await.context("no answer")??;
    if status != 200 {
        bail!("{path}: status {status}");
    }
    let text: &[u8] = if body.is_empty() { b"null" } else { &body };
    serde_json::from_slice(text).context("reading the answer")
}
