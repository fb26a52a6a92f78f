//! What the metadata service says to one request. Pure.

use std::net::IpAddr;

use awan_model::plan::VmPlan;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, SERVER};
use hyper::{Method, Request, Response};

use super::{path, tree};
use crate::service::View;
use crate::service::token::{Sealer, TTL_MAX};

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_PATH: [&str; 3] = ["latest", "api", "token"];

pub type Body = Full<Bytes>;

/// Where a request came from: the interface's index and the address.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub index: u32,
    pub from: IpAddr,
}

/// An answer before it is HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub body: Vec<u8>,
    kind: &'static str,
    allow: Option<&'static str>,
    ttl: Option<u64>,
    /// How many routers the answer may pass.
    pub hops: Option<u8>,
}

impl Said {
    fn ok(kind: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, body, kind, allow: None, ttl: None, hops: None }
    }

    pub fn error(status: u16, reason: &str) -> Self {
        Self { status, ..Self::ok("text/plain", format!("{status} - {reason}\n").into_bytes()) }
    }

    fn not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::error(405, "Method Not Allowed") }
    }

    pub fn http(self) -> Response<Body> {
        let mut builder =
            Response::builder().status(self.status).header(CONTENT_TYPE, self.kind).header(SERVER, "EC2ws");
        if let Some(allow) = self.allow {
            builder = builder.header(ALLOW, allow);
        }
        if let Some(ttl) = self.ttl {
            builder = builder.header(TTL_HEADER, ttl);
        }
        builder.body(Full::new(self.body.into())).unwrap_or_default()
    }
}

/// `now` in seconds.
pub fn respond<B>(view: &View, sealer: &Sealer, asker: Asker, request: &Request<B>, now: u64) -> Said {
    let Some((network, interface, vm)) = view.asker(asker.index, asker.from) else {
        return Said::error(404, "Not Found");
    };
    let options = &vm.metadata.options;
    if !options.endpoint || asker.from.is_ipv6() && !options.ipv6 {
        return Said::error(403, "Forbidden");
    }
    if request.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0") {
        return Said::error(413, "Payload Too Large");
    }
    let Some(parts) = path::parts(request.uri().path()) else { return Said::error(404, "Not Found") };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match (parts == TOKEN_PATH, request.method()) {
        (true, &Method::PUT) => return token(vm, sealer, request, now),
        (true, _) => return Said::not_allowed("PUT"),
        (false, &Method::GET | &Method::HEAD) => {}
        (false, _) => return Said::not_allowed("GET, HEAD"),
    }
    if !may(vm, sealer, request, now) {
        return Said::error(401, "Unauthorized");
    }
    match tree::find(&view.plan, network, interface, vm, &parts) {
        Some((kind, body)) => Said::ok(kind, body),
        None => Said::error(404, "Not Found"),
    }
}

/// A token that is shown must be good, even where none is required.
fn may<B>(vm: &VmPlan, sealer: &Sealer, request: &Request<B>, now: u64) -> bool {
    match request.headers().get(TOKEN_HEADER) {
        Some(token) => token.to_str().is_ok_and(|token| sealer.left(&vm.id, vm.run, now, token).is_some()),
        None => !vm.metadata.options.tokens_required,
    }
}

fn token<B>(vm: &VmPlan, sealer: &Sealer, request: &Request<B>, now: u64) -> Said {
    // What came through a proxy gets no token.
    if request.headers().contains_key("x-forwarded-for") {
        return Said::error(403, "Forbidden");
    }
    let ttl = request.headers().get(TTL_HEADER).and_then(|v| v.to_str().ok());
    let ttl = ttl.filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse::<u64>().ok());
    let Some(ttl) = ttl.filter(|ttl| (1..=TTL_MAX).contains(ttl)) else { return Said::error(400, "Bad Request") };
    let sealed = sealer.seal(&vm.id, vm.run, now, ttl).into_bytes();
    Said { ttl: Some(ttl), hops: Some(vm.metadata.options.hop_limit), ..Said::ok("text/plain", sealed) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    use awan_model::instance::Wish;
    use expect_test::expect;

    use super::*;
    use crate::hypervisor::testing::{plan, vm};
    use crate::network::testing::vpc_plan;

    const OWN: Asker = Asker { index: 9, from: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)) };
    const OTHER: Asker = Asker { index: 10, from: IpAddr::V4(OTHER_IP) };
    const OTHER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);
    const IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7);
    const ID: &str = "/latest/meta-data/instance-id";
    const TOKEN: &str = "/latest/api/token";

    /// Two instances of a VPC.
    fn view(change: impl Fn(&mut VmPlan)) -> View {
        let mut own = vm("i-00000000000000001", Wish::On, 1);
        change(&mut own);
        let mut plan = plan(vec![own, vm("i-00000000000000002", Wish::On, 1)]);
        let mut network = vpc_plan();
        let mut other = network.interfaces[0].clone();
        other.id = "eni-00000000000000002".parse().expect("an id");
        other.instance = plan.vms[1].id.clone();
        other.private_ip = OTHER_IP;
        other.ipv6 = vec![IPV6];
        network.interfaces.push(other);
        let taps = [OWN.index, OTHER.index].into_iter().zip(network.interfaces.iter().map(|i| i.id.clone()));
        let (taps, vpc) = (BTreeMap::from_iter(taps), network.id.clone());
        plan.network.vpcs.push(network);
        View { plan: Arc::new(plan), vpc, taps, resolvers: Vec::new() }
    }

    fn open(vm: &mut VmPlan) {
        vm.metadata.options.tokens_required = false;
    }

    fn sealer() -> Sealer {
        Sealer::open(&tempfile::tempdir().expect("a folder").path().join("s")).expect("makes a secret")
    }

    struct Ask<'a>(&'a View, &'a Sealer, Asker, u64);

    impl Ask<'_> {
        fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Said {
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            respond(self.0, self.1, self.2, &request.body(()).expect("a request"), self.3)
        }

        fn token(&self, ttl: &str) -> String {
            let said = self.ask("PUT", TOKEN, &[(TTL_HEADER, ttl)]);
            assert_eq!(said.status, 200);
            String::from_utf8(said.body).expect("text")
        }

        fn with(&self, token: &str) -> u16 {
            self.ask("GET", ID, &[(TOKEN_HEADER, token)]).status
        }
    }

    #[test]
    fn only_a_token_of_this_run_of_this_instance_opens_what_tokens_are_required_for() {
        let (view, sealer) = (view(|_| {}), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        assert_eq!(own.ask("GET", ID, &[]).status, 401);
        let token = own.token("60");
        assert_eq!(
            own.ask("GET", ID, &[(TOKEN_HEADER, &token)]),
            Said::ok("text/plain", b"i-00000000000000001".to_vec())
        );
        assert_eq!((own.with("made up"), own.with("")), (401, 401));
        assert_eq!(Ask(&view, &sealer, OTHER, 1000).with(&token), 401);
        assert_eq!(Ask(&self::view(|vm| vm.run = 2), &sealer, OWN, 1000).with(&token), 401);
        let (good, over) = (Ask(&view, &sealer, OWN, 1059), Ask(&view, &sealer, OWN, 1060));
        assert_eq!((good.with(&token), over.with(&token)), (200, 401));
    }

    #[test]
    fn where_no_token_is_required_a_bad_one_is_still_bad() {
        let (view, sealer) = (view(open), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        assert_eq!((own.ask("GET", ID, &[]).status, own.with("made up")), (200, 401));
    }

    #[test]
    fn tokens_are_refused_to_proxies_and_for_foolish_times() {
        let (view, sealer) = (view(|_| {}), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        let put = |headers: &[(&str, &str)]| own.ask("PUT", TOKEN, headers).status;
        for forwarded in [&[("X-FORWARDED-FOR", "")][..], &[("x-forwarded-for", "1.2.3.4"), ("X-Forwarded-For", "x")]] {
            assert_eq!(put(&[&[(TTL_HEADER, "60")], forwarded].concat()), 403);
        }
        let times = [("0", 400), ("1", 200), ("21600", 200), ("21601", 400), ("-1", 400), ("1e4", 400), ("", 400)];
        for (ttl, status) in times {
            assert_eq!(put(&[(TTL_HEADER, ttl)]), status, "{ttl}");
        }
        assert_eq!((put(&[]), put(&[(TTL_HEADER, "60"), ("content-length", "5")])), (400, 413));
    }

    #[test]
    fn only_a_token_is_kept_near() {
        let (view, sealer) = (view(open), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        assert_eq!(own.ask("PUT", TOKEN, &[(TTL_HEADER, "60")]).hops, Some(2));
        assert_eq!(own.ask("PUT", TOKEN, &[(TTL_HEADER, "0")]).hops, None);
        assert_eq!(own.ask("GET", ID, &[]).hops, None);
    }

    #[test]
    fn who_asks_is_decided_by_the_interface_and_the_address_together() {
        let (view, sealer) = (view(open), sealer());
        let lies = [("Host", "10.0.0.6"), ("X-Forwarded-For", "10.0.0.6"), ("X-Instance-Id", "i-00000000000000002")];
        let said = |index, from| Ask(&view, &sealer, Asker { index, from }, 1000).ask("GET", ID, &lies);
        assert_eq!(said(OWN.index, OWN.from).body, b"i-00000000000000001");
        assert_eq!(said(OWN.index, OTHER.from).status, 404);
        assert_eq!(said(OTHER.index, OWN.from).status, 404);
        assert_eq!(said(8, OWN.from).status, 404);
    }

    #[test]
    fn statuses_are_those_of_ec2() {
        let (view, sealer) = (view(open), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        let asks = [
            ("GET", "/"),
            ("GET", "/latest/meta-data"),
            ("HEAD", "/latest/meta-data/"),
            ("GET", "/latest/meta-data/?x=y"),
            ("POST", "/latest/meta-data/"),
            ("OPTIONS", "*"),
            ("GET", TOKEN),
            ("GET", "/latest/api/token/"),
            ("PUT", "/latest/user-data"),
            ("GET", "/latest/meta-data/iam/security-credentials/"),
            ("GET", "/latest/meta-data/../meta-data/"),
            ("GET", "//latest/meta-data/"),
            ("GET", "/latest/meta-data/%2e%2e/user-data"),
        ];
        let lines = asks.map(|(method, path)| {
            let said = own.ask(method, path, &[]);
            format!("{method} {path} {} {}", said.status, said.allow.unwrap_or_default()).trim_end().to_owned()
        });
        expect![[r#"
            GET / 200
            GET /latest/meta-data 200
            HEAD /latest/meta-data/ 200
            GET /latest/meta-data/?x=y 200
            POST /latest/meta-data/ 405 GET, HEAD
            OPTIONS * 404
            GET /latest/api/token 405 PUT
            GET /latest/api/token/ 405 PUT
            PUT /latest/user-data 405 GET, HEAD
            GET /latest/meta-data/iam/security-credentials/ 404
            GET /latest/meta-data/../meta-data/ 404
            GET //latest/meta-data/ 404
            GET /latest/meta-data/%2e%2e/user-data 404"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn a_closed_endpoint_says_nothing() {
        let (view, sealer) = (view(|vm| vm.metadata.options.endpoint = false), sealer());
        let own = Ask(&view, &sealer, OWN, 1000);
        let said = [own.ask("GET", "/latest/meta-data/", &[]), own.ask("PUT", TOKEN, &[(TTL_HEADER, "60")])];
        assert_eq!(said.map(|s| s.status), [403, 403]);
    }

    #[test]
    fn over_ipv6_only_those_are_answered_who_chose_it() {
        let from = |index| Asker { index, from: IPV6.into() };
        for (on, status) in [(false, 403), (true, 200)] {
            let (view, sealer) = (view(|vm| vm.metadata.options.ipv6 = on), sealer());
            let (mut view, own) = (view, from(OTHER.index));
            Arc::make_mut(&mut view.plan).vms[1].metadata.options =
                awan_model::instance::MetadataOptions { ipv6: on, tokens_required: false, ..Default::default() };
            assert_eq!(Ask(&view, &sealer, own, 1000).ask("GET", ID, &[]).status, status);
            assert_eq!(Ask(&view, &sealer, from(OWN.index), 1000).ask("GET", ID, &[]).status, 404, "another's");
            assert_eq!(Ask(&view, &sealer, OTHER, 1000).ask("GET", ID, &[]).status, 200, "IPv4 stays");
        }
    }

    #[test]
    fn an_answer_becomes_http() {
        let (view, sealer) = (view(|_| {}), sealer());
        let http = Ask(&view, &sealer, OWN, 1000).ask("PUT", TOKEN, &[(TTL_HEADER, "60")]).http();
        assert_eq!(http.headers().get(TTL_HEADER).map(hyper::header::HeaderValue::as_bytes), Some(&b"60"[..]));
    }
}
