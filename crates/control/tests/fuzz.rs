//! Requests made by a grammar that knows the API, and broken on purpose: no answer is ours to blame (5xx), none panics,
//! every action succeeds now and then, a dry run is answered as the real request is, and the records agree in the end.
//!
//! Replay of one seed: `AWAN_FUZZ_SEED=N AWAN_FUZZ_COUNT=M cargo test -p awan-control --test fuzz`.

mod grammar;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use awan_control::actions::ACTIONS;
use awan_control::operator::{self, Builtin, Credentials};
use awan_control::{Control, Settings, audit, http, plan, turn};
use awan_model::capacity::Preference;
use awan_model::export::ExportPhase;
use awan_model::host::Capacity;
use awan_model::id::{HostId, InterfaceId};
use awan_model::image::Boot;
use awan_model::import::{ImportPhase, Merged};
use awan_model::instance::{DiskSeen, Exit, Health, Instance, InterfaceSeen, Phase, Wish};
use awan_model::log_group::{Events, StreamSeen, Streams};
use awan_model::plan::{ContentPlan, DiskPlan, ExportPlan, PROTOCOL};
use awan_model::report::{Answer, Ask, BLOCK, BlockSeen, BlocksSeen, ContentSeen, ExportSeen, Octets, Report, VmSeen};
use awan_state::{Clock, Entropy, MemoryStore, Millis, Mode, System, Tx};
use awan_wire::sigv4;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use nix::time::{ClockId, clock_gettime};
use rand::RngExt as _;
use tower::ServiceExt as _;

use grammar::{Call, Grammar, STORIES, Teller, text};

/// Between two rounds of the hosts.
const ROUND: u64 = 50;
/// Between two stories.
const STORY: u64 = 1_000;
/// EC2 answers this with 500, too. The host has room without end: who may run in capacity reservations only, and finds none,
/// is alone to hear it. Source: "Error codes".
const NO_ROOM: &str = "InsufficientInstanceCapacity";
/// The requests of one world. What they leave behind makes it larger and slower, as no one world of a user's would be.
const WORLD: u64 = 100_000;
/// No request may take more of a processor.
const WORK_MAX: Duration = Duration::from_millis(50);
/// The first works only once all that is in the default VPC is gone, and that chance rarely brings about. The second has
/// an answer for instances that boot by UEFI, and none does.
const SELDOM: [&str; 2] = ["CreateDefaultVpc", "GetInstanceUefiData"];
/// When there are more instances, some are terminated.
const INSTANCES_MAX: usize = 60;

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

struct Cloud {
    control: Arc<Control>,
    clock: Arc<TestClock>,
    runtime: tokio::runtime::Runtime,
    keys: Credentials,
    /// The request that took the most work so far: what it took, its answer's beginning.
    slowest: RefCell<(Duration, String)>,
}

/// Status and body.
type Told = (u16, String);

impl Cloud {
    fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(1_795_521_600_000)));
        let store = Box::<MemoryStore>::default();
        let control = Control::open(store, Mode::Inline, clock.clone(), Entropy::seeded(1)).expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let public_pool = "198.18.0.0/16".parse().expect("a network");
        let ipv6_pool = "2001:db8:a00::/40".parse().ok();
        let settings = Settings {
            regions: vec!["us-east-1".into()],
            zones_per_region: 3,
            public_pool,
            ipv6_pool,
            master_keys: vec!["0badcafe".into()],
        };
        let image = Builtin {
            name: "awan-tiny-fuzz".into(),
            description: String::new(),
            digest: "51a7ed00000000000000000000000001".into(),
            size_gib: 1,
            boot: Boot::Firmware,
        };
        let keys = runtime.block_on(async {
            operator::install(&control.db, &settings).await.expect("installs");
            operator::register_builtin(&control.db, &image).await.expect("registers");
            operator::create_account(&control.db, "fuzz", None, "test").await.expect("opens an account")
        });
        let cloud = Self { control, clock, runtime, keys, slowest: RefCell::default() };
        let mut asks = cloud.control.hosts.connect(&host()).asks;
        cloud.runtime.spawn(async move {
            while let Some((ask, answer)) = asks.recv().await {
                let _ = answer.send(match ask {
                    Ask::Interrupt { .. } => Answer::Done,
                    Ask::Screenshot { .. } => Answer::Screenshot { jpeg: vec![0xff, 0xd8] },
                    Ask::LogEvents { .. } => Answer::LogEvents(Events::default()),
                    Ask::LogStreams { streams: Streams::Named(names), .. } => {
                        let seen = |name| StreamSeen { name, created: 1, first: 1, last: 1, ingested: 1 };
                        Answer::LogStreams(names.into_iter().map(seen).collect())
                    }
                    Ask::LogStreams { .. } => Answer::LogStreams(Vec::new()),
                    Ask::Blocks { .. } => {
                        let blocks = vec![BlockSeen { index: 0, before: true }];
                        Answer::Blocks(BlocksSeen { blocks, next: None })
                    }
                    Ask::Block { .. } => Answer::Block { bytes: Octets(vec![b'7'; BLOCK]) },
                    Ask::PutBlock { .. } | Ask::Bucket { .. } => Answer::Done,
                    Ask::Written { .. } => Answer::Written { blocks: 1, sha256: [7; 32] },
                    Ask::Console { .. } | Ask::Inventory | Ask::Traffic => {
                        Answer::Console { output: b"booted\r\n".to_vec() }
                    }
                });
            }
        });
        cloud.round();
        cloud
    }

    /// The host does all that its plan says, and the control plane all that follows.
    fn round(&self) {
        let plans = self.control.db.read(System, |tx| plan::all(tx, 0));
        let content = |plan: &ContentPlan| {
            let phase = match plan.size_gib {
                0 => ImportPhase::Waiting { size_gib: 1 },
                size_gib => ImportPhase::Kept { size_gib, bytes: 1 },
            };
            let merged = plan.merge.clone().map(|merge| Merged::Onto { below: merge.below });
            ContentSeen { home: plan.home.clone(), id: plan.id.clone(), phase, merged }
        };
        let contents = plans.values().flat_map(|plan| &plan.contents).map(content).collect();
        let export = |plan: &ExportPlan| {
            let phase = if plan.cancelled { ExportPhase::Gone } else { ExportPhase::Kept { bytes: 1 } };
            ExportSeen { home: plan.home.clone(), id: plan.id.clone(), phase }
        };
        let exports = plans.values().flat_map(|plan| &plan.exports).map(export).collect();
        let all = plans.values().flat_map(|plan| &plan.network.vpcs).flat_map(|vpc| &vpc.interfaces);
        let macs: HashMap<_, _> = all.map(|interface| (interface.id.clone(), interface.mac)).collect();
        let volumes = plans.values().flat_map(|plan| &plan.volumes);
        let limits: HashMap<_, _> = volumes.map(|v| (v.id.clone(), v.limits)).collect();
        let vms = plans.into_values().flat_map(|plan| plan.vms).map(|vm| {
            let on = vm.wish == Wish::On;
            let phase = if on { Phase::Running } else { Phase::Exited };
            let exit = (!on).then_some(Exit::Asked);
            let metadata = vm.metadata.options.changes;
            let seen = |disk: &DiskPlan| {
                let (volume, limits) = (disk.volume.clone(), limits.get(&disk.volume).copied());
                DiskSeen { volume, size_gib: u32::MAX, attached: true, limits, failed: false }
            };
            let disks = vm.disks.iter().filter(|_| on).map(seen).collect();
            let card = |id: &InterfaceId| InterfaceSeen { mac: macs[id], attached: true };
            let interfaces: Vec<_> = vm.interfaces.iter().filter(|_| on).map(card).collect();
            let free_interface_ports = vm.interfaces_max.saturating_sub(u32::try_from(interfaces.len()).unwrap_or(0));
            VmSeen {
                home: vm.home,
                id: vm.id,
                run: vm.run,
                phase,
                reboots: vm.reboots,
                health: Health::Ok,
                exit,
                metadata,
                disks,
                interfaces,
                device_changes: vm.device_changes,
                free_ports: 4,
                free_interface_ports,
            }
        });
        let report = Report {
            protocol: PROTOCOL,
            host: host(),
            zone: "*".into(),
            region: "*".into(),
            capacity: Capacity { vcpus: u32::MAX, memory_mib: 1 << 50, disk_gib: 1 << 50 },
            accelerator: "simulated".into(),
            note: String::new(),
            address: String::new(),
            plan: 0,
            vms: vms.collect(),
            volumes: Vec::new(),
            contents,
            takes_exports: true,
            exports,
            traffic: Vec::new(),
        };
        self.runtime.block_on(self.control.hosts.report(&self.control.db, report)).expect("takes the report in");
        turn::turn(&self.control, None).expect("a turn");
    }

    fn send(&self, request: Request<Body>) -> Told {
        let began = cpu_time();
        let told = self.runtime.block_on(async {
            let response = http::router(self.control.clone()).oneshot(request).await.expect("answers");
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
            (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
        });
        let took = cpu_time().saturating_sub(began);
        if took > self.slowest.borrow().0 {
            *self.slowest.borrow_mut() = (took, told.1.chars().take(200).collect());
        }
        told
    }

    /// Terminates some instances when there are many, and lets what is terminated be forgotten.
    fn tidy(&self, grammar: &mut Grammar) {
        let instances = || self.control.db.read(System, Tx::all::<Instance>);
        if instances().len() <= INSTANCES_MAX {
            return;
        }
        for instance in instances().iter().skip(INSTANCES_MAX / 4) {
            for query in [
                format!("Action=ModifyInstanceAttribute&InstanceId={}&DisableApiTermination.Value=false", instance.id),
                format!("Action=TerminateInstances&InstanceId.1={}", instance.id),
            ] {
                self.send(self.signed(grammar, &Call::form("ec2", query), Signed::Right));
            }
        }
        self.round();
        self.clock.0.fetch_add(awan_control::reconcile::VISIBLE_MS + 1, Ordering::Relaxed);
        self.round();
        grammar.forget("i-");
    }

    /// Does this ask for, or of, an instance that runs in capacity reservations only?
    fn reserved_only(&self, body: &str) -> bool {
        let instances = self.control.db.read(System, Tx::all::<Instance>);
        let bound = |instance: &Instance| matches!(instance.options.capacity, Preference::Only | Preference::Target(_));
        let body = percent_encoding::percent_decode_str(body).decode_utf8_lossy();
        body.contains("capacity-reservations-only")
            || instances.iter().any(|instance| bound(instance) && body.contains(instance.id.as_str()))
    }

    fn signed(&self, grammar: &mut Grammar, call: &Call, signed: Signed) -> Request<Body> {
        let now = i64::try_from(self.clock.now()).expect("a time");
        let shift = if signed == Signed::Late { 3_600_000 } else { 0 };
        let stamp = jiff::Timestamp::from_millisecond(now - shift).expect("a time");
        let form = "application/x-www-form-urlencoded".to_owned();
        let headers = [
            ("content-type", form),
            ("host", "awan".into()),
            ("x-amz-date", stamp.strftime("%Y%m%dT%H%M%SZ").to_string()),
        ];
        let target = call.target.iter().map(|target| ("x-amz-target", target.clone()));
        let mut headers: Vec<_> = headers.into_iter().chain(target).map(|(n, v)| (n.to_owned(), v)).collect();
        let get = signed == Signed::Get;
        let (mut method, mut query, body) = if get { ("GET", &*call.body, "") } else { ("POST", "", &*call.body) };
        let mut path = "/";
        if let Some(rest) = &call.rest {
            (method, path, query) = (rest.method, &rest.path, &rest.query);
            headers.extend(rest.headers.iter().cloned());
        }
        let parts = sigv4::Parts { method, path, query, headers: &headers, body: body.as_bytes() };
        let (id, secret) = (&*self.keys.access_key_id, &*self.keys.secret_access_key);
        let region = if signed == Signed::Elsewhere { "mars-1" } else { "us-east-1" };
        let line = match signed {
            Signed::Not => None,
            Signed::Garbage => Some(grammar.value().chars().filter(|c| (' '..'~').contains(c)).collect()),
            Signed::Wrong => sigv4::authorization("wrong", id, region, call.service, &parts).ok(),
            Signed::Nobody => sigv4::authorization(secret, "AKIANOBODY", region, call.service, &parts).ok(),
            Signed::Right | Signed::Get | Signed::Late | Signed::Elsewhere => {
                sigv4::authorization(secret, id, region, call.service, &parts).ok()
            }
        };
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if let Some(line) = line {
            request = request.header("authorization", line);
        }
        request.body(Body::from(body.to_owned())).expect("a request")
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signed {
    Right,
    /// In the query, with a header that signs it.
    Get,
    Not,
    Garbage,
    Wrong,
    Nobody,
    Late,
    Elsewhere,
}

fn signature(grammar: &mut Grammar, call: &Call) -> Signed {
    let as_uri = call.body.bytes().all(|b| b.is_ascii_graphic())
        && call.body.len() < 4_000
        && call.target.is_none()
        && call.rest.is_none();
    match grammar.dice.random_range(0..100) {
        0 => Signed::Not,
        1 => Signed::Garbage,
        2 => Signed::Wrong,
        3 => Signed::Nobody,
        4 => Signed::Late,
        // Global services are served whatever region is signed.
        5 if call.service == "ec2" => Signed::Elsewhere,
        6..16 if as_uri => Signed::Get,
        _ => Signed::Right,
    }
}

struct Narrator<'a> {
    cloud: &'a Cloud,
    grammar: &'a mut Grammar,
    counts: &'a mut Counts,
    seed: u64,
}

impl Teller for Narrator<'_> {
    fn ask(&mut self, action: &str, parameters: &str) -> String {
        let call = Call::of(action, parameters);
        let told = self.cloud.send(self.cloud.signed(self.grammar, &call, Signed::Right));
        assert!(told.0 < 500, "a story of seed {}: {}: {} {}", self.seed, call.body, told.0, told.1);
        if (200..300).contains(&told.0) {
            *self.counts.good.entry(action.to_owned()).or_default() += 1;
        }
        told.1
    }

    fn round(&mut self) {
        self.cloud.round();
    }
}

/// A network of one's own with its way out, and what a launch leaves.
fn story(teller: &mut dyn Teller) {
    let mut ask = |action: &str, parameters: String| teller.ask(action, &parameters);
    let vpc = text(&ask("CreateVpc", "CidrBlock=10.9.0.0%2F16".into()), "vpcId");
    let subnet = text(&ask("CreateSubnet", format!("VpcId={vpc}&CidrBlock=10.9.1.0%2F24")), "subnetId");
    let table = text(&ask("CreateRouteTable", format!("VpcId={vpc}")), "routeTableId");
    let gateway = text(&ask("CreateInternetGateway", String::new()), "internetGatewayId");
    ask("AttachInternetGateway", format!("VpcId={vpc}&InternetGatewayId={gateway}"));
    let route = format!("RouteTableId={table}&DestinationCidrBlock=0.0.0.0%2F0");
    ask("CreateRoute", format!("{route}&GatewayId={gateway}"));
    ask("ReplaceRoute", format!("{route}&GatewayId={gateway}"));
    let associated = ask("AssociateRouteTable", format!("RouteTableId={table}&SubnetId={subnet}"));
    let association = text(&associated, "associationId");
    let other = text(&ask("CreateRouteTable", format!("VpcId={vpc}")), "routeTableId");
    let replaced = ask("ReplaceRouteTableAssociation", format!("AssociationId={association}&RouteTableId={other}"));
    ask("DisassociateRouteTable", format!("AssociationId={}", text(&replaced, "newAssociationId")));
    ask("DeleteRoute", route);
    ask("DetachInternetGateway", format!("VpcId={vpc}&InternetGatewayId={gateway}"));
    ask("DeleteInternetGateway", format!("InternetGatewayId={gateway}"));
    ask("DeleteRouteTable", format!("RouteTableId={table}"));
    ask("DeleteRouteTable", format!("RouteTableId={other}"));
    ask("DeleteSubnet", format!("SubnetId={subnet}"));
    ask("DeleteVpc", format!("VpcId={vpc}"));
    let keeping = "BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false";
    let launched = ask("RunInstances", format!("ImageId=ami-51a7ed00000000000&MinCount=1&MaxCount=1&{keeping}"));
    let instance = text(&launched, "instanceId");
    let about = ask("DescribeInstances", format!("InstanceId.1={instance}"));
    teller.round();
    teller.ask("TerminateInstances", &format!("InstanceId.1={instance}"));
    teller.round();
    teller.ask("DeleteVolume", &format!("VolumeId={}", text(&about, "volumeId")));
}

/// What this thread has worked: other programs on the machine do not count.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock");
    Duration::from(now)
}

fn host() -> HostId {
    HostId::new("fuzz").expect("a name")
}

fn code((status, text): &Told) -> String {
    let after = text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next());
    if *status == 200 { "DryRunOperation".to_owned() } else { after.unwrap_or_default().to_owned() }
}

/// What the answers to a run of requests were.
#[derive(Default)]
struct Counts {
    good: BTreeMap<String, u64>,
    refused: u64,
    unsigned: u64,
    slowest: (Duration, String),
}

fn fuzz(seed: u64, count: u64) -> Counts {
    let cloud = Cloud::new();
    let mut grammar = Grammar::new(seed);
    let mut counts = Counts::default();
    for n in 0..count {
        if n % ROUND == 0 {
            cloud.round();
            cloud.tidy(&mut grammar);
        }
        if n % STORY == 0 {
            let mut narrator = Narrator { cloud: &cloud, grammar: &mut grammar, counts: &mut counts, seed };
            story(&mut narrator);
            STORIES.iter().for_each(|tell| tell(&mut narrator));
        }
        let (action, call) = grammar.call();
        let signed = signature(&mut grammar, &call);
        // What a dry run says is compared with what happens next.
        let dry = (signed == Signed::Right && grammar.is_dry_runnable(&action, &call)).then(|| {
            let body = format!("{}&DryRun=true", call.body);
            cloud.send(cloud.signed(&mut grammar, &Call::form(call.service, body), Signed::Right))
        });
        let told = cloud.send(cloud.signed(&mut grammar, &call, signed));
        let place = || format!("request {n} of seed {seed}: {}: {} {}", call.body, told.0, told.1);
        assert!(told.0 < 500 || code(&told) == NO_ROOM && cloud.reserved_only(&call.body), "{}", place());
        let json = call.target.is_some() || call.rest.is_some();
        let raw = told.0 == 200 && call.rest.as_ref().is_some_and(|rest| rest.path.contains("/blocks/"));
        let bare = told.0 == 204 && told.1.is_empty();
        assert!(raw || bare || told.1.starts_with(if json { "{" } else { "<?xml" }), "{}", place());
        if let Some(dry) = dry {
            assert_eq!(code(&dry), code(&told), "a dry run differs: {}", place());
        }
        if !matches!(signed, Signed::Right | Signed::Get) {
            assert!(told.0 >= 400, "{}", place());
            counts.unsigned += 1;
        } else if (200..300).contains(&told.0) {
            *counts.good.entry(action).or_default() += 1;
        } else {
            counts.refused += 1;
        }
        grammar.learn(&told.1);
    }
    let wrong = cloud.control.db.read(System, audit::always);
    assert!(wrong.is_empty(), "after seed {seed}: {wrong:?}");
    let (work, answer) = cloud.slowest.take();
    counts.slowest = (work, format!("seed {seed}: {answer}"));
    counts
}

#[test]
fn no_request_is_answered_with_an_error_of_ours() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let count = number("AWAN_FUZZ_COUNT").unwrap_or(100_000);
    let each = WORLD.min(count.div_ceil(2));
    let seeds = match number("AWAN_FUZZ_SEED") {
        Some(seed) => vec![(seed, count)],
        None => (0..count.div_ceil(each)).map(|_| (rand::random(), each)).collect(),
    };
    let mut all = Counts::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mine = std::iter::from_fn(|| seeds.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.map(|(seed, count)| fuzz(*seed, *count)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            for counts in thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                counts.good.into_iter().for_each(|(action, n)| *all.good.entry(action).or_default() += n);
                all.refused += counts.refused;
                all.unsigned += counts.unsigned;
                all.slowest = std::mem::take(&mut all.slowest).max(counts.slowest);
            }
        }
    });
    let Counts { good, refused, unsigned, slowest } = all;
    assert!(slowest.0 < WORK_MAX, "{slowest:?}");
    if count >= 100_000 {
        let never: Vec<_> =
            ACTIONS.iter().map(grammar::name).filter(|n| !good.contains_key(n) && !SELDOM.contains(&&**n)).collect();
        assert!(never.is_empty(), "seeds {seeds:?}: never succeeded: {never:?}; {good:?}");
    }
    let good: u64 = good.values().sum();
    assert!(good > count / 10 && refused > count / 10 && unsigned > count / 100, "{good} {refused} {unsigned}");
}
