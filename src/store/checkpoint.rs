//! When the write-ahead log is moved into the database.
//!
//! Not by SQLite's own rule, which does it inside a commit and makes one caller in a hundred wait:
//! here it happens after the answers went out, and once more when nobody wants anything.

use crate::store::open::BUSY_TIMEOUT;
use rusqlite::Connection;
use std::time::{Duration, Instant};

/// Pages in the log that make a checkpoint worth its syncs: 4 MiB.
const WORTH_PAGES: i64 = 1_000;

/// Pages in the log that make it worth waiting for readers: 64 MiB.
const TOO_MANY_PAGES: i64 = 16_384;

/// How long nothing is written before the log is emptied.
const QUIET: Duration = Duration::from_secs(2);

/// How long a checkpoint waits for readers to end.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where the log stands.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    last_pages: i64,
    next_at_pages: i64,
    due: Option<Instant>,
}

impl Checkpoints {
    /// Something was written.
    pub(crate) fn wrote(&mut self) {
        self.due = Some(Instant::now() + QUIET);
    }

    /// When the log is to be emptied, where it is not empty.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Moves the log into the database where it has grown enough. Readers are not disturbed.
    pub(crate) fn after_writing(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.due.is_none() {
            return Ok(());
        }
        let pages = checkpoint(connection, "NOOP")?.pages;
        if pages < self.last_pages || self.next_at_pages == 0 {
            // It began again from its start.
            self.next_at_pages = WORTH_PAGES;
        }
        self.last_pages = pages;
        if pages < self.next_at_pages {
            return Ok(());
        }
        // A reader in the way leaves a rest behind: try again when it is worth it again.
        self.next_at_pages = pages + WORTH_PAGES;
        if pages >= TOO_MANY_PAGES {
            return patiently(connection, "RESTART");
        }
        checkpoint(connection, "PASSIVE")?;
        Ok(())
    }

    /// Empties the log and gives memory back. Where a reader is in the way it stays until the next write.
    pub(crate) fn rest(&mut self, connection: Option<&Connection>) -> rusqlite::Result<()> {
        self.due = None;
        self.last_pages = 0;
        self.next_at_pages = 0;
        let Some(connection) = connection else {
            return Ok(());
        };
        checkpoint(connection, "PASSIVE")?;
        patiently(connection, "TRUNCATE")?;
        connection.execute_batch("PRAGMA shrink_memory")
    }
}

/// A checkpoint that waits for readers, but not as long as a commit would: commits wait for it.
fn patiently(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    let outcome = checkpoint(connection, mode);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    outcome.map(drop)
}

/// What a checkpoint found.
struct Log {
    pages: i64,
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Log> {
    connection
        .prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok(Log { pages: row.get(1)? }))
}
