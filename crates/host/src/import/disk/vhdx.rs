//! Microsoft's newer format. Source: "[MS-VHDX]: Virtual Hard Disk v2 (VHDX) File Format".
//!
//! Refused: disks that are a difference to another, and those whose log has something that is not in its place yet.

use anyhow::{Context as _, Result, bail, ensure};
use crc::{CRC_32_ISCSI, Crc};

use super::{Disk, File, Header, PIECE, Source, fits, gather};

const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGIONS: [u64; 2] = [192 << 10, 256 << 10];
const REGIONS_LENGTH: usize = 64 << 10;
const METADATA_TABLE: usize = 64 << 10;
const MIB: u64 = 1 << 20;
const SUMS: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

type Guid = [u8; 16];

/// As it lies in a file: the first three numbers are little endian.
const fn guid(a: u32, b: u16, c: u16, rest: [u8; 8]) -> Guid {
    let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let [d0, d1, d2, d3, d4, d5, d6, d7] = rest;
    [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7]
}

pub const TABLE: Guid = guid(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
pub const METADATA: Guid = guid(0x8b7c_a206, 0x4790, 0x4b9a, [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);
pub const PARAMETERS: Guid = guid(0xcaa1_6737, 0xfa36, 0x4d43, [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]);
pub const SIZE: Guid = guid(0x2fa5_4224, 0xcd1b, 0x4876, [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]);
pub const SECTOR: Guid = guid(0x8141_bf1d, 0xa96f, 0x4709, [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]);
/// Of no matter to who reads: the size of sectors beneath, and what the disk is called.
const IDLE: [Guid; 2] = [
    guid(0xcda3_48c7, 0x445d, 0x4471, [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]),
    guid(0xbeca_12ab, 0xb2e6, 0x4523, [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46]),
];

pub struct Vhdx<F> {
    source: Source<F>,
    size: u64,
    block: u64,
    /// So many blocks are followed by an entry about their sectors.
    ratio: u64,
    table: Vec<u64>,
}

/// Of a block.
const ABSENT: [u64; 4] = [0, 1, 2, 3];
const PRESENT: u64 = 6;

impl<F: File> Vhdx<F> {
    pub fn open(mut source: Source<F>, most: u64) -> Result<Self> {
        ensure!(source.length >= MIB && source.array(0)? == *b"vhdxfile", "this is not VHDX");
        newest(&mut source)?;
        let regions = regions(&mut source)?;
        let of = |wanted: Guid| regions.iter().find(|region| region.id == wanted);
        let (table, metadata) = (of(TABLE).context("it has no table")?, of(METADATA).context("it has no metadata")?);
        let Told { block, size, sector } = told(&mut source, metadata.at)?;
        fits(size, most)?;
        ensure!(sector == 512 || sector == 4096, "sectors of no such size");
        ensure!(size.is_multiple_of(sector), "half a sector");
        ensure!(block.is_power_of_two() && (MIB..=256 * MIB).contains(&block), "blocks of no such size");
        let ratio = (sector << 23) / block;
        let blocks = size.div_ceil(block);
        let entries = blocks + (blocks - 1) / ratio;
        ensure!(entries * 8 <= table.length, "its table is too short");
        let table = source.bytes(table.at, usize::try_from(entries * 8)?)?;
        let table = table.chunks_exact(8).map(|entry| Header(entry).le64(0)).collect();
        Ok(Self { source, size, block, ratio, table })
    }
}

/// The newer of two headers, which has to say that the log is empty.
fn newest<F: File>(source: &mut Source<F>) -> Result<()> {
    let mut found: Option<(u64, Guid)> = None;
    for at in HEADERS {
        let bytes: [u8; 4096] = source.array(at)?;
        let header = Header(&bytes);
        if header.bytes(0) == *b"head" && is_sound(&bytes) && header.le16(66) == 1 {
            found = found.max(Some((header.le64(8), header.bytes(48))));
        }
    }
    let (_, log) = found.context("its headers are damaged")?;
    ensure!(log == [0; 16], "it was not closed properly");
    Ok(())
}

/// The sum of what begins with a signature is its second number, and counts as zero.
fn is_sound(bytes: &[u8]) -> bool {
    let mut sum = SUMS.digest();
    sum.update(&bytes[..4]);
    sum.update(&[0; 4]);
    sum.update(&bytes[8..]);
    sum.finalize() == Header(bytes).le32(4)
}

struct Region {
    id: Guid,
    at: u64,
    length: u64,
}

fn regions<F: File>(source: &mut Source<F>) -> Result<Vec<Region>> {
    for at in REGIONS {
        let bytes = source.bytes(at, REGIONS_LENGTH)?;
        let header = Header(&bytes);
        if header.bytes(0) != *b"regi" || !is_sound(&bytes) {
            continue;
        }
        let count = header.le32(8) as usize;
        let entries: Vec<_> = bytes[16..].chunks_exact(32).take(count).map(Header).collect();
        let one = |entry: &Header| {
            let id = entry.bytes(0);
            ensure!(id == TABLE || id == METADATA || entry.le32(28) & 1 == 0, "it has regions that are not known");
            Ok(Region { id, at: entry.le64(16), length: u64::from(entry.le32(24)) })
        };
        return entries.iter().map(one).collect();
    }
    bail!("its list of regions is damaged")
}

/// What the metadata says.
#[derive(Default)]
struct Told {
    block: u64,
    size: u64,
    sector: u64,
}

fn told<F: File>(source: &mut Source<F>, at: u64) -> Result<Told> {
    let bytes = source.bytes(at, METADATA_TABLE)?;
    let header = Header(&bytes);
    ensure!(header.bytes(0) == *b"metadata", "its metadata is damaged");
    let mut told = Told::default();
    for entry in bytes[32..].chunks_exact(32).take(usize::from(header.le16(10))).map(Header) {
        let (id, offset, flags) = (entry.bytes(0), u64::from(entry.le32(16)), entry.le32(24));
        let mut item = || {
            let at = at.checked_add(offset).context("it ends before what it names")?;
            source.array::<8>(at)
        };
        match id {
            PARAMETERS => {
                let item = item()?;
                ensure!(Header(&item).le32(4) & 2 == 0, "it needs a parent");
                told.block = u64::from(Header(&item).le32(0));
            }
            SIZE => told.size = Header(&item()?).le64(0),
            SECTOR => told.sector = u64::from(Header(&item()?).le32(0)),
            other if IDLE.contains(&other) => {}
            _ => ensure!(flags & 4 == 0, "it has metadata that is not known"),
        }
    }
    Ok(told)
}

impl<F: File> Disk for Vhdx<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let Self { source, size, block, ratio, table } = self;
        gather(at, piece, *size, *block, |index, inside, out| {
            let entry = table.get(usize::try_from(index + index / *ratio)?).copied().unwrap_or_default();
            match entry & 7 {
                PRESENT => {
                    let begin = (entry >> 20).checked_mul(MIB).and_then(|begin| begin.checked_add(inside));
                    source.at(begin.context("it ends before what it names")?, out)?;
                    Ok(true)
                }
                state if ABSENT.contains(&state) => Ok(false),
                _ => bail!("a block in a state that is not known"),
            }
        })
    }
}
