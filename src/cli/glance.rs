//! What there is to see at a glance: one look at the daemon, kept up to date by the events after it.

use crate::cli::commands::progress_of;
use crate::cli::output::style;
use crate::client::{JobStateBody, News};
use crate::wire::event::EventView;
use crate::wire::host::{GpuView, OperationsView};
use crate::wire::job::JobView;
use crate::wire::progress::ProgressView;
use crate::wire::usage::{JobMetrics, UsageView};
use crate::wire::values::Cursor;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// States that a job ends in although nobody wanted that.
pub const BAD_STATES: [&str; 3] = ["failed", "timed_out", "lost"];

/// States of jobs that hold a place; all others that are not final wait for one.
const HOLDING_STATES: [&str; 4] = ["starting", "running", "paused", "stopping"];

/// What is known now.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    /// The daemon cannot be reached, or was never seen.
    pub is_away: bool,
    /// Jobs that hold a place, by number.
    pub jobs: BTreeMap<u64, GlanceJob>,
    /// How many wait for one.
    pub waiting: u64,
    /// The GPUs, by index.
    pub gpus: BTreeMap<u32, GpuView>,
    /// Jobs that ended badly not long ago, oldest first.
    pub failed: Vec<JobView>,
    /// Events up to this one are part of it.
    as_of: Option<Cursor>,
}

/// A job that holds a place.
#[derive(Clone, Debug, Default)]
pub struct GlanceJob {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// How far it is.
    pub progress: ProgressView,
    /// What it uses.
    pub usage: Option<UsageView>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// Something that is seen.
    Seen,
    /// Something of which only another look tells all.
    LookAgain,
}

impl Glance {
    /// What one look showed.
    #[must_use]
    pub fn of(seen: OperationsView, mut failed: Vec<JobView>) -> Self {
        failed.sort_by_key(|job| job.finished_at);
        let job = |it: JobView| GlanceJob {
            name: it.name,
            state: it.state,
            progress: it.progress.unwrap_or_default(),
            usage: it.usage,
        };
        let jobs = seen.jobs.into_iter().map(|it| it.job);
        Self {
            is_away: false,
            jobs: jobs.map(|it| (it.id, job(it))).collect(),
            waiting: seen.waiting,
            gpus: seen.gpus.into_iter().map(|it| (it.index, it)).collect(),
            failed,
            as_of: Some(seen.as_of),
        }
    }

    /// What one has while no daemon answers.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self {
            is_away: true,
            ..Self::default()
        }
    }

    /// The event up to which it is complete.
    #[must_use]
    pub fn as_of(&self) -> Option<&Cursor> {
        self.as_of.as_ref()
    }

    /// Takes in what happened.
    pub fn hear(&mut self, event: &EventView, cursor: Option<&Cursor>) -> Change {
        let is_known = |cursor: &Cursor| {
            let as_of = self.as_of.as_ref();
            as_of.is_some_and(|as_of| as_of.epoch == cursor.epoch && cursor.seq <= as_of.seq)
        };
        if cursor.is_some_and(is_known) {
            return Change::Nothing;
        }
        match News::of(event) {
            News::State(body) => self.moved(body),
            News::Edited(_) => Change::Nothing,
            News::Removed(id) => {
                self.failed.retain(|job| job.id != id);
                Change::Seen
            }
            News::Progress(id, body) => match self.jobs.get_mut(&id) {
                Some(job) => {
                    job.progress = progress_of(body);
                    Change::Seen
                }
                None => Change::Nothing,
            },
            News::Other => self.measured(event),
        }
    }

    fn moved(&mut self, body: JobStateBody) -> Change {
        let holds = |state: &str| HOLDING_STATES.contains(&state);
        let waits = |state: &str| !holds(state) && !style::is_final(state);
        let waited = body.from.as_deref().is_some_and(waits);
        self.waiting = self.waiting.saturating_sub(u64::from(waited));
        self.waiting += u64::from(waits(&body.state));
        self.failed.retain(|job| job.id != body.job);
        if holds(&body.state) {
            let job = self.jobs.entry(body.job).or_default();
            if body.state == "starting" {
                // What an earlier attempt reached is no progress of this one.
                *job = GlanceJob::default();
            }
            (job.name, job.state) = (body.name, body.state);
            return Change::Seen;
        }
        self.jobs.remove(&body.job);
        if BAD_STATES.contains(&body.state.as_str()) {
            // Whose job it is, is not in the event.
            return Change::LookAgain;
        }
        Change::Seen
    }

    fn measured(&mut self, event: &EventView) -> Change {
        let Some(entity) = event.channel.strip_suffix("/metrics") else {
            return Change::Nothing;
        };
        if entity.starts_with("gpu/")
            && let Ok(gpu) = GpuView::deserialize(&event.body)
        {
            self.gpus.insert(gpu.index, gpu);
            return Change::Seen;
        }
        if entity.starts_with("job/")
            && let Ok(metrics) = JobMetrics::deserialize(&event.body)
            && let Some(job) = self.jobs.get_mut(&metrics.job)
        {
            job.usage = Some(metrics.usage);
            return Change::Seen;
        }
        Change::Nothing
    }

    /// Forgets the failures up to a time.
    pub fn forget_failures(&mut self, up_to: Timestamp) {
        let is_later = |job: &JobView| job.finished_at.is_some_and(|at| at > up_to);
        self.failed.retain(is_later);
    }

    /// When the oldest failure was.
    #[must_use]
    pub fn oldest_failure(&self) -> Option<Timestamp> {
        self.failed.first()?.finished_at
    }
}

#[cfg(test)]
mod tests;
