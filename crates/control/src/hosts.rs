//! The hosts that are connected: plans go down, reports come up, questions are asked.
//!
//! **Invariant:** a host speaks only about itself: what it says about an instance that is not placed on it is ignored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use awan_model::host::{HostLiveness, HostRecord};
use awan_model::id::HostId;
use awan_model::instance::{Instance, Phase, Placement, VmReport};
use awan_model::plan::{HostPlan, PROTOCOL};
use awan_model::report::{Answer, Ask, Report, VmSeen};
use awan_state::{Db, Home, Host, Record as _, Ref, System, Tx};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Result};

/// A host that was not heard for so long counts as away.
pub const AWAY_AFTER: Duration = Duration::from_secs(20);
const ASKS_MAX: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub type Question = (Ask, oneshot::Sender<Answer>);
type Plan = Option<Arc<HostPlan>>;

#[derive(Default)]
pub struct Hosts(Mutex<HashMap<HostId, Connected>>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host connects; an older connection of the same host ends.
    pub fn connect(&self, id: &HostId) -> Connection {
        let (plan, plans) = watch::channel(None);
        let (asks_in, asks) = mpsc::channel(ASKS_MAX);
        let connected = Connected { plan, asks: asks_in, heard: Instant::now(), reported: None };
        self.lock().insert(id.clone(), connected);
        Connection { plans, asks }
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
        asks.try_send((ask, answer)).map_err(|e| Error::fault(format!("host {id} takes no questions: {e}")))?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(Error::fault(format!("host {id} did not answer"))),
        }
    }

    /// Whom we hear and whom we do not.
    pub fn heard(&self) -> HashMap<HostId, bool> {
        self.lock().iter().map(|(id, c)| (id.clone(), c.heard.elapsed() < AWAY_AFTER)).collect()
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
        let cause = format!("report of {}", report.host);
        db.transact(scope, &cause, |tx| {
            take_in(tx, &report);
            Ok::<_, Error>(())
        })
        .await?;
        if let Some(connected) = self.lock().get_mut(&report.host) {
            connected.reported = Some(report);
        }
        Ok(())
    }
}

/// A plan that differs in its revision only is no news.
fn same(old: &HostPlan, new: &HostPlan) -> bool {
    old.vms == new.vms && old.volumes == new.volumes && old.network == new.network && old.store == new.store
}

/// What a report changes in the records.
pub fn take_in(tx: &mut Tx<Host>, report: &Report) {
    let home = Home::installation();
    let old = tx.find_in::<HostRecord>(&home, &report.host);
    let record = HostRecord {
        home: home.clone(),
        id: report.host.clone(),
        zone: report.zone.clone(),
        region: report.region.clone(),
        capacity: report.capacity,
        accelerator: report.accelerator.clone(),
        note: report.note.clone(),
        address: report.address.clone(),
        joined: old.as_ref().map_or(tx.now(), |o| o.joined),
    };
    if old.is_none_or(|old| *old != record) {
        tx.put(record);
    }
    for seen in &report.vms {
        take_in_vm(tx, &report.host, seen);
    }
}

fn take_in_vm(tx: &mut Tx<Host>, host: &HostId, seen: &VmSeen) {
    let VmSeen { home, id, run, phase, reboots, health, exit } = seen.clone();
    let Some(place) = tx.find_in::<Placement>(&home, &id) else { return };
    let Some(instance) = tx.find_in::<Instance>(&home, &id) else { return };
    // Late words about an earlier run, or of a host that no longer has it, say nothing.
    if place.host != *host || place.run != run || instance.run < run {
        return;
    }
    let old = tx.find_in::<VmReport>(&home, &id);
    // A run goes one way, so what says otherwise is late. In particular, what has exited never lives again.
    if old.as_ref().is_some_and(|o| o.run == run && order(phase) < order(o.phase)) {
        return;
    }
    let since = old.as_ref().filter(|o| o.run == run && o.phase == phase).map_or(tx.now(), |o| o.at);
    let report = VmReport { home, id, host: host.clone(), run, phase, reboots, health, exit, at: since };
    if old.is_none_or(|old| *old != report) {
        tx.put(report);
    }
}

fn order(phase: Phase) -> u8 {
    match phase {
        Phase::Starting => 0,
        Phase::Running => 1,
        Phase::Exited => 2,
    }
}

/// Records who is away, when that changes.
pub fn note_liveness(tx: &mut Tx<System>, heard: &HashMap<HostId, bool>) -> Result<()> {
    for host in tx.all::<HostRecord>() {
        let alive = heard.get(&host.id).copied().unwrap_or(false);
        let at: Ref<HostLiveness> = Ref::new(&host.at().home, &host.id);
        let old = tx.find_at(&at);
        if old.is_none_or(|o| o.alive != alive) {
            let (home, id, since) = (at.home, at.id, tx.now());
            tx.put(HostLiveness { home, id, alive, since });
        }
    }
    Ok(())
}
