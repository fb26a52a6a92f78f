//! What differs between a plan and a machine, and the one step that each difference needs. Pure.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use awan_model::id::{ImageId, InstanceId, InterfaceId, VolumeId};
use awan_model::import::Taken;
use awan_model::instance::{Phase, Wish};
use awan_model::interface::Mac;
use awan_model::plan::{ContentPlan, HostPlan, VmPlan, VolumePlan};
use awan_model::volume::Limits;

use crate::driver::{SeenVm, Stop};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Start(Box<VmPlan>),
    Stop(InstanceId, Stop),
    Reboot(InstanceId, u32),
    /// Give a running machine one more disk.
    Attach(Box<VmPlan>, VolumeId),
    /// Take one away; without waiting for the guest, or with patience.
    Detach(InstanceId, VolumeId, bool),
    /// Make one so many GiB large.
    Grow(InstanceId, VolumeId, u32),
    /// Hold one to limits.
    Limit(InstanceId, VolumeId, Limits),
    /// Have one go on with fewer files below its own.
    Shorten(InstanceId, VolumeId),
    /// Have disks go on in new files at one moment, and keep what the old ones hold under these names.
    Fork(InstanceId, Vec<(ImageId, Taken)>),
    /// Give a running machine one more interface.
    Plug(InstanceId, InterfaceId, Mac),
    /// Take one away; with patience, or, where the interface is named, without waiting for the guest.
    Unplug(InstanceId, Mac, Option<InterfaceId>),
    /// Promise that a run is over, even if it never began.
    Declare(Box<VmPlan>),
    Forget(InstanceId),
}

impl Effect {
    pub fn instance(&self) -> &InstanceId {
        match self {
            Self::Start(vm) | Self::Declare(vm) | Self::Attach(vm, _) => &vm.id,
            Self::Stop(id, _) | Self::Reboot(id, _) | Self::Detach(id, ..) => id,
            Self::Grow(id, ..) | Self::Limit(id, ..) | Self::Fork(id, ..) | Self::Shorten(id, _) => id,
            Self::Plug(id, ..) | Self::Unplug(id, ..) | Self::Forget(id) => id,
        }
    }
}

pub fn effects(plan: &HostPlan, seen: &[SeenVm]) -> Vec<Effect> {
    let have: HashMap<&InstanceId, &SeenVm> = seen.iter().map(|vm| (&vm.id, vm)).collect();
    let planned: HashSet<&InstanceId> = plan.vms.iter().map(|vm| &vm.id).collect();
    let volumes: HashMap<&VolumeId, &VolumePlan> = plan.volumes.iter().map(|v| (&v.id, v)).collect();
    let all = plan.network.vpcs.iter().flat_map(|vpc| &vpc.interfaces);
    let macs: HashMap<&InterfaceId, Mac> = all.map(|interface| (&interface.id, interface.mac)).collect();
    let of = |vm| match (effect(vm, have.get(&vm.id).copied()), have.get(&vm.id)) {
        (Some(effect), _) => vec![effect],
        (None, Some(have)) if runs_as_it_should(vm, have) => {
            disk_effect(vm, have, &volumes).into_iter().chain(interface_effects(vm, have, &macs)).collect()
        }
        (None, _) => Vec::new(),
    };
    let wanted = plan.vms.iter().flat_map(of);
    let unwanted = seen.iter().filter(|vm| !planned.contains(&vm.id)).map(|vm| match vm.phase {
        Phase::Starting | Phase::Running => Effect::Stop(vm.id.clone(), Stop::Force),
        Phase::Exited => Effect::Forget(vm.id.clone()),
    });
    wanted.chain(unwanted).collect()
}

fn effect(want: &VmPlan, have: Option<&SeenVm>) -> Option<Effect> {
    let same_run = have.filter(|vm| vm.run == want.run);
    let alive = have.filter(|vm| vm.phase != Phase::Exited);
    let how = if want.force { Stop::Force } else { Stop::Graceful };
    match (want.wish, same_run, alive) {
        (Wish::On, Some(vm), Some(_)) if vm.phase == Phase::Running && vm.reboots < want.reboots => {
            Some(Effect::Reboot(want.id.clone(), want.reboots))
        }
        (Wish::On, Some(_), _) => None,
        // An earlier run must be over before the next begins.
        (_, None, Some(vm)) => Some(Effect::Stop(vm.id.clone(), Stop::Force)),
        (Wish::On, None, None) => Some(Effect::Start(Box::new(want.clone()))),
        (Wish::Off | Wish::Gone, Some(_), Some(_)) => Some(Effect::Stop(want.id.clone(), how)),
        (Wish::Off | Wish::Gone, Some(_), None) => None,
        (Wish::Off | Wish::Gone, None, None) => Some(Effect::Declare(Box::new(want.clone()))),
    }
}

fn runs_as_it_should(want: &VmPlan, have: &SeenVm) -> bool {
    want.wish == Wish::On && have.run == want.run && have.phase == Phase::Running
}

/// What such a machine still lacks, or has too much, of disks. First goes what is to go, so that its place is free.
fn disk_effect(want: &VmPlan, have: &SeenVm, volumes: &HashMap<&VolumeId, &VolumePlan>) -> Option<Effect> {
    let id = || want.id.clone();
    let wanted = |volume: &VolumeId| want.disks.iter().any(|disk| disk.volume == *volume);
    let there = |volume: &VolumeId| have.disks.iter().any(|disk| disk.attached && disk.volume == *volume);
    if let Some(gone) = have.disks.iter().find(|disk| !wanted(&disk.volume)) {
        let volume = gone.volume.clone();
        let force = want.yank.contains(&volume);
        return Some(Effect::Detach(id(), volume, force));
    }
    if let Some(lacks) = want.disks.iter().find(|disk| !there(&disk.volume)) {
        return Some(Effect::Attach(Box::new(want.clone()), lacks.volume.clone()));
    }
    have.disks.iter().find_map(|disk| {
        let (volume, want) = (disk.volume.clone(), volumes.get(&disk.volume)?);
        if disk.size_gib < want.size_gib {
            Some(Effect::Grow(id(), volume, want.size_gib))
        } else {
            (disk.limits != Some(want.limits)).then(|| Effect::Limit(id(), volume, want.limits))
        }
    })
}

/// A disk that is read through so many files more than it has to be.
const LONGER: usize = 8;
/// A machine that has so many bytes open which nobody else can read.
const NAMELESS: u64 = 64 << 20;
/// No chain has more.
const FILES_MAX: usize = 1024;

/// Of machines that run as they should, those of whose disks the files have been merged since they were opened: where many
/// are too many, or where few take much room. `nameless`: how much of what a machine has open has no name any more; `waits`:
/// whose disk could not be, and is not tried again yet.
pub fn shortening(
    plan: &HostPlan,
    seen: &[SeenVm],
    nameless: impl Fn(&InstanceId) -> u64,
    waits: impl Fn(&VolumeId) -> bool,
) -> Vec<Effect> {
    // Its own file and one image are no more than it needs.
    let is_long = |vm: &&SeenVm| vm.phase == Phase::Running && vm.files.values().any(|n| *n > 2);
    let long: Vec<_> = seen.iter().filter(is_long).collect();
    if long.is_empty() {
        return Vec::new();
    }
    let volumes: HashMap<&VolumeId, &VolumePlan> = plan.volumes.iter().map(|v| (&v.id, v)).collect();
    let contents: HashMap<&ImageId, &ContentPlan> = plan.contents.iter().map(|c| (&c.id, c)).collect();
    let least = |volume: &VolumePlan| {
        let below = |id: &&ImageId| contents.get(*id)?.source.below();
        1 + volume.layers.len() + std::iter::successors(volume.image.as_ref(), below).take(FILES_MAX).count()
    };
    let of = |vm: &&SeenVm| {
        let want = plan.vms.iter().find(|want| want.id == vm.id).filter(|want| runs_as_it_should(want, vm))?;
        let has = |volume: &VolumeId| vm.disks.iter().any(|disk| disk.attached && disk.volume == *volume);
        let room = LazyCell::new(|| nameless(&vm.id) >= NAMELESS);
        let (volume, _) = vm.files.iter().find(|(volume, files)| {
            let planned = volumes.get(volume).filter(|planned| planned.layers.iter().all(|layer| layer.kept));
            let more = planned.map_or(0, |planned| (**files as usize).saturating_sub(least(planned)));
            has(volume) && (more >= LONGER || more > 0 && *room) && !waits(volume)
        })?;
        Some(Effect::Shorten(want.id.clone(), volume.clone()))
    };
    long.iter().filter_map(of).collect()
}

/// The same of interfaces, each by itself: none waits for a guest that does not let go of another.
fn interface_effects(want: &VmPlan, have: &SeenVm, macs: &HashMap<&InterfaceId, Mac>) -> Vec<Effect> {
    let known = |id: &InterfaceId| macs.get(id).map(|mac| (id.clone(), *mac));
    let wanted: Option<Vec<(InterfaceId, Mac)>> = want.interfaces.iter().map(known).collect();
    // Of a plan that does not say what an interface is, nothing follows.
    let (Some(wanted), Some(there)) = (wanted, &have.interfaces) else { return Vec::new() };
    let forced: HashMap<Mac, &InterfaceId> = want.unplug.iter().filter_map(|id| Some((*macs.get(id)?, id))).collect();
    let gone = there.iter().filter(|seen| wanted.iter().all(|(_, mac)| *mac != seen.mac));
    let gone = gone.map(|seen| Effect::Unplug(want.id.clone(), seen.mac, forced.get(&seen.mac).copied().cloned()));
    let lacks = wanted.iter().filter(|(_, mac)| !there.iter().any(|seen| seen.attached && seen.mac == *mac));
    gone.chain(lacks.map(|(id, mac)| Effect::Plug(want.id.clone(), id.clone(), *mac))).collect()
}

/// What is to be kept of volumes next, in the order of their generations.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// By the machines that have the volumes open.
    pub forks: Vec<Effect>,
    /// Of volumes that no machine has open.
    pub keep: Vec<(ImageId, Taken)>,
}

/// Of all that is still to be kept.
pub fn keeping(pending: &[(ImageId, Taken)], seen: &[SeenVm]) -> Keeping {
    let mut first: BTreeMap<&VolumeId, &(ImageId, Taken)> = BTreeMap::new();
    for one in pending {
        let known = first.entry(&one.1.volume).or_insert(one);
        if one.1.generation < known.1.generation {
            *known = one;
        }
    }
    let is_first = |one: &(ImageId, Taken)| first.get(&one.1.volume).is_some_and(|known| known.0 == one.0);
    let has = |vm: &SeenVm, volume: &VolumeId| vm.disks.iter().any(|disk| disk.volume == *volume);
    let alive: Vec<&SeenVm> = seen.iter().filter(|vm| vm.phase != Phase::Exited).collect();
    let mut keeping = Keeping::default();
    for vm in alive.iter().filter(|vm| vm.phase == Phase::Running) {
        let here = || pending.iter().filter(|one| has(vm, &one.1.volume));
        // Those of a set wait for each other.
        let waits = |set: &ImageId| here().any(|one| one.1.set == *set && !is_first(one));
        let ready: Vec<_> = here().filter(|one| is_first(one) && !waits(&one.1.set)).cloned().collect();
        if !ready.is_empty() {
            keeping.forks.push(Effect::Fork(vm.id.clone(), ready));
        }
    }
    let open = |volume: &VolumeId| alive.iter().any(|vm| has(vm, volume));
    keeping.keep = first.into_iter().filter(|(volume, _)| !open(volume)).map(|(_, one)| one.clone()).collect();
    keeping
}

/// Volumes that no plan has, no machine of a plan names, and no machine has open.
pub fn unwanted_volumes(plan: &HostPlan, present: &[VolumeId], seen: &[SeenVm]) -> Vec<VolumeId> {
    // Whose disks are open is not asked: while a machine lives that the plan does not have, nothing is deleted.
    let expected: HashSet<&InstanceId> = plan.vms.iter().map(|vm| &vm.id).collect();
    let stray = seen.iter().any(|vm| vm.phase != Phase::Exited && !expected.contains(&vm.id));
    let disks = plan.vms.iter().flat_map(|vm| &vm.disks).map(|disk| &disk.volume);
    let open = seen.iter().filter(|vm| vm.phase != Phase::Exited).flat_map(|vm| &vm.disks).map(|disk| &disk.volume);
    let planned: HashSet<&VolumeId> = plan.volumes.iter().map(|v| &v.id).chain(disks).chain(open).collect();
    if stray { Vec::new() } else { present.iter().filter(|id| !planned.contains(id)).cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::testing::{plan, seen, vm};
    use crate::network::testing::vpc_plan;
    use awan_model::import::Source;
    use awan_model::instance::{DiskSeen, InterfaceSeen};
    use awan_model::plan::{DiskPlan, InterfacePlan, LayerPlan, NetworkPlan};
    use awan_model::volume::Rate;

    #[test]
    fn each_difference_has_one_step() {
        use Phase::{Exited, Running, Starting};
        use Wish::{Gone, Off, On};
        // wish, what is there (run, phase) of a plan for run 2, step
        type Case = (Wish, Option<(u32, Phase)>, &'static str);
        let table: [Case; 14] = [
            (On, None, "start"),
            (On, Some((1, Running)), "force"),
            (On, Some((1, Exited)), "start"),
            (On, Some((2, Starting)), "-"),
            (On, Some((2, Running)), "-"),
            (On, Some((2, Exited)), "-"),
            (Off, None, "declare"),
            (Off, Some((1, Exited)), "declare"),
            (Off, Some((2, Starting)), "graceful"),
            (Off, Some((2, Running)), "graceful"),
            (Off, Some((2, Exited)), "-"),
            (Gone, None, "declare"),
            (Gone, Some((2, Running)), "graceful"),
            (Gone, Some((1, Running)), "force"),
        ];
        for (wish, there, expected) in table {
            let have: Vec<_> = there.map(|(run, phase)| seen("i-00000000000000001", run, phase)).into_iter().collect();
            let steps = effects(&plan(vec![vm("i-00000000000000001", wish, 2)]), &have);
            let names: Vec<_> = steps.iter().map(name).collect();
            let expected: Vec<_> = Some(expected).filter(|e| *e != "-").into_iter().collect();
            assert_eq!(names, expected, "{wish:?} {there:?}");
        }
    }

    fn name(effect: &Effect) -> &'static str {
        match effect {
            Effect::Start(_) => "start",
            Effect::Stop(_, Stop::Force) => "force",
            Effect::Stop(_, Stop::Graceful) => "graceful",
            Effect::Reboot(..) => "reboot",
            Effect::Attach(..) => "attach",
            Effect::Detach(_, _, false) => "detach",
            Effect::Detach(_, _, true) => "yank",
            Effect::Grow(..) => "grow",
            Effect::Limit(..) => "limit",
            Effect::Shorten(..) => "shorten",
            Effect::Fork(..) => "fork",
            Effect::Plug(..) => "plug",
            Effect::Unplug(_, _, None) => "unplug",
            Effect::Unplug(_, _, Some(_)) => "pull",
            Effect::Declare(_) => "declare",
            Effect::Forget(_) => "forget",
        }
    }

    #[test]
    fn of_disks_first_goes_what_is_to_go_then_comes_what_is_to_come_then_grows_what_is_small() {
        let id = |n: u32| VolumeId::made(format!("vol-{n:017x}"));
        let disk = |n| DiskPlan { volume: id(n), device: "/dev/sdf".into() };
        let limits = |always| Limits { iops: Some(Rate { always, burst: None }), ..Limits::default() };
        let has = |n, size_gib, attached| DiskSeen {
            volume: id(n),
            size_gib,
            attached,
            limits: Some(limits(100)),
            failed: false,
        };
        let root = id(0x0123_4567);
        let mut want = vm("i-00000000000000001", Wish::On, 2);
        want.disks = vec![DiskPlan { volume: root.clone(), device: "/dev/xvda".into() }, disk(1)];
        want.yank = vec![id(3)];
        let volume = VolumePlan { limits: limits(100), ..VolumePlan::empty(want.home.clone(), id(1), 4) };
        let plan = HostPlan { volumes: vec![volume], ..plan(vec![want.clone()]) };
        let root =
            DiskSeen { volume: root, size_gib: 1, attached: true, limits: Some(Limits::default()), failed: false };
        let first = |disks: Vec<DiskSeen>, phase| {
            let disks = std::iter::once(root.clone()).chain(disks).collect();
            let have = SeenVm { disks, ..seen("i-00000000000000001", 2, phase) };
            effects(&plan, &[have]).first().map_or("-", name)
        };
        assert_eq!(first(vec![has(2, 1, true)], Phase::Running), "detach");
        assert_eq!(first(vec![has(2, 1, false), has(1, 4, true)], Phase::Running), "detach");
        assert_eq!(first(vec![has(3, 1, true)], Phase::Running), "yank");
        assert_eq!(first(vec![], Phase::Running), "attach");
        assert_eq!(first(vec![has(1, 4, false)], Phase::Running), "attach");
        assert_eq!(first(vec![has(1, 3, true)], Phase::Running), "grow");
        assert_eq!(first(vec![has(1, 5, true)], Phase::Running), "-");
        let held_to = |limits| DiskSeen { limits, ..has(1, 4, true) };
        assert_eq!(first(vec![held_to(None)], Phase::Running), "limit");
        assert_eq!(first(vec![held_to(Some(limits(99)))], Phase::Running), "limit");
        assert_eq!(first(vec![held_to(Some(limits(100)))], Phase::Running), "-");
        assert_eq!(first(vec![], Phase::Starting), "-");
        let open = SeenVm { disks: vec![has(9, 1, true)], ..seen("i-00000000000000001", 2, Phase::Running) };
        assert_eq!(unwanted_volumes(&plan, &[id(9)], &[open]), Vec::<VolumeId>::new());
    }

    #[test]
    fn what_a_machine_has_open_is_kept_by_it_in_order_and_sets_at_one_moment() {
        let id = |n: u32| VolumeId::made(format!("vol-{n:017x}"));
        let name = |n: u32| ImageId::made(format!("ami-{n:017x}"));
        let taken = |n: u32, volume, generation, set| {
            (name(n), Taken { volume: id(volume), below: None, generation, set: name(set), volume_gib: 1, key: None })
        };
        let disks = |all: &[u32]| {
            all.iter()
                .map(|n| DiskSeen { volume: id(*n), size_gib: 1, attached: true, limits: None, failed: false })
                .collect::<Vec<_>>()
        };
        let on = SeenVm { disks: disks(&[1, 2]), ..seen("i-00000000000000001", 2, Phase::Running) };
        let begins = SeenVm { disks: disks(&[3]), ..seen("i-00000000000000002", 1, Phase::Starting) };
        let off = SeenVm { disks: disks(&[4]), ..seen("i-00000000000000003", 1, Phase::Exited) };
        // Volume 1: a snapshot of its own, then a set with volume 2; volumes 3 to 5: one each.
        let pending = [
            taken(11, 1, 8, 11),
            taken(10, 1, 7, 10),
            taken(12, 2, 1, 11),
            taken(13, 3, 1, 13),
            taken(14, 4, 1, 14),
            taken(15, 5, 1, 15),
        ];
        let all = [on, begins, off];
        let steps = |pending: &[(ImageId, Taken)]| {
            let Keeping { forks, keep } = keeping(pending, &all);
            let forks = forks.into_iter().map(|fork| match fork {
                Effect::Fork(id, of) => (id.to_string(), of.into_iter().map(|(id, _)| id).collect::<Vec<_>>()),
                other => panic!("{other:?}"),
            });
            (forks.collect::<Vec<_>>(), keep.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
        };
        let vm = "i-00000000000000001".to_owned();
        assert_eq!(steps(&pending), (vec![(vm.clone(), vec![name(10)])], vec![name(14), name(15)]));
        let later: Vec<_> = pending.iter().filter(|one| one.0 != name(10)).cloned().collect();
        assert_eq!(steps(&later).0, [(vm, vec![name(11), name(12)])]);
    }

    #[test]
    fn a_disk_goes_on_with_fewer_files_when_there_are_many_fewer_and_nothing_is_pending() {
        let id = |n: u32| ImageId::made(format!("ami-{n:017x}"));
        let want = vm("i-00000000000000001", Wish::On, 2);
        let root = want.disks[0].volume.clone();
        let layer = |n| LayerPlan { id: id(n), generation: n, kept: true, volume_gib: None };
        let mut volume = VolumePlan::empty(want.home.clone(), root.clone(), 4);
        (volume.image, volume.layers) = (Some(id(7)), vec![layer(20), layer(21)]);
        let taken = Taken {
            volume: VolumeId::made("vol-00000000000000009".into()),
            below: Some(id(6)),
            generation: 1,
            set: id(7),
            volume_gib: 1,
            key: None,
        };
        // Its own file, two layers, what it began as, and what that did.
        let began = ContentPlan {
            home: want.home.clone(),
            id: id(7),
            source: Source::Taken(taken),
            kept: true,
            size_gib: 1,
            merge: None,
        };
        let mut plan = HostPlan { volumes: vec![volume], contents: vec![began], ..plan(vec![want]) };
        let (takes, waits) = (std::cell::Cell::new(NAMELESS - 1), std::cell::Cell::new(false));
        let of = |plan: &HostPlan, files, phase| {
            let files = [(root.clone(), files)].into();
            let seen = [SeenVm { files, ..seen("i-00000000000000001", 2, phase) }];
            let found = shortening(plan, &seen, |_| takes.get(), |_| waits.get());
            found.iter().map(name).collect::<Vec<_>>()
        };
        for (files, phase, expected) in
            [(13, Phase::Running, &["shorten"][..]), (12, Phase::Running, &[]), (99, Phase::Starting, &[])]
        {
            assert_eq!(of(&plan, files, phase), expected, "{files} {phase:?}");
        }
        // One file too many, which takes much room; what takes room and is no such file is no reason.
        takes.set(NAMELESS);
        assert_eq!(of(&plan, 6, Phase::Running), ["shorten"]);
        waits.set(true);
        assert_eq!(of(&plan, 99, Phase::Running), Vec::<&str>::new(), "it failed just now");
        waits.set(false);
        assert_eq!(of(&plan, 5, Phase::Running), Vec::<&str>::new());
        plan.volumes[0].layers[1].kept = false;
        assert_eq!(of(&plan, 99, Phase::Running), Vec::<&str>::new());
        // What it began as was merged before any snapshot was made of it.
        plan.volumes[0].layers.clear();
        assert_eq!(of(&plan, 11, Phase::Running), ["shorten"]);
        plan.volumes.clear();
        assert_eq!(of(&plan, 99, Phase::Running), Vec::<&str>::new());
    }

    #[test]
    fn every_interface_comes_and_goes_by_itself_once_it_is_known_what_there_is() {
        let mac = |n| Mac([10, 0, 0, 0, 0, n]);
        let id = |n: u8| InterfaceId::made(format!("eni-{n:017x}"));
        let mut network = vpc_plan();
        let interface = network.interfaces.remove(0);
        network.interfaces = (1..5).map(|n| InterfacePlan { id: id(n), mac: mac(n), ..interface.clone() }).collect();
        let mut want = vm("i-00000000000000001", Wish::On, 2);
        (want.interfaces, want.unplug) = (vec![id(1), id(2)], vec![id(4)]);
        let network = NetworkPlan { vpcs: vec![network], ..NetworkPlan::default() };
        let whole = HostPlan { network, ..plan(vec![want]) };
        let steps = |plan: &HostPlan, there: Option<&[(u8, bool)]>, phase| {
            let there =
                there.map(|all| all.iter().map(|(n, attached)| InterfaceSeen { mac: mac(*n), attached: *attached }));
            let have = SeenVm { interfaces: there.map(Iterator::collect), ..seen("i-00000000000000001", 2, phase) };
            effects(plan, &[have]).iter().map(name).collect::<Vec<_>>().join(" ")
        };
        use Phase::{Running, Starting};
        for (there, expected) in [
            (&[(1, true), (2, true)][..], ""),
            (&[(1, true)], "plug"),
            (&[(1, true), (2, false)], "plug"),
            (&[(1, true), (3, true)], "unplug plug"),
            (&[(1, true), (2, true), (3, false), (4, true)], "unplug pull"),
        ] {
            assert_eq!(steps(&whole, Some(there), Running), expected, "{there:?}");
            assert_eq!(steps(&whole, Some(there), Starting), "", "{there:?}");
        }
        assert_eq!(steps(&whole, None, Running), "", "nobody has looked yet");
        let cut = HostPlan { network: NetworkPlan::default(), ..whole };
        assert_eq!(steps(&cut, Some(&[(1, true)]), Running), "", "the plan is not whole");
    }

    #[test]
    fn what_no_plan_has_is_stopped_and_forgotten() {
        let empty = plan(Vec::new());
        let steps = effects(
            &empty,
            &[seen("i-00000000000000001", 1, Phase::Running), seen("i-00000000000000002", 1, Phase::Exited)],
        );
        assert_eq!(steps.iter().map(name).collect::<Vec<_>>(), ["force", "forget"]);
        let volume: VolumeId = "vol-00000000000000001".parse().expect("an id");
        let alive = [seen("i-00000000000000001", 1, Phase::Running)];
        assert_eq!(unwanted_volumes(&empty, std::slice::from_ref(&volume), &alive), Vec::<VolumeId>::new());
        assert_eq!(unwanted_volumes(&empty, std::slice::from_ref(&volume), &[]), [volume]);
    }
}
