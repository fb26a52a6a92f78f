//! A disk that lies in several qcow2 files, read by ourselves: a file, and what it is a child of.
//!
//! **Invariants.** What is read lies in the files that were given: what a header names is not looked at, and one whose
//! data would lie elsewhere is refused. A file that a machine wrote may be hostile: it fails, and is bounded like a disk
//! from elsewhere. Where a file ends, the disk is zero, whatever is below.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::import::disk::qcow2::{Qcow2, Says};
use crate::import::disk::{Disk, PIECE};
use crate::keys::Key;

/// As EC2's largest volume.
const SIZE_MAX: u64 = 64 << 40;

/// One of the files of a disk, and what opens it; `None`: it is not encrypted.
pub type Keyed = (PathBuf, Option<Key>);

pub struct Chain {
    layers: Vec<Layer>,
    /// In one cluster of each of the files lies all of this much of a piece.
    unit: usize,
}

struct Layer {
    file: Qcow2<File>,
    /// Between these two places it says nothing; at the second it may.
    silent: (u64, u64),
}

/// Who says something of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub at: u64,
    /// The nearest file that does; zero: the top.
    pub depth: usize,
    /// It says that there is nothing.
    pub zeros: bool,
}

impl Chain {
    /// The nearest first.
    pub fn open(files: &[Keyed]) -> Result<Self> {
        ensure!(!files.is_empty(), "a disk lies in a file");
        let open = |(path, key): &Keyed| {
            let opened = File::open(path).map_err(Into::into);
            let opened = opened.and_then(|file| Qcow2::layer(file, SIZE_MAX, key.as_ref()));
            opened.with_context(|| format!("opening {}", path.display()))
        };
        let files = files.iter().map(open).collect::<Result<Vec<_>>>()?;
        let least = files.iter().map(Qcow2::cluster).min().unwrap_or(PIECE as u64);
        let unit = usize::try_from(least)?.min(PIECE);
        let layers = files.into_iter().map(|file| Layer { file, silent: (0, 0) }).collect();
        Ok(Self { layers, unit })
    }

    /// How many files it lies in.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// How large the disk was to each of its files.
    pub fn sizes(&self) -> impl Iterator<Item = u64> {
        self.layers.iter().map(|layer| layer.file.size())
    }

    /// In bytes, as its guest sees it.
    pub fn size(&self) -> u64 {
        self.layers[0].file.size()
    }

    /// Where the first of so many of the nearest files ends: behind that, nothing of those below is seen.
    pub fn end(&self, depth: usize) -> u64 {
        self.layers.iter().take(depth).map(|layer| layer.file.size()).min().unwrap_or(0)
    }

    /// Fills a piece with what lies at a place that is a multiple of [`PIECE`]; behind the disk's end all is zero. False:
    /// it holds nothing but zeros, and the piece was left as it is.
    pub fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let (mut any, unit) = (false, self.unit);
        for from in (0..PIECE).step_by(unit) {
            let Some(Holder { depth, zeros: false, .. }) = self.of_unit(at + from as u64)? else {
                if any {
                    piece[from..from + unit].fill(0);
                }
                continue;
            };
            if !any {
                piece[..from].fill(0);
            }
            any = true;
            let out = &mut piece[from..from + unit];
            if !self.layers[depth].file.fill(at + from as u64, out)? {
                out.fill(0);
            }
            // None of those above may let through what lies behind its end.
            let there = self.end(depth + 1).saturating_sub(at + from as u64).min(unit as u64);
            out[usize::try_from(there)?..].fill(0);
        }
        Ok(any)
    }

    /// Who holds the piece at a multiple of [`PIECE`]; where clusters are smaller, the nearest who holds any of it. `None`:
    /// nobody, so it is zero.
    pub fn holder(&mut self, at: u64) -> Result<Option<Holder>> {
        let mut nearest: Option<Holder> = None;
        for from in (0..PIECE).step_by(self.unit) {
            let found = self.of_unit(at + from as u64)?;
            nearest = match (nearest, found) {
                (Some(a), Some(b)) if a.depth == b.depth => Some(Holder { zeros: a.zeros && b.zeros, ..a }),
                (Some(a), Some(b)) => Some(if a.depth < b.depth { a } else { b }),
                (a, b) => a.or(b),
            };
        }
        Ok(nearest.map(|holder| Holder { at, ..holder }))
    }

    fn of_unit(&mut self, at: u64) -> Result<Option<Holder>> {
        for (depth, layer) in self.layers.iter_mut().enumerate() {
            if at >= layer.file.size() {
                return Ok(None);
            }
            match layer.says(at)? {
                Says::Nothing => {}
                says => return Ok(Some(Holder { at, depth, zeros: says == Says::Zeros })),
            }
        }
        Ok(None)
    }

    /// The first piece, from a place on, that one of so many of the nearest files holds.
    pub fn next(&mut self, from: u64, depth: usize) -> Result<Option<Holder>> {
        let mut from = from - from % PIECE as u64;
        loop {
            let mut nearest = u64::MAX;
            for layer in self.layers.iter_mut().take(depth) {
                nearest = nearest.min(layer.next(from)?);
            }
            let at = nearest - nearest % PIECE as u64;
            if nearest == u64::MAX || at >= self.size() {
                return Ok(None);
            }
            // A nearer file may have ended before it.
            let at = at.max(from);
            if let Some(holder) = self.holder(at)?.filter(|holder| holder.depth < depth) {
                return Ok(Some(holder));
            }
            from = at + PIECE as u64;
        }
    }
}

impl Layer {
    fn is_silent(&self, at: u64) -> bool {
        (self.silent.0..self.silent.1).contains(&at)
    }

    fn says(&mut self, at: u64) -> Result<Says> {
        if self.is_silent(at) { Ok(Says::Nothing) } else { self.file.says(at) }
    }

    /// From where on it says something again; the largest number: nowhere.
    fn next(&mut self, from: u64) -> Result<u64> {
        if !self.is_silent(from) {
            self.silent = (from, self.file.next(from)?.unwrap_or(u64::MAX));
        }
        Ok(self.silent.1)
    }
}

impl Disk for Chain {
    fn size(&self) -> u64 {
        Chain::size(self)
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        Chain::read(self, at, piece)
    }

    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        Ok(Chain::next(self, from, usize::MAX)?.map(|holder| holder.at))
    }
}

#[cfg(test)]
pub mod tests;
