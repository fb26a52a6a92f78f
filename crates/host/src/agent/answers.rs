//! Questions of the control plane, each answered by itself: none waits for a turn of the agent, and no turn for one.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use awan_model::id::ImageId;
use awan_model::instance::Phase;
use awan_model::plan::{ContentPlan, HostPlan, SealedKeys, sealed_keys};
use awan_model::report::{Answer, Ask, Inventory, Octets};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::Drivers;
use crate::blocks::Opened;
use crate::volume::chain::Keyed;
use crate::volume::luks::Closed;

/// Blocks that are read at once.
static READING: Semaphore = Semaphore::const_new(8);
/// Looks for buckets at once: a folder that hangs keeps no more threads.
static LOOKING: Semaphore = Semaphore::const_new(4);
/// Disks whose blocks are listed at once, which takes seconds: who wants a block waits for none of these.
static LISTING: Semaphore = Semaphore::const_new(4);
const OPENED_AGAIN: u32 = 3;

/// For as long as somebody may ask.
pub async fn answer(
    drivers: Drivers,
    plan: watch::Receiver<Option<Arc<HostPlan>>>,
    mut asks: mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>,
) {
    while let Some((ask, mut answer)) = asks.recv().await {
        let (drivers, plan) = (drivers.clone(), plan.borrow().clone());
        tokio::spawn(async move {
            let given = tokio::select! {
                given = given(&drivers, plan.as_deref(), ask) => given,
                // What nobody waits for any more keeps nobody waiting, and changes nothing later.
                () = answer.closed() => return,
            };
            let _ = answer.send(given.unwrap_or_else(|e| refused(&e)));
        });
    }
}

fn refused(e: &anyhow::Error) -> Answer {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let kinds = e.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kinds.into_iter().find(|kind| [QuotaExceeded, StorageFull].contains(kind)) {
        Some(_) => Answer::NoRoom,
        None => Answer::Refused { why: format!("{e:#}") },
    }
}

fn open(drivers: &Drivers, id: &ImageId, sealed: &SealedKeys) -> Result<Opened> {
    opened(drivers, id, sealed, Opened::open)
}

/// Files that have become part of another may go before they are open; then that is to be opened. What the key does not open
/// stays so, and to find that takes time.
pub fn opened<T>(
    drivers: &Drivers,
    id: &ImageId,
    sealed: &SealedKeys,
    open: impl Fn(Vec<Keyed>) -> Result<T>,
) -> Result<T> {
    let mut tries = 0;
    loop {
        let files = drivers.volumes.files(id, sealed);
        // Where volumes have no bytes, what tenants wrote has.
        let files = match files {
            Ok(files) if files.is_empty() => drivers.contents.files(id, sealed),
            files => files,
        };
        match files.and_then(&open) {
            Err(e) if tries < OPENED_AGAIN && !e.is::<Closed>() => tries += 1,
            opened => return opened,
        }
    }
}

/// Of what lies here, as the plan says it.
fn sealed(plan: Option<&HostPlan>) -> SealedKeys {
    plan.map(|plan| sealed_keys(&plan.contents)).unwrap_or_default()
}

async fn reading<T: Send + 'static>(turns: &Semaphore, read: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let _turn = turns.acquire().await?;
    tokio::task::spawn_blocking(read).await.context("the reading ended early")?
}

async fn given(drivers: &Drivers, plan: Option<&HostPlan>, ask: Ask) -> Result<Answer> {
    match ask {
        Ask::Console { instance } => Ok(Answer::Console { output: drivers.hypervisor.console(&instance).await? }),
        Ask::Screenshot { instance, wake } => {
            let shown = drivers.hypervisor.screenshot(&instance, wake).await?;
            Ok(shown.map_or(Answer::NoDisplay, |jpeg| Answer::Screenshot { jpeg }))
        }
        Ask::Interrupt { instance } => {
            drivers.hypervisor.interrupt(&instance).await?;
            Ok(Answer::Done)
        }
        Ask::Traffic => {
            let plan = plan.context("this host has no plan yet")?;
            Ok(Answer::Traffic(drivers.network.traffic(plan).await?))
        }
        Ask::LogEvents { home, group, wanted } => {
            let logs = drivers.network.flow_logs().context("this host writes no flow logs")?;
            Ok(Answer::LogEvents(logs.events(home, group, wanted).await?))
        }
        Ask::LogStreams { home, group, streams } => {
            let logs = drivers.network.flow_logs().context("this host writes no flow logs")?;
            Ok(Answer::LogStreams(logs.streams(home, group, streams).await?))
        }
        Ask::Blocks { of, since, from, most } => {
            for id in std::iter::once(&of).chain(&since) {
                drivers.volumes.bring(id).await?;
            }
            let (drivers, sealed) = (drivers.clone(), sealed(plan));
            let look = move || {
                let mut opened = open(&drivers, &of, &sealed)?;
                match since {
                    Some(since) => opened.changed(&mut open(&drivers, &since, &sealed)?, from, most),
                    None => opened.held(from, most),
                }
            };
            Ok(Answer::Blocks(reading(&LISTING, look).await?))
        }
        Ask::Block { of, index } => {
            drivers.volumes.bring(&of).await?;
            let (drivers, sealed) = (drivers.clone(), sealed(plan));
            let bytes = Octets(reading(&READING, move || open(&drivers, &of, &sealed)?.read(index)).await?);
            Ok(Answer::Block { bytes })
        }
        Ask::Bucket { home, name } => {
            let (exports, turn) = (drivers.exports.clone(), LOOKING.acquire().await?);
            let there = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                exports.has_bucket(&home, &name)
            });
            let there = there.await.context("the look for a bucket ended early")??;
            Ok(if there { Answer::Done } else { Answer::NoBucket })
        }
        Ask::PutBlock { of, index, bytes, sha256 } => {
            let put = drivers.contents.put(&of, index, bytes.0, sha256).await?;
            Ok(if put { Answer::Done } else { Answer::NotYet })
        }
        Ask::Written { of } => {
            let told = drivers.contents.put_so_far(&of).await?;
            Ok(told.map_or(Answer::NotYet, |(blocks, sha256)| Answer::Written { blocks, sha256 }))
        }
        Ask::Inventory => inventory(drivers, plan.context("this host has no plan yet")?).await.map(Answer::Inventory),
    }
}

async fn inventory(drivers: &Drivers, plan: &HostPlan) -> Result<Inventory> {
    let vms = drivers.hypervisor.observe().await?;
    let alive = vms.iter().filter(|vm| vm.phase != Phase::Exited);
    let processes = alive.clone().map(|vm| (vm.id.clone(), vm.run)).collect();
    let disks = alive.clone().flat_map(|vm| vm.disks.iter().map(|disk| (vm.id.clone(), disk.volume.clone())));
    let disks = disks.collect();
    let interfaces = alive.flat_map(|vm| vm.interfaces.iter().flatten().map(|seen| (vm.id.clone(), seen.mac)));
    let interfaces = interfaces.collect();
    let volumes = drivers.volumes.observe().await?.into_iter().map(|v| v.id).collect();
    let mut contents = drivers.contents.present()?;
    let kept = |c: &&ContentPlan| c.source.is_of_volumes() && drivers.volumes.kept(c).is_some();
    contents.extend(plan.contents.iter().filter(kept).map(|content| content.id.clone()));
    contents.sort();
    contents.dedup();
    let network = drivers.network.compare(plan).await?;
    let (missing, unexpected) = (network.missing, network.unexpected);
    let plan = plan.revision;
    Ok(Inventory { plan, processes, disks, interfaces, missing, unexpected, volumes, contents })
}
