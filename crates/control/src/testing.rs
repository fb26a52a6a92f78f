//! A whole cloud for tests: memory store, one pretended host, a clock that stands still.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use awan_model::account::root_arn;
use awan_model::export::ExportPhase;
use awan_model::host::{Capacity, HostRecord};
use awan_model::id::{HostId, InstanceId, InterfaceId, VolumeId};
use awan_model::image::Boot;
use awan_model::import::{ImportPhase, Merged, Source};
use awan_model::instance::{DiskSeen, Exit, Health, Instance, InterfaceSeen, Phase, Placement, VmReport, state};
use awan_model::interface::Mac;
use awan_model::log_group::{Gathered, LogEvent, StreamSeen};
use awan_model::plan::{ContentPlan, ExportPlan, HostPlan, PROTOCOL, VmPlan};
use awan_model::report::{
    Answer, Ask, BLOCK, BlockSeen, BlocksSeen, ContentSeen, ExportSeen, Octets, Report, TrafficSeen, VmSeen,
};
use awan_model::volume::Volume;
use awan_state::{Clock, Entropy, Home, MemoryStore, Millis, Mode, Ref, Store, System, Tenant};
use awan_wire::query::Params;
use awan_wire::rest;
use expect_test::Expect;
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

use crate::control::{Control, Settings};
use crate::dispatch::{Input, Service, Told, dispatch};
use crate::error::Error;
use crate::operator::{self, Builtin};
use crate::{audit, http, plan, turn};

const REGION: &str = "us-east-1";
const CAPACITY: Capacity = Capacity { vcpus: 1_000, memory_mib: 1_000_000, disk_gib: 1_000_000 };

struct StandingClock(AtomicU64);

impl Clock for StandingClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

pub struct Cloud {
    pub control: Arc<Control>,
    clock: Arc<StandingClock>,
    pub runtime: tokio::runtime::Runtime,
    capacity: Capacity,
    image: String,
    accelerator: &'static str,
    /// Whether hosts say that images can be exported.
    pub takes_exports: bool,
    /// What the next report says of taps.
    pub traffic: Vec<TrafficSeen>,
    /// What the host says of files that are to become one, if it cannot do it.
    pub unmerged: Option<Merged>,
}

pub struct Account<'c> {
    cloud: &'c mut Cloud,
    id: String,
}

#[expect(clippy::needless_pass_by_value, reason = "expect! makes a value")]
pub fn check(text: &str, expected: Expect) {
    expected.assert_eq(text);
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The interfaces of plans by what machines know of them.
fn macs<'p>(plans: impl Iterator<Item = &'p HostPlan>) -> HashMap<InterfaceId, Mac> {
    let all = plans.flat_map(|plan| &plan.network.vpcs).flat_map(|vpc| &vpc.interfaces);
    all.map(|interface| (interface.id.clone(), interface.mac)).collect()
}

/// Each disk from elsewhere has one GiB, and comes as soon as there is room for it.
fn content(plan: &ContentPlan, unmerged: Option<&Merged>) -> ContentSeen {
    let phase = match plan.size_gib {
        0 => ImportPhase::Waiting { size_gib: 1 },
        // Of which it may have had more room.
        _ if matches!(plan.source, Source::Fetched { .. }) => ImportPhase::Kept { size_gib: 1, bytes: 1_000 },
        size_gib => ImportPhase::Kept { size_gib, bytes: 1_000 },
    };
    let merged = plan.merge.clone().map(|merge| unmerged.cloned().unwrap_or(Merged::Onto { below: merge.below }));
    ContentSeen { home: plan.home.clone(), id: plan.id.clone(), phase, merged }
}

/// Each file is whole at once, and goes at once.
fn export(plan: &ExportPlan) -> ExportSeen {
    let phase = if plan.cancelled { ExportPhase::Gone } else { ExportPhase::Kept { bytes: 1_000 } };
    ExportSeen { home: plan.home.clone(), id: plan.id.clone(), phase }
}

impl Cloud {
    pub fn new() -> Self {
        Self::with_capacity(1_000, 1_000_000)
    }

    pub fn with_capacity(vcpus: u32, memory_mib: u64) -> Self {
        Self::on(Box::<MemoryStore>::default(), vcpus, memory_mib)
    }

    pub fn on(store: Box<dyn Store>, vcpus: u32, memory_mib: u64) -> Self {
        let clock = Arc::new(StandingClock(AtomicU64::new(1_795_521_600_000)));
        let control = Control::open(store, Mode::Inline, clock.clone(), Entropy::seeded(1)).expect("opens");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let pool = "198.18.0.0/16".parse().expect("a network");
        let settings = Settings {
            regions: vec![REGION.into()],
            zones_per_region: 3,
            public_pool: pool,
            ipv6_pool: "2001:db8:a00::/40".parse().ok(),
            master_keys: vec!["0badcafe".into()],
        };
        let digest = "0123456789abcdef0123456789abcdef".to_owned();
        let image = Builtin {
            name: "awan-tiny-test".into(),
            description: "test".into(),
            digest,
            size_gib: 1,
            boot: Boot::Firmware,
        };
        let id = runtime.block_on(async {
            operator::install(&control.db, &settings).await.expect("installs");
            operator::register_builtin(&control.db, &image).await.expect("registers")
        });
        let capacity = Capacity { vcpus, memory_mib, disk_gib: 1_000_000 };
        let mut cloud = Self {
            control,
            clock,
            runtime,
            capacity,
            image: id.to_string(),
            accelerator: "simulated",
            takes_exports: true,
            traffic: Vec::new(),
            unmerged: None,
        };
        cloud.report(Vec::new());
        cloud
    }

    /// The account of this name, opened when it is first named.
    pub fn tenant(&mut self, name: &str) -> Account<'_> {
        let known = operator::accounts(&self.control.db).into_iter().find(|a| a.name == name).map(|a| a.id);
        let id = known.unwrap_or_else(|| {
            let made = operator::create_account(&self.control.db, name, None, "test");
            self.runtime.block_on(made).expect("opens an account").account_id
        });
        Account { cloud: self, id }
    }

    pub fn report(&mut self, vms: Vec<VmSeen>) {
        self.report_of("host", "*", self.capacity, vms);
    }

    /// One more host, of a zone.
    pub fn join(&mut self, name: &str, zone: &str, vcpus: u32) {
        self.report_of(name, zone, Capacity { vcpus, ..CAPACITY }, Vec::new());
    }

    fn report_of(&mut self, name: &str, zone: &str, capacity: Capacity, vms: Vec<VmSeen>) {
        self.report_with(name, zone, capacity, vms, (Vec::new(), Vec::new()));
    }

    fn report_with(
        &mut self,
        name: &str,
        zone: &str,
        capacity: Capacity,
        vms: Vec<VmSeen>,
        (contents, exports): (Vec<ContentSeen>, Vec<ExportSeen>),
    ) {
        let report = Report {
            protocol: PROTOCOL,
            host: HostId::new(name).expect("a name"),
            zone: zone.into(),
            region: "*".into(),
            capacity,
            accelerator: self.accelerator.into(),
            note: String::new(),
            address: String::new(),
            plan: 0,
            vms,
            volumes: Vec::new(),
            contents,
            takes_exports: self.takes_exports,
            exports,
            traffic: std::mem::take(&mut self.traffic),
        };
        self.runtime.block_on(self.control.hosts.report(&self.control.db, report)).expect("takes the report in");
    }

    /// The image that came with Awan, and a copy of it that is an account's own.
    pub fn image_of(&mut self, account: &str) -> (String, String) {
        let builtin = self.image.clone();
        let ask = [("SourceImageId", builtin.as_str()), ("SourceRegion", REGION), ("Name", "a copy")];
        let made = self.tenant(account).call("CopyImage", &ask).expect("copies");
        (builtin, Self::ids(&made, "imageId").remove(0))
    }

    /// The snapshot of the image that came with Awan.
    pub fn builtin_snapshot(&mut self) -> String {
        let ask = [("ImageId.1", self.image.clone())];
        let ask = ask.each_ref().map(|(name, value)| (*name, value.as_str()));
        let shown = self.tenant("acme").call("DescribeImages", &ask).expect("answers");
        Self::ids(&shown, "snapshotId").remove(0)
    }

    /// Whether a volume is a child of that image.
    pub fn begins_as_the_image(&self, volume: &str) -> bool {
        let id: VolumeId = volume.parse().expect("an id");
        self.control.db.read(System, |tx| {
            let volume = tx.all::<Volume>().into_iter().find(|v| v.id == id).expect("is there");
            volume.image.as_ref().is_some_and(|image| *image.as_str() == self.image)
        })
    }

    /// The host that all is placed on answers questions so, until what this returns is aborted.
    pub fn answering(&mut self, answer: impl Fn(Ask) -> Answer + Send + 'static) -> tokio::task::JoinHandle<()> {
        let mut asks = self.control.hosts.connect(&HostId::new("host").expect("a name")).asks;
        self.runtime.spawn(async move {
            while let Some((ask, told)) = asks.recv().await {
                let _ = told.send(answer(ask));
            }
        })
    }

    /// The same, with events of these streams and times in every log group.
    pub fn with_events(&mut self, events: &'static [(&str, u64)]) -> tokio::task::JoinHandle<()> {
        let event = |(stream, at): &(&str, u64)| LogEvent {
            at: *at,
            ingested: at + 1,
            id: format!("{stream}{at}"),
            stream: (*stream).to_owned(),
            message: format!("at {at}"),
        };
        self.answering(move |ask| match ask {
            Ask::LogEvents { wanted, .. } => {
                let mut found = Gathered::new(wanted.newest_first, wanted.limit);
                let fits = |event: &LogEvent| (&wanted.from..&wanted.until).contains(&&event.position());
                let all = events.iter().map(event).filter(|event| fits(event) && wanted.streams.has(&event.stream));
                all.filter(|event| wanted.pattern.matches(&event.message)).for_each(|event| found.add(event));
                Answer::LogEvents(found.done())
            }
            Ask::LogStreams { streams, .. } => {
                let seen = |(stream, at): &(&str, u64)| StreamSeen {
                    name: (*stream).to_owned(),
                    created: *at,
                    first: *at,
                    last: *at,
                    ingested: *at,
                };
                Answer::LogStreams(events.iter().filter(|(name, _)| streams.has(name)).map(seen).collect())
            }
            _ => Answer::Done,
        })
    }

    /// The same, where what lies on the host has these blocks, each filled with its number; what is put is forgotten.
    pub fn with_blocks(&mut self, indexes: Vec<u32>) -> tokio::task::JoinHandle<()> {
        self.answering(move |ask| match ask {
            Ask::Blocks { since, from, most, .. } => {
                let mut rest = indexes.iter().filter(|index| **index >= from);
                let seen = |index: &u32| BlockSeen { index: *index, before: since.is_some() && index % 2 == 1 };
                let blocks = rest.by_ref().take(most).map(seen).collect();
                Answer::Blocks(BlocksSeen { blocks, next: rest.next().copied() })
            }
            Ask::Block { index, .. } => Answer::Block { bytes: Octets(vec![index as u8; BLOCK]) },
            Ask::Written { .. } => {
                let all: Vec<u8> = indexes.iter().map(|index| *index as u8).collect();
                Answer::Written { blocks: indexes.len() as u64, sha256: Sha256::digest(all).into() }
            }
            _ => Answer::Done,
        })
    }

    /// A snapshot that is to be written in blocks.
    pub fn started(&mut self, account: &str, size_gib: u32) -> String {
        let body = format!(r#"{{"VolumeSize":{size_gib}}}"#);
        let told = self.tenant(account).ebs("StartSnapshot", &[], &[], &[], body.as_bytes()).expect("starts");
        let made: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
        made["SnapshotId"].as_str().expect("an id").to_owned()
    }

    /// One that was, with these.
    pub fn written(&mut self, account: &str, size_gib: u32, indexes: &[u32]) -> String {
        let id = self.started(account, size_gib);
        self.complete(account, &id, indexes);
        id
    }

    /// Of such blocks.
    pub fn complete(&mut self, account: &str, id: &str, indexes: &[u32]) {
        let told = self.with_blocks(indexes.to_vec());
        let count = indexes.len().to_string();
        let headers = [("x-amz-changedblockscount", count.as_str())];
        let done = self.tenant(account).ebs("CompleteSnapshot", &[("snapshotId", id)], &[], &headers, b"");
        done.expect("completes");
        told.abort();
        self.settle();
    }

    pub fn claim(&self, host: &str, identity: &str) -> bool {
        let host = HostId::new(host).expect("a name");
        self.runtime.block_on(crate::hosts::claim(&self.control.db, &host, identity)).expect("claims")
    }

    /// Lets all hosts do what their plans say and the control plane all that follows.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            let plans = self.control.db.read(System, |tx| plan::all(tx, 0));
            let planned = plans.values().flat_map(|p| &p.volumes);
            let shapes: HashMap<_, _> = planned.map(|v| (v.id.clone(), (v.size_gib, Some(v.limits)))).collect();
            let macs = macs(plans.values());
            let seen = |vm: VmPlan| {
                let on = vm.wish == awan_model::instance::Wish::On;
                let phase = if on { Phase::Running } else { Phase::Exited };
                let exit = (!on).then_some(Exit::Asked);
                let metadata = vm.metadata.options.changes;
                let disk = |id: &VolumeId| {
                    let (size_gib, limits) = shapes.get(id).copied().unwrap_or_default();
                    DiskSeen { volume: id.clone(), size_gib, attached: true, limits, failed: false }
                };
                let disks: Vec<_> = vm.disks.iter().filter(|_| on).map(|d| disk(&d.volume)).collect();
                let (run, reboots, device_changes) = (vm.run, vm.reboots, vm.device_changes);
                let free_ports = 5_u32.saturating_sub(u32::try_from(disks.len()).unwrap_or_default());
                let card = |id: &InterfaceId| InterfaceSeen { mac: macs[id], attached: true };
                let interfaces: Vec<_> = vm.interfaces.iter().filter(|_| on).map(card).collect();
                let free_interface_ports =
                    vm.interfaces_max.saturating_sub(u32::try_from(interfaces.len()).unwrap_or_default());
                VmSeen {
                    home: vm.home,
                    id: vm.id,
                    run,
                    phase,
                    reboots,
                    health: Health::Ok,
                    exit,
                    metadata,
                    disks,
                    interfaces,
                    device_changes,
                    free_ports,
                    free_interface_ports,
                }
            };
            let hosts = self.control.db.read(System, awan_state::Tx::all::<HostRecord>);
            for (id, plan) in plans {
                let Some(host) = hosts.iter().find(|host| host.id == id) else { continue };
                let contents = plan.contents.iter().map(|of| content(of, self.unmerged.as_ref())).collect();
                let vms = plan.vms.into_iter().map(seen).collect();
                let exports = plan.exports.iter().map(export).collect();
                self.report_with(id.as_str(), &host.zone, host.capacity, vms, (contents, exports));
            }
            turn::turn(&self.control, None).expect("a turn");
        }
    }

    /// The host says that the machine of an instance has so many places for interfaces left.
    pub fn report_free_interface_ports(&mut self, id: &str, free: u32) {
        self.report_again(id, |seen| seen.free_interface_ports = free);
    }

    /// The host says that it could not read or write what an instance's guest asked of its disks.
    pub fn report_failed_disks(&mut self, id: &str) {
        self.report_again(id, |seen| seen.disks.iter_mut().for_each(|disk| disk.failed = true));
    }

    /// The host says of a machine what it said last, but for this.
    fn report_again(&mut self, id: &str, change: impl FnOnce(&mut VmSeen)) {
        let (instance, report) = self.instance(id);
        let report = report.expect("is reported");
        let mut seen = VmSeen {
            home: instance.home,
            id: instance.id,
            run: report.run,
            phase: report.phase,
            reboots: report.reboots,
            health: report.health,
            exit: report.exit,
            metadata: report.metadata,
            disks: report.disks,
            interfaces: report.interfaces,
            device_changes: report.device_changes,
            free_ports: report.free_ports,
            free_interface_ports: report.free_interface_ports,
        };
        change(&mut seen);
        self.report(vec![seen]);
    }

    pub fn turn(&mut self) {
        turn::turn(&self.control, None).expect("a turn");
    }

    /// The host says this of each disk that it is to have from elsewhere, and what follows, follows.
    pub fn report_content(&mut self, phase: &ImportPhase) {
        self.turn();
        let plans = self.control.db.read(System, |tx| plan::all(tx, 0));
        let planned = plans.values().flat_map(|plan| &plan.contents);
        let seen = planned.map(|content| ContentSeen {
            home: content.home.clone(),
            id: content.id.clone(),
            phase: phase.clone(),
            merged: None,
        });
        let seen = seen.collect();
        self.report_with("host", "*", self.capacity, Vec::new(), (seen, Vec::new()));
        self.turn();
    }

    /// The host says this of each file that it is to write, and what follows, follows.
    pub fn report_export(&mut self, phase: &ExportPhase) {
        self.turn();
        let plans = self.control.db.read(System, |tx| plan::all(tx, 0));
        let planned = plans.values().flat_map(|plan| &plan.exports);
        let seen =
            planned.map(|export| ExportSeen { home: export.home.clone(), id: export.id.clone(), phase: phase.clone() });
        let seen = seen.collect();
        self.report_with("host", "*", self.capacity, Vec::new(), (Vec::new(), seen));
        self.turn();
    }

    /// How many disks from elsewhere lie on hosts.
    pub fn contents(&self) -> usize {
        self.control.db.read(System, |tx| tx.all::<awan_model::import::Content>().len())
    }

    /// An account's own snapshots.
    pub fn snapshots(&mut self, account: &str) -> Vec<String> {
        let shown = self.tenant(account).call("DescribeSnapshots", &[("Owner.1", "self")]).expect("answers");
        Self::ids(&shown, "snapshotId")
    }

    /// A run ends by itself.
    pub fn exit(&mut self, id: &str, exit: Exit) {
        self.declare_over(id, exit);
        turn::turn(&self.control, None).expect("a turn");
    }

    /// The host says that a run is over; nothing has followed yet.
    pub fn declare_over(&mut self, id: &str, exit: Exit) {
        let instance = self.instance(id).0;
        let (home, run) = (instance.home, instance.run);
        let seen = VmSeen {
            home,
            id: instance.id,
            run,
            phase: Phase::Exited,
            reboots: 0,
            health: Health::Initializing,
            exit: Some(exit),
            metadata: 0,
            disks: Vec::new(),
            interfaces: Vec::new(),
            device_changes: instance.device_changes,
            free_ports: 0,
            free_interface_ports: 0,
        };
        self.report(vec![seen]);
    }

    pub fn instance(&mut self, id: &str) -> (Instance, Option<VmReport>) {
        let id: InstanceId = id.parse().expect("an id");
        self.control.db.read(System, |tx| {
            let instance = tx.all::<Instance>().into_iter().find(|i| i.id == id).expect("is there");
            let report = tx.find_at(&Ref::<VmReport>::new(&instance.home, &id));
            ((*instance).clone(), report.map(|r| (*r).clone()))
        })
    }

    pub fn edit(&mut self, id: &str, change: impl Fn(&mut Instance)) {
        let (instance, _) = self.instance(id);
        let edited = self.control.db.transact(System, "test", |tx| {
            let mut changed = instance.clone();
            change(&mut changed);
            tx.act_for_tenant(&instance.home, |tx| tx.put(changed));
            Ok::<_, Error>(())
        });
        self.runtime.block_on(edited).expect("edits");
    }

    pub fn state(&mut self, _account: &str, id: &str) -> String {
        let (instance, report) = self.instance(id);
        state(&instance, report.as_ref()).to_string()
    }

    /// Places and volumes.
    pub fn counts(&self) -> (usize, usize) {
        self.control.db.read(System, |tx| (tx.all::<Placement>().len(), tx.all::<Volume>().len()))
    }

    pub fn pass(&mut self, millis: Millis) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    pub fn set_back(&mut self, millis: Millis) {
        self.clock.0.fetch_sub(millis, Ordering::Relaxed);
    }

    pub fn audit(&mut self) {
        let differences = self.control.db.read(System, audit::records);
        assert_eq!(differences, Vec::<String>::new());
        assert_eq!(audit::meter(&self.control.db).expect("reads"), Vec::<String>::new());
    }

    /// A request as it comes over the wire: status and body.
    pub fn http(&self, request: axum::extract::Request) -> (u16, String) {
        self.runtime.block_on(async {
            let answer = http::router(self.control.clone()).oneshot(request).await.expect("never fails");
            let (status, body) = (answer.status().as_u16(), axum::body::to_bytes(answer.into_body(), 1 << 20).await);
            (status, String::from_utf8(body.expect("a body").to_vec()).expect("text"))
        })
    }

    /// One rule for a group, as either direction takes it.
    pub fn smtp_rule(group: &str) -> [(&'static str, &str); 5] {
        [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "25"),
            ("IpPermissions.1.ToPort", "25"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.0/24"),
        ]
    }

    /// The texts of all elements of one name, in order.
    pub fn ids(xml: &str, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let after = xml.split(&open).skip(1);
        after
            .filter_map(|rest| rest.split(&close).next())
            .filter(|text| !text.contains('<'))
            .map(str::to_owned)
            .collect()
    }
}

impl Account<'_> {
    /// Its twelve digits.
    pub fn account(&self) -> String {
        self.id.clone()
    }

    /// `Code: message` for a refusal.
    pub fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        self.send(Service::Ec2, action, parameters)
    }

    pub fn sts(&mut self, action: &str) -> Result<String, String> {
        self.send(Service::Sts, action, &[])
    }

    pub fn sts_with(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        self.send(Service::Sts, action, parameters)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn iam(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        self.send(Service::Iam, action, parameters)
    }

    /// A role that EC2 and everybody of the account may become.
    pub fn role(&mut self, name: &str) {
        let who = format!(r#"{{"Service":"ec2.amazonaws.com","AWS":"{}"}}"#, self.id);
        let trust = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{who}}}}}"#);
        let ask = [("RoleName", name), ("AssumeRolePolicyDocument", trust.as_str())];
        self.iam("CreateRole", &ask).expect("creates a role");
    }

    /// A request with its parameters as JSON.
    pub fn ssm(&mut self, action: &str, body: &str) -> Result<String, String> {
        self.json(Service::Ssm, action, body)
    }

    pub fn logs(&mut self, action: &str, body: &str) -> Result<String, String> {
        self.json(Service::Logs, action, body)
    }

    /// A request of EBS's direct API: what its path, its query and its headers say, and its body.
    pub fn ebs(
        &mut self,
        action: &str,
        path: &[(&str, &str)],
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Told, String> {
        let said = rest::Said { path: pairs(path), query: pairs(query), headers: pairs(headers), body: body.to_vec() };
        self.rest(Service::Ebs, action, said)
    }

    /// A request of the recycle bin's service, and its answer.
    pub fn rbin(
        &mut self,
        action: &str,
        path: &[(&str, &str)],
        query: &[(&str, &str)],
        body: &str,
    ) -> Result<serde_json::Value, String> {
        let said = rest::Said { path: pairs(path), query: pairs(query), body: body.into(), ..rest::Said::default() };
        let told = self.rest(Service::Rbin, action, said)?;
        Ok(if told.status == 204 { serde_json::Value::Null } else { serde_json::from_slice(&told.body).expect("JSON") })
    }

    /// A retention rule of these members.
    pub fn rule(&mut self, members: &str) -> Result<serde_json::Value, String> {
        self.rbin("CreateRule", &[], &[], &format!("{{{members}}}"))
    }

    /// The same, for so many days; and what else it has.
    pub fn keep(&mut self, kind: &str, days: u32, more: &str) -> String {
        let period = format!(r#"{{"RetentionPeriodValue":{days},"RetentionPeriodUnit":"DAYS"}}"#);
        let made =
            self.rule(&format!(r#""ResourceType":"{kind}","RetentionPeriod":{period}{more}"#)).expect("makes a rule");
        made["Identifier"].as_str().expect("an identifier").to_owned()
    }

    fn rest(&mut self, service: Service, action: &str, said: rest::Said) -> Result<Told, String> {
        let mut routes = service.routes().expect("speaks REST").iter();
        let route = routes.find(|route| route.action == action).expect("an action");
        let (tenant, control) = (self.principal(service), self.cloud.control.clone());
        let input = Input::Rest { route, said };
        let told = dispatch(&control, tenant, service, &input, "req");
        self.cloud.runtime.block_on(told).map_err(|e| e.to_string())
    }

    fn json(&mut self, service: Service, action: &str, body: &str) -> Result<String, String> {
        let tenant = self.principal(service);
        let control = self.cloud.control.clone();
        let input = Input::Json { action: action.into(), body: body.into() };
        let told = dispatch(&control, tenant, service, &input, "req");
        self.cloud.runtime.block_on(told).map(Told::into_text).map_err(|e| e.to_string())
    }

    fn principal(&self, service: Service) -> Tenant {
        let home = if service.is_global() { Home::everywhere(&self.id) } else { Home::new(&self.id, REGION) };
        Tenant { home, principal: root_arn(&self.id).into() }
    }

    fn send(&mut self, service: Service, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        let hex = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let mut query = format!("Action={action}");
        for (name, value) in parameters {
            query.push_str(&format!("&{name}={}", hex(value)));
        }
        let params = Params::parse(&[query.as_bytes()]).map_err(|e| e.to_string())?;
        let tenant = self.principal(service);
        let control = self.cloud.control.clone();
        self.cloud
            .runtime
            .block_on(dispatch(&control, tenant, service, &params.into(), "req"))
            .map(Told::into_text)
            .map_err(|e| e.to_string())
    }

    /// Launches with these parameters instead of, or beside, those of one small instance.
    pub fn run_with(&mut self, parameters: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let image = self.cloud.image.clone();
        let usual = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
        let given: BTreeSet<_> = parameters.iter().map(|(name, _)| *name).collect();
        let all: Vec<_> =
            usual.into_iter().filter(|(name, _)| !given.contains(name)).chain(parameters.iter().copied()).collect();
        let mut ids = Cloud::ids(&self.call("RunInstances", &all)?, "instanceId");
        ids.sort();
        Ok(ids)
    }

    /// An empty volume of 1 GiB.
    pub fn volume(&mut self, zone: &str) -> String {
        let made = self.call("CreateVolume", &[("AvailabilityZone", zone), ("Size", "1")]).expect("makes a volume");
        Cloud::ids(&made, "volumeId").remove(0)
    }

    pub fn attach(&mut self, volume: &str, instance: &str, device: &str) -> Result<String, String> {
        self.call("AttachVolume", &[("VolumeId", volume), ("InstanceId", instance), ("Device", device)])
    }

    pub fn default_group(&mut self) -> String {
        let asked = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "default")];
        let groups = self.call("DescribeSecurityGroups", &asked).expect("answers");
        Cloud::ids(&groups, "groupId").remove(0)
    }

    /// A subnet of the default VPC and the first three numbers of its addresses.
    pub fn subnet(&mut self) -> (String, String) {
        let shown = self.call("DescribeSubnets", &[]).expect("answers");
        let base = Cloud::ids(&shown, "cidrBlock").remove(0);
        let base = base.rsplit_once('.').expect("an IPv4 network").0.to_owned();
        (Cloud::ids(&shown, "subnetId").remove(0), base)
    }

    /// A VPC with IPv6, a subnet of it, and the subnet's IPv6 range.
    pub fn ipv6_subnet(&mut self) -> ((String, String), String) {
        let ask = [("CidrBlock", "10.6.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")];
        let made = self.call("CreateVpc", &ask).expect("makes");
        let (vpc, range) = (Cloud::ids(&made, "vpcId").remove(0), Cloud::ids(&made, "ipv6CidrBlock").remove(0));
        let range = range.replace("/56", "/64");
        let ask = [("VpcId", vpc.as_str()), ("CidrBlock", "10.6.0.0/24"), ("Ipv6CidrBlock", range.as_str())];
        let made = self.call("CreateSubnet", &ask).expect("makes");
        ((vpc, Cloud::ids(&made, "subnetId").remove(0)), range)
    }

    /// An interface of its own.
    pub fn interface(&mut self, subnet: &str) -> String {
        let made = self.call("CreateNetworkInterface", &[("SubnetId", subnet)]).expect("makes");
        Cloud::ids(&made, "networkInterfaceId").remove(0)
    }

    /// One instance, still pending.
    pub fn launch(&mut self) -> String {
        self.run_with(&[]).expect("launches").remove(0)
    }

    /// One running instance.
    pub fn run(&mut self) -> String {
        let id = self.launch();
        self.cloud.settle();
        id
    }

    pub fn instances(&mut self) -> Vec<String> {
        Cloud::ids(&self.call("DescribeInstances", &[]).expect("answers"), "instanceId")
    }
}
