//! Questions to hosts on behalf of tenants. Nothing is written because of the answer.

use std::time::Duration;

use awan_model::host::HostRecord;
use awan_model::id::{HostId, ImageId};
use awan_model::instance::{Instance, Placement};
use awan_model::log_group::{Events, LogGroup, StreamSeen, Streams, Wanted, merged};
use awan_model::report::{Answer, Ask, BLOCK, BlocksSeen, Octets};
use awan_state::{Home, System};
use tokio::task::JoinSet;

use crate::dispatch::Live;
use crate::error::{Code, Error, Result, refuse};

const HEARD_WITHIN: Duration = Duration::from_secs(8);
const HEARD_AGAIN: Duration = Duration::from_millis(20);

/// The newest part of the serial console; empty where the instance has no place and nothing was kept.
pub async fn console(cx: &Live, instance: &Instance) -> Result<Vec<u8>> {
    let place = cx.control.db.read(cx.tenant.clone(), |tx| tx.find::<Placement>(&instance.id));
    let host = match place {
        Some(place) => Some(place.host.clone()),
        // A stopped instance's console lies where its disk does.
        None => cx.control.db.read(cx.tenant.clone(), |tx| {
            tx.find::<awan_model::volume::VolumePlacement>(&instance.root_volume).map(|p| p.host.clone())
        }),
    };
    let Some(host) = host else { return Ok(Vec::new()) };
    match cx.control.hosts.ask(&host, Ask::Console { instance: instance.id.clone() }).await? {
        Answer::Console { output } => Ok(output),
        other => Err(another(other)),
    }
}

/// Sends a running instance a non-maskable interrupt.
pub async fn interrupt(cx: &Live, instance: &Instance) -> Result<()> {
    let place = cx.control.db.read(cx.tenant.clone(), |tx| tx.find::<Placement>(&instance.id));
    let host = place.map(|p| p.host.clone()).ok_or_else(|| Error::fault("a running instance has no place"))?;
    match cx.control.hosts.ask(&host, Ask::Interrupt { instance: instance.id.clone() }).await? {
        Answer::Done => Ok(()),
        other => Err(another(other)),
    }
}

/// What a running instance shows; `None`: its machine has no display.
pub async fn screenshot(cx: &Live, instance: &Instance, wake: bool) -> Result<Option<Vec<u8>>> {
    let place = cx.control.db.read(cx.tenant.clone(), |tx| tx.find::<Placement>(&instance.id));
    let host = place.map(|p| p.host.clone()).ok_or_else(|| Error::fault("a running instance has no place"))?;
    match cx.control.hosts.ask(&host, Ask::Screenshot { instance: instance.id.clone(), wake }).await? {
        Answer::Screenshot { jpeg } => Ok(Some(jpeg)),
        Answer::NoDisplay => Ok(None),
        other => Err(another(other)),
    }
}

/// The first of the events of a group that are wanted, wherever they lie.
pub async fn events(cx: &Live, group: &LogGroup, wanted: Wanted) -> Result<Events> {
    let (newest_first, limit) = (wanted.newest_first, wanted.limit);
    let ask = Ask::LogEvents { home: group.home.clone(), group: group.events.clone(), wanted };
    let take = |answer| if let Answer::LogEvents(events) = answer { Ok(events) } else { Err(another(answer)) };
    Ok(merged(of_all_hosts(cx, ask, take).await?, newest_first, limit))
}

/// The streams of a group, by their names.
pub async fn streams(cx: &Live, group: &LogGroup, streams: Streams) -> Result<Vec<StreamSeen>> {
    let ask = Ask::LogStreams { home: group.home.clone(), group: group.events.clone(), streams };
    let take = |answer| if let Answer::LogStreams(streams) = answer { Ok(streams) } else { Err(another(answer)) };
    let mut all: Vec<StreamSeen> = Vec::new();
    for seen in of_all_hosts(cx, ask, take).await?.into_iter().flatten() {
        match all.binary_search_by(|known| known.name.cmp(&seen.name)) {
            Ok(at) => all[at].join(&seen),
            Err(at) => all.insert(at, seen),
        }
    }
    Ok(all)
}

/// Any host of the region may have had an interface of the group's. One that is away may know of more than the others,
/// so that without it there is no answer.
async fn of_all_hosts<T>(cx: &Live, ask: Ask, take: fn(Answer) -> Result<T>) -> Result<Vec<T>> {
    let hosts = cx.control.db.read(System, |tx| tx.all_in::<HostRecord>(&Home::installation()));
    let region = cx.tenant.home.region();
    let mut asked = JoinSet::new();
    for host in hosts.into_iter().filter(|host| host.region == "*" || host.region == region) {
        let (control, ask) = (cx.control.clone(), ask.clone());
        asked.spawn(async move { (host.id.clone(), control.hosts.ask(&host.id, ask).await) });
    }
    let mut all = Vec::new();
    while let Some(told) = asked.join_next().await {
        let (host, answer) = told.map_err(Error::fault)?;
        all.push(answer.and_then(take).map_err(|e| {
            tracing::warn!(request_id = cx.request_id, host = %host, error = %e, "a host tells nothing of flow logs");
            let message = "A host that may have some of what was asked for does not answer. Please try again later.";
            refuse(Code::ServiceUnavailableException, message)
        })?);
    }
    Ok(all)
}

/// Which blocks of what lies on a host hold something; with `since`, which may differ from what that holds.
pub async fn blocks(
    cx: &Live,
    host: &HostId,
    (of, since): (&ImageId, Option<&ImageId>),
    from: u32,
    most: usize,
) -> Result<BlocksSeen> {
    let ask = Ask::Blocks { of: of.clone(), since: since.cloned(), from, most };
    match cx.control.hosts.ask(host, ask).await? {
        Answer::Blocks(seen) => Ok(seen),
        other => Err(another(other)),
    }
}

pub async fn block(cx: &Live, host: &HostId, of: &ImageId, index: u32) -> Result<Vec<u8>> {
    match cx.control.hosts.ask(host, Ask::Block { of: of.clone(), index }).await? {
        Answer::Block { bytes } if bytes.0.len() == BLOCK => Ok(bytes.0),
        other => Err(another(other)),
    }
}

/// Whether an account has a bucket on a host.
pub async fn has_bucket(cx: &Live, host: &HostId, name: &str) -> Result<bool> {
    let ask = Ask::Bucket { home: cx.tenant.home.clone(), name: name.to_owned() };
    match cx.control.hosts.ask(host, ask).await? {
        Answer::Done => Ok(true),
        Answer::NoBucket => Ok(false),
        other => Err(another(other)),
    }
}

/// A host may hear of what it is to have a moment later than whoever asked for it.
async fn ask_soon(cx: &Live, host: &HostId, ask: Ask) -> Result<Answer> {
    let began = tokio::time::Instant::now();
    loop {
        match cx.control.hosts.ask(host, ask.clone()).await? {
            Answer::NotYet if began.elapsed() < HEARD_WITHIN => tokio::time::sleep(HEARD_AGAIN).await,
            answer => return Ok(answer),
        }
    }
}

/// Returns once the host has a block for good.
pub async fn put_block(
    cx: &Live,
    host: &HostId,
    of: &ImageId,
    index: u32,
    bytes: Vec<u8>,
    sha256: [u8; 32],
) -> Result<()> {
    let ask = Ask::PutBlock { of: of.clone(), index, bytes: Octets(bytes), sha256 };
    let mut answer = cx.control.hosts.ask(host, ask.clone()).await?;
    if answer == Answer::NotYet {
        // The block itself is not sent again and again.
        ask_soon(cx, host, Ask::Written { of: of.clone() }).await?;
        answer = cx.control.hosts.ask(host, ask).await?;
    }
    match answer {
        Answer::Done => Ok(()),
        other => Err(another(other)),
    }
}

/// How many blocks were put, and the SHA-256 of theirs.
pub async fn written(cx: &Live, host: &HostId, of: &ImageId) -> Result<(u64, [u8; 32])> {
    match ask_soon(cx, host, Ask::Written { of: of.clone() }).await? {
        Answer::Written { blocks, sha256 } => Ok((blocks, sha256)),
        other => Err(another(other)),
    }
}

fn another(answer: Answer) -> Error {
    match answer {
        Answer::Refused { why } => Error::fault(why),
        Answer::NoRoom => {
            refuse(Code::InsufficientVolumeCapacity, "The host of the snapshot takes no more: there is no room.")
        }
        Answer::Console { .. }
        | Answer::Screenshot { .. }
        | Answer::NoDisplay
        | Answer::Inventory(_)
        | Answer::Traffic(_)
        | Answer::LogEvents(_)
        | Answer::LogStreams(_)
        | Answer::Blocks(_)
        | Answer::Block { .. }
        | Answer::Written { .. }
        | Answer::NotYet
        | Answer::NoBucket
        | Answer::Done => Error::fault("a host answered another question"),
    }
}
