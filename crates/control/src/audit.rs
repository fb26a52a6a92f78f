//! An `fsck` for the cloud: compares the records with each other, with what every host has, and with the meter.
//!
//! **Invariant:** [`records`] and [`inventory`] are pure; the simulator and every end-to-end test call the same code.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use awan_model::address::{Address, BY_PUBLIC_IP};
use awan_model::host::HostRecord;
use awan_model::id::HostId;
use awan_model::instance::{Instance, Placement, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_model::journal::{MeterEvent, MeterKind};
use awan_model::plan::HostPlan;
use awan_model::report::{Answer, Ask, Inventory};
use awan_model::volume::{Volume, VolumePlacement};
use awan_state::{Db, System, Tx};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::plan;

const METER_PAGE: usize = 10_000;

/// Every difference on a running installation.
pub async fn all(control: &Control) -> Result<Vec<String>> {
    let snapshot = control.db.snapshot();
    let (mut differences, plans) = control.db.read(System, |tx| (records(tx), plan::all(tx, snapshot.revision())));
    for (host, plan) in plans {
        match control.hosts.ask(&host, Ask::Inventory).await {
            Ok(Answer::Inventory(found)) => differences.extend(inventory(&host, &plan, &found)),
            Ok(_) => differences.push(format!("host {host}: gave no inventory")),
            Err(e) => differences.push(format!("host {host}: {e}")),
        }
    }
    differences.extend(meter(&control.db)?);
    Ok(differences)
}

/// What the records say against each other, when nothing moves: I3 (no double), I5 (accounting), I7.
pub fn records(tx: &mut Tx<System>) -> Vec<String> {
    let mut out = always(tx);
    instances(tx, &mut out);
    out
}

/// What holds after every single commit.
pub fn always(tx: &mut Tx<System>) -> Vec<String> {
    let mut out = Vec::new();
    capacity(tx, &mut out);
    for place in tx.all::<Placement>() {
        let Some(instance) = tx.find_in::<Instance>(&place.home, &place.id) else {
            out.push(format!("placement {}: there is no such instance", place.id));
            continue;
        };
        if place.run != instance.run {
            out.push(format!("placement {}: is for run {}, the instance is at {}", place.id, place.run, instance.run));
        }
    }
    unique(tx, &mut out);
    for volume in tx.all::<VolumePlacement>() {
        if tx.find_in::<Volume>(&volume.home, &volume.id).is_none() {
            out.push(format!("volume placement {}: there is no such volume", volume.id));
        }
    }
    out
}

fn capacity(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let mut used: HashMap<HostId, (u64, u64)> = HashMap::new();
    for place in tx.all::<Placement>() {
        let of = used.entry(place.host.clone()).or_default();
        of.0 += u64::from(place.vcpus);
        of.1 += place.memory_mib;
    }
    for host in tx.all::<HostRecord>() {
        let (vcpus, memory_mib) = used.remove(&host.id).unwrap_or_default();
        if vcpus > u64::from(host.capacity.vcpus) || memory_mib > host.capacity.memory_mib {
            out.push(format!("host {}: carries {vcpus} vCPU and {memory_mib} MiB, more than it has", host.id));
        }
    }
    out.extend(used.keys().map(|host| format!("host {host}: carries instances and is not known")));
}

fn instances(tx: &mut Tx<System>, out: &mut Vec<String>) {
    for instance in tx.all::<Instance>() {
        let (home, id) = (&instance.home, &instance.id);
        let report = tx.find_in::<VmReport>(home, id);
        let now = state(&instance, report.as_deref());
        let placed = tx.find_in::<Placement>(home, id).is_some();
        match now {
            State::Pending | State::Running | State::Stopping | State::ShuttingDown if !placed => {
                out.push(format!("{id}: is {now} and has no place"));
            }
            State::Terminated
                if tx.find_in::<Volume>(home, &instance.root_volume).is_some_and(|v| {
                    v.attachment.as_ref().is_some_and(|a| a.instance == *id && a.delete_on_termination)
                }) =>
            {
                out.push(format!("{id}: is terminated and its volume {} is there", instance.root_volume));
            }
            State::Stopped | State::Terminated if placed => out.push(format!("{id}: is {now} and holds a place")),
            _ => {}
        }
        if now != State::Terminated && tx.find_in::<NetworkInterface>(home, &instance.interface).is_none() {
            out.push(format!("{id}: its interface {} is not there", instance.interface));
        }
    }
}

fn unique(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::new());
    for eni in tx.all::<NetworkInterface>() {
        if !addresses.insert((eni.subnet.clone(), eni.private_ip)) {
            out.push(format!("{}: shares its address {}", eni.id, eni.private_ip));
        }
        if !macs.insert(eni.mac) {
            out.push(format!("{}: shares its MAC address {}", eni.id, eni.mac));
        }
    }
    let elastic = tx.all::<Address>().into_iter().map(|a| a.public_ip);
    let mut public: Vec<_> = elastic.chain(tx.all::<Placement>().iter().filter_map(|p| p.public_ip)).collect();
    public.sort_unstable();
    for pair in public.windows(2).filter(|pair| pair[0] == pair[1]) {
        out.push(format!("public address {}: is held twice", pair[0]));
    }
    let held = tx.held(BY_PUBLIC_IP).len();
    if held != public.len() {
        out.push(format!("public addresses: {held} are taken, {} have a holder", public.len()));
    }
}

/// What a host has against what its plan says.
pub fn inventory(host: &HostId, plan: &HostPlan, found: &Inventory) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let planned: BTreeMap<_, _> = plan.vms.iter().map(|vm| (&vm.id, vm.run)).collect();
    let mut seen = BTreeSet::new();
    for (id, run) in &found.processes {
        if planned.get(id) != Some(run) {
            out.push(format!("host {host}: a process runs {id} (run {run}), which no plan has"));
        }
        if !seen.insert(id) {
            out.push(format!("host {host}: {id} runs twice"));
        }
    }
    let volumes: BTreeSet<_> = plan.volumes.iter().map(|v| &v.id).collect();
    for id in found.volumes.iter().filter(|id| !volumes.contains(id)) {
        out.push(format!("host {host}: has volume {id}, which no plan has"));
    }
    out.extend(found.missing.iter().map(|what| format!("host {host}: {what} is missing")));
    out.extend(found.unexpected.iter().map(|what| format!("host {host}: {what} should not be there")));
    out
}

/// Every instance that runs has an open meter and no other has: I8.
pub fn meter(db: &Db) -> Result<Vec<String>> {
    let mut open: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut out = Vec::new();
    let mut after: Option<String> = None;
    let mut events: Vec<MeterEvent> = Vec::new();
    loop {
        let page = db.cold("meter/", after.as_deref(), METER_PAGE).map_err(Error::fault)?;
        events.extend(page.rows.iter().filter_map(|row| serde_json::from_slice::<MeterEvent>(&row.value).ok()));
        after = page.rows.last().map(|row| row.key.to_string());
        if !page.more {
            break;
        }
    }
    // Of two events in one millisecond the beginning comes first.
    events.sort_by_key(|e| (e.at, matches!(e.kind, MeterKind::InstanceEnded { .. })));
    for MeterEvent { resource, generation, kind, .. } in events {
        match kind {
            MeterKind::InstanceBegan { .. } if !open.insert((resource.clone(), generation)) => {
                out.push(format!("meter: {resource} began run {generation} twice"));
            }
            MeterKind::InstanceEnded { .. } if !open.remove(&(resource.clone(), generation)) => {
                out.push(format!("meter: {resource} ended run {generation}, which had not begun"));
            }
            _ => {}
        }
    }
    let running = db.read(System, |tx| {
        let all = tx.all::<Instance>();
        let runs = |i: &Instance, tx: &mut Tx<System>| {
            state(i, tx.find_in::<VmReport>(&i.home, &i.id).as_deref()) == State::Running
        };
        all.iter().filter(|i| runs(i, tx)).map(|i| (i.id.to_string(), i.run)).collect::<BTreeSet<_>>()
    });
    out.extend(
        open.difference(&running).map(|(id, run)| format!("meter: {id} is metered for run {run} and does not run")),
    );
    out.extend(running.difference(&open).map(|(id, run)| format!("meter: {id} runs (run {run}) and is not metered")));
    Ok(out)
}
