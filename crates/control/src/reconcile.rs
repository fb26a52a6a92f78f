//! What follows from reports without anyone asking: places are given back, what was to go with an instance goes.
//!
//! **Invariants.** A reconciler reads, decides and writes; it has no other input, no effect, and never retries by
//! itself. Running it again changes nothing.

mod expire;
mod release;
mod settle;
mod terminate;

use awan_model::instance::Instance;
use awan_state::{Millis, Ref, System, Tx};

pub use expire::VISIBLE_MS;

use crate::error::Result;

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
    Ok(expire::expire(tx, at))
}
