//! A deleted NAT gateway stays visible for an hour, as a terminated instance does.

use awan_model::nat::NatGateway;
use awan_state::{Db, Millis, System, Tx};

use super::VISIBLE_MS;
use crate::error::Result;
use crate::network;

/// Forgets those whose time is over.
pub fn gateways(db: &Db) -> Result<()> {
    // Looks first: there are seldom any.
    if db.read(System, |tx| over(tx).is_empty()) {
        return Ok(());
    }
    db.transact_blocking(System, "expire NAT gateways", |tx| {
        for gateway in over(tx) {
            tx.act_for_tenant(&gateway.home, |tx| network::remove::<NatGateway>(tx, &gateway.id));
        }
        Ok(())
    })
}

fn over(tx: &mut Tx<System>) -> Vec<std::sync::Arc<NatGateway>> {
    let now: Millis = tx.now();
    let mut all = tx.all::<NatGateway>();
    all.retain(|gateway| gateway.deleted.is_some_and(|at| now >= at + VISIBLE_MS));
    all
}
