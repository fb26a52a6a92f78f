//! What happened, derived at the end of every transaction: changes of state, and meter events where they cost money.
//!
//! **Invariant:** this is the only place that writes the journal, and it runs inside the transaction it describes, so
//! no action and no reconciler can forget it, and neither can exist without the other.

use awan_model::address::Address;
use awan_model::instance::{Instance, State, VmReport, state};
use awan_model::journal::{MeterEvent, MeterKind, Transition};
use awan_model::volume::Volume;
use awan_state::{Home, Record, Ref, System, Tx};

/// The [`awan_state::Hook`] of the control plane.
pub fn record(tx: &mut Tx<System>) {
    let mut entries = Entries::default();
    instances(tx, &mut entries);
    volumes(tx, &mut entries);
    addresses(tx, &mut entries);
    entries.append(tx);
}

#[derive(Default)]
struct Entries {
    transitions: Vec<(Home, String, &'static str, &'static str)>,
    meter: Vec<(Home, String, u32, MeterKind)>,
}

impl Entries {
    fn append(self, tx: &mut Tx<System>) {
        let (at, cause) = (tx.now(), tx.cause().to_string());
        for (home, resource, from, to) in self.transitions {
            let name = format!("{resource}/{at:015}-{}", unique(tx));
            let (from, to) = (from.to_owned(), to.to_owned());
            tx.append("journal", &home, &name, &Transition { resource, from, to, at, cause: cause.clone() });
        }
        for (home, resource, generation, kind) in self.meter {
            let name = format!("{at:015}-{}", unique(tx));
            tx.append("meter", &home, &name, &MeterEvent { resource, generation, kind, at, cause: cause.clone() });
        }
    }
}

/// Keeps two entries of one millisecond apart.
fn unique(tx: &mut Tx<System>) -> String {
    format!("{:016x}", u64::from_be_bytes(tx.random()))
}

const NOWHERE: &str = "";

fn instances(tx: &mut Tx<System>, entries: &mut Entries) {
    let mut seen: Vec<(Ref<Instance>, Option<State>, Option<State>)> = Vec::new();
    for (before, after) in tx.changed::<Instance>() {
        let at = before.as_ref().or(after.as_ref()).map(|i| i.at()).expect("a change has a side");
        let report = Ref::<VmReport>::new(&at.home, &at.id);
        let (then, now) = (tx.before(&report), tx.find_at(&report));
        seen.push((at, before.map(|i| state(&i, then.as_deref())), after.map(|i| state(&i, now.as_deref()))));
    }
    for (before, after) in tx.changed::<VmReport>() {
        let report = before.as_ref().or(after.as_ref()).expect("a change has a side");
        let at = Ref::<Instance>::new(&report.home, &report.id);
        if seen.iter().any(|(known, ..)| known.key() == at.key()) {
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

fn volumes(tx: &mut Tx<System>, entries: &mut Entries) {
    for (before, after) in tx.changed::<Volume>() {
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
