//! VMware's format in one file: `monolithicSparse` and `streamOptimized`. Source: "Virtual Disk Format 5.0".
//!
//! Refused: parents, and disks that lie in other files, which a descriptor could name.

use anyhow::{Context as _, Result, ensure};

use super::{Disk, File, Header, PIECE, SECTOR, Source, fits, gather, inflate};

const MAGIC: &[u8; 4] = b"KDMV";
const HEADER: usize = 512;
const DESCRIPTOR_MAX: u64 = 64 << 10;
/// The directory lies behind all else, and a second header names it.
const AT_END: u64 = u64::MAX;
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
/// In front of a compressed grain: its sector, and its length.
const MARKER: u64 = 12;

pub struct Vmdk<F> {
    source: Source<F>,
    size: u64,
    grain: u64,
    entries: u64,
    flags: u32,
    directory: Vec<u32>,
    /// The table that was read last.
    table: Option<(u32, Vec<u32>)>,
    /// The compressed grain that was read last.
    inflated: Option<(u32, Vec<u8>)>,
}

impl<F: File> Vmdk<F> {
    pub fn open(mut source: Source<F>, most: u64) -> Result<Self> {
        let bytes: [u8; HEADER] = source.array(0)?;
        ensure!(bytes.starts_with(MAGIC), "this is not VMDK in one file");
        descriptor(&mut source, &Header(&bytes))?;
        let bytes = if Header(&bytes).le64(56) == AT_END {
            let at = source.length.checked_sub(1024).context("its directory is not there")?;
            source.array(at)?
        } else {
            bytes
        };
        let header = Header(&bytes);
        ensure!(bytes.starts_with(MAGIC) && (1..=3).contains(&header.le32(4)), "VMDK of no such version");
        let (flags, sectors, grain) = (header.le32(8), header.le64(12), header.le64(20));
        let size = sectors.checked_mul(SECTOR).context("a disk of no such size")?;
        fits(size, most)?;
        ensure!(grain.is_power_of_two() && (8..=2048).contains(&grain), "grains of no such size");
        let (grain, entries) = (grain * SECTOR, u64::from(header.le32(44)));
        ensure!((1..=4096).contains(&entries), "tables of no such size");
        ensure!(flags & COMPRESSED == 0 || header.le16(77) == 1, "its compression is not known");
        ensure!(header.0[72] == 0, "it was not closed properly");
        let at = header.le64(56).checked_mul(SECTOR).context("its directory is not there")?;
        let count = size.div_ceil(grain).div_ceil(entries);
        let directory = numbers(&mut source, at, count)?;
        Ok(Self { source, size, grain, entries, flags, directory, table: None, inflated: None })
    }

    fn part(&mut self, index: u64, inside: u64, out: &mut [u8]) -> Result<bool> {
        let at = self.directory.get(usize::try_from(index / self.entries)?).copied().unwrap_or(0);
        if at == 0 {
            return Ok(false);
        }
        if self.table.as_ref().is_none_or(|(of, _)| *of != at) {
            self.table = Some((at, numbers(&mut self.source, u64::from(at) * SECTOR, self.entries)?));
        }
        let table = self.table.as_ref().map_or(&[][..], |(_, table)| table);
        let grain = table.get(usize::try_from(index % self.entries)?).copied().unwrap_or(0);
        if grain == 0 || (grain == 1 && self.flags & ZERO_GRAINS != 0) {
            return Ok(false);
        }
        if self.flags & COMPRESSED == 0 {
            self.source.at(u64::from(grain) * SECTOR + inside, out)?;
            return Ok(true);
        }
        if self.inflated.as_ref().is_none_or(|(of, _)| *of != grain) {
            self.inflated = Some((grain, self.inflate(index, u64::from(grain) * SECTOR)?));
        }
        let data = self.inflated.as_ref().map_or(&[][..], |(_, data)| data);
        let from = usize::try_from(inside)?;
        out.copy_from_slice(&data[from..from + out.len()]);
        Ok(true)
    }

    fn inflate(&mut self, index: u64, at: u64) -> Result<Vec<u8>> {
        let marker: [u8; MARKER as usize] = self.source.array(at)?;
        let (sector, length) = (Header(&marker).le64(0), u64::from(Header(&marker).le32(8)));
        ensure!(sector == index * (self.grain / SECTOR), "a grain is another one's");
        ensure!(length <= self.grain * 2, "a compressed part is too long");
        let packed = self.source.bytes(at + MARKER, usize::try_from(length)?)?;
        let mut grain = vec![0; usize::try_from(self.grain)?];
        inflate(&packed, &mut grain, true)?;
        Ok(grain)
    }
}

fn numbers<F: File>(source: &mut Source<F>, at: u64, count: u64) -> Result<Vec<u32>> {
    let bytes = source.bytes(at, usize::try_from(count)?.saturating_mul(4))?;
    Ok(bytes.chunks_exact(4).map(|number| Header(number).le32(0)).collect())
}

/// The text inside of the file has to say that this file is all.
fn descriptor<F: File>(source: &mut Source<F>, header: &Header) -> Result<()> {
    let (at, length) = (header.le64(28), header.le64(36).saturating_mul(SECTOR));
    ensure!(at > 0 && length > 0, "its descriptor lies in another file");
    let at = at.checked_mul(SECTOR).context("its descriptor is not there")?;
    let bytes = source.bytes(at, usize::try_from(length.min(DESCRIPTOR_MAX))?)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).context("its descriptor is no text")?;
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut found = lines.filter(|(name, _)| name.trim().eq_ignore_ascii_case(key));
        found.next().map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    let kind = value("createType").unwrap_or_default();
    ensure!(["monolithicsparse", "streamoptimized"].contains(&&*kind), "a kind of VMDK that is not known");
    ensure!(value("parentCID").is_none_or(|parent| parent == "ffffffff"), "it needs a parent");
    ensure!(value("parentFileNameHint").is_none(), "it needs a parent");
    let access = |line: &&str| ["RW ", "RDONLY ", "NOACCESS "].iter().any(|word| line.starts_with(word));
    let extents: Vec<&str> = text.lines().map(str::trim).filter(access).collect();
    let sparse = extents.iter().all(|line| line.split_whitespace().nth(2) == Some("SPARSE"));
    ensure!(extents.len() == 1 && sparse, "its data lies in another file");
    Ok(())
}

impl<F: File> Disk for Vmdk<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let (size, grain) = (self.size, self.grain);
        gather(at, piece, size, grain, |index, inside, out| self.part(index, inside, out))
    }
}
