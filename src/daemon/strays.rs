//! Attempt directories that no live row speaks of: ends that were committed and not cleared away, and,
//! after the loss of a database, jobs that still run and that nobody knows.

use crate::model::attempt::Attempt;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::model::state::JobState;
use crate::model::time::Stamp;
use crate::supervise::{Meta, Stray};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What to do with strays.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Their end is stored, or they never were: their shims leave, their directories go.
    pub dismissed: Vec<AttemptId>,
    /// Unknown to the store, but their shims told who they are: they become jobs again.
    pub found: Vec<Job>,
    /// Unknown, and without a description: left alone for a person to look at.
    pub strange: Vec<AttemptId>,
}

/// Judges the attempt directories. `live` are the attempts that the store says hold a place,
/// `stored` the jobs it knows at all.
#[must_use]
pub(super) fn judge(
    strays: Vec<Stray>,
    live: &BTreeSet<AttemptId>,
    stored: &BTreeSet<JobId>,
    now: Stamp,
) -> Verdict {
    let mut verdict = Verdict::default();
    for stray in strays {
        let attempt = stray.attempt;
        if live.contains(&attempt) {
            continue;
        }
        if stored.contains(&attempt.job) || stray.claim.is_none() {
            verdict.dismissed.push(attempt);
            continue;
        }
        match revive(&stray, now) {
            Some(job) => verdict.found.push(job),
            None => verdict.strange.push(attempt),
        }
    }
    verdict
}

/// The job that a claim describes, as if it were just being started: adoption tells the rest.
fn revive(stray: &Stray, now: Stamp) -> Option<Job> {
    let claim = stray.claim.as_ref()?;
    let mut meta: Meta = serde_json::from_value(claim.meta.clone()).ok()?;
    // Both were in the database that is gone.
    meta.spec.env = None;
    meta.spec.after_ok.clear();
    let created = Stamp {
        wall_ms: meta.created_ms,
        boot_ms: now.boot_ms,
    };
    let state = JobState::Starting { since: now };
    let mut job = Job::new(
        stray.attempt.job,
        Arc::new(meta.owner),
        Arc::new(meta.spec),
        state,
        created,
    );
    job.attempt = Some(Attempt::claimed(stray.attempt, &claim.boot_id, now));
    job.tries = stray.attempt.attempt;
    Some(job)
}

/// The largest job number in the directories: none up to it may be given out again.
#[must_use]
pub(super) fn largest_number(names: impl Iterator<Item = std::ffi::OsString>) -> JobId {
    let numbers = names.filter_map(|name| name.to_str()?.parse::<AttemptId>().ok());
    numbers.map(|attempt| attempt.job).max().unwrap_or_default()
}
