//! Progress history: in a database of its own, so that its loss harms nothing else.
//!
//! Points are written late and in batches; the newest second is lost when the host goes down.

use crate::model::id::{AttemptId, JobId};
use crate::store::aside::free_name;
use crate::store::error::StoreError;
use crate::store::open::{harden, make_private, with_suffix};
use crate::store::rows::integer;
use rusqlite::{Connection, OpenFlags, params};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a point may wait for others.
const LATE: Duration = Duration::from_secs(1);

/// How many points are written without waiting any longer.
const ENOUGH_POINTS: usize = 512;

/// Points beyond this are dropped while the file cannot be written.
const MOST_POINTS: usize = 16 * ENOUGH_POINTS;

/// Where an attempt was at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressPoint {
    /// The attempt.
    pub attempt: AttemptId,
    /// Wall-clock time, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Its progress, as JSON.
    pub body: String,
}

/// What the writer holds back, and where it goes.
pub(crate) struct History {
    path: PathBuf,
    connection: Option<Connection>,
    points: Vec<ProgressPoint>,
    gone: Vec<JobId>,
    due: Option<Instant>,
}

impl History {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
            points: Vec::new(),
            gone: Vec::new(),
            due: None,
        }
    }

    /// Takes points; writes them when there are enough.
    pub(crate) fn add(&mut self, points: Vec<ProgressPoint>) {
        self.points.extend(points);
        self.touch();
        if self.points.len() >= ENOUGH_POINTS {
            self.flush();
        }
    }

    /// Forgets a job that was removed.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.points.retain(|point| point.attempt.job != job);
        self.gone.push(job);
        self.touch();
    }

    /// When it wants to write.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what it holds back. What cannot be written is tried again with the next points.
    pub(crate) fn flush(&mut self) {
        self.due = None;
        if let Err(error) = self.write() {
            tracing::warn!(path = %self.path.display(), %error, "progress history is not written");
            self.connection = None;
            if matches!(error, StoreError::Corrupt { .. }) {
                self.begin_anew();
            }
            self.points
                .drain(..self.points.len().saturating_sub(MOST_POINTS));
        }
    }

    /// Closes the file; it is opened again when it is needed.
    pub(crate) fn rest(&mut self) {
        self.connection = None;
    }

    fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + LATE);
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let nothing_there = self.points.is_empty() && !self.path.exists();
        if nothing_there || (self.points.is_empty() && self.gone.is_empty()) {
            self.gone.clear();
            return Ok(());
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(connect(&self.path)?),
        };
        write_points(connection, &self.points, &self.gone)
            .map_err(|error| StoreError::of(&error, &self.path))?;
        self.points.clear();
        self.gone.clear();
        Ok(())
    }

    /// Sets a damaged file aside and writes to a new one.
    fn begin_anew(&mut self) {
        let aside = free_name(&self.path);
        for end in ["", "-wal", "-shm"] {
            // A companion that is not there is no loss, and neither is one that stays: the new
            // database ignores a log that is not its own.
            let _moved = fs::rename(with_suffix(&self.path, end), with_suffix(&aside, end));
        }
        if let Err(error) = self.write() {
            tracing::warn!(path = %self.path.display(), %error, "progress history cannot be begun anew");
            self.connection = None;
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        harden(&connection)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = NORMAL; \
             PRAGMA cache_size = -256; \
             PRAGMA journal_size_limit = 4194304; \
             CREATE TABLE IF NOT EXISTS points ( \
                 job INTEGER NOT NULL, attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, \
                 body TEXT NOT NULL, PRIMARY KEY (job, attempt, at_ms) \
             ) STRICT, WITHOUT ROWID;",
        )?;
        Ok(connection)
    };
    connect().map_err(|error| StoreError::of_opening(&error, path))
}

fn write_points(
    connection: &mut Connection,
    points: &[ProgressPoint],
    gone: &[JobId],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for job in gone {
        transaction
            .prepare_cached("DELETE FROM points WHERE job = ?1")?
            .execute([integer(job.0)?])?;
    }
    for point in points {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO points (job, attempt, at_ms, body) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                integer(point.attempt.job.0)?,
                point.attempt.attempt,
                point.at_ms,
                point.body
            ])?;
    }
    transaction.commit()
}

/// At most `max_points` points of an attempt from `since_ms` to `until_ms`, oldest first, spread
/// evenly; the last one is always there.
pub(crate) fn read(
    connection: &Connection,
    attempt: AttemptId,
    since_ms: i64,
    until_ms: i64,
    max_points: usize,
) -> rusqlite::Result<Vec<ProgressPoint>> {
    let bounds = params![integer(attempt.job.0)?, attempt.attempt, since_ms, until_ms];
    let range = "FROM points WHERE job = ?1 AND attempt = ?2 AND at_ms BETWEEN ?3 AND ?4";
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) {range}"))?
        .query_row(bounds, |row| row.get(0))?;
    let count = usize::try_from(count).unwrap_or_default();
    let kept = count.min(max_points);
    let mut statement =
        connection.prepare_cached(&format!("SELECT at_ms, body {range} ORDER BY at_ms"))?;
    let mut rows = statement.query(bounds)?;
    let mut points = Vec::with_capacity(kept);
    let mut index = 0;
    while let Some(row) = rows.next()? {
        // Of `count` points `kept` cross a whole number on their way to `kept`, the last one surely.
        if (index + 1) * kept / count.max(1) > index * kept / count.max(1) {
            points.push(ProgressPoint {
                attempt,
                at_ms: row.get(0)?,
                body: row.get(1)?,
            });
        }
        index += 1;
    }
    Ok(points)
}
