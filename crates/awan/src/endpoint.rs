//! Connections of guests that come through VPC endpoints: the API serves them as all others, but knows which way they
//! came.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use awan_control::Control;
use awan_control::through::Through;
use awan_host::driver::Fut;
use awan_host::service::endpoint::{Api, Door, Duplex};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

const HEADER_WITHIN: Duration = Duration::from_secs(60);
const PIECE: usize = 64 * 1024;

/// Serves one connection until it ends.
pub async fn serve(control: Arc<Control>, through: Through, connection: impl Duplex + 'static) {
    let router = awan_control::http::router(control).layer(axum::Extension(through));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        // Simple clients close their side when they have asked.
        .half_close(true)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    if let Err(e) = served.await {
        tracing::debug!(error = %e, "a guest's connection broke");
    }
}

/// The API in this process.
pub struct Here(pub Arc<Control>);

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Here")
    }
}

impl Api for Here {
    fn dial<'a>(&'a self, door: &'a Door) -> Fut<'a, Result<Box<dyn Duplex>>> {
        let Door { home, endpoint } = door.clone();
        let (near, far) = tokio::io::duplex(PIECE);
        tokio::spawn(serve(self.0.clone(), Through { home, endpoint }, far));
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Duplex>)))
    }
}
