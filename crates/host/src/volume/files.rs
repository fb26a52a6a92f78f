//! The changes of files that volumes consist of. Each is one step: tests end a host before any of them, and cut its power.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    Folder(&'a Path),
    Make(&'a Path),
    Sync(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Make(path) => write!(f, "making {}", path.display()),
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
