//! Room on the disk that only the store's log can take, so that what gives room back still finds some when there is none.
//!
//! **Invariant:** what may not use the reserve is written only while all of it is there: blocks behind the end of the
//! log that are the log's already. Guests' disks grow on the same file system, so a file that is removed when room is
//! needed would be theirs at once.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::store::StoreError;

/// Some hundreds of transactions that terminate or delete something, even if nothing can be moved out of the log.
const RESERVE: u64 = 16 << 20;
/// Blocks are taken so many at once.
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
        if let Err(e) = room.keep() {
            tracing::warn!(error = %e, "only what gives room back is accepted until there is more of it");
        }
        Ok(room)
    }

    /// Makes sure of the reserve.
    pub fn keep(&mut self) -> Result<(), StoreError> {
        let length = self.log.metadata().map_err(|e| StoreError::Failed(e.to_string()))?.len();
        let wanted = length + RESERVE;
        if self.kept >= wanted {
            return Ok(());
        }
        let (all, more) = (RESERVE, RESERVE + STEP);
        match self.allocate(length, more).or_else(|_| self.allocate(length, all)) {
            Ok(kept) => self.kept = kept,
            Err(e @ (Errno::ENOSPC | Errno::EDQUOT)) => {
                let told = format!("{} MiB are kept for what gives room back ({e})", RESERVE >> 20);
                return Err(StoreError::Full(told));
            }
            Err(e) => {
                tracing::warn!(error = %e, "nothing can be kept back for when the disk is full");
                self.kept = u64::MAX;
            }
        }
        Ok(())
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
