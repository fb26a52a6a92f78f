//! Where volumes lie.

mod files;
pub mod qcow2;
pub mod simulated;

#[cfg(test)]
mod course;
