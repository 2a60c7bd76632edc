//! What goes into one transaction together, and what comes of each part of it.

use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::id::JobId;
use crate::store::archive::Month;
use crate::store::error::StoreError;
use crate::store::fetch::{Fetch, Fetched, fetch};
use crate::store::open::Files;
use crate::store::writer::Answer;
use crate::store::{apply, archive};
use rusqlite::Connection;

/// A batch takes no further requests once it has this many changes, so that none waits too long.
pub(super) const BATCH_CHANGES: usize = 8_192;

/// What goes into a transaction, in the order it was asked for.
pub(crate) enum Entry {
    /// Store changes.
    Commit(Vec<Change>, Answer<Vec<Event>>),
    /// Look something up.
    Fetch(Fetch, Answer<Fetched>),
}

/// What came of one entry of a batch, held back until the batch is durable.
pub(super) enum Outcome {
    Events(Vec<Event>),
    Fetched(Result<Fetched, StoreError>),
}

impl Entry {
    /// How many changes it brings.
    pub(super) fn changes(&self) -> usize {
        match self {
            Self::Commit(changes, _) => changes.len(),
            Self::Fetch(..) => 0,
        }
    }
}

/// Jobs that came back from the archive, and where they were.
pub(super) type Returned = Vec<(JobId, Month)>;

/// What comes of each entry, in order, inside one transaction.
pub(super) fn outcomes(
    connection: &Connection,
    batch: &[Entry],
    files: &Files,
) -> Result<(Vec<Outcome>, Returned), StoreError> {
    let fail = |error: rusqlite::Error| StoreError::of(&error, &files.database);
    let mut returned = Returned::new();
    let mut outcomes = Vec::with_capacity(batch.len());
    for request in batch {
        match request {
            Entry::Commit(changes, _) => {
                let mut events = Vec::with_capacity(changes.len());
                for change in changes {
                    if let Some(job) = may_be_archived(change) {
                        let month = match archive::ensure_here(connection, files, job) {
                            // Totals are not worth refusing everything else.
                            Err(StoreError::Archived { .. })
                                if matches!(change, Change::Tallied { .. }) =>
                            {
                                None
                            }
                            month => month?,
                        };
                        returned.extend(month.map(|month| (job, month)));
                    }
                    events.extend(apply::apply(connection, change).map_err(fail)?);
                }
                outcomes.push(Outcome::Events(events));
            }
            Entry::Fetch(wanted, _) => {
                let fetched = match fetch(connection, files, wanted) {
                    Err(error) if connection.is_autocommit() => return Err(fail(error)),
                    // One row that cannot be read is the asker's trouble alone, unless SQLite gave
                    // the transaction up over it.
                    Err(error) => Err(fail(error)),
                    Ok(fetched) => fetched,
                };
                outcomes.push(Outcome::Fetched(fetched));
            }
        }
    }
    Ok((outcomes, returned))
}

/// The job of a change that may be about an archived one: only a finished job is ever there.
fn may_be_archived(change: &Change) -> Option<JobId> {
    match change {
        Change::JobMoved { job, from, .. } if from.is_final() => Some(job.id),
        // What an attempt used in all may be known late.
        Change::Tallied { attempt, .. } => Some(attempt.job),
        Change::JobMoved { .. }
        | Change::EnvironmentSeen { .. }
        | Change::JobAdded { .. }
        | Change::JobEdited { .. }
        | Change::DependencyMet { .. }
        | Change::JobRemoved { .. }
        | Change::JobExpired { .. }
        | Change::GroupSet { .. }
        | Change::GroupRemoved { .. }
        | Change::DrainSet { .. }
        | Change::KeyUsed { .. }
        | Change::GpuFailed { .. } => None,
    }
}
