//! Disks as files that others read: written by ourselves, in the order in which they are read, and sparse where they hold
//! nothing.
//!
//! **Invariant:** what is written our own parsers (`import::disk`) and QEMU read as the disk that it was.

mod raw;
mod vhd;
mod vmdk;

use std::fs::File;

use anyhow::Result;
use awan_model::export::DiskFormat;
use sha2::{Digest as _, Sha256};

use crate::import::disk::{Disk, PIECE};

const SECTOR: u64 = 512;
/// How often who writes is asked whether it goes on, in pieces.
const ASKED_AFTER: u64 = 64;

/// What a file is made of.
pub struct Wanted<'w> {
    pub format: DiskFormat,
    /// In bytes; behind the end of what is read it is zero.
    pub size: u64,
    /// What the file says that it is called.
    pub name: &'w str,
}

impl Wanted<'_> {
    /// The same for the same name, and for no other.
    fn identity(&self) -> [u8; 16] {
        let mut identity = [0; 16];
        identity.copy_from_slice(&Sha256::digest(self.name)[..16]);
        identity
    }
}

/// Writes all of a disk into an empty file. `goes_on` is asked again and again, with the bytes of the disk that are done;
/// its refusal ends the writing.
pub fn write(
    disk: &mut dyn Disk,
    wanted: &Wanted,
    file: &File,
    goes_on: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut pieces = Pieces { disk, size: wanted.size, goes_on };
    match wanted.format {
        DiskFormat::Raw => raw::write(&mut pieces, file),
        DiskFormat::Vhd => vhd::write(&mut pieces, wanted, file),
        DiskFormat::Vmdk => vmdk::write(&mut pieces, wanted, file),
    }
}

/// Those of a disk that hold something.
struct Pieces<'p> {
    disk: &'p mut dyn Disk,
    size: u64,
    goes_on: &'p mut dyn FnMut(u64) -> Result<()>,
}

impl Pieces<'_> {
    /// In their order.
    fn each(&mut self, mut take: impl FnMut(u64, &[u8; PIECE]) -> Result<()>) -> Result<()> {
        let (mut piece, mut done) = (Box::new([0; PIECE]), 0_u64);
        let mut next = self.disk.next(0)?;
        while let Some(at) = next.filter(|at| *at < self.size) {
            if done.is_multiple_of(ASKED_AFTER) {
                (self.goes_on)(at)?;
            }
            done += 1;
            if self.disk.read(at, &mut piece)? && piece.iter().any(|byte| *byte != 0) {
                take(at, &piece)?;
            }
            next = self.disk.next(at + PIECE as u64)?;
        }
        (self.goes_on)(self.size)
    }
}

/// Numbers of a header, at their places.
fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests;
