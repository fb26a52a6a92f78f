//! Where volumes lie.

pub mod qcow2;
pub mod simulated;
