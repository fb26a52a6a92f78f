//! How many things at once each guest may have a service do, so that none starves the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub struct Places(Arc<Shared>);

struct Shared {
    each: usize,
    all: usize,
    /// By guest; none has zero.
    taken: Mutex<BTreeMap<u128, usize>>,
}

/// Given back when dropped.
pub struct Place(Arc<Shared>, u128);

impl Places {
    pub fn new(each: usize, all: usize) -> Self {
        Self(Arc::new(Shared { each, all, taken: Mutex::default() }))
    }

    pub fn take(&self, guest: impl Into<u128>) -> Option<Place> {
        let guest = guest.into();
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&guest).copied().unwrap_or(0);
        if own >= self.0.each || taken.values().sum::<usize>() >= self.0.all {
            return None;
        }
        taken.insert(guest, own + 1);
        Some(Place(self.0.clone(), guest))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get(&self.1).copied() {
            Some(own) if own > 1 => drop(taken.insert(self.1, own - 1)),
            _ => drop(taken.remove(&self.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_takes_all_it_can_leaves_room_for_others() {
        let places = Places::new(2, 3);
        let (first, second) = (places.take(1_u32), places.take(1_u32));
        assert!(first.is_some() && second.is_some() && places.take(1_u32).is_none());
        let other = places.take(2_u32);
        assert!(other.is_some() && places.take(3_u32).is_none());
        drop(first);
        assert!(places.take(1_u32).is_some());
        drop((second, other));
        assert_eq!(places.0.taken.lock().expect("whole").len(), 0);
    }
}
