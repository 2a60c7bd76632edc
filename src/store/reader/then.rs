//! What was active at a time in the past: which attempts held a place, in which state, and how far each had come.

use crate::model::attempt::Attempt;
use crate::model::event::{Channel, StateBody};
use crate::model::id::{JobId, Seq};
use crate::model::job::Job;
use crate::model::progress::Progress;
use crate::model::state::{JobState, StateName};
use crate::store::archive::{self, Month, Months};
use crate::store::error::StoreError;
use crate::store::reader::Reader;
use crate::store::{history, rows};
use rusqlite::{Connection, OptionalExtension, params};
use std::cmp::Reverse;

/// A job as it was, while an attempt of it held a place.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveThen {
    /// The job, with that attempt, and without an end.
    pub job: Job,
    /// The state that it was in.
    pub state: StateName,
    /// What it had said last, and when.
    pub progress: Option<(i64, Progress)>,
}

/// All that was active.
#[derive(Clone, Debug, PartialEq)]
pub struct Then {
    /// The jobs, newest first.
    pub items: Vec<ActiveThen>,
    /// How many jobs were there that neither held a place nor had come to their end.
    pub waiting: u64,
    /// The newest event that this shows the effect of.
    pub as_of: Seq,
    /// Months of the archive that cannot be read: jobs of theirs are left out.
    pub unreadable: Vec<Month>,
}

/// Where an unfinished job stood.
enum Place {
    /// It had not been started.
    NeverStarted,
    /// An attempt was over; whether the job was, its events say.
    Between,
    /// This attempt held a place.
    Active(u32),
}

/// Jobs that were there and are known not to have ended for good before then, newest first, each with its last attempt
/// so far.
const PRESENT: &str = "SELECT id, \
    (SELECT CASE WHEN ended_wall_ms IS NULL OR ended_wall_ms > ?1 THEN attempt ELSE 0 END \
     FROM attempts WHERE job = jobs.id AND claimed_wall_ms <= ?1 ORDER BY attempt DESC LIMIT 1) \
    FROM jobs WHERE created_wall_ms <= ?1 AND (finished_wall_ms IS NULL OR finished_wall_ms > ?1) \
    ORDER BY id DESC";

const STATE: &str = "SELECT body FROM events WHERE job = ?1 AND channel = ?2 AND at_ms <= ?3 \
    ORDER BY seq DESC LIMIT 1";

impl Reader {
    /// What held a place at `at_ms`, wall clock, milliseconds since 1970 UTC; at most `most` jobs, of one user where that
    /// is said. What waited is counted whosever it was.
    ///
    /// # Errors
    /// [`StoreError`] where the database or the history cannot be read.
    pub fn active_at(
        &self,
        at_ms: i64,
        most: usize,
        only: Option<u32>,
    ) -> Result<Then, StoreError> {
        let mut then = self.read(|main| {
            let mut gathering = Gathering {
                main,
                months: Months::new(self.files()),
                at_ms,
                most,
                only,
                items: Vec::new(),
                waiting: 0,
            };
            gathering.add_present()?;
            gathering.add_archived()?;
            Ok(Then {
                as_of: rows::head(main)?,
                items: gathering.items,
                waiting: gathering.waiting,
                unreadable: gathering.months.unreadable(),
            })
        })?;
        then.items.sort_by_key(|item| Reverse(item.job.id));
        then.items.truncate(most);
        self.history(|progress| {
            let Some(progress) = progress else {
                return Ok(());
            };
            for item in then.items.iter_mut().filter(|item| item.progress.is_none()) {
                if let Some(attempt) = item.job.attempt.as_ref() {
                    item.progress = history::at(progress, attempt.id, at_ms)?;
                }
            }
            Ok(())
        })?;
        Ok(then)
    }
}

/// What is found on the way.
struct Gathering<'a> {
    main: &'a Connection,
    months: Months<'a>,
    at_ms: i64,
    most: usize,
    only: Option<u32>,
    items: Vec<ActiveThen>,
    waiting: u64,
}

impl Gathering<'_> {
    fn add_present(&mut self) -> rusqlite::Result<()> {
        for (id, place) in present(self.main, self.at_ms)? {
            if let Place::Active(attempt) = place
                && self.items.len() < self.most
                && let Some((job, attempt)) = stood(self.main, id, attempt)?
                && is_of(&job, self.only)
            {
                let state = self.state(id, Some(&attempt));
                self.items.push(as_it_was(job, attempt, state, None));
            }
            self.count(id, &place);
        }
        Ok(())
    }

    /// Counts a job that waited.
    fn count(&mut self, id: JobId, place: &Place) {
        let waited = match place {
            Place::Active(_) => false,
            Place::NeverStarted => true,
            // It may have come to its end, and have been tried again since.
            Place::Between => self.state(id, None).is_some_and(|state| !state.is_final()),
        };
        self.waiting += u64::from(waited);
    }

    fn add_archived(&mut self) -> rusqlite::Result<()> {
        for (month, ids) in archive::finished_after(self.main, self.at_ms)? {
            let found = self.of_month(month, &ids);
            let Ok(found) = found.inspect_err(|error| {
                tracing::debug!(%error, "left out of what was active");
            }) else {
                continue;
            };
            for (id, place, item) in found {
                if let Some((job, attempt, progress)) = item {
                    let state = self.state(id, Some(&attempt));
                    self.items.push(as_it_was(job, attempt, state, progress));
                }
                self.count(id, &place);
            }
        }
        Ok(())
    }

    /// What a month has of some jobs.
    fn of_month(&mut self, month: Month, ids: &[JobId]) -> Result<Vec<Found>, StoreError> {
        let path = month.path(self.months.files());
        let only = self.only;
        let file = self.months.open(month)?;
        let read = || -> rusqlite::Result<Vec<Found>> {
            let mut found: Vec<Found> = Vec::new();
            let mut active = 0;
            for (id, place) in present(file, self.at_ms)? {
                // A row that the catalogue does not name counts for nothing.
                if ids.binary_search(&id).is_err() {
                    continue;
                }
                let mut item = None;
                if let Place::Active(attempt) = place
                    && active < self.most
                    && let Some((job, attempt)) = stood(file, id, attempt)?
                    && is_of(&job, only)
                {
                    let progress = history::at(file, attempt.id, self.at_ms)?;
                    item = Some((job, attempt, progress));
                    active += 1;
                }
                found.push((id, place, item));
            }
            Ok(found)
        };
        read().map_err(|error| StoreError::of(&error, &path))
    }

    /// The last state that the events of a job tell, in the archive or not. Events go there from the oldest on, so the
    /// main database has the last one where it has any.
    fn state(&mut self, id: JobId, attempt: Option<&Attempt>) -> Option<StateName> {
        if let Some(state) = state(self.main, id, self.at_ms) {
            return Some(state);
        }
        let claimed = attempt.map(|it| Month::of(it.claimed.wall_ms));
        let mut months: Vec<Month> = [Some(Month::of(self.at_ms)), claimed]
            .into_iter()
            .flatten()
            .collect();
        months.dedup();
        months.into_iter().find_map(|month| {
            let is_there = month.path(self.months.files()).exists();
            let file = is_there.then(|| self.months.open(month).ok()).flatten()?;
            state(file, id, self.at_ms)
        })
    }
}

/// A job of a month: where it stood, and the rest of it where an attempt was active.
type Found = (
    JobId,
    Place,
    Option<(Job, Attempt, Option<(i64, Progress)>)>,
);

fn present(connection: &Connection, at_ms: i64) -> rusqlite::Result<Vec<(JobId, Place)>> {
    connection
        .prepare_cached(PRESENT)?
        .query_map([at_ms], |row| {
            let place = match row.get::<_, Option<u32>>(1)? {
                None => Place::NeverStarted,
                Some(0) => Place::Between,
                Some(attempt) => Place::Active(attempt),
            };
            Ok((rows::job_of(row.get(0)?), place))
        })?
        .collect()
}

fn stood(
    connection: &Connection,
    id: JobId,
    attempt: u32,
) -> rusqlite::Result<Option<(Job, Attempt)>> {
    let job = rows::find_job(connection, id)?;
    let mut attempts = rows::attempts(connection, id)?.into_iter();
    Ok(job.zip(attempts.find(|it| it.id.attempt == attempt)))
}

fn is_of(job: &Job, only: Option<u32>) -> bool {
    only.is_none_or(|uid| uid == job.owner.uid)
}

/// What cannot be read says nothing.
fn state(connection: &Connection, id: JobId, at_ms: i64) -> Option<StateName> {
    let channel = Channel::job(id, "state").to_string();
    let read = || -> rusqlite::Result<Option<String>> {
        connection
            .prepare_cached(STATE)?
            .query_row(params![rows::integer(id.0)?, channel, at_ms], |row| {
                row.get(0)
            })
            .optional()
    };
    let body: StateBody = serde_json::from_str(&read().ok()??).ok()?;
    Some(body.state)
}

/// The job without what came later.
fn as_it_was(
    mut job: Job,
    mut attempt: Attempt,
    state: Option<StateName>,
    progress: Option<(i64, Progress)>,
) -> ActiveThen {
    let since = attempt.started.unwrap_or(attempt.claimed);
    job.state = JobState::Running {
        since,
        ran_before_ms: 0,
    };
    job.finished = None;
    attempt.ended = None;
    attempt.ending = None;
    attempt.usage = None;
    attempt.progress = None;
    attempt.tally = None;
    job.attempt = Some(attempt);
    ActiveThen {
        state: state
            .filter(|it| it.holds_place())
            .unwrap_or(StateName::Running),
        job,
        progress,
    }
}
