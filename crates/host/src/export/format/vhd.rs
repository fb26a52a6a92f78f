//! Microsoft's older format, growing. Source: "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! ```text
//! footer │ header │ table │ block: which of its sectors there are, then all of them │ … │ footer
//! ```
//!
//! Blocks follow one another as the disk is read; of a block that holds little, the rest is a hole.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Result, ensure};
use awan_model::export::DiskFormat;

use super::{Pieces, SECTOR, Wanted, put};
use crate::export::Told;
use crate::import::disk::PIECE;

const FOOTER: usize = 512;
const HEADER: usize = 1_024;
const TABLE_AT: u64 = (FOOTER + HEADER) as u64;
const BLOCK: u64 = 2 << 20;
/// In front of each block: a bit for each of its sectors.
const BITMAP: usize = (BLOCK / SECTOR / 8) as usize;
const PIECE_BITS: usize = PIECE / SECTOR as usize / 8;
const ABSENT: u32 = u32::MAX;

pub fn write(pieces: &mut Pieces, wanted: &Wanted, file: &File) -> Result<()> {
    let size = wanted.size;
    ensure!(size <= u64::from(DiskFormat::VHD_GIB_MAX) << 30, Told("ClientError: a VHD has at most 2040 GiB"));
    ensure!(size.is_multiple_of(SECTOR), "half a sector");
    let count = size.div_ceil(BLOCK);
    let mut table = vec![ABSENT; usize::try_from(count)?];
    let mut end = (TABLE_AT + count * 4).next_multiple_of(SECTOR);
    let mut open: Option<Block> = None;
    pieces.each(|at, piece| {
        let index = usize::try_from(at / BLOCK)?;
        if open.as_ref().is_none_or(|block| block.index != index) {
            if let Some(block) = open.take() {
                block.close(file)?;
            }
            table[index] = u32::try_from(end / SECTOR)?;
            open = Some(Block { index, at: end, present: [0; BITMAP] });
            end += BITMAP as u64 + BLOCK;
        }
        let Some(block) = &mut open else { return Ok(()) };
        let inside = at % BLOCK;
        let bits = usize::try_from(inside / SECTOR / 8)?;
        block.present[bits..bits + PIECE_BITS].fill(0xff);
        Ok(file.write_all_at(piece, block.at + BITMAP as u64 + inside)?)
    })?;
    if let Some(block) = open.take() {
        block.close(file)?;
    }
    let mut rest = vec![0xff; usize::try_from((TABLE_AT + count * 4).next_multiple_of(SECTOR) - TABLE_AT)?];
    for (to, entry) in rest.chunks_exact_mut(4).zip(&table) {
        to.copy_from_slice(&entry.to_be_bytes());
    }
    let footer = footer(wanted);
    file.write_all_at(&footer, 0)?;
    file.write_all_at(&header(count)?, FOOTER as u64)?;
    file.write_all_at(&rest, TABLE_AT)?;
    Ok(file.write_all_at(&footer, end)?)
}

/// What is being written.
struct Block {
    index: usize,
    at: u64,
    present: [u8; BITMAP],
}

impl Block {
    fn close(self, file: &File) -> Result<()> {
        Ok(file.write_all_at(&self.present, self.at)?)
    }
}

fn footer(wanted: &Wanted) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    put(&mut footer, 0, b"conectix");
    // A bit that is always set.
    put(&mut footer, 8, &2_u32.to_be_bytes());
    put(&mut footer, 12, &0x0001_0000_u32.to_be_bytes());
    put(&mut footer, 16, &(FOOTER as u64).to_be_bytes());
    // As Hyper-V says it: of files of others, some take the size from the geometry, which is less than it.
    put(&mut footer, 28, b"win ");
    put(&mut footer, 32, &0x000a_0000_u32.to_be_bytes());
    put(&mut footer, 36, b"Wi2k");
    put(&mut footer, 40, &wanted.size.to_be_bytes());
    put(&mut footer, 48, &wanted.size.to_be_bytes());
    let (cylinders, heads, sectors) = geometry(wanted.size / SECTOR);
    put(&mut footer, 56, &cylinders.to_be_bytes());
    put(&mut footer, 58, &[heads, sectors]);
    // It grows.
    put(&mut footer, 60, &3_u32.to_be_bytes());
    put(&mut footer, 68, &wanted.identity());
    let sum = checksum(&footer);
    put(&mut footer, 64, &sum);
    footer
}

fn header(count: u64) -> Result<[u8; HEADER]> {
    let mut header = [0; HEADER];
    put(&mut header, 0, b"cxsparse");
    // Nothing follows.
    put(&mut header, 8, &u64::MAX.to_be_bytes());
    put(&mut header, 16, &TABLE_AT.to_be_bytes());
    put(&mut header, 24, &0x0001_0000_u32.to_be_bytes());
    put(&mut header, 28, &u32::try_from(count)?.to_be_bytes());
    put(&mut header, 32, &u32::try_from(BLOCK)?.to_be_bytes());
    let sum = checksum(&header);
    put(&mut header, 36, &sum);
    Ok(header)
}

/// The complement of the sum of all bytes, while the four that it takes are zero.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = bytes.iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    (!sum).to_be_bytes()
}

/// Cylinders, heads and sectors. Source: "CHS Calculation", the specification's appendix.
fn geometry(sectors: u64) -> (u16, u8, u8) {
    let sectors = sectors.min(65_535 * 16 * 255);
    let narrow = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    if sectors >= 65_535 * 16 * 63 {
        return (narrow(sectors / 255 / 16), 16, 255);
    }
    let (mut per_track, mut tracks) = (17, sectors / 17);
    let mut heads = tracks.div_ceil(1_024).max(4);
    if tracks >= heads * 1_024 || heads > 16 {
        (per_track, heads) = (31, 16);
        tracks = sectors / 31;
    }
    if tracks >= heads * 1_024 {
        (per_track, heads) = (63, 16);
        tracks = sectors / 63;
    }
    (narrow(tracks / heads), u8::try_from(heads).unwrap_or(16), per_track)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_is_the_one_that_qemu_img_makes() {
        // Of `qemu-img create -f vpc`, read from its footer, which rounds the size up to one.
        for (sectors, expected) in
            [(34_816, (512, 4, 17)), (2_097_648, (2_081, 16, 63)), (u64::MAX, (65_535, 16, 255)), (0, (0, 4, 17))]
        {
            assert_eq!(geometry(sectors), expected, "{sectors}");
        }
    }
}
