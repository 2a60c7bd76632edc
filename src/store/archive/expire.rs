//! What happens to archived jobs as they get older: their logs are compressed and deleted by whoever keeps logs, and says
//! so here; at last whole months go. And the space that all this leaves in the main database is given back.

use crate::model::id::{AttemptId, JobId};
use crate::store::archive::{Archive, Month, catalogue, reader, sync_directory};
use crate::store::error::StoreError;
use crate::store::rows::integer;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::fs;

/// Rows of the catalogue that go in one transaction.
const PART: usize = 64;

/// Pages that are given back in one transaction.
const VACUUM_PAGES: u32 = 64;

/// So much free space stays in the main database: what comes next is written there. Pages.
const SPARE_PAGES: i64 = 512;

/// What has become of the logs of an archived job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogState {
    /// They are as they were written.
    Plain,
    /// They are compressed.
    Compressed,
    /// They are deleted.
    Gone,
}

impl LogState {
    fn number(self) -> i64 {
        match self {
            Self::Plain => 0,
            Self::Compressed => 1,
            Self::Gone => 2,
        }
    }
}

/// The logs of one job: those of these attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The job.
    pub job: JobId,
    /// Its attempts; none where its month cannot be read.
    pub attempts: Vec<AttemptId>,
}

impl Archive {
    /// Archived jobs that finished before `before_ms` and whose logs are in `state`, by number from after `after`,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn logs(
        &self,
        state: LogState,
        before_ms: i64,
        after: JobId,
        limit: usize,
    ) -> Result<Vec<Logs>, StoreError> {
        let rows: Vec<(i64, i64)> = self.store.reader().read(|connection| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "SELECT id, month FROM archived WHERE logs = ?1 AND finished_wall_ms < ?2 AND logs < 2 \
                     AND id > ?3 ORDER BY id LIMIT ?4",
                )?
                .query_map(
                    params![state.number(), before_ms, integer(after.0)?, limit],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?
                .collect()
        })?;
        self.with_attempts(rows)
    }

    fn with_attempts(&self, rows: Vec<(i64, i64)>) -> Result<Vec<Logs>, StoreError> {
        let mut files: BTreeMap<i64, Option<Connection>> = BTreeMap::new();
        let mut logs = Vec::with_capacity(rows.len());
        for (id, number) in rows {
            let month = Month::of_number(number)
                .map_err(|error| StoreError::of(&error, &self.files.database))?;
            let file = files
                .entry(number)
                .or_insert_with(|| reader(&self.files, month).ok());
            let numbers = file.as_ref().map(|file| attempts(file, id));
            let job = JobId(u64::try_from(id).unwrap_or_default());
            let of = |attempt| AttemptId { job, attempt };
            let numbers = numbers.and_then(Result::ok).unwrap_or_default();
            logs.push(Logs {
                job,
                attempts: numbers.into_iter().map(of).collect(),
            });
        }
        Ok(logs)
    }

    /// Notes what has become of the logs of `jobs`.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it.
    pub fn note_logs(&self, jobs: &[JobId], state: LogState) -> Result<(), StoreError> {
        for part in jobs.chunks(PART) {
            let part = part.to_vec();
            self.store.with_writer(move |writer| {
                writer.write(|connection| {
                    let mut note =
                        connection.prepare_cached("UPDATE archived SET logs = ?2 WHERE id = ?1")?;
                    for job in &part {
                        note.execute(params![integer(job.0)?, state.number()])?;
                    }
                    Ok(())
                })
            })?;
        }
        Ok(())
    }

    /// The months that must go: those that are being deleted already, those of which everything finished before
    /// `before_ms`, and the oldest ones as long as all files together have more than `most_bytes`; 0 is no limit.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn expired(
        &self,
        before_ms: Option<i64>,
        most_bytes: u64,
    ) -> Result<Vec<Month>, StoreError> {
        let (months, mut expired) = self.store.reader().read(|connection| {
            let going: rusqlite::Result<Vec<Month>> = connection
                .prepare_cached("SELECT month FROM archive_going")?
                .query_map([], |row| Month::of_number(row.get(0)?))?
                .collect();
            Ok((catalogue::months(connection)?, going?))
        })?;
        let size =
            |month: &Month| fs::metadata(month.path(&self.files)).map_or(0, |data| data.len());
        let mut bytes: u64 = months.iter().map(size).sum();
        for month in months {
            let is_old = before_ms.is_some_and(|before_ms| month.end_ms() <= before_ms);
            let is_too_much = most_bytes > 0 && bytes > most_bytes;
            if !(is_old || is_too_much) {
                break;
            }
            bytes -= size(&month);
            expired.push(month);
        }
        expired.sort_unstable();
        expired.dedup();
        Ok(expired)
    }

    /// Says that a month is being deleted: whatever happens from here on, it will be.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it.
    pub fn condemn(&self, month: Month) -> Result<(), StoreError> {
        self.store.with_writer(move |writer| {
            writer.write(|connection| {
                connection
                    .prepare_cached("INSERT OR IGNORE INTO archive_going (month) VALUES (?1)")?
                    .execute([month.number()])
            })
        })?;
        Ok(())
    }

    /// Some jobs of a month whose logs must be deleted before [`drop_jobs`](Self::drop_jobs).
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn jobs_of(&self, month: Month, limit: usize) -> Result<Vec<Logs>, StoreError> {
        let ids = self
            .store
            .reader()
            .read(|connection| catalogue::of_month(connection, month, i64::MIN, limit))?;
        self.with_attempts(ids.into_iter().map(|id| (id, month.number())).collect())
    }

    /// Forgets archived jobs.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it.
    pub fn drop_jobs(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        for part in jobs.chunks(PART) {
            let part = part.to_vec();
            self.store.with_writer(move |writer| {
                writer.write(|connection| {
                    for job in &part {
                        catalogue::drop(connection, *job)?;
                    }
                    Ok(())
                })
            })?;
        }
        Ok(())
    }

    /// Deletes the file of a condemned month that has no jobs any more.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be deleted, or the store does not take it.
    pub fn drop_month(&self, month: Month) -> Result<(), StoreError> {
        let path = month.path(&self.files);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::of_io(&error, &path));
            }
            Ok(()) | Err(_) => {}
        }
        if self.files.archive.exists() {
            sync_directory(&self.files.archive)?;
        }
        self.store.with_writer(move |writer| {
            writer.write(|connection| {
                for table in ["archived_events", "archived_left", "archive_going"] {
                    connection
                        .prepare_cached(&format!("DELETE FROM {table} WHERE month = ?1"))?
                        .execute([month.number()])?;
                }
                Ok(())
            })
        })
    }

    /// Gives a bounded part of the free space of the main database back to the file system, and answers whether there
    /// is more. A database of before that was possible keeps its space, and fills it again.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it.
    pub fn vacuum(&self) -> Result<bool, StoreError> {
        let free = self.store.with_writer(|writer| {
            writer.write_outside(|connection| {
                if free_pages(connection)? > SPARE_PAGES {
                    give_back(connection)?;
                }
                free_pages(connection)
            })
        })?;
        Ok(free > SPARE_PAGES)
    }
}

/// Pages that nothing is in and that can be given back.
fn free_pages(connection: &Connection) -> rusqlite::Result<i64> {
    let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    let incremental = 2;
    if mode != incremental {
        return Ok(0);
    }
    connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
}

/// Each row that is asked for moves one page: to prepare and run the statement alone would move one.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut pages = statement.query([])?;
    while pages.next()?.is_some() {}
    Ok(())
}

fn attempts(file: &Connection, id: i64) -> rusqlite::Result<Vec<u32>> {
    file.prepare_cached("SELECT attempt FROM attempts WHERE job = ?1 ORDER BY attempt")?
        .query_map([id], |row| row.get(0))?
        .collect()
}
