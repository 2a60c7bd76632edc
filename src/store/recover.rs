//! What the daemon starts from: everything that is not finished, and where the numbers stand.

use crate::model::group::Gates;
use crate::model::id::{JobId, Seq};
use crate::model::job::{Job, Owner};
use crate::store::rows;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state of the store at start. There is no other way to start: an orderly end leaves the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Identity of the database: the first half of every cursor.
    pub epoch: String,
    /// The newest durable event; 0 before the first.
    pub head: Seq,
    /// The oldest durable event still there; one after `head` where none is.
    pub oldest: Seq,
    /// The number of the next job.
    pub next_job: JobId,
    /// Every job that is not finished, oldest first, each with its newest attempt.
    pub live: Vec<Job>,
    /// Every group, by name, and whether the host is drained.
    pub gates: Gates,
}

/// Reads it. Costs as much as there are live jobs, however long the history is.
pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Recovered> {
    let last_job = rows::last_number(connection, "jobs")?;
    Ok(Recovered {
        epoch: epoch(connection)?,
        head: rows::head(connection)?,
        oldest: rows::oldest(connection)?,
        next_job: JobId(last_job.saturating_add(1)),
        live: live(connection)?,
        gates: rows::gates(connection)?,
    })
}

/// Numbers up to `floor` count as given out from now on.
pub(crate) fn raise_floor(connection: &Connection, floor: JobId) -> rusqlite::Result<()> {
    if rows::last_number(connection, "jobs")? >= floor.0 {
        return Ok(());
    }
    let floor = rows::integer(floor.0)?;
    let name = "jobs";
    let known = connection.execute(
        "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1",
        (name, floor),
    )?;
    if known == 0 {
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
            (name, floor),
        )?;
    }
    Ok(())
}

/// The identity of the database.
pub(crate) fn epoch(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| {
        row.get(0)
    })
}

fn live(connection: &Connection) -> rusqlite::Result<Vec<Job>> {
    let ids: Vec<i64> = connection
        .prepare("SELECT id FROM jobs INDEXED BY jobs_live WHERE is_final = 0 ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare(&format!("{} WHERE j.id = ?1", rows::SELECT_JOB))?;
    let mut jobs = Vec::with_capacity(ids.len());
    // Thousands of queued jobs have a handful of owners: they share them.
    let mut owners: BTreeMap<(u32, u32, String), Arc<Owner>> = BTreeMap::new();
    for id in ids {
        let mut job = statement.query_row([id], rows::job)?;
        let key = (job.owner.uid, job.owner.gid, job.owner.user.clone());
        job.owner = Arc::clone(owners.entry(key).or_insert_with(|| Arc::clone(&job.owner)));
        jobs.push(job);
    }
    Ok(jobs)
}
