//! Where exported files lie: `FOLDER/ACCOUNT/BUCKET/PREFIX…`, where FOLDER is the operator's and so is what is a bucket.
//!
//! **Invariants.** No name leads out of an account's bucket: each is opened below what was opened before, through no link.
//! A file appears under its name only when it is whole and on the disk. What is not whole lies in the bucket under a name
//! that says whose it is: of several hosts that share a folder, each removes only its own.

use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use awan_model::id::HostId;
use awan_model::plan::ExportPlan;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::{NO_BUCKET, Told};

/// How names of files end that are not whole.
const UNFINISHED: &str = ".new";

/// Opens what lies below something that is open, and nothing else.
fn below(of: impl AsFd, path: &str, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let way = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(of, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(way))
}

fn folder(of: impl AsFd, path: &str) -> nix::Result<File> {
    below(of, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).map(File::from)
}

/// An account's bucket. `None`: it has none of this name.
pub fn bucket(exports: &Path, account: &str, name: &str) -> Result<Option<File>> {
    // The operator may have named the folder through links.
    let exports = match File::open(exports) {
        Ok(folder) => folder,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).context("opening the folder for exports"),
    };
    if name.contains('/') || name == "." {
        return Ok(None);
    }
    match folder(exports, account).and_then(|account| folder(account, name)) {
        Ok(bucket) => Ok(Some(bucket)),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Ok(None),
        Err(e) => Err(e).context("opening a bucket"),
    }
}

/// Where one file is to lie.
pub struct Place {
    bucket: File,
    /// What is not whole, in the bucket.
    unfinished: String,
    /// What is, below it: folders, and a name.
    folders: Vec<String>,
    name: String,
}

impl Place {
    pub fn open(exports: &Path, host: &HostId, plan: &ExportPlan) -> Result<Self> {
        let bucket = bucket(exports, plan.home.account(), &plan.bucket)?.ok_or(Told(NO_BUCKET))?;
        let mut folders: Vec<_> = plan.prefix.split('/').map(str::to_owned).collect();
        let start = folders.pop().unwrap_or_default();
        let name = format!("{start}{}.{}", plan.id, plan.format.ending());
        Ok(Self { bucket, unfinished: unfinished(host, plan.id.as_str()), folders, name })
    }

    /// What the file says that it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of an earlier life, which may have told nobody.
    pub fn kept(&self) -> Result<Option<u64>> {
        let Some(folder) = self.folder(false)? else { return Ok(None) };
        match fstatat(&folder, self.name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(u64::try_from(about.st_size)?)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e).context("looking for an exported file"),
        }
    }

    /// An empty file, whose owner is the bucket's.
    pub fn begin(&self) -> Result<File> {
        remove(&self.bucket, &self.unfinished)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
        let file = below(&self.bucket, &self.unfinished, flags, mode).context("making a file")?;
        let file = File::from(file);
        self.give(&file)?;
        Ok(file)
    }

    /// Who owns the bucket owns what is in it.
    fn give(&self, made: &File) -> Result<()> {
        let (own, whose) = (made.metadata()?, self.bucket.metadata()?);
        if (own.uid(), own.gid()) == (whose.uid(), whose.gid()) {
            return Ok(());
        }
        let given = fchown(made, Some(Uid::from_raw(whose.uid())), Some(Gid::from_raw(whose.gid())));
        given.context("giving a file to the owner of its bucket")
    }

    /// Gives a file that is whole its name.
    pub fn finish(&self, file: &File) -> Result<()> {
        file.sync_all().context("writing an exported file")?;
        let folder = self.folder(true)?.context("its folder went")?;
        renameat(&self.bucket, self.unfinished.as_str(), &folder, self.name.as_str()).context("naming a file")?;
        folder.sync_all()?;
        Ok(self.bucket.sync_all()?)
    }

    /// Removes the file, whole or not.
    pub fn clear(&self) -> Result<()> {
        self.abandon()?;
        match self.folder(false)? {
            Some(folder) => remove(&folder, &self.name),
            None => Ok(()),
        }
    }

    /// Removes it as long as it is not whole.
    pub fn abandon(&self) -> Result<()> {
        remove(&self.bucket, &self.unfinished)
    }

    /// The last of the folders; `None`: one is not there, and is not to be made. Those that are made stay.
    fn folder(&self, make: bool) -> Result<Option<File>> {
        let mut at = self.bucket.try_clone()?;
        for name in &self.folders {
            let made = make && is_made(&at, name)?;
            at = match folder(&at, name) {
                Ok(folder) => folder,
                Err(Errno::ENOENT) if !make => return Ok(None),
                Err(e) => return Err(e).context("opening a folder in a bucket"),
            };
            if made {
                self.give(&at)?;
            }
        }
        Ok(Some(at))
    }
}

/// False: it is there already.
fn is_made(folder: &File, name: &str) -> Result<bool> {
    match mkdirat(folder, name, Mode::from_bits_truncate(0o750)) {
        Ok(()) => {
            folder.sync_all()?;
            Ok(true)
        }
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(e).context("making a folder in a bucket"),
    }
}

fn unfinished(host: &HostId, id: &str) -> String {
    format!(".{host}.{id}{UNFINISHED}")
}

fn remove(folder: &File, name: &str) -> Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e).context("removing an exported file"),
    }
}

/// Removes what earlier lives of this host left unfinished and nobody asks for any more.
pub fn sweep(exports: &Path, host: &HostId, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let start = format!(".{host}.");
    for account in names(exports)? {
        for name in names(&exports.join(&account))? {
            let Some(bucket) = bucket(exports, &account, &name)? else { continue };
            for file in names(&exports.join(&account).join(&name))? {
                let id = file.strip_prefix(&start).and_then(|rest| rest.strip_suffix(UNFINISHED));
                if id.is_some_and(|id| id.starts_with("export-ami-") && !wanted(id)) {
                    remove(&bucket, &file)?;
                }
            }
        }
    }
    Ok(())
}

/// What is in a folder; nothing, if it is none.
fn names(folder: &Path) -> Result<Vec<String>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), NotFound | NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(e).context("looking into the folder for exports"),
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Made by the operator, else by whoever starts a host: nobody else may look into it.
pub fn make(exports: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(exports);
    made.with_context(|| format!("making {}", exports.display()))
}
