//! QEMU's format, versions 2 and 3. Source: QEMU, docs/interop/qcow2.rst.
//!
//! Refused: backing files, encryption, external data files, extended tables, and what was not closed properly. Of a layer
//! of a chain only, a backing file that it names is not looked at: whoever opens it says what is below, and gives the key
//! if it is encrypted.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail, ensure};
use ruzstd::decoding::StreamingDecoder;

use super::{DAMAGED, Disk, File, Header, PIECE, Source, fits, gather, inflate};
use crate::import::write::{LUKS, LUKS_HEADER};
use crate::keys::Key;
use crate::volume::luks::{self, SECTOR, Xts};

pub const MAGIC: &[u8; 4] = b"QFI\xfb";
const HEADER: usize = 112;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// The compression type is not zlib.
const OTHER_COMPRESSION: u64 = 1 << 3;
/// A frame may want so much memory: of a cluster of 2 MiB, none needs more.
const WINDOW_MAX: u64 = 8 << 20;

/// What a file says of a cluster itself, whatever is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    Nothing,
    Zeros,
    Data,
}

pub struct Qcow2<F> {
    source: Source<F>,
    version: u32,
    cluster_bits: u32,
    zstd: bool,
    /// What its clusters are encrypted with; `None`: they are not.
    xts: Option<Xts>,
    size: u64,
    l1: Vec<u64>,
    /// The table that was read last.
    l2: Option<(u64, Vec<u64>)>,
    /// The compressed cluster that was read last, by its entry.
    inflated: Option<(u64, Vec<u8>)>,
}

impl<F: File> Qcow2<F> {
    pub fn open(source: Source<F>, most: u64) -> Result<Self> {
        Self::any(source, most, false, None)
    }

    /// One of the files of a chain, and what opens it; `None`: it is not encrypted.
    pub fn layer(file: F, most: u64, key: Option<&Key>) -> Result<Self> {
        Self::any(Source::new(file)?, most, true, key)
    }

    fn any(mut source: Source<F>, most: u64, is_layer: bool, key: Option<&Key>) -> Result<Self> {
        let mut bytes = [0; HEADER];
        source.some(0, &mut bytes)?;
        let header = Header(&bytes);
        ensure!(header.bytes(0) == *MAGIC, "this is not qcow2");
        let (version, cluster_bits, size) = (header.be32(4), header.be32(20), header.be64(24));
        ensure!(version == 2 || version == 3, "qcow2 of version {version}");
        ensure!(is_layer || header.be64(8) == 0, "it needs a backing file");
        ensure!((9..=21).contains(&cluster_bits), "clusters of no such size");
        ensure!(header.be32(32) == 0 || key.is_some(), "it is encrypted");
        fits(size, most)?;
        if version == 3 {
            let features = header.be64(72);
            ensure!(features & 1 == 0, "it was not closed properly");
            ensure!(features & 2 == 0, "it says that it is damaged");
            ensure!(features & 4 == 0, "its data lies in another file");
            ensure!(features & !OTHER_COMPRESSION == 0, "it has features that are not known");
            // A short header has no such field.
            let zstd = features & OTHER_COMPRESSION != 0;
            ensure!(!zstd || (header.be32(100) > 104 && header.0[104] == 1), "its compression is not known");
            return Self::of(source, &header, zstd, key);
        }
        Self::of(source, &header, false, key)
    }

    /// One whose header is fine.
    fn of(mut source: Source<F>, header: &Header, zstd: bool, key: Option<&Key>) -> Result<Self> {
        let (version, cluster_bits, size) = (header.be32(4), header.be32(20), header.be64(24));
        let cluster = 1_u64 << cluster_bits;
        let needed = size.div_ceil(cluster).div_ceil(cluster / 8);
        ensure!(u64::from(header.be32(36)) >= needed, "its first table is too short");
        let l1 = table(&mut source, header.be64(40), usize::try_from(needed)?)?;
        let xts = key.map(|key| unlocked(&mut source, header, key)).transpose()?;
        Ok(Self { source, version, cluster_bits, zstd, xts, size, l1, l2: None, inflated: None })
    }

    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// What it says itself of the cluster at this place.
    pub fn says(&mut self, at: u64) -> Result<Says> {
        let entry = self.entry(at / self.cluster())?;
        Ok(match entry {
            _ if entry & COMPRESSED != 0 => Says::Data,
            _ if entry & ZERO != 0 && self.version > 2 => Says::Zeros,
            _ if entry & OFFSET != 0 => Says::Data,
            _ => Says::Nothing,
        })
    }

    /// The beginning of the first cluster, from the one at this place on, that it says anything of.
    pub fn next(&mut self, from: u64) -> Result<Option<u64>> {
        let (entries, mut index) = (self.cluster() / 8, from / self.cluster());
        let end = self.size.div_ceil(self.cluster());
        while index < end {
            let first = usize::try_from(index / entries)?;
            if self.l1.get(first).is_none_or(|entry| entry & OFFSET == 0) {
                let empty = self.l1.iter().skip(first).take_while(|entry| **entry & OFFSET == 0).count();
                index = (index / entries + empty.max(1) as u64) * entries;
            } else if self.says(index * self.cluster())? != Says::Nothing {
                return Ok(Some(index * self.cluster()));
            } else {
                index += 1;
            }
        }
        Ok(None)
    }

    /// Fills a part of one cluster with what it says of it. False: it says that there is nothing, or nothing of it.
    pub fn fill(&mut self, at: u64, out: &mut [u8]) -> Result<bool> {
        self.part(at / self.cluster(), at % self.cluster(), out)
    }

    fn entry(&mut self, index: u64) -> Result<u64> {
        let entries = self.cluster() / 8;
        let l1 = self.l1.get(usize::try_from(index / entries)?).map_or(0, |entry| entry & OFFSET);
        if l1 == 0 {
            return Ok(0);
        }
        if self.l2.as_ref().is_none_or(|(at, _)| *at != l1) {
            ensure!(l1.is_multiple_of(self.cluster()), "a table lies where none can be");
            self.l2 = Some((l1, table(&mut self.source, l1, usize::try_from(entries)?)?));
        }
        let l2 = self.l2.as_ref().map_or(&[][..], |(_, entries)| entries);
        Ok(l2.get(usize::try_from(index % entries)?).copied().unwrap_or(0))
    }

    fn part(&mut self, index: u64, inside: u64, out: &mut [u8]) -> Result<bool> {
        let entry = self.entry(index)?;
        if entry & COMPRESSED != 0 {
            ensure!(self.xts.is_none(), "what is encrypted is not compressed");
            self.inflate(entry)?;
            let cluster = self.inflated.as_ref().map_or(&[][..], |(_, cluster)| cluster);
            let from = usize::try_from(inside)?;
            out.copy_from_slice(&cluster[from..from + out.len()]);
            return Ok(true);
        }
        let offset = entry & OFFSET;
        if entry & ZERO != 0 && self.version == 2 {
            bail!("an entry of a table is none");
        }
        if offset == 0 || entry & ZERO != 0 {
            return Ok(false);
        }
        ensure!(offset.is_multiple_of(self.cluster()), "a cluster lies where none can be");
        ensure!(offset < self.source.length, "it ends before what it names");
        let there = offset + inside;
        let Some(xts) = &self.xts else {
            return if there < self.source.length { self.source.some(there, out).map(|()| true) } else { Ok(false) };
        };
        let sectors = [there, out.len() as u64].iter().all(|n| n.is_multiple_of(SECTOR as u64));
        ensure!(sectors && there < self.source.length, "it ends before what it names");
        self.source.some(there, out)?;
        xts.decrypt(there / SECTOR as u64, out);
        Ok(true)
    }

    fn inflate(&mut self, entry: u64) -> Result<()> {
        if self.inflated.as_ref().is_some_and(|(of, _)| *of == entry) {
            return Ok(());
        }
        let offset_bits = 62 - (self.cluster_bits - 8);
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        let length = (sectors + 1) * 512 - offset % 512;
        // The last sector may be cut off.
        let length = length.min(self.source.length.saturating_sub(offset));
        let packed = self.source.bytes(offset, usize::try_from(length)?)?;
        let mut cluster = vec![0; usize::try_from(self.cluster())?];
        if self.zstd {
            let frame = StreamingDecoder::new_with_max_window_size(&*packed, WINDOW_MAX);
            let mut frame = frame.ok().context(DAMAGED)?;
            frame.read_exact(&mut cluster).ok().context(DAMAGED)?;
        } else {
            inflate(&packed, &mut cluster, false)?;
        }
        self.inflated = Some((entry, cluster));
        Ok(())
    }
}

/// What a file is encrypted with. A part of its header says where that of LUKS lies.
fn unlocked<F: File>(source: &mut Source<F>, header: &Header, key: &Key) -> Result<Xts> {
    match header.be32(32) {
        0 => bail!("it is not encrypted, and should be"),
        LUKS => {}
        _ => bail!("how it is encrypted is not known"),
    }
    let first = source.length.min(1 << header.be32(20));
    let first = source.bytes(0, usize::try_from(first)?)?;
    let parts = Header(&first);
    let mut at = if header.be32(4) == 2 { 72 } else { header.be32(100) as usize };
    let (from, length) = loop {
        match (parts.be32(at), parts.be32(at + 4) as usize) {
            (LUKS_HEADER, 16) => break (parts.be64(at + 8), parts.be64(at + 16)),
            (0, _) => bail!("it does not say what opens it"),
            (_, length) => at += 8 + length.next_multiple_of(8),
        }
    };
    luks::open(key.passphrase().as_bytes(), |at, bytes| {
        ensure!(at.saturating_add(bytes as u64) <= length, "it ends before what it names");
        source.bytes(from.saturating_add(at), bytes)
    })
}

fn table<F: File>(source: &mut Source<F>, at: u64, entries: usize) -> Result<Vec<u64>> {
    let bytes = source.bytes(at, entries.saturating_mul(8))?;
    Ok(bytes.chunks_exact(8).map(|entry| u64::from_be_bytes(entry.try_into().unwrap_or_default())).collect())
}

impl<F: File> Disk for Qcow2<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let (size, cluster) = (self.size, self.cluster());
        gather(at, piece, size, cluster, |index, inside, out| self.part(index, inside, out))
    }
}
