//! Where does it fit: placement and public addresses, decided over the snapshot on a tenant's behalf.
//!
//! **Invariant:** what is counted here is read in the same transaction, so two launches that saw the same last place
//! cannot both have it.

pub mod holds;
mod rule;
pub mod usage;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use awan_model::address::{BY_PUBLIC_IP, ReleasedAddress};
use awan_model::host::{Capacity, HostLiveness, HostRecord, HostUsage};
use awan_model::id::{CapacityReservationId, HostId, ImageId, VolumeId};
use awan_model::import::Content;
use awan_model::installation::Installation;
use awan_model::instance::{Instance, Placement};
use awan_model::instance_type::InstanceType;
use awan_model::options::Options;
use awan_model::volume::{Volume, VolumePlacement};
use awan_state::{Home, Missing, Record as _, System, Tenant, Tx};
use ipnet::Ipv4Net;

use self::holds::Holds;
pub use self::rule::Rule;
use crate::disks;
use crate::error::{Code, Error, Result, refuse};

/// The room on every host that is alive, counted once for all instances of one request.
pub struct Room {
    hosts: Vec<HostRoom>,
    holds: Holds,
    pool: Option<Pool>,
}

struct HostRoom {
    host: Arc<HostRecord>,
    left: Capacity,
    guests: HostUsage,
}

impl HostRoom {
    fn is_in(&self, home: &Home, zone: Option<&str>) -> bool {
        let host = &self.host;
        zone.map_or_else(|| host.region == "*" || host.region == home.region(), |z| host.serves(home.region(), z))
    }
}

fn left(of: Capacity, used: &HostUsage) -> Capacity {
    Capacity {
        vcpus: of.vcpus.saturating_sub(u32::try_from(used.vcpus).unwrap_or(u32::MAX)),
        memory_mib: of.memory_mib.saturating_sub(used.memory_mib),
        disk_gib: of.disk_gib.saturating_sub(used.disk_gib + used.contents_mib.div_ceil(1024)),
    }
}

impl Room {
    pub fn count(tx: &mut Tx<Tenant>) -> Self {
        tx.as_system(|tx| {
            let dead: HashSet<HostId> =
                tx.all::<HostLiveness>().iter().filter(|l| !l.alive).map(|l| l.id.clone()).collect();
            let hosts = tx.all::<HostRecord>().into_iter().filter(|h| !dead.contains(&h.id));
            let mut usage = usage::now(tx);
            let holds = Holds::count(tx, &usage);
            let room = |host: Arc<HostRecord>| {
                let guests = usage.remove(&host.id).unwrap_or_else(|| HostUsage::nothing(&host.id));
                (host.id.clone(), HostRoom { left: left(host.capacity, &guests), host, guests })
            };
            let mut hosts: HashMap<HostId, HostRoom> = hosts.map(room).collect();
            holds.apply(&mut hosts);
            Self { hosts: hosts.into_values().collect(), holds, pool: None }
        })
    }

    /// How many more machines of a type fit by a rule, in a zone if one is named.
    pub fn fits(&self, home: &Home, zone: Option<&str>, kind: &InstanceType, disk_gib: u32, rule: &Rule) -> u64 {
        let fitting = |room: &&HostRoom| room.is_in(home, zone) && rule.allows(&room.guests);
        let seeker = rule.seeker(home, &kind.id, zone);
        let rooms = self.hosts.iter().filter(fitting).map(|HostRoom { host, left, .. }| {
            let by_cpu = u64::from(left.vcpus / kind.vcpus.max(1));
            let anybodys = by_cpu.min(left.memory_mib / kind.memory_mib.max(1));
            let anybodys = if rule.preference.takes_any() { anybodys } else { 0 };
            (anybodys + self.holds.left(&host.id, &seeker)).min(left.disk_gib / u64::from(disk_gib.max(1)))
        });
        rule.most(zone, rooms)
    }

    /// Gives an instance its place for the current run: a host, its root volume's bytes, and a public address if it
    /// wants one.
    pub fn place(&mut self, tx: &mut Tx<Tenant>, instance: &Instance, kind: &InstanceType) -> Result<()> {
        let volumes = disks::attached(tx, instance);
        let bound = volumes.iter().find_map(|v| tx.find::<VolumePlacement>(&v.id)).map(|place| place.host.clone());
        let begin_on = beginnings(tx, volumes.iter().map(|v| &**v))?;
        let unplaced: Vec<_> =
            volumes.iter().filter(|v| tx.find::<VolumePlacement>(&v.id).is_none()).cloned().collect();
        let disk_gib: u64 = unplaced.iter().map(|v| u64::from(v.size_gib)).sum();
        if let Some(old) = tx.find::<Placement>(&instance.id) {
            self.give_back(&old);
        }
        let bound = Bound { disks: bound.as_ref(), beginnings: begin_on.as_ref() };
        let (host, partition, reservation) = self.take(tx, instance, kind, disk_gib, &bound)?;
        let public_ip = if instance.wants_public_ip { Some(self.public_address(tx)?) } else { None };
        let (home, id) = (instance.home.clone(), instance.id.clone());
        let (vcpus, memory_mib, run) = (kind.vcpus, kind.memory_mib, instance.run);
        tx.as_system(|tx| {
            for volume in &unplaced {
                let (home, id) = (home.clone(), volume.id.clone());
                tx.put(VolumePlacement { home, id, host: host.clone(), size_gib: volume.size_gib });
            }
        });
        let (group, dedicated) = (instance.options.group.clone(), instance.options.dedicated);
        let place =
            Placement { home, id, host, run, vcpus, memory_mib, public_ip, group, partition, dedicated, reservation };
        if let Some(room) = self.hosts.iter_mut().find(|room| room.host.id == place.host) {
            room.guests.come(&place);
        }
        tx.as_system(|tx| tx.put(place));
        if instance.options.partition != partition {
            let options = Options { partition, ..instance.options.clone() };
            tx.put(Instance { options, ..instance.clone() });
        }
        Ok(())
    }

    /// The place of a run that is over and was not given back yet is the next run's.
    fn give_back(&mut self, old: &Placement) {
        if let Some(HostRoom { left, guests, .. }) = self.hosts.iter_mut().find(|room| room.host.id == old.host) {
            guests.leave(old);
            if self.holds.give_back(old) {
                return;
            }
            left.vcpus = left.vcpus.saturating_add(old.vcpus);
            left.memory_mib = left.memory_mib.saturating_add(old.memory_mib);
        }
    }

    /// The host with the most free memory of those that fit, or the one where the disks already are; the partition of
    /// its group that the instance is then in, and the reservation, for one that may be in one goes there first.
    fn take(
        &mut self,
        tx: &mut Tx<Tenant>,
        instance: &Instance,
        kind: &InstanceType,
        disk_gib: u64,
        bound: &Bound,
    ) -> Result<(HostId, Option<u8>, Option<CapacityReservationId>)> {
        let mut rule = Rule::of(tx, instance);
        let zone = &*instance.zone;
        let candidates = if rule.is_zone(zone) { rule.candidates(zone) } else { Vec::new() };
        for partition in candidates {
            rule.partition = partition;
            let may = |room: &HostRoom| {
                bound.disks.map_or_else(|| room.is_in(&instance.home, Some(zone)), |b| *b == room.host.id)
                    && bound.beginnings.is_none_or(|b| *b == room.host.id)
                    && rule.allows(&room.guests)
                    && room.left.disk_gib >= disk_gib
            };
            let fits = |room: &HostRoom| room.left.vcpus >= kind.vcpus && room.left.memory_mib >= kind.memory_mib;
            let order = |room: &&mut HostRoom| (rule.prefers(&room.guests), room.left.memory_mib, room.host.id.clone());
            let seeker = rule.seeker(&instance.home, &kind.id, Some(zone));
            let kept = |room: &HostRoom| self.holds.left(&room.host.id, &seeker) > 0;
            if let Some(room) = self.hosts.iter_mut().filter(|room| may(room) && kept(room)).max_by_key(order) {
                room.left.disk_gib -= disk_gib;
                let reservation = self.holds.take(&room.host.id, &seeker);
                return Ok((room.host.id.clone(), partition, reservation));
            }
            let fits = |room: &&mut HostRoom| rule.preference.takes_any() && may(room) && fits(room);
            if let Some(HostRoom { host, left, .. }) = self.hosts.iter_mut().filter(fits).max_by_key(order) {
                left.vcpus -= kind.vcpus;
                left.memory_mib -= kind.memory_mib;
                left.disk_gib -= disk_gib;
                return Ok((host.id.clone(), partition, None));
            }
        }
        Err(rule.full(&kind.id, zone))
    }

    /// A public address that nobody holds.
    fn public_address(&mut self, tx: &mut Tx<Tenant>) -> Result<Ipv4Addr> {
        if self.pool.is_none() {
            self.pool = Some(tx.as_system(Pool::open)?);
        }
        let pool = self.pool.as_mut().expect("just filled");
        tx.as_system(|tx| pool.take(tx))
    }
}

/// Where an instance has to be: where its disks are, and where those that there are not yet begin.
struct Bound<'b> {
    disks: Option<&'b HostId>,
    beginnings: Option<&'b HostId>,
}

/// The host of what these volumes begin as, where that came from elsewhere: it lies on one host only.
fn beginnings<'v>(tx: &mut Tx<Tenant>, volumes: impl Iterator<Item = &'v Volume>) -> Result<Option<HostId>> {
    all_on(tx, volumes.filter_map(|volume| volume.image.as_ref()))
}

/// The host of those of them that came from elsewhere: each lies on one host only.
pub fn all_on<'b>(tx: &mut Tx<Tenant>, all: impl IntoIterator<Item = &'b ImageId>) -> Result<Option<HostId>> {
    let mut host = None;
    for bytes in all {
        let Some(content) = tx.as_system(|tx| tx.find_by::<Content>(Content::INDEX, bytes.as_str())) else { continue };
        if host.get_or_insert_with(|| content.host.clone()) != &content.host {
            let message = "What its disks begin as was imported to different hosts, and no host has all of it.";
            return Err(refuse(Code::UnsupportedOperation, message));
        }
    }
    Ok(host)
}

/// The host with the most room for disks, and then for machines, of those that serve a home.
pub fn roomiest(tx: &mut Tx<Tenant>) -> Option<HostId> {
    roomiest_of(tx, |_| true)
}

/// The host that these bytes can be exported from: the one where they lie; of what came with Awan, any that has a folder for it.
pub fn exporter(tx: &mut Tx<Tenant>, bytes: Option<&ImageId>) -> Option<HostId> {
    let content = bytes.and_then(|id| tx.as_system(|tx| tx.find_by::<Content>(Content::INDEX, id.as_str())));
    let Some(content) = content else { return roomiest_of(tx, |host| host.takes_exports) };
    let host = tx.as_system(|tx| tx.find_in::<HostRecord>(&Home::installation(), &content.host));
    host.filter(|host| host.takes_exports).map(|host| host.id.clone())
}

fn roomiest_of(tx: &mut Tx<Tenant>, fits: impl Fn(&HostRecord) -> bool) -> Option<HostId> {
    let (home, room) = (tx.home().clone(), Room::count(tx));
    let here = room.hosts.iter().filter(|room| room.is_in(&home, None) && fits(&room.host));
    let order = |left: &Capacity| (left.disk_gib, left.memory_mib, left.vcpus);
    here.max_by_key(|room| (order(&room.left), room.host.id.clone())).map(|room| room.host.id.clone())
}

/// The room for disks that a host has left.
pub fn disk_gib_left(tx: &mut Tx<Tenant>, host: &HostId) -> u64 {
    Room::count(tx).hosts.iter().find(|room| room.host.id == *host).map_or(0, |room| room.left.disk_gib)
}

/// A volume that is deleted gives back the room that its bytes had; its host sees it in no plan and removes them.
pub fn give_up_bytes(tx: &mut Tx<Tenant>, volume: &VolumeId) {
    if let Some(place) = tx.find::<VolumePlacement>(volume) {
        tx.as_system(|tx| tx.remove(&place.at()));
    }
}

/// The public addresses, of which those that nobody holds are given away.
struct Pool {
    round: Round,
    all: RangeInclusive<u32>,
}

/// The addresses of a pool that can be given away: the first two are the routers' on the way in.
fn usable(pool: &Ipv4Net) -> RangeInclusive<u32> {
    u32::from(pool.network()).saturating_add(3)..=u32::from(pool.broadcast()).saturating_sub(1)
}

impl Pool {
    fn open(tx: &mut Tx<System>) -> Result<Self> {
        let installation = tx.find_in::<Installation>(&Home::installation(), &Installation::ID.into());
        let pool = installation.ok_or_else(|| Error::fault("the installation has no record"))?.public_pool;
        let all = usable(&pool);
        Ok(Self { round: Round::new(&all, u32::from_be_bytes(tx.random())), all })
    }

    fn take(&mut self, tx: &mut Tx<System>) -> Result<Ipv4Addr> {
        let mut free = self.round.by_ref().filter(|ip| is_free(tx, *ip));
        free.next().ok_or_else(|| {
            refuse(Code::InsufficientAddressCapacity, "Not enough available addresses to satisfy your request.")
        })
    }
}

fn is_free(tx: &mut Tx<System>, ip: Ipv4Addr) -> bool {
    tx.lookup_everywhere(BY_PUBLIC_IP, &ip.to_string()).is_none()
}

/// Addresses from anywhere in a range and once around: each is asked for by itself, so most requests look at few, and
/// one that was given back is not at once another's.
pub struct Round(std::iter::Chain<RangeInclusive<u32>, std::ops::Range<u32>>);

impl Round {
    pub fn new(all: &RangeInclusive<u32>, random: u32) -> Self {
        let size = all.end().saturating_sub(*all.start()).saturating_add(1);
        let from = all.start().saturating_add(random % size);
        Self((from..=*all.end()).chain(*all.start()..from))
    }
}

impl Iterator for Round {
    type Item = Ipv4Addr;

    fn next(&mut self) -> Option<Ipv4Addr> {
        self.0.next().map(Ipv4Addr::from)
    }
}

/// One public address for a tenant to keep. `wanted`: one that it had before.
pub fn public_address(tx: &mut Tx<Tenant>, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
    tx.as_system(|tx| {
        let mut pool = Pool::open(tx)?;
        match wanted {
            None => pool.take(tx),
            Some(ip) if pool.all.contains(&u32::from(ip)) && is_free(tx, ip) => Ok(ip),
            Some(ip) => Err(Missing::of::<ReleasedAddress>(&ip.to_string()).into()),
        }
    })
}

/// Gives the bytes of a volume that is attached to an instance their place: on the host where the instance's disks are.
/// One that was never attached before has none; the host makes them.
pub fn lay(tx: &mut Tx<Tenant>, volume: &Volume, instance: &Instance) -> Result<()> {
    let others = disks::attached(tx, instance);
    let host = others.iter().find_map(|v| tx.find::<VolumePlacement>(&v.id)).map(|place| place.host.clone());
    let host = host.or_else(|| tx.find::<Placement>(&instance.id).map(|place| place.host.clone()));
    let (Some(host), id) = (host, &volume.id) else { return Ok(()) };
    if beginnings(tx, std::iter::once(volume))?.is_some_and(|of| of != host) {
        let message = format!("What '{id}' begins as was imported to another host than that of '{}'.", instance.id);
        return Err(refuse(Code::UnsupportedOperation, message));
    }
    match tx.find::<VolumePlacement>(id) {
        Some(place) if place.host == host => Ok(()),
        Some(_) => Err(refuse(
            Code::UnsupportedOperation,
            format!("The bytes of '{id}' lie on another host than those of '{}'; they cannot move yet", instance.id),
        )),
        None => occupy(tx, volume, host, volume.size_gib),
    }
}

/// Makes room for what a volume grows by. One that has no bytes yet needs none.
pub fn grow(tx: &mut Tx<Tenant>, volume: &Volume, size_gib: u32) -> Result<()> {
    match tx.find::<VolumePlacement>(&volume.id) {
        Some(place) if size_gib > place.size_gib => {
            let volume = Volume { size_gib, ..volume.clone() };
            occupy(tx, &volume, place.host.clone(), size_gib - place.size_gib)
        }
        _ => Ok(()),
    }
}

fn occupy(tx: &mut Tx<Tenant>, volume: &Volume, host: HostId, more_gib: u32) -> Result<()> {
    let room = Room::count(tx);
    let left = room.hosts.iter().find(|on| on.host.id == host).map_or(0, |on| on.left.disk_gib);
    if left < u64::from(more_gib) {
        let message = "There is not enough capacity to fulfill your EBS volume provision request.";
        return Err(refuse(Code::InsufficientVolumeCapacity, message));
    }
    let (home, id, size_gib) = (volume.home.clone(), volume.id.clone(), volume.size_gib);
    tx.as_system(|tx| tx.put(VolumePlacement { home, id, host, size_gib }));
    Ok(())
}

pub fn no_capacity(kind: &str, zone: &str) -> Error {
    refuse(
        Code::InsufficientInstanceCapacity,
        format!(
            "We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}). \
             Our system will be working on provisioning additional capacity."
        ),
    )
}

/// Whether the control plane hears a host.
pub fn is_alive(tx: &mut Tx<Tenant>, host: &HostId) -> bool {
    tx.as_system(|tx| tx.find_in::<HostLiveness>(&Home::installation(), host)).is_none_or(|l| l.alive)
}

#[cfg(test)]
mod tests {
    use super::Round;
    use crate::testing::Cloud;

    #[test]
    fn a_public_address_lasts_from_start_to_stop_and_an_elastic_one_stays() {
        let mut cloud = Cloud::new();
        let (a, b) = (cloud.tenant("acme").run(), cloud.tenant("acme").run());
        let made = cloud.tenant("acme").call("AllocateAddress", &[]).expect("allocates");
        let elastic = Cloud::ids(&made, "publicIp").remove(0);
        cloud
            .tenant("acme")
            .call("AssociateAddress", &[("PublicIp", &elastic), ("InstanceId", &b)])
            .expect("associates");
        let public = |cloud: &mut Cloud, id: &str| {
            let shown = cloud.tenant("acme").call("DescribeInstances", &[("InstanceId.1", id)]).expect("answers");
            Cloud::ids(&shown, "ipAddress").pop()
        };
        let first = public(&mut cloud, &a).expect("has one");
        let both = [("InstanceId.1", a.as_str()), ("InstanceId.2", b.as_str())];
        cloud.tenant("acme").call("StopInstances", &both).expect("stops");
        cloud.settle();
        assert_eq!((public(&mut cloud, &a), public(&mut cloud, &b)), (None, Some(elastic.clone())));
        cloud.tenant("acme").call("StartInstances", &both).expect("starts");
        let second = public(&mut cloud, &a).expect("has one again");
        assert_ne!(first, second, "65,000 are free");
        assert_eq!(public(&mut cloud, &b), Some(elastic));
        cloud.settle();
        cloud.audit();
    }

    #[test]
    fn a_round_shows_each_address_once_wherever_it_begins() {
        let all = 10..=14;
        for (random, first) in [(0, 10), (4, 14), (5, 10), (u32::MAX, 10)] {
            let mut shown: Vec<u32> = Round::new(&all, random).map(u32::from).collect();
            assert_eq!(shown[0], first, "{random}");
            shown.sort_unstable();
            assert_eq!(shown, [10, 11, 12, 13, 14]);
        }
        #[expect(clippy::reversed_empty_ranges, reason = "a network too small for anybody")]
        let none = Round::new(&(3..=1), 7).count();
        assert_eq!(none, 0);
    }

    #[test]
    fn what_has_just_stopped_starts_again_on_a_full_host() {
        let mut cloud = Cloud::with_capacity(2, 65_536);
        let id = cloud.tenant("acme").run();
        cloud.tenant("acme").call("StopInstances", &[("InstanceId.1", &id)]).expect("stops");
        cloud.declare_over(&id, awan_model::instance::Exit::Asked);
        assert_eq!(cloud.counts(), (1, 1), "places, volumes: no turn gave the place back yet");
        cloud.tenant("acme").call("StartInstances", &[("InstanceId.1", &id)]).expect("its own place is free");
        cloud.settle();
        assert_eq!(cloud.state("acme", &id), "running");
        let refusal = cloud.tenant("acme").run_with(&[]).expect_err("no other fits");
        assert!(refusal.starts_with("InsufficientInstanceCapacity"), "{refusal}");
        cloud.audit();
    }
}
