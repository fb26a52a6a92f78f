//! A disk as it should be: what was written, by clusters, and zero elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

pub const CLUSTER: u64 = 64 << 10;

pub type Cluster = [u8; CLUSTER as usize];

/// Copies share what neither has changed.
#[derive(Clone, Default)]
pub struct Memory {
    pub size: u64,
    written: BTreeMap<u64, Arc<Cluster>>,
}

impl Memory {
    pub fn of(size: u64) -> Self {
        Self { size, written: BTreeMap::new() }
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        for (n, inside, bytes) in parts(at, bytes) {
            let cluster = self.written.entry(n).or_insert_with(|| Arc::new([0; CLUSTER as usize]));
            Arc::make_mut(cluster)[inside..inside + bytes.len()].copy_from_slice(bytes);
        }
    }

    pub fn discard(&mut self, n: u64) {
        self.written.remove(&n);
    }

    /// So large; what is behind that is gone, and what comes is zero.
    pub fn sized(&self, size: u64) -> Self {
        let mut other = self.clone();
        other.written.split_off(&(size / CLUSTER));
        other.size = size;
        other
    }

    /// `None`: nothing but zeros.
    pub fn cluster(&self, n: u64) -> Option<&Cluster> {
        self.written.get(&n).map(|cluster| &**cluster)
    }

    pub fn written(&self) -> impl Iterator<Item = u64> {
        self.written.keys().copied()
    }
}

/// What of these bytes is in which cluster, and from where in it.
pub fn parts(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, usize, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = at + done as u64;
        let inside = usize::try_from(place % CLUSTER).expect("fits");
        let length = (bytes.len() - done).min(CLUSTER as usize - inside);
        let part = (place / CLUSTER, inside, &bytes[done..done + length]);
        done += length;
        (length > 0).then_some(part)
    })
}
