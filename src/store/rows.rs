//! Rows and nouns: how jobs, attempts, groups and events are spelled in columns.
//!
//! A row that cannot be read back is damage, never a default: the error says which column.

use crate::model::attempt::{Attempt, Process};
use crate::model::event::{Event, present_kind};
use crate::model::group::{Gates, Group};
use crate::model::id::{AttemptId, JobId, Seq};
use crate::model::job::{Job, Owner};
use crate::model::state::JobState;
use crate::model::time::Stamp;
use crate::store::archive;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Selects whole jobs, each with its newest attempt, in the order [`job`] reads. Ends in `FROM …`,
/// so that a `WHERE` can follow.
pub(crate) const SELECT_JOB: &str = "SELECT \
    j.id, j.uid, j.gid, j.user, s.spec, j.state, j.state_data, \
    j.created_wall_ms, j.created_boot_ms, j.finished_wall_ms, j.finished_boot_ms, j.tries, j.unmet, \
    j.attempt, a.boot_id, a.claimed_wall_ms, a.claimed_boot_ms, a.started_wall_ms, a.started_boot_ms, \
    a.ended_wall_ms, a.ended_boot_ms, a.pid, a.start_ticks, a.containment, a.ending, a.usage, a.progress, \
    a.tally \
    FROM jobs j JOIN job_specs s ON s.job = j.id \
    LEFT JOIN attempts a ON a.job = j.id AND a.attempt = j.attempt";

/// Selects every attempt of a job, in the order [`attempt`] reads.
pub(crate) const SELECT_ATTEMPTS: &str = "SELECT \
    attempt, boot_id, claimed_wall_ms, claimed_boot_ms, started_wall_ms, started_boot_ms, \
    ended_wall_ms, ended_boot_ms, pid, start_ticks, containment, ending, usage, progress, tally \
    FROM attempts WHERE job = ?1 ORDER BY attempt";

/// Selects events, in the order [`event`] reads. Ends in `FROM …`.
pub(crate) const SELECT_EVENT: &str =
    "SELECT seq, at_ms, channel, kind, uid, is_final, body FROM events";

/// A value that a column holds as JSON text.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(|text| ToSqlOutput::Owned(Value::Text(text)))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?)
            .map(Json)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A count as SQLite keeps it: 63 bits.
pub(crate) fn integer(value: u64) -> rusqlite::Result<i64> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The job that a row names. None has a negative number.
pub(crate) fn job_of(id: i64) -> JobId {
    JobId(u64::try_from(id).unwrap_or_default())
}

/// Reads the columns of a row one after the other.
struct Columns<'row, 'statement> {
    row: &'row Row<'statement>,
    next: usize,
}

impl<'row, 'statement> Columns<'row, 'statement> {
    fn of(row: &'row Row<'statement>) -> Self {
        Self { row, next: 0 }
    }

    fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn count(&mut self) -> rusqlite::Result<u64> {
        let value: i64 = self.take()?;
        self.positive(value)
    }

    fn positive(&self, value: i64) -> rusqlite::Result<u64> {
        u64::try_from(value)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(self.next - 1, value))
    }

    fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        self.take::<Json<T>>().map(|json| json.0)
    }

    fn json_if_any<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        Ok(self.take::<Option<Json<T>>>()?.map(|json| json.0))
    }

    fn stamp(&mut self) -> rusqlite::Result<Stamp> {
        Ok(Stamp {
            wall_ms: self.take()?,
            boot_ms: self.count()?,
        })
    }

    fn stamp_if_any(&mut self) -> rusqlite::Result<Option<Stamp>> {
        let wall_ms: Option<i64> = self.take()?;
        let boot_ms: Option<i64> = self.take()?;
        let Some((wall_ms, boot_ms)) = wall_ms.zip(boot_ms) else {
            return Ok(None);
        };
        let boot_ms = self.positive(boot_ms)?;
        Ok(Some(Stamp { wall_ms, boot_ms }))
    }

    /// The columns of an attempt after its number.
    fn attempt(&mut self, id: AttemptId) -> rusqlite::Result<Attempt> {
        let boot_id = self.take()?;
        let claimed = self.stamp()?;
        let started = self.stamp_if_any()?;
        let ended = self.stamp_if_any()?;
        let pid: Option<u32> = self.take()?;
        let start_ticks: Option<i64> = self.take()?;
        let main = match pid.zip(start_ticks) {
            Some((pid, ticks)) => Some(Process {
                pid,
                start_ticks: self.positive(ticks)?,
            }),
            None => None,
        };
        Ok(Attempt {
            id,
            boot_id,
            claimed,
            started,
            ended,
            main,
            containment: self.take()?,
            ending: self.json_if_any()?,
            usage: self.json_if_any()?,
            progress: self.json_if_any()?,
            tally: self.json_if_any()?,
        })
    }
}

/// The job of a row of [`SELECT_JOB`].
pub(crate) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut columns = Columns::of(row);
    let id = JobId(columns.count()?);
    let owner = Arc::new(Owner {
        uid: columns.take()?,
        gid: columns.take()?,
        user: columns.take()?,
    });
    let spec = Arc::new(columns.json()?);
    let state_name: String = columns.take()?;
    let state: JobState = columns.json()?;
    if state.name().as_str() != state_name {
        return Err(rusqlite::Error::FromSqlConversionFailure(
            columns.next - 1,
            rusqlite::types::Type::Text,
            format!(
                "job {id} is \"{state_name}\" and \"{}\" at once",
                state.name()
            )
            .into(),
        ));
    }
    Ok(Job {
        id,
        owner,
        spec,
        state,
        created: columns.stamp()?,
        finished: columns.stamp_if_any()?,
        tries: columns.take()?,
        unmet: columns.take()?,
        attempt: match columns.take::<Option<u32>>()? {
            Some(attempt) => Some(columns.attempt(AttemptId { job: id, attempt })?),
            None => None,
        },
    })
}

/// The attempt of a row of [`SELECT_ATTEMPTS`].
pub(crate) fn attempt(row: &Row<'_>, job: JobId) -> rusqlite::Result<Attempt> {
    let mut columns = Columns::of(row);
    let attempt = columns.take()?;
    columns.attempt(AttemptId { job, attempt })
}

/// The event of a row of [`SELECT_EVENT`].
pub(crate) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let mut columns = Columns::of(row);
    let seq = Some(Seq(columns.count()?));
    let at_ms = columns.take()?;
    let channel = columns.take::<String>()?.into();
    let kind = columns.take()?;
    let uid = columns.take()?;
    let is_final = columns.take()?;
    let body: String = columns.take()?;
    Ok(Event {
        seq,
        at_ms,
        channel,
        kind: present_kind(kind, is_final, &body),
        uid,
        is_final,
        body: body.into(),
    })
}

/// The job called `id`, where there is one.
pub(crate) fn find_job(connection: &Connection, id: JobId) -> rusqlite::Result<Option<Job>> {
    // A number that SQLite cannot hold names no job.
    let Ok(id) = i64::try_from(id.0) else {
        return Ok(None);
    };
    connection
        .prepare_cached(&format!("{SELECT_JOB} WHERE j.id = ?1"))?
        .query_row([id], job)
        .optional()
}

/// Every group, by name.
fn groups(connection: &Connection) -> rusqlite::Result<Vec<Group>> {
    connection
        .prepare_cached("SELECT name, parallelism, paused FROM groups ORDER BY name")?
        .query_map([], |row| {
            Ok(Group {
                name: row.get(0)?,
                parallelism: row.get(1)?,
                paused: row.get(2)?,
            })
        })?
        .collect()
}

/// Every group, and whether the host is drained.
pub(crate) fn gates(connection: &Connection) -> rusqlite::Result<Gates> {
    Ok(Gates {
        groups: groups(connection)?,
        draining: connection
            .prepare_cached("SELECT 1 FROM meta WHERE key = 'draining'")?
            .exists([])?,
    })
}

/// The newest event's number, 0 before the first; stays when the events are trimmed.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Seq> {
    last_number(connection, "events").map(Seq)
}

/// Every attempt of a job, oldest first.
pub(crate) fn attempts(connection: &Connection, job: JobId) -> rusqlite::Result<Vec<Attempt>> {
    connection
        .prepare_cached(SELECT_ATTEMPTS)?
        .query_map([integer(job.0)?], |row| attempt(row, job))?
        .collect()
}

/// The oldest event still there, in the archive or not; one after the head where none is.
pub(crate) fn oldest(connection: &Connection) -> rusqlite::Result<Seq> {
    match archive::oldest_event(connection)? {
        Some(oldest) => Ok(oldest),
        None => oldest_here(connection),
    }
}

/// The oldest event that is not archived; one after the head where none is.
pub(crate) fn oldest_here(connection: &Connection) -> rusqlite::Result<Seq> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT min(seq) FROM events")?
        .query_row([], |row| row.get(0))?;
    match oldest {
        Some(seq) => {
            Ok(Seq(u64::try_from(seq).map_err(|_| {
                rusqlite::Error::IntegralValueOutOfRange(0, seq)
            })?))
        }
        None => Ok(Seq(head(connection)?.0 + 1)),
    }
}

/// The largest number that a table with AUTOINCREMENT ever gave out.
pub(crate) fn last_number(connection: &Connection, table: &str) -> rusqlite::Result<u64> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
        .query_row([table], |row| row.get(0))
        .optional()?;
    let last = last.unwrap_or(0);
    u64::try_from(last).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, last))
}
