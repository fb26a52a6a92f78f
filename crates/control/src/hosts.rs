//! The hosts that are connected: plans go down, reports come up, questions are asked.
//!
//! **Invariant:** a host speaks only about itself: what it says about an instance that is not placed on it is ignored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use awan_model::export::{ExportReport, ExportTask};
use awan_model::host::{HostLiveness, HostOwner, HostRecord};
use awan_model::id::HostId;
use awan_model::import::{Content, ContentReport, ImportPhase};
use awan_model::instance::{Instance, Phase, Placement, VmReport};
use awan_model::interface::NetworkInterface;
use awan_model::plan::{HostPlan, PROTOCOL};
use awan_model::report::{Answer, Ask, ContentSeen, ExportSeen, Report, TrafficSeen, VmSeen};
use awan_model::traffic::TrafficReport;
use awan_state::{Db, Home, Host, Record as _, Ref, System, Tx};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::error::{Error, Result};

/// A host that was not heard for so long counts as away.
pub const AWAY_AFTER: Duration = Duration::from_secs(20);
const ASKS_MAX: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub type Question = (Ask, oneshot::Sender<Answer>);
type Plan = Option<Arc<HostPlan>>;

pub struct Hosts {
    connected: Mutex<HashMap<HostId, Connected>>,
    since: Instant,
    /// Somebody connected, and has no plan yet.
    joined: Notify,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { connected: Mutex::default(), since: Instant::now(), joined: Notify::new() }
    }
}

/// Whom this process hears.
#[derive(Debug, Clone)]
pub struct Heard {
    pub hosts: HashMap<HostId, bool>,
    /// It has been listening for long enough that whoever has not connected is away.
    pub long_enough: bool,
}

struct Connected {
    plan: watch::Sender<Plan>,
    asks: mpsc::Sender<Question>,
    heard: Instant,
    reported: Option<Report>,
}

/// A host's end of its connection.
pub struct Connection {
    pub plans: watch::Receiver<Plan>,
    pub asks: mpsc::Receiver<Question>,
}

impl Hosts {
    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host connects; an older connection of the same host ends.
    pub fn connect(&self, id: &HostId) -> Connection {
        let (plan, plans) = watch::channel(None);
        let (asks_in, asks) = mpsc::channel(ASKS_MAX);
        let connected = Connected { plan, asks: asks_in, heard: Instant::now(), reported: None };
        self.lock().insert(id.clone(), connected);
        self.joined.notify_one();
        Connection { plans, asks }
    }

    /// Waits until somebody connected who has no plan yet.
    pub async fn joined(&self) {
        self.joined.notified().await;
    }

    pub fn connected(&self) -> usize {
        self.lock().values().filter(|c| c.heard.elapsed() < AWAY_AFTER).count()
    }

    pub fn last_report(&self, id: &HostId) -> Option<Report> {
        self.lock().get(id).and_then(|c| c.reported.clone())
    }

    pub fn push(&self, plans: BTreeMap<HostId, HostPlan>) {
        let connected = self.lock();
        for (id, plan) in plans {
            let Some(host) = connected.get(&id) else { continue };
            host.plan.send_if_modified(|old| {
                let new = old.as_ref().is_none_or(|old| !same(old, &plan));
                if new {
                    *old = Some(Arc::new(plan));
                }
                new
            });
        }
    }

    pub async fn ask(&self, id: &HostId, ask: Ask) -> Result<Answer> {
        let (answer, answered) = oneshot::channel();
        let asks = self.lock().get(id).map(|c| c.asks.clone());
        let asks = asks.ok_or_else(|| Error::fault(format!("host {id} is not connected")))?;
        // Many ask for blocks of snapshots at once.
        match tokio::time::timeout(ANSWER_WITHIN, asks.send((ask, answer))).await {
            Ok(Ok(())) => {}
            _ => return Err(Error::fault(format!("host {id} takes no questions"))),
        }
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Error::fault(format!("host {id} did not answer"))),
        }
    }

    /// Whom we hear and whom we do not.
    pub fn heard(&self) -> Heard {
        let hosts = self.lock().iter().map(|(id, c)| (id.clone(), c.heard.elapsed() < AWAY_AFTER)).collect();
        Heard { hosts, long_enough: self.since.elapsed() >= AWAY_AFTER }
    }

    /// Takes in a report. One that says nothing new writes nothing.
    pub async fn report(&self, db: &Db, report: Report) -> Result<()> {
        if report.protocol != PROTOCOL {
            return Err(Error::fault(format!(
                "host {} speaks protocol {}, not {PROTOCOL}",
                report.host, report.protocol
            )));
        }
        if let Some(connected) = self.lock().get_mut(&report.host) {
            connected.heard = Instant::now();
            if connected.reported.as_ref() == Some(&report) {
                return Ok(());
            }
        }
        let scope = Host(report.host.as_str().into());
        // Looks first: of a host's many machines few have changed, and nobody else may write meanwhile.
        let news = db.read(scope.clone(), |tx| news(tx, &report));
        if let Some(news) = news {
            let cause = format!("report of {}", report.host);
            db.transact(scope, &cause, |tx| {
                take_in(tx, &news);
                Ok::<_, Error>(())
            })
            .await?;
        }
        if let Some(connected) = self.lock().get_mut(&report.host) {
            connected.reported = Some(report);
        }
        Ok(())
    }
}

/// Whether a machine may have a host's name: nobody has it, which gives it to this one for good, or this one has.
pub async fn claim(db: &Db, host: &HostId, identity: &str) -> Result<bool> {
    let (scope, home) = (Host(host.as_str().into()), Home::installation());
    let owner = |tx: &mut Tx<Host>| tx.find_in::<HostOwner>(&home, host).map(|owner| owner.identity == identity);
    if let Some(own) = db.read(scope.clone(), owner) {
        return Ok(own);
    }
    db.transact(scope, &format!("{host} joins"), |tx| {
        let own = owner(tx);
        if own.is_none() {
            tx.put(HostOwner { home: home.clone(), id: host.clone(), identity: identity.to_owned() });
        }
        Ok(own.unwrap_or(true))
    })
    .await
}

/// A plan that differs in its revision only is no news.
fn same(old: &HostPlan, new: &HostPlan) -> bool {
    old.vms == new.vms
        && old.volumes == new.volumes
        && old.contents == new.contents
        && old.exports == new.exports
        && old.images == new.images
        && old.network == new.network
        && old.store == new.store
}

/// The part of a report that changes something; `None`: nothing does.
fn news(tx: &mut Tx<Host>, report: &Report) -> Option<Report> {
    let vms: Vec<_> = report.vms.iter().filter(|seen| changed_vm(tx, &report.host, seen).is_some()).cloned().collect();
    let told = |seen: &&ContentSeen| changed_content(tx, &report.host, seen).is_some();
    let contents: Vec<_> = report.contents.iter().filter(told).cloned().collect();
    let told = |seen: &&ExportSeen| changed_export(tx, &report.host, seen).is_some();
    let exports: Vec<_> = report.exports.iter().filter(told).cloned().collect();
    let told = |seen: &&TrafficSeen| changed_traffic(tx, &report.host, seen).is_some();
    let traffic: Vec<_> = report.traffic.iter().filter(told).cloned().collect();
    let quiet = vms.is_empty() && contents.is_empty() && exports.is_empty() && traffic.is_empty();
    let quiet = quiet && changed_host(tx, report).is_none();
    // Taken apart, because a copy of the whole report is large.
    let Report {
        protocol,
        host,
        zone,
        region,
        capacity,
        accelerator,
        note,
        address,
        plan,
        vms: _,
        volumes: _,
        contents: _,
        takes_exports,
        exports: _,
        traffic: _,
    } = report;
    (!quiet).then(|| Report {
        protocol: *protocol,
        host: host.clone(),
        zone: zone.clone(),
        region: region.clone(),
        capacity: *capacity,
        accelerator: accelerator.clone(),
        note: note.clone(),
        address: address.clone(),
        plan: *plan,
        vms,
        volumes: Vec::new(),
        contents,
        takes_exports: *takes_exports,
        exports,
        traffic,
    })
}

/// What a report changes in the records.
pub fn take_in(tx: &mut Tx<Host>, report: &Report) {
    if let Some(record) = changed_host(tx, report) {
        tx.put(record);
    }
    for seen in &report.vms {
        if let Some(report) = changed_vm(tx, &report.host, seen) {
            tx.put(report);
        }
    }
    for seen in &report.contents {
        if let Some(report) = changed_content(tx, &report.host, seen) {
            tx.put(report);
        }
    }
    for seen in &report.exports {
        if let Some(report) = changed_export(tx, &report.host, seen) {
            tx.put(report);
        }
    }
    for seen in &report.traffic {
        if let Some(report) = changed_traffic(tx, &report.host, seen) {
            tx.put(report);
        }
    }
}

/// What is new about an interface of an instance on this host.
pub fn changed_traffic(tx: &mut Tx<Host>, host: &HostId, seen: &TrafficSeen) -> Option<TrafficReport> {
    let eni = tx.find_in::<NetworkInterface>(&seen.home, &seen.id)?;
    let instance = &eni.attachment.as_ref()?.instance;
    tx.find_in::<Placement>(&seen.home, instance).filter(|place| place.host == *host)?;
    let old = tx.find_in::<TrafficReport>(&seen.home, &seen.id);
    TrafficReport::after(old.as_deref(), seen, instance, tx.now())
}

/// What is new about a disk from elsewhere that lies on this host, and on no other.
fn changed_content(tx: &mut Tx<Host>, host: &HostId, seen: &ContentSeen) -> Option<ContentReport> {
    let ContentSeen { home, id, phase, merged } = seen.clone();
    let there = tx.find_in::<Content>(&home, &id).is_some_and(|content| content.host == *host);
    let old = tx.find_in::<ContentReport>(&home, &id);
    let failed = |phase: &ImportPhase| matches!(phase, ImportPhase::Failed { .. });
    // Why it failed first is why it is not there. A host that began anew knows no more than that.
    let before = old.as_ref().filter(|old| old.host == *host && failed(&old.phase) && failed(&phase));
    let phase = before.map_or(phase, |old| old.phase.clone());
    let new = ContentReport { home, id, host: host.clone(), phase, merged };
    (there && old.is_none_or(|old| *old != new)).then_some(new)
}

/// What is new about an export that this host, and no other, has something to do about.
fn changed_export(tx: &mut Tx<Host>, host: &HostId, seen: &ExportSeen) -> Option<ExportReport> {
    let ExportSeen { home, id, phase } = seen.clone();
    tx.find_in::<ExportTask>(&home, &id).filter(|task| task.host == *host && task.is_planned())?;
    let old = tx.find_in::<ExportReport>(&home, &id);
    let new = ExportReport { home, id, host: host.clone(), phase };
    old.is_none_or(|old| *old != new).then_some(new)
}

fn changed_host(tx: &mut Tx<Host>, report: &Report) -> Option<HostRecord> {
    let home = Home::installation();
    let old = tx.find_in::<HostRecord>(&home, &report.host);
    let record = HostRecord {
        home,
        id: report.host.clone(),
        zone: report.zone.clone(),
        region: report.region.clone(),
        capacity: report.capacity,
        accelerator: report.accelerator.clone(),
        note: report.note.clone(),
        address: report.address.clone(),
        takes_exports: report.takes_exports,
        joined: old.as_ref().map_or(tx.now(), |o| o.joined),
    };
    old.is_none_or(|old| *old != record).then_some(record)
}

fn changed_vm(tx: &mut Tx<Host>, host: &HostId, seen: &VmSeen) -> Option<VmReport> {
    let VmSeen {
        home,
        id,
        run,
        phase,
        reboots,
        health,
        exit,
        metadata,
        disks,
        interfaces,
        device_changes,
        free_ports,
        free_interface_ports,
    } = seen;
    let (run, phase, metadata) = (*run, *phase, *metadata);
    let old = tx.find_in::<VmReport>(home, id);
    let known = old.as_ref().filter(|o| o.run == run);
    if known.is_some_and(|o| {
        o.host == *host
            && (o.phase, o.reboots, o.health, o.metadata) == (phase, *reboots, *health, metadata)
            && o.exit == *exit
            && (o.device_changes, o.free_ports) == (*device_changes, *free_ports)
            && o.free_interface_ports == *free_interface_ports
            && o.interfaces == *interfaces
            && o.disks == *disks
    }) {
        return None;
    }
    let place = tx.find_in::<Placement>(home, id)?;
    let instance = tx.find_in::<Instance>(home, id)?;
    // Late words about an earlier run, or of a host that no longer has it, say nothing.
    if place.host != *host || place.run != run || instance.run < run {
        return None;
    }
    // A run goes one way, so what says otherwise is late. In particular, what has exited never lives again.
    if known.is_some_and(|o| order(phase) < order(o.phase)) {
        return None;
    }
    let at = known.filter(|o| o.phase == phase).map_or(tx.now(), |o| o.at);
    let (home, id, host, exit) = (home.clone(), id.clone(), host.clone(), exit.clone());
    Some(VmReport {
        home,
        id,
        host,
        run,
        phase,
        reboots: *reboots,
        health: *health,
        exit,
        metadata,
        disks: disks.clone(),
        interfaces: interfaces.clone(),
        device_changes: *device_changes,
        free_ports: *free_ports,
        free_interface_ports: *free_interface_ports,
        at,
    })
}

fn order(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Running => 1,
        Phase::Exited => 2,
    }
}

/// Records who is away, when that changes.
pub fn note_liveness(tx: &mut Tx<System>, heard: &Heard) -> Result<()> {
    for host in tx.all::<HostRecord>() {
        // After a restart a host is what it was until it had time to connect.
        let Some(alive) = heard.hosts.get(&host.id).copied().or(heard.long_enough.then_some(false)) else { continue };
        let at: Ref<HostLiveness> = Ref::new(&host.at().home, &host.id);
        let old = tx.find_at(&at);
        if old.is_none_or(|o| o.alive != alive) {
            let (home, id, since) = (at.home, at.id, tx.now());
            tx.put(HostLiveness { home, id, alive, since });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn a_restart_makes_no_host_away_before_it_had_time_to_connect() {
        let mut cloud = Cloud::new();
        let note = |cloud: &Cloud, long_enough| {
            let heard = Heard { hosts: HashMap::new(), long_enough };
            cloud.control.db.transact_blocking(System, "test", |tx| note_liveness(tx, &heard)).expect("notes");
        };
        note(&cloud, false);
        cloud.tenant("acme").run();
        note(&cloud, true);
        let refusal = cloud.tenant("acme").run_with(&[]).expect_err("its only host is away");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
    }

    #[test]
    fn a_host_that_connects_gets_its_plan_though_nothing_changes() {
        let cloud = Cloud::new();
        let (control, host) = (cloud.control.clone(), HostId::new("host").expect("a name"));
        cloud.runtime.block_on(async {
            let turns = tokio::spawn(crate::turn::run(control.clone()));
            for _ in 0..2 {
                let mut connection = control.hosts.connect(&host);
                let plan = tokio::time::timeout(Duration::from_secs(10), connection.plans.wait_for(Option::is_some));
                assert!(plan.await.is_ok_and(|plan| plan.is_ok()));
            }
            turns.abort();
        });
    }

    #[test]
    fn a_name_belongs_to_the_machine_that_first_joined_with_it() {
        let cloud = Cloud::new();
        let claims = [("a", "1"), ("a", "2"), ("b", "2"), ("a", "1")];
        let granted = claims.map(|(host, identity)| cloud.claim(host, identity));
        assert_eq!(granted, [true, false, true, true]);
    }
}
