//! The blocks of what volumes begin as, in the size that EBS's direct API reads them: which there are, which may differ
//! from those of another, and what is in them.
//!
//! **Invariant:** a block that differs is never left out. Of those that hold something, one that holds nothing but zeros may
//! be shown; of changes none that is the same.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use awan_model::report::{BLOCK, BlockSeen, BlocksSeen};

use crate::import::disk::PIECE;
use crate::volume::chain::{Chain, Keyed};

const SIZE: u64 = BLOCK as u64;
/// Then what was found is told, and who wants more asks for it.
const LOOKED_FOR: Duration = Duration::from_secs(3);

fn index(at: u64) -> Result<u32> {
    u32::try_from(at / SIZE).context("no disk is so large")
}

/// What lies under a name, open: whatever becomes of the names of its files, it can be read.
pub struct Opened {
    /// The nearest first.
    files: Vec<Keyed>,
    /// `None`: it holds nothing.
    chain: Option<Chain>,
    /// So many of its nearest files are looked at.
    depth: usize,
}

impl Opened {
    pub fn open(files: Vec<Keyed>) -> Result<Self> {
        let chain = if files.is_empty() { None } else { Some(Chain::open(&files)?) };
        Ok(Self { depth: files.len(), files, chain })
    }

    fn size(&self) -> u64 {
        self.chain.as_ref().map_or(u64::MAX, Chain::size)
    }

    fn sizes(&self) -> Vec<u64> {
        self.chain.as_ref().map(|chain| chain.sizes().collect()).unwrap_or_default()
    }

    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        let Some(chain) = self.chain.as_mut().filter(|_| self.depth > 0) else { return Ok(None) };
        Ok(chain.next(from, self.depth)?.map(|holder| holder.at.max(from)))
    }

    fn holds(&mut self, index: u32) -> Result<bool> {
        let Some(chain) = &mut self.chain else { return Ok(false) };
        for piece in 0..SIZE / PIECE as u64 {
            let at = u64::from(index) * SIZE + piece * PIECE as u64;
            if at < chain.size() && chain.holder(at)?.is_some_and(|holder| !holder.zeros) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is in a block.
    pub fn read(&mut self, index: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; BLOCK];
        let Some(chain) = &mut self.chain else { return Ok(bytes) };
        let (at, mut piece) = (u64::from(index) * SIZE, Box::new([0; PIECE]));
        ensure!(at < chain.size(), "the disk has no block {index}");
        for (n, out) in bytes.chunks_exact_mut(PIECE).enumerate() {
            if chain.read(at + (n * PIECE) as u64, &mut piece)? {
                out.copy_from_slice(&*piece);
            }
        }
        Ok(bytes)
    }

    /// The blocks that hold something, from one on.
    pub fn held(&mut self, from: u32, most: usize) -> Result<BlocksSeen> {
        let (mut seen, began) = (BlocksSeen::default(), Instant::now());
        let Some(chain) = &mut self.chain else { return Ok(seen) };
        let mut at = u64::from(from) * SIZE;
        while let Some(holder) = chain.next(at, self.depth)? {
            let index = index(holder.at)?;
            let late = began.elapsed() > LOOKED_FOR && holder.at.is_multiple_of(SIZE);
            if late || (seen.blocks.len() >= most && !holder.zeros) {
                seen.next = Some(index);
                break;
            }
            if holder.zeros {
                at = holder.at + PIECE as u64;
                continue;
            }
            seen.blocks.push(BlockSeen { index, before: false });
            at = (u64::from(index) + 1) * SIZE;
        }
        Ok(seen)
    }

    /// The blocks that may differ from those of an earlier one.
    pub fn changed(&mut self, since: &mut Self, from: u32, most: usize) -> Result<BlocksSeen> {
        self.look_above(since);
        let (mut at, mut seen, began) = (u64::from(from) * SIZE, BlocksSeen::default(), Instant::now());
        loop {
            let next = [since.next(at)?, self.next(at)?].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next < self.size()) else { return Ok(seen) };
            let index = index(next)?;
            if seen.blocks.len() >= most || began.elapsed() > LOOKED_FOR {
                seen.next = Some(index);
                return Ok(seen);
            }
            // Files that were merged say more than what was written since.
            if !self.is_like(since, index)? {
                seen.blocks.push(BlockSeen { index, before: since.holds(index)? });
            }
            at = (u64::from(index) + 1) * SIZE;
        }
    }

    fn is_like(&mut self, other: &mut Self, index: u32) -> Result<bool> {
        let (mut own, mut others) = (Box::new([0; PIECE]), Box::new([0; PIECE]));
        for piece in 0..SIZE / PIECE as u64 {
            let at = u64::from(index) * SIZE + piece * PIECE as u64;
            self.piece(at, &mut own)?;
            other.piece(at, &mut others)?;
            if own != others {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Behind its end it is zero.
    fn piece(&mut self, at: u64, out: &mut [u8; PIECE]) -> Result<()> {
        out.fill(0);
        if let Some(chain) = self.chain.as_mut().filter(|chain| at < chain.size()) {
            chain.read(at, out)?;
        }
        Ok(())
    }

    /// What lies below both is the same in both, unless one of those above ends before it does.
    fn look_above(&mut self, since: &mut Self) {
        let pairs = since.files.iter().rev().zip(self.files.iter().rev());
        let common = pairs.take_while(|(a, b)| a.0 == b.0).count();
        let (own, before) = (self.sizes(), since.sizes());
        let (above, above_before) = (own.len() - common, before.len() - common);
        let Some(end) = own.get(above) else { return };
        if own[..above].iter().chain(&before[..above_before]).all(|one| one >= end) {
            (self.depth, since.depth) = (above, above_before);
        }
    }
}

#[cfg(test)]
mod tests;
