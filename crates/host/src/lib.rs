//! The effects: make one machine equal to its plan and say what it sees.
//!
//! **Invariant:** nothing here decides. Only drivers change the machine.

pub mod driver;
pub mod network;
