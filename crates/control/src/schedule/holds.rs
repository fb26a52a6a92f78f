//! Room that capacity reservations keep, and who may have it.
//!
//! **Invariants.** On no host are there more instances of a reservation than it keeps slots there. Room that is kept is
//! nobody else's: it is taken off what a host has left, whether an instance is in it or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use awan_model::capacity::{CapacityHold, CapacityReservation, Preference};
use awan_model::host::HostUsage;
use awan_model::id::{CapacityReservationId, HostId};
use awan_model::instance::{Instance, Placement, Wish};
use awan_model::instance_type::InstanceType;
use awan_state::{Home, Record as _, System, Tenant, Tx};

use super::{HostRoom, Room, Rule, no_capacity, usage};
use crate::error::{Code, Result, refuse};

/// Every hold that has not ended, and what of it is free.
#[derive(Default)]
pub struct Holds(Vec<Kept>);

struct Kept {
    hold: Arc<CapacityHold>,
    left: BTreeMap<HostId, u32>,
}

/// Who looks for a slot.
pub struct Seeker<'s> {
    pub home: &'s Home,
    pub kind: &'s str,
    /// `None`: in any zone.
    pub zone: Option<&'s str>,
    pub preference: &'s Preference,
    /// Reservations are on shared hosts.
    pub dedicated: bool,
}

impl Kept {
    fn is_for(&self, who: &Seeker<'_>) -> bool {
        let hold = &self.hold;
        let wanted = match who.preference {
            Preference::Open | Preference::Only => hold.open,
            Preference::Without => false,
            Preference::Target(id) => hold.id == *id,
        };
        wanted
            && !who.dedicated
            && hold.home == *who.home
            && hold.instance_type == who.kind
            && who.zone.is_none_or(|zone| hold.zone == zone)
    }
}

impl Holds {
    pub fn count(tx: &mut Tx<System>, usage: &BTreeMap<HostId, HostUsage>) -> Self {
        let now = tx.now();
        let holds = tx.all::<CapacityHold>().into_iter().filter(|hold| hold.end.is_none_or(|end| end > now));
        let kept = holds.map(|hold| {
            let used = |host: &HostId| usage.get(host).and_then(|on| on.reservations.get(&hold.id)).copied();
            let free = |(host, n): &(HostId, u32)| (host.clone(), n.saturating_sub(used(host).unwrap_or_default()));
            Kept { left: hold.slots.iter().map(free).collect(), hold }
        });
        Self(kept.collect())
    }

    /// Takes what is kept off what the hosts have left.
    pub(super) fn apply(&self, hosts: &mut HashMap<HostId, HostRoom>) {
        for Kept { hold, left } in &self.0 {
            for (host, n) in left.iter().filter(|(_, n)| **n > 0) {
                if let Some(HostRoom { left, guests, .. }) = hosts.get_mut(host) {
                    left.vcpus = left.vcpus.saturating_sub(hold.vcpus.saturating_mul(*n));
                    left.memory_mib = left.memory_mib.saturating_sub(hold.memory_mib.saturating_mul((*n).into()));
                    *guests.accounts.entry(hold.home.account().to_owned()).or_default() += 1;
                }
            }
        }
    }

    /// How many free slots somebody has on a host.
    pub fn left(&self, host: &HostId, who: &Seeker<'_>) -> u64 {
        let of = |kept: &Kept| kept.left.get(host).copied().unwrap_or_default();
        self.0.iter().filter(|kept| kept.is_for(who)).map(|kept| u64::from(of(kept))).sum()
    }

    /// Takes a slot on a host.
    pub fn take(&mut self, host: &HostId, who: &Seeker<'_>) -> Option<CapacityReservationId> {
        for kept in self.0.iter_mut().filter(|kept| kept.is_for(who)) {
            if let Some(n) = kept.left.get_mut(host).filter(|n| **n > 0) {
                *n -= 1;
                return Some(kept.hold.id.clone());
            }
        }
        None
    }

    /// The slot of a run that is over; false: what it had is not kept by anybody.
    pub fn give_back(&mut self, old: &Placement) -> bool {
        let kept = self.0.iter_mut().find(|kept| Some(&kept.hold.id) == old.reservation.as_ref());
        let slot = kept.and_then(|kept| kept.left.get_mut(&old.host));
        slot.is_some_and(|n| {
            *n += 1;
            true
        })
    }
}

impl Room {
    /// Hosts with room for so many machines of a type in a zone: all of them, or the refusal.
    fn reserve(
        &mut self,
        tx: &mut Tx<Tenant>,
        zone: &str,
        kind: &InstanceType,
        count: u32,
    ) -> Result<Vec<(HostId, u32)>> {
        let rule = Rule::new(tx, None, None, false, None);
        let (mut found, mut more) = (Vec::new(), count);
        self.hosts.sort_by_key(|room| (std::cmp::Reverse(room.left.memory_mib), room.host.id.clone()));
        for room in &mut self.hosts {
            if more == 0 {
                break;
            }
            if !room.is_in(tx.home(), Some(zone)) || !rule.allows(&room.guests) {
                continue;
            }
            let by_memory = u32::try_from(room.left.memory_mib / kind.memory_mib.max(1)).unwrap_or(u32::MAX);
            let here = (room.left.vcpus / kind.vcpus.max(1)).min(by_memory).min(more);
            if here > 0 {
                more -= here;
                found.push((room.host.id.clone(), here));
            }
        }
        if more > 0 { Err(no_capacity(&kind.id, zone)) } else { Ok(found) }
    }
}

/// Instances of a reservation that have a place, by host.
fn used(tx: &mut Tx<Tenant>, id: &CapacityReservationId) -> BTreeMap<HostId, u32> {
    let usage = tx.as_system(usage::now);
    usage.into_iter().filter_map(|(host, on)| Some((host, *on.reservations.get(id)?))).collect()
}

/// How many instances run in a reservation.
pub fn in_use(tx: &mut Tx<Tenant>, id: &CapacityReservationId) -> u32 {
    used(tx, id).values().sum()
}

/// Makes the room that is kept equal to what the reservation says now: finds more, or lets go what nobody uses.
pub fn keep(tx: &mut Tx<Tenant>, reservation: &CapacityReservation, kind: &InstanceType) -> Result<()> {
    let old = tx.find::<CapacityHold>(&reservation.id);
    let used = used(tx, &reservation.id);
    // One that becomes open, and is idle, looks for its instances anew.
    let old = old.filter(|old| old.open == reservation.open || !used.is_empty());
    if old.is_none() {
        release(tx, &reservation.id);
    }
    let mut slots: BTreeMap<HostId, u32> = old.iter().flat_map(|old| old.slots.iter().cloned()).collect();
    let total: u32 = slots.values().sum();
    if reservation.count < total {
        shrink(reservation, &mut slots, &used, total - reservation.count)?;
    } else {
        let mut room = Room::count(tx);
        let mut more = reservation.count - total;
        if reservation.open {
            more -= adopt(tx, reservation, more, &mut slots);
        }
        for (host, n) in room.reserve(tx, &reservation.zone, kind, more)? {
            *slots.entry(host).or_default() += n;
        }
    }
    let hold = CapacityHold {
        home: reservation.home.clone(),
        id: reservation.id.clone(),
        instance_type: kind.id.clone(),
        zone: reservation.zone.clone(),
        open: reservation.open,
        end: reservation.end,
        vcpus: kind.vcpus,
        memory_mib: kind.memory_mib,
        slots: slots.into_iter().filter(|(_, n)| *n > 0).collect(),
    };
    tx.as_system(|tx| tx.put(hold));
    Ok(())
}

fn shrink(
    reservation: &CapacityReservation,
    slots: &mut BTreeMap<HostId, u32>,
    used: &BTreeMap<HostId, u32>,
    mut less: u32,
) -> Result<()> {
    for (host, n) in slots.iter_mut() {
        let idle = n.saturating_sub(used.get(host).copied().unwrap_or_default()).min(less);
        *n -= idle;
        less -= idle;
    }
    if less == 0 {
        return Ok(());
    }
    let in_use: u32 = used.values().sum();
    let message = format!(
        "The capacity reservation '{}' cannot have {} instances: {in_use} are in use",
        reservation.id, reservation.count
    );
    Err(refuse(Code::InvalidParameterValue, message))
}

/// Instances that match and already run count as the first of an open reservation.
fn adopt(tx: &mut Tx<Tenant>, of: &CapacityReservation, most: u32, slots: &mut BTreeMap<HostId, u32>) -> u32 {
    let mut adopted = 0;
    for instance in tx.list::<Instance>() {
        if adopted == most {
            break;
        }
        let alike = instance.instance_type == of.instance_type && instance.zone == of.zone;
        let willing = matches!(instance.options.capacity, Preference::Open | Preference::Only);
        if !alike || !willing || instance.options.dedicated || instance.wish != Wish::On {
            continue;
        }
        let Some(place) = tx.find::<Placement>(&instance.id).filter(|place| place.reservation.is_none()) else {
            continue;
        };
        *slots.entry(place.host.clone()).or_default() += 1;
        adopted += 1;
        let place = Placement { reservation: Some(of.id.clone()), ..(*place).clone() };
        tx.as_system(|tx| tx.put(place));
    }
    adopted
}

/// Lets go of the room of a reservation. Instances that are in it stay where they are.
pub fn release(tx: &mut Tx<Tenant>, id: &CapacityReservationId) {
    if let Some(hold) = tx.find::<CapacityHold>(id) {
        tx.as_system(|tx| tx.remove(&hold.at()));
    }
}
