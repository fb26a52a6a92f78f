//! A host that is only a table, moved by the real agent's decisions.

use std::collections::{BTreeMap, BTreeSet};

use awan_host::driver::SeenVm;
use awan_host::effect::{Effect, effects, unwanted_volumes};
use awan_model::export::ExportPhase;
use awan_model::host::Capacity;
use awan_model::id::{HostId, InstanceId, InterfaceId, VolumeId};
use awan_model::import::{ImportPhase, Merged};
use awan_model::instance::{DiskSeen, Exit, Health, InterfaceSeen, Phase};
use awan_model::interface::Mac;
use awan_model::plan::{ContentPlan, ExportPlan, HostPlan, PROTOCOL};
use awan_model::report::{ContentSeen, ExportSeen, Inventory, Report, VmSeen};

use crate::faults::Plant;

/// For disks that are attached while a machine runs.
const PORTS: u32 = 4;

fn has(plan: &HostPlan, volume: &VolumeId) -> DiskSeen {
    let of = plan.volumes.iter().find(|v| v.id == *volume);
    let (size_gib, limits) = (of.map_or(0, |v| v.size_gib), of.map(|v| v.limits));
    DiskSeen { volume: volume.clone(), size_gib, attached: true, limits, failed: false }
}

/// Each disk from elsewhere is small, and comes as soon as there is room for it; what volumes held is kept at once.
fn content(plan: &ContentPlan) -> ContentSeen {
    let phase = match plan.size_gib {
        0 => ImportPhase::Waiting { size_gib: 1 },
        size_gib => ImportPhase::Kept { size_gib, bytes: 1 },
    };
    let merged = plan.merge.clone().map(|merge| Merged::Onto { below: merge.below });
    ContentSeen { home: plan.home.clone(), id: plan.id.clone(), phase, merged }
}

/// Each file is whole at once, and goes at once.
fn export(plan: &ExportPlan) -> ExportSeen {
    let phase = if plan.cancelled { ExportPhase::Gone } else { ExportPhase::Kept { bytes: 1 } };
    ExportSeen { home: plan.home.clone(), id: plan.id.clone(), phase }
}

fn card(plan: &HostPlan, id: &InterfaceId) -> Option<InterfaceSeen> {
    let found = plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces).find(|interface| interface.id == *id)?;
    Some(InterfaceSeen { mac: found.mac, attached: true })
}

pub struct SimHost {
    pub id: HostId,
    pub capacity: Capacity,
    pub plan: Option<HostPlan>,
    pub vms: BTreeMap<InstanceId, SeenVm>,
    pub volumes: BTreeSet<VolumeId>,
    pub plant: Plant,
}

impl SimHost {
    pub fn new(id: HostId, capacity: Capacity, plant: Plant) -> Self {
        Self { id, capacity, plan: None, vms: BTreeMap::new(), volumes: BTreeSet::new(), plant }
    }

    /// Takes a plan, unless it has a newer one.
    pub fn take(&mut self, plan: HostPlan) {
        if self.plan.as_ref().is_none_or(|old| old.revision <= plan.revision) {
            self.plan = Some(plan);
        }
    }

    pub fn seen(&self) -> Vec<SeenVm> {
        self.vms.values().cloned().collect()
    }

    /// Takes one of the steps that the agent would take.
    pub fn step(&mut self, choose: impl Fn(usize) -> usize) {
        let Some(plan) = self.plan.clone() else { return };
        let seen = self.seen();
        let steps = effects(&plan, &seen);
        if let Some(step) = steps.get(choose(steps.len().max(1))) {
            self.apply(step, &plan);
        }
        let present: Vec<_> = self.volumes.iter().cloned().collect();
        for id in unwanted_volumes(&plan, &present, &self.seen()) {
            if self.plant != Plant::KeepsVolumes {
                self.volumes.remove(&id);
            }
        }
        if self.plant == Plant::RevivesRuns {
            self.vms.retain(|_, vm| vm.phase != Phase::Exited);
        }
    }

    fn apply(&mut self, effect: &Effect, plan: &HostPlan) {
        match effect {
            Effect::Start(vm) => {
                self.volumes.extend(
                    vm.disks.iter().filter(|d| plan.volumes.iter().any(|v| v.id == d.volume)).map(|d| d.volume.clone()),
                );
                let interfaces: Vec<_> = vm.interfaces.iter().filter_map(|id| card(plan, id)).collect();
                let seen = SeenVm {
                    id: vm.id.clone(),
                    run: vm.run,
                    phase: Phase::Starting,
                    reboots: vm.reboots,
                    exit: None,
                    disks: vm.disks.iter().map(|disk| has(plan, &disk.volume)).collect(),
                    files: BTreeMap::new(),
                    free_ports: PORTS,
                    free_interface_ports: vm.interfaces_max.saturating_sub(interfaces.len() as u32),
                    interfaces: Some(interfaces),
                };
                self.vms.insert(vm.id.clone(), seen);
            }
            Effect::Stop(id, _) => self.exit(id, Exit::Asked),
            Effect::Reboot(id, reboots) => {
                if let Some(vm) = self.vms.get_mut(id) {
                    vm.reboots = *reboots;
                }
            }
            Effect::Attach(vm, volume) => {
                self.volumes.insert(volume.clone());
                if let Some(vm) = self.vms.get_mut(&vm.id) {
                    vm.disks.push(has(plan, volume));
                    vm.free_ports = vm.free_ports.saturating_sub(1);
                }
            }
            Effect::Detach(id, volume, _) => {
                if let Some(vm) = self.vms.get_mut(id) {
                    vm.disks.retain(|disk| disk.volume != *volume);
                    vm.free_ports += 1;
                }
            }
            Effect::Grow(id, volume, size_gib) => {
                let disks = self.vms.get_mut(id).into_iter().flat_map(|vm| &mut vm.disks);
                disks.filter(|disk| disk.volume == *volume).for_each(|disk| disk.size_gib = *size_gib);
            }
            Effect::Limit(id, volume, limits) => {
                let disks = self.vms.get_mut(id).into_iter().flat_map(|vm| &mut vm.disks);
                disks.filter(|disk| disk.volume == *volume).for_each(|disk| disk.limits = Some(*limits));
            }
            // What volumes held is kept as soon as a plan says so: see `content`.
            Effect::Fork(..) | Effect::Shorten(..) => {}
            Effect::Plug(id, interface, _) => self.plug(id, card(plan, interface)),
            Effect::Unplug(id, mac, _) => self.unplug(id, *mac),
            Effect::Declare(_) if self.plant == Plant::NeverDeclares => {}
            Effect::Declare(vm) => {
                let over = SeenVm {
                    id: vm.id.clone(),
                    run: vm.run,
                    phase: Phase::Exited,
                    reboots: vm.reboots,
                    exit: Some(Exit::Asked),
                    disks: Vec::new(),
                    files: BTreeMap::new(),
                    free_ports: 0,
                    interfaces: Some(Vec::new()),
                    free_interface_ports: 0,
                };
                self.vms.insert(vm.id.clone(), over);
            }
            Effect::Forget(id) => drop(self.vms.remove(id)),
        }
    }

    fn plug(&mut self, id: &InstanceId, card: Option<InterfaceSeen>) {
        if let Some(vm) = self.vms.get_mut(id) {
            vm.interfaces.get_or_insert_default().extend(card);
            vm.free_interface_ports = vm.free_interface_ports.saturating_sub(1);
        }
    }

    fn unplug(&mut self, id: &InstanceId, mac: Mac) {
        if let Some(vm) = self.vms.get_mut(id) {
            vm.interfaces.get_or_insert_default().retain(|seen| seen.mac != mac);
            vm.free_interface_ports += 1;
        }
    }

    pub fn exit(&mut self, id: &InstanceId, exit: Exit) {
        if let Some(vm) = self.vms.get_mut(id).filter(|vm| vm.phase != Phase::Exited) {
            vm.phase = Phase::Exited;
            vm.exit = Some(exit);
            vm.disks.clear();
            vm.interfaces = Some(Vec::new());
        }
    }

    pub fn boot(&mut self, id: &InstanceId) {
        if let Some(vm) = self.vms.get_mut(id).filter(|vm| vm.phase == Phase::Starting) {
            vm.phase = Phase::Running;
        }
    }

    /// The machine loses its power: guests end, the plan is forgotten, the notes of runs stay on disk.
    pub fn lose_power(&mut self) {
        let all: Vec<_> = self.vms.keys().cloned().collect();
        for id in all {
            self.exit(&id, Exit::Crashed("power".into()));
        }
        self.plan = None;
    }

    pub fn alive(&self) -> impl Iterator<Item = &SeenVm> {
        self.vms.values().filter(|vm| vm.phase != Phase::Exited)
    }

    pub fn report(&self) -> Report {
        let plan = self.plan.as_ref();
        let vms = self.vms.values().filter_map(|vm| {
            let planned = plan?.vms.iter().find(|p| p.id == vm.id)?;
            let hides = self.plant == Plant::HidesInterfaces;
            let run = if self.plant == Plant::ReportsEarlierRuns { planned.run } else { vm.run };
            Some(VmSeen {
                home: planned.home.clone(),
                id: vm.id.clone(),
                run,
                phase: vm.phase,
                reboots: vm.reboots,
                health: if vm.phase == Phase::Running { Health::Ok } else { Health::Initializing },
                exit: vm.exit.clone(),
                metadata: planned.metadata.options.changes,
                disks: vm.disks.clone(),
                interfaces: vm.interfaces.iter().flatten().take(if hides { 1 } else { usize::MAX }).cloned().collect(),
                device_changes: planned.device_changes,
                free_ports: vm.free_ports,
                free_interface_ports: vm.free_interface_ports,
            })
        });
        Report {
            protocol: PROTOCOL,
            host: self.id.clone(),
            zone: "*".into(),
            region: "*".into(),
            capacity: self.capacity,
            accelerator: "simulated".into(),
            note: String::new(),
            address: String::new(),
            plan: plan.map_or(0, |p| p.revision),
            vms: vms.collect(),
            volumes: Vec::new(),
            contents: plan.into_iter().flat_map(|p| &p.contents).map(content).collect(),
            takes_exports: true,
            exports: plan.into_iter().flat_map(|p| &p.exports).map(export).collect(),
            traffic: Vec::new(),
        }
    }

    pub fn inventory(&self) -> Inventory {
        Inventory {
            plan: self.plan.as_ref().map_or(0, |p| p.revision),
            processes: self.alive().map(|vm| (vm.id.clone(), vm.run)).collect(),
            disks: self.alive().flat_map(|vm| vm.disks.iter().map(|d| (vm.id.clone(), d.volume.clone()))).collect(),
            interfaces: self
                .alive()
                .flat_map(|vm| vm.interfaces.iter().flatten().map(|seen| (vm.id.clone(), seen.mac)))
                .collect(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            volumes: self.volumes.iter().cloned().collect(),
            contents: self.plan.iter().flat_map(|p| &p.contents).map(|content| content.id.clone()).collect(),
        }
    }
}
