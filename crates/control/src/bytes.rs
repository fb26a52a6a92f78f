//! What disks hold: which of it there is, and how it comes to be kept.

use std::sync::Arc;

use awan_model::id::{HostId, ImageId};
use awan_model::image::{Boot, Image};
use awan_model::import::{Content, Copied, Merging, Source, Taken};
use awan_model::snapshot::{Bytes, Phase, Snapshot};
use awan_model::volume::{GENERATION_MAX, Volume, VolumePlacement};
use awan_state::{Tenant, Tx};

use crate::error::{Code, Result, refuse};
use crate::{imports, keys, schedule};

/// A disk is read through so many files at most, until its host has merged some of them.
const LAYERS_MAX: usize = 128;

/// What a volume of a snapshot begins as. Refused where machines would find nothing of it on the volume.
pub fn of(snapshot: &Snapshot) -> Result<Option<ImageId>> {
    if snapshot.phase != Phase::Completed {
        let (id, phase) = (&snapshot.id, snapshot.phase.as_str());
        return Err(refuse(Code::IncorrectState, format!("The snapshot '{id}' is {phase}, not completed.")));
    }
    match &snapshot.bytes {
        Bytes::Image(id) => Ok(Some(id.clone())),
        Bytes::Nothing => Ok(None),
        Bytes::Own => {
            let message = format!(
                "The snapshot '{}' is a record: what its volume held was not kept, so no volume can be made of it.",
                snapshot.id
            );
            Err(refuse(Code::UnsupportedOperation, message))
        }
    }
}

/// How a machine begins whose root is this.
pub fn boot(tx: &mut Tx<Tenant>, bytes: &Bytes) -> Boot {
    let Bytes::Image(id) = bytes else { return Boot::Firmware };
    // Of what was imported there is no image, and firmware starts it.
    let image = tx.as_system(|tx| imports::bottom(tx, id).and_then(|id| tx.find_by::<Image>("image", id.as_str())));
    image.map_or(Boot::Firmware, |image| image.boot.clone())
}

/// The host that has all of them. What is no host's own came with Awan, and is on each.
pub fn lie_on<'b>(tx: &mut Tx<Tenant>, all: impl IntoIterator<Item = &'b ImageId>) -> Result<HostId> {
    let host = schedule::all_on(tx, all)?.or_else(|| schedule::roomiest(tx));
    host.ok_or_else(|| refuse(Code::InsufficientVolumeCapacity, "There is no host for it."))
}

/// What is to hold the same as a snapshot, encrypted. A host writes it, and has room for it from now on.
pub fn encrypted(tx: &mut Tx<Tenant>, source: &Snapshot, host: HostId) -> Result<Bytes> {
    let Some(of) = of(source)? else { return Ok(Bytes::Nothing) };
    if schedule::disk_gib_left(tx, &host) < u64::from(source.size_gib) {
        let message = "There is not enough room for an encrypted copy.";
        return Err(refuse(Code::InsufficientVolumeCapacity, message));
    }
    let (home, id) = (tx.home().clone(), ImageId::made(tx.new_id(ImageId::PREFIX)));
    let (key, bottom) = (keys::new(tx, &id)?, tx.as_system(|tx| imports::bottom(tx, &of)));
    let (size_gib, merging) = (source.size_gib, Merging::default());
    let source = Source::Copied(Copied { of, copied_gib: size_gib, key, bottom });
    tx.as_system(|tx| tx.put(Content { home, id: id.clone(), host, size_gib, bytes: None, merging, source }));
    Ok(Bytes::Image(id))
}

/// What snapshots of these volumes hold, all of one moment. The host of each keeps it as soon as it hears of it, and the
/// volume goes on as a child of it; of a volume that lies on no host yet it is what that is to begin as.
pub fn take(tx: &mut Tx<Tenant>, volumes: &[Arc<Volume>]) -> Result<Vec<(Bytes, Phase)>> {
    let mut set = None;
    volumes.iter().map(|volume| take_one(tx, volume, &mut set)).collect()
}

/// Whether a disk can be read through what is below these bytes, and one file more.
pub fn one_more_fits(tx: &mut Tx<Tenant>, below: &ImageId) -> Result<()> {
    if tx.as_system(|tx| imports::depth(tx, below)) < LAYERS_MAX {
        return Ok(());
    }
    Err(refuse(Code::SnapshotLimitExceeded, "As many snapshots follow one another as can."))
}

fn take_one(tx: &mut Tx<Tenant>, volume: &Volume, set: &mut Option<ImageId>) -> Result<(Bytes, Phase)> {
    let Some(place) = tx.find::<VolumePlacement>(&volume.id) else {
        return Ok((volume.image.clone().map_or(Bytes::Nothing, Bytes::Image), Phase::Completed));
    };
    let below = volume.image.clone();
    let depth = below.as_ref().map_or(0, |id| tx.as_system(|tx| imports::depth(tx, id)));
    if volume.generation >= GENERATION_MAX {
        let message = format!("The volume '{}' has as many snapshots as can follow one another.", volume.id);
        return Err(refuse(Code::SnapshotLimitExceeded, message));
    }
    if depth >= LAYERS_MAX {
        let message = format!(
            "The rate limit for creating snapshots of the volume '{}' has been exceeded: files of earlier ones are still \
             being merged. Wait before you make more.",
            volume.id
        );
        return Err(refuse(Code::SnapshotCreationPerVolumeRateExceeded, message));
    }
    if schedule::disk_gib_left(tx, &place.host) < u64::from(volume.size_gib) {
        let message = "There is not enough room to keep what the volume holds.";
        return Err(refuse(Code::InsufficientVolumeCapacity, message));
    }
    let (home, id) = (tx.home().clone(), ImageId::made(tx.new_id(ImageId::PREFIX)));
    let taken = Taken {
        volume: volume.id.clone(),
        below,
        generation: volume.generation + 1,
        set: set.get_or_insert_with(|| id.clone()).clone(),
        volume_gib: volume.size_gib,
        key: volume.key.clone(),
    };
    tx.put(Volume { image: Some(id.clone()), generation: taken.generation, ..volume.clone() });
    let (host, size_gib, source) = (place.host.clone(), volume.size_gib, Source::Taken(taken));
    let merging = Merging::default();
    tx.as_system(|tx| tx.put(Content { home, id: id.clone(), host, size_gib, bytes: None, merging, source }));
    Ok((Bytes::Image(id), Phase::Pending))
}
