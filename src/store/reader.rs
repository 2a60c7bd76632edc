//! Reading: a few connections that cannot write, each read in one transaction of its own.
//!
//! Every call blocks on the disk and belongs on a thread that may block. The engine never waits for
//! one: a reader sees the last committed state, and the writer goes on beside it.

use crate::model::attempt::Attempt;
use crate::model::change::Environment;
use crate::model::event::Event;
use crate::model::group::{Gates, Group};
use crate::model::id::{EnvId, JobId, Seq};
use crate::model::job::Job;
use crate::model::progress::SameRuns;
use crate::model::state::StateName;
use crate::store::archive::{self, Month, Months};
use crate::store::error::StoreError;
use crate::store::list::{JobFilter, Page, page};
use crate::store::open::{self, Files};
use crate::store::{aside, error, past, rows};
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

mod curves;
mod flows;
mod then;

pub use then::{ActiveThen, Then};

/// How many reads go on at once; the rest wait.
const MOST_CONNECTIONS: usize = 4;

/// How many connections stay open while nobody reads.
const IDLE_CONNECTIONS: usize = 1;

/// A job with everything that is stored about it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobHistory {
    /// The job, with its newest attempt.
    pub job: Job,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// The newest event that this shows the effect of.
    pub as_of: Seq,
}

/// A group with how much is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCount {
    /// The group.
    pub group: Group,
    /// Jobs that hold a place.
    pub active: u64,
    /// Jobs that are neither finished nor hold a place.
    pub waiting: u64,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this job alone; found without reading the others.
    pub job: Option<JobId>,
    /// Whose channel begins so; empty means any.
    pub prefix: String,
    /// Up to and with this one.
    pub up_to: Option<Seq>,
}

/// Part of the event history.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Everything up to here was looked at: the next page begins after it.
    pub reached: Seq,
    /// The oldest event there is: what is asked for before it is gone.
    pub oldest: Seq,
    /// The newest event there is; the history ends here when `reached` is this.
    pub head: Seq,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    busy: usize,
    /// The ticket that the next reader draws, and the first one that has no connection yet: they are served in turn, so
    /// that who comes again and again does not pass by who waits.
    next: u64,
    first: u64,
}

struct Shared {
    files: Files,
    pool: Mutex<Pool>,
    returned: Condvar,
}

/// Reads what is stored; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("database", &self.shared.files.database)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(files: Files) -> Self {
        Self {
            shared: Arc::new(Shared {
                files,
                pool: Mutex::default(),
                returned: Condvar::new(),
            }),
        }
    }

    pub(crate) fn files(&self) -> &Files {
        &self.shared.files
    }

    /// Jobs of `filter` with smaller numbers than `after`, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn jobs(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(|connection| page(connection, &self.shared.files, filter, after, limit))
    }

    /// One job with all its attempts, where it is stored.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn job(&self, id: JobId) -> Result<Option<JobHistory>, StoreError> {
        let (here, month, as_of) = self.read(|connection| {
            let as_of = rows::head(connection)?;
            match rows::find_job(connection, id)? {
                Some(job) => Ok((Some((job, rows::attempts(connection, id)?)), None, as_of)),
                None => Ok((None, archive::month_of(connection, id)?, as_of)),
            }
        })?;
        let found = match (here, month) {
            (Some(here), _) => Some(here),
            (None, Some(month)) => match self.archived(month, id) {
                Ok(found) => Some(found),
                // It may have been removed or brought back since it was looked up.
                Err(_) if self.read(|main| archive::month_of(main, id))? != Some(month) => {
                    return self.job(id);
                }
                Err(error) => return Err(error),
            },
            (None, None) => None,
        };
        Ok(found.map(|(job, attempts)| JobHistory {
            job,
            attempts,
            as_of,
        }))
    }

    fn archived(&self, month: Month, id: JobId) -> Result<(Job, Vec<Attempt>), StoreError> {
        let mut months = Months::new(&self.shared.files);
        let job = months.job(month, id)?;
        Ok((job, months.attempts(month, id)?))
    }

    /// Whose a job is, where it is stored.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn owner(&self, id: JobId) -> Result<Option<u32>, StoreError> {
        // A number that SQLite cannot hold names no job.
        let Ok(id) = i64::try_from(id.0) else {
            return Ok(None);
        };
        self.read(|connection| {
            let here = connection
                .prepare_cached("SELECT uid FROM jobs WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            match here {
                Some(uid) => Ok(Some(uid)),
                None => archive::owner(connection, id),
            }
        })
    }

    /// How long the newest completed runs of the same took, milliseconds; none where there are none.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn past_runs(&self, same: &SameRuns) -> Result<Vec<u64>, StoreError> {
        self.read(|connection| past::runs(connection, &self.shared.files, same))
    }

    /// The content of an environment, for starting a command.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn environment(&self, id: &EnvId) -> Result<Option<Environment>, StoreError> {
        self.read(|connection| {
            let content: Option<Vec<u8>> = connection
                .prepare_cached("SELECT content FROM environments WHERE id = ?1")?
                .query_row([&id.0], |row| row.get(0))
                .optional()?;
            content
                .map(|content| {
                    serde_json::from_slice(&content).map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(
                            0,
                            rusqlite::types::Type::Blob,
                            Box::new(error),
                        )
                    })
                })
                .transpose()
        })
    }

    /// The names of the variables of an environment: what may be shown of it.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn environment_names(&self, id: &EnvId) -> Result<Option<Vec<String>>, StoreError> {
        let content = self.environment(id)?;
        Ok(content.map(|content| content.into_keys().collect()))
    }

    /// Every group, by name, and whether the host is drained.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn gates(&self) -> Result<Gates, StoreError> {
        self.read(rows::gates)
    }

    /// Every group with how much is in it, by name; `always` is among them also before it was ever stored.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn group_counts(&self, always: &Group) -> Result<(Vec<GroupCount>, Seq), StoreError> {
        self.read(|connection| {
            let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            let mut statement = connection.prepare_cached(
                "SELECT grp, state, count(*) FROM jobs INDEXED BY jobs_live WHERE is_final = 0 \
                 GROUP BY grp, state",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let count = unsigned(row.get(2)?)?;
                let state = StateName::parse(&row.get::<_, String>(1)?);
                let (active, waiting) = counts.entry(row.get(0)?).or_default();
                if state.is_some_and(StateName::holds_place) {
                    *active += count;
                } else {
                    *waiting += count;
                }
            }
            let mut groups = rows::gates(connection)?.groups;
            if let Err(place) = groups.binary_search_by(|group| group.name.cmp(&always.name)) {
                groups.insert(place, always.clone());
            }
            let groups = groups.into_iter().map(|group| {
                let (active, waiting) = counts.get(&group.name).copied().unwrap_or_default();
                GroupCount {
                    group,
                    active,
                    waiting,
                }
            });
            Ok((groups.collect(), rows::head(connection)?))
        })
    }

    /// How many jobs are in each state; states without jobs are left out.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn counts(&self) -> Result<(BTreeMap<StateName, u64>, Seq), StoreError> {
        self.read(|connection| {
            let mut counts = BTreeMap::new();
            let mut statement =
                connection.prepare_cached(
                "SELECT state, sum(jobs) FROM (SELECT state, count(*) AS jobs FROM jobs GROUP BY state \
                 UNION ALL SELECT state, count(*) FROM archived GROUP BY state) GROUP BY state",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(state) = StateName::parse(&row.get::<_, String>(0)?) {
                    counts.insert(state, unsigned(row.get(1)?)?);
                }
            }
            Ok((counts, rows::head(connection)?))
        })
    }

    /// Durable events after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn events(
        &self,
        after: Seq,
        limit: usize,
        filter: &EventFilter,
    ) -> Result<EventPage, StoreError> {
        self.read(|connection| {
            let head = rows::head(connection)?;
            let files = &self.shared.files;
            let (mut found, whole_from) =
                archive::event_page(connection, files, after, limit, filter)?;
            if found.len() < limit {
                let rest = limit - found.len();
                found.extend(events(connection, after, rest, filter)?);
            }
            let events = found;
            let last = events.last().and_then(|event| event.seq);
            let oldest = rows::oldest(connection)?;
            Ok(EventPage {
                reached: match last {
                    Some(last) if events.len() >= limit => last,
                    _ => filter.up_to.unwrap_or(head).min(head),
                },
                oldest: whole_from.map_or(oldest, |from| from.max(oldest)),
                events,
                head,
            })
        })
    }

    /// The oldest and the newest durable event. After trimming all, oldest is one after newest.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn bounds(&self) -> Result<(Seq, Seq), StoreError> {
        self.read(|connection| Ok((rows::oldest(connection)?, rows::head(connection)?)))
    }

    /// Runs `work` in one read transaction: everything it sees belongs to one moment.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = &self.shared.files.database;
        let mut lease = self.lease(path)?;
        let Some(connection) = lease.connection.as_mut() else {
            return Err(StoreError::Stopped);
        };
        let outcome = connection.transaction().and_then(|transaction| {
            let found = work(&transaction)?;
            transaction.commit()?;
            Ok(found)
        });
        outcome.map_err(|error| {
            // A connection that failed is not used again.
            lease.connection = None;
            let code = error::code(&error);
            if matches!(
                code,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) {
                aside::suspect(&self.shared.files, &error.to_string());
            }
            StoreError::of(&error, path)
        })
    }

    fn lease(&self, path: &Path) -> Result<Lease<'_>, StoreError> {
        let mut pool = self.shared.pool();
        let ticket = pool.next;
        pool.next += 1;
        while pool.busy >= MOST_CONNECTIONS || pool.first != ticket {
            pool = self
                .shared
                .returned
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        }
        pool.first += 1;
        pool.busy += 1;
        let idle = pool.idle.pop();
        drop(pool);
        // There may be a connection for the next one, too.
        self.shared.returned.notify_all();
        let mut lease = Lease {
            shared: &self.shared,
            connection: idle,
        };
        if lease.connection.is_none() {
            lease.connection = Some(open::reader(path)?);
        }
        Ok(lease)
    }
}

impl Shared {
    /// A reader that panicked left the pool as it was: there is nothing half done in it.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use; goes back when dropped.
struct Lease<'pool> {
    shared: &'pool Shared,
    connection: Option<Connection>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut pool = self.shared.pool();
        pool.busy -= 1;
        if pool.idle.len() < IDLE_CONNECTIONS {
            pool.idle.extend(self.connection.take());
        }
        drop(pool);
        self.shared.returned.notify_all();
    }
}

pub(crate) fn events(
    connection: &Connection,
    after: Seq,
    limit: usize,
    filter: &EventFilter,
) -> rusqlite::Result<Vec<Event>> {
    let of_job = match filter.job {
        Some(_) => "AND job = ?4",
        None => "AND ?4 IS NULL",
    };
    // Not LIKE or GLOB: names of groups may hold their wildcards.
    let sql = format!(
        "{} WHERE seq > ?1 AND substr(channel, 1, length(?3)) = ?3 AND seq <= ?5 {of_job} ORDER BY seq LIMIT ?2",
        rows::SELECT_EVENT
    );
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let up_to = filter
        .up_to
        .map_or(i64::MAX, |up_to| i64::try_from(up_to.0).unwrap_or(i64::MAX));
    let job = filter.job.map(|job| rows::integer(job.0)).transpose()?;
    connection
        .prepare_cached(&sql)?
        .query_map((after, limit, &filter.prefix, job, up_to), rows::event)?
        .collect()
}

fn unsigned(value: i64) -> rusqlite::Result<u64> {
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, value))
}
