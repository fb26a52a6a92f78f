//! What lapses with time: the room of capacity reservations that ended; snapshots that nobody writes any more; what is in the
//! recycle bin; and the records of these, and of fleets that were deleted, some time later.

use std::sync::Arc;

use awan_model::capacity::{CapacityHold, CapacityReservation};
use awan_model::fleet::Fleet;
use awan_model::import::Content;
use awan_model::snapshot::{Bytes, Phase, Snapshot, Upload};
use awan_model::token::ClientToken;
use awan_state::{Millis, Record as _, System, Tx};

use crate::{network, recycle_bin, token};

const RESERVATIONS_VISIBLE_MS: Millis = super::VISIBLE_MS;
/// Source: "EC2 Fleet request states", EC2 User Guide.
const FLEETS_VISIBLE_MS: Millis = 48 * 60 * 60 * 1000;

/// Whether there is anything to do.
pub fn is_due(tx: &mut Tx<System>) -> bool {
    let now = tx.now();
    let ended = tx.all::<CapacityHold>().iter().any(|hold| hold.end.is_some_and(|end| end <= now));
    ended
        || !abandoned(tx, now).is_empty()
        || recycle_bin::is_due(tx, now)
        || tx.all::<CapacityReservation>().iter().any(|r| gone(r, now))
        || tx.all::<Fleet>().iter().any(|f| over(f, now))
}

fn gone(reservation: &CapacityReservation, now: Millis) -> bool {
    reservation.ended(now).is_some_and(|at| now >= at.saturating_add(RESERVATIONS_VISIBLE_MS))
}

/// Snapshots to which nothing was written for too long.
fn abandoned(tx: &mut Tx<System>, now: Millis) -> Vec<Arc<Snapshot>> {
    // Most of the time nobody writes any, and there may be many of the others.
    if tx.all::<Content>().iter().all(|content| content.source.written().is_none_or(|w| w.blocks.is_some())) {
        return Vec::new();
    }
    let mut all = tx.all::<Snapshot>();
    let ends = |upload: &Upload| !upload.sealed && now >= upload.ends();
    all.retain(|snapshot| snapshot.phase == Phase::Pending && snapshot.upload.as_ref().is_some_and(ends));
    all
}

fn over(fleet: &Fleet, now: Millis) -> bool {
    fleet.deleted.is_some_and(|at| now >= at.saturating_add(FLEETS_VISIBLE_MS))
}

pub fn lapse(tx: &mut Tx<System>) {
    let now = tx.now();
    for snapshot in abandoned(tx, now) {
        // What was written of it goes with what names it.
        let failed = Snapshot { phase: Phase::Error, bytes: Bytes::Nothing, ..(*snapshot).clone() };
        tx.act_for_tenant(&snapshot.home, |tx| tx.put(failed));
    }
    recycle_bin::empty(tx);
    for hold in tx.all::<CapacityHold>().iter().filter(|hold| hold.end.is_some_and(|end| end <= now)) {
        tx.remove(&hold.at());
    }
    for reservation in tx.all::<CapacityReservation>().iter().filter(|r| gone(r, now)) {
        tx.act_for_tenant(&reservation.home, |tx| {
            if let Some(token) = &reservation.token {
                tx.remove::<ClientToken>(token);
            }
            network::remove::<CapacityReservation>(tx, &reservation.id);
        });
    }
    for fleet in tx.all::<Fleet>().iter().filter(|f| over(f, now)) {
        tx.act_for_tenant(&fleet.home, |tx| {
            if let Some(text) = &fleet.client_token {
                tx.remove::<ClientToken>(&token::id("CreateFleet", text));
            }
            network::remove::<Fleet>(tx, &fleet.id);
        });
    }
}
