//! The decisions: accept or refuse requests, place, reconcile, plan, meter.
//!
//! **Invariant:** nothing here touches a machine. What is to happen is committed as records; hosts do it.

// An action takes its request whole, so that every member is taken apart.
#[allow(clippy::needless_pass_by_value)]
#[rustfmt::skip]
pub mod actions;
pub mod audit;
pub mod auth;
pub mod bytes;
pub mod control;
pub mod describe;
mod disks;
pub mod dispatch;
pub mod ebs;
pub mod error;
mod exports;
pub mod hosts;
pub mod http;
pub mod identity;
mod imports;
mod interfaces;
mod journal;
mod kept;
mod keys;
pub mod live;
mod logs;
mod merging;
pub mod network;
pub mod operator;
pub mod parameter;
pub mod plan;
mod rbin;
pub mod reconcile;
mod recycle_bin;
pub mod schedule;
pub mod sharing;
pub mod tagging;
#[cfg(test)]
mod testing;
pub mod through;
pub mod token;
pub mod traffic;
pub mod turn;
pub mod why;

pub use control::{Control, Settings};
