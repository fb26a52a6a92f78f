//! Steps that are being taken, one at a time for each instance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use awan_model::id::InstanceId;
use awan_model::instance::Exit;
use awan_model::plan::{HostPlan, VmPlan};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It waits for the guest. Somebody may lose patience meanwhile.
    Graceful,
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
    pub fn take(self: &Arc<Self>, drivers: &Drivers, plan: &Arc<HostPlan>, effect: Effect) {
        let (id, kind) = (effect.instance().clone(), kind(&effect));
        {
            let mut busy = self.busy();
            if !may_begin(busy.get(&id).copied(), &effect) {
                return;
            }
            busy.insert(id.clone(), kind);
        }
        let (steps, drivers, plan) = (self.clone(), drivers.clone(), plan.clone());
        tokio::spawn(async move {
            if let Err(e) = steps.step(&drivers, &plan, effect).await {
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

    async fn step(&self, drivers: &Drivers, plan: &HostPlan, effect: Effect) -> Result<()> {
        let Drivers { hypervisor, .. } = drivers;
        match effect {
            Effect::Start(vm) => {
                let _place = self.launches.acquire().await?;
                if let Err(e) = start(drivers, plan, &vm).await {
                    tracing::error!(instance = %vm.id, error = format!("{e:#}"), "the launch failed");
                    hypervisor.declare(&vm, Exit::Failed(format!("{e:#}"))).await?;
                }
                Ok(())
            }
            Effect::Stop(id, how) => hypervisor.stop(&id, how).await,
            Effect::Reboot(id, reboots) => hypervisor.reboot(&id, reboots).await,
            Effect::Declare(vm) => hypervisor.declare(&vm, Exit::Asked).await,
            Effect::Forget(id) => hypervisor.forget(&id).await,
        }
    }
}

pub struct UnderWay(BTreeMap<InstanceId, Kind>);

impl UnderWay {
    pub fn allows(&self, effect: &Effect) -> bool {
        may_begin(self.0.get(effect.instance()).copied(), effect)
    }
}

fn kind(effect: &Effect) -> Kind {
    if matches!(effect, Effect::Stop(_, Stop::Graceful)) { Kind::Graceful } else { Kind::Other }
}

fn may_begin(now: Option<Kind>, effect: &Effect) -> bool {
    match now {
        None => true,
        Some(Kind::Graceful) => matches!(effect, Effect::Stop(_, Stop::Force)),
        Some(Kind::Other) => false,
    }
}

/// Disks first, then the guest's ends of its networks, then the machine.
async fn start(drivers: &Drivers, plan: &HostPlan, vm: &VmPlan) -> Result<()> {
    let mut disks = Vec::new();
    for disk in &vm.disks {
        let volume = plan.volumes.iter().find(|v| v.id == disk.volume);
        let volume = volume.with_context(|| format!("the plan has no volume {}", disk.volume))?;
        disks.push(drivers.volumes.ensure(volume).await?);
    }
    let mut taps = Vec::new();
    for interface in &vm.interfaces {
        let found = plan
            .network
            .vpcs
            .iter()
            .find_map(|vpc| vpc.interfaces.iter().find(|i| i.id == *interface).map(|i| (&vpc.id, i.mac)));
        let (vpc, mac) = found.with_context(|| format!("the plan has no interface {interface}"))?;
        taps.push(Tap { interface: interface.clone(), mac, fd: drivers.network.open(vpc, interface)? });
    }
    drivers.hypervisor.start(vm, disks, taps).await
}
