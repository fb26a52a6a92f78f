//! A whole cloud in one thread with one seed: requests, turns of the control plane, hosts with faults, lost and late
//! words, conflicts at commits. What must always hold is checked after each step; what must hold in the end, in the end.
//!
//! **Invariant:** a seed gives the same run each time.

mod faults;
mod host;
mod workload;
pub mod world;

pub use faults::Plant;
pub use world::run;
