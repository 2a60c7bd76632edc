//! What is found at a start: the store, and attempts that it does not speak of.

use crate::config::Settings;
use crate::daemon::clock;
use crate::daemon::dirs::Dirs;
use crate::daemon::strays;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::store::{Fetch, Options, Recovered, Store};
use crate::supervise;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) fn open_store(settings: &Settings, dirs: &Dirs) -> Result<(Store, Recovered)> {
    let numbers = [dirs.attempts(), dirs.logs()].into_iter().flat_map(|dir| {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.flatten().map(|entry| entry.file_name())
    });
    let options = Options {
        id_floor: strays::largest_number(numbers),
        ballast_bytes: settings.store.ballast_bytes,
    };
    let opened = Store::open(&dirs.state, options).context("failed to open the store")?;
    if let Some(aside) = &opened.set_aside {
        tracing::error!(
            why = aside.why,
            path = %aside.path.display(),
            jobs = aside.jobs,
            "the database was damaged; it is kept under another name, and a new one is begun"
        );
    }
    Ok((opened.store, opened.recovered))
}

pub(super) fn live_attempts(recovered: &Recovered) -> BTreeSet<AttemptId> {
    let live = recovered.live.iter();
    live.filter_map(Job::live_attempt).collect()
}

/// Clears away what is over, and takes up again what runs and was forgotten with a lost database.
pub(super) async fn recover_strays(
    store: &Store,
    recovered: &mut Recovered,
    dirs: &Dirs,
) -> Result<()> {
    let strays = supervise::strays(&dirs.attempts()).context("failed to read the attempts")?;
    let live = live_attempts(recovered);
    let unknown: Vec<JobId> = strays.iter().map(|stray| stray.attempt.job).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let fetch = Fetch {
        jobs: unknown,
        ..Fetch::default()
    };
    let stored = store
        .fetch(fetch)
        .await
        .context("failed to look up attempts")?;
    let stored = stored.jobs.iter().map(|job| job.id).collect();
    let verdict = strays::judge(strays, &live, &stored, clock::now());
    for attempt in verdict.dismissed {
        let dir = dirs.attempts().join(attempt.to_string());
        supervise::dismiss(&dir);
    }
    for attempt in verdict.strange {
        tracing::warn!(%attempt, "an attempt that nobody knows is left alone");
    }
    if verdict.found.is_empty() {
        return Ok(());
    }
    let found = verdict.found.into_iter().map(Arc::new);
    let changes: Vec<Change> = found.clone().map(|job| Change::JobAdded { job }).collect();
    let events = store
        .commit(changes)
        .await
        .context("failed to store found jobs")?;
    recovered.head = events
        .last()
        .and_then(|event| event.seq)
        .unwrap_or(recovered.head);
    for job in found {
        tracing::warn!(job = %job.id, "a running job that the database did not know was found again");
        recovered.live.push(Job::clone(&job));
    }
    Ok(())
}

/// Gives running jobs the progress that was last stored of them, and the events that show it: what a job
/// told over the API is told once only.
pub(super) fn recall_progress(store: &Store, live: &mut [Job]) -> Vec<Event> {
    let places: BTreeMap<AttemptId, usize> = live
        .iter()
        .enumerate()
        .filter_map(|(place, job)| Some((job.live_attempt()?, place)))
        .collect();
    let attempts: Vec<AttemptId> = places.keys().copied().collect();
    let points = match store.reader().last_progress(&attempts) {
        Ok(points) => points,
        Err(error) => {
            tracing::warn!(%error, "the last progress of running jobs is not known");
            return Vec::new();
        }
    };
    let mut events = Vec::new();
    for point in points {
        let job = places
            .get(&point.attempt)
            .and_then(|place| live.get_mut(*place));
        if let Some(job) = job
            && let Some(attempt) = &mut job.attempt
            && let Ok(progress) = serde_json::from_str(&point.body)
        {
            attempt.progress = Some(Box::new(progress));
            events.extend(Event::progress(job, point.at_ms));
        }
    }
    events
}
