//! What guests write to their serial consoles: the newest part is shown, and only so much is kept.

use std::cell::LazyCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use awan_model::id::InstanceId;

use super::launch::{COMPLAINTS, CONSOLE};

const SHOWN: u64 = 64 * 1024;
/// How much a file may hold before it is cut back to what is shown.
const KEPT: u64 = 1024 * 1024;
const ROUND: Duration = Duration::from_secs(2);

pub fn newest(folder: &Path) -> Result<Vec<u8>> {
    match File::open(folder.join(CONSOLE)) {
        Ok(file) => tail(file),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// Of the run that is; without one, of the last that was.
pub fn newest_or_kept(folder: &Path, kept: &Path, id: &InstanceId) -> Result<Vec<u8>> {
    if folder.join(CONSOLE).exists() {
        return newest(folder);
    }
    match File::open(kept.join(id.as_str())) {
        Ok(file) => tail(file),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e.into()),
    }
}

/// Keeps what is shown of a run that is about to be removed.
pub fn keep(folder: &Path, kept: &Path, id: &InstanceId) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let output = newest(folder)?;
    if output.is_empty() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(kept)?;
    // Whole or not at all.
    let new = kept.join(format!("{id}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&output)?;
    Ok(std::fs::rename(&new, kept.join(id.as_str()))?)
}

/// Removes what was kept of all others.
pub fn keep_only(kept: &Path, of: &[InstanceId]) -> Result<()> {
    let wanted = LazyCell::new(|| of.iter().map(InstanceId::as_str).collect::<HashSet<_>>());
    for entry in std::fs::read_dir(kept).into_iter().flatten().flatten() {
        // A `.new` one is being written.
        let name = entry.file_name();
        let id = name.to_str().filter(|name| !name.ends_with(".new"));
        if id.is_some_and(|id| !wanted.contains(id)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn tail(mut file: File) -> Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
    let mut output = Vec::new();
    file.take(SHOWN).read_to_end(&mut output)?;
    Ok(output)
}

/// Keeps what guests write from filling the disk.
pub async fn trim_all(folders: PathBuf) {
    let mut round = tokio::time::interval(ROUND);
    loop {
        round.tick().await;
        for entry in std::fs::read_dir(&folders).into_iter().flatten().flatten() {
            for name in [CONSOLE, COMPLAINTS] {
                let path = entry.path().join(name);
                if std::fs::metadata(&path).is_ok_and(|m| m.len() > KEPT)
                    && let Err(e) = trim(&path)
                {
                    tracing::warn!(file = %path.display(), error = format!("{e:#}"), "cannot be cut back");
                }
            }
        }
    }
}

/// QEMU appends, so what it writes meanwhile lands behind what is left, or is lost; never in a hole.
fn trim(path: &Path) -> Result<()> {
    let kept = tail(File::open(path)?)?;
    let mut file = File::options().append(true).open(path)?;
    file.set_len(0)?;
    Ok(file.write_all(&kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_its_newest_part_and_writing_goes_on_behind_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(CONSOLE);
        let mut guest = File::options().create(true).append(true).open(&path).expect("opens");
        guest.write_all(&vec![b'x'; 3 << 20]).expect("writes");
        guest.write_all(b"last").expect("writes");
        trim(&path).expect("cuts");
        guest.write_all(b"!").expect("writes");
        let output = newest(folder.path()).expect("reads");
        assert_eq!((output.len() as u64, output.ends_with(b"xlast!")), (SHOWN, true));
        assert_eq!(std::fs::metadata(&path).expect("is there").len(), SHOWN + 1);
    }

    #[test]
    fn what_a_run_said_outlives_its_folder_for_as_long_as_it_is_wanted() {
        let (folder, kept) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let ids: Vec<InstanceId> =
            ["i-0000000000000000a", "i-0000000000000000b"].iter().map(|id| id.parse().expect("an id")).collect();
        let shown = |id: &InstanceId| newest_or_kept(&folder.path().join(id.as_str()), kept.path(), id).expect("reads");
        for id in &ids {
            let own = folder.path().join(id.as_str());
            std::fs::create_dir(&own).expect("makes");
            std::fs::write(own.join(CONSOLE), [&[b'x'; 100_000][..], id.as_str().as_bytes()].concat()).expect("writes");
            keep(&own, kept.path(), id).expect("keeps");
            std::fs::remove_dir_all(&own).expect("removes");
            assert!(shown(id).ends_with(id.as_str().as_bytes()) && shown(id).len() as u64 == SHOWN);
        }
        keep_only(kept.path(), &ids[1..]).expect("removes");
        assert_eq!((shown(&ids[0]).len(), shown(&ids[1]).len() as u64), (0, SHOWN));
        let own = folder.path().join(ids[1].as_str());
        std::fs::create_dir(&own).expect("makes");
        std::fs::write(own.join(CONSOLE), b"again").expect("writes");
        assert_eq!(shown(&ids[1]), b"again", "a new run comes before the last");
        keep_only(&kept.path().join("nowhere"), &ids).expect("there is nothing to remove");
    }

    #[test]
    fn a_guest_that_said_nothing_has_an_empty_console() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(newest(folder.path()).expect("reads"), Vec::<u8>::new());
    }
}
