//! Microsoft's older format, of a fixed size or growing. Source: "Virtual Hard Disk Image Format Specification" 1.0.
//!
//! Refused: disks that are a difference to another.

use anyhow::{Result, bail, ensure};

use super::{Disk, File, Header, PIECE, SECTOR, Source, fits, gather};

const FOOTER: usize = 512;
const ABSENT: u32 = u32::MAX;

pub struct Vhd<F> {
    source: Source<F>,
    size: u64,
    /// `None`: of a fixed size.
    blocks: Option<Blocks>,
}

struct Blocks {
    size: u64,
    /// Where each begins, in sectors.
    table: Vec<u32>,
    /// Of the block that was read last: which of its sectors there are.
    present: Option<(u32, Vec<u8>)>,
}

impl<F: File> Vhd<F> {
    pub fn open(mut source: Source<F>, most: u64) -> Result<Self> {
        let end = source.length.checked_sub(FOOTER as u64).filter(|end| end % SECTOR == 0);
        let Some(end) = end else { bail!("this is not VHD") };
        let bytes: [u8; FOOTER] = source.array(end)?;
        let footer = Header(&bytes);
        ensure!(footer.bytes(0) == *b"conectix", "this is not VHD");
        ensure!(is_sound(&bytes, 64), "its footer is damaged");
        let (size, kind) = (footer.be64(48), footer.be32(60));
        fits(size, most)?;
        ensure!(size % SECTOR == 0, "half a sector");
        let blocks = match kind {
            2 => {
                ensure!(size <= end, "it ends before what it names");
                None
            }
            3 => Some(Blocks::read(&mut source, footer.be64(16), size)?),
            4 => bail!("it needs a parent"),
            _ => bail!("a kind of VHD that is not known"),
        };
        Ok(Self { source, size, blocks })
    }
}

/// Headers are sound if the sum of their other bytes is the complement of the four at this place.
fn is_sound(header: &[u8], at: usize) -> bool {
    let others = header.iter().enumerate().filter(|(n, _)| !(at..at + 4).contains(n));
    let sum = others.fold(0_u32, |sum, (_, byte)| sum.wrapping_add(u32::from(*byte)));
    Header(header).be32(at) == !sum
}

impl Blocks {
    fn read<F: File>(source: &mut Source<F>, at: u64, disk: u64) -> Result<Self> {
        let bytes: [u8; 1024] = source.array(at)?;
        let header = Header(&bytes);
        ensure!(header.bytes(0) == *b"cxsparse" && is_sound(&bytes, 36), "its header is damaged");
        let size = u64::from(header.be32(32));
        ensure!(size.is_power_of_two() && ((64 << 10)..=(64 << 20)).contains(&size), "blocks of no such size");
        let count = disk.div_ceil(size);
        ensure!(u64::from(header.be32(28)) >= count, "its table is too short");
        let table = source.bytes(header.be64(16), usize::try_from(count * 4)?)?;
        let table = table.chunks_exact(4).map(|entry| Header(entry).be32(0)).collect();
        Ok(Self { size, table, present: None })
    }

    fn part<F: File>(&mut self, source: &mut Source<F>, index: u64, inside: u64, out: &mut [u8]) -> Result<bool> {
        let at = self.table.get(usize::try_from(index)?).copied().unwrap_or(ABSENT);
        if at == ABSENT {
            return Ok(false);
        }
        let bitmap = (self.size / SECTOR / 8).next_multiple_of(SECTOR);
        let begin = u64::from(at) * SECTOR;
        if self.present.as_ref().is_none_or(|(of, _)| *of != at) {
            self.present = Some((at, source.bytes(begin, usize::try_from(bitmap)?)?));
        }
        let present = self.present.as_ref().map_or(&[][..], |(_, bits)| bits);
        source.at(begin + bitmap + inside, out)?;
        let mut any = false;
        for (n, sector) in out.chunks_mut(512).enumerate() {
            let bit = usize::try_from(inside / SECTOR)? + n;
            if present.get(bit / 8).is_some_and(|byte| byte & (0x80 >> (bit % 8)) != 0) {
                any = true;
            } else {
                sector.fill(0);
            }
        }
        Ok(any)
    }
}

impl<F: File> Disk for Vhd<F> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, at: u64, piece: &mut [u8; PIECE]) -> Result<bool> {
        let Self { source, size, blocks } = self;
        match blocks {
            Some(blocks) => {
                gather(at, piece, *size, blocks.size, |index, inside, out| blocks.part(source, index, inside, out))
            }
            None => gather(at, piece, *size, *size, |_, inside, out| source.at(inside, out).map(|()| true)),
        }
    }
}
