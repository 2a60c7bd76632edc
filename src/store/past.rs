//! How long earlier completed runs took: what an estimate is made from where a job shows no progress.
//!
//! Found through the indexes on name and kind. Only so many of the newest rows are looked at that the
//! length of the history does not matter.

use crate::model::job::Job;
use crate::model::progress::SameRuns;
use crate::store::archive;
use crate::store::open::Files;
use rusqlite::{Connection, Params, Row, params};

/// Most runs that are compared with.
const MOST_RUNS: i64 = 20;

/// Most jobs of a name or kind that are looked at, from the newest on.
const MOST_LOOKED_AT: i64 = 500;

/// Runs of the same name; where there are none, of the same kind.
///
/// Archived ones count only where there are no others: what is a month old says little of what runs now.
pub(crate) fn runs(
    connection: &Connection,
    files: &Files,
    same: &SameRuns,
) -> rusqlite::Result<Vec<u64>> {
    let here = runs_here(connection, same)?;
    if here.is_empty() {
        archive::past_runs(connection, files, same)
    } else {
        Ok(here)
    }
}

fn runs_here(connection: &Connection, same: &SameRuns) -> rusqlite::Result<Vec<u64>> {
    let named = match &same.command {
        None => {
            let sql = select("INDEXED BY jobs_by_name WHERE uid = ?1 AND name = ?2", "1");
            read(connection, &sql, params![same.uid, same.name])?
        }
        Some(command) => {
            let sql = select(
                "INDEXED BY jobs_by_name WHERE uid = ?1 AND name = ?2",
                "(SELECT spec ->> '$.command' FROM job_specs s WHERE s.job = j.id) = ?3",
            );
            // As SQLite writes JSON out again: without spaces.
            let command = serde_json::to_string(command)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            read(connection, &sql, params![same.uid, same.name, command])?
        }
    };
    match &same.kind {
        Some(kind) if named.is_empty() => {
            let sql = select("INDEXED BY jobs_by_kind WHERE kind = ?1", "j.uid = ?2");
            read(connection, &sql, params![kind, same.uid])
        }
        Some(_) | None => Ok(named),
    }
}

fn select(from: &str, also: &str) -> String {
    format!(
        "SELECT a.started_wall_ms, a.started_boot_ms, a.ended_wall_ms, a.ended_boot_ms \
         FROM (SELECT id, uid, state, attempt FROM jobs {from} ORDER BY id DESC LIMIT {MOST_LOOKED_AT}) j \
         JOIN attempts a ON a.job = j.id AND a.attempt = j.attempt \
         WHERE j.state = 'completed' AND a.started_wall_ms IS NOT NULL \
         AND a.ended_wall_ms IS NOT NULL AND {also} ORDER BY j.id DESC LIMIT {MOST_RUNS}"
    )
}

fn read(connection: &Connection, sql: &str, bounds: impl Params) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare_cached(sql)?
        .query_map(bounds, took_ms)?
        .collect()
}

/// How long the newest attempt of a job took; none where it did not begin or end.
pub(crate) fn took_of(job: &Job) -> Option<u64> {
    let attempt = job.attempt.as_ref()?;
    let (began, ended) = (attempt.started?, attempt.ended?);
    let by_wall = || u64::try_from(ended.wall_ms - began.wall_ms).unwrap_or(0);
    Some(
        ended
            .boot_ms
            .checked_sub(began.boot_ms)
            .unwrap_or_else(by_wall),
    )
}

/// On the boot clock, unless that began anew meanwhile.
fn took_ms(row: &Row<'_>) -> rusqlite::Result<u64> {
    let (began_wall, began_boot): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (ended_wall, ended_boot): (i64, i64) = (row.get(2)?, row.get(3)?);
    let by_boot = ended_boot - began_boot;
    let took = if by_boot >= 0 {
        by_boot
    } else {
        ended_wall - began_wall
    };
    Ok(u64::try_from(took).unwrap_or(0))
}
