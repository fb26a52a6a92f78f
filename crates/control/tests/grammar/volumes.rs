//! Requests about volumes.

use super::{Recipe, Teller};

pub const RECIPES: &[Recipe] = &[];

pub const WET: &[&str] = &[];

pub fn story(_: &mut dyn Teller) {}
