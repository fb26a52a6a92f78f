//! The metadata service at 169.254.169.254 and fd00:ec2::254, versions 1 and 2. Source: "Instance metadata and user data", EC2 documentation.

mod answer;
mod path;
mod tree;

use std::convert::Infallible;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use self::answer::{Asker, Body, Said, respond};
use super::places::Places;
use super::tasks::Tasks;
use super::token::Sealer;
use super::{AFTER_ERROR, Shared, current, sockets};

/// Connections at once, for each interface and for each VPC.
const AT_ONCE: (usize, usize) = (64, 512);
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// After this a connection takes no further request.
const CONNECTION_WITHIN: Duration = Duration::from_secs(20);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 8 * 1024;

pub async fn serve(listener: TcpListener, view: Shared, sealer: Arc<Sealer>, tasks: Tasks) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Places::new(AT_ONCE.0, AT_ONCE.1);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        let from = from.ip();
        let index = sockets::ingress(stream.as_raw_fd(), from.is_ipv6()).unwrap_or(0);
        let Some(place) = places.take(index) else { continue };
        let (view, sealer) = (view.clone(), sealer.clone());
        tasks.spawn(async move {
            connection(stream, Asker { index, from }, view, sealer).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, asker: Asker, view: Shared, sealer: Arc<Sealer>) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = respond(&current(&view), &sealer, asker, &request, now());
        let answer = limited(&socket, asker, answer).http();
        async move { Ok::<Response<Body>, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_buf_size(HEADERS_MAX)
        // Simple clients close their side when they have asked.
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    if tokio::time::timeout(CONNECTION_WITHIN, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_ANSWER_WITHIN, connection).await;
    }
}

/// A token goes no further than the instance allows. The limit stays on the connection: were it raised for the next
/// answer, what was lost on the way would be sent again without it.
fn limited(socket: &OwnedFd, asker: Asker, said: Said) -> Said {
    match said.hops {
        Some(hops) if sockets::hop_limit(socket, asker.from.is_ipv6(), hops).is_err() => {
            Said::error(503, "Service Unavailable")
        }
        _ => said,
    }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
