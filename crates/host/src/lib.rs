//! The effects: make one machine equal to its plan and say what it sees.
//!
//! **Invariant:** nothing here decides. Only drivers change the machine.

pub mod agent;
pub mod blocks;
pub mod driver;
pub mod effect;
pub mod export;
pub mod hypervisor;
pub mod import;
pub mod keys;
pub mod link;
pub mod network;
pub mod process;
pub mod service;
pub mod volume;
