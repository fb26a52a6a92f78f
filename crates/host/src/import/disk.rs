//! Disk images from elsewhere, read by ourselves: what a file says it is, never what it looks like.
//!
//! **Invariants.** A file may be hostile. All that is read lies in that one file: what names another (a backing file, a
//! parent, an extent, an external data file) is refused. Sizes are checked before anything of that size is made, and no
//! table is larger than the disk that it is allowed to describe needs.

pub mod qcow2;
mod raw;
mod vhd;
mod vhdx;
mod vmdk;

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Result, bail, ensure};
use awan_model::import::Format;
use miniz_oxide::inflate::decompress_slice_iter_to_slice;

/// What is copied at once: the cluster of the disks that come of it.
pub const PIECE: usize = 64 << 10;
const SECTOR: u64 = 512;
/// No table of a disk that may be opened needs more.
const TABLE_MAX: usize = 64 << 20;

pub trait File: Read + Seek + Send {}
impl<F: Read + Seek + Send> File for F {}

/// A disk in some format.
pub trait Disk {
    /// In bytes, as its guest sees it.
    fn size(&self) -> u64;

    /// Fills a piece with what lies at a place that is a multiple of [`PIECE`]; behind the disk's end all is zero. False:
    /// it holds nothing but zeros, and the piece was left as it is.
    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool>;

    /// From a multiple of [`PIECE`] on, the first piece that may hold something.
    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        Ok(Some(from).filter(|from| *from < self.size()))
    }
}

/// Opens a disk of at most so many bytes.
pub fn open<'f>(file: impl File + 'f, format: Format, most: u64) -> Result<Box<dyn Disk + 'f>> {
    let source = Source::new(file)?;
    let disk: Box<dyn Disk + 'f> = match format {
        Format::Raw => Box::new(raw::Raw::open(source)?),
        Format::Qcow2 => Box::new(qcow2::Qcow2::open(source, most)?),
        Format::Vhd => Box::new(vhd::Vhd::open(source, most)?),
        Format::Vhdx => Box::new(vhdx::Vhdx::open(source, most)?),
        Format::Vmdk => Box::new(vmdk::Vmdk::open(source, most)?),
    };
    fits(disk.size(), most)?;
    Ok(disk)
}

fn fits(size: u64, most: u64) -> Result<()> {
    ensure!(size > 0, "the disk is empty");
    ensure!(size <= most, "the disk has {size} bytes, and may have {most}");
    Ok(())
}

/// The one file that all is read from.
pub struct Source<F> {
    file: F,
    length: u64,
}

impl<F: File> Source<F> {
    fn new(mut file: F) -> Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, length })
    }

    fn at(&mut self, at: u64, out: &mut [u8]) -> Result<()> {
        if at.checked_add(out.len() as u64).is_none_or(|end| end > self.length) {
            bail!("it ends before what it names");
        }
        self.file.seek(SeekFrom::Start(at))?;
        Ok(self.file.read_exact(out)?)
    }

    /// As much as there is; behind the end of the file all is zero. What begins there is named wrongly.
    fn some(&mut self, at: u64, out: &mut [u8]) -> Result<()> {
        ensure!(at < self.length, "it ends before what it names");
        let there = usize::try_from(self.length - at).unwrap_or(usize::MAX).min(out.len());
        let (there, rest) = out.split_at_mut(there);
        rest.fill(0);
        self.at(at, there)
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.at(at, &mut out)?;
        Ok(out)
    }

    fn bytes(&mut self, at: u64, length: usize) -> Result<Vec<u8>> {
        // What is longer than the file is not made room for.
        ensure!(length <= TABLE_MAX, "a table of no such size");
        ensure!(length as u64 <= self.length, "it ends before what it names");
        let mut out = vec![0; length];
        self.at(at, &mut out)?;
        Ok(out)
    }
}

/// Numbers in a header, by their place.
struct Header<'h>(&'h [u8]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        if let Some(there) = self.0.get(at..at + N) {
            out.copy_from_slice(there);
        }
        out
    }

    fn be32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }

    fn be64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes(at))
    }

    fn le16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn le32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn le64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }
}

const DAMAGED: &str = "a compressed part is damaged";

/// Fills `out`, exactly. What is behind that is not looked at.
fn inflate(packed: &[u8], out: &mut [u8], zlib: bool) -> Result<()> {
    let length = out.len();
    match decompress_slice_iter_to_slice(out, std::iter::once(packed), zlib, true) {
        Ok(got) if got == length => Ok(()),
        Ok(_) => bail!("a compressed part is too short"),
        Err(_) => bail!(DAMAGED),
    }
}

/// Copies what a disk of small parts has of one piece. `part` fills the rest of a part from some place in it, and says
/// whether there was anything.
fn gather(
    at: u64,
    piece: &mut [u8; PIECE],
    size: u64,
    part_size: u64,
    mut part: impl FnMut(u64, u64, &mut [u8]) -> Result<bool>,
) -> Result<bool> {
    let (mut any, mut done) = (false, 0_usize);
    while done < PIECE {
        let place = at + done as u64;
        if place >= size {
            if any {
                piece[done..].fill(0);
            }
            break;
        }
        let (index, inside) = (place / part_size, place % part_size);
        let length = usize::try_from((part_size - inside).min(size - place)).unwrap_or(PIECE).min(PIECE - done);
        let out = &mut piece[done..done + length];
        match (part(index, inside, out)?, any) {
            (true, false) => {
                piece[..done].fill(0);
                any = true;
            }
            (false, true) => out.fill(0),
            _ => {}
        }
        done += length;
    }
    Ok(any)
}

#[cfg(test)]
mod tests;
