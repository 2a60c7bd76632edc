//! What the engine asks for while it decides: finished jobs, newest jobs of a name, used keys.
//!
//! Answered by the writer, after everything that was committed before it was asked.

use crate::model::id::JobId;
use crate::model::job::Job;
use crate::store::archive::{self, Months};
use crate::store::error::StoreError;
use crate::store::open::Files;
use crate::store::rows::{self, Json};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Jobs by number.
    pub jobs: Vec<JobId>,
    /// The newest job of a user and name.
    pub names: Vec<(u32, String)>,
    /// An idempotency key of a user.
    pub key: Option<(u32, String)>,
}

/// A key that was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Hash of the request it came with.
    pub fingerprint: String,
    /// The jobs that request made.
    pub ids: Vec<JobId>,
}

/// The answer. What is not stored is not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fetched {
    /// The jobs, complete, each with its newest attempt, in the order they were asked for.
    pub jobs: Vec<Job>,
    /// The newest job of each user and name.
    pub names: BTreeMap<(u32, String), JobId>,
    /// What the key stands for.
    pub key: Option<StoredKey>,
}

/// Looks everything up. Where a month of the archive cannot be read, that is an answer too.
pub(crate) fn fetch(
    connection: &Connection,
    files: &Files,
    wanted: &Fetch,
) -> rusqlite::Result<Result<Fetched, StoreError>> {
    let mut found = Fetched::default();
    let mut months = Months::new(files);
    for id in &wanted.jobs {
        if let Some(job) = rows::find_job(connection, *id)? {
            found.jobs.push(job);
        } else if let Some(month) = archive::month_of(connection, *id)? {
            match months.job(month, *id) {
                Ok(job) => found.jobs.push(job),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    for (uid, name) in &wanted.names {
        let newest: Option<i64> = connection
            .prepare_cached(
                "SELECT id FROM jobs WHERE uid = ?1 AND name = ?2 ORDER BY id DESC LIMIT 1",
            )?
            .query_row(params![uid, name], |row| row.get(0))
            .optional()?;
        let archived = archive::newest_of_name(connection, *uid, name)?;
        if let Some(id) = newest.max(archived).and_then(|id| u64::try_from(id).ok()) {
            found.names.insert((*uid, name.clone()), JobId(id));
        }
    }
    if let Some((uid, key)) = &wanted.key {
        found.key = connection
            .prepare_cached(
                "SELECT fingerprint, ids FROM idempotency_keys WHERE uid = ?1 AND key = ?2",
            )?
            .query_row(params![uid, key], |row| {
                Ok(StoredKey {
                    fingerprint: row.get(0)?,
                    ids: row.get::<_, Json<_>>(1)?.0,
                })
            })
            .optional()?;
    }
    Ok(Ok(found))
}
