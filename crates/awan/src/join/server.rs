//! The control plane's side.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use awan_control::hosts::Connection;
use awan_control::{Control, hosts};
use awan_model::plan::HostPlan;
use awan_model::report::{Answer, Report};
use axum::Json;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::seats::Seats;
use super::through::{Wanted, switch};
use super::{News, Part, WAIT, Who, images};
use crate::endpoint;

const BODY_MAX: usize = 64 << 20;
/// Questions in one message. Blocks of snapshots are the longest, with less than a MiB each.
const ASKS_MAX: usize = 16;

struct Server {
    control: Arc<Control>,
    token: String,
    images: PathBuf,
    seats: Seats,
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next: AtomicU64,
}

/// What a host is told that gets nothing.
type Refused = (StatusCode, String);
type Reply<T> = Result<T, Refused>;

pub async fn serve(listener: TcpListener, control: Arc<Control>, token: String, images: PathBuf) -> Result<()> {
    let (seats, pending, next) = (Seats::default(), Mutex::default(), AtomicU64::new(1));
    let server = Arc::new(Server { control, token, images, seats, pending, next });
    let router = axum::Router::new()
        .route("/host/v1/plan", get(plan))
        .route("/host/v1/report", post(report))
        .route("/host/v1/answer", post(answer))
        .route("/host/v1/image", get(image))
        .route("/host/v1/image/part", get(part))
        .route("/host/v1/api", get(api))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        // Outermost: what a stranger sends is not even read.
        .layer(from_fn_with_state(server.clone(), doorkeeper))
        .with_state(server);
    axum::serve(listener, router).await.context("serving hosts")
}

async fn doorkeeper(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    match server.knows(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Server {
    fn knows(&self, headers: &HeaderMap) -> Reply<()> {
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        // Compared over its whole length, so that time tells nothing.
        let same = given.is_some_and(|g| {
            g.len() == self.token.len() && g.bytes().zip(self.token.bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0
        });
        let why = "the join token is not the control plane's: copy its DIR/join-token here";
        if same { Ok(()) } else { Err((StatusCode::UNAUTHORIZED, why.into())) }
    }

    /// Lets a machine speak for the host that it says it is.
    async fn admit(&self, who: &Who, anew: bool) -> Reply<Arc<tokio::sync::Mutex<Connection>>> {
        let name = &who.host;
        match hosts::claim(&self.control.db, name, &who.identity).await {
            Ok(true) => {}
            Ok(false) => {
                let why = format!(
                    "the name {name} belongs to another machine: choose another --host-name, or `awan admin host forget {name}` if that is gone"
                );
                tracing::error!(host = %name, "a machine that is not this host wants to be it");
                return Err((StatusCode::CONFLICT, why));
            }
            Err(e) => return Err((StatusCode::SERVICE_UNAVAILABLE, e.to_string())),
        }
        if self.seats.other(who).is_some() {
            let why =
                format!("another machine with the data of {name} was heard a moment ago: is this a copy of its disk?");
            tracing::error!(host = %name, "{why}");
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        }
        Ok(self.seats.take(who, anew, || self.control.hosts.connect(name)))
    }
}

#[derive(Debug, Deserialize)]
struct After {
    /// The revision of the plan that the host has; 0: it has none and connects anew.
    after: u64,
}

async fn plan(
    State(server): State<Arc<Server>>,
    Query(who): Query<Who>,
    Query(After { after }): Query<After>,
) -> Reply<Json<News>> {
    let connection = server.admit(&who, after == 0).await?;
    let mut connection = connection.lock().await;
    let Connection { plans, asks } = &mut *connection;
    let newer = |plan: &Option<Arc<HostPlan>>| plan.as_ref().is_some_and(|p| p.revision > after);
    let mut news = News { plan: None, asks: Vec::new() };
    let wait = async {
        tokio::select! {
            found = plans.wait_for(newer) => news.plan = found.ok().and_then(|p| p.clone()),
            Some(first) = asks.recv() => {
                // Whoever reads or writes blocks of snapshots asks many things at once.
                let more = std::iter::from_fn(|| asks.try_recv().ok());
                for (ask, answer) in std::iter::once(first).chain(more.take(ASKS_MAX - 1)) {
                    let id = server.next.fetch_add(1, Ordering::Relaxed);
                    server.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
                    news.asks.push((id, ask));
                }
            }
        }
    };
    let _ = tokio::time::timeout(WAIT, wait).await;
    // Answers that nobody waits for any more are forgotten.
    server.pending.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, a| !a.is_closed());
    Ok(Json(news))
}

async fn report(State(server): State<Arc<Server>>, Query(who): Query<Who>, Json(report): Json<Report>) -> Reply<()> {
    server.admit(&who, false).await?;
    if report.host != who.host {
        return Err((StatusCode::BAD_REQUEST, format!("{} reports for {}", who.host, report.host)));
    }
    let taken = server.control.hosts.report(&server.control.db, report).await;
    taken.map_err(|e| {
        tracing::error!(host = %who.host, error = %e, "a report was not taken in");
        (StatusCode::SERVICE_UNAVAILABLE, e.to_string())
    })
}

async fn answer(
    State(server): State<Arc<Server>>,
    Query(who): Query<Who>,
    Json((id, given)): Json<(u64, Answer)>,
) -> Reply<()> {
    server.admit(&who, false).await?;
    let waiting = server.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    if let Some(waiting) = waiting {
        let _ = waiting.send(given);
    }
    Ok(())
}

async fn image(
    State(server): State<Arc<Server>>,
    Query(images::Wanted { image }): Query<images::Wanted>,
) -> Reply<Json<Vec<Part>>> {
    let folder = server.images.clone();
    let listed = tokio::task::spawn_blocking(move || images::list(&folder, &image)).await;
    listed.context("listing an image").flatten().map(Json).map_err(absent)
}

async fn part(State(server): State<Arc<Server>>, Query(wanted): Query<images::WantedPart>) -> Reply<Bytes> {
    let folder = server.images.clone();
    let read = tokio::task::spawn_blocking(move || images::read(&folder, &wanted)).await;
    read.context("reading an image").flatten().map(Bytes::from).map_err(absent)
}

/// The connection goes on as the API's.
async fn api(
    State(server): State<Arc<Server>>,
    Query(who): Query<Who>,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> Reply<Response> {
    server.admit(&who, false).await?;
    let control = server.control.clone();
    tokio::spawn(async move {
        match hyper::upgrade::on(request).await {
            Ok(connection) => endpoint::serve(control, wanted.through(), TokioIo::new(connection)).await,
            Err(e) => tracing::debug!(host = %who.host, error = %e, "a guest's connection did not come to be"),
        }
    });
    Ok(switch())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn absent(e: anyhow::Error) -> Refused {
    (StatusCode::NOT_FOUND, format!("{e:#}"))
}
