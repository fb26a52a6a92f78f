//! Who uses a data directory: one control plane, one host. The files name the process that has them.
//!
//! **Invariant:** the lock is the kernel's and ends with its process, however that ends; what the file says counts only
//! while it is locked.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

pub const CONTROL: &str = "control.lock";
pub const HOST: &str = "host.lock";
/// Beside the guests' sockets, where a copy of the data directory meets it too.
pub const GUESTS: &str = "guests.lock";

/// A process that was killed a moment ago may still be on its way out. So may be programs that it was about to start:
/// until they are themselves they hold what it held, this lock and its ports too. A machine that is being started in
/// such a moment is seen, and taken over, only if it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);

/// Held for as long as it is kept.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Takes the directory for some roles, or says who has it.
pub async fn take(data_dir: &Path, names: &[&str]) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for name in names {
        held.push(take_one(&data_dir.join(name)).await?);
    }
    Ok(held)
}

async fn take_one(path: &Path) -> Result<Held> {
    // Who may read it may lock it.
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("opening {}", path.display()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("locking {}", path.display())),
            Err(TryLockError::WouldBlock) if Instant::now() < end => tokio::time::sleep(AGAIN).await,
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                let _ = file.read_to_string(&mut who);
                let folder = path.parent().unwrap_or(path).display();
                bail!("{folder} is in use by process {}; end that first (kill {0})", who.trim());
            }
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id()).with_context(|| format!("writing {}", path.display()))?;
    Ok(Held(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_directory_has_one_user_and_is_free_when_that_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = take(folder.path(), &[CONTROL, HOST]).await.expect("takes");
        let refusal = take(folder.path(), &[HOST]).await.expect_err("is taken").to_string();
        let own = std::process::id();
        assert!(refusal.ends_with(&format!("is in use by process {own}; end that first (kill {own})")), "{refusal}");
        drop(first);
        take(folder.path(), &[HOST]).await.expect("is free again");
    }
}
