//! Moving finished jobs into the archive: which are due, the copy, the handing over, the sweeping.

use crate::model::id::JobId;
use crate::model::state::StateName;
use crate::store::archive::carry::{OF_JOB, OF_PROGRESS};
use crate::store::archive::{Archive, Month, catalogue, progress_back, reader, writer};
use crate::store::error::StoreError;
use crate::store::open;
use crate::store::rows::{integer, job_of};
use crate::store::{apply, writer::Writer};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long the writer may be kept by one part of a handing over: whoever commits meanwhile waits for it.
const PART: Duration = Duration::from_millis(6);

/// Most jobs of one part, however quick they go.
const MOST_OF_PART: usize = 256;

/// Points of progress that are deleted in one part at most.
const MOST_POINTS: usize = 4_096;

/// Rows that are swept out in one transaction.
const SWEEP: usize = 500;

/// A job that is old enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub job: JobId,
    /// When it finished, on the wall clock: another time means that it ran again since.
    pub finished_ms: i64,
    /// Points of its progress that were copied.
    points: usize,
    /// How many of its attempts were copied with their totals: these may come late.
    tallied: i64,
}

impl Due {
    /// The month it belongs to.
    #[must_use]
    pub fn month(&self) -> Month {
        Month::of(self.finished_ms)
    }
}

/// What keeps a job `j` here: that it lives, that one lives which waits for it, or that its flow lives.
fn is_over() -> String {
    let live: Vec<String> = StateName::ALL
        .into_iter()
        .filter(|state| !state.is_final())
        .map(|state| format!("'{state}'"))
        .collect();
    format!(
        "j.is_final = 1 AND j.finished_wall_ms IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM job_deps d JOIN jobs w ON w.id = d.job \
             WHERE d.dependency = j.id AND w.is_final = 0) \
         AND (j.flow IS NULL OR NOT EXISTS (SELECT 1 FROM jobs f INDEXED BY jobs_by_flow_state \
             WHERE f.flow = j.flow AND f.uid = j.uid AND f.state IN ({})))",
        live.join(", ")
    )
}

impl Archive {
    /// The jobs after `after` that finished before `before_ms` and may go, by number, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn due(&self, before_ms: i64, after: JobId, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.store.reader().read(|connection| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            connection
                .prepare_cached(&format!(
                    "SELECT j.id, j.finished_wall_ms FROM jobs j NOT INDEXED WHERE j.id > ?1 \
                     AND j.finished_wall_ms < ?2 AND {} ORDER BY j.id LIMIT ?3",
                    is_over()
                ))?
                .query_map(params![integer(after.0)?, before_ms, limit], |row| {
                    let id: i64 = row.get(0)?;
                    let id = u64::try_from(id)
                        .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))?;
                    Ok(Due {
                        job: JobId(id),
                        finished_ms: row.get(1)?,
                        points: 0,
                        tallied: 0,
                    })
                })?
                .collect()
        })
    }

    /// Copies jobs of one month into its file, with their progress. When this returns they are there for good; the
    /// main database has not changed yet. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] where that file cannot be written; then none of them is in it.
    pub fn copy(&self, month: Month, jobs: &mut [Due]) -> Result<(), StoreError> {
        self.store.settle_now()?;
        let path = month.path(&self.files);
        let mut to = writer(&self.files, month)?;
        let history = match self.files.progress.exists() {
            true => Some(open::reader(&self.files.progress)?),
            false => None,
        };
        let has_newest = match &history {
            Some(history) => has_table(history, "newest")
                .map_err(|error| StoreError::of(&error, &self.files.progress))?,
            None => false,
        };
        let mut copy = |main: &Connection| -> rusqlite::Result<()> {
            // Every job as it was at one moment.
            let moment = main.unchecked_transaction()?;
            let transaction = to.transaction()?;
            for due in jobs.iter_mut() {
                due.tallied = tallied(main, integer(due.job.0)?)?;
                for table in &OF_JOB {
                    table.carry(main, &transaction, due.job)?;
                }
                due.points = 0;
                for table in &OF_PROGRESS {
                    if let Some(history) = &history
                        && (table.name != "newest" || has_newest)
                    {
                        due.points += table.carry(history, &transaction, due.job)?;
                    }
                }
            }
            transaction.commit()?;
            moment.commit()
        };
        let main = open::reader(&self.files.database)?;
        copy(&main).map_err(|error| StoreError::of(&error, &path))
    }

    /// Takes the jobs out of the main database that were copied and are still as they were; from then on they are
    /// read from the archive. Answers which.
    ///
    /// # Errors
    /// [`StoreError`] where the store does not take it; what went before stays done.
    pub fn hand_over(&self, month: Month, jobs: &[Due]) -> Result<Vec<JobId>, StoreError> {
        let mut moved = Vec::with_capacity(jobs.len());
        let mut left = jobs;
        let mut size = 16;
        while !left.is_empty() {
            let part = part(left, size);
            left = left.get(part.len()..).unwrap_or_default();
            let part = part.to_vec();
            let count = part.len();
            let (gone, took) = self.store.with_writer(move |writer| {
                let began = Instant::now();
                let gone = writer.write(|connection| hand_over(connection, month, &part))?;
                writer.forget_progress(&gone);
                Ok((gone, began.elapsed()))
            })?;
            moved.extend(gone);
            size = next_size(count, took);
        }
        Ok(moved)
    }

    /// Deletes from the files what is noted as left in them: jobs that were removed or brought back.
    ///
    /// # Errors
    /// [`StoreError`] where a file cannot be written; files that are missing are passed over.
    pub fn clear_left(&self) -> Result<(), StoreError> {
        loop {
            let left = self
                .store
                .reader()
                .read(|connection| catalogue::left(connection, SWEEP))?;
            let Some((_, month)) = left.first().copied() else {
                return Ok(());
            };
            let of_month = left.into_iter().filter(|(_, other)| *other == month);
            let ids: Vec<i64> = of_month.map(|(id, _)| id).collect();
            if month.path(&self.files).exists() {
                self.clear(month, &ids)?;
            }
            self.store.with_writer(move |writer| {
                writer.write(|connection| {
                    let mut done = connection.prepare_cached(
                        "DELETE FROM archived_left WHERE job = ?1 AND month = ?2",
                    )?;
                    for id in &ids {
                        done.execute(params![id, month.number()])?;
                    }
                    Ok(())
                })
            })?;
        }
    }

    /// Deletes from the file of a month whatever it holds and the main database does not say it has: also what a copy
    /// left there that was cut short. Answers how many jobs that were.
    ///
    /// # Errors
    /// [`StoreError`] where the file cannot be read or written.
    pub fn sweep(&self, month: Month) -> Result<usize, StoreError> {
        let file = reader(&self.files, month)?;
        let path = month.path(&self.files);
        let held: BTreeSet<i64> = read_ids(&file).map_err(|error| StoreError::of(&error, &path))?;
        drop(file);
        let left: Vec<i64> = self.store.reader().read(|connection| {
            let known = catalogue::of_month(connection, month, i64::MIN, usize::MAX)?;
            let known: BTreeSet<i64> = known.into_iter().collect();
            Ok(held.difference(&known).copied().collect())
        })?;
        for some in left.chunks(SWEEP) {
            self.clear(month, some)?;
        }
        Ok(left.len())
    }

    /// Deletes the progress of archived jobs from where it was, where a crash has left it.
    ///
    /// # Errors
    /// [`StoreError`] where the progress history cannot be read.
    pub fn clear_progress(&self) -> Result<(), StoreError> {
        let path = &self.files.progress;
        if !path.exists() {
            return Ok(());
        }
        let read = || -> rusqlite::Result<Vec<i64>> {
            let history = open::reader(path).map_err(|_| rusqlite::Error::InvalidQuery)?;
            if !has_table(&history, "newest")? {
                return Ok(Vec::new());
            }
            history
                .prepare("SELECT DISTINCT job FROM newest")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        let known = read().map_err(|error| StoreError::of(&error, path))?;
        let orphans: Vec<JobId> = self.store.reader().read(|connection| {
            let mut orphans = Vec::new();
            for id in known {
                let id = job_of(id);
                if catalogue::month_of(connection, id)?.is_some() {
                    orphans.push(id);
                }
            }
            Ok(orphans)
        })?;
        for some in orphans.chunks(MOST_OF_PART) {
            let some = some.to_vec();
            self.store.with_writer(move |writer| {
                writer.forget_progress(&some);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Deletes the rows of jobs from a file. Whoever is back in the main database has its progress back first.
    fn clear(&self, month: Month, ids: &[i64]) -> Result<(), StoreError> {
        let back: Vec<i64> = self.store.reader().read(|connection| {
            let mut is_here = connection.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?;
            let mut back = Vec::new();
            for id in ids {
                if is_here.exists([id])? {
                    back.push(*id);
                }
            }
            Ok(back)
        })?;
        for id in back {
            let job = job_of(id);
            self.store
                .with_writer(move |writer| progress_back(writer, job, month))?;
        }
        let mut connection = writer(&self.files, month)?;
        clear_rows(&mut connection, ids)
            .map_err(|error| StoreError::of(&error, &month.path(&self.files)))
    }
}

fn read_ids(file: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    file.prepare("SELECT id FROM jobs")?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn clear_rows(file: &mut Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let transaction = file.transaction()?;
    for id in ids {
        for table in OF_JOB.iter().chain(&OF_PROGRESS) {
            table.clear(&transaction, job_of(*id))?;
        }
    }
    transaction.commit()
}

pub(super) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

/// The first of `jobs`: at most `size`, and no more points than may go at once.
fn part(jobs: &[Due], size: usize) -> &[Due] {
    let mut points = 0;
    let fits = jobs.iter().take(size).take_while(|due| {
        points += due.points;
        points <= MOST_POINTS
    });
    let count = fits.count().max(1);
    jobs.get(..count).unwrap_or(jobs)
}

/// How many jobs the next part has, so that it takes about as long as it may.
fn next_size(count: usize, took: Duration) -> usize {
    let per_job = took.as_micros().max(1) / count.max(1) as u128;
    let size = PART.as_micros() / per_job.max(1);
    usize::try_from(size)
        .unwrap_or(MOST_OF_PART)
        .clamp(4, MOST_OF_PART)
}

/// How many attempts of a job have their totals.
fn tallied(connection: &Connection, id: i64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT count(tally) FROM attempts WHERE job = ?1")?
        .query_row([id], |row| row.get(0))
}

/// Inside the writer's transaction: what is still as it was copied goes.
fn hand_over(connection: &Connection, month: Month, jobs: &[Due]) -> rusqlite::Result<Vec<JobId>> {
    let mut still = connection.prepare_cached(&format!(
        "SELECT 1 FROM jobs j WHERE j.id = ?1 AND j.finished_wall_ms = ?2 AND {}",
        is_over()
    ))?;
    let mut gone = Vec::with_capacity(jobs.len());
    for due in jobs {
        let id = integer(due.job.0)?;
        if still.exists(params![id, due.finished_ms])? && tallied(connection, id)? == due.tallied {
            catalogue::enter(connection, id, month)?;
            apply::take_out(connection, due.job)?;
            gone.push(due.job);
        }
    }
    Ok(gone)
}

impl Writer {
    /// Forgets the progress of jobs whose progress is in the archive, now.
    fn forget_progress(&mut self, jobs: &[JobId]) {
        for job in jobs {
            self.history().forget(*job);
        }
        self.history().flush();
    }
}
