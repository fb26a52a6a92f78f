//! What tenants write in blocks, kept as a file that volumes can begin as.
//!
//! Blocks go, each in the next place, into a file that has the form of a disk but for its tables, and a second file says
//! which block lies where, one line for each that was put. A block that is put again goes to another place, so that what
//! it held is there until what it holds now is. When all is written, the tables are written behind the blocks, the header
//! before them, and the file gets its name. Nothing is copied. Where it is encrypted, the header of LUKS is before the first
//! place; the sums of blocks in lines are encrypted by the same key, so that nobody can tell from them what was put.
//!
//! **Invariants.** A block that was put is there after a power failure: its bytes are synced before its line is written,
//! and that is synced before anybody hears of it. A place is used again only once a line that is synced says that its block
//! lies elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use awan_model::id::ImageId;
use awan_model::report::BLOCK;
use sha2::{Digest as _, Sha256};

use super::{BELOW, DISK, GIB};
use crate::import::fetch::has_room;
use crate::import::write::{self, CLUSTER, ENTRIES, OWN};
use crate::keys::Key;
use crate::volume::files;
use crate::volume::luks::{self, LENGTH, SECTOR, Xts};

/// Where blocks are put.
const WRITTEN: &str = "written";
/// Which lies where.
const LINES: &str = "lines";
const MAGIC: &[u8; 64] = b"awan blocks 1: block, place, sha-256, and the start of its own.\n";
/// A line is as long, the first too.
const LINE: usize = MAGIC.len();
/// Of a block of nothing but zeros.
const NOWHERE: u32 = u32::MAX;
const CLUSTERS: u64 = BLOCK as u64 / CLUSTER;
/// A disk's blocks may all be put so often.
const PUT_MAX: u64 = 16;
/// In a table: it holds zeros, whatever is below.
const ZEROS: u64 = 1;
/// Bytes: where the header of LUKS is.
const LUKS_AT: u64 = CLUSTER;
/// What lines hold is encrypted as if each were a sector from here on, where no file has any.
const LINES_AT: u64 = 1 << 55;

/// What one tenant writes.
pub struct Written {
    folder: PathBuf,
    below: Option<ImageId>,
    size_gib: u32,
    key: Unlock,
    state: Mutex<State>,
}

/// What opens it, made anew where a file is opened; `None`: it is not encrypted.
pub type Unlock = Box<dyn Fn() -> Result<Option<Key>> + Send + Sync>;

enum State {
    /// Not looked at yet.
    New,
    Open(Box<Open>),
    Kept {
        bytes: u64,
    },
    Lost {
        why: String,
    },
}

/// How it is with what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    New,
    Open,
    Kept { size_gib: u32, bytes: u64 },
    Lost { why: String },
}

struct Open {
    written: File,
    lines: File,
    xts: Option<Xts>,
    /// How many lines there are.
    count: u64,
    blocks: BTreeMap<u32, Placed>,
    /// Places that were used, and are used no more.
    free: Vec<u32>,
    /// Places that are used, or were.
    places: u32,
    /// Counts those who put.
    turns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    place: u32,
    sha256: [u8; 32],
    /// Of who put it, in this life.
    turn: u64,
}

/// What comes before the first place, in clusters.
fn ahead(is_encrypted: bool) -> u64 {
    if is_encrypted { (LUKS_AT + LENGTH).div_ceil(CLUSTER) } else { 1 }
}

impl Written {
    pub fn new(folder: PathBuf, below: Option<ImageId>, size_gib: u32, key: Unlock) -> Self {
        Self { folder, below, size_gib, key, state: Mutex::new(State::New) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn seen(&self) -> Seen {
        // Whoever has it busy is about to change it.
        let Ok(state) = self.state.try_lock() else { return Seen::Open };
        match &*state {
            State::New => Seen::New,
            State::Open(_) => Seen::Open,
            State::Kept { bytes } => Seen::Kept { size_gib: self.size_gib, bytes: *bytes },
            State::Lost { why } => Seen::Lost { why: why.clone() },
        }
    }

    fn blocks_max(&self) -> u64 {
        u64::from(self.size_gib) * GIB / BLOCK as u64
    }

    /// Goes on where an earlier life stood. `kept`: it was whole once, and is not made again.
    pub fn open(&self, kept: bool) -> Result<()> {
        let mut state = self.lock();
        if !matches!(*state, State::New) {
            return Ok(());
        }
        let disk = self.folder.join(DISK);
        *state = if disk.exists() {
            self.sync()?;
            // The life that named it may have ended before this.
            let _ = std::fs::remove_file(self.folder.join(LINES));
            State::Kept { bytes: std::fs::metadata(&disk)?.blocks() * 512 }
        } else if kept {
            State::Lost { why: "the host has lost it".into() }
        } else {
            // One that was cut short has told nobody of anything.
            let begun = std::fs::metadata(self.folder.join(LINES)).is_ok_and(|lines| lines.len() >= LINE as u64);
            if !begun {
                self.begin()?;
            }
            self.sync()?;
            State::Open(Box::new(self.load()?))
        };
        Ok(())
    }

    /// What is in the folder keeps its name, and so does the folder.
    fn sync(&self) -> Result<()> {
        let above = self.folder.parent().context("it lies in another")?;
        [self.folder.as_path(), above].into_iter().try_for_each(files::sync_folder)
    }

    fn begin(&self) -> Result<()> {
        files::make_folder(&self.folder)?;
        if let Some(below) = &self.below {
            files::write(&self.folder.join(BELOW), |out| Ok(out.write_all(below.as_str().as_bytes())?))?;
        }
        let luks = (self.key)()?.map(|key| key.luks()).transpose()?;
        files::write(&self.folder.join(WRITTEN), |out| {
            let Some(luks) = luks else { return Ok(()) };
            out.seek(SeekFrom::Start(LUKS_AT))?;
            Ok(out.write_all(&luks.header)?)
        })?;
        files::sync_folder(&self.folder)?;
        // Where this is, all that it is about is.
        files::write(&self.folder.join(LINES), |out| Ok(out.write_all(MAGIC)?))
    }

    fn load(&self) -> Result<Open> {
        let open = |name: &str| {
            let path = self.folder.join(name);
            let opened = File::options().read(true).write(true).open(&path);
            opened.with_context(|| format!("opening {}", path.display()))
        };
        let (written, mut lines) = (open(WRITTEN)?, open(LINES)?);
        let xts = (self.key)()?.map(|key| unlocked(&written, &key)).transpose()?;
        let (mut blocks, mut count, mut line) = (BTreeMap::new(), 0, [0; LINE]);
        let (mut used, mut reader) = (Vec::new(), std::io::BufReader::new(&mut lines));
        // The last may have been cut short, and then nobody has heard of it.
        while reader.read_exact(&mut line).is_ok() {
            if count == 0 && line == *MAGIC {
                count = 1;
                continue;
            }
            let found = parsed(&line, count, xts.as_ref());
            let Some((block, placed)) = found.filter(|(block, _)| u64::from(*block) < self.blocks_max()) else {
                break;
            };
            blocks.insert(block, placed);
            used.push(placed.place);
            count += 1;
        }
        ensure!(count > 0, "{} is not what was made here", self.folder.display());
        let places = used.iter().filter(|place| **place != NOWHERE).map(|place| place + 1).max().unwrap_or(0);
        let in_use: std::collections::BTreeSet<u32> = blocks.values().map(|placed: &Placed| placed.place).collect();
        let free = (0..places).filter(|place| !in_use.contains(place)).collect();
        Ok(Open { written, lines, xts, count, blocks, free, places, turns: 0 })
    }

    /// Returns once no power failure takes it.
    pub fn put(&self, block: u32, bytes: &[u8], sha256: [u8; 32]) -> Result<()> {
        ensure!(bytes.len() == BLOCK && u64::from(block) < self.blocks_max(), "the disk has no such block");
        let path = self.folder.join(WRITTEN);
        let is_zero = bytes.iter().all(|byte| *byte == 0);
        if !is_zero {
            has_room(&path, BLOCK as u64)?;
        }
        let (place, turn, written, at, xts) = {
            let mut state = self.lock();
            let open = state.open()?;
            if open.count > self.blocks_max() * PUT_MAX {
                return Err(std::io::Error::from(std::io::ErrorKind::QuotaExceeded).into());
            }
            open.turns += 1;
            let place = if is_zero { NOWHERE } else { open.place() };
            (place, open.turns, open.written.try_clone()?, open.at(place), open.xts.clone())
        };
        let sealed = xts.filter(|_| !is_zero).map(|xts| {
            let mut sealed = bytes.to_vec();
            xts.encrypt(at / SECTOR as u64, &mut sealed);
            sealed
        });
        let stored = if is_zero {
            Ok(())
        } else {
            let bytes = sealed.as_deref().unwrap_or(bytes);
            files::write_at(&path, &written, bytes, at).and_then(|()| files::sync(&path, &written))
        };
        let mut state = self.lock();
        let open = state.open()?;
        // Whoever began later, and was told of it, is not undone by who was slow.
        let late = open.blocks.get(&block).is_some_and(|other| other.turn > turn);
        if stored.is_err() || late {
            open.free.extend(Some(place).filter(|_| !is_zero));
            return stored;
        }
        let placed = Placed { place, sha256, turn };
        let path = self.folder.join(LINES);
        let line = line(block, placed, open.count, open.xts.as_ref());
        files::write_at(&path, &open.lines, &line, open.count * LINE as u64)?;
        files::sync(&path, &open.lines)?;
        open.count += 1;
        let before = open.blocks.insert(block, placed).map(|before| before.place);
        open.free.extend(before.filter(|place| *place != NOWHERE));
        Ok(())
    }

    /// How many blocks there are, and the SHA-256 of theirs.
    pub fn sum(&self) -> Result<(u64, [u8; 32])> {
        let mut state = self.lock();
        let open = state.open()?;
        let mut sum = Sha256::new();
        open.blocks.values().for_each(|placed| sum.update(placed.sha256));
        Ok((open.blocks.len() as u64, sum.finalize().into()))
    }

    /// Makes a disk of it, of so many blocks.
    pub fn seal(&self, blocks: u64) -> Result<()> {
        let mut state = self.lock();
        let State::Open(open) = &mut *state else { return Ok(()) };
        if open.blocks.len() as u64 != blocks {
            // Less than was acknowledged is not what the tenant wrote.
            *state = State::Lost { why: "the host has lost some of it".into() };
            return Ok(());
        }
        let (path, disk) = (self.folder.join(WRITTEN), self.folder.join(DISK));
        let header = tables(open, u64::from(self.size_gib) * GIB, &path)?;
        files::write_at(&path, &open.written, &header, 0)?;
        files::sync(&path, &open.written)?;
        files::rename(&path, &disk)?;
        self.sync()?;
        *state = State::Kept { bytes: std::fs::metadata(&disk)?.blocks() * 512 };
        files::remove(&self.folder.join(LINES))
    }
}

impl State {
    fn open(&mut self) -> Result<&mut Open> {
        match self {
            Self::Open(open) => Ok(open),
            Self::New => bail!("it is not looked at yet"),
            Self::Kept { .. } => bail!("it is whole"),
            Self::Lost { why } => bail!("{why}"),
        }
    }
}

impl Open {
    /// Its first byte.
    fn at(&self, place: u32) -> u64 {
        ahead(self.xts.is_some()) * CLUSTER + u64::from(place) * BLOCK as u64
    }

    fn place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        })
    }
}

fn unlocked(written: &File, key: &Key) -> Result<Xts> {
    luks::open(key.passphrase().as_bytes(), |at, length| {
        let mut read = vec![0; length];
        written.read_exact_at(&mut read, LUKS_AT + at)?;
        Ok(read)
    })
}

/// The line of a number.
fn line(block: u32, Placed { place, sha256, turn: _ }: Placed, number: u64, xts: Option<&Xts>) -> [u8; LINE] {
    let mut line = [0; LINE];
    line[..4].copy_from_slice(&block.to_be_bytes());
    line[4..8].copy_from_slice(&place.to_be_bytes());
    line[8..40].copy_from_slice(&hidden(sha256, |sum| xts.map(|xts| xts.encrypt(LINES_AT + number, sum))));
    let own = Sha256::digest(&line[..40]);
    line[40..].copy_from_slice(&own[..LINE - 40]);
    line
}

/// A sum as the first part of a sector; what is behind it has no part in how it is encrypted.
fn hidden(sum: [u8; 32], with: impl FnOnce(&mut [u8]) -> Option<()>) -> [u8; 32] {
    let mut sector = [0; SECTOR];
    sector[..32].copy_from_slice(&sum);
    with(&mut sector);
    sector[..32].try_into().unwrap_or(sum)
}

fn parsed(text: &[u8; LINE], number: u64, xts: Option<&Xts>) -> Option<(u32, Placed)> {
    let of = |at: usize| text[at..at + 4].try_into().map(u32::from_be_bytes).ok();
    let stored = text[8..40].try_into().ok()?;
    let sha256 = hidden(stored, |sum| xts.map(|xts| xts.decrypt(LINES_AT + number, sum)));
    let (block, placed) = (of(0)?, Placed { place: of(4)?, sha256, turn: 0 });
    (line(block, placed, number, xts) == *text).then_some((block, placed))
}

/// Writes what names the blocks behind them, and returns what is to be written before them.
fn tables(open: &Open, size: u64, path: &Path) -> Result<Vec<u8>> {
    let count = size.div_ceil(CLUSTER * ENTRIES as u64);
    let mut end = ahead(open.xts.is_some()) + u64::from(open.places) * CLUSTERS;
    let mut l1 = vec![0_u64; usize::try_from(count)?];
    let mut header = Vec::new();
    files::write_from(path, &open.written, end * CLUSTER, |out| {
        let mut blocks = open.blocks.iter().peekable();
        while let Some((first, _)) = blocks.peek() {
            let table = u64::from(**first) * CLUSTERS / ENTRIES as u64;
            let mut l2 = vec![0_u64; ENTRIES];
            let of_it = |block: u32| u64::from(block) * CLUSTERS / ENTRIES as u64 == table;
            while let Some((block, placed)) = blocks.next_if(|(block, _)| of_it(**block)) {
                let from = usize::try_from(u64::from(*block) * CLUSTERS % ENTRIES as u64)?;
                for (n, entry) in l2[from..from + usize::try_from(CLUSTERS)?].iter_mut().enumerate() {
                    let there = |place| (open.at(place) + n as u64 * CLUSTER) | OWN;
                    *entry = if placed.place == NOWHERE { ZEROS } else { there(placed.place) };
                }
            }
            out.write_all(&write::big_endian(&l2))?;
            l1[usize::try_from(table)?] = (end * CLUSTER) | OWN;
            end += 1;
        }
        let l1_at = end;
        let mut first = write::big_endian(&l1);
        let clusters = (first.len() as u64).div_ceil(CLUSTER).max(1);
        first.resize(usize::try_from(clusters * CLUSTER)?, 0);
        out.write_all(&first)?;
        end += clusters;
        // A place that is not used any more is counted too, which harms nobody.
        let (counts, all) = write::count(out, end)?;
        header = write::header(size, (count, l1_at), (counts, all), open.xts.as_ref().map(|_| LUKS_AT));
        Ok(())
    })?;
    Ok(header)
}

#[cfg(test)]
mod tests;
