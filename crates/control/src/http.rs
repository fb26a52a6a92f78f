//! Bytes in, bytes out: one address for all services.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use awan_state::Tenant;
use awan_wire::query::Params;
use awan_wire::{rest, sigv4};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::auth::{self, Caller};
use crate::control::Control;
use crate::dispatch::{Input, Service, Told, dispatch, is_one_transaction};
use crate::error::{Code, Error, Result, refuse};
use crate::through::must_lead_to;

const BODY_MAX: usize = 1024 * 1024;
const QUERY_MAX: usize = 64 * 1024;
/// A client that sends its request slower than this is cut off.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

pub fn router(control: Arc<Control>) -> Router {
    Router::new().fallback(handle).with_state(control)
}

async fn handle(State(control): State<Arc<Control>>, request: Request) -> Response {
    let request_id = control.request_id();
    let (service, outcome) = respond(&control, request, &request_id).await;
    let Told { status, content_type, headers: more, body } =
        outcome.unwrap_or_else(|error| service.refused(&error, &request_id));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache, no-store")];
    let mut response = (status, headers, Body::from(body)).into_response();
    for (name, value) in more {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Ok(value) = request_id.parse() {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

async fn respond(control: &Arc<Control>, request: Request, request_id: &str) -> (Service, Result<Told>) {
    let mut log = Line::new(control, request_id);
    let outcome = serve(control, request, request_id, &mut log).await;
    let (account, action) = (log.account.as_str(), log.action.as_str());
    if let Err(Error::Fault(fault)) = &outcome {
        tracing::error!(request_id, account, action, error = format!("{fault:#}"), "request failed");
    }
    log.code = outcome.as_ref().err().map_or("", Error::code);
    (log.service.unwrap_or(Service::Ec2), outcome)
}

/// The audit line of a request, as far as it got. It is written when the request ends, however that is: a client that
/// hangs up drops it half-way, while its action may go on.
struct Line<'r> {
    control: &'r Control,
    request_id: &'r str,
    began: std::time::Instant,
    account: String,
    /// The ARN of who asked.
    principal: String,
    action: String,
    service: Option<Service>,
    code: &'static str,
}

const CLIENT_GONE: &str = "ClientGone";

impl<'r> Line<'r> {
    fn new(control: &'r Control, request_id: &'r str) -> Self {
        let (account, principal, action) = (String::new(), String::new(), String::new());
        Self {
            control,
            request_id,
            began: std::time::Instant::now(),
            account,
            principal,
            action,
            service: None,
            code: CLIENT_GONE,
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Self { control, request_id, account, principal, action, code, .. } = self;
        tracing::info!(target: "audit", request_id, account, principal, action, code, took_us = took);
        control.count(action, code);
    }
}

async fn serve(control: &Arc<Control>, request: Request, request_id: &str, log: &mut Line<'_>) -> Result<Told> {
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
    // Who cannot even sign reads the answer of the service that the request names.
    log.service = Service::targeted(target, head.uri.path());
    let method = head.method.as_str();
    if !matches!(method, "GET" | "POST") && !log.service.is_some_and(|service| service.takes(method)) {
        return Err(method_not_allowed());
    }
    let query = head.uri.query().unwrap_or_default();
    let too_large = || refuse(Code::RequestEntityTooLarge, "The request is larger than this service accepts.");
    if query.len() > QUERY_MAX {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_MAX)).await;
    let body =
        body.map_err(|_| refuse(Code::RequestExpired, "The request body did not arrive."))?.map_err(|_| too_large())?;
    let headers = plain(&head.headers);
    let parts = sigv4::Parts { method, path: head.uri.path(), query, headers: &headers, body: &body };
    let presented = sigv4::parse(&parts)?;
    // A refusal too is read by the client of the service that was signed for.
    log.service = Service::signed(&presented.service).or(log.service);
    let caller = auth::verify(control, &presented, &parts)?;
    if let Some(through) = head.extensions.get() {
        must_lead_to(control, through, caller.service, &presented.region)?;
    }
    caller.tenant.home.account().clone_into(&mut log.account);
    log.principal = caller.tenant.principal.to_string();
    if let Err(e) = auth::note(control, &caller).await {
        // What only reads needs no room.
        tracing::warn!(request_id, error = %e, "that a key was used is not noted");
    }
    let Caller { tenant, service, .. } = caller;
    let form = head.headers.get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok()).unwrap_or_default();
    let input = match service.routes() {
        Some(routes) => {
            let (route, path) = rest::route(routes, method, head.uri.path()).ok_or_else(no_route)?;
            Input::Rest { route, said: rest::Said { path, query: rest::query(query)?, headers, body: body.into() } }
        }
        None if !service.takes(method) => return Err(method_not_allowed()),
        None => input(service, target, query, form, &body)?,
    };
    log.action = input.action().unwrap_or_default().chars().take(80).collect();
    run(control, tenant, service, input, request_id.to_owned()).await
}

fn method_not_allowed() -> Error {
    refuse(Code::MethodNotAllowed, "The specified method is not allowed against this resource.")
}

fn no_route() -> Error {
    refuse(Code::InvalidAction, "The method and the path name no operation of this service.")
}

/// A panic in an action fails that request, and no other.
///
/// One transaction is decided here. A task of its own would wake another thread for each request, which takes longer
/// than much of what is asked. What is more than one goes on when its client hangs up, so it is a task.
async fn run(
    control: &Arc<Control>,
    tenant: Tenant,
    service: Service,
    input: Input,
    request_id: String,
) -> Result<Told> {
    let is_one = is_one_transaction(service, &input);
    let control = control.clone();
    let action = async move { dispatch(&control, tenant, service, &input, &request_id).await };
    let done = if is_one { caught(action).await } else { tokio::spawn(action).await.map_err(|e| e.to_string()) };
    done.map_err(|e| Error::fault(format!("an action panicked: {e}")))?
}

/// What it panics with is an error. The hook has said where.
async fn caught<T>(action: impl Future<Output = T>) -> std::result::Result<T, String> {
    let mut action = std::pin::pin!(action);
    let polled = std::future::poll_fn(|cx| {
        // What a panic may leave behind is behind locks, and those who lock say what that means.
        match catch_unwind(AssertUnwindSafe(|| action.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    polled.await.map_err(|panic| match panic.downcast::<String>() {
        Ok(said) => *said,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
    })
}

/// Versions are dates, each as good as the last one here: an older client asks for what an older version had.
const EC2_VERSIONS: (&str, &str) = ("2006-06-26", "2016-11-15");

fn is_version(text: &str) -> bool {
    let date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    date && (EC2_VERSIONS.0..=EC2_VERSIONS.1).contains(&text)
}

/// What a service that speaks JSON is asked comes in the body, its name in a header.
fn input(service: Service, target: &str, query: &str, form: &str, body: &[u8]) -> Result<Input> {
    if !service.is_json() {
        let params = params(query, form, body)?;
        let version = params.value("Version").unwrap_or(EC2_VERSIONS.1);
        if service == Service::Ec2 && !is_version(version) {
            let shown: String = version.chars().take(32).collect();
            let message =
                format!("The requested version ({}) of service AmazonEC2 does not exist", shown.escape_debug());
            return Err(refuse(Code::NoSuchVersion, message));
        }
        return Ok(Input::Form(params));
    }
    let Some(action) = service.target(target) else {
        return Err(refuse(Code::InvalidAction, "The header X-Amz-Target names no operation of this service."));
    };
    let body = std::str::from_utf8(body).map_err(|_| refuse(Code::SerializationException, "The body is not UTF-8."))?;
    Ok(Input::Json { action: action.to_owned(), body: body.to_owned() })
}

fn params(query: &str, content_type: &str, body: &[u8]) -> Result<Params> {
    let is_form = content_type.is_empty() || content_type.starts_with("application/x-www-form-urlencoded");
    if !body.is_empty() && !is_form {
        return Err(refuse(Code::MalformedQueryString, "The request body is not a form"));
    }
    Ok(Params::parse(&[query.as_bytes(), body])?)
}

/// Names in lower case as HTTP gives them; a value that is no text can be no part of a signature.
fn plain(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cloud;
    use crate::through::Through;

    #[test]
    fn a_refusal_has_the_form_of_the_service_that_was_signed_for() {
        let cloud = Cloud::new();
        for (service, root, code) in [
            ("ec2", "<Response><Errors>", "<Code>AuthFailure<"),
            ("iam", "<ErrorResponse xmlns=\"https://iam.", "<Code>InvalidClientTokenId<"),
            ("ebs", "{", "\"Message\":\"The security token included in the request is invalid.\""),
            ("logs", "{", "\"__type\":\"UnrecognizedClientException\""),
            ("rbin", "{", "\"Message\":\"The security token included in the request is invalid.\""),
            ("ssm", "{", "\"__type\":\"UnrecognizedClientException\""),
            ("sts", "<ErrorResponse xmlns=\"https://sts.", "<Code>InvalidClientTokenId<"),
            ("x", "<Response>", "<Code>AuthFailure<"),
        ] {
            let credential = format!("Credential=AKIAUNKNOWN/20261124/us-east-1/{service}/aws4_request");
            let line = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature=00");
            let request = Request::post("/").header("host", "awan").header("x-amz-date", "20261124T120000Z");
            let request = request.header("authorization", line).body(Body::empty()).expect("a request");
            let (status, body) = cloud.http(request);
            let expected = match service {
                "logs" | "ssm" => 400,
                "ebs" | "iam" | "rbin" | "sts" => 403,
                _ => 401,
            };
            assert_eq!(status, expected, "{body}");
            assert!(body.contains(root) && body.contains(code), "{body}");
        }
    }

    /// The status and the code of a request signed with these keys and these headers more.
    fn signed(cloud: &Cloud, keys: &crate::operator::Credentials, more: &[(&str, &str)]) -> (u16, String) {
        sent(cloud, keys, more, None)
    }

    /// The same by a connection that came through an endpoint.
    fn sent(
        cloud: &Cloud,
        keys: &crate::operator::Credentials,
        more: &[(&str, &str)],
        through: Option<Through>,
    ) -> (u16, String) {
        let now =
            i64::try_from(cloud.control.db.wall_clock()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let stamp = now.expect("a time").strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host".to_owned(), "awan".to_owned()), ("x-amz-date".to_owned(), stamp)];
        headers.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let body = b"Action=DescribeRegions";
        let parts = sigv4::Parts { method: "POST", path: "/", query: "", headers: &headers, body };
        let (id, secret) = (&keys.access_key_id, &keys.secret_access_key);
        let line = sigv4::authorization(secret, id, "us-east-1", "ec2", &parts).expect("signs");
        let mut request = Request::post("/").header("authorization", line);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if let Some(through) = through {
            request = request.extension(through);
        }
        let (status, body) = cloud.http(request.body(Body::from(&body[..])).expect("a request"));
        (status, Cloud::ids(&body, "Code").pop().unwrap_or_default())
    }

    #[test]
    fn a_session_token_that_belongs_to_no_session_is_refused() {
        let cloud = Cloud::new();
        let create = crate::operator::create_account(&cloud.control.db, "acme", None, "test");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let keys = runtime.block_on(create).expect("opens an account");
        assert_eq!(signed(&cloud, &keys, &[]), (200, String::new()));
        let token = [("x-amz-security-token", "of an old session")];
        assert_eq!(signed(&cloud, &keys, &token), (401, "AuthFailure".to_owned()));
    }

    #[test]
    fn an_endpoint_leads_to_its_own_service_of_its_own_region() {
        let mut cloud = Cloud::new();
        let create = crate::operator::create_account(&cloud.control.db, "other", None, "test");
        let keys = cloud.runtime.block_on(create).expect("opens an account");
        let home = awan_state::Home::new(cloud.tenant("acme").id(), "us-east-1");
        let mut call = |action: &str, ask: &[(&str, &str)]| cloud.tenant("acme").call(action, ask).expect(action);
        let vpc = Cloud::ids(&call("DescribeVpcs", &[]), "vpcId").remove(0);
        let [ec2, sts] = ["ec2", "sts"].map(|service| {
            let service = format!("com.amazonaws.us-east-1.{service}");
            let ask = [("VpcId", vpc.as_str()), ("ServiceName", &service), ("VpcEndpointType", "Interface")];
            Cloud::ids(&call("CreateVpcEndpoint", &ask), "vpcEndpointId").remove(0)
        });
        let through = |id: &str| Some(Through { home: home.clone(), endpoint: id.parse().expect("an id") });
        let refused = (401, "AuthFailure".to_owned());
        let ask = |cloud: &Cloud, id: &str| sent(cloud, &keys, &[], through(id));
        assert_eq!(ask(&cloud, &ec2), (200, String::new()), "whoever's keys they are");
        assert_eq!(ask(&cloud, &sts), refused);
        let of_region = |region| must_lead_to(&cloud.control, &through(&ec2).expect("one"), Service::Ec2, region);
        assert!(of_region("us-east-1").is_ok());
        assert_eq!(of_region("eu-west-1").expect_err("another").code(), "AuthFailure");
        cloud.tenant("acme").call("DeleteVpcEndpoints", &[("VpcEndpointId.1", &ec2)]).expect("deletes");
        assert_eq!(ask(&cloud, &ec2), refused);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut cloud = Cloud::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        cloud.pass(2 * 60 * 60 * 1000);
        let create = crate::operator::create_account(&cloud.control.db, "acme", None, "test");
        let keys = runtime.block_on(create).expect("opens an account");
        cloud.set_back(2 * 60 * 60 * 1000);
        assert_eq!(signed(&cloud, &keys, &[]), (200, String::new()));
    }

    #[test]
    fn a_panic_is_told_and_what_does_not_panic_is_left_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let later = async {
            tokio::task::yield_now().await;
            1
        };
        assert_eq!(runtime.block_on(caught(later)), Ok(1));
        for (n, told) in [(0, "none"), (1, "number 1")] {
            let broken = async {
                tokio::task::yield_now().await;
                if n == 0 { panic!("none") } else { panic!("number {n}") }
            };
            assert_eq!(runtime.block_on(caught::<()>(broken)), Err(told.to_owned()));
        }
    }

    #[test]
    fn a_request_that_its_client_gave_up_has_its_audit_line() {
        let cloud = Cloud::new();
        drop(Line::new(&cloud.control, "request"));
        assert!(cloud.control.metrics().contains("code=\"ClientGone\"} 1"), "{}", cloud.control.metrics());
    }
}
