//! Runs no guest: machines are entries that take a while to boot. For tests of everything above.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use awan_model::id::{InstanceId, VolumeId};
use awan_model::instance::{DiskSeen, Exit, InterfaceSeen, Phase};
use awan_model::interface::Mac;
use awan_model::plan::VmPlan;
use awan_model::volume::Limits;
use tokio::sync::Notify;
// Stands still in tests that say so.
use tokio::time::Instant;

use crate::driver::{BlockDevice, Fork, Fut, Hypervisor, SeenVm, Shorter, Stop, Tap};
use crate::hypervisor::picture::Picture;

pub struct SimulatedHypervisor {
    boot: Duration,
    vms: Mutex<BTreeMap<InstanceId, Vm>>,
    /// What those that were forgotten had said.
    consoles: Mutex<BTreeMap<InstanceId, Vec<u8>>>,
    changed: Arc<Notify>,
}

struct Vm {
    run: u32,
    reboots: u32,
    /// When it is up.
    up: Instant,
    exit: Option<Exit>,
    disks: Vec<DiskSeen>,
    /// For disks beside the root.
    ports: u32,
    interfaces: Vec<InterfaceSeen>,
    interfaces_max: u32,
}

/// As many as QEMU's machines have.
const PORTS: u32 = 4;

fn disk(device: &BlockDevice) -> DiskSeen {
    DiskSeen {
        volume: device.volume.clone(),
        size_gib: device.size_gib,
        attached: true,
        limits: Some(device.limits),
        failed: false,
    }
}

impl SimulatedHypervisor {
    pub fn new(boot: Duration) -> Arc<Self> {
        Arc::new(Self { boot, vms: Mutex::default(), consoles: Mutex::default(), changed: Arc::default() })
    }

    fn vms(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn consoles(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Vec<u8>>> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
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
    // The root has a place of its own.
    let taken = u32::try_from(vm.disks.len().saturating_sub(1)).unwrap_or(PORTS);
    let on = phase != Phase::Exited;
    SeenVm {
        id: id.clone(),
        run: vm.run,
        phase,
        reboots: vm.reboots,
        exit: vm.exit.clone(),
        disks: if on { vm.disks.clone() } else { Vec::new() },
        files: BTreeMap::new(),
        free_ports: if on { vm.ports.saturating_sub(taken) } else { 0 },
        interfaces: Some(if on { vm.interfaces.clone() } else { Vec::new() }),
        free_interface_ports: if on { vm.interfaces_max.saturating_sub(count(&vm.interfaces)) } else { 0 },
    }
}

fn count(interfaces: &[InterfaceSeen]) -> u32 {
    u32::try_from(interfaces.len()).unwrap_or(u32::MAX)
}

fn said(id: &InstanceId, vm: &Vm) -> Vec<u8> {
    format!("{id}: simulated run {}\r\n", vm.run).into_bytes()
}

impl Hypervisor for SimulatedHypervisor {
    fn observe(&self) -> Fut<'_, Result<Vec<SeenVm>>> {
        let now = Instant::now();
        let seen = self.vms().iter().map(|(id, vm)| seen(id, vm, now)).collect();
        Box::pin(async move { Ok(seen) })
    }

    fn start<'a>(&'a self, vm: &'a VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Fut<'a, Result<()>> {
        let up = Instant::now() + self.boot;
        let disks: Vec<_> = disks.iter().map(disk).collect();
        let ports = PORTS + u32::try_from(disks.len().saturating_sub(1)).unwrap_or_default();
        let interfaces: Vec<_> = taps.iter().map(|tap| InterfaceSeen { mac: tap.mac, attached: true }).collect();
        let interfaces_max = vm.interfaces_max.max(count(&interfaces));
        let (run, reboots, exit) = (vm.run, vm.reboots, None);
        let new = Vm { run, reboots, up, exit, disks, ports, interfaces, interfaces_max };
        self.vms().insert(vm.id.clone(), new);
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

    fn attach<'a>(&'a self, id: &'a InstanceId, device: BlockDevice) -> Fut<'a, Result<()>> {
        let mut open = false;
        let mut vms = self.vms();
        for vm in vms.values().filter(|vm| vm.exit.is_none()) {
            open |= vm.disks.iter().any(|disk| disk.volume == device.volume);
        }
        if let Some(vm) = vms.get_mut(id).filter(|_| !open) {
            vm.disks.push(disk(&device));
        }
        drop(vms);
        self.changed.notify_one();
        Box::pin(async move { if open { anyhow::bail!("{} is open", device.volume) } else { Ok(()) } })
    }

    fn detach<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, _: bool) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.disks.retain(|disk| disk.volume != *volume);
        }
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn grow<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, size_gib: u32) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            let grown = vm.disks.iter_mut().filter(|disk| disk.volume == *volume);
            grown.for_each(|disk| disk.size_gib = disk.size_gib.max(size_gib));
        }
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn shorten<'a>(&'a self, _: &'a InstanceId, _: Shorter) -> Fut<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn limit<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, limits: Limits) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.disks.iter_mut().filter(|disk| disk.volume == *volume).for_each(|disk| disk.limits = Some(limits));
        }
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn fork<'a>(&'a self, _: &'a InstanceId, _: Vec<Fork>) -> Fut<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn nameless(&self, _: &InstanceId) -> u64 {
        0
    }

    fn plug<'a>(&'a self, id: &'a InstanceId, tap: Tap) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.interfaces.retain(|seen| seen.mac != tap.mac);
            vm.interfaces.push(InterfaceSeen { mac: tap.mac, attached: true });
        }
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn unplug<'a>(&'a self, id: &'a InstanceId, mac: Mac, _: bool) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().get_mut(id) {
            vm.interfaces.retain(|seen| seen.mac != mac);
        }
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }

    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, Result<()>> {
        let (run, reboots, up, exit) = (vm.run, vm.reboots, Instant::now(), Some(exit));
        let (disks, interfaces) = (Vec::new(), Vec::new());
        let over = Vm { run, reboots, up, exit, disks, ports: 0, interfaces, interfaces_max: 0 };
        self.vms().insert(vm.id.clone(), over);
        Box::pin(async { Ok(()) })
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        if let Some(vm) = self.vms().remove(id) {
            self.consoles().insert(id.clone(), said(id, &vm));
        }
        Box::pin(async { Ok(()) })
    }

    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<Vec<u8>>> {
        let known = self.vms().get(id).map(|vm| said(id, vm));
        let known = known.or_else(|| self.consoles().get(id).cloned());
        Box::pin(async move { Ok(known.unwrap_or_default()) })
    }

    fn keep_consoles<'a>(&'a self, of: &'a [InstanceId]) -> Fut<'a, Result<()>> {
        self.consoles().retain(|id, _| of.contains(id));
        Box::pin(async { Ok(()) })
    }

    fn screenshot<'a>(&'a self, id: &'a InstanceId, _: bool) -> Fut<'a, Result<Option<Vec<u8>>>> {
        let there = self.vms().get(id).is_some_and(|vm| vm.exit.is_none());
        Box::pin(async move {
            anyhow::ensure!(there, "{id} has no machine");
            Picture::blank(720, 400).jpeg().map(Some)
        })
    }

    fn interrupt<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        let there = self.vms().contains_key(id);
        Box::pin(async move { if there { Ok(()) } else { Err(anyhow::anyhow!("{id} has no machine")) } })
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
