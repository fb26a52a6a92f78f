//! Steps that are being taken, one at a time for each instance.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_model::id::{InstanceId, InterfaceId, VolumeId, VpcId};
use awan_model::instance::Exit;
use awan_model::interface::Mac;
use awan_model::plan::{HostPlan, VmPlan, VolumePlan};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::{Drivers, RETRY_AFTER};
use crate::driver::{Stop, Tap};
use crate::effect::Effect;

/// A disk that could not go on with fewer files is tried again: that does no harm, and a master key may be missing.
const SHORTENED_AGAIN: Duration = Duration::from_secs(600);

pub struct Steps {
    busy: Mutex<BTreeMap<InstanceId, Vec<Kind>>>,
    /// Disks that could not go on with fewer files, and since when.
    unshortened: Mutex<BTreeMap<VolumeId, Instant>>,
    launches: Semaphore,
    wake: Arc<Notify>,
}

/// What matters of a step that is being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// It waits for the guest. Somebody may lose patience meanwhile.
    Graceful,
    /// The machine may soon have this disk.
    Attach(VolumeId),
    /// Something else about a disk.
    Disk,
    /// The machine may soon have this interface.
    Plug(Mac),
    Unplug(Mac),
    Other,
}

impl Kind {
    fn interface(&self) -> Option<Mac> {
        match self {
            Self::Plug(mac) | Self::Unplug(mac) => Some(*mac),
            Self::Graceful | Self::Attach(_) | Self::Disk | Self::Other => None,
        }
    }
}

impl Steps {
    pub fn new(launches: usize, wake: Arc<Notify>) -> Arc<Self> {
        let (busy, unshortened) = (Mutex::default(), Mutex::default());
        Arc::new(Self { busy, unshortened, launches: Semaphore::new(launches.max(1)), wake })
    }

    fn busy(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vec<Kind>>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disks of which it is not tried again yet to have them go on with fewer files.
    pub fn unshortened(&self) -> BTreeSet<VolumeId> {
        let mut all = self.unshortened.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, since| since.elapsed() < SHORTENED_AGAIN);
        all.keys().cloned().collect()
    }

    /// What is being done now. A step that ends while the machine is looked at may not show in what is seen, so this is
    /// asked before looking, and who is in it waits a turn.
    pub fn under_way(&self) -> UnderWay {
        UnderWay(self.busy().clone())
    }

    /// Takes a step in the background, unless one is being taken that it must not disturb.
    pub fn take(self: &Arc<Self>, drivers: &Drivers, effect: Effect, needs: Result<Needs>) {
        let (id, kind) = (effect.instance().clone(), kind(&effect));
        {
            let mut busy = self.busy();
            let now = busy.entry(id.clone()).or_default();
            if !may_begin(now, &effect) {
                return;
            }
            // Who overtakes leaves no trace of whom.
            now.retain(|under_way| *under_way != Kind::Graceful);
            now.push(kind.clone());
        }
        let shortened = if let Effect::Shorten(_, volume) = &effect { Some(volume.clone()) } else { None };
        let (steps, drivers) = (self.clone(), drivers.clone());
        tokio::spawn(async move {
            if let Err(e) = steps.step(&drivers, effect, needs).await {
                tracing::warn!(instance = %id, error = format!("{e:#}"), "a step failed; it is tried again");
                if let Some(volume) = shortened {
                    let mut all = steps.unshortened.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert(volume, Instant::now());
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
            let mut busy = steps.busy();
            if let Some(now) = busy.get_mut(&id) {
                // A step that was overtaken has no entry any more.
                let own = now.iter().position(|under_way| *under_way == kind);
                own.map(|at| now.swap_remove(at));
                if now.is_empty() {
                    busy.remove(&id);
                }
            }
            drop(busy);
            steps.wake.notify_one();
        });
    }

    async fn step(&self, drivers: &Drivers, effect: Effect, needs: Result<Needs>) -> Result<()> {
        let Drivers { hypervisor, .. } = drivers;
        match effect {
            Effect::Start(vm) => {
                let _place = self.launches.acquire().await?;
                if let Err(e) = start(drivers, needs, &vm).await {
                    tracing::error!(instance = %vm.id, error = format!("{e:#}"), "the launch failed");
                    hypervisor.declare(&vm, Exit::Failed(format!("{e:#}"))).await?;
                }
                Ok(())
            }
            Effect::Stop(id, how) => hypervisor.stop(&id, how).await,
            Effect::Reboot(id, reboots) => hypervisor.reboot(&id, reboots).await,
            Effect::Attach(vm, volume) => {
                let disk = needs?.disks.pop().with_context(|| format!("the plan has no volume {volume}"))?;
                let device = drivers.volumes.ensure(&disk).await?;
                hypervisor.attach(&vm.id, device).await
            }
            Effect::Detach(id, volume, force) => hypervisor.detach(&id, &volume, force).await,
            Effect::Fork(id, all) => {
                let mut forks = Vec::new();
                for (_, taken) in &all {
                    forks.push(drivers.volumes.fork(taken).await?);
                }
                hypervisor.fork(&id, forks).await?;
                for (content, taken) in &all {
                    drivers.volumes.keep(content, taken).await?;
                }
                Ok(())
            }
            Effect::Grow(id, volume, size_gib) => hypervisor.grow(&id, &volume, size_gib).await,
            Effect::Limit(id, volume, limits) => hypervisor.limit(&id, &volume, limits).await,
            Effect::Shorten(id, volume) => {
                let disk = needs?.disks.pop().with_context(|| format!("the plan has no volume {volume}"))?;
                hypervisor.shorten(&id, drivers.volumes.shorter(&disk)?).await
            }
            Effect::Plug(id, interface, _) => {
                let tap = needs?.taps.pop().with_context(|| format!("the plan has no interface {interface}"))?;
                hypervisor.plug(&id, open(drivers, tap)?).await
            }
            Effect::Unplug(id, mac, forced) => {
                // Before anybody hears that it is free.
                if forced.is_some() {
                    for (vpc, interface, _) in needs?.taps {
                        drivers.network.retire(&vpc, &interface)?;
                    }
                }
                hypervisor.unplug(&id, mac, forced.is_some()).await
            }
            Effect::Declare(vm) => hypervisor.declare(&vm, Exit::Asked).await,
            Effect::Forget(id) => hypervisor.forget(&id).await,
        }
    }
}

pub struct UnderWay(BTreeMap<InstanceId, Vec<Kind>>);

impl UnderWay {
    pub fn allows(&self, effect: &Effect) -> bool {
        may_begin(self.of(effect.instance()), effect)
    }

    fn of(&self, id: &InstanceId) -> &[Kind] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }

    pub fn is_busy(&self, id: &InstanceId) -> bool {
        !self.of(id).is_empty()
    }

    /// Whether some machine may soon have this disk.
    pub fn brings(&self, volume: &VolumeId) -> bool {
        self.0.values().flatten().any(|kind| *kind == Kind::Attach(volume.clone()))
    }

    /// The disk that a machine may soon have.
    pub fn coming(&self, id: &InstanceId) -> Option<&VolumeId> {
        self.of(id).iter().find_map(|kind| if let Kind::Attach(volume) = kind { Some(volume) } else { None })
    }

    /// The interfaces that a machine may soon have.
    pub fn plugged(&self, id: &InstanceId) -> impl Iterator<Item = Mac> {
        self.of(id).iter().filter_map(|kind| if let Kind::Plug(mac) = kind { Some(*mac) } else { None })
    }
}

fn kind(effect: &Effect) -> Kind {
    match effect {
        Effect::Stop(_, Stop::Graceful) => Kind::Graceful,
        Effect::Attach(_, volume) => Kind::Attach(volume.clone()),
        Effect::Detach(..) | Effect::Grow(..) | Effect::Limit(..) | Effect::Fork(..) | Effect::Shorten(..) => {
            Kind::Disk
        }
        Effect::Plug(_, _, mac) => Kind::Plug(*mac),
        Effect::Unplug(_, mac, _) => Kind::Unplug(*mac),
        _ => Kind::Other,
    }
}

/// Steps of one machine follow each other, but for disks and interfaces: one disk, and each interface, by itself.
fn may_begin(now: &[Kind], effect: &Effect) -> bool {
    match kind(effect) {
        Kind::Attach(_) | Kind::Disk => now.iter().all(|kind| kind.interface().is_some()),
        Kind::Plug(mac) | Kind::Unplug(mac) => now.iter().all(|kind| match kind {
            Kind::Graceful | Kind::Other => false,
            Kind::Attach(_) | Kind::Disk => true,
            Kind::Plug(_) | Kind::Unplug(_) => kind.interface() != Some(mac),
        }),
        Kind::Graceful => now.is_empty(),
        Kind::Other if matches!(effect, Effect::Stop(_, Stop::Force)) => now.iter().all(|k| *k == Kind::Graceful),
        Kind::Other => now.is_empty(),
    }
}

/// The disks and interfaces of a plan, found by their ids.
pub struct Parts<'p> {
    volumes: HashMap<&'p VolumeId, &'p VolumePlan>,
    interfaces: HashMap<&'p InterfaceId, (&'p VpcId, Mac)>,
}

/// What a machine is made of.
#[derive(Default)]
pub struct Needs {
    disks: Vec<VolumePlan>,
    taps: Vec<(VpcId, InterfaceId, Mac)>,
}

impl<'p> Parts<'p> {
    pub fn of(plan: &'p HostPlan) -> Self {
        let volumes = plan.volumes.iter().map(|v| (&v.id, v)).collect();
        let interfaces =
            plan.network.vpcs.iter().flat_map(|vpc| vpc.interfaces.iter().map(|i| (&i.id, (&vpc.id, i.mac))));
        Self { volumes, interfaces: interfaces.collect() }
    }

    /// One disk of a machine.
    pub fn disk(&self, id: &VolumeId) -> Result<Needs> {
        let volume = self.volumes.get(id).with_context(|| format!("the plan has no volume {id}"))?;
        Ok(Needs { disks: vec![(*volume).clone()], taps: Vec::new() })
    }

    /// One interface of a machine.
    pub fn tap(&self, id: &InterfaceId) -> Result<Needs> {
        let found = self.interfaces.get(id);
        let (vpc, mac) = *found.with_context(|| format!("the plan has no interface {id}"))?;
        Ok(Needs { disks: Vec::new(), taps: vec![(vpc.clone(), id.clone(), mac)] })
    }

    pub fn needs(&self, vm: &VmPlan) -> Result<Needs> {
        let mut needs = Needs::default();
        for disk in &vm.disks {
            let volume = self.volumes.get(&disk.volume);
            needs.disks.push((*volume.with_context(|| format!("the plan has no volume {}", disk.volume))?).clone());
        }
        for id in &vm.interfaces {
            needs.taps.append(&mut self.tap(id)?.taps);
        }
        Ok(needs)
    }
}

/// Disks first, then the guest's ends of its networks, then the machine.
async fn start(drivers: &Drivers, needs: Result<Needs>, vm: &VmPlan) -> Result<()> {
    let Needs { disks: volumes, taps: interfaces } = needs?;
    let mut disks = Vec::new();
    for volume in &volumes {
        disks.push(drivers.volumes.ensure(volume).await?);
    }
    let mut taps = Vec::new();
    for interface in interfaces {
        taps.push(open(drivers, interface)?);
    }
    drivers.hypervisor.start(vm, disks, taps).await
}

fn open(drivers: &Drivers, (vpc, interface, mac): (VpcId, InterfaceId, Mac)) -> Result<Tap> {
    Ok(Tap { fd: drivers.network.open(&vpc, &interface)?, interface, mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_interfaces_wait_for_their_like_and_all_for_what_is_about_the_whole_machine() {
        let id: InstanceId = "i-00000000000000001".parse().expect("an id");
        let volume: VolumeId = "vol-00000000000000001".parse().expect("an id");
        let eni: InterfaceId = "eni-00000000000000001".parse().expect("an id");
        let mac = |n| Mac([10, 0, 0, 0, 0, n]);
        let effects = [
            Effect::Stop(id.clone(), Stop::Force),
            Effect::Stop(id.clone(), Stop::Graceful),
            Effect::Reboot(id.clone(), 1),
            Effect::Grow(id.clone(), volume.clone(), 2),
            Effect::Detach(id.clone(), volume.clone(), true),
            Effect::Plug(id.clone(), eni, mac(1)),
            Effect::Unplug(id.clone(), mac(1), None),
            Effect::Unplug(id, mac(2), None),
        ];
        let table: [(&[Kind], &str); 8] = [
            (&[], "11111111"),
            (&[Kind::Graceful], "10000000"),
            (&[Kind::Other], "00000000"),
            (&[Kind::Attach(volume)], "00000111"),
            (&[Kind::Disk], "00000111"),
            (&[Kind::Plug(mac(1))], "00011001"),
            (&[Kind::Unplug(mac(2))], "00011110"),
            (&[Kind::Disk, Kind::Plug(mac(1)), Kind::Unplug(mac(2))], "00000000"),
        ];
        for (now, expected) in table {
            let may: String = effects.iter().map(|effect| if may_begin(now, effect) { '1' } else { '0' }).collect();
            assert_eq!(may, expected, "{now:?}");
        }
    }
}
