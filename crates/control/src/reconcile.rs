//! What follows from reports without anyone asking: places are given back, what was to go with an instance goes.
//!
//! **Invariants.** A reconciler reads, decides and writes; it has no other input, no effect, and never retries by
//! itself. Running it again changes nothing.

mod disks;
mod expire;
mod exports;
mod gateway;
mod imports;
mod interfaces;
mod lapse;
mod release;
mod settle;
mod terminate;

use awan_model::instance::{Instance, Phase, VmReport};
use awan_state::{Millis, Ref, System, Tx};

pub use expire::VISIBLE_MS;
pub use exports::exports;
pub use gateway::gateways;
pub use imports::imports;
pub use lapse::{is_due, lapse};
pub use settle::ended;

use crate::error::Result;

/// Whether nothing follows from what is known about an instance.
pub fn is_settled(tx: &mut Tx<System>, at: &Ref<Instance>) -> bool {
    let report = tx.find_at(&Ref::<VmReport>::new(&at.home, &at.id));
    report.is_none_or(|r| r.phase != Phase::Exited)
        && disks::unsettled(tx, at).is_empty()
        && interfaces::unsettled(tx, at).is_empty()
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// When something that was read changes.
    OnChange,
    At(Millis),
}

/// Everything about one instance, in the order in which it follows.
pub fn instance(tx: &mut Tx<System>, at: &Ref<Instance>) -> Result<Next> {
    release::release(tx, at);
    settle::settle(tx, at);
    terminate::terminate(tx, at);
    disks::disks(tx, at);
    interfaces::interfaces(tx, at);
    Ok(expire::expire(tx, at))
}
