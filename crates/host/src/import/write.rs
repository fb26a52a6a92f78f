//! Writes a disk as the qcow2 files that volumes are children of: in one go, from its beginning to its end.
//!
//! Clusters follow one another: the header and the first table, where it is encrypted the header of LUKS, then each cluster
//! of data and, behind the last that it names, the table that names it; then what counts them. Nothing is written twice but
//! the header and the first table.

use std::io::{Seek, SeekFrom, Write};

use anyhow::Result;

use super::disk::qcow2::MAGIC;
use super::disk::{Disk, PIECE};
use crate::volume::luks::{LENGTH, Luks, SECTOR};

const CLUSTER_BITS: u32 = 16;
pub const CLUSTER: u64 = 1 << CLUSTER_BITS;
pub const ENTRIES: usize = PIECE / 8;
/// A cluster that counts others has two bytes for each.
const COUNTED: u64 = CLUSTER / 2;
const HEADER: u32 = 104;
/// How it is encrypted; 0: not.
pub const LUKS: u32 = 2;
/// The part of the header that says where that of LUKS is.
pub const LUKS_HEADER: u32 = 0x0537_be77;
/// Nobody else refers to what is referred to so.
pub const OWN: u64 = 1 << 63;
/// A cluster that holds nothing, whatever is below.
const ZERO: u64 = 1;

/// How often who writes is asked whether it goes on, in clusters.
const ASKED_AFTER: u64 = 256;

/// What a file is to say of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// It is what is below.
    Nothing,
    /// It is zero, whatever is below.
    Zeros,
    Data,
}

/// What is written.
pub trait Clusters {
    /// From a place on, the first cluster that something is to be said of.
    fn next(&mut self, from: u64) -> Result<Option<u64>>;

    fn read(&mut self, at: u64, cluster: &mut [u8; PIECE]) -> Result<Cluster>;
}

/// A disk of which nothing is below.
struct Whole<'d>(&'d mut dyn Disk);

impl Clusters for Whole<'_> {
    fn next(&mut self, from: u64) -> Result<Option<u64>> {
        self.0.next(from)
    }

    fn read(&mut self, at: u64, cluster: &mut [u8; PIECE]) -> Result<Cluster> {
        let any = self.0.read(at, cluster)? && cluster.iter().any(|byte| *byte != 0);
        Ok(if any { Cluster::Data } else { Cluster::Nothing })
    }
}

/// `luks`: what it is encrypted with; `None`: it is not. `goes_on` is asked again and again, with the bytes of the disk that
/// are done; its refusal ends the writing.
pub fn write(
    disk: &mut dyn Disk,
    size: u64,
    luks: Option<&Luks>,
    out: &mut (impl Write + Seek),
    goes_on: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    write_clusters(&mut Whole(disk), size, luks, out, goes_on)
}

/// The same of some clusters of a disk.
pub fn write_clusters(
    clusters: &mut impl Clusters,
    size: u64,
    luks: Option<&Luks>,
    out: &mut (impl Write + Seek),
    mut goes_on: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let tables = size.div_ceil(CLUSTER * ENTRIES as u64);
    let luks_at = 1 + (tables * 8).div_ceil(CLUSTER);
    let mut end = luks_at + luks.map_or(0, |_| LENGTH.div_ceil(CLUSTER));
    out.seek(SeekFrom::Start(end * CLUSTER))?;
    let mut l1 = Vec::with_capacity(usize::try_from(tables)?);
    let (mut piece, mut done) = (Box::new([0; PIECE]), 0_u64);
    let mut next = clusters.next(0)?;
    for table in 0..tables {
        let (from, to) = (table * ENTRIES as u64 * CLUSTER, (table + 1) * ENTRIES as u64 * CLUSTER);
        if next.is_none_or(|at| at >= to) {
            l1.push(0);
            continue;
        }
        let (mut l2, mut any) = (vec![0_u64; ENTRIES], false);
        while let Some(at) = next.filter(|at| *at < to.min(size)) {
            if done.is_multiple_of(ASKED_AFTER) {
                goes_on(at)?;
            }
            done += 1;
            let entry = &mut l2[usize::try_from((at - from) / CLUSTER)?];
            match clusters.read(at, &mut piece)? {
                Cluster::Nothing => {}
                Cluster::Zeros => (*entry, any) = (ZERO, true),
                Cluster::Data => {
                    if let Some(luks) = luks {
                        luks.xts.encrypt(end * CLUSTER / SECTOR as u64, &mut *piece);
                    }
                    out.write_all(&*piece)?;
                    (*entry, any) = ((end * CLUSTER) | OWN, true);
                    end += 1;
                }
            }
            next = clusters.next(at + CLUSTER)?;
        }
        if any {
            out.write_all(&big_endian(&l2))?;
            l1.push((end * CLUSTER) | OWN);
            end += 1;
        } else {
            l1.push(0);
        }
    }
    let (at, clusters) = count(out, end)?;
    if let Some(luks) = luks {
        // Behind what there is of it lie slots that are not used.
        out.seek(SeekFrom::Start(luks_at * CLUSTER))?;
        out.write_all(&luks.header)?;
    }
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&header(size, (tables, 1), (at, clusters), luks.map(|_| luks_at * CLUSTER)))?;
    out.seek(SeekFrom::Start(CLUSTER))?;
    Ok(out.write_all(&big_endian(&l1))?)
}

/// A disk of this size that holds nothing, or a child of another that is like it.
pub fn empty(size: u64, luks: Option<&Luks>, out: &mut (impl Write + Seek)) -> Result<()> {
    write(&mut Nothing, size, luks, out, |_| Ok(()))
}

pub struct Nothing;

impl Disk for Nothing {
    fn size(&self) -> u64 {
        0
    }

    fn read(&mut self, _: u64, _: &mut [u8; PIECE]) -> Result<bool> {
        Ok(false)
    }
}

/// Counts all clusters up to `end` and those that it writes itself: each is used once. Returns where the table of what
/// counts them is, and its length, in clusters.
pub fn count(out: &mut impl Write, end: u64) -> Result<(u64, u64)> {
    let (mut blocks, mut tables) = (1, 1);
    loop {
        let all = end + blocks + tables;
        let needed = (all.div_ceil(COUNTED), (all.div_ceil(COUNTED) * 8).div_ceil(CLUSTER));
        if needed == (blocks, tables) {
            break;
        }
        (blocks, tables) = needed;
    }
    let all = end + tables + blocks;
    let mut table: Vec<u64> = (0..blocks).map(|n| (end + tables + n) * CLUSTER).collect();
    table.resize(usize::try_from(tables)? * ENTRIES, 0);
    out.write_all(&big_endian(&table))?;
    for block in 0..blocks {
        let used = (all - block * COUNTED).min(COUNTED);
        let mut counts = [0, 1].repeat(usize::try_from(used)?);
        counts.resize(PIECE, 0);
        out.write_all(&counts)?;
    }
    Ok((end, tables))
}

/// Where tables are is told in clusters.
pub fn header(
    size: u64,
    (l1_entries, l1_at): (u64, u64),
    (counts_at, counts_clusters): (u64, u64),
    luks_at: Option<u64>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(PIECE);
    out.extend(MAGIC);
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    out.extend(3_u32.to_be_bytes());
    // No backing file.
    out.extend([0; 12]);
    out.extend(CLUSTER_BITS.to_be_bytes());
    out.extend(size.to_be_bytes());
    out.extend(if luks_at.is_some() { LUKS } else { 0 }.to_be_bytes());
    out.extend(narrow(l1_entries).to_be_bytes());
    out.extend((l1_at * CLUSTER).to_be_bytes());
    out.extend((counts_at * CLUSTER).to_be_bytes());
    out.extend(narrow(counts_clusters).to_be_bytes());
    // No snapshots, no features.
    out.extend([0; 4 + 8 + 24]);
    // Each cluster is counted with sixteen bits.
    out.extend(4_u32.to_be_bytes());
    out.extend(HEADER.to_be_bytes());
    if let Some(at) = luks_at {
        out.extend(LUKS_HEADER.to_be_bytes());
        out.extend(16_u32.to_be_bytes());
        out.extend(at.to_be_bytes());
        out.extend(LENGTH.to_be_bytes());
    }
    out.resize(PIECE, 0);
    out
}

pub fn big_endian(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
