//! Bringing archived jobs back into the main database: one by one when they are retried, or as many as somebody asks for.

use crate::model::id::JobId;
use crate::model::spec::JobSpec;
use crate::store::archive::carry::OF_JOB;
use crate::store::archive::{Archive, Month, catalogue, reader};
use crate::store::error::StoreError;
use crate::store::open::Files;
use crate::store::rows::{Json, integer};
use crate::store::writer::Writer;
use rusqlite::{Connection, OptionalExtension, params};

/// Jobs that come back in one transaction.
const PART: usize = 32;

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    /// The jobs.
    pub jobs: Vec<JobId>,
    /// Those of them whose environment was deleted: they would run with a clean one.
    pub without_environment: Vec<JobId>,
    /// Those that were asked for and are not in the archive.
    pub unknown: Vec<JobId>,
}

impl Archive {
    /// Brings jobs back. Those that are there already stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] where a month cannot be read, or the store does not take it; what went before stays done.
    pub fn bring_back(&self, jobs: &[JobId]) -> Result<Back, StoreError> {
        let mut back = Back::default();
        for part in jobs.chunks(PART) {
            let (part, files) = (part.to_vec(), self.files.clone());
            let some = self.store.with_writer(move |writer| {
                // Their progress first: what is there twice does no harm, and the main database decides.
                for id in &part {
                    let month = writer.read(|connection| catalogue::month_of(connection, *id))?;
                    if let Some(month) = month {
                        progress_back(writer, *id, month)?;
                    }
                }
                writer.write_or(|connection| bring_back(connection, &files, &part))
            })?;
            back.jobs.extend(some.jobs);
            back.without_environment.extend(some.without_environment);
            back.unknown.extend(some.unknown);
        }
        Ok(back)
    }

    /// Brings back every job of a month.
    ///
    /// # Errors
    /// As [`bring_back`](Self::bring_back).
    pub fn bring_back_month(&self, month: Month) -> Result<Back, StoreError> {
        let read =
            |connection: &Connection| catalogue::of_month(connection, month, i64::MIN, usize::MAX);
        let ids = self.store.reader().read(read)?;
        let ids: Vec<JobId> = ids
            .into_iter()
            .filter_map(|id| u64::try_from(id).ok().map(JobId))
            .collect();
        self.bring_back(&ids)
    }
}

fn bring_back(connection: &Connection, files: &Files, jobs: &[JobId]) -> Result<Back, StoreError> {
    let fail = |error: rusqlite::Error| StoreError::of(&error, &files.database);
    let mut back = Back::default();
    for id in jobs {
        if ensure_here(connection, files, *id)?.is_none() {
            let is_here = "SELECT 1 FROM jobs WHERE id = ?1";
            let is_here = integer(id.0)
                .and_then(|id| connection.prepare_cached(is_here)?.exists([id]))
                .unwrap_or(false);
            if !is_here {
                back.unknown.push(*id);
            }
            continue;
        }
        if drop_missing_environment(connection, *id).map_err(fail)? {
            back.without_environment.push(*id);
        }
        back.jobs.push(*id);
    }
    Ok(back)
}

/// Copies the progress of a job that was in `month` back. What is there already stays.
pub(crate) fn progress_back(
    writer: &mut Writer,
    id: JobId,
    month: Month,
) -> Result<(), StoreError> {
    let file = reader(writer.files(), month)?;
    writer.history().take_back(id, &file)
}

/// Brings one job back where it is archived, inside the writer's transaction; answers where it was. Its progress
/// stays there.
pub(crate) fn ensure_here(
    connection: &Connection,
    files: &Files,
    id: JobId,
) -> Result<Option<Month>, StoreError> {
    let fail = |error: rusqlite::Error| StoreError::of(&error, &files.database);
    let Some(month) = catalogue::month_of(connection, id).map_err(fail)? else {
        return Ok(None);
    };
    let file = reader(files, month)?;
    let carry = || -> rusqlite::Result<usize> {
        let mut rows = 0;
        for table in &OF_JOB {
            rows += table.carry(&file, connection, id)?;
        }
        link_environment(connection, id)?;
        catalogue::forget(connection, id)?;
        Ok(rows)
    };
    if carry().map_err(fail)? == 0 {
        return Err(StoreError::Archived {
            path: month.path(files),
            why: format!("job {id} is not in it, which should be"),
        });
    }
    Ok(Some(month))
}

/// Refers to the environment of a job again, where another job has kept it.
fn link_environment(connection: &Connection, id: JobId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE jobs SET environment = (SELECT e.number FROM job_specs s \
             JOIN environments e ON e.id = s.spec ->> '$.env' WHERE s.job = jobs.id) WHERE id = ?1",
        )?
        .execute([integer(id.0)?])?;
    Ok(())
}

/// A job whose environment is gone asks for none from now on; answers whether that is so.
fn drop_missing_environment(connection: &Connection, id: JobId) -> rusqlite::Result<bool> {
    let id = integer(id.0)?;
    let spec: Option<Json<JobSpec>> = connection
        .prepare_cached(
            "SELECT s.spec FROM job_specs s JOIN jobs j ON j.id = s.job \
             WHERE s.job = ?1 AND j.environment IS NULL",
        )?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(Json(mut spec)) = spec.filter(|spec| spec.0.env.is_some()) else {
        return Ok(false);
    };
    spec.env = None;
    connection
        .prepare_cached("UPDATE job_specs SET spec = ?2 WHERE job = ?1")?
        .execute(params![id, Json(spec)])?;
    Ok(true)
}
