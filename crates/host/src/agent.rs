//! The host loop: observe, compare with the plan, take steps, report. For ever, at its own pace.
//!
//! **Invariants.** A plan counts only if it comes from the store that this host follows and is not older than the last.
//! Without a plan nothing is touched: guests, rules, metadata and disks stay as they are; while the control plane is
//! away the last plan holds. A machine is started only while the networks are what the plan says; it is stopped whatever
//! they are.

mod allegiance;
mod answers;
mod exports;
mod health;
mod steps;
#[cfg(test)]
mod tests;
mod traffic;

use std::cell::LazyCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use awan_model::host::Capacity;
use awan_model::id::{HostId, ImageId};
use awan_model::import::{ImportPhase, Merged, Taken};
use awan_model::instance::{DiskSeen, InterfaceSeen};
use awan_model::plan::{ContentPlan, HostPlan, PROTOCOL};
use awan_model::report::{ContentSeen, ExportSeen, Report, TrafficSeen, VmSeen, VolumeSeen};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::allegiance::Allegiance;
use self::health::HealthWatch;
use self::steps::{Needs, Parts, Steps, UnderWay};
use self::traffic::Traffic;
use crate::driver::{Hypervisor, Layer, Network, SeenVm, Unmerged, Volumes};
use crate::effect::{Effect, Keeping, effects, keeping, shortening, unwanted_volumes};
use crate::export::Exports;
use crate::import::Contents;
use crate::link::Link;
use crate::volume::luks;

const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often networks are compared with the plan although nothing changed.
const SCRUB: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Looking at machines is followed by a pause of so many times its length, so that what happens meanwhile is seen at once.
const PAUSE_TIMES: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// The timer's grain.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// What a host says about itself, whatever it runs.
#[derive(Debug, Clone)]
pub struct About {
    pub host: HostId,
    pub zone: String,
    pub region: String,
    pub capacity: Capacity,
    pub accelerator: String,
    pub note: String,
    pub address: String,
    /// Remembers which store this host follows; `None`: a host that forgets when it ends.
    pub allegiance: Option<PathBuf>,
    /// Machines started at once.
    pub launches: usize,
}

#[derive(Clone)]
pub struct Drivers {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub volumes: Arc<dyn Volumes>,
    pub network: Arc<dyn Network>,
    pub contents: Arc<Contents>,
    pub exports: Arc<Exports>,
}

pub struct Agent {
    about: About,
    drivers: Drivers,
    link: Link,
    /// A plan has come in this life. Until then the one that an earlier life remembered is followed, which may be older than
    /// what is here: it ends and removes nothing that it does not know.
    heard: bool,
    allegiance: Allegiance,
    plan: Option<Arc<HostPlan>>,
    /// The same, for who answers questions.
    followed: watch::Sender<Option<Arc<HostPlan>>>,
    wake: Arc<Notify>,
    steps: Arc<Steps>,
    health: Arc<HealthWatch>,
    network_done: Option<Arc<HostPlan>>,
    /// When what failed is tried again.
    retry: Option<Instant>,
    pause: Duration,
    traffic: Traffic,
    sent: Option<Arc<Report>>,
    /// The newest plan could not be remembered, and must be: it is asked for again.
    owed: bool,
}

impl Agent {
    pub fn new(about: About, drivers: Drivers, link: Link) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            steps: Steps::new(about.launches, wake.clone()),
            health: HealthWatch::new(wake.clone()),
            allegiance: Allegiance::new(about.allegiance.clone()),
            heard: false,
            about,
            drivers,
            link,
            plan: None,
            followed: watch::Sender::new(None),
            wake,
            network_done: None,
            retry: None,
            pause: Duration::ZERO,
            traffic: Traffic::default(),
            sent: None,
            owed: false,
        }
    }

    /// Runs until the link is gone.
    pub async fn run(mut self) {
        if let Some(plan) = self.allegiance.last() {
            self.follow(Arc::new(plan));
        }
        let asks = std::mem::replace(&mut self.link.asks, tokio::sync::mpsc::channel(1).1);
        // It ends with this.
        let mut answers = JoinSet::new();
        answers.spawn(answers::answer(self.drivers.clone(), self.followed.subscribe(), asks));
        let (changed, further) = (self.drivers.hypervisor.changed(), self.drivers.contents.changed());
        let (merged, exported) = (self.drivers.volumes.changed(), self.drivers.exports.changed());
        let wake = self.wake.clone();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut scrub = tokio::time::interval(SCRUB);
        loop {
            if let Err(e) = self.turn().await {
                tracing::error!(error = format!("{e:#}"), "a turn of the host failed; it is tried again");
                self.retry = Some(Instant::now() + RETRY_AFTER);
            }
            tokio::time::sleep(std::mem::take(&mut self.pause).max(PAUSE_MIN)).await;
            let retry = self.retry;
            tokio::select! {
                got = self.link.plans.changed() => match got {
                    Ok(()) => self.take_plan(),
                    Err(_) => return,
                },
                () = changed.notified() => {}
                () = further.notified() => {}
                () = merged.notified() => {}
                () = exported.notified() => {}
                () = wake.notified() => {}
                _ = heartbeat.tick() => {
                    luks::forget();
                    self.sent = None;
                    if std::mem::take(&mut self.owed) {
                        self.take_plan();
                    }
                }
                _ = scrub.tick() => self.network_done = None,
                () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
        }
    }

    fn take_plan(&mut self) {
        let news = self.link.plans.borrow_and_update().clone();
        if let Some(plan) = news {
            self.heard |= self.follow(plan);
        }
    }

    /// Whether it is followed.
    fn follow(&mut self, plan: Arc<HostPlan>) -> bool {
        if plan.protocol != PROTOCOL || plan.host != self.about.host {
            tracing::error!(host = %plan.host, protocol = plan.protocol, "a plan for somebody else is not followed");
            return false;
        }
        match self.allegiance.accept(&plan) {
            Ok(true) => {
                self.followed.send_replace(Some(plan.clone()));
                self.plan = Some(plan);
                return true;
            }
            Ok(false) => {
                let (store, revision, follows) = (&plan.store, plan.revision, self.allegiance.shown());
                tracing::error!(store, revision, follows, "a foreign plan or one of the past is not followed");
            }
            Err(e) => {
                self.owed = true;
                tracing::error!(error = format!("{e:#}"), "a plan cannot be remembered; it is tried again");
            }
        }
        false
    }

    async fn turn(&mut self) -> Result<()> {
        self.retry = None;
        let Some(plan) = self.plan.clone() else {
            // Before the first plan nothing is known about whose guests these are; the host itself is reported.
            let volumes = self.drivers.volumes.observe().await?;
            self.send(Vec::new(), volumes, (Vec::new(), Vec::new()), Vec::new(), 0);
            return Ok(());
        };
        let networks = self.networks(&plan).await;
        let began = Instant::now();
        let under_way = self.steps.under_way();
        let seen = self.drivers.hypervisor.observe().await?;
        let pending = pending(&plan, &self.drivers);
        let Keeping { forks, keep } = keeping(&pending, &seen);
        self.take_steps(&plan, networks, &under_way, &seen, forks);
        self.keep(&plan, &under_way, &keep).await;
        self.drivers.hypervisor.keep_consoles(&plan.consoles).await?;
        self.follow_contents(&plan);
        // What was told to an earlier life may have been taken back.
        if self.heard {
            exports::follow(&self.drivers, &plan);
            plan.images.iter().for_each(|images| self.drivers.volumes.keep_images(images));
        }
        self.health.follow(&self.drivers.network, &plan, &seen);
        let volumes = self.delete_volumes(&plan, &seen, &pending).await?;
        let traffic = self.traffic.follow(&self.drivers.network, &plan, &seen).await;
        self.report(&plan, &under_way, &seen, (volumes, traffic));
        self.pause = began.elapsed().saturating_mul(PAUSE_TIMES).min(PAUSE_MAX);
        Ok(())
    }

    fn take_steps(&self, plan: &HostPlan, networks: bool, under_way: &UnderWay, seen: &[SeenVm], forks: Vec<Effect>) {
        let parts = LazyCell::new(|| Parts::of(plan));
        let is_planned = |effect: &Effect| self.heard || plan.vms.iter().any(|vm| vm.id == *effect.instance());
        let (nameless, waits) = (|id: &_| self.drivers.hypervisor.nameless(id), self.steps.unshortened());
        let shorter = shortening(plan, seen, nameless, |volume| waits.contains(volume));
        let all = effects(plan, seen).into_iter().filter(is_planned).chain(forks).chain(shorter);
        for effect in all.filter(|e| under_way.allows(e)) {
            let needs = match &effect {
                // A guest must never run without its rules.
                Effect::Start(_) | Effect::Plug(..) if !networks => continue,
                Effect::Start(vm) => parts.needs(vm),
                Effect::Attach(_, volume) | Effect::Shorten(_, volume) => parts.disk(volume),
                Effect::Plug(_, interface, _) | Effect::Unplug(_, _, Some(interface)) => parts.tap(interface),
                _ => Ok(Needs::default()),
            };
            self.steps.take(&self.drivers, effect, needs);
        }
    }

    /// Whether the networks are what the plan says.
    async fn networks(&mut self, plan: &Arc<HostPlan>) -> bool {
        if self.network_done.as_ref().is_some_and(|done| done.network == plan.network && same_guests(done, plan)) {
            return true;
        }
        match self.drivers.network.apply(plan).await {
            Ok(()) => self.network_done = Some(plan.clone()),
            Err(e) => {
                tracing::error!(error = format!("{e:#}"), "the networks are not what they should be: nothing starts");
                self.network_done = None;
                self.retry = Some(Instant::now() + RETRY_AFTER);
            }
        }
        self.network_done.is_some()
    }

    /// A disk from elsewhere that cannot come or go keeps nobody else waiting.
    fn follow_contents(&mut self, plan: &HostPlan) {
        let Drivers { contents, volumes, .. } = &self.drivers;
        volumes.merge(&plan.contents);
        // What has become part of another file may be what a machine is about to open.
        let keeps = volumes.is_opening() || !self.heard;
        let done = if keeps { contents.go_on(&plan.contents) } else { contents.follow(&plan.contents) };
        if let Err(e) = done {
            tracing::error!(error = format!("{e:#}"), "disks from elsewhere are not what they should be");
            self.retry = Some(Instant::now() + RETRY_AFTER);
        }
    }

    /// Keeps what volumes hold that no machine has open, nor is about to open.
    async fn keep(&mut self, plan: &HostPlan, under_way: &UnderWay, all: &[(ImageId, Taken)]) {
        for (id, taken) in all {
            let mut of = plan.vms.iter().filter(|vm| vm.disks.iter().any(|disk| disk.volume == taken.volume));
            if under_way.brings(&taken.volume) || of.any(|vm| under_way.is_busy(&vm.id)) {
                continue;
            }
            if let Err(e) = self.drivers.volumes.keep(id, taken).await {
                tracing::error!(volume = %taken.volume, error = format!("{e:#}"), "its snapshot is tried again");
                self.retry = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    /// Returns what is left. A volume that cannot be deleted keeps nobody else waiting.
    async fn delete_volumes(
        &mut self,
        plan: &HostPlan,
        seen: &[SeenVm],
        pending: &[(ImageId, Taken)],
    ) -> Result<Vec<VolumeSeen>> {
        let mut present = self.drivers.volumes.observe().await?;
        let waits = |volume: &VolumeSeen| pending.iter().any(|(_, taken)| taken.volume == volume.id);
        let ids: Vec<_> = present.iter().filter(|v| self.heard && !waits(v)).map(|v| v.id.clone()).collect();
        for id in unwanted_volumes(plan, &ids, seen) {
            match self.drivers.volumes.release(&id).await {
                Ok(()) => present.retain(|v| v.id != id),
                Err(e) => {
                    tracing::error!(volume = %id, error = format!("{e:#}"), "cannot be deleted; it is tried again");
                    self.retry = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
        Ok(present)
    }

    fn report(
        &mut self,
        plan: &HostPlan,
        under_way: &UnderWay,
        seen: &[SeenVm],
        (volumes, traffic): (Vec<VolumeSeen>, Vec<TrafficSeen>),
    ) {
        let planned: HashMap<_, _> = plan.vms.iter().map(|vm| (&vm.id, vm)).collect();
        let served = self.network_done.as_ref().map(|done| &done.vms);
        let served: HashMap<_, _> =
            served.into_iter().flatten().map(|vm| (&vm.id, vm.metadata.options.changes)).collect();
        let vms = seen.iter().filter_map(|vm| {
            let planned = planned.get(&vm.id)?;
            Some(VmSeen {
                home: planned.home.clone(),
                id: vm.id.clone(),
                run: vm.run,
                phase: vm.phase,
                reboots: vm.reboots,
                health: self.health.of(&vm.id),
                exit: vm.exit.clone(),
                metadata: served.get(&vm.id).copied().unwrap_or_default(),
                disks: disks(vm, under_way),
                interfaces: interfaces(vm, under_way),
                // Of what nobody has looked at nothing is claimed.
                device_changes: if vm.interfaces.is_some() { planned.device_changes } else { 0 },
                free_ports: vm.free_ports,
                free_interface_ports: vm.free_interface_ports,
            })
        });
        let vms = vms.collect();
        let mut contents = self.drivers.contents.seen(&plan.contents);
        contents.extend(plan.contents.iter().filter_map(|content| kept(content, &self.drivers)));
        let exports = self.drivers.exports.seen(&plan.exports);
        self.send(vms, volumes, (contents, exports), traffic, plan.revision);
    }

    fn send(
        &mut self,
        vms: Vec<VmSeen>,
        volumes: Vec<VolumeSeen>,
        (contents, exports): (Vec<ContentSeen>, Vec<ExportSeen>),
        traffic: Vec<TrafficSeen>,
        plan: u64,
    ) {
        let About { host, zone, region, capacity, accelerator, note, address, .. } = self.about.clone();
        let report = Report {
            protocol: PROTOCOL,
            host,
            zone,
            region,
            capacity,
            accelerator,
            note,
            address,
            plan,
            vms,
            volumes,
            contents,
            takes_exports: self.drivers.exports.takes(),
            exports,
            traffic,
        };
        if self.sent.as_ref().is_none_or(|sent| !says_the_same(sent, &report)) {
            let report = Arc::new(report);
            self.sent = Some(report.clone());
            self.link.reports.send_replace(Some(report));
        }
    }
}

/// What volumes held, and is to be kept and is not yet.
fn pending(plan: &HostPlan, drivers: &Drivers) -> Vec<(ImageId, Taken)> {
    let missing = |content: &&ContentPlan| !content.kept && drivers.volumes.kept(content).is_none();
    let taken = plan.contents.iter().filter(|content| content.source.taken().is_some()).filter(missing);
    taken.filter_map(|content| Some((content.id.clone(), content.source.taken()?.clone()))).collect()
}

/// How it is with what a volume held, or with a copy of that.
fn kept(content: &ContentPlan, drivers: &Drivers) -> Option<ContentSeen> {
    if !content.source.is_of_volumes() {
        return None;
    }
    let (home, id) = (content.home.clone(), content.id.clone());
    let unmerged = drivers.volumes.unmerged(content);
    let unmade = unmerged.clone().filter(|_| content.source.copied().is_some()).map(|unmade| unmade.why);
    let mut merged = unmerged.map(|Unmerged { why, full }| Merged::Failed { why, full });
    let phase = match drivers.volumes.kept(content) {
        Some(Layer { size_gib, bytes, below }) => {
            if below.as_ref() != content.source.below() {
                merged = Some(Merged::Onto { below });
            }
            ImportPhase::Kept { size_gib, bytes }
        }
        // The plan takes a copy that could not be made for one that was there.
        None => {
            let lost = content.kept.then(|| "the host has lost it".into());
            ImportPhase::Failed { why: unmade.or(lost)? }
        }
    };
    Some(ContentSeen { home, id, phase, merged })
}

/// What a machine has, and what a step that began earlier may be giving to it just now.
fn disks(vm: &SeenVm, under_way: &UnderWay) -> Vec<DiskSeen> {
    let mut disks = vm.disks.clone();
    let coming = under_way.coming(&vm.id).filter(|id| disks.iter().all(|disk| disk.volume != **id));
    disks.extend(coming.map(|id| DiskSeen {
        volume: id.clone(),
        size_gib: 0,
        attached: false,
        limits: None,
        failed: false,
    }));
    disks
}

/// The same of interfaces.
fn interfaces(vm: &SeenVm, under_way: &UnderWay) -> Vec<InterfaceSeen> {
    let mut all = vm.interfaces.clone().unwrap_or_default();
    for mac in under_way.plugged(&vm.id) {
        if all.iter().all(|seen| seen.mac != mac) {
            all.push(InterfaceSeen { mac, attached: false });
        }
    }
    all
}

/// Networks also depend on what the metadata service says.
fn same_guests(a: &HostPlan, b: &HostPlan) -> bool {
    a.vms.len() == b.vms.len()
        && a.vms.iter().zip(&b.vms).all(|(a, b)| a.id == b.id && a.run == b.run && a.metadata == b.metadata)
}

fn says_the_same(a: &Report, b: &Report) -> bool {
    // Taken apart, because a copy of a report is large.
    let Report { protocol, host, zone, region, capacity, accelerator, note, address, plan: _, .. } = a;
    let Report { vms, volumes, contents, takes_exports, exports, traffic, .. } = a;
    (protocol, host, zone, region, capacity) == (&b.protocol, &b.host, &b.zone, &b.region, &b.capacity)
        && (accelerator, note, address) == (&b.accelerator, &b.note, &b.address)
        && (vms, volumes, contents, traffic) == (&b.vms, &b.volumes, &b.contents, &b.traffic)
        && (takes_exports, exports) == (&b.takes_exports, &b.exports)
}
