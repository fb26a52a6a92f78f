//! The metadata service at 169.254.169.254, versions 1 and 2. Source: "Instance metadata and user data", EC2 documentation.

mod tree;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use awan_model::plan::VmPlan;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::token::{Sealer, TTL_MAX};
use super::{Shared, View, current, sockets};

/// Connections at once, for each VPC.
const AT_ONCE: usize = 512;
const CONNECTION_WITHIN: Duration = Duration::from_secs(20);
const HEADERS_MAX: usize = 16 * 1024;
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

pub async fn serve(listener: TcpListener, view: Shared, sealer: Arc<Sealer>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let limit = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok((stream, from)) = listener.accept().await else { continue };
        let (IpAddr::V4(from), Ok(place)) = (from.ip(), limit.clone().try_acquire_owned()) else { continue };
        let (view, sealer) = (view.clone(), sealer.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECTION_WITHIN, connection(stream, from, view, sealer)).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, from: Ipv4Addr, view: Shared, sealer: Arc<Sealer>) {
    let index = sockets::ingress(stream.as_raw_fd()).unwrap_or(0);
    let hops = current(&view).asker(index, from).map(|(_, _, vm)| vm.metadata.options.hop_limit);
    // EC2 limits how far the answer with the token may go; here it is every answer of the service.
    if !hops.is_some_and(|hops| sockets::hop_limit(&stream, hops).is_ok()) {
        return;
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = respond(&current(&view), &sealer, index, from, &request, now());
        async move { Ok::<_, Infallible>(answer.http()) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(5))
        .max_buf_size(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// An answer before it is HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub body: Vec<u8>,
    ttl: Option<u64>,
}

impl Said {
    fn error(status: u16, reason: &str) -> Self {
        Self { status, body: format!("{status} - {reason}\n").into_bytes(), ttl: None }
    }

    fn http(self) -> Response<Full<Bytes>> {
        let mut builder =
            Response::builder().status(self.status).header("content-type", "text/plain").header("server", "EC2ws");
        if let Some(ttl) = self.ttl {
            builder = builder.header(TTL_HEADER, ttl);
        }
        builder.body(Full::new(self.body.into())).unwrap_or_default()
    }
}

fn respond<B>(view: &View, sealer: &Sealer, index: u32, from: Ipv4Addr, request: &Request<B>, now: u64) -> Said {
    let Some((network, interface, vm)) = view.asker(index, from) else { return Said::error(404, "Not Found") };
    if !vm.metadata.options.endpoint {
        return Said::error(403, "Forbidden");
    }
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let path = request.uri().path();
    if path.trim_end_matches('/') == "/latest/api/token" {
        return match *request.method() {
            Method::PUT => token(vm, sealer, request, now),
            _ => Said::error(405, "Method Not Allowed"),
        };
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Said::error(405, "Method Not Allowed");
    }
    match header(TOKEN_HEADER) {
        Some(token) if sealer.left(&vm.id, vm.run, now, token).is_none() => return Said::error(401, "Unauthorized"),
        None if vm.metadata.options.tokens_required => return Said::error(401, "Unauthorized"),
        _ => {}
    }
    match tree::find(&view.plan, network, interface, vm, path) {
        Some(body) => Said { status: 200, body, ttl: None },
        None => Said::error(404, "Not Found"),
    }
}

fn token<B>(vm: &VmPlan, sealer: &Sealer, request: &Request<B>, now: u64) -> Said {
    // What came through a proxy gets no token.
    if request.headers().contains_key("x-forwarded-for") {
        return Said::error(403, "Forbidden");
    }
    let ttl = request.headers().get(TTL_HEADER).and_then(|v| v.to_str().ok());
    let ttl = ttl.filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse::<u64>().ok());
    match ttl.filter(|ttl| (1..=TTL_MAX).contains(ttl)) {
        Some(ttl) => Said { status: 200, body: sealer.seal(&vm.id, vm.run, now, ttl).into_bytes(), ttl: Some(ttl) },
        None => Said::error(400, "Bad Request"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use awan_model::instance::Wish;

    use super::*;
    use crate::hypervisor::testing::{plan, vm};
    use crate::network::testing::vpc_plan;

    const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

    fn view(change: impl Fn(&mut VmPlan)) -> View {
        let mut own = vm("i-00000000000000001", Wish::On, 1);
        change(&mut own);
        let mut plan = plan(vec![own]);
        let network = vpc_plan();
        let (vpc, eni) = (network.id.clone(), network.interfaces[0].id.clone());
        plan.network.vpcs.push(network);
        View { plan: Arc::new(plan), vpc, taps: BTreeMap::from([(9, eni)]), resolvers: Vec::new() }
    }

    fn sealer() -> Sealer {
        Sealer::open(&tempfile::tempdir().expect("a folder").path().join("s")).expect("makes a secret")
    }

    fn ask(view: &View, sealer: &Sealer, method: &str, path: &str, headers: &[(&str, &str)]) -> Said {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        respond(view, sealer, 9, IP, &request.body(()).expect("a request"), 1000)
    }

    #[test]
    fn only_a_token_of_this_run_opens_what_tokens_are_required_for() {
        let (view, sealer) = (view(|_| {}), sealer());
        assert_eq!(ask(&view, &sealer, "GET", "/latest/meta-data/instance-id", &[]).status, 401);
        let token = ask(&view, &sealer, "PUT", "/latest/api/token", &[(TTL_HEADER, "60")]);
        let token = String::from_utf8(token.body).expect("text");
        let with = |token: &str| ask(&view, &sealer, "GET", "/latest/meta-data/instance-id", &[(TOKEN_HEADER, token)]);
        assert_eq!(with(&token), Said { status: 200, body: b"i-00000000000000001".to_vec(), ttl: None });
        assert_eq!(with("made up").status, 401);
    }

    #[test]
    fn tokens_are_refused_to_proxies_and_for_foolish_times() {
        let (view, sealer) = (view(|_| {}), sealer());
        let put = |headers: &[(&str, &str)]| ask(&view, &sealer, "PUT", "/latest/api/token", headers).status;
        assert_eq!(put(&[(TTL_HEADER, "60"), ("X-Forwarded-For", "1.2.3.4")]), 403);
        for (ttl, status) in
            [("0", 400), ("1", 200), ("21600", 200), ("21601", 400), ("-1", 400), ("1e4", 400), ("", 400)]
        {
            assert_eq!(put(&[(TTL_HEADER, ttl)]), status, "{ttl}");
        }
        assert_eq!(put(&[]), 400);
        assert_eq!(ask(&view, &sealer, "GET", "/latest/api/token", &[]).status, 405);
    }

    #[test]
    fn who_asks_is_decided_by_the_interface_and_the_address_together() {
        let (view, sealer) = (view(|vm| vm.metadata.options.tokens_required = false), sealer());
        let request = || Request::builder().uri("/latest/meta-data/instance-id").body(()).expect("a request");
        let status = |index, ip| respond(&view, &sealer, index, ip, &request(), 1000).status;
        assert_eq!(status(9, IP), 200);
        assert_eq!(status(9, Ipv4Addr::new(10, 0, 0, 6)), 404);
        assert_eq!(status(8, IP), 404);
    }

    #[test]
    fn a_closed_endpoint_says_nothing() {
        let (view, sealer) = (view(|vm| vm.metadata.options.endpoint = false), sealer());
        assert_eq!(ask(&view, &sealer, "GET", "/latest/meta-data/", &[]).status, 403);
    }
}
