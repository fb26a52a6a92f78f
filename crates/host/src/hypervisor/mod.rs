//! What runs guests.

mod picture;
pub mod probe;
pub mod qemu;
pub mod simulated;
#[cfg(test)]
pub(crate) mod testing;
