//! The default store: one SQLite file in WAL mode, every commit flushed (`synchronous=FULL`).
//!
//! **Invariant:** one process writes the file. It holds SQLite's exclusive lock for as long as it lives, so a second
//! `awan` on the same data directory fails at start instead of corrupting anything, and the ledger in memory is
//! always the file's.
//!
//! A commit that finds no room is taken back, and the next is tried. SQLite says that the disk is full while it appends
//! to its log, before the mark that makes a commit count is there. A flush that fails says nothing of the kind: pages
//! that could not be written may look as if they were. Nothing is accepted after one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use nix::errno::Errno;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, ffi, params};

use crate::ledger::Ledger;
use crate::room::Room;
use crate::store::{Committed, Page, Revision, Row, Store, StoreError, Txn};

pub struct SqliteStore(Mutex<Inner>);

struct Inner {
    db: Connection,
    ledger: Ledger,
    /// Of the log, in use after the last commit.
    frames: Arc<AtomicU64>,
    room: Room,
    /// A flush failed: what is on disk is unknown until the file is opened again, so nothing more is accepted.
    failed: Option<StoreError>,
}

impl From<rusqlite::Error> for StoreError {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(e.to_string()),
            _ => Self::Failed(e.to_string()),
        }
    }
}

// Keys are random, so what is written together lies together only because rows are kept apart from the index of keys.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kv (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, cause TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT OR IGNORE INTO meta VALUES ('revision', 0), ('format', 1);
";

/// Negative: in KiB. Room for the pages of a large transaction, so that none is written twice.
const CACHE: i64 = -8192;
/// So many pages of the log are moved to the file at once. A page that changes often is moved once.
const CHECKPOINT: i32 = 8_000;
/// Bytes of a page in the log, with its header (SQLite's "WAL-mode File Format").
const FRAME: u64 = 4096 + 24;

impl SqliteStore {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut db = Connection::open(path)?;
        db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "cache_size", CACHE)?;
        let frames = Arc::new(AtomicU64::new(0));
        let seen = frames.clone();
        db.wal_hook(Some(move |log: &mut Wal, count: i32| {
            seen.store(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            if count >= CHECKPOINT {
                // What could not be moved stays in the log, and is moved another time.
                let _ = log.checkpoint();
            }
            Ok(())
        }))?;
        db.execute_batch(SCHEMA)?;
        let format: i64 = db.query_row("SELECT value FROM meta WHERE name = 'format'", [], |r| r.get(0))?;
        if format != 1 {
            let told = format!("{} has format {format}; this program reads format 1", path.display());
            return Err(StoreError::Failed(told));
        }
        let ledger = load(&db)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let room = Room::open(log.as_ref()).map_err(|e| StoreError::Failed(e.to_string()))?;
        Ok(Self(Mutex::new(Inner { db, ledger, frames, room, failed: None })))
    }
}

fn load(db: &Connection) -> Result<Ledger, StoreError> {
    let mut ledger = Ledger::default();
    let mut all = db.prepare("SELECT key, revision FROM kv WHERE key < 'cold/' OR key >= 'cold0'")?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        ledger.load(&key.into(), row.get::<_, i64>(1)?.cast_unsigned());
    }
    ledger.revision = stored_revision(db)?;
    Ok(ledger)
}

fn stored_revision(db: &Connection) -> Result<Revision, StoreError> {
    let stored = db.query_row("SELECT value FROM meta WHERE name = 'revision'", [], |r| r.get::<_, i64>(0));
    Ok(stored.optional()?.unwrap_or(0).cast_unsigned())
}

impl Store for SqliteStore {
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = format!("{prefix}\u{10FFFF}");
        // One lower bound: with two, SQLite would seek to the first and walk to the second at each page.
        let (from, bound) = match after {
            Some(after) if after >= prefix => (after, ">"),
            _ => (prefix, ">="),
        };
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX - 1).saturating_add(1);
        let mut some = inner.db.prepare_cached(&format!(
            "SELECT key, value, revision, cause FROM kv WHERE key {bound} ?1 AND key < ?2 ORDER BY key LIMIT ?3"
        ))?;
        let mut rows = Vec::new();
        let mut found = some.query(params![from, end, wanted])?;
        while let Some(row) = found.next()? {
            rows.push(Row {
                key: row.get::<_, String>(0)?.into(),
                value: Bytes::from(row.get::<_, Vec<u8>>(1)?),
                revision: row.get::<_, i64>(2)?.cast_unsigned(),
                cause: row.get::<_, String>(3)?.into(),
            });
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, at: inner.ledger.revision, more })
    }

    fn commit(&self, batch: &[Txn]) -> Result<Committed, StoreError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = &inner.failed {
            return Err(failed.clone());
        }
        // What may use the reserve leaves as much of it to the next as there is.
        let used = inner.frames.load(Ordering::Relaxed) * FRAME;
        let kept = inner.room.keep(used);
        if batch.is_empty() || !batch.iter().all(|txn| txn.reserve) {
            kept?;
        }
        let done = inner.commit(batch).map_err(|e| inner.told(e));
        match &done {
            Ok(_) => inner.ledger.settle(),
            Err(StoreError::Full(_)) => inner.ledger.take_back(),
            Err(failed) => inner.failed = Some(failed.clone()),
        }
        done
    }
}

impl Inner {
    fn commit(&mut self, batch: &[Txn]) -> rusqlite::Result<Committed> {
        let mut applied = 0;
        if batch.is_empty() {
            return Ok(Committed { applied, revision: self.ledger.revision });
        }
        let sql = self.db.transaction()?;
        for txn in batch {
            if !self.ledger.holds(txn) {
                break;
            }
            let revision = self.ledger.apply(txn);
            write(&sql, txn, revision)?;
            applied += 1;
        }
        sql.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'revision'")?
            .execute([self.ledger.revision.cast_signed()])?;
        sql.commit()?;
        Ok(Committed { applied, revision: self.ledger.revision })
    }

    fn told(&self, e: rusqlite::Error) -> StoreError {
        if is_over_quota(&self.db, &e) { StoreError::Full(e.to_string()) } else { e.into() }
    }
}

/// SQLite knows ENOSPC; a quota that is used up it calls an error of the disk.
fn is_over_quota(db: &Connection, e: &rusqlite::Error) -> bool {
    #[expect(unsafe_code, reason = "the call has no safe form")]
    // SAFETY: the connection is open, and nobody else uses it meanwhile.
    let errno = unsafe { ffi::sqlite3_system_errno(db.handle()) };
    let appending = e.sqlite_error().is_some_and(|e| e.extended_code == ffi::SQLITE_IOERR_WRITE);
    appending && matches!(Errno::from_raw(errno), Errno::EDQUOT | Errno::ENOSPC)
}

/// Updates a row where it lies.
const PUT: &str = "
    INSERT INTO kv (key, value, revision, cause) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision, cause = excluded.cause
";

fn write(sql: &Transaction<'_>, txn: &Txn, revision: Revision) -> rusqlite::Result<()> {
    let mut put = sql.prepare_cached(PUT)?;
    let mut remove = sql.prepare_cached("DELETE FROM kv WHERE key = ?1")?;
    for write in &txn.writes {
        let key: &Arc<str> = &write.key;
        match &write.value {
            Some(value) => put.execute(params![&**key, &**value, revision.cast_signed(), &*txn.cause])?,
            None => remove.execute([&**key])?,
        };
    }
    Ok(())
}
