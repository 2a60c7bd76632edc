//! What can still be read of a damaged database, carried over into a new one.
//!
//! The damaged file is only read. Its history of events is not carried over: a new database has a new
//! epoch, and cursors of the old one are answered with "gone".

use crate::model::attempt::Attempt;
use crate::model::change::Environment;
use crate::model::group::Gates;
use crate::model::id::{EnvId, JobId};
use crate::model::job::Job;
use crate::model::state::{HeldFor, JobState};
use crate::store::error::StoreError;
use crate::store::open::harden;
use crate::store::{apply, rows};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What was read.
#[derive(Default)]
pub(crate) struct Saved {
    /// The largest job number that was seen anywhere: numbers are never used twice.
    pub(crate) last_job: JobId,
    environments: BTreeMap<EnvId, Environment>,
    gates: Gates,
    jobs: Vec<(Job, Vec<Attempt>)>,
}

/// Reads what can be read of the database at `path`; what cannot is left out.
pub(crate) fn read(path: &Path) -> Saved {
    let mut saved = Saved::default();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(connection) = Connection::open_with_flags(path, flags) else {
        return saved;
    };
    let kept_as_found = connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| harden(&connection));
    if kept_as_found.is_err() {
        return saved;
    }
    let ids = job_ids(&connection);
    let last = rows::last_number(&connection, "jobs").unwrap_or_default();
    saved.last_job = JobId(last).max(ids.last().copied().unwrap_or_default());
    saved.gates = rows::gates(&connection).unwrap_or_default();
    saved.environments = environments(&connection);
    for id in ids {
        let Ok(Some(job)) = rows::find_job(&connection, id) else {
            continue;
        };
        let attempts = attempts(&connection, id);
        saved.jobs.push((as_far_as_known(job), attempts));
    }
    saved
}

/// Writes what was read into a new database; answers how many jobs that were.
pub(crate) fn write(
    connection: &mut Connection,
    path: &Path,
    saved: &Saved,
) -> Result<usize, StoreError> {
    let mut written = 0;
    let mut run = || -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        for (id, content) in &saved.environments {
            apply::environment_seen(&transaction, id, content)?;
        }
        for group in &saved.gates.groups {
            apply::set_group(&transaction, group)?;
        }
        apply::set_draining(&transaction, saved.gates.draining)?;
        for (job, attempts) in &saved.jobs {
            // A job whose environment is gone cannot be kept as what it was.
            if apply::add(&transaction, job).is_err() {
                continue;
            }
            for attempt in attempts {
                apply::write_attempt(&transaction, attempt)?;
            }
            written += 1;
        }
        transaction.commit()
    };
    run().map_err(|error| StoreError::of(&error, path))?;
    Ok(written)
}

/// Every job number that the table or an index still shows: damage in one often spares the others.
fn job_ids(connection: &Connection) -> BTreeSet<JobId> {
    let ways = [
        "SELECT id FROM jobs NOT INDEXED ORDER BY id",
        "SELECT id FROM jobs NOT INDEXED ORDER BY id DESC",
        "SELECT id FROM jobs INDEXED BY jobs_by_state WHERE state >= ''",
        "SELECT job FROM attempts",
    ];
    let mut ids = BTreeSet::new();
    for way in ways {
        let Ok(mut statement) = connection.prepare(way) else {
            continue;
        };
        let Ok(rows) = statement.query_map([], |row| row.get::<_, i64>(0)) else {
            continue;
        };
        // The first error ends this way: SQLite cannot go past a page it cannot read.
        ids.extend(
            rows.map_while(Result::ok)
                .filter_map(|id| u64::try_from(id).ok())
                .filter(|id| *id < PLAUSIBLE_JOBS)
                .map(JobId),
        );
    }
    ids
}

/// A damaged number beyond this is not believed: it would use up all numbers below it.
const PLAUSIBLE_JOBS: u64 = 1 << 40;

fn environments(connection: &Connection) -> BTreeMap<EnvId, Environment> {
    let mut found = BTreeMap::new();
    let Ok(mut statement) = connection.prepare("SELECT id, content FROM environments") else {
        return found;
    };
    let Ok(rows) = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
    }) else {
        return found;
    };
    for (id, content) in rows.map_while(Result::ok) {
        if let Ok(content) = serde_json::from_slice(&content) {
            found.insert(EnvId(id), content);
        }
    }
    found
}

fn attempts(connection: &Connection, job: JobId) -> Vec<Attempt> {
    rows::attempts(connection, job).unwrap_or_default()
}

/// A job that waited may have run since the page it was read from was written. It is held, so that a
/// person decides: nothing that may still be alive is started again by itself.
fn as_far_as_known(mut job: Job) -> Job {
    let waits = !job.state.is_final() && !job.state.holds_place();
    if waits {
        job.state = JobState::Held {
            waits_for: HeldFor::Owner,
        };
    }
    job
}
