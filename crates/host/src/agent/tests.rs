//! The loop over drivers that note what they are told and do it when the test lets them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use awan_model::id::{InstanceId, InterfaceId, VolumeId, VpcId};
use awan_model::instance::{Exit, Health, Phase, Wish};
use awan_model::interface::Mac;
use awan_model::plan::{InterfacePlan, VmPlan, VolumePlan, VpcPlan};
use awan_model::traffic::Counters;
use awan_model::volume::Limits;
use tokio::sync::watch;

use super::*;
use crate::driver::{BlockDevice, Fork, Fut, NetworkDifference, Shorter, Stop, Tap};
use crate::hypervisor::simulated::SimulatedHypervisor;
use crate::hypervisor::testing::{plan, vm};
use crate::import::Contents;
use crate::import::fetch::Rules;
use crate::keys::MasterKeys;
use crate::link::{Peer, pair};
use crate::network::testing::vpc_plan;
use crate::volume::simulated::SimulatedVolumes;

const PATIENCE: Duration = Duration::from_secs(10);
const A: &str = "i-00000000000000001";
const B: &str = "i-00000000000000002";

/// A hypervisor whose guests do not hear the power button.
struct Deaf {
    inner: Arc<SimulatedHypervisor>,
    pressed: watch::Sender<BTreeSet<InstanceId>>,
}

impl Hypervisor for Deaf {
    fn observe(&self) -> Fut<'_, Result<Vec<SeenVm>>> {
        self.inner.observe()
    }

    fn start<'a>(&'a self, vm: &'a VmPlan, disks: Vec<BlockDevice>, taps: Vec<Tap>) -> Fut<'a, Result<()>> {
        self.inner.start(vm, disks, taps)
    }

    fn stop<'a>(&'a self, id: &'a InstanceId, how: Stop) -> Fut<'a, Result<()>> {
        if how == Stop::Force {
            return self.inner.stop(id, how);
        }
        self.pressed.send_if_modified(|pressed| pressed.insert(id.clone()));
        Box::pin(std::future::pending())
    }

    fn reboot<'a>(&'a self, id: &'a InstanceId, reboots: u32) -> Fut<'a, Result<()>> {
        self.inner.reboot(id, reboots)
    }

    fn attach<'a>(&'a self, id: &'a InstanceId, disk: BlockDevice) -> Fut<'a, Result<()>> {
        self.inner.attach(id, disk)
    }

    fn detach<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, force: bool) -> Fut<'a, Result<()>> {
        self.inner.detach(id, volume, force)
    }

    fn grow<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, size_gib: u32) -> Fut<'a, Result<()>> {
        self.inner.grow(id, volume, size_gib)
    }

    fn limit<'a>(&'a self, id: &'a InstanceId, volume: &'a VolumeId, limits: Limits) -> Fut<'a, Result<()>> {
        self.inner.limit(id, volume, limits)
    }

    fn shorten<'a>(&'a self, id: &'a InstanceId, shorter: Shorter) -> Fut<'a, Result<()>> {
        self.inner.shorten(id, shorter)
    }

    fn fork<'a>(&'a self, id: &'a InstanceId, forks: Vec<Fork>) -> Fut<'a, Result<()>> {
        self.inner.fork(id, forks)
    }

    fn nameless(&self, _: &InstanceId) -> u64 {
        0
    }

    fn plug<'a>(&'a self, id: &'a InstanceId, tap: Tap) -> Fut<'a, Result<()>> {
        self.inner.plug(id, tap)
    }

    fn unplug<'a>(&'a self, id: &'a InstanceId, mac: Mac, force: bool) -> Fut<'a, Result<()>> {
        self.inner.unplug(id, mac, force)
    }

    fn declare<'a>(&'a self, vm: &'a VmPlan, exit: Exit) -> Fut<'a, Result<()>> {
        self.inner.declare(vm, exit)
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        self.inner.forget(id)
    }

    fn console<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<Vec<u8>>> {
        self.inner.console(id)
    }

    fn keep_consoles<'a>(&'a self, of: &'a [InstanceId]) -> Fut<'a, Result<()>> {
        self.inner.keep_consoles(of)
    }

    fn screenshot<'a>(&'a self, id: &'a InstanceId, wake: bool) -> Fut<'a, Result<Option<Vec<u8>>>> {
        self.inner.screenshot(id, wake)
    }

    fn interrupt<'a>(&'a self, id: &'a InstanceId) -> Fut<'a, Result<()>> {
        self.inner.interrupt(id)
    }

    fn changed(&self) -> Arc<Notify> {
        self.inner.changed()
    }
}

/// Networks that cannot be made while they are broken.
#[derive(Default)]
struct Fragile {
    broken: AtomicBool,
    /// What taps have counted.
    bytes: AtomicU64,
    applied: Mutex<Vec<u64>>,
}

impl Network for Fragile {
    fn apply<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<()>> {
        let broken = self.broken.load(Ordering::SeqCst);
        if !broken {
            self.applied.lock().unwrap_or_else(PoisonError::into_inner).push(plan.revision);
        }
        Box::pin(async move { if broken { anyhow::bail!("broken") } else { Ok(()) } })
    }

    fn open(&self, _: &VpcId, _: &InterfaceId) -> Result<std::os::fd::OwnedFd> {
        Ok(std::fs::File::open("/dev/null")?.into())
    }

    fn retire(&self, _: &VpcId, _: &InterfaceId) -> Result<()> {
        Ok(())
    }

    fn health<'a>(&'a self, _: &'a InterfaceId) -> Fut<'a, Health> {
        Box::pin(async { Health::Ok })
    }

    fn traffic<'a>(&'a self, plan: &'a HostPlan) -> Fut<'a, Result<Vec<TrafficSeen>>> {
        let counters = Counters { bytes_in: self.bytes.load(Ordering::SeqCst), ..Counters::default() };
        let seen = |vpc: &VpcPlan, i: &InterfacePlan| TrafficSeen {
            home: vpc.home.clone(),
            id: i.id.clone(),
            tap: "1".into(),
            counters,
        };
        let vpcs = plan.network.vpcs.iter();
        let all: Vec<_> = vpcs.flat_map(|vpc| vpc.interfaces.iter().map(|i| seen(vpc, i))).collect();
        Box::pin(async move { Ok(all) })
    }

    fn flow_logs(&self) -> Option<Arc<crate::network::flow::FlowLogs>> {
        None
    }

    fn compare<'a>(&'a self, _: &'a HostPlan) -> Fut<'a, Result<NetworkDifference>> {
        Box::pin(async { Ok(NetworkDifference::default()) })
    }
}

struct Bench {
    peer: Peer,
    network: Arc<Fragile>,
    pressed: watch::Receiver<BTreeSet<InstanceId>>,
    volumes: Arc<SimulatedVolumes>,
    revision: u64,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::following(None)
    }

    fn following(allegiance: Option<PathBuf>) -> Self {
        let (link, peer) = pair();
        let (pressed_in, pressed) = watch::channel(BTreeSet::new());
        let inner = SimulatedHypervisor::new(Duration::from_millis(1));
        let (network, volumes) = (Arc::new(Fragile::default()), SimulatedVolumes::new());
        let hypervisor = Arc::new(Deaf { inner, pressed: pressed_in });
        let folder = tempfile::tempdir().expect("a folder");
        let drivers = drivers(folder.path(), hypervisor, volumes.clone(), network.clone());
        let about = About {
            host: HostId::new("host").expect("a name"),
            zone: "*".into(),
            region: "*".into(),
            capacity: Capacity { vcpus: 1, memory_mib: 1, disk_gib: 1 },
            accelerator: "simulated".into(),
            note: String::new(),
            address: String::new(),
            allegiance,
            launches: 2,
        };
        tokio::spawn(Agent::new(about, drivers, link).run());
        Self { peer, network, pressed, volumes, revision: 0, _folder: folder }
    }

    fn plan(&mut self, vms: Vec<VmPlan>) {
        self.revision += 1;
        let of = |vm: &VmPlan| {
            let (home, id) = (vm.home.clone(), vm.disks[0].volume.clone());
            VolumePlan::empty(home, id, 1)
        };
        let volumes = vms.iter().map(of).collect();
        let revision = self.revision;
        self.peer.plans.send_replace(Some(Arc::new(HostPlan { revision, volumes, ..plan(vms) })));
    }

    /// Waits for a report of this: instance, run and phase.
    async fn until(&mut self, wanted: &[(&str, u32, Phase)]) {
        let same = |report: &Option<Arc<Report>>| {
            report.as_ref().is_some_and(|report| {
                let seen: Vec<_> = report.vms.iter().map(|vm| (vm.id.as_str(), vm.run, vm.phase)).collect();
                seen == wanted
            })
        };
        let waited = tokio::time::timeout(PATIENCE, self.peer.reports.wait_for(same)).await.is_ok();
        assert!(waited, "expected {wanted:?}; the last report is {:?}", self.peer.reports.borrow());
    }

    async fn until_pressed(&mut self, id: &str) {
        let wanted = |pressed: &BTreeSet<InstanceId>| pressed.iter().any(|p| p.as_str() == id);
        let waited = tokio::time::timeout(PATIENCE, self.pressed.wait_for(wanted)).await;
        assert!(waited.is_ok_and(|w| w.is_ok()), "nobody pressed the button of {id}");
    }
}

fn drivers(
    folder: &std::path::Path,
    hypervisor: Arc<dyn Hypervisor>,
    volumes: Arc<dyn Volumes>,
    network: Arc<dyn Network>,
) -> Drivers {
    let contents =
        Contents::open(folder.join("contents"), Rules::default(), None, MasterKeys::default()).expect("opens");
    let exports = Exports::new(HostId::new("host").expect("a name"), None, folder);
    Drivers { hypervisor, volumes, network, contents, exports }
}

fn on(id: &str, run: u32) -> VmPlan {
    VmPlan { interfaces: Vec::new(), ..vm(id, Wish::On, run) }
}

fn off(id: &str, run: u32, force: bool) -> VmPlan {
    VmPlan { interfaces: Vec::new(), force, ..vm(id, Wish::Off, run) }
}

#[tokio::test(start_paused = true)]
async fn one_slow_guest_keeps_no_other_waiting() {
    let mut bench = Bench::new();
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    bench.plan(vec![off(A, 1, false), on(B, 1)]);
    bench.until_pressed(A).await;
    bench.until(&[(A, 1, Phase::Running), (B, 1, Phase::Running)]).await;
}

#[tokio::test(start_paused = true)]
async fn force_overtakes_patience() {
    let mut bench = Bench::new();
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    bench.plan(vec![off(A, 1, false)]);
    bench.until_pressed(A).await;
    bench.plan(vec![off(A, 1, true)]);
    bench.until(&[(A, 1, Phase::Exited)]).await;
    // It is over, so the next run may begin, although nobody ever answered the button.
    bench.plan(vec![on(A, 2)]);
    bench.until(&[(A, 2, Phase::Running)]).await;
}

#[tokio::test(start_paused = true)]
async fn without_its_networks_nothing_starts_but_everything_stops_and_is_reported() {
    let mut bench = Bench::new();
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    bench.network.broken.store(true, Ordering::SeqCst);
    bench.plan(vec![off(A, 1, true), on(B, 1)]);
    bench.until(&[(A, 1, Phase::Exited)]).await;
    bench.network.broken.store(false, Ordering::SeqCst);
    bench.until(&[(A, 1, Phase::Exited), (B, 1, Phase::Running)]).await;
    assert_eq!(bench.network.applied.lock().expect("whole").last(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn an_older_or_foreign_plan_changes_nothing() {
    let mut bench = Bench::new();
    bench.plan(vec![on(A, 1)]);
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    let empty = HostPlan { revision: 1, ..plan(Vec::new()) };
    for foreign in [empty.clone(), HostPlan { store: "other".into(), revision: 9, ..empty }] {
        bench.peer.plans.send_replace(Some(Arc::new(foreign)));
        // The next heartbeat says what there is, after the plan was looked at.
        tokio::time::sleep(HEARTBEAT * 2).await;
        bench.until(&[(A, 1, Phase::Running)]).await;
    }
    assert_eq!(bench.volumes.observe().await.expect("observes").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_no_plan_has_any_more_goes_with_its_disk() {
    let mut bench = Bench::new();
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    bench.plan(Vec::new());
    bench.until(&[]).await;
    let gone = tokio::time::timeout(PATIENCE, async {
        while !bench.volumes.observe().await.expect("observes").is_empty() {
            let _ = bench.peer.reports.changed().await;
        }
    });
    gone.await.expect("its volume goes too");
}

#[tokio::test(start_paused = true)]
async fn while_the_control_plane_is_away_the_last_plan_holds_in_the_next_life_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("follows");
    let mut bench = Bench::following(Some(path.clone()));
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    let mut next = Bench::following(Some(path));
    next.until(&[(A, 1, Phase::Running)]).await;
    assert_eq!(next.network.applied.lock().expect("whole").first(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_an_earlier_life_ends_nothing_that_it_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("follows");
    let mut bench = Bench::following(Some(path.clone()));
    bench.plan(vec![on(A, 1)]);
    bench.until(&[(A, 1, Phase::Running)]).await;
    let mut next = Bench::following(Some(path));
    // Made since then, by a plan that could not be remembered.
    let newer = VolumePlan::empty(vm(A, Wish::On, 1).home, "vol-0000000000000beef".parse().expect("an id"), 1);
    next.volumes.ensure(&newer).await.expect("makes");
    next.until(&[(A, 1, Phase::Running)]).await;
    let has =
        async |bench: &Bench| bench.volumes.observe().await.expect("lists").iter().any(|volume| volume.id == newer.id);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(has(&next).await, "it stays until a plan of now does without it");
    next.revision = 1;
    next.plan(vec![on(A, 1)]);
    let gone = async {
        while has(&next).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("goes");
}

#[tokio::test(start_paused = true)]
async fn the_first_plan_is_followed_as_soon_as_it_can_be_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("follows");
    // Nothing can be written where a folder is.
    let full = path.with_extension("new");
    std::fs::create_dir(&full).expect("makes");
    let mut bench = Bench::following(Some(path));
    bench.plan(vec![on(A, 1)]);
    tokio::time::sleep(HEARTBEAT * 3).await;
    bench.until(&[]).await;
    std::fs::remove_dir(&full).expect("removes");
    bench.until(&[(A, 1, Phase::Running)]).await;
}

#[tokio::test(start_paused = true)]
async fn traffic_is_told_every_few_minutes_and_when_a_machine_ends() {
    let mut bench = Bench::new();
    let mut network = vpc_plan();
    network.interfaces[0].instance = A.parse().expect("an id");
    let interface = network.interfaces[0].id.clone();
    let of = |wish: Wish, revision| {
        let vm = VmPlan { interfaces: vec![interface.clone()], force: true, ..vm(A, wish, 1) };
        let volume = VolumePlan::empty(vm.home.clone(), vm.disks[0].volume.clone(), 1);
        let mut plan = HostPlan { revision, volumes: vec![volume], ..plan(vec![vm]) };
        plan.network.vpcs.push(network.clone());
        Some(Arc::new(plan))
    };
    let told = |bench: &Bench| {
        let report = bench.peer.reports.borrow().clone().expect("a report");
        report.traffic.iter().map(|seen| seen.counters.bytes_in).collect::<Vec<_>>()
    };
    bench.network.bytes.store(1, Ordering::SeqCst);
    bench.peer.plans.send_replace(of(Wish::On, 1));
    bench.until(&[(A, 1, Phase::Running)]).await;
    bench.network.bytes.store(2, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(240)).await;
    assert_eq!(told(&bench), [1], "each word of it is recorded");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(told(&bench), [2]);
    bench.network.bytes.store(3, Ordering::SeqCst);
    bench.peer.plans.send_replace(of(Wish::Off, 2));
    bench.until(&[(A, 1, Phase::Exited)]).await;
    assert_eq!(told(&bench), [3], "soon the tap is gone");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_go_on_with_fewer_files_is_left_alone_for_a_while() {
    let folder = tempfile::tempdir().expect("a folder");
    let hypervisor = SimulatedHypervisor::new(Duration::from_millis(1));
    let drivers = drivers(folder.path(), hypervisor, SimulatedVolumes::new(), Arc::new(Fragile::default()));
    let (wake, volume): (Arc<Notify>, VolumeId) = (Arc::default(), "vol-00000000000000001".parse().expect("an id"));
    let steps = Steps::new(1, wake.clone());
    let shorten = || Effect::Shorten(A.parse().expect("an id"), volume.clone());
    steps.take(&drivers, shorten(), Err(anyhow::anyhow!("there is no such master key")));
    wake.notified().await;
    assert_eq!(steps.unshortened(), BTreeSet::from([volume.clone()]));
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(steps.unshortened(), BTreeSet::new());
    let disk = VolumePlan::empty(awan_model::Home::new("1", "r"), volume.clone(), 1);
    let planned = HostPlan { volumes: vec![disk], ..plan(Vec::new()) };
    steps.take(&drivers, shorten(), Parts::of(&planned).disk(&volume));
    wake.notified().await;
    assert_eq!(steps.unshortened(), BTreeSet::new());
}

#[tokio::test]
async fn what_the_key_does_not_open_is_not_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let hypervisor = SimulatedHypervisor::new(Duration::from_millis(1));
    let drivers = drivers(folder.path(), hypervisor, SimulatedVolumes::new(), Arc::new(Fragile::default()));
    let id = ImageId::made("ami-00000000000000001".into());
    for (closed, expected) in [(true, 1), (false, 4)] {
        let tries = AtomicU64::new(0);
        let open = |_| {
            tries.fetch_add(1, Ordering::Relaxed);
            let e = if closed { luks::Closed.into() } else { anyhow::anyhow!("it has gone") };
            Err::<(), _>(e.context("opening it"))
        };
        answers::opened(&drivers, &id, &awan_model::plan::SealedKeys::new(), open).expect_err("is refused");
        assert_eq!(tries.into_inner(), expected);
    }
}
