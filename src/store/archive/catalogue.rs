//! The catalogue of the archive in the main database: where each archived job is.

use crate::model::id::JobId;
use crate::store::archive::Month;
use crate::store::rows::{integer, job_of};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// The columns of `archived` that a row of `jobs` has too.
const SAME: &str = "id, uid, user, name, kind, grp, flow, state, created_wall_ms, finished_wall_ms";

/// The month whose file has a job; none where it is not archived.
pub(crate) fn month_of(connection: &Connection, id: JobId) -> rusqlite::Result<Option<Month>> {
    // A number that SQLite cannot hold names no job.
    let Ok(id) = integer(id.0) else {
        return Ok(None);
    };
    let month: Option<i64> = connection
        .prepare_cached("SELECT month FROM archived WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    month.map(Month::of_number).transpose()
}

/// Whose an archived job is.
pub(crate) fn owner(connection: &Connection, id: i64) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached("SELECT uid FROM archived WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}

/// The newest archived job of a user and name.
pub(crate) fn newest_of_name(
    connection: &Connection,
    uid: u32,
    name: &str,
) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT max(id) FROM archived WHERE uid = ?1 AND name = ?2")?
        .query_row(params![uid, name], |row| row.get(0))
}

/// The jobs that were submitted up to a time and finished after it, by number, month by month.
pub(crate) fn finished_after(
    connection: &Connection,
    at_ms: i64,
) -> rusqlite::Result<BTreeMap<Month, Vec<JobId>>> {
    let mut months: BTreeMap<Month, Vec<JobId>> = BTreeMap::new();
    let mut statement = connection.prepare_cached(
        "SELECT month, id FROM archived WHERE created_wall_ms <= ?1 AND finished_wall_ms > ?1 ORDER BY id",
    )?;
    let mut rows = statement.query([at_ms])?;
    while let Some(row) = rows.next()? {
        let month = Month::of_number(row.get(0)?)?;
        let job = job_of(row.get(1)?);
        months.entry(month).or_default().push(job);
    }
    Ok(months)
}

/// Enters a job that is finished and still in `jobs`.
pub(super) fn enter(connection: &Connection, id: i64, month: Month) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO archived ({SAME}, month, logs) SELECT {SAME}, ?2, 0 FROM jobs WHERE id = ?1"
        ))?
        .execute(params![id, month.number()])?;
    connection
        .prepare_cached("DELETE FROM archived_left WHERE job = ?1 AND month = ?2")?
        .execute(params![id, month.number()])?;
    connection
        .prepare_cached(
            "INSERT INTO archived_labels (job, name, value) \
             SELECT job, name, value FROM job_labels WHERE job = ?1",
        )?
        .execute([id])?;
    Ok(())
}

/// Enters a job of the file of a month, unless it is known already; answers whether it was not.
pub(super) fn adopt(
    main: &Connection,
    file: &Connection,
    id: i64,
    month: Month,
) -> rusqlite::Result<bool> {
    let is_known = main
        .prepare_cached(
            "SELECT 1 FROM jobs WHERE id = ?1 UNION ALL SELECT 1 FROM archived WHERE id = ?1",
        )?
        .exists([id])?;
    if is_known {
        return Ok(false);
    }
    let entered = super::carry::carry(
        file,
        main,
        &format!("SELECT {SAME}, ?2, 0 FROM jobs WHERE id = ?1 AND finished_wall_ms IS NOT NULL"),
        params![id, month.number()],
        &format!(
            "INSERT INTO archived ({SAME}, month, logs) VALUES ({})",
            super::carry::places(&format!("{SAME}, month, logs"))
        ),
    )?;
    if entered > 0 {
        super::carry::carry(
            file,
            main,
            "SELECT job, name, value FROM job_labels WHERE job = ?1",
            [id],
            "INSERT INTO archived_labels (job, name, value) VALUES (?, ?, ?)",
        )?;
    }
    Ok(entered > 0)
}

/// Takes a job out, and notes that its rows are left in the file of its month; answers whether it was there.
pub(crate) fn forget(connection: &Connection, id: JobId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO archived_left (job, month) SELECT id, month FROM archived WHERE id = ?1",
        )?
        .execute([integer(id.0)?])?;
    expire(connection, id)
}

/// Jobs whose rows are left in files, by number, at most `limit`.
pub(super) fn left(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<(i64, Month)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT job, month FROM archived_left ORDER BY month, job LIMIT ?1")?
        .query_map([limit], |row| {
            Ok((row.get(0)?, Month::of_number(row.get(1)?)?))
        })?
        .collect()
}

/// Takes a job out whose month goes as well; answers whether it was there.
pub(crate) fn expire(connection: &Connection, id: JobId) -> rusqlite::Result<bool> {
    let gone = connection
        .prepare_cached("DELETE FROM archived WHERE id = ?1")?
        .execute([integer(id.0)?])?;
    Ok(gone > 0)
}

/// The same with whose they are.
pub(super) fn owners_of_month(
    connection: &Connection,
    month: Month,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, u32)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT id, uid FROM archived INDEXED BY archived_by_month WHERE month = ?1 AND id > ?2 \
             ORDER BY id LIMIT ?3",
        )?
        .query_map(params![month.number(), after, limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect()
}

/// The archived jobs of a month after `after`, by number, at most `limit`.
pub(super) fn of_month(
    connection: &Connection,
    month: Month,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT id FROM archived INDEXED BY archived_by_month WHERE month = ?1 AND id > ?2 \
             ORDER BY id LIMIT ?3",
        )?
        .query_map(params![month.number(), after, limit], |row| row.get(0))?
        .collect()
}

/// Every month that something is archived in, oldest first.
pub(super) fn months(connection: &Connection) -> rusqlite::Result<Vec<Month>> {
    connection
        .prepare_cached(
            "SELECT DISTINCT month FROM archived INDEXED BY archived_by_month \
             UNION SELECT month FROM archived_events ORDER BY 1",
        )?
        .query_map([], |row| Month::of_number(row.get(0)?))?
        .collect()
}
