//! What happens to archived jobs as they get older: their logs are compressed and deleted by whoever keeps logs, and says
//! so here; at last whole months go. And the space that all this leaves in the databases is given back.

use crate::model::id::JobId;
use crate::store::archive::{Archive, Month, catalogue, remove, sync_directory};
use crate::store::error::StoreError;
use crate::store::rows::{integer, job_of};
use crate::store::space;
use rusqlite::params;
use std::fs;

/// Rows of the catalogue that go in one transaction.
const PART: usize = 64;

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
    ) -> Result<Vec<JobId>, StoreError> {
        self.store.reader().read(|connection| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "SELECT id FROM archived WHERE logs = ?1 AND finished_wall_ms < ?2 AND logs < 2 \
                     AND id > ?3 ORDER BY id LIMIT ?4",
                )?
                .query_map(
                    params![state.number(), before_ms, integer(after.0)?, limit],
                    |row| row.get(0).map(job_of),
                )?
                .collect()
        })
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

    /// The jobs of a month after `after` with their owners, by number, at most `limit`: their logs must be deleted before
    /// they expire ([`Change::JobExpired`](crate::model::change::Change::JobExpired)).
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn jobs_of(
        &self,
        month: Month,
        after: JobId,
        limit: usize,
    ) -> Result<Vec<(JobId, u32)>, StoreError> {
        self.store.reader().read(|connection| {
            let after = integer(after.0)?;
            let jobs = catalogue::owners_of_month(connection, month, after, limit)?;
            Ok(jobs
                .into_iter()
                .map(|(id, uid)| (job_of(id), uid))
                .collect())
        })
    }

    /// Deletes the file of a condemned month that has no jobs any more.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be deleted, or the store does not take it.
    pub fn drop_month(&self, month: Month) -> Result<(), StoreError> {
        remove(&month.path(&self.files))?;
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

    /// Gives a bounded part of the free space of the databases back to the file system, and answers whether there is
    /// more.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it, or the progress history cannot be written.
    pub fn vacuum(&self) -> Result<bool, StoreError> {
        self.store.with_writer(|writer| {
            let of_main = writer.write_outside(space::give_back)?;
            let of_progress = writer.history().give_back()?;
            Ok(of_main || of_progress)
        })
    }
}
