//! Where volumes lie.

pub mod chain;
pub(crate) mod files;
pub mod luks;
mod offline;
pub mod qcow2;
pub mod simulated;

#[cfg(test)]
mod course;
