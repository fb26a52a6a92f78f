//! Disks from elsewhere are read by a process of its own. It has the file that is read, the file that is written and a pipe for
//! its words, and nothing else: no other file, no network, no rights, no children, and no more memory and time than such
//! work needs. What comes of a file that gets the better of our parser is a broken disk.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use awan_model::import::Format;
use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, chdir, chroot, setgroups, setresgid, setresuid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::process::Command;

use super::{disk, write};

/// More than any file may need: see `disk::tests::broken`. Of addresses, of which allocators take more than they use.
const MEMORY_MAX: u64 = 4 << 30;
const LOOKED_WITHIN: Duration = Duration::from_secs(60);
const REWRITTEN_WITHIN: Duration = Duration::from_secs(2 * 60 * 60);
/// A word for each 16 MiB of the largest disk, and room for what is wrong.
const WORDS_MAX: u64 = 256 << 20;

/// Where such processes come from.
#[derive(Debug, Clone)]
pub struct Jail {
    /// It calls [`serve`] when it is started with `read-disk`.
    pub program: PathBuf,
    /// Who they are; `None`: who this process is.
    pub user: Option<u32>,
    /// All that there is to them, if this process may see to that.
    pub folder: PathBuf,
}

impl Jail {
    /// How many bytes a disk has.
    pub async fn size(&self, source: &File, format: Format) -> Result<u64> {
        let mut size = None;
        let heard = |word: &str, number: u64| {
            ensure!(word == "size", "an unknown word");
            size = Some(number);
            Ok(())
        };
        self.run(&[format.as_str()], source.try_clone()?, None, LOOKED_WITHIN, heard).await?;
        let size = size.context("the reader said nothing")?;
        ensure!((1..=super::DISK_MAX).contains(&size), "a disk of no such size");
        Ok(size)
    }

    /// Makes a file that volumes can be children of, of a disk of at most so many bytes.
    pub async fn rewrite(
        &self,
        source: File,
        format: Format,
        size: u64,
        to: &Path,
        mut goes_on: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let file = File::create(to)?;
        let mut whole = false;
        let heard = |word: &str, number: u64| {
            whole = word == "whole";
            if whole { Ok(()) } else { goes_on(number) }
        };
        let size = size.to_string();
        let words = [format.as_str(), "--size", &size];
        self.run(&words, source, Some(file.try_clone()?), REWRITTEN_WITHIN, heard).await?;
        ensure!(whole, "the reader did not come to an end");
        Ok(file.sync_all()?)
    }

    async fn run(
        &self,
        words: &[&str],
        source: File,
        to: Option<File>,
        within: Duration,
        mut heard: impl FnMut(&str, u64) -> Result<()>,
    ) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("read-disk").args(words).env_clear().current_dir(&self.folder).kill_on_drop(true);
        if let Some(user) = self.user {
            command.args(["--user", &user.to_string()]);
        }
        command.stdin(source).stdout(to.map_or_else(Stdio::null, Stdio::from)).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting the reader of disks")?;
        let said = child.stderr.take().context("the reader has no pipe")?;
        let read = async {
            let mut lines = tokio::io::BufReader::new(said.take(WORDS_MAX)).lines();
            while let Some(line) = lines.next_line().await? {
                match line.split_once(' ') {
                    Some(("wrong", why)) => bail!("{}", why.chars().take(200).collect::<String>()),
                    Some(("fault", why)) => return Err(io::Error::other(why.to_owned()).into()),
                    Some((word, number)) => heard(word, number.parse().context("an unknown word")?)?,
                    None => heard(&line, 0)?,
                }
            }
            let status = child.wait().await?;
            // The kernel ended it, or it panicked: either way the file is to blame.
            ensure!(status.success(), "it cannot be read");
            Ok(())
        };
        tokio::time::timeout(within, read).await.context("it took too long")?
    }
}

/// The process itself: reads its standard input, writes its standard output. Without a size it only looks.
pub fn serve(format: Format, size: Option<u64>, user: Option<u32>) -> bool {
    let mut words = io::stderr();
    let done = confine(size, user).context("confining").and_then(|()| work(format, size, &mut words));
    let Err(e) = done else { return true };
    // What a file is to blame for is said in words; what is not is this machine's.
    let blame = if e.chain().count() == 1 && e.is::<io::Error>() { "fault" } else { "wrong" };
    let _ = writeln!(words, "{blame} {e}");
    false
}

fn work(format: Format, size: Option<u64>, words: &mut impl io::Write) -> Result<()> {
    let source = BufReader::new(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    let Some(size) = size else {
        return Ok(writeln!(words, "size {}", disk::open(source, format, super::DISK_MAX)?.size())?);
    };
    let mut disk = disk::open(source, format, size)?;
    let mut out = BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    write::write(&mut *disk, size, None, &mut out, |done| Ok(writeln!(words, "done {done}")?))?;
    out.flush()?;
    Ok(writeln!(words, "whole")?)
}

/// From here on there is nothing but what is open.
fn confine(size: Option<u64>, user: Option<u32>) -> Result<()> {
    // A table for each 8,192 clusters, and what is before the first.
    let written = size.map_or(0, |size| size + size / 4096 + (16 << 20));
    for (what, most) in [
        (Resource::RLIMIT_CORE, 1),
        (Resource::RLIMIT_AS, MEMORY_MAX),
        (Resource::RLIMIT_CPU, REWRITTEN_WITHIN.as_secs()),
        (Resource::RLIMIT_FSIZE, written),
    ] {
        setrlimit(what, most, most)?;
    }
    // Landlock keeps files from it, but not sockets that have a name; an ordinary user may not do this.
    let apart = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC).and_then(|()| chroot("."));
    let apart = apart.and_then(|()| chdir("/"));
    if nix::unistd::geteuid().is_root() {
        apart?;
    }
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        setgroups(&[])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    crate::process::drop_capabilities()?;
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    // Nothing is allowed: what is open stays so. Sets that rights are never gained again, too.
    let nothing =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::from_all(ABI::V3));
    nothing?.create()?.restrict_self()?;
    Ok(())
}
