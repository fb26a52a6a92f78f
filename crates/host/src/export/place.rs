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
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

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

/// There is nothing of ours under a name that is missing, or leads through something that is no folder or out of the bucket.
fn is_absence(e: Errno) -> bool {
    matches!(e, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV)
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
        Err(e) if is_absence(e) => Ok(None),
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
            Ok(about) if about.st_mode & libc::S_IFMT == libc::S_IFREG => Ok(Some(u64::try_from(about.st_size)?)),
            Ok(_) | Err(Errno::ENOENT) => Ok(None),
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
        let unfinished = remove(&self.bucket, &self.unfinished);
        let whole = self.folder(false).and_then(|folder| folder.map_or(Ok(()), |folder| remove(&folder, &self.name)));
        unfinished.and(whole)
    }

    /// The last of the folders; `None`: one is not there, and is not to be made. Those that are made stay.
    fn folder(&self, make: bool) -> Result<Option<File>> {
        let mut at = self.bucket.try_clone()?;
        for name in &self.folders {
            if make {
                make_folder(&at, name)?;
            }
            at = match folder(&at, name) {
                Ok(folder) => folder,
                Err(e) if !make && is_absence(e) => return Ok(None),
                Err(e) => return Err(e).context("opening a folder in a bucket"),
            };
            // One that is still this program's own may have been made by a life that ended then.
            if make && at.metadata()?.uid() == geteuid().as_raw() {
                self.give(&at)?;
            }
        }
        Ok(Some(at))
    }
}

fn make_folder(of: &File, name: &str) -> Result<()> {
    match mkdirat(of, name, Mode::from_bits_truncate(0o750)) {
        Ok(()) => Ok(of.sync_all()?),
        Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e).context("making a folder in a bucket"),
    }
}

fn unfinished(host: &HostId, id: &str) -> String {
    format!(".{host}.{id}{UNFINISHED}")
}

/// Folders stay: none is an exported file.
fn remove(folder: &File, name: &str) -> Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT | Errno::EISDIR) => Ok(()),
        Err(e) => Err(e).context("removing an exported file"),
    }
}

/// Removes what earlier lives of this host left unfinished and nobody asks for any more. What cannot be looked at keeps
/// nothing else from going.
pub fn sweep(exports: &Path, host: &HostId, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let start = format!(".{host}.");
    let goes = |file: &str| {
        let id = file.strip_prefix(&start).and_then(|rest| rest.strip_suffix(UNFINISHED));
        id.is_some_and(|id| id.starts_with("export-ami-") && !wanted(id))
    };
    let mut swept = Ok(());
    for account in names(exports)? {
        let buckets = names(&exports.join(&account)).map_err(|e| swept = Err(e)).unwrap_or_default();
        for name in buckets {
            if let Err(e) = sweep_bucket(exports, &account, &name, goes) {
                swept = Err(e);
            }
        }
    }
    swept
}

fn sweep_bucket(exports: &Path, account: &str, name: &str, goes: impl Fn(&str) -> bool) -> Result<()> {
    let Some(bucket) = bucket(exports, account, name)? else { return Ok(()) };
    let files = names(&exports.join(account).join(name))?;
    files.iter().filter(|file| goes(file)).try_for_each(|file| remove(&bucket, file))
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

/// Whether both take the room of one file system.
pub fn is_beside(exports: &Path, data: &Path) -> Result<bool> {
    let device = |folder: &Path| folder.metadata().with_context(|| format!("looking at {}", folder.display()));
    Ok(device(exports)?.dev() == device(data)?.dev())
}

/// Made by the operator, else by whoever starts a host: nobody else may look into it.
pub fn make(exports: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o750).create(exports);
    made.with_context(|| format!("making {}", exports.display()))
}
