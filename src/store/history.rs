//! Progress history: in a database of its own, so that its loss harms nothing else.
//!
//! Points are written late and in batches, one for each second of an attempt at most; the newest second is lost
//! when the daemon is killed. What an attempt said last is kept whole beside them, so that a running job is known
//! again after a restart; the points carry only what a curve shows.

use crate::model::id::{AttemptId, JobId};
use crate::model::progress::Progress;
use crate::store::archive::OF_PROGRESS;
use crate::store::aside::free_name;
use crate::store::error::StoreError;
use crate::store::history::thin::{Bulk, thin};
use crate::store::open::{harden, make_private, with_suffix};
use crate::store::rows::integer;
use crate::store::space;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

mod thin;

/// How long a point may wait for others.
const LATE: Duration = Duration::from_secs(1);

/// How many points are written without waiting any longer.
const ENOUGH_POINTS: usize = 512;

/// Points beyond this are dropped while the file cannot be written.
const MOST_POINTS: usize = 16 * ENOUGH_POINTS;

/// Of the points of one attempt the newest of each such stretch is kept, milliseconds.
const SPACING_MS: i64 = 1_000;

/// For so many attempts it is remembered what is stored of them.
const MOST_REMEMBERED: usize = 4_096;

/// What a curve does not show. Named steps alone may be longer than all the rest.
const NOT_IN_CURVES: [&str; 6] = [
    "steps",
    "counting",
    "advanced_at",
    "heard_at",
    "ready",
    "stopping",
];

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
    /// The newest point of each second of an attempt.
    points: BTreeMap<(AttemptId, i64), ProgressPoint>,
    stored: BTreeMap<AttemptId, Bulk>,
    gone: Vec<JobId>,
    due: Option<Instant>,
    is_written: bool,
}

impl History {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            connection: None,
            points: BTreeMap::new(),
            stored: BTreeMap::new(),
            gone: Vec::new(),
            due: None,
            is_written: true,
        }
    }

    /// Takes points; writes them when there are enough.
    pub(crate) fn add(&mut self, points: Vec<ProgressPoint>) {
        for point in points {
            self.points
                .insert((point.attempt, second(point.at_ms)), point);
        }
        self.touch();
        if self.points.len() >= ENOUGH_POINTS {
            self.flush();
        }
    }

    /// Forgets a job that was removed.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.points.retain(|(attempt, _), _| attempt.job != job);
        self.gone.push(job);
        self.touch();
    }

    /// When it wants to write.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Adds the progress of a job that comes back from the archive, at once. What is there already stays.
    pub(crate) fn take_back(&mut self, job: JobId, from: &Connection) -> Result<(), StoreError> {
        self.flush();
        let connection = opened(&mut self.connection, &self.path)?;
        let mut add = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            for table in &OF_PROGRESS {
                table.add(from, &transaction, job)?;
            }
            transaction.commit()
        };
        add().map_err(|error| StoreError::of(&error, &self.path))?;
        self.stored.retain(|attempt, _| attempt.job != job);
        self.touch();
        Ok(())
    }

    /// Writes what it holds back. What cannot be written is tried again with the next points.
    pub(crate) fn flush(&mut self) {
        self.due = None;
        let outcome = self.write();
        self.tell(outcome.as_ref().err());
        if let Err(error) = outcome {
            self.connection = None;
            // What was counted may not have been stored.
            self.stored.clear();
            if matches!(error, StoreError::Corrupt { .. }) {
                self.begin_anew();
            }
            self.drop_oldest();
        }
    }

    /// Says once that it is not written, and once that it is again.
    fn tell(&mut self, trouble: Option<&StoreError>) {
        let was_written = std::mem::replace(&mut self.is_written, trouble.is_none());
        let path = self.path.display();
        match trouble {
            Some(error) if was_written => {
                tracing::warn!(%path, %error, "progress history is not written");
            }
            None if !was_written => tracing::info!(%path, "progress history is written again"),
            Some(_) | None => {}
        }
    }

    /// Gives a bounded part of its free space back to the file system, and answers whether there is more.
    pub(crate) fn give_back(&mut self) -> Result<bool, StoreError> {
        if !self.path.exists() {
            return Ok(false);
        }
        self.flush();
        let connection = opened(&mut self.connection, &self.path)?;
        space::give_back(connection).map_err(|error| StoreError::of(&error, &self.path))
    }

    /// Closes the file; it is opened again when it is needed.
    pub(crate) fn rest(&mut self) {
        self.connection = None;
    }

    fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + LATE);
    }

    fn drop_oldest(&mut self) {
        let excess = self.points.len().saturating_sub(MOST_POINTS);
        if excess > 0 {
            let mut times: Vec<i64> = self.points.values().map(|point| point.at_ms).collect();
            let (_, limit, _) = times.select_nth_unstable(excess);
            let limit = *limit;
            self.points.retain(|_, point| point.at_ms >= limit);
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let nothing_there = self.points.is_empty() && !self.path.exists();
        if nothing_there || (self.points.is_empty() && self.gone.is_empty()) {
            self.gone.clear();
            return Ok(());
        }
        let connection = opened(&mut self.connection, &self.path)?;
        for job in &self.gone {
            self.stored.retain(|attempt, _| attempt.job != *job);
        }
        write_all(connection, &self.points, &mut self.stored, &self.gone)
            .map_err(|error| StoreError::of(&error, &self.path))?;
        self.points.clear();
        self.gone.clear();
        self.forget_quiet();
        Ok(())
    }

    /// Forgets what is stored of the attempts that have said nothing for longest: it can be read again.
    fn forget_quiet(&mut self) {
        if self.stored.len() > MOST_REMEMBERED {
            let mut newest: Vec<i64> = self.stored.values().map(|bulk| bulk.newest_ms).collect();
            let middle = newest.len() / 2;
            let (_, limit, _) = newest.select_nth_unstable(middle);
            let limit = *limit;
            self.stored.retain(|_, bulk| bulk.newest_ms > limit);
        }
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
            self.stored.clear();
        }
    }
}

fn second(at_ms: i64) -> i64 {
    at_ms.div_euclid(SPACING_MS)
}

fn opened<'a>(
    connection: &'a mut Option<Connection>,
    path: &Path,
) -> Result<&'a mut Connection, StoreError> {
    Ok(match connection {
        Some(connection) => connection,
        empty => empty.insert(connect(path)?),
    })
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
            "PRAGMA auto_vacuum = INCREMENTAL; \
             PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = NORMAL; \
             PRAGMA cache_size = -256; \
             PRAGMA journal_size_limit = 4194304; \
             CREATE TABLE IF NOT EXISTS points ( \
                 job INTEGER NOT NULL, attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, \
                 body TEXT NOT NULL, PRIMARY KEY (job, attempt, at_ms) \
             ) STRICT, WITHOUT ROWID; \
             CREATE TABLE IF NOT EXISTS newest ( \
                 job INTEGER NOT NULL, attempt INTEGER NOT NULL, at_ms INTEGER NOT NULL, \
                 body TEXT NOT NULL, PRIMARY KEY (job, attempt) \
             ) STRICT, WITHOUT ROWID;",
        )?;
        Ok(connection)
    };
    connect().map_err(|error| StoreError::of_opening(&error, path))
}

fn write_all(
    connection: &mut Connection,
    points: &BTreeMap<(AttemptId, i64), ProgressPoint>,
    stored: &mut BTreeMap<AttemptId, Bulk>,
    gone: &[JobId],
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for job in gone {
        for table in ["points", "newest"] {
            transaction
                .prepare_cached(&format!("DELETE FROM {table} WHERE job = ?1"))?
                .execute([integer(job.0)?])?;
        }
    }
    let mut points = points.values().peekable();
    while let Some(point) = points.next() {
        let bulk = match stored.get_mut(&point.attempt) {
            Some(bulk) => bulk,
            None => stored
                .entry(point.attempt)
                .or_insert(Bulk::read(&transaction, point.attempt)?),
        };
        write_point(&transaction, point, bulk)?;
        let is_last = points
            .peek()
            .is_none_or(|next| next.attempt != point.attempt);
        if is_last {
            write_newest(&transaction, point, bulk.newest_ms)?;
        }
        if bulk.is_too_much() {
            *bulk = thin(&transaction, point.attempt, bulk)?;
        }
    }
    transaction.commit()
}

/// Writes a point, in the place of the one before it where that is of the same second.
fn write_point(
    transaction: &Transaction<'_>,
    point: &ProgressPoint,
    bulk: &mut Bulk,
) -> rusqlite::Result<()> {
    let (job, attempt) = (integer(point.attempt.job.0)?, point.attempt.attempt);
    // Somebody may have set the clock back. What is newest must be last, also then.
    let at_ms = point.at_ms.max(bulk.newest_ms);
    let body = slim(&point.body);
    if bulk.points > 0 && second(at_ms) == second(bulk.newest_ms) {
        let replaced: Option<i64> = transaction
            .prepare_cached(
                "DELETE FROM points WHERE job = ?1 AND attempt = ?2 AND at_ms = ?3 \
                 RETURNING octet_length(body)",
            )?
            .query_row(params![job, attempt, bulk.newest_ms], |row| row.get(0))
            .optional()?;
        bulk.points -= usize::from(replaced.is_some());
        bulk.bytes = bulk
            .bytes
            .saturating_sub(usize::try_from(replaced.unwrap_or_default()).unwrap_or_default());
    }
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO points (job, attempt, at_ms, body) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![job, attempt, at_ms, body])?;
    bulk.points += 1;
    bulk.bytes += body.len();
    bulk.newest_ms = at_ms;
    Ok(())
}

fn write_newest(
    transaction: &Transaction<'_>,
    point: &ProgressPoint,
    at_ms: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO newest (job, attempt, at_ms, body) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            integer(point.attempt.job.0)?,
            point.attempt.attempt,
            at_ms,
            point.body
        ])?;
    Ok(())
}

/// Progress without what a curve does not show; what is no JSON object stays as it is.
fn slim(body: &str) -> String {
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(body) else {
        return body.to_owned();
    };
    fields.retain(|name, _| !NOT_IN_CURVES.contains(&name.as_str()));
    serde_json::to_string(&fields).unwrap_or_else(|_| body.to_owned())
}

/// Which points somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Of this job.
    pub job: JobId,
    /// Of this attempt; of all of them, one after the other, where it is absent.
    pub attempt: Option<u32>,
    /// From this time on, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Up to and with this time.
    pub until_ms: i64,
}

impl Stretch {
    const WHERE: &str = "WHERE job = ?1 AND attempt BETWEEN ?2 AND ?3 AND at_ms BETWEEN ?4 AND ?5";

    fn bounds(&self) -> rusqlite::Result<(i64, u32, u32, i64, i64)> {
        let job = integer(self.job.0)?;
        let (from, to) = self.attempt.map_or((0, u32::MAX), |it| (it, it));
        Ok((job, from, to, self.since_ms, self.until_ms))
    }
}

/// The times of the first and the last point, where there is any.
pub(crate) fn extent(
    connection: &Connection,
    stretch: &Stretch,
) -> rusqlite::Result<Option<(i64, i64)>> {
    let sql = format!(
        "SELECT min(at_ms), max(at_ms) FROM points {}",
        Stretch::WHERE
    );
    let (first, last): (Option<i64>, Option<i64>) = connection
        .prepare_cached(&sql)?
        .query_row(stretch.bounds()?, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(first.zip(last))
}

/// Hands every point to `take`, attempt by attempt, oldest first.
pub(crate) fn scan(
    connection: &Connection,
    stretch: &Stretch,
    mut take: impl FnMut(i64, &str),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT at_ms, body FROM points {} ORDER BY attempt, at_ms",
        Stretch::WHERE
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(stretch.bounds()?)?;
    while let Some(row) = rows.next()? {
        take(row.get(0)?, row.get_ref(1)?.as_str()?);
    }
    Ok(())
}

/// How far an attempt was at a time: the last point up to then, and when it was seen.
pub(crate) fn at(
    connection: &Connection,
    attempt: AttemptId,
    at_ms: i64,
) -> rusqlite::Result<Option<(i64, Progress)>> {
    let sql = "SELECT at_ms, body FROM points WHERE job = ?1 AND attempt = ?2 AND at_ms <= ?3 \
               ORDER BY at_ms DESC LIMIT 1";
    let key = params![integer(attempt.job.0)?, attempt.attempt, at_ms];
    let found = connection
        .prepare_cached(sql)?
        .query_row(key, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    Ok(found.optional()?.and_then(|(at_ms, body)| {
        let progress = serde_json::from_str(&body).ok()?;
        Some((at_ms, progress))
    }))
}

/// What an attempt said last, whole where it was stored so.
pub(crate) fn last(
    connection: &Connection,
    attempt: AttemptId,
) -> rusqlite::Result<Option<ProgressPoint>> {
    let key = params![integer(attempt.job.0)?, attempt.attempt];
    let is_there = "SELECT 1 FROM sqlite_master WHERE name = 'newest'";
    let sources: &[&str] = if connection.prepare_cached(is_there)?.exists([])? {
        &["newest", "points"]
    } else {
        // A file of before there was that table, which nobody has written to since.
        &["points"]
    };
    for source in sources {
        let sql = format!(
            "SELECT at_ms, body FROM {source} WHERE job = ?1 AND attempt = ?2 \
             ORDER BY at_ms DESC LIMIT 1"
        );
        let found = connection.prepare_cached(&sql)?.query_row(key, |row| {
            Ok(ProgressPoint {
                attempt,
                at_ms: row.get(0)?,
                body: row.get(1)?,
            })
        });
        if let Some(point) = found.optional()? {
            return Ok(Some(point));
        }
    }
    Ok(None)
}
