//! HTTP from our own commands: over a socket file to the running server, or over TCP.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

const ANSWER_MAX: usize = 64 << 20;

/// Status and body.
pub type Reply = (u16, Bytes);

/// One request over a connection of its own.
pub async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let running = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    running.abort();
    let body = body.map_err(|e| anyhow::anyhow!("reading the answer: {e}"))?.to_bytes();
    Ok((status, body))
}

/// `http://HOST:PORT` → `HOST:PORT`
pub fn authority(url: &str) -> Result<&str> {
    url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).context("only http:// addresses are understood")
}

pub async fn tcp(url: &str) -> Result<tokio::net::TcpStream> {
    let authority = authority(url)?;
    tokio::net::TcpStream::connect(authority).await.with_context(|| format!("connecting to {authority}"))
}
