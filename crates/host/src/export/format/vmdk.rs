//! VMware's format for transport, `streamOptimized`: compressed, written and read from its beginning to its end. Source:
//! "Virtual Disk Format 5.0".
//!
//! ```text
//! header │ descriptor │ grain … │ table │ grain … │ table │ directory │ footer │ end
//! ```
//!
//! In front of each part stands a marker, and each begins with a sector. A table follows the grains that it names; what
//! holds nothing has no grain, and 32 MiB of that no table.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Result, ensure};
use miniz_oxide::deflate::compress_to_vec_zlib;

use super::{Pieces, SECTOR, Wanted, put};
use crate::export::Told;
use crate::import::disk::PIECE;

const SECTOR_BYTES: usize = SECTOR as usize;
const GRAIN: u64 = PIECE as u64;
const GRAIN_SECTORS: u64 = GRAIN / SECTOR;
/// Grains that a table names.
const ENTRIES: usize = 512;
const TABLE: u64 = ENTRIES as u64 * GRAIN;
const DESCRIPTOR_AT: u64 = 1;
const DESCRIPTOR_SECTORS: u64 = 20;
/// Where the first grain may be.
const FRONT_SECTORS: u64 = 128;
/// The directory lies behind all else, where the footer says.
const AT_END: u64 = u64::MAX;
/// Lines end as the header says, grains are compressed, and there are markers.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
/// Quick: a host has better to do.
const LEVEL: u8 = 3;

const OF_TABLE: u32 = 1;
const OF_DIRECTORY: u32 = 2;
const OF_FOOTER: u32 = 3;

pub fn write(pieces: &mut Pieces, wanted: &Wanted, file: &File) -> Result<()> {
    let size = wanted.size;
    ensure!(size.is_multiple_of(SECTOR), "half a sector");
    let mut out = Out { file: BufWriter::with_capacity(1 << 20, file), sectors: 0 };
    out.part(&header(size, AT_END))?;
    out.part(&descriptor(wanted))?;
    out.part(&vec![0; usize::try_from((FRONT_SECTORS - out.sectors) * SECTOR)?])?;
    let mut directory = vec![0_u32; usize::try_from(size.div_ceil(TABLE))?];
    let mut open: Option<(usize, Vec<u32>)> = None;
    pieces.each(|at, piece| {
        let index = usize::try_from(at / TABLE)?;
        if open.as_ref().is_none_or(|(of, _)| *of != index) {
            if let Some((of, table)) = open.take() {
                directory[of] = out.numbers(&table, OF_TABLE)?;
            }
            open = Some((index, vec![0; ENTRIES]));
        }
        let Some((_, table)) = &mut open else { return Ok(()) };
        table[usize::try_from(at % TABLE / GRAIN)?] = out.grain(at, piece)?;
        Ok(())
    })?;
    if let Some((of, table)) = open.take() {
        directory[of] = out.numbers(&table, OF_TABLE)?;
    }
    let directory_at = out.numbers(&directory, OF_DIRECTORY)?;
    out.marker(1, OF_FOOTER)?;
    out.part(&header(size, u64::from(directory_at)))?;
    // The end.
    out.part(&[0; SECTOR_BYTES])?;
    Ok(out.file.flush()?)
}

struct Out<W: Write> {
    file: W,
    /// Written so far.
    sectors: u64,
}

impl<W: Write> Out<W> {
    /// Writes whole sectors. Returns where they begin.
    fn part(&mut self, bytes: &[u8]) -> Result<u32> {
        let at = u32::try_from(self.sectors).map_err(|_| Told("ClientError: a VMDK file has at most 2 TiB"))?;
        self.file.write_all(bytes)?;
        let whole = bytes.len().next_multiple_of(SECTOR_BYTES);
        self.file.write_all(&[0; SECTOR_BYTES][..whole - bytes.len()])?;
        self.sectors += whole as u64 / SECTOR;
        Ok(at)
    }

    fn grain(&mut self, at: u64, piece: &[u8; PIECE]) -> Result<u32> {
        let packed = compress_to_vec_zlib(piece, LEVEL);
        let mut part = Vec::with_capacity(packed.len() + 12);
        part.extend((at / SECTOR).to_le_bytes());
        part.extend(u32::try_from(packed.len())?.to_le_bytes());
        part.extend(packed);
        self.part(&part)
    }

    /// So many sectors of this kind follow.
    fn marker(&mut self, sectors: u64, kind: u32) -> Result<()> {
        let mut marker = [0; SECTOR_BYTES];
        put(&mut marker, 0, &sectors.to_le_bytes());
        put(&mut marker, 12, &kind.to_le_bytes());
        self.part(&marker).map(drop)
    }

    fn numbers(&mut self, numbers: &[u32], kind: u32) -> Result<u32> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.marker((bytes.len() as u64).div_ceil(SECTOR), kind)?;
        self.part(&bytes)
    }
}

fn header(size: u64, directory_at: u64) -> [u8; SECTOR_BYTES] {
    let mut header = [0; SECTOR_BYTES];
    put(&mut header, 0, b"KDMV");
    put(&mut header, 4, &3_u32.to_le_bytes());
    put(&mut header, 8, &FLAGS.to_le_bytes());
    for (n, number) in [size / SECTOR, GRAIN_SECTORS, DESCRIPTOR_AT, DESCRIPTOR_SECTORS].into_iter().enumerate() {
        put(&mut header, 12 + n * 8, &number.to_le_bytes());
    }
    put(&mut header, 44, &(ENTRIES as u32).to_le_bytes());
    // At 48, a second directory: there is none.
    put(&mut header, 56, &directory_at.to_le_bytes());
    put(&mut header, 64, &FRONT_SECTORS.to_le_bytes());
    // What tells that the file went through something that changes ends of lines.
    put(&mut header, 73, b"\n \r\n");
    // Deflate.
    put(&mut header, 77, &1_u16.to_le_bytes());
    header
}

fn descriptor(wanted: &Wanted) -> Vec<u8> {
    let Wanted { size, name, .. } = wanted;
    let [a, b, c, d, ..] = wanted.identity();
    // All ones and all but one mean something else.
    let id = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
    let (sectors, cylinders) = (size / SECTOR, (size / SECTOR / 63 / 255).min(65_535));
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    );
    let mut bytes = text.into_bytes();
    bytes.resize(usize::try_from(DESCRIPTOR_SECTORS).unwrap_or_default() * SECTOR_BYTES, 0);
    bytes
}
