//! Who may be on a host with whom: placement groups and dedicated tenancy. Pure.
//!
//! **Invariants.** No host has two instances of one spread group, or of two partitions of one group. Where a dedicated
//! instance is, there is none of another account, whichever of them came first.

use std::collections::BTreeMap;
use std::sync::Arc;

use awan_model::capacity::Preference;
use awan_model::host::HostUsage;
use awan_model::id::PlacementGroupId;
use awan_model::instance::{Instance, Placement, Wish};
use awan_model::placement_group::{PlacementGroup, Strategy};
use awan_state::{Home, Tenant, Tx};

use super::holds::Seeker;
use super::no_capacity;
use crate::error::{Code, Error, refuse};

/// Source: "Placement strategies", EC2 User Guide: at most seven running instances a zone.
pub const SPREAD_MAX: u64 = 7;

/// What an instance asks of its host.
#[derive(Debug, Clone)]
pub struct Rule {
    account: String,
    group: Option<Arc<PlacementGroup>>,
    pub partition: Option<u8>,
    dedicated: bool,
    /// In which capacity reservations.
    pub preference: Preference,
    /// The group's instances that have a place or a disk on a host, by zones.
    members: BTreeMap<String, u64>,
    /// The group's instances by zone and partition, whether they run or not.
    partitions: BTreeMap<(String, u8), u64>,
}

impl Rule {
    pub fn of(tx: &mut Tx<Tenant>, instance: &Instance) -> Self {
        let group = instance.options.group.as_ref().and_then(|id| tx.find::<PlacementGroup>(id));
        let (partition, dedicated) = (instance.options.partition, instance.options.dedicated);
        Self::new(tx, group, partition, dedicated, Some(instance))
    }

    /// `but`: the instance that the rule is for, if it is there.
    pub fn new(
        tx: &mut Tx<Tenant>,
        group: Option<Arc<PlacementGroup>>,
        partition: Option<u8>,
        dedicated: bool,
        but: Option<&Instance>,
    ) -> Self {
        let account = tx.home().account().to_owned();
        let preference = but.map(|i| i.options.capacity.clone()).unwrap_or_default();
        let mut rule = Self {
            account,
            group,
            partition,
            dedicated,
            preference,
            members: BTreeMap::new(),
            partitions: BTreeMap::new(),
        };
        let Some(id) = rule.group.as_ref().map(|g| g.id.clone()) else { return rule };
        for other in tx.list::<Instance>() {
            if other.options.group.as_ref() != Some(&id) || but.is_some_and(|i| i.id == other.id) {
                continue;
            }
            if other.wish != Wish::Gone
                && let Some(partition) = other.options.partition
            {
                *rule.partitions.entry((other.zone.clone(), partition)).or_default() += 1;
            }
            if tx.find::<Placement>(&other.id).is_some() {
                *rule.members.entry(other.zone.clone()).or_default() += 1;
            }
        }
        rule
    }

    /// Who looks for the slot of a reservation.
    pub fn seeker<'s>(&'s self, home: &'s Home, kind: &'s str, zone: Option<&'s str>) -> Seeker<'s> {
        Seeker { home, kind, zone, preference: &self.preference, dedicated: self.dedicated }
    }

    /// Nothing fits.
    pub fn full(&self, kind: &str, zone: &str) -> Error {
        if let Preference::Target(id) = &self.preference {
            let message = format!(
                "The targeted capacity reservation '{id}' does not have enough available capacity for {kind} in {zone}."
            );
            return refuse(Code::ReservationCapacityExceeded, message);
        }
        no_capacity(kind, zone)
    }

    fn strategy(&self) -> Option<(&PlacementGroupId, Strategy)> {
        self.group.as_ref().map(|g| (&g.id, g.strategy))
    }

    /// Whether the instance may be where these are.
    pub fn allows(&self, guests: &HostUsage) -> bool {
        let own = |accounts: &BTreeMap<String, u32>| accounts.keys().all(|a| *a == self.account);
        if !own(&guests.dedicated) || (self.dedicated && !own(&guests.accounts)) {
            return false;
        }
        match self.strategy() {
            Some((id, Strategy::Spread)) => !guests.groups.contains_key(id),
            Some((id, Strategy::Partition { .. })) if self.partition.is_some() => {
                guests.groups.get(id).is_none_or(|here| here.keys().all(|partition| Some(*partition) == self.partition))
            }
            Some((_, Strategy::Partition { .. } | Strategy::Cluster)) | None => true,
        }
    }

    /// How many of those that would fit may be together in a zone, when each host has room for so many.
    pub fn most(&self, zone: Option<&str>, rooms: impl Iterator<Item = u64>) -> u64 {
        match self.strategy() {
            Some((_, Strategy::Spread)) => {
                let here = zone.and_then(|z| self.members.get(z)).copied().unwrap_or_default();
                rooms.map(|room| room.min(1)).sum::<u64>().min(SPREAD_MAX.saturating_sub(here))
            }
            Some((_, Strategy::Cluster)) if zone.is_some_and(|z| !self.is_zone(z)) => 0,
            _ => rooms.sum(),
        }
    }

    /// Whether an instance of the group may be in a zone at all.
    pub fn is_zone(&self, zone: &str) -> bool {
        match self.strategy() {
            Some((_, Strategy::Spread)) => self.members.get(zone).is_none_or(|n| *n < SPREAD_MAX),
            Some((_, Strategy::Cluster)) => self.members.is_empty() || self.members.contains_key(zone),
            Some((_, Strategy::Partition { .. })) | None => true,
        }
    }

    /// A host with such guests comes before others.
    pub fn prefers(&self, guests: &HostUsage) -> bool {
        let together = match self.strategy() {
            Some((id, Strategy::Cluster)) => guests.groups.contains_key(id),
            _ => false,
        };
        together || (self.dedicated && !guests.dedicated.is_empty())
    }

    /// The partitions that an instance can have, the emptiest first; `None` where there are none.
    pub fn candidates(&self, zone: &str) -> Vec<Option<u8>> {
        match self.strategy() {
            Some((_, Strategy::Partition { count })) if self.partition.is_none() => {
                let many = |p: &u8| self.partitions.get(&(zone.to_owned(), *p)).copied().unwrap_or_default();
                let mut all: Vec<u8> = (1..=count).collect();
                all.sort_by_key(|p| (many(p), *p));
                all.into_iter().map(Some).collect()
            }
            _ => vec![self.partition],
        }
    }
}
