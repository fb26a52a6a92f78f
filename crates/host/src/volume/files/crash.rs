//! Ends a host before one of its steps, as a kill does, and takes from its disk what a power failure may take.
//!
//! A host that has ended takes no more steps until it is [`revived`]. What was not synced is remembered over its lives: a
//! power failure undoes some of it, the newest first, as a disk with a journal would.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Change;

#[derive(Default)]
struct Fate {
    /// So many steps more; `None`: it lives.
    left: Option<u32>,
    ended: bool,
    /// How often it ended before each step.
    ends: BTreeMap<&'static str, u64>,
    /// Not synced, the oldest first.
    owed: Vec<Owed>,
    /// Where what may come back is kept; without it, power does not fail.
    past: Option<PathBuf>,
    backups: u64,
}

enum Owed {
    Folder(PathBuf),
    Made(PathBuf),
    /// And what was there before.
    Renamed(PathBuf, PathBuf, Option<PathBuf>),
    Removed(PathBuf, PathBuf),
    /// What a file held from a byte on, and how long it was.
    Wrote(PathBuf, u64, Vec<u8>, u64),
}

thread_local! { static FATE: RefCell<Fate> = RefCell::default(); }

/// Begins anew, with a folder on the same disk for what a power failure brings back.
pub fn begin(past: PathBuf) {
    FATE.with_borrow_mut(|fate| *fate = Fate { past: Some(past), ..Fate::default() });
}

/// The host ends before the step after so many.
pub fn after_steps(left: u32) {
    FATE.with_borrow_mut(|fate| fate.left = Some(left));
}

/// Whether it had ended. It lives again.
pub fn revived() -> bool {
    FATE.with_borrow_mut(|fate| {
        fate.left = None;
        std::mem::take(&mut fate.ended)
    })
}

pub fn ends() -> BTreeMap<&'static str, u64> {
    FATE.with_borrow(|fate| fate.ends.clone())
}

/// A step of others, which tests take: it fails too once the host has ended.
pub fn other(name: &'static str) -> Result<()> {
    FATE.with_borrow_mut(|fate| fate.passes(name))
}

/// Undoes so many of the newest steps that were not synced, and forgets the rest.
pub fn cut_power(chosen: impl FnOnce(usize) -> usize) -> usize {
    FATE.with_borrow_mut(|fate| {
        let owed = std::mem::take(&mut fate.owed);
        let lost = chosen(owed.len()).min(owed.len());
        for step in owed.into_iter().rev().take(lost) {
            step.undo();
        }
        lost
    })
}

impl Fate {
    fn passes(&mut self, name: &'static str) -> Result<()> {
        match &mut self.left {
            Some(0) if !self.ended => {
                self.ended = true;
                *self.ends.entry(name).or_default() += 1;
            }
            Some(left) => *left = left.saturating_sub(1),
            None => {}
        }
        if self.ended { bail!("the host has ended") } else { Ok(()) }
    }

    /// A second name of what is about to lose its own.
    fn backup(&mut self, path: &Path) -> Option<PathBuf> {
        let to = self.past.as_ref()?.join(self.backups.to_string());
        self.backups += 1;
        std::fs::hard_link(path, &to).ok().map(|()| to)
    }
}

impl Owed {
    /// Whether it is safe once this is synced.
    fn is_of(&self, synced: &Path) -> bool {
        match self {
            Self::Folder(path) | Self::Made(path) | Self::Renamed(_, path, _) | Self::Removed(path, _) => {
                path.parent() == Some(synced)
            }
            Self::Wrote(path, ..) => path == synced,
        }
    }

    fn wrote(path: &Path, at: u64, to: u64) -> Option<Self> {
        let file = std::fs::File::open(path).ok()?;
        let end = file.metadata().ok()?.len();
        let mut before = vec![0; usize::try_from(end.min(to).saturating_sub(at)).ok()?];
        file.read_exact_at(&mut before, at).ok()?;
        Some(Self::Wrote(path.to_owned(), at, before, end))
    }

    fn undo(self) {
        let done = match &self {
            Self::Folder(path) => std::fs::remove_dir_all(path),
            Self::Made(path) => std::fs::remove_file(path),
            Self::Renamed(from, to, before) => std::fs::rename(to, from)
                .and_then(|()| before.as_ref().map_or(Ok(()), |before| std::fs::rename(before, to))),
            Self::Removed(path, backup) => std::fs::rename(backup, path),
            Self::Wrote(path, at, before, end) => std::fs::File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.write_all_at(before, *at).and_then(|()| file.set_len(*end))),
        };
        // Whose folder is gone is gone with it.
        if let Err(e) = done {
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{e}");
        }
    }
}

fn name(change: Change) -> &'static str {
    match change {
        Change::Folder(_) => "a folder is made",
        Change::Make(_) => "a file is made",
        Change::Write(..) => "bytes are written",
        Change::Sync(path) if path.is_dir() => "names are synced",
        Change::Sync(_) => "bytes are synced",
        Change::Rename(..) => "a file is moved",
        Change::Remove(_) => "a file is removed",
    }
}

pub fn before(change: Change) -> Result<()> {
    FATE.with_borrow_mut(|fate| {
        fate.passes(name(change))?;
        let owed = match change {
            Change::Folder(path) if !path.exists() => Owed::Folder(path.to_owned()),
            Change::Rename(from, to) => Owed::Renamed(from.to_owned(), to.to_owned(), fate.backup(to)),
            Change::Remove(path) => match fate.backup(path) {
                Some(backup) => Owed::Removed(path.to_owned(), backup),
                None => return Ok(()),
            },
            Change::Make(path) if !path.exists() => Owed::Made(path.to_owned()),
            Change::Write(path, from, to) => match Owed::wrote(path, from, to) {
                Some(wrote) => wrote,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        if fate.past.is_some() {
            fate.owed.push(owed);
        }
        Ok(())
    })
}

pub fn after(change: Change) {
    let Change::Sync(path) = change else { return };
    FATE.with_borrow_mut(|fate| {
        fate.owed.retain(|owed| !owed.is_of(path));
    });
}
