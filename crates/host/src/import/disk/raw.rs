//! Nothing but the bytes of a disk, whatever these look like.

use anyhow::Result;

use super::{Disk, File, PIECE, Source};

pub struct Raw<F>(Source<F>);

impl<F: File> Raw<F> {
    pub fn open(source: Source<F>) -> Result<Self> {
        Ok(Self(source))
    }
}

impl<F: File> Disk for Raw<F> {
    fn size(&self) -> u64 {
        self.0.length
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        self.0.some(at, piece)?;
        Ok(true)
    }
}
