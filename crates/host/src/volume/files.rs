//! The changes of files that volumes consist of. Each is one step: tests end a host before any of them, and cut its power.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};

#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    Folder(&'a Path),
    Make(&'a Path),
    /// From one byte to another.
    Write(&'a Path, u64, u64),
    Sync(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Make(path) => write!(f, "making {}", path.display()),
            Self::Write(path, from, to) => write!(f, "writing bytes {from} to {to} of {}", path.display()),
            Self::Sync(path) => write!(f, "writing {}", path.display()),
            Self::Rename(from, to) => write!(f, "moving {} to {}", from.display(), to.display()),
            Self::Remove(path) => write!(f, "removing {}", path.display()),
        }
    }
}

fn step<T>(change: Change, taken: impl FnOnce() -> io::Result<T>) -> Result<T> {
    #[cfg(test)]
    crash::before(change)?;
    let done = taken().with_context(|| change.to_string())?;
    #[cfg(test)]
    crash::after(change);
    Ok(done)
}

/// For nobody else to enter. What is there stays.
pub fn make_folder(path: &Path) -> Result<()> {
    step(Change::Folder(path), || std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// A file with this in it, which a power failure does not take; its name it may.
pub fn write(path: &Path, text: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(step(Change::Make(path), || File::create(path))?);
    text(&mut out).and_then(|()| Ok(out.flush()?)).with_context(|| format!("writing {}", path.display()))?;
    sync(path, out.get_ref())
}

/// A power failure may take it until the file is synced.
pub fn write_at(path: &Path, file: &File, bytes: &[u8], at: u64) -> Result<()> {
    step(Change::Write(path, at, at + bytes.len() as u64), || file.write_all_at(bytes, at))
}

/// The same of what is written from a byte to the end.
pub fn write_from(
    path: &Path,
    file: &File,
    at: u64,
    text: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    let mut file = file;
    step(Change::Write(path, at, u64::MAX), || file.seek(SeekFrom::Start(at)))?;
    let mut out = BufWriter::new(file);
    text(&mut out).and_then(|()| Ok(out.flush()?)).with_context(|| format!("writing {}", path.display()))
}

pub fn sync(path: &Path, file: &File) -> Result<()> {
    step(Change::Sync(path), || file.sync_all())
}

/// What is in it keeps its name.
pub fn sync_folder(path: &Path) -> Result<()> {
    step(Change::Sync(path), || File::open(path)?.sync_all())
}

pub fn rename(from: &Path, to: &Path) -> Result<()> {
    step(Change::Rename(from, to), || std::fs::rename(from, to))
}

pub fn remove(path: &Path) -> Result<()> {
    step(Change::Remove(path), || std::fs::remove_file(path))
}

#[cfg(test)]
pub mod crash;
