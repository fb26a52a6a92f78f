//! From a verified request to its answer: which action, with what around it.
//!
//! What every action gets here and none contains: account scope, DryRun, conflict retry, the transaction, the error
//! body, the audit line.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use awan_state::{Tenant, Tx};
use awan_wire::names::{self, Name};
use awan_wire::query::{Dialect, Params, ReadError};
use awan_wire::rest::{self, Route};
use awan_wire::shape::Shape;
use awan_wire::{ebs, json, rbin, xml};

use crate::actions::ACTIONS;
use crate::control::Control;
use crate::error::{Code, Error, Refusal, Result, missing, refuse};

mod refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Ebs,
    Ec2,
    Iam,
    Logs,
    Rbin,
    Ssm,
    Sts,
}

/// What was asked, as it came.
pub enum Input {
    Form(Params),
    /// The name came in a header.
    Json {
        action: String,
        body: String,
    },
    /// The name followed from the method and the path.
    Rest {
        route: &'static Route,
        said: rest::Said,
    },
}

impl Input {
    pub fn action(&self) -> Option<&str> {
        match self {
            Self::Form(params) => params.value("Action"),
            Self::Json { action, .. } => Some(action),
            Self::Rest { route, .. } => Some(route.action),
        }
    }

    /// The attribute that a `Describe…Attribute` asks for.
    fn attribute(&self, action: &str) -> Option<&str> {
        match self {
            Self::Form(params) if action.starts_with("Describe") && action.ends_with("Attribute") => {
                params.value("Attribute")
            }
            _ => None,
        }
    }

    fn is_dry_run(&self) -> bool {
        matches!(self, Self::Form(params) if is_dry_run(params))
    }
}

impl From<Params> for Input {
    fn from(params: Params) -> Self {
        Self::Form(params)
    }
}

/// What is answered, for HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Told {
    fn text(service: Service, body: String) -> Self {
        Self { status: 200, content_type: service.content_type(), headers: Vec::new(), body: body.into_bytes() }
    }

    /// What services say that say no bytes.
    pub fn into_text(self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub type Answer = Option<Box<dyn Shape>>;
type Later = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

pub struct Action {
    pub name: &'static str,
    pub service: Service,
    pub writes: bool,
    pub call: Call,
}

pub enum Call {
    /// A decision: one account, one snapshot.
    Tx(fn(&mut Tx<Tenant>, &Query<'_>) -> Result<Answer>),
    /// Needs what no snapshot has: a host's live answer, a key that takes a second to make.
    Live(fn(Live, &Query<'_>) -> Later),
}

/// Who asks, for actions that are more than one transaction.
#[derive(Clone)]
pub struct Live {
    pub control: Arc<Control>,
    pub tenant: Tenant,
    pub request_id: String,
}

/// The parameters of a request, to be read once as the action's type.
pub struct Query<'p> {
    pub input: &'p Input,
    pub service: Service,
}

impl Query<'_> {
    pub fn read<T: Shape + Default>(&self) -> Result<T> {
        match self.input {
            Input::Form(params) => Ok(params.read(self.service.dialect())?),
            Input::Json { body, .. } => Ok(json::read(body)?),
            Input::Rest { said, .. } => Ok(rest::read(said)?),
        }
    }
}

impl From<ReadError> for Error {
    fn from(e: ReadError) -> Self {
        Self::Refusal(Refusal { code: e.code, message: e.message })
    }
}

impl Service {
    /// By the name that the client signed.
    pub fn signed(name: &str) -> Option<Self> {
        match name {
            "ebs" => Some(Self::Ebs),
            "ec2" => Some(Self::Ec2),
            "iam" => Some(Self::Iam),
            "logs" => Some(Self::Logs),
            "rbin" => Some(Self::Rbin),
            "ssm" => Some(Self::Ssm),
            "sts" => Some(Self::Sts),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ebs => "ebs",
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Logs => "logs",
            Self::Rbin => "rbin",
            Self::Ssm => "ssm",
            Self::Sts => "sts",
        }
    }

    /// One set of records for all regions.
    pub fn is_global(self) -> bool {
        matches!(self, Self::Iam | Self::Sts)
    }

    /// What its answers are, for HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ebs | Self::Rbin => "application/json",
            Self::Logs | Self::Ssm => "application/x-amz-json-1.1",
            Self::Ec2 | Self::Iam | Self::Sts => "text/xml;charset=UTF-8",
        }
    }

    /// It speaks awsJson 1.1.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Logs | Self::Ssm)
    }

    /// What stands before the action in the header that names it.
    fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Logs => Some("Logs_20140328."),
            Self::Ssm => Some("AmazonSSM."),
            Self::Ebs | Self::Ec2 | Self::Iam | Self::Rbin | Self::Sts => None,
        }
    }

    /// What a service that speaks REST is asked; `None`: it speaks otherwise.
    pub fn routes(self) -> Option<&'static [Route]> {
        match self {
            Self::Ebs => Some(&ebs::ROUTES),
            Self::Rbin => Some(&rbin::ROUTES),
            Self::Ec2 | Self::Iam | Self::Logs | Self::Ssm | Self::Sts => None,
        }
    }

    /// Whether anything is asked of it by this method of HTTP.
    pub fn takes(self, method: &str) -> bool {
        self.routes().map_or(matches!(method, "GET" | "POST"), |all| all.iter().any(|route| route.method == method))
    }

    /// The action that a header of this service names.
    pub fn target(self, header: &str) -> Option<&str> {
        header.strip_prefix(self.prefix()?)
    }

    /// The service that a header names, or a path.
    pub fn targeted(header: &str, path: &str) -> Option<Self> {
        let named = [Self::Logs, Self::Ssm].into_iter().find(|service| service.target(header).is_some());
        named.or_else(|| match path.split('/').nth(1)? {
            "snapshots" => Some(Self::Ebs),
            "rules" | "list-rules" | "tags" => Some(Self::Rbin),
            _ => None,
        })
    }

    fn dialect(self) -> Dialect {
        if self == Self::Ec2 { Dialect::Ec2 } else { Dialect::AwsQuery }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Ebs | Self::Logs | Self::Rbin | Self::Ssm => "",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }

    fn names(self) -> &'static [Name] {
        match self {
            Self::Ebs => &names::EBS,
            Self::Ec2 => &names::EC2,
            Self::Iam => &names::IAM,
            Self::Logs => &names::LOGS,
            Self::Rbin => &names::RBIN,
            Self::Ssm => &names::SSM,
            Self::Sts => &names::STS,
        }
    }

    fn known(self, action: &str) -> Option<&'static Name> {
        let names = self.names();
        names.binary_search_by(|(name, _)| (*name).cmp(action)).ok().map(|at| &names[at])
    }

    pub fn error(self, error: &Error, request_id: &str) -> String {
        match self {
            Self::Ebs | Self::Rbin => rest::error_body(&error.message(), refusal::reason(error.code())),
            Self::Logs => json::answer_error(refusal::logs_code(error.code()), &error.message()),
            Self::Ssm => json::answer_error(refusal::json_code(error.code()), &error.message()),
            Self::Ec2 => xml::ec2_error(error.code(), &error.message(), request_id),
            Self::Iam | Self::Sts => {
                let ours = error.status() >= 500;
                xml::query_error(self.namespace(), error.code(), &error.message(), request_id, ours)
            }
        }
    }

    /// Why not, for HTTP.
    pub fn refused(self, error: &Error, request_id: &str) -> Told {
        let told = Told::text(self, self.error(error, request_id));
        let kind = || ("x-amzn-errortype", refusal::kind(error.code()).to_owned());
        let headers = self.routes().map(|_| kind()).into_iter().collect();
        Told { status: self.status(error), headers, ..told }
    }

    /// Services that speak JSON say by the code alone what went wrong.
    fn status(self, error: &Error) -> u16 {
        match error.status() {
            ours if self.routes().is_some() => refusal::status(refusal::kind(error.code())).unwrap_or(ours),
            ours if ours >= 500 => ours,
            _ if self.is_json() => 400,
            theirs => theirs,
        }
    }

    fn answer(self, action: &str, answer: &mut Answer, request_id: &str, only: Option<&str>) -> String {
        let shape = answer.as_mut().map(|shape| &mut **shape as &mut dyn Shape);
        match self {
            Self::Ebs | Self::Logs | Self::Rbin | Self::Ssm => json::answer(shape),
            Self::Ec2 => xml::ec2_of(action, request_id, shape, only),
            Self::Iam | Self::Sts => xml::query(self.namespace(), action, request_id, shape),
        }
    }
}

static BY_NAME: LazyLock<HashMap<(Service, &str), &Action>> =
    LazyLock::new(|| ACTIONS.iter().map(|action| ((action.service, action.name), action)).collect());

/// The body of a successful answer, or why not.
pub async fn dispatch(
    control: &Arc<Control>,
    tenant: Tenant,
    service: Service,
    input: &Input,
    request_id: &str,
) -> Result<Told> {
    let name = input.action().ok_or_else(|| missing("Action"))?;
    let Some(action) = BY_NAME.get(&(service, name)) else {
        return absent(service, name, input, request_id).map(|body| Told::text(service, body));
    };
    let query = Query { input, service };
    let mut answer = match &action.call {
        Call::Tx(call) => transact(control, tenant, action, *call, &query, request_id).await?,
        Call::Live(call) => {
            let live = Live { control: control.clone(), tenant, request_id: request_id.to_owned() };
            call(live, &query).await?
        }
    };
    if let Input::Rest { route, .. } = input {
        let rest::Answer { headers, mut body, raw } = rest::answer(answer.as_mut().map(|shape| &mut **shape as _));
        // HTTP has no body with this status.
        if route.status == 204 {
            body.clear();
        }
        let content_type = if raw { "application/octet-stream" } else { service.content_type() };
        return Ok(Told { status: route.status, content_type, headers, body });
    }
    let body = service.answer(action.name, &mut answer, request_id, input.attribute(action.name));
    Ok(Told::text(service, body))
}

/// Whether an action is done when it is decided: nothing waits that a client could hang up on, but for its commit.
pub fn is_one_transaction(service: Service, input: &Input) -> bool {
    let action = input.action().and_then(|name| BY_NAME.get(&(service, name)));
    action.is_none_or(|action| matches!(action.call, Call::Tx(_)))
}

async fn transact(
    control: &Arc<Control>,
    tenant: Tenant,
    action: &Action,
    call: fn(&mut Tx<Tenant>, &Query<'_>) -> Result<Answer>,
    query: &Query<'_>,
    request_id: &str,
) -> Result<Answer> {
    if query.input.is_dry_run() {
        control.db.rehearse(tenant, |tx| call(tx, query))?;
        return Err(dry_run_succeeded());
    }
    if action.writes {
        control.db.transact(tenant, request_id, |tx| call(tx, query)).await
    } else {
        control.db.read(tenant, |tx| call(tx, query))
    }
}

pub fn is_dry_run(params: &Params) -> bool {
    params.value("DryRun").is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1")
}

pub fn dry_run_succeeded() -> Error {
    refuse(Code::DryRunOperation, "Request would have succeeded, but DryRun flag is set.")
}

/// A name that the API has and Awan has not, or that nobody has.
fn absent(service: Service, name: &str, input: &Input, request_id: &str) -> Result<String> {
    let Some((known, lists)) = service.known(name) else {
        let shown: String = name.chars().take(100).collect();
        let message = format!("The action {} is not valid for this web service.", shown.escape_debug());
        return Err(refuse(Code::InvalidAction, message));
    };
    // Clients that look around before they act find nothing, which is true.
    if service == Service::Ec2 && ["Describe", "List", "Get"].iter().any(|verb| known.starts_with(verb)) {
        return if input.is_dry_run() {
            Err(dry_run_succeeded())
        } else {
            Ok(xml::ec2_empty(known, request_id, lists))
        };
    }
    if service == Service::Iam && known.starts_with("List") {
        return Ok(xml::query_empty(service.namespace(), known, request_id, lists));
    }
    Err(refuse(Code::UnsupportedOperation, format!("The operation {known} is not supported.")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use awan_model::instance::Exit;
    use awan_state::{Committed, MemoryStore, Page, Store, StoreError, Txn};

    use super::*;
    use crate::testing::Cloud;

    /// Has no room but the reserve while it is told so.
    #[derive(Clone, Default)]
    struct Brimful(Arc<(MemoryStore, AtomicBool)>);

    impl Store for Brimful {
        fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> std::result::Result<Page, StoreError> {
            self.0.0.range(prefix, after, limit)
        }
        fn commit(&self, batch: &[Txn]) -> std::result::Result<Committed, StoreError> {
            let modest = !batch.is_empty() && batch.iter().all(|txn| txn.reserve);
            if self.0.1.load(Ordering::Relaxed) && !modest {
                return Err(StoreError::Full("test".into()));
            }
            self.0.0.commit(batch)
        }
    }

    #[test]
    fn without_room_a_cloud_shows_what_it_has_and_can_end_it() {
        let store = Brimful::default();
        let mut cloud = Cloud::on(Box::new(store.clone()), 1_000, 1_000_000);
        let (id, other) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        cloud.audit();
        store.0.1.store(true, Ordering::Relaxed);
        let kind = [("AvailabilityZone", "us-east-1a"), ("Size", "1")];
        for _ in 0..2 {
            let refused = cloud.tenant("acme").run_with(&[]).expect_err("there is no room");
            assert_eq!(refused, "the store has no room: test");
            assert_eq!(cloud.tenant("acme").call("CreateVolume", &kind).expect_err("there is no room"), refused);
        }
        let told = Error::from(awan_state::DbError::from(StoreError::Full("test".into())));
        assert_eq!((told.status(), told.code(), told.message().contains("no room")), (503, "Unavailable", true));
        assert!(cloud.control.metrics().contains("\nawan_store_refusing 1\n"));
        assert_eq!(cloud.tenant("acme").instances().len(), 2);
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &other)]).expect("gives room back");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("gives room back");
        for id in [&id, &other] {
            cloud.declare_over(id, Exit::Asked);
        }
        cloud.settle();
        assert_eq!((cloud.state("acme", &id), cloud.state("acme", &other)), ("terminated".into(), "stopped".into()));
        assert_eq!(cloud.counts(), (0, 1), "places, volumes");
        cloud.audit();
        store.0.1.store(false, Ordering::Relaxed);
        cloud.tenant("acme").run();
        assert!(cloud.control.metrics().contains("\nawan_store_refusing 0\n"));
        cloud.audit();
    }
}
