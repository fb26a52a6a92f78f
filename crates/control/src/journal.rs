//! What happened, derived at the end of every transaction: changes of state, and meter events where they cost money.
//!
//! **Invariant:** this is the only place that writes the journal, and it runs inside the transaction it describes, so
//! no action and no reconciler can forget it, and neither can exist without the other.

use std::collections::HashSet;

use awan_model::address::Address;
use awan_model::capacity::CapacityHold;
use awan_model::id::InstanceId;
use awan_model::instance::{Instance, Phase, Placement, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_model::journal::{MeterEvent, MeterKind, Transition};
use awan_model::snapshot::SnapshotUsage;
use awan_model::traffic::TrafficReport;
use awan_model::volume::Volume;
use awan_state::{Home, Millis, Record, Ref, System, Tx};

use crate::schedule::usage;
use crate::{kept, recycle_bin};

/// The [`awan_state::Hook`] of the control plane.
pub fn record(tx: &mut Tx<System>) {
    usage::note(tx);
    kept::note(tx);
    let mut entries = Entries::default();
    instances(tx, &mut entries);
    volumes(tx, &mut entries);
    snapshots(tx, &mut entries);
    addresses(tx, &mut entries);
    places(tx, &mut entries);
    reservations(tx, &mut entries);
    traffic(tx, &mut entries);
    entries.append(tx);
}

#[derive(Default)]
struct Entries {
    transitions: Vec<(Home, String, &'static str, &'static str)>,
    meter: Vec<(Home, String, u32, MeterKind)>,
}

impl Entries {
    fn append(self, tx: &mut Tx<System>) {
        let (at, cause, revision) = (tx.now(), tx.cause().to_string(), tx.revision());
        // Many transactions share a millisecond: their revision and the place in theirs keep entries apart, in order.
        let order = |n: usize| format!("{at:015}-{revision:015}-{n:04}");
        for (n, (home, resource, from, to)) in self.transitions.into_iter().enumerate() {
            let name = format!("{resource}/{}", order(n));
            let (from, to) = (from.to_owned(), to.to_owned());
            tx.append("journal", &home, &name, &Transition { resource, from, to, at, cause: cause.clone() });
        }
        for (n, (home, resource, generation, kind)) in self.meter.into_iter().enumerate() {
            let name = format!("{}-{resource}", order(n));
            tx.append("meter", &home, &name, &MeterEvent { resource, generation, kind, at, cause: cause.clone() });
        }
    }
}

const NOWHERE: &str = "";

fn instances(tx: &mut Tx<System>, entries: &mut Entries) {
    let mut seen: Vec<(Ref<Instance>, Option<State>, Option<State>)> = Vec::new();
    let mut known: HashSet<InstanceId> = HashSet::new();
    for (before, after) in tx.changed::<Instance>() {
        let at = before.as_ref().or(after.as_ref()).map(|i| i.at()).expect("a change has a side");
        let report = Ref::<VmReport>::new(&at.home, &at.id);
        let (then, now) = (tx.before(&report), tx.find_at(&report));
        known.insert(at.id.clone());
        seen.push((at, before.map(|i| state(&i, then.as_deref())), after.map(|i| state(&i, now.as_deref()))));
    }
    for (before, after) in tx.changed::<VmReport>() {
        let report = before.as_ref().or(after.as_ref()).expect("a change has a side");
        let at = Ref::<Instance>::new(&report.home, &report.id);
        if known.contains(&at.id) {
            continue;
        }
        if let Some(instance) = tx.find_at(&at) {
            let of = |report: Option<&VmReport>| Some(state(&instance, report));
            seen.push((at, of(before.as_deref()), of(after.as_deref())));
        }
    }
    for (at, before, after) in seen.into_iter().filter(|(_, before, after)| before != after) {
        let name = |state: Option<State>| state.map_or(NOWHERE, State::as_str);
        entries.transitions.push((at.home.clone(), at.id.to_string(), name(before), name(after)));
        meter_instance(tx, entries, &at, before, after);
    }
}

/// An instance costs from the moment that its guest runs until it is asked to end, or ends.
fn meter_instance(
    tx: &mut Tx<System>,
    entries: &mut Entries,
    at: &Ref<Instance>,
    before: Option<State>,
    after: Option<State>,
) {
    let running = Some(State::Running);
    let began = after == running && before != running;
    let ended = before == running && after != running;
    let Some(instance) = tx.find_at(at).or_else(|| tx.before(at)).filter(|_| began || ended) else { return };
    let instance_type = instance.instance_type.clone();
    let kind =
        if began { MeterKind::InstanceBegan { instance_type } } else { MeterKind::InstanceEnded { instance_type } };
    entries.meter.push((at.home.clone(), at.id.to_string(), instance.run, kind));
}

/// One that goes into the recycle bin is still there, and costs.
fn volumes(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in recycle_bin::changed::<Volume>(tx) {
        let volume = after.as_ref().or(before.as_ref()).expect("a change has a side").clone();
        let name = |v: &Option<std::sync::Arc<Volume>>| v.as_ref().map_or(NOWHERE, |v| v.state());
        let (from, to) = (name(&before), name(&after));
        if from != to {
            entries.transitions.push((volume.home.clone(), volume.id.to_string(), from, to));
        }
        let size = |v: &Volume| (v.size_gib, v.kind.clone());
        if before.as_ref().map(|v| size(v)) == after.as_ref().map(|v| size(v)) {
            continue;
        }
        for (side, ended) in [(before, true), (after, false)] {
            let Some((gib, volume_type)) = side.map(|v| size(&v)) else { continue };
            let kind = if ended {
                MeterKind::VolumeEnded { gib, volume_type }
            } else {
                MeterKind::VolumeBegan { gib, volume_type }
            };
            entries.meter.push((volume.home.clone(), volume.id.to_string(), 0, kind));
        }
    }
}

fn snapshots(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in tx.changed::<SnapshotUsage>() {
        let home = before.as_ref().or(after.as_ref()).map(|usage| usage.home.clone()).expect("a change has a side");
        let mut push = |kind| entries.meter.push((home.clone(), kept::resource(&home), 0, kind));
        let [then, now] = [before, after].map(|usage| usage.map_or(0, |usage| usage.bytes));
        if then != now && then > 0 {
            push(MeterKind::SnapshotsEnded { bytes: then });
        }
        if then != now && now > 0 {
            push(MeterKind::SnapshotsBegan { bytes: now });
        }
    }
}

fn addresses(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in tx.changed::<Address>() {
        let address = after.as_ref().or(before.as_ref()).expect("a change has a side").clone();
        let ip = address.public_ip.to_string();
        let held = |a: &Option<std::sync::Arc<Address>>| a.as_ref().is_some_and(|a| a.association.is_some());
        let mut push = |kind| entries.meter.push((address.home.clone(), address.id.to_string(), 0, kind));
        if before.is_none() {
            push(MeterKind::AddressAllocated { public_ip: ip.clone() });
        }
        match (held(&before), held(&after)) {
            (false, true) => push(MeterKind::AddressAssociated { public_ip: ip.clone() }),
            (true, false) => push(MeterKind::AddressDisassociated { public_ip: ip.clone() }),
            _ => {}
        }
        if after.is_none() {
            push(MeterKind::AddressReleased { public_ip: ip });
        }
    }
}

const HOUR_MS: Millis = 60 * 60 * 1000;

/// Not each time that it is counted: a meter that says how much until now needs few readings.
fn traffic(tx: &mut Tx<System>, entries: &mut Entries) {
    let mut reading = |report: &TrafficReport| {
        let kind = MeterKind::Traffic { instance: report.instance.clone(), total: report.total() };
        entries.meter.push((report.home.clone(), report.id.to_string(), 0, kind));
    };
    for (before, after) in tx.changed::<TrafficReport>() {
        let Some(report) = after else { continue };
        let first_of_the_hour = before.is_some_and(|before| before.at / HOUR_MS != report.at / HOUR_MS);
        let machine = tx.find_at(&Ref::<VmReport>::new(&report.home, &report.instance));
        if first_of_the_hour || machine.is_some_and(|machine| machine.phase == Phase::Exited) {
            reading(&report);
        }
    }
    for (before, after) in tx.changed::<NetworkInterface>() {
        let Some(gone) = before.filter(|_| after.is_none()) else { continue };
        let at = Ref::<TrafficReport>::new(&gone.home, &gone.id);
        if let Some(report) = tx.find_at(&at) {
            reading(&report);
            tx.forget(&at);
        }
    }
}

/// The automatic public addresses: of one run each.
fn places(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in tx.changed::<Placement>() {
        let held = |p: &Placement| p.public_ip.map(|ip| (p.run, ip.to_string()));
        let place = after.as_ref().or(before.as_ref()).expect("a change has a side").clone();
        let (then, now) = (before.and_then(|p| held(&p)), after.and_then(|p| held(&p)));
        if then == now {
            continue;
        }
        let mut push = |run, kind| entries.meter.push((place.home.clone(), place.id.to_string(), run, kind));
        if let Some((run, public_ip)) = then {
            push(run, MeterKind::PublicIpEnded { public_ip });
        }
        if let Some((run, public_ip)) = now {
            push(run, MeterKind::PublicIpBegan { public_ip });
        }
    }
}

/// Capacity reservations cost for as long as hosts keep their room.
fn reservations(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in tx.changed::<CapacityHold>() {
        let hold = after.as_ref().or(before.as_ref()).expect("a change has a side").clone();
        let name = |there: bool| if there { "active" } else { NOWHERE };
        if before.is_some() != after.is_some() {
            let (from, to) = (name(before.is_some()), name(after.is_some()));
            entries.transitions.push((hold.home.clone(), hold.id.to_string(), from, to));
        }
        let size = |h: &CapacityHold| (h.instance_type.clone(), h.count());
        let (then, now) = (before.map(|h| size(&h)), after.map(|h| size(&h)));
        if then == now {
            continue;
        }
        let mut push = |kind| entries.meter.push((hold.home.clone(), hold.id.to_string(), 0, kind));
        if let Some((instance_type, count)) = then {
            push(MeterKind::CapacityEnded { instance_type, count });
        }
        if let Some((instance_type, count)) = now {
            push(MeterKind::CapacityBegan { instance_type, count });
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::testing::{Cloud, check};

    /// The kinds of all meter events, in the order in which they are kept.
    fn kinds(cloud: &Cloud) -> String {
        let page = cloud.control.db.cold("meter/", None, 1_000).expect("reads");
        let kind = |value: &[u8]| {
            let event: MeterEvent = serde_json::from_slice(value).expect("an event");
            let name = format!("{:?}", event.kind);
            format!("{} {}", name.split(' ').next().unwrap_or_default(), event.generation)
        };
        page.rows.iter().map(|row| kind(&row.value)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn whatever_costs_is_metered_in_the_order_in_which_it_happened() {
        let mut cloud = Cloud::new();
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.settle();
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect("starts");
        cloud.settle();
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let address = Cloud::ids(&made, "allocationId").remove(0);
        for _ in 0..2 {
            let ask = [("AllocationId", address.as_str()), ("InstanceId", id.as_str())];
            let made = cloud.tenant("acme").call("AssociateAddress", &ask).expect("associates");
            let association = Cloud::ids(&made, "associationId").remove(0);
            cloud
                .tenant("acme")
                .call("DisassociateAddress", &[("AssociationId", &association)])
                .expect("disassociates");
        }
        cloud.tenant("acme").call("ReleaseAddress", &[("AllocationId", &address)]).expect("releases");
        cloud.tenant("acme").call("TerminateInstances", &[("InstanceId.1", &id)]).expect("terminates");
        cloud.settle();
        // The clock of this cloud stands still: all of this is one millisecond.
        check(
            &kinds(&cloud),
            expect![[r#"
            VolumeBegan 0
            PublicIpBegan 1
            InstanceBegan 1
            InstanceEnded 1
            PublicIpEnded 1
            PublicIpBegan 2
            InstanceBegan 2
            AddressAllocated 0
            AddressAssociated 0
            AddressDisassociated 0
            AddressAssociated 0
            AddressDisassociated 0
            AddressReleased 0
            InstanceEnded 2
            VolumeEnded 0
            PublicIpEnded 2"#]],
        );
        cloud.audit();
    }
}
