//! Whether guests answer: asked often until they do, then now and again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use awan_model::id::{InstanceId, InterfaceId};
use awan_model::instance::{Health, Phase};
use awan_model::plan::HostPlan;
use tokio::sync::{Notify, Semaphore};

use crate::driver::{Network, SeenVm};

const UNTIL_OK: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);
const FAILURES_UNTIL_IMPAIRED: u32 = 3;
/// Questions under way at once: each takes a thread while it waits.
const AT_ONCE: usize = 32;

pub struct HealthWatch {
    known: Mutex<HashMap<InstanceId, Seen>>,
    turns: Semaphore,
    /// Told when somebody's health changed.
    wake: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    run: u32,
    health: Health,
    failures: u32,
}

impl HealthWatch {
    pub fn new(wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), turns: Semaphore::new(AT_ONCE), wake })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<InstanceId, Seen>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, id: &InstanceId) -> Health {
        self.known().get(id).map(|seen| seen.health).unwrap_or_default()
    }

    /// Begins to ask machines that run now, and forgets those that no longer do.
    pub fn follow(self: &Arc<Self>, network: &Arc<dyn Network>, plan: &HostPlan, seen: &[SeenVm]) {
        let running: HashMap<&InstanceId, u32> =
            seen.iter().filter(|vm| vm.phase == Phase::Running).map(|vm| (&vm.id, vm.run)).collect();
        let mut known = self.known();
        known.retain(|id, of| running.get(id) == Some(&of.run));
        for vm in plan.vms.iter().filter(|vm| !known.contains_key(&vm.id)).collect::<Vec<_>>() {
            if let (Some(run), Some(interface)) = (running.get(&vm.id), vm.interfaces.first()) {
                known.insert(vm.id.clone(), Seen { run: *run, ..Seen::default() });
                tokio::spawn(self.clone().ask(network.clone(), vm.id.clone(), *run, interface.clone()));
            }
        }
    }

    async fn ask(self: Arc<Self>, network: Arc<dyn Network>, id: InstanceId, run: u32, interface: InterfaceId) {
        loop {
            let health = {
                let Ok(_turn) = self.turns.acquire().await else { return };
                network.health(&interface).await
            };
            let Some(pause) = self.heard(&id, run, health) else { return };
            tokio::time::sleep(pause).await;
        }
    }

    /// How long to wait before the next question; `None`: there is nobody to ask any more.
    fn heard(&self, id: &InstanceId, run: u32, health: Health) -> Option<Duration> {
        let mut known = self.known();
        let seen = known.get_mut(id).filter(|seen| seen.run == run)?;
        let before = seen.health;
        note(seen, health);
        if seen.health != before {
            self.wake.notify_one();
        }
        Some(if seen.health == Health::Ok { LATER } else { UNTIL_OK })
    }
}

/// Silence means nothing until a guest has answered once.
fn note(seen: &mut Seen, health: Health) {
    if health == Health::Ok {
        (seen.health, seen.failures) = (Health::Ok, 0);
    } else if seen.health != Health::Initializing {
        seen.failures += 1;
        if seen.failures >= FAILURES_UNTIL_IMPAIRED {
            seen.health = Health::Impaired;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_impaired_after_three_silences_and_ok_after_one_word() {
        let mut seen = Seen::default();
        let mut told = |health| {
            note(&mut seen, health);
            seen.health
        };
        assert_eq!(told(Health::Impaired), Health::Initializing);
        assert_eq!(told(Health::Ok), Health::Ok);
        assert_eq!(
            [told(Health::Impaired), told(Health::Impaired), told(Health::Impaired)],
            [Health::Ok, Health::Ok, Health::Impaired]
        );
        assert_eq!(told(Health::Ok), Health::Ok);
    }
}
