//! What guests write to their serial consoles: the newest part is shown, and only so much is kept.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

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
    fn a_guest_that_said_nothing_has_an_empty_console() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(newest(folder.path()).expect("reads"), Vec::<u8>::new());
    }
}
