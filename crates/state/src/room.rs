//! Room on the disk that only the store's log can take, so that what gives room back still finds some when there is none.
//!
//! **Invariant:** what may not use the reserve is written only while all of it is there: blocks behind the end of the
//! log that are the log's already. Guests' disks grow on the same file system, so a file that is removed when room is
//! needed would be theirs at once.
//!
//! A part of the log is written before it is used. A flush of what overwrites it is one write; where the log grows, the
//! file system also writes down how long it is now, which takes several times as long.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::store::StoreError;

/// Some hundreds of transactions that terminate or delete something, even if nothing can be moved out of the log.
const RESERVE: u64 = 16 << 20;
/// Bytes that are taken, or written ahead, at once.
const STEP: u64 = 1 << 20;

pub(crate) struct Room {
    log: File,
    /// So far the log can grow, whatever others take. All: this file system cannot keep anything back.
    kept: u64,
}

impl Room {
    pub fn open(log: &Path) -> std::io::Result<Self> {
        let log = File::options().write(true).create(true).truncate(false).mode(0o600).open(log)?;
        let mut room = Self { log, kept: 0 };
        if let Err(e) = room.keep(0) {
            tracing::warn!(error = %e, "only what gives room back is accepted until there is more of it");
        }
        Ok(room)
    }

    /// Makes sure of the reserve, and that the log is written a little further than it is used.
    pub fn keep(&mut self, used: u64) -> Result<(), StoreError> {
        let length = self.length().map_err(|e| StoreError::Failed(e.to_string()))?;
        let ahead = if used + STEP > length { STEP } else { 0 };
        if self.kept < length + ahead + RESERVE {
            let reserve = self.kept.saturating_sub(length);
            match self.allocate(length, RESERVE + STEP).or_else(|_| self.allocate(length, RESERVE)) {
                Ok(kept) => self.kept = self.kept.max(kept),
                Err(Errno::ENOSPC | Errno::EDQUOT) if reserve >= RESERVE => {}
                Err(e @ (Errno::ENOSPC | Errno::EDQUOT)) => {
                    let told = format!("{} MiB are kept for what gives room back ({e})", RESERVE >> 20);
                    return Err(StoreError::Full(told));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "nothing can be kept back for when the disk is full");
                    self.kept = u64::MAX;
                }
            }
        }
        if ahead > 0 && self.kept >= length + ahead + RESERVE {
            // SQLite reads a log as far as its frames go, and these are none.
            let zeros = vec![0; usize::try_from(ahead).unwrap_or_default()];
            if let Err(e) = self.log.write_all_at(&zeros, length) {
                tracing::warn!(error = %e, "the log cannot be written ahead");
            }
        }
        Ok(())
    }

    /// Not by `metadata`: who asks for a file's times has its next write note them anew (Linux since 6.13, "multigrain
    /// timestamps"), which its flush then waits for.
    fn length(&self) -> std::io::Result<u64> {
        (&self.log).seek(SeekFrom::End(0))
    }

    /// Returns up to where there are blocks.
    fn allocate(&self, from: u64, bytes: u64) -> Result<u64, Errno> {
        loop {
            match fallocate(&self.log, FallocateFlags::FALLOC_FL_KEEP_SIZE, from.cast_signed(), bytes.cast_signed()) {
                Err(Errno::EINTR) => {}
                done => return done.map(|()| from + bytes),
            }
        }
    }
}
