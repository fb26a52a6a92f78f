//! The run of a seed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use awan_control::operator::{self, Builtin};
use awan_control::{Control, Settings, audit, plan, reconcile, turn};
use awan_model::host::Capacity;
use awan_model::id::{HostId, InstanceId};
use awan_model::image::Boot;
use awan_model::instance::{Exit, Instance, Placement, State, VmReport, state};
use awan_model::interface::NetworkInterface;
use awan_model::plan::HostPlan;
use awan_model::report::Report;
use awan_model::token::ClientToken;
use awan_state::{Clock, Entropy, Millis, Mode, Record as _, Ref, Revision, Store as _, System};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::{Contested, Plant};
use crate::host::SimHost;
use crate::workload::Told;

pub const REGION: &str = "us-east-1";
const HOSTS: usize = 3;
/// Rounds without faults after which everything must have come to rest.
const CALM_ROUNDS: usize = 40;

struct VirtualClock(AtomicU64);

impl Clock for VirtualClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

pub struct World {
    pub control: Arc<Control>,
    store: Contested,
    clock: Arc<VirtualClock>,
    pub runtime: tokio::runtime::Runtime,
    dice: StdRng,
    hosts: Vec<SimHost>,
    pub accounts: Vec<String>,
    pub image: String,
    /// Reports and plans that are still on their way.
    late: Vec<Report>,
    late_plans: Vec<(usize, HostPlan)>,
    pub plant: Plant,
    /// What tenants were told.
    pub told: Told,
    /// The records of this revision were checked.
    audited: Option<Revision>,
}

/// Runs a seed for so many steps, then lets the world come to rest. Answers with a hash of all that the store holds then;
/// the error says what did not hold, and when.
pub fn run(seed: u64, steps: usize, plant: Plant) -> Result<u64, String> {
    let mut world = World::new(seed, plant)?;
    for step in 0..steps {
        let done = world.step();
        world.check().map_err(|wrong| format!("seed {seed}, step {step} ({done}): {wrong}"))?;
    }
    world.calm().map_err(|wrong| format!("seed {seed}, at rest: {wrong}"))?;
    world.fingerprint()
}

impl World {
    fn new(seed: u64, plant: Plant) -> Result<Self, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let clock = Arc::new(VirtualClock(AtomicU64::new(1_795_521_600_000)));
        let store = Contested::new(seed, plant);
        let control = Control::open(Box::new(store.clone()), Mode::Inline, clock.clone(), Entropy::seeded(seed));
        let control = control.map_err(|e| text(&e))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| text(&e))?;
        let public_pool = "198.18.0.0/16".parse().map_err(|_| "the pool")?;
        let ipv6_pool = "2001:db8:a00::/40".parse().ok();
        let settings = Settings {
            regions: vec![REGION.into()],
            zones_per_region: 2,
            public_pool,
            ipv6_pool,
            master_keys: Vec::new(),
        };
        let image = Builtin {
            name: "awan-tiny-sim".into(),
            description: String::new(),
            digest: "0123456789abcdef0123456789abcdef".into(),
            size_gib: 1,
            boot: Boot::Firmware,
        };
        let (accounts, image) = runtime.block_on(async {
            operator::install(&control.db, &settings).await.map_err(|e| text(&e))?;
            let image = operator::register_builtin(&control.db, &image).await.map_err(|e| text(&e))?;
            let mut accounts = Vec::new();
            for name in ["a", "b"] {
                let made = operator::create_account(&control.db, name, None, "sim").await.map_err(|e| text(&e))?;
                accounts.push(made.account_id);
            }
            Ok::<_, String>((accounts, image.to_string()))
        })?;
        let capacity = Capacity { vcpus: 8, memory_mib: 4096, disk_gib: 100 };
        let host = |n: usize| HostId::new(&format!("host-{n}")).map(|id| SimHost::new(id, capacity, plant));
        let hosts = (0..HOSTS).filter_map(host).collect();
        let dice = StdRng::seed_from_u64(seed);
        let (late, late_plans, told, audited) = (Vec::new(), Vec::new(), Told::default(), None);
        Ok(Self {
            control,
            store,
            clock,
            runtime,
            dice,
            hosts,
            accounts,
            image,
            late,
            late_plans,
            plant,
            told,
            audited,
        })
    }

    fn fingerprint(&self) -> Result<u64, String> {
        let all = self.store.range("", None, usize::MAX - 1).map_err(|e| e.to_string())?;
        let mut hash = DefaultHasher::new();
        for row in all.rows {
            (&*row.key, &row.value, row.revision, &*row.cause).hash(&mut hash);
        }
        Ok(hash.finish())
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.dice.random_range(0..sides.max(1))
    }

    fn step(&mut self) -> &'static str {
        match self.roll(100) {
            0..20 => self.request(),
            20..34 => self.turn(),
            34..46 => self.deliver_plan(),
            46..48 => self.late_plan(),
            48..66 => self.host_step(),
            66..74 => self.boot(),
            74..87 => self.report(),
            87..91 => self.late_report(),
            91..94 => self.guest_ends(),
            94..96 => self.power(),
            96 => self.crash(),
            97 => self.place_freed_early(),
            98 => self.stranger(),
            _ => self.time(),
        }
    }

    pub fn instances(&self) -> Vec<Arc<Instance>> {
        self.control.db.read(System, awan_state::Tx::all)
    }

    fn turn(&mut self) -> &'static str {
        let keys = self.instances().iter().map(|i| (i.home.to_string(), i.id.to_string())).collect();
        let _ = turn::reconcile_all(&self.control.db, &keys);
        "turn"
    }

    fn deliver_plan(&mut self) -> &'static str {
        let n = self.roll(HOSTS);
        let revision = self.control.db.snapshot().revision();
        let mut plans = self.control.db.read(System, |tx| plan::all(tx, revision));
        if let Some(plan) = plans.remove(&self.hosts[n].id) {
            if self.roll(8) == 0 {
                self.late_plans.push((n, plan));
            } else {
                self.hosts[n].take(plan);
            }
        }
        "plan"
    }

    fn late_plan(&mut self) -> &'static str {
        if !self.late_plans.is_empty() {
            let one = self.roll(self.late_plans.len());
            let (n, plan) = self.late_plans.swap_remove(one);
            self.hosts[n].take(plan);
        }
        "late plan"
    }

    /// The control plane dies, and starts again from what its store has.
    fn crash(&mut self) -> &'static str {
        self.store.crash();
        self.audited = None;
        let entropy = Entropy::seeded(self.dice.random());
        match Control::open(Box::new(self.store.clone()), Mode::Inline, self.clock.clone(), entropy) {
            Ok(control) => self.control = control,
            Err(e) => self.told.wrong(format!("the control plane does not start: {e}")),
        }
        "crash"
    }

    fn host_step(&mut self) -> &'static str {
        let (n, choice) = (self.roll(HOSTS), self.roll(1 << 16));
        self.hosts[n].step(|sides| choice % sides);
        "step"
    }

    fn some_vm(&mut self) -> Option<(usize, InstanceId)> {
        let n = self.roll(HOSTS);
        let ids: Vec<_> = self.hosts[n].alive().map(|vm| vm.id.clone()).collect();
        if ids.is_empty() {
            return None;
        }
        let id = ids[self.roll(ids.len())].clone();
        Some((n, id))
    }

    fn boot(&mut self) -> &'static str {
        if let Some((n, id)) = self.some_vm() {
            self.hosts[n].boot(&id);
        }
        "boot"
    }

    fn guest_ends(&mut self) -> &'static str {
        let exit = [Exit::Guest, Exit::Crashed("sim".into()), Exit::Failed("sim".into())][self.roll(3)].clone();
        if let Some((n, id)) = self.some_vm() {
            self.hosts[n].exit(&id, exit);
        }
        "guest ends"
    }

    fn power(&mut self) -> &'static str {
        let n = self.roll(HOSTS);
        self.hosts[n].lose_power();
        // Plans come over connections, and those end with the machine. A host that remembers neither its last plan nor
        // what it forgot on that plan's word could otherwise be told by an old one to start what is over.
        self.late_plans.retain(|(host, _)| *host != n);
        "power"
    }

    fn take_in(&mut self, report: Report) {
        let _ = self.runtime.block_on(self.control.hosts.report(&self.control.db, report));
    }

    fn report(&mut self) -> &'static str {
        let n = self.roll(HOSTS);
        let report = self.hosts[n].report();
        match self.roll(4) {
            0 => {}
            1 => self.late.push(report),
            _ => self.take_in(report),
        }
        "report"
    }

    fn late_report(&mut self) -> &'static str {
        if !self.late.is_empty() {
            let n = self.roll(self.late.len());
            let report = self.late.swap_remove(n);
            self.take_in(report);
        }
        "late report"
    }

    fn place_freed_early(&mut self) -> &'static str {
        if self.plant == Plant::MovesPlaces {
            let _ = self.control.db.transact_blocking(System, "plant", |tx| {
                if let Some(place) = tx.all::<Placement>().first() {
                    let other = HostId::new(&format!("host-{}", self.hosts.len() - 1));
                    tx.put(Placement { host: other.unwrap_or_else(|| place.host.clone()), ..(**place).clone() });
                }
                Ok::<_, awan_control::error::Error>(())
            });
        }
        if self.plant == Plant::ForgetsTokens {
            let _ = self.control.db.transact_blocking(System, "plant", |tx| {
                for token in tx.all::<ClientToken>() {
                    tx.act_for_tenant(&token.home, |tx| tx.remove::<ClientToken>(&token.id));
                }
                Ok::<_, awan_control::error::Error>(())
            });
        }
        if self.plant == Plant::FreesEarly {
            let _ = self.control.db.transact_blocking(System, "plant", |tx| {
                if let Some(place) = tx.all::<Placement>().first() {
                    tx.remove(&place.at());
                }
                Ok::<_, awan_control::error::Error>(())
            });
        }
        "-"
    }

    fn stranger(&mut self) -> &'static str {
        if self.plant == Plant::RunsStrangers {
            let vm = self.hosts[0].alive().next().cloned();
            if let Some(vm) = vm {
                self.hosts[1].vms.insert(vm.id.clone(), vm);
            }
        }
        "-"
    }

    fn time(&mut self) -> &'static str {
        let step = [10, 1_000, 60_000, reconcile_visible()][self.roll(4)];
        self.clock.0.fetch_add(step, Ordering::Relaxed);
        "time"
    }

    /// What must hold after each step.
    fn check(&mut self) -> Result<(), String> {
        self.told.mistake()?;
        let revision = self.control.db.snapshot().revision();
        // A step that changed no record leaves them as they were found to be.
        if self.audited != Some(revision) {
            self.told.check(&self.control)?;
            let wrong = self.control.db.read(System, audit::always);
            if let Some(first) = wrong.first() {
                return Err(first.clone());
            }
            self.audited = Some(revision);
        }
        let mut alive: BTreeMap<&InstanceId, usize> = BTreeMap::new();
        for vm in self.hosts.iter().flat_map(SimHost::alive) {
            *alive.entry(&vm.id).or_default() += 1;
        }
        if let Some((id, _)) = alive.iter().find(|(_, n)| **n > 1) {
            return Err(format!("{id} is alive twice"));
        }
        self.told(&alive)?;
        self.interfaces()
    }

    /// What a machine has, no other may be given: its instance holds it.
    fn interfaces(&self) -> Result<(), String> {
        let held = self.control.db.read(System, |tx| {
            let all = tx.all::<NetworkInterface>();
            all.iter().filter_map(|eni| Some((eni.mac, eni.attachment.as_ref()?.instance.clone()))).collect::<Vec<_>>()
        });
        let held: BTreeMap<_, _> = held.into_iter().collect();
        for vm in self.hosts.iter().flat_map(SimHost::alive) {
            let stray = vm.interfaces.iter().flatten().find(|seen| held.get(&seen.mac) != Some(&vm.id));
            if let Some(seen) = stray {
                return Err(format!("{} has the interface {}, which it does not hold", vm.id, seen.mac));
            }
        }
        Ok(())
    }

    /// Nothing lives that its tenant is told has stopped, and no host carries more than it can.
    fn told(&self, alive: &BTreeMap<&InstanceId, usize>) -> Result<(), String> {
        let states = self.control.db.read(System, |tx| {
            let all = tx.all::<Instance>();
            let of = |i: &Arc<Instance>, tx: &mut awan_state::Tx<System>| {
                state(i, tx.find_at(&Ref::<VmReport>::new(&i.home, &i.id)).as_deref())
            };
            all.iter().map(|i| (i.id.clone(), of(i, tx))).collect::<Vec<_>>()
        });
        for (id, now) in states {
            if matches!(now, State::Stopped | State::Terminated) && alive.contains_key(&id) {
                return Err(format!("{id} is told to be {now} and lives"));
            }
        }
        for host in &self.hosts {
            // t3.nano: 2 vCPU.
            let used = host.alive().count() * 2;
            if used > host.capacity.vcpus as usize {
                return Err(format!("{} carries {used} vCPU", host.id));
            }
        }
        Ok(())
    }

    /// No more faults: everything comes to rest, and then nothing differs.
    fn calm(&mut self) -> Result<(), String> {
        self.late.clear();
        self.late_plans.clear();
        for _ in 0..CALM_ROUNDS {
            self.turn();
            let revision = self.control.db.snapshot().revision();
            let plans = self.control.db.read(System, |tx| plan::all(tx, revision));
            for n in 0..HOSTS {
                if let Some(plan) = plans.get(&self.hosts[n].id) {
                    self.hosts[n].take(plan.clone());
                }
                for _ in 0..4 {
                    self.hosts[n].step(|_| 0);
                }
                let all: Vec<_> = self.hosts[n].vms.keys().cloned().collect();
                all.iter().for_each(|id| self.hosts[n].boot(id));
                let report = self.hosts[n].report();
                self.take_in(report);
            }
            self.check()?;
        }
        self.rested()
    }

    fn rested(&self) -> Result<(), String> {
        let revision = self.control.db.snapshot().revision();
        let (mut wrong, plans, running) =
            self.control.db.read(System, |tx| (audit::records(tx), plan::all(tx, revision), audit::running(tx)));
        for host in &self.hosts {
            wrong.extend(audit::lost(&host.id, &running, &host.inventory()));
            if let Some(plan) = plans.get(&host.id) {
                wrong.extend(audit::inventory(&host.id, plan, &host.inventory()));
            }
        }
        wrong.extend(audit::meter(&self.control.db).map_err(|e| e.to_string())?);
        let moving = self.control.db.read(System, |tx| {
            let all = tx.all::<Instance>();
            let of = |i: &Arc<Instance>, tx: &mut awan_state::Tx<System>| {
                state(i, tx.find_at(&Ref::<VmReport>::new(&i.home, &i.id)).as_deref())
            };
            all.iter()
                .map(|i| (i.id.clone(), of(i, tx)))
                .filter(|(_, s)| matches!(s, State::Pending | State::Stopping | State::ShuttingDown))
                .collect::<Vec<_>>()
        });
        wrong.extend(moving.iter().map(|(id, now)| format!("{id} is still {now}")));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}

fn reconcile_visible() -> Millis {
    reconcile::VISIBLE_MS
}
