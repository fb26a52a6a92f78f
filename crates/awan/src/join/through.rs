//! VPC endpoints of hosts in other processes: `GET /host/v1/api` says which endpoint, and then its connection is the
//! API's.

use anyhow::{Result, ensure};
use awan_control::through::Through;
use awan_host::driver::Fut;
use awan_host::service::endpoint::{Api, Door, Duplex};
use awan_model::Home;
use awan_model::id::EndpointId;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::client;

/// What the connection becomes (RFC 9110, 7.8).
const PROTOCOL: &str = "awan-api";

#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    account: String,
    region: String,
    endpoint: EndpointId,
}

impl Wanted {
    pub fn through(self) -> Through {
        Through { home: Home::new(&self.account, &self.region), endpoint: self.endpoint }
    }
}

pub fn switch() -> Response {
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

impl Api for Control {
    fn dial<'a>(&'a self, door: &'a Door) -> Fut<'a, Result<Box<dyn Duplex>>> {
        Box::pin(dial(self, door))
    }
}

async fn dial(control: &Control, Door { home, endpoint }: &Door) -> Result<Box<dyn Duplex>> {
    let path = format!("/host/v1/api?account={}&region={}&endpoint={endpoint}", home.account(), home.region());
    let request = control.request("GET", &path)?;
    let request = request.header("connection", "upgrade").header("upgrade", PROTOCOL).body(Empty::<Bytes>::new())?;
    let stream = client::tcp(&control.url).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS, "the control plane says {}", response.status());
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}
