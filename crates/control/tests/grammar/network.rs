//! Requests about network.

use super::{Recipe, Teller};

pub const RECIPES: &[Recipe] = &[];

pub const WET: &[&str] = &[];

pub fn story(_: &mut dyn Teller) {}
