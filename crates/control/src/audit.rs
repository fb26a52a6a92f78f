//! An `fsck` for the cloud: compares the records with each other, with what every host has, and with the meter.
//!
//! **Invariant:** [`records`] and [`inventory`] are pure; the simulator and every end-to-end test call the same code.

mod bin;
mod imports;
mod ipv6;
mod placement;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use awan_model::address::{Address, BY_PUBLIC_IP};
use awan_model::capacity::{CapacityHold, CapacityReservation};
use awan_model::dhcp_options::DhcpOptions;
use awan_model::gateway::InternetGateway;
use awan_model::group::{Peer, SecurityGroup};
use awan_model::host::{HostRecord, HostUsage};
use awan_model::id::{HostId, ImageId, InstanceId, SubnetId, VpcId};
use awan_model::import::Content;
use awan_model::instance::{Instance, Placement, State, VmReport, state};
use awan_model::interface::{Mac, NetworkInterface};
use awan_model::journal::{MeterEvent, MeterKind};
use awan_model::nat::NatGateway;
use awan_model::network_acl::NetworkAcl;
use awan_model::plan::{HostPlan, VmPlan};
use awan_model::prefix_list::PrefixList;
use awan_model::profile::ProfileAssociation;
use awan_model::recycle_bin::Binned;
use awan_model::report::{Answer, Ask, Inventory};
use awan_model::route::{Association, RouteTable};
use awan_model::snapshot::{Bytes, Snapshot};
use awan_model::subnet::Subnet;
use awan_model::traffic::TrafficReport;
use awan_model::volume::{Volume, VolumePlacement};
use awan_model::vpc::Vpc;
use awan_state::{Db, Home, System, Tx};

use crate::control::Control;
use crate::error::{Error, Result};
use crate::schedule::usage;
use crate::{kept, network, plan, recycle_bin};

const METER_PAGE: usize = 10_000;

/// Every difference on a running installation.
pub async fn all(control: &Control) -> Result<Vec<String>> {
    let snapshot = control.db.snapshot();
    let (mut differences, plans, running, unmade) =
        control.db.read(System, |tx| (records(tx), plan::all(tx, snapshot.revision()), running(tx), unmade(tx)));
    for (host, plan) in plans {
        let plan = as_made(plan, &unmade);
        match control.hosts.ask(&host, Ask::Inventory).await {
            Ok(Answer::Inventory(found)) => {
                differences.extend(inventory(&host, &plan, &found));
                differences.extend(lost(&host, &running, &found));
            }
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
    imports::check(tx, &mut out);
    bin::check(tx, &mut out);
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
    references(tx, &mut out);
    networks(tx, &mut out);
    ipv6::check(tx, &mut out);
    placement::check(tx, &mut out);
    for volume in tx.all::<VolumePlacement>() {
        let there = tx.find_in::<Volume>(&volume.home, &volume.id).is_some();
        if !there && tx.find_in::<Binned<Volume>>(&volume.home, &volume.id).is_none() {
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
    for (host, vcpus, memory_mib) in idle_slots(tx, out) {
        let of = used.entry(host).or_default();
        of.0 += vcpus;
        of.1 += memory_mib;
    }
    for host in tx.all::<HostRecord>() {
        let (vcpus, memory_mib) = used.remove(&host.id).unwrap_or_default();
        if vcpus > u64::from(host.capacity.vcpus) || memory_mib > host.capacity.memory_mib {
            out.push(format!("host {}: carries {vcpus} vCPU and {memory_mib} MiB, more than it has", host.id));
        }
    }
    out.extend(used.keys().map(|host| format!("host {host}: carries instances and is not known")));
    let kept: BTreeMap<_, _> =
        tx.all::<HostUsage>().iter().map(|usage| (usage.id.clone(), (**usage).clone())).collect();
    let counted = usage::recount(tx);
    let hosts: BTreeSet<_> = kept.keys().chain(counted.keys()).collect();
    let differ = hosts.into_iter().filter(|host| kept.get(*host) != counted.get(*host));
    out.extend(differ.map(|host| format!("host {host}: the sum of what lies on it is wrong")));
}

/// The room that capacity reservations keep and nobody is in.
fn idle_slots(tx: &mut Tx<System>, out: &mut Vec<String>) -> Vec<(HostId, u64, u64)> {
    let places = tx.all::<Placement>();
    let (mut idle, now) = (Vec::new(), tx.now());
    // The room of one that has ended is anybody's, even if the hold is not gone yet.
    for hold in tx.all::<CapacityHold>().into_iter().filter(|hold| hold.end.is_none_or(|end| end > now)) {
        match tx.find_in::<CapacityReservation>(&hold.home, &hold.id) {
            None => out.push(format!("{}: room is kept and there is no such reservation", hold.id)),
            Some(r) if r.count != hold.count() => {
                out.push(format!("{}: room for {} is kept, not for {}", hold.id, hold.count(), r.count));
            }
            Some(_) => {}
        }
        let inside = |host: &HostId| {
            let here = places.iter().filter(|p| p.reservation.as_ref() == Some(&hold.id) && p.host == *host);
            u32::try_from(here.count()).unwrap_or(u32::MAX)
        };
        for (host, slots) in &hold.slots {
            let used = inside(host);
            if used > *slots {
                out.push(format!("{}: {used} instances are in {slots} places on host {host}", hold.id));
            }
            let free = u64::from(slots.saturating_sub(used));
            idle.push((host.clone(), free * u64::from(hold.vcpus), free * hold.memory_mib));
        }
    }
    idle
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
        for eni in std::iter::once(&instance.interface).chain(&instance.more_interfaces) {
            let found = tx.find_in::<NetworkInterface>(home, eni);
            let own = found.is_some_and(|e| e.attachment.as_ref().is_some_and(|a| a.instance == *id));
            if now != State::Terminated && !own {
                out.push(format!("{id}: its interface {eni} is not there"));
            }
        }
    }
}

fn unique(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::new());
    for eni in tx.all::<NetworkInterface>() {
        for ip in eni.addresses().filter(|ip| !addresses.insert((eni.subnet.clone(), *ip))) {
            out.push(format!("{}: shares its address {ip}", eni.id));
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

/// Encrypted copies that never were there: they wait, or could not be made.
fn unmade(tx: &mut Tx<System>) -> BTreeSet<ImageId> {
    let never = |content: &&Arc<Content>| content.source.copied().is_some() && content.bytes.unwrap_or(0) == 0;
    tx.all::<Content>().iter().filter(never).map(|content| content.id.clone()).collect()
}

/// What a plan says, where nothing is taken for kept that was not made.
fn as_made(mut plan: HostPlan, unmade: &BTreeSet<ImageId>) -> HostPlan {
    plan.contents.iter_mut().filter(|content| unmade.contains(&content.id)).for_each(|content| content.kept = false);
    plan
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
    disks(host, plan, found, &mut out);
    interfaces(host, plan, found, &mut out);
    let volumes: BTreeSet<_> = plan.volumes.iter().map(|v| &v.id).collect();
    for id in found.volumes.iter().filter(|id| !volumes.contains(id)) {
        out.push(format!("host {host}: has volume {id}, which no plan has"));
    }
    let contents: BTreeSet<_> = plan.contents.iter().map(|content| &content.id).collect();
    for id in found.contents.iter().filter(|id| !contents.contains(id)) {
        out.push(format!("host {host}: has the bytes {id}, which no plan has"));
    }
    // What is to be copied is there once it has been, and others of its host's may come before it.
    let due = plan.contents.iter().filter(|content| content.kept || content.source.copied().is_none());
    for id in due.map(|content| &content.id).filter(|id| !found.contents.contains(id)) {
        out.push(format!("host {host}: has not the bytes {id}, which its plan has"));
    }
    out.extend(found.missing.iter().map(|what| format!("host {host}: {what} is missing")));
    out.extend(found.unexpected.iter().map(|what| format!("host {host}: {what} should not be there")));
    out
}

/// Every machine that runs has open what its plan gives it, and nothing else.
fn disks(host: &HostId, plan: &HostPlan, found: &Inventory, out: &mut Vec<String>) {
    let planned: BTreeSet<_> = plan.vms.iter().flat_map(|vm| vm.disks.iter().map(|d| (&vm.id, &d.volume))).collect();
    let open: BTreeSet<_> = found.disks.iter().map(|(id, volume)| (id, volume)).collect();
    for (id, volume) in open.difference(&planned) {
        out.push(format!("host {host}: {id} has volume {volume}, which its plan does not give it"));
    }
    for (id, volume) in planned.difference(&open).filter(|(id, _)| found.processes.iter().any(|(p, _)| p == *id)) {
        out.push(format!("host {host}: {id} has not volume {volume}, which its plan gives it"));
    }
}

/// As [`disks`]: no machine is in a network that its plan does not put it into.
fn interfaces(host: &HostId, plan: &HostPlan, found: &Inventory, out: &mut Vec<String>) {
    let all = plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces);
    let macs: HashMap<_, _> = all.map(|interface| (&interface.id, interface.mac)).collect();
    let of = |vm: &VmPlan| {
        let id = vm.id.clone();
        vm.interfaces
            .iter()
            .filter_map(|interface| macs.get(interface))
            .map(move |mac| (id.clone(), *mac))
            .collect::<Vec<_>>()
    };
    let planned: BTreeSet<(InstanceId, Mac)> = plan.vms.iter().flat_map(of).collect();
    let there: BTreeSet<(InstanceId, Mac)> = found.interfaces.iter().cloned().collect();
    for (id, mac) in there.difference(&planned) {
        out.push(format!("host {host}: {id} has the interface {mac}, which its plan does not give it"));
    }
    for (id, mac) in planned.difference(&there).filter(|(id, _)| found.processes.iter().any(|(p, _)| p == id)) {
        out.push(format!("host {host}: {id} has not the interface {mac}, which its plan gives it"));
    }
}

/// Instances and their runs by host.
pub type Running = BTreeMap<HostId, BTreeSet<(InstanceId, u32)>>;

/// Where instances run, as their tenants are told.
pub fn running(tx: &mut Tx<System>) -> Running {
    let mut out = Running::new();
    for place in tx.all::<Placement>() {
        let report = tx.find_in::<VmReport>(&place.home, &place.id);
        let instance = tx.find_in::<Instance>(&place.home, &place.id);
        if instance.is_some_and(|i| state(&i, report.as_deref()) == State::Running) {
            out.entry(place.host.clone()).or_default().insert((place.id.clone(), place.run));
        }
    }
    out
}

/// What is said to run on a host and does not: I2 (no loss).
pub fn lost(host: &HostId, running: &Running, found: &Inventory) -> Vec<String> {
    let there: BTreeSet<_> = found.processes.iter().collect();
    let gone = running.get(host).into_iter().flatten().filter(|one| !there.contains(one));
    gone.map(|(id, run)| format!("host {host}: no process runs {id} (run {run}), which is said to run")).collect()
}

/// Whatever costs money has one open meter and nothing else has: I8.
pub fn meter(db: &Db) -> Result<Vec<String>> {
    let mut open: BTreeSet<Meter> = BTreeSet::new();
    let mut out = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = db.cold("meter/", after.as_deref(), METER_PAGE).map_err(Error::fault)?;
        for row in &page.rows {
            let event: MeterEvent = serde_json::from_slice(&row.value).map_err(Error::fault)?;
            count(&mut open, event, &mut out);
        }
        after = page.rows.last().map(|row| row.key.to_string());
        if !page.more {
            break;
        }
    }
    let due = db.read(System, due);
    let named = |(id, generation, what): &Meter| format!("meter: {id} ({what} {generation})");
    out.extend(open.difference(&due).map(|m| format!("{} is open, and there is nothing to measure", named(m))));
    out.extend(due.difference(&open).map(|m| format!("{} is not open", named(m))));
    Ok(out)
}

/// Resource, generation, and what is measured.
type Meter = (String, u32, String);

/// What one event does to the meters that are open.
fn count(open: &mut BTreeSet<Meter>, event: MeterEvent, out: &mut Vec<String>) {
    let MeterEvent { resource, generation, kind, .. } = event;
    let (begins, what) = match kind {
        // Says how much, not since when.
        MeterKind::Traffic { .. } => return,
        MeterKind::InstanceBegan { instance_type } => (true, format!("run of {instance_type}")),
        MeterKind::InstanceEnded { instance_type } => (false, format!("run of {instance_type}")),
        MeterKind::VolumeBegan { gib, volume_type } => (true, format!("{gib} GiB of {volume_type}")),
        MeterKind::VolumeEnded { gib, volume_type } => (false, format!("{gib} GiB of {volume_type}")),
        MeterKind::SnapshotsBegan { bytes } => (true, format!("{bytes} bytes of snapshots")),
        MeterKind::SnapshotsEnded { bytes } => (false, format!("{bytes} bytes of snapshots")),
        MeterKind::CapacityBegan { instance_type, count } => (true, format!("room for {count} of {instance_type}")),
        MeterKind::CapacityEnded { instance_type, count } => (false, format!("room for {count} of {instance_type}")),
        MeterKind::AddressAllocated { public_ip } => (true, format!("allocation of {public_ip}")),
        MeterKind::AddressReleased { public_ip } => (false, format!("allocation of {public_ip}")),
        MeterKind::AddressAssociated { public_ip } => (true, format!("association of {public_ip}")),
        MeterKind::AddressDisassociated { public_ip } => (false, format!("association of {public_ip}")),
        MeterKind::PublicIpBegan { public_ip } => (true, format!("use of {public_ip}")),
        MeterKind::PublicIpEnded { public_ip } => (false, format!("use of {public_ip}")),
    };
    let meter = (resource, generation, what);
    if begins && open.contains(&meter) {
        out.push(format!("meter: {} began twice ({} {})", meter.0, meter.2, meter.1));
    } else if begins {
        open.insert(meter);
    } else if !open.remove(&meter) {
        out.push(format!("meter: {} ended and had not begun ({} {})", meter.0, meter.2, meter.1));
    }
}

/// The meters that the records ask for.
fn due(tx: &mut Tx<System>) -> BTreeSet<Meter> {
    let mut due = BTreeSet::new();
    for i in tx.all::<Instance>() {
        if state(&i, tx.find_in::<VmReport>(&i.home, &i.id).as_deref()) == State::Running {
            due.insert((i.id.to_string(), i.run, format!("run of {}", i.instance_type)));
        }
    }
    for place in tx.all::<Placement>() {
        due.extend(place.public_ip.map(|ip| (place.id.to_string(), place.run, format!("use of {ip}"))));
    }
    for v in recycle_bin::all::<Volume>(tx) {
        due.insert((v.id.to_string(), 0, format!("{} GiB of {}", v.size_gib, v.kind)));
    }
    let homes: BTreeSet<_> = recycle_bin::all::<Snapshot>(tx).iter().map(|snapshot| snapshot.home.clone()).collect();
    for home in homes {
        let bytes = kept::bytes(tx, &home);
        due.extend((bytes > 0).then(|| (kept::resource(&home), 0, format!("{bytes} bytes of snapshots"))));
    }
    for hold in tx.all::<CapacityHold>() {
        let what = format!("room for {} of {}", hold.count(), hold.instance_type);
        due.insert((hold.id.to_string(), 0, what));
    }
    for a in tx.all::<Address>() {
        due.insert((a.id.to_string(), 0, format!("allocation of {}", a.public_ip)));
        if a.association.is_some() {
            due.insert((a.id.to_string(), 0, format!("association of {}", a.public_ip)));
        }
    }
    due
}

/// What records say of each other: nothing names what is not there.
fn references(tx: &mut Tx<System>, out: &mut Vec<String>) {
    for association in tx.all::<ProfileAssociation>() {
        if tx.find_in::<Instance>(&association.home, &association.instance).is_none() {
            out.push(format!("{}: is of {}, which is not there", association.id, association.instance));
        }
    }
    for report in tx.all::<VmReport>() {
        if tx.find_in::<Instance>(&report.home, &report.id).is_none() {
            out.push(format!("report about {}: there is no such instance", report.id));
        }
    }
    for report in tx.all::<TrafficReport>() {
        if tx.find_in::<NetworkInterface>(&report.home, &report.id).is_none() {
            out.push(format!("traffic of {}: there is no such interface", report.id));
        }
    }
    for eni in tx.all::<NetworkInterface>() {
        let (home, id) = (&eni.home, &eni.id);
        let attached = eni.attachment.as_ref().map(|a| &a.instance);
        let has = |i: &Instance| i.interface == *id || i.more_interfaces.contains(id);
        if let Some(instance) = attached.filter(|i| !tx.find_in::<Instance>(home, i).is_some_and(|i| has(&i))) {
            out.push(format!("{id}: is attached to {instance}, which does not have it"));
        }
        let subnet = tx.find_in::<Subnet>(home, &eni.subnet);
        for ip in eni.addresses().filter(|ip| subnet.as_ref().is_none_or(|s| !s.is_usable(*ip))) {
            out.push(format!("{id}: has the address {ip}, which its subnet has not"));
        }
        for group in eni.groups.iter().filter(|g| tx.find_in::<SecurityGroup>(home, g).is_none()) {
            out.push(format!("{id}: is in {group}, which is not there"));
        }
    }
    attachments(tx, out);
    keys(tx, out);
    for address in tx.all::<Address>() {
        let Some(held) = &address.association else { continue };
        let eni = tx.find_in::<NetworkInterface>(&address.home, &held.interface);
        if eni.is_none_or(|e| !e.has(held.private_ip)) {
            out.push(format!("{}: is associated with {}, which is not there", address.id, held.interface));
        }
    }
    for group in tx.all::<SecurityGroup>() {
        for rule in &group.rules {
            if let Peer::Group(peer) = &rule.peer
                && tx.find_in::<SecurityGroup>(&group.home, peer).is_none_or(|p| p.vpc != group.vpc)
            {
                out.push(format!("{}: names {peer}, which is not there", group.id));
            }
            if let Peer::PrefixList(list) = &rule.peer
                && !PrefixList::of_services(&group.home).iter().any(|l| l.id == *list)
                && tx.find_in::<PrefixList>(&group.home, list).is_none()
            {
                out.push(format!("{}: names {list}, which is not there", group.id));
            }
        }
    }
    out.extend(tx.dangling().into_iter().map(|index| format!("index {index}: what it names is not there")));
}

/// What is encrypted has its key, and nothing that is not is a child of it: who opens that would need a key.
fn keys(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let contents: HashMap<ImageId, Arc<Content>> =
        tx.all::<Content>().into_iter().map(|content| (content.id.clone(), content)).collect();
    let key = |id: &ImageId| contents.get(id).and_then(|content| content.key().cloned());
    for content in contents.values() {
        if key(&content.id).is_none() && content.below().and_then(key).is_some() {
            out.push(format!("{}: what it is a child of is encrypted, and it is not", content.id));
        }
    }
    for volume in recycle_bin::all::<Volume>(tx) {
        if volume.key.is_none() && volume.image.as_ref().and_then(key).is_some() {
            out.push(format!("{}: is not encrypted, and what it begins as is", volume.id));
        }
        let own = volume.image.as_ref().and_then(|id| contents.get(id)?.taken()).filter(|t| t.volume == volume.id);
        if own.is_some_and(|taken| taken.key != volume.key) {
            out.push(format!("{}: what was kept of it has another key", volume.id));
        }
    }
    for snapshot in recycle_bin::all::<Snapshot>(tx) {
        let of = if let Bytes::Image(id) = &snapshot.bytes { key(id) } else { None };
        if !snapshot.encrypted && of.is_some() {
            out.push(format!("{}: says that it is not encrypted, and is", snapshot.id));
        }
        if snapshot.encrypted && (snapshot.public || !snapshot.shared_with.is_empty()) {
            out.push(format!("{}: is encrypted and shared", snapshot.id));
        }
    }
}

/// A volume and its instance name each other, and no two volumes have one place.
fn attachments(tx: &mut Tx<System>, out: &mut Vec<String>) {
    for volume in tx.all::<Volume>() {
        let Some(id) = volume.attachment.as_ref().map(|a| &a.instance) else { continue };
        match tx.find_in::<Instance>(&volume.home, id) {
            None => out.push(format!("{}: is attached to {id}, which is not there", volume.id)),
            Some(i) if i.root_volume != volume.id && !i.data_volumes.contains(&volume.id) => {
                out.push(format!("{}: is attached to {id}, which does not know it", volume.id));
            }
            Some(_) => {}
        }
    }
    for instance in tx.all::<Instance>() {
        for id in &instance.data_volumes {
            if tx.find_in::<Volume>(&instance.home, id).is_none_or(|v| !v.is_attached_to(&instance.id)) {
                out.push(format!("{}: knows the volume {id}, which is not attached to it", instance.id));
            }
        }
    }
}

/// What is in a VPC is in one that is there, and subnets do not lie upon each other.
fn networks(tx: &mut Tx<System>, out: &mut Vec<String>) {
    let vpcs: HashMap<VpcId, Arc<Vpc>> = tx.all::<Vpc>().into_iter().map(|vpc| (vpc.id.clone(), vpc)).collect();
    let subnets: HashMap<SubnetId, Arc<Subnet>> = tx.all::<Subnet>().into_iter().map(|s| (s.id.clone(), s)).collect();
    let here = |home: &Home, id: &VpcId| vpcs.get(id).is_some_and(|vpc| vpc.home == *home);
    let mut inside: Vec<(String, Home, VpcId)> = Vec::new();
    let mut ranges = Vec::new();
    for subnet in subnets.values() {
        inside.push((subnet.id.to_string(), subnet.home.clone(), subnet.vpc.clone()));
        ranges.push((subnet.vpc.clone(), subnet.cidr));
        if vpcs.get(&subnet.vpc).is_some_and(|vpc| !vpc.cidrs().any(|cidr| cidr.contains(&subnet.cidr))) {
            out.push(format!("{}: {} lies outside its VPC", subnet.id, subnet.cidr));
        }
    }
    // In order, a range that overlaps another overlaps its neighbour.
    ranges.sort_unstable();
    for pair in ranges.windows(2).filter(|p| p[0].0 == p[1].0 && network::overlap(&p[0].1, &p[1].1)) {
        out.push(format!("{}: the subnets {} and {} overlap", pair[0].0, pair[0].1, pair[1].1));
    }
    let groups = tx.all::<SecurityGroup>();
    inside.extend(groups.iter().map(|g| (g.id.to_string(), g.home.clone(), g.vpc.clone())));
    let gateways = tx.all::<InternetGateway>();
    let attached = gateways.iter().filter_map(|g| Some((g.id.to_string(), g.home.clone(), g.vpc.clone()?)));
    let (mut doors, mut mains, mut guarded) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (id, home, vpc) in attached {
        if !doors.insert(vpc.clone()) {
            out.push(format!("{vpc}: has {id} and another internet gateway"));
        }
        inside.push((id, home, vpc));
    }
    for table in tx.all::<RouteTable>() {
        inside.push((table.id.to_string(), table.home.clone(), table.vpc.clone()));
        if table.main && !mains.insert(table.vpc.clone()) {
            out.push(format!("{}: has two main route tables", table.vpc));
        }
        let served = |a: &&Association| subnets.get(&a.subnet).is_none_or(|s| s.vpc != table.vpc);
        for association in table.associations.iter().filter(served) {
            out.push(format!("{}: serves {}, which is not in its VPC", table.id, association.subnet));
        }
    }
    for gateway in tx.all::<NatGateway>() {
        let eni = tx.find_in::<NetworkInterface>(&gateway.home, &gateway.interface);
        let own = eni.is_some_and(|eni| eni.gateway.as_ref() == Some(&gateway.id));
        if own == gateway.deleted.is_some() {
            out.push(format!("{}: is {}, and its interface is not so", gateway.id, gateway.state()));
        }
    }
    for acl in tx.all::<NetworkAcl>() {
        inside.push((acl.id.to_string(), acl.home.clone(), acl.vpc.clone()));
        for association in &acl.associations {
            if subnets.get(&association.subnet).is_none_or(|s| s.vpc != acl.vpc) {
                out.push(format!("{}: serves {}, which is not in its VPC", acl.id, association.subnet));
            } else if !guarded.insert(association.subnet.clone()) {
                out.push(format!("{}: has two network ACLs", association.subnet));
            }
        }
    }
    out.extend(subnets.keys().filter(|id| !guarded.contains(*id)).map(|id| format!("{id}: has no network ACL")));
    for vpc in vpcs.values() {
        if let Some(id) = vpc.dhcp_options.as_ref().filter(|id| tx.find_in::<DhcpOptions>(&vpc.home, id).is_none()) {
            out.push(format!("{}: has the options {id}, which are not there", vpc.id));
        }
    }
    for eni in tx.all::<NetworkInterface>() {
        if subnets.get(&eni.subnet).is_some_and(|s| s.vpc != eni.vpc) {
            out.push(format!("{}: is in {}, its subnet is not", eni.id, eni.vpc));
        }
    }
    let lost = inside.into_iter().filter(|(_, home, vpc)| !here(home, vpc));
    out.extend(lost.map(|(id, _, vpc)| format!("{id}: is in {vpc}, which is not there")));
    out.extend(vpcs.keys().filter(|id| !mains.contains(*id)).map(|id| format!("{id}: has no main route table")));
}

#[cfg(test)]
mod tests {
    use awan_model::import::ImportPhase;

    use super::*;
    use crate::testing::Cloud;

    #[test]
    fn an_instance_that_is_said_to_run_and_does_not_is_a_difference() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").launch();
        let running = cloud.control.db.read(System, running);
        let host = running.keys().next().expect("one host").clone();
        let found = |processes| Inventory { processes, ..Default::default() };
        let one: InstanceId = id.parse().expect("an id");
        assert_eq!(lost(&host, &running, &found(vec![(one.clone(), 1)])), Vec::<String>::new());
        for processes in [vec![], vec![(one, 2)]] {
            let expected = format!("host {host}: no process runs {id} (run 1), which is said to run");
            assert_eq!(lost(&host, &running, &found(processes)), [expected]);
        }
    }

    /// That a host has not these bytes is a difference.
    fn missing(cloud: &Cloud) -> usize {
        let (plans, unmade) = cloud.control.db.read(System, |tx| (plan::all(tx, 0), unmade(tx)));
        let one = |(host, plan): (HostId, HostPlan)| inventory(&host, &as_made(plan, &unmade), &Inventory::default());
        plans.into_iter().flat_map(one).filter(|what| what.contains("has not the bytes")).count()
    }

    #[test]
    fn of_what_is_to_be_copied_no_bytes_are_missed_before_they_are_there() {
        for (reported, expected) in [
            (None, 1),
            (Some(ImportPhase::Failed { why: "it is broken".into() }), 1),
            (Some(ImportPhase::Kept { size_gib: 1, bytes: 300_000 }), 2),
        ] {
            let mut cloud = Cloud::new();
            let source = cloud.written("acme", 1, &[1]);
            let ask = [("SourceSnapshotId", source.as_str()), ("SourceRegion", "us-east-1"), ("Encrypted", "true")];
            cloud.tenant("acme").call("CopySnapshot", &ask).expect("copies");
            reported.iter().for_each(|phase| cloud.report_content(phase));
            assert_eq!(missing(&cloud), expected, "{reported:?}");
            if expected == 2 {
                cloud.report_content(&ImportPhase::Failed { why: "the host has lost it".into() });
                assert_eq!(missing(&cloud), 2, "what was there is missed");
            }
        }
    }

    #[test]
    fn what_is_in_no_vpc_is_a_difference() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").launch();
        let broken = cloud.control.db.transact(System, "test", |tx| {
            for vpc in tx.all::<Vpc>() {
                tx.act_for_tenant(&vpc.home, |tx| tx.remove::<Vpc>(&vpc.id));
            }
            Ok::<_, Error>(())
        });
        cloud.runtime.block_on(broken).expect("breaks");
        let wrong = cloud.control.db.read(System, always);
        let of = |prefix: &str| wrong.iter().filter(|w| w.starts_with(prefix) && w.ends_with("is not there")).count();
        assert_eq!(["subnet-", "sg-", "igw-", "rtb-", "acl-"].map(of), [3, 1, 1, 1, 1], "{wrong:?}");
    }

    #[test]
    fn a_subnet_that_no_acl_serves_is_a_difference() {
        let mut cloud = Cloud::new();
        cloud.tenant("acme").launch();
        let broken = cloud.control.db.transact(System, "test", |tx| {
            for acl in tx.all::<NetworkAcl>() {
                let acl = NetworkAcl { associations: Vec::new(), ..(*acl).clone() };
                tx.act_for_tenant(&acl.home.clone(), |tx| tx.put(acl));
            }
            Ok::<_, Error>(())
        });
        cloud.runtime.block_on(broken).expect("breaks");
        let wrong = cloud.control.db.read(System, always);
        assert_eq!(wrong.iter().filter(|w| w.ends_with(": has no network ACL")).count(), 3, "{wrong:?}");
    }
}
