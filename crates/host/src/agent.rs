//! The host loop: observe, compare with the plan, take steps, report. For ever, at its own pace.
//!
//! **Invariants.** A plan counts only if it comes from the store that this host follows and is not older than the last.
//! Without a plan nothing is touched: guests, rules, metadata and disks stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::host::Capacity;
use awan_model::id::{HostId, InstanceId, InterfaceId};
use awan_model::instance::{Exit, Health, Phase};
use awan_model::plan::{HostPlan, PROTOCOL, VmPlan};
use awan_model::report::{Answer, Ask, Inventory, Report, VmSeen};
use tokio::sync::{Notify, Semaphore};

use crate::driver::{Hypervisor, Network, SeenVm, Tap, Volumes};
use crate::effect::{Effect, effects, unwanted_volumes};
use crate::link::Link;

const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often networks are compared with the plan although nothing changed.
const SCRUB: Duration = Duration::from_secs(30);
const HEALTH_UNTIL_OK: Duration = Duration::from_secs(1);
const HEALTH_LATER: Duration = Duration::from_secs(10);
const FAILURES_UNTIL_IMPAIRED: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
}

pub struct Agent {
    about: About,
    drivers: Drivers,
    link: Link,
    plan: Option<Arc<HostPlan>>,
    shared: Arc<Shared>,
    network_done: Option<Arc<HostPlan>>,
    sent: Option<Arc<Report>>,
}

/// What the running steps and the loop both touch.
struct Shared {
    wake: Notify,
    busy: Mutex<BTreeSet<InstanceId>>,
    health: Mutex<BTreeMap<InstanceId, Seen>>,
    launches: Semaphore,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    run: u32,
    health: Health,
    failures: u32,
}

impl Agent {
    pub fn new(about: About, drivers: Drivers, link: Link) -> Self {
        let launches = Semaphore::new(about.launches.max(1));
        let shared = Shared { wake: Notify::new(), busy: Mutex::default(), health: Mutex::default(), launches };
        Self { about, drivers, link, plan: None, shared: Arc::new(shared), network_done: None, sent: None }
    }

    /// Runs until the link is gone.
    pub async fn run(mut self) {
        let changed = self.drivers.hypervisor.changed();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut scrub = tokio::time::interval(SCRUB);
        loop {
            if let Err(e) = self.turn().await {
                tracing::error!(error = format!("{e:#}"), "a turn of the host failed; it is tried again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            let shared = self.shared.clone();
            tokio::select! {
                got = self.link.plans.changed() => match got {
                    Ok(()) => self.take_plan(),
                    Err(_) => return,
                },
                Some((ask, answer)) = self.link.asks.recv() => { self.answer(ask, answer); }
                () = changed.notified() => {}
                () = shared.wake.notified() => {}
                _ = heartbeat.tick() => self.sent = None,
                _ = scrub.tick() => self.network_done = None,
            }
        }
    }

    fn take_plan(&mut self) {
        let Some(plan) = self.link.plans.borrow_and_update().clone() else { return };
        if plan.protocol != PROTOCOL || plan.host != self.about.host {
            tracing::error!(host = %plan.host, protocol = plan.protocol, "a plan for somebody else is not followed");
            return;
        }
        match self.follows(&plan) {
            Ok(true) => self.plan = Some(plan),
            Ok(false) => tracing::error!(store = plan.store, "a plan of another store is not followed"),
            Err(e) => tracing::error!(error = format!("{e:#}"), "cannot tell whose plan this is"),
        }
    }

    /// Whether the plan comes from the store that this host follows; the first one decides.
    fn follows(&self, plan: &HostPlan) -> Result<bool> {
        if let Some(old) = &self.plan
            && (old.store != plan.store || old.revision > plan.revision)
        {
            return Ok(false);
        }
        let Some(path) = &self.about.allegiance else { return Ok(true) };
        match std::fs::read_to_string(path) {
            Ok(store) => Ok(store == plan.store),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                std::fs::write(path, &plan.store).with_context(|| format!("writing {}", path.display()))?;
                Ok(true)
            }
            Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }

    async fn turn(&mut self) -> Result<()> {
        if let Some(plan) = self.plan.clone() {
            self.networks(&plan).await?;
        }
        // A step that ends while the machine is looked at may not show in what is seen: its instance waits a turn.
        let moving = self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen = self.drivers.hypervisor.observe().await?;
        if let Some(plan) = self.plan.clone() {
            for effect in effects(&plan, &seen).into_iter().filter(|e| !moving.contains(e.instance())) {
                self.take(effect, &plan);
            }
            self.delete_volumes(&plan, &seen).await?;
            self.watch_health(&plan, &seen);
        }
        self.report(&seen).await
    }

    async fn networks(&mut self, plan: &Arc<HostPlan>) -> Result<()> {
        let done =
            self.network_done.as_ref().is_some_and(|done| done.network == plan.network && same_guests(done, plan));
        if !done {
            self.drivers.network.apply(plan).await.context("applying the networks")?;
            self.network_done = Some(plan.clone());
        }
        Ok(())
    }

    /// Takes a step in the background, unless one is being taken for the same instance.
    fn take(&self, effect: Effect, plan: &Arc<HostPlan>) {
        let id = effect.instance().clone();
        if !self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
            return;
        }
        let (drivers, shared, plan) = (self.drivers.clone(), self.shared.clone(), plan.clone());
        tokio::spawn(async move {
            let done = step(&drivers, &shared, &plan, effect).await;
            if let Err(e) = done {
                tracing::warn!(instance = %id, error = format!("{e:#}"), "a step failed; it is tried again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            shared.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            shared.wake.notify_one();
        });
    }

    async fn delete_volumes(&self, plan: &HostPlan, seen: &[SeenVm]) -> Result<()> {
        let present: Vec<_> = self.drivers.volumes.observe().await?.into_iter().map(|v| v.id).collect();
        for id in unwanted_volumes(plan, &present, seen) {
            self.drivers.volumes.release(&id).await.with_context(|| format!("deleting {id}"))?;
        }
        Ok(())
    }

    /// Asks guests whether they answer: often until they do, then now and again.
    fn watch_health(&self, plan: &Arc<HostPlan>, seen: &[SeenVm]) {
        let mut known = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, of| seen.iter().any(|vm| vm.id == *id && vm.run == of.run && vm.phase == Phase::Running));
        for vm in seen.iter().filter(|vm| vm.phase == Phase::Running && !known.contains_key(&vm.id)).collect::<Vec<_>>()
        {
            let interface = plan.vms.iter().find(|p| p.id == vm.id).and_then(|p| p.interfaces.first()).cloned();
            let Some(interface) = interface else { continue };
            known.insert(vm.id.clone(), Seen { run: vm.run, ..Seen::default() });
            let (network, shared) = (self.drivers.network.clone(), self.shared.clone());
            tokio::spawn(ask_health(network, shared, vm.id.clone(), vm.run, interface));
        }
    }

    async fn report(&mut self, seen: &[SeenVm]) -> Result<()> {
        let Some(plan) = &self.plan else {
            // Before the first plan nothing is known about whose guests these are; the host itself is reported.
            return self.send(Vec::new(), 0).await;
        };
        let revision = plan.revision;
        let health = self.shared.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let homes: BTreeMap<_, _> = plan.vms.iter().map(|vm| (&vm.id, &vm.home)).collect();
        let vms = seen.iter().filter_map(|vm| {
            Some(VmSeen {
                home: (*homes.get(&vm.id)?).clone(),
                id: vm.id.clone(),
                run: vm.run,
                phase: vm.phase,
                reboots: vm.reboots,
                health: health.get(&vm.id).map(|s| s.health).unwrap_or_default(),
                exit: vm.exit.clone(),
            })
        });
        let vms = vms.collect();
        self.send(vms, revision).await
    }

    async fn send(&mut self, vms: Vec<VmSeen>, plan: u64) -> Result<()> {
        let About { host, zone, region, capacity, accelerator, note, address, .. } = self.about.clone();
        let volumes = self.drivers.volumes.observe().await?;
        let report =
            Report { protocol: PROTOCOL, host, zone, region, capacity, accelerator, note, address, plan, vms, volumes };
        if self.sent.as_ref().is_none_or(|sent| !says_the_same(sent, &report)) {
            let report = Arc::new(report);
            self.sent = Some(report.clone());
            self.link.reports.send_replace(Some(report));
        }
        Ok(())
    }

    fn answer(&self, ask: Ask, answer: tokio::sync::oneshot::Sender<Answer>) {
        let (drivers, plan) = (self.drivers.clone(), self.plan.clone());
        tokio::spawn(async move {
            let given = given(&drivers, plan.as_deref(), ask).await;
            let _ = answer.send(given.unwrap_or_else(|e| Answer::Refused { why: format!("{e:#}") }));
        });
    }
}

/// Networks also depend on what the metadata service says.
fn same_guests(a: &HostPlan, b: &HostPlan) -> bool {
    a.vms.len() == b.vms.len()
        && a.vms.iter().zip(&b.vms).all(|(a, b)| a.id == b.id && a.run == b.run && a.metadata == b.metadata)
}

fn says_the_same(a: &Report, b: &Report) -> bool {
    let plain = |r: &Report| Report { plan: 0, ..r.clone() };
    plain(a) == plain(b)
}

async fn given(drivers: &Drivers, plan: Option<&HostPlan>, ask: Ask) -> Result<Answer> {
    match ask {
        Ask::Console { instance } => Ok(Answer::Console { output: drivers.hypervisor.console(&instance).await? }),
        Ask::Inventory => {
            let plan = plan.context("this host has no plan yet")?;
            let vms = drivers.hypervisor.observe().await?;
            let alive = vms.iter().filter(|vm| vm.phase != Phase::Exited);
            let processes = alive.map(|vm| (vm.id.clone(), vm.run)).collect();
            let volumes = drivers.volumes.observe().await?.into_iter().map(|v| v.id).collect();
            let network = drivers.network.compare(plan).await?;
            let (missing, unexpected) = (network.missing, network.unexpected);
            Ok(Answer::Inventory(Inventory { plan: plan.revision, processes, missing, unexpected, volumes }))
        }
    }
}

async fn step(drivers: &Drivers, shared: &Shared, plan: &HostPlan, effect: Effect) -> Result<()> {
    match effect {
        Effect::Start(vm) => {
            let _place = shared.launches.acquire().await?;
            if let Err(e) = start(drivers, plan, &vm).await {
                tracing::error!(instance = %vm.id, error = format!("{e:#}"), "the launch failed");
                drivers.hypervisor.declare(&vm, Exit::Failed(format!("{e:#}"))).await?;
            }
            Ok(())
        }
        Effect::Stop(id, how) => drivers.hypervisor.stop(&id, how).await,
        Effect::Reboot(id, reboots) => drivers.hypervisor.reboot(&id, reboots).await,
        Effect::Declare(vm) => drivers.hypervisor.declare(&vm, Exit::Asked).await,
        Effect::Forget(id) => drivers.hypervisor.forget(&id).await,
    }
}

/// Disks first, then the guest's ends of its networks, then the machine.
async fn start(drivers: &Drivers, plan: &HostPlan, vm: &VmPlan) -> Result<()> {
    let mut disks = Vec::new();
    for disk in &vm.disks {
        let volume = plan.volumes.iter().find(|v| v.id == disk.volume);
        let volume = volume.with_context(|| format!("the plan has no volume {}", disk.volume))?;
        disks.push(drivers.volumes.ensure(volume).await?);
    }
    let mut taps = Vec::new();
    for interface in &vm.interfaces {
        let found = plan
            .network
            .vpcs
            .iter()
            .find_map(|vpc| vpc.interfaces.iter().find(|i| i.id == *interface).map(|i| (&vpc.id, i.mac)));
        let (vpc, mac) = found.with_context(|| format!("the plan has no interface {interface}"))?;
        taps.push(Tap { interface: interface.clone(), mac, fd: drivers.network.open(vpc, interface)? });
    }
    drivers.hypervisor.start(vm, disks, taps).await
}

async fn ask_health(network: Arc<dyn Network>, shared: Arc<Shared>, id: InstanceId, run: u32, interface: InterfaceId) {
    loop {
        let health = network.health(&interface).await;
        let pause = {
            let mut known = shared.health.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(seen) = known.get_mut(&id).filter(|s| s.run == run) else { return };
            let before = seen.health;
            note(seen, health);
            if seen.health != before {
                shared.wake.notify_one();
            }
            if seen.health == Health::Ok { HEALTH_LATER } else { HEALTH_UNTIL_OK }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Silence means nothing until a guest has answered once.
fn note(seen: &mut Seen, health: Health) {
    if health == Health::Ok {
        (seen.health, seen.failures) = (Health::Ok, 0);
    } else if seen.health != Health::Initializing {
        seen.failures += 1;
        if seen.failures >= FAILURES_UNTIL_IMPAIRED {
            seen.health = Health::Impaired;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_impaired_after_three_silences_and_ok_after_one_word() {
        let mut seen = Seen::default();
        let mut told = |health| {
            note(&mut seen, health);
            seen.health
        };
        assert_eq!(told(Health::Impaired), Health::Initializing);
        assert_eq!(told(Health::Ok), Health::Ok);
        assert_eq!(
            [told(Health::Impaired), told(Health::Impaired), told(Health::Impaired)],
            [Health::Ok, Health::Ok, Health::Impaired]
        );
        assert_eq!(told(Health::Ok), Health::Ok);
    }
}
