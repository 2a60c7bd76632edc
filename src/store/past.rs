//! How long earlier completed runs took: what an estimate is made from where a job shows no progress.
//!
//! Found through the indexes on name and kind. Only so many of the newest rows are looked at that the
//! length of the history does not matter.

use crate::model::progress::SameRuns;
use rusqlite::{Connection, Params, Row, params};

/// Most runs that are compared with.
const MOST_RUNS: i64 = 20;

/// Most jobs of a name or kind that are looked at, from the newest on.
const MOST_LOOKED_AT: i64 = 500;

/// Runs of the same name; where there are none, of the same kind.
pub(crate) fn runs(connection: &Connection, same: &SameRuns) -> rusqlite::Result<Vec<u64>> {
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
