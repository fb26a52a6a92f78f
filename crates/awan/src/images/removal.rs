//! What goes from the folder of images: those that the operator took away, and what interrupted commands left.
//!
//! An image that is taken away is seen by nobody, and stays as long as something begins as it. Then its folder gets another
//! name, then its record goes, then the folder. So after a crash its record says what is to become of a folder.
//!
//! **Invariant:** no folder goes while something begins as the image, or while a command works in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use awan_control::{Control, operator};
use awan_model::id::ImageId;

/// Names of folders that commands work in begin so.
const WORK: &str = "new-";
/// Names of those that are about to go.
const GOING: &str = "gone-";
/// One at a time shows images or takes them away, so that what one has read of a folder is so when it acts.
pub static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const ROUND: Duration = Duration::from_secs(15);
/// Whoever made a folder has locked it by then.
const LOCKED_WITHIN: Duration = Duration::from_secs(60);

/// A folder to work in, which goes with this; what commands before left goes first.
pub struct Work {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Work {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub fn work_in(images: &Path) -> Result<Work> {
    std::fs::create_dir_all(images).with_context(|| format!("making {}", images.display()))?;
    sweep(images, LOCKED_WITHIN);
    let folder = tempfile::Builder::new().prefix(WORK).tempdir_in(images).context("a folder for the image")?;
    let lock = File::open(folder.path())?;
    lock.try_lock().context("locking a folder")?;
    Ok(Work { folder, _lock: lock })
}

/// Removes what commands left that nobody works in.
pub fn sweep(images: &Path, older: Duration) {
    for entry in std::fs::read_dir(images).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(WORK) {
            continue;
        }
        let is_old = |entry: &std::fs::DirEntry| {
            let changed = entry.metadata().and_then(|about| about.modified()).ok();
            changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age >= older)
        };
        let is_free = File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok());
        if is_free && is_old(&entry) {
            gone(&entry.path());
        }
    }
}

fn gone(folder: &Path) {
    if let Err(e) = std::fs::remove_dir_all(folder) {
        tracing::error!(folder = %folder.display(), error = %e, "cannot be removed; it is tried at the next start");
    }
}

fn going(images: &Path, id: &ImageId) -> PathBuf {
    images.join(format!("{GOING}{id}"))
}

/// Before images are shown: what an earlier life left of those that were about to go.
pub fn settle(control: &Control, images: &Path) -> Result<()> {
    sweep(images, LOCKED_WITHIN);
    let unused = operator::unused_images(&control.db);
    for entry in std::fs::read_dir(images).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_prefix(GOING)?.parse::<ImageId>().ok()) else {
            continue;
        };
        let (stays, place) =
            (operator::knows_image(&control.db, &id) && !unused.contains(&id), images.join(id.as_str()));
        if stays && !place.exists() {
            std::fs::rename(entry.path(), &place).with_context(|| format!("naming {}", place.display()))?;
        } else {
            gone(&entry.path());
        }
    }
    Ok(())
}

/// Removes those that were taken away and that nothing begins as.
pub async fn remove_unused(control: &Control, images: &Path) -> Result<()> {
    let _turn = TURN.lock().await;
    for id in operator::unused_images(&control.db) {
        let (place, going) = (images.join(id.as_str()), going(images, &id));
        let is_here = place.exists();
        if is_here {
            // What an earlier round could not remove.
            if going.exists() {
                std::fs::remove_dir_all(&going).with_context(|| format!("removing {}", going.display()))?;
            }
            std::fs::rename(&place, &going).with_context(|| format!("naming {}", going.display()))?;
            File::open(images)?.sync_all()?;
        }
        let forgotten = operator::forget_image(&control.db, &id).await;
        let forgotten = forgotten.map_err(|e| anyhow::anyhow!("forgetting {id}: {e}"));
        match forgotten {
            Ok(true) => {
                tracing::info!(image = %id, "removed");
                if going.exists() {
                    gone(&going);
                }
            }
            // It has come again meanwhile.
            Ok(false) | Err(_) if is_here && !place.exists() => std::fs::rename(&going, &place)?,
            Ok(false) | Err(_) => {}
        }
        forgotten?;
    }
    Ok(())
}

/// Looks again and again: what begins as an image goes without a word to this.
pub async fn rounds(control: Arc<Control>, images: PathBuf) {
    let mut round = tokio::time::interval(ROUND);
    loop {
        round.tick().await;
        if let Err(e) = remove_unused(&control, &images).await {
            tracing::error!(error = format!("{e:#}"), "images that are removed are looked at again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_interrupted_commands_left_goes_and_what_one_works_in_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = folder.path().join("new-left");
        std::fs::create_dir_all(left.join("image")).expect("makes");
        std::fs::create_dir(folder.path().join("ami-0")).expect("makes");
        let work = work_in(folder.path()).expect("makes");
        assert!(left.exists(), "somebody may have made it just now");
        sweep(folder.path(), Duration::ZERO);
        assert!(!left.exists() && work.path().exists());
        let path = work.path().to_owned();
        drop(work);
        assert!(!path.exists() && folder.path().join("ami-0").exists());
    }
}
