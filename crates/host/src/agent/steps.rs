//! Steps that are being taken, one at a time for each instance.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use awan_model::id::{InstanceId, InterfaceId, VolumeId, VpcId};
use awan_model::instance::Exit;
use awan_model::interface::Mac;
use awan_model::plan::{HostPlan, VmPlan, VolumePlan};
use tokio::sync::{Notify, Semaphore};

use super::{Drivers, RETRY_AFTER};
use crate::driver::{Stop, Tap};
use crate::effect::Effect;

pub struct Steps {
    busy: Mutex<BTreeMap<InstanceId, Kind>>,
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
    Other,
}

impl Steps {
    pub fn new(launches: usize, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { busy: Mutex::default(), launches: Semaphore::new(launches.max(1)), wake })
    }

    fn busy(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Kind>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
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
            if !may_begin(busy.get(&id), &effect) {
                return;
            }
            busy.insert(id.clone(), kind.clone());
        }
        let (steps, drivers) = (self.clone(), drivers.clone());
        tokio::spawn(async move {
            if let Err(e) = steps.step(&drivers, effect, needs).await {
                tracing::warn!(instance = %id, error = format!("{e:#}"), "a step failed; it is tried again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            let mut busy = steps.busy();
            // A step that was overtaken leaves the entry to who overtook it.
            if busy.get(&id) == Some(&kind) {
                busy.remove(&id);
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
            Effect::Grow(id, volume, size_gib) => hypervisor.grow(&id, &volume, size_gib).await,
            Effect::Declare(vm) => hypervisor.declare(&vm, Exit::Asked).await,
            Effect::Forget(id) => hypervisor.forget(&id).await,
        }
    }
}

pub struct UnderWay(BTreeMap<InstanceId, Kind>);

impl UnderWay {
    pub fn allows(&self, effect: &Effect) -> bool {
        may_begin(self.0.get(effect.instance()), effect)
    }

    /// The disk that a machine may soon have.
    pub fn coming(&self, id: &InstanceId) -> Option<&VolumeId> {
        match self.0.get(id)? {
            Kind::Attach(volume) => Some(volume),
            Kind::Graceful | Kind::Other => None,
        }
    }
}

fn kind(effect: &Effect) -> Kind {
    match effect {
        Effect::Stop(_, Stop::Graceful) => Kind::Graceful,
        Effect::Attach(_, volume) => Kind::Attach(volume.clone()),
        _ => Kind::Other,
    }
}

fn may_begin(now: Option<&Kind>, effect: &Effect) -> bool {
    match now {
        None => true,
        Some(Kind::Graceful) => matches!(effect, Effect::Stop(_, Stop::Force)),
        Some(Kind::Attach(_) | Kind::Other) => false,
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

    pub fn needs(&self, vm: &VmPlan) -> Result<Needs> {
        let mut needs = Needs::default();
        for disk in &vm.disks {
            let volume = self.volumes.get(&disk.volume);
            needs.disks.push((*volume.with_context(|| format!("the plan has no volume {}", disk.volume))?).clone());
        }
        for id in &vm.interfaces {
            let found = self.interfaces.get(id);
            let (vpc, mac) = *found.with_context(|| format!("the plan has no interface {id}"))?;
            needs.taps.push((vpc.clone(), id.clone(), mac));
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
    for (vpc, interface, mac) in interfaces {
        taps.push(Tap { fd: drivers.network.open(&vpc, &interface)?, interface, mac });
    }
    drivers.hypervisor.start(vm, disks, taps).await
}
