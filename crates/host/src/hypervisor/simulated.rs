//! Runs no guest: machines are entries that take a while to boot. For tests of everything above.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use awan_model::id::InstanceId;
use awan_model::instance::{Exit, Phase};
use awan_model::plan::VmPlan;
use tokio::sync::Notify;
// Stands still in tests that say so.
use tokio::time::Instant;

use crate::driver::{BlockDevice, Fut, Hypervisor, SeenVm, Stop, Tap};

pub struct SimulatedHypervisor {
    boot: Duration,
    vms: Mutex<BTreeMap<InstanceId, Vm>>,
    changed: Arc<Notify>,
}

struct Vm {
    run: u32,
    reboots: u32,
    /// When it is up.
    up: Instant,
    exit: Option<Exit>,
}

impl SimulatedHypervisor {
    pub fn new(boot: Duration) -> Arc<Self> {
        Arc::new(Self { boot, vms: Mutex::default(), changed: Arc::default() })
    }

    fn vms(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_at(&self, at: Instant) {
        let changed = self.changed.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            changed.notify_one();
        });
    }
}

fn seen(id: &InstanceId, vm: &Vm, now: Instant) -> SeenVm {
    let phase = match &vm.exit {
        Some(_) => Phase::Exited,
        None if vm.up <= now => Phase::Running,
        None => Phase::Starting,
    };
    SeenVm { id: id.clone(), run: vm.run, phase, reboots: vm.reboots, exit: vm.exit.clone() }
}

impl Hypervisor for SimulatedHypervisor {
    fn observe(&self) -> Fut<'_, Result<Vec<SeenVm>>> {
        let now = Instant::now();
        let seen = self.vms().iter().map(|(id, vm)| seen(id, vm, now)).collect();
        Box::pin(async move { Ok(seen) })
    }

    fn start<'a>(&'a self, vm: &'a VmPlan, _: Vec<BlockDevice>, _: Vec<Tap>) -> Fut<'a, Result<()>> {
        let up = Instant::now() + self.boot;
        self.vms().insert(vm.id.clone(), Vm { run: vm.run, reboots: vm.reboots, up, exit: None });
        self.wake_at(up);
        Box::pin(async { Ok(()) })
    }

    fn stop<'a>(&'a self, id: &'a InstanceId, _: Stop) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.exit.get_or_insert(Exit::Asked);
        }
        Box::pin(async { Ok(()) })
    }

    fn reboot<'a>(&'a self, id: &'a InstanceId, reboots: u32) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.reboots = reboots;
        }
        Box::pin(async { Ok(()) })
    }

    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, Result<()>> {
        let over = Vm { run: vm.run, reboots: vm.reboots, up: Instant::now(), exit: Some(exit) };
        self.vms().insert(vm.id.clone(), over);
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        self.vms().remove(id);
        Box::pin(async { Ok(()) })
    }

    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<Vec<u8>>> {
        let known = self.vms().get(id).map(|vm| format!("{id}: simulated run {}\r\n", vm.run).into_bytes());
        // Nothing is kept of a machine that is over, and nothing was said by one that is to come.
        Box::pin(async move { Ok(known.unwrap_or_default()) })
    }

    fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_that_is_not_there_has_said_nothing() {
        let hypervisor = SimulatedHypervisor::new(Duration::ZERO);
        let id = InstanceId::made("i-0123456789abcdef0".into());
        assert_eq!(hypervisor.console(&id).await.expect("answers"), b"");
    }
}
