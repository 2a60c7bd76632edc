//! Progress of present attempts: merged as it is observed, shown at a pace, looked at again while it is silent.
//!
//! What changed is told at once, and then not again before the interval is over; what is the newest then
//! is told. Whatever was not told yet comes before the move that ends the attempt, and nothing after it.

use crate::engine::Engine;
use crate::engine::step::{Action, Step};
use crate::engine::timers::Due;
use crate::model::eta::PastRuns;
use crate::model::event::Event;
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::model::progress::{Excess, Observation, SameRuns, Tracker};
use crate::model::state::JobState;
use crate::model::time::Stamp;

/// A job is compared with earlier runs once it has run so long: most jobs are over before.
const COMPARED_AFTER_MS: u64 = 5_000;
/// A look that comes so late means that the daemon stood still: what jobs said meanwhile is still to be read.
const LATE_MS: u64 = 2_000;

/// The progress of one attempt, and what of it was told.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    attempt: AttemptId,
    tracker: Tracker,
    /// When it was last told, on the boot clock.
    told_at_ms: Option<u64>,
    /// What is known now was not told.
    is_new: bool,
    /// Earlier runs were asked for.
    is_compared: bool,
    /// When it is to be looked at next, on the boot clock.
    look_at_ms: Option<u64>,
}

impl Engine {
    /// Takes in what a source of progress saw.
    pub(super) fn observed(
        &mut self,
        attempt: AttemptId,
        observation: Observation,
        now: Stamp,
        step: &mut Step,
    ) {
        let present = self.present(attempt);
        let began = present.and_then(|job| job.attempt.as_ref()?.started);
        let Some(watched) = self.watch(attempt, now) else {
            return;
        };
        let tracker = &mut watched.tracker;
        let said = tracker.said_at(&observation, began, now);
        watched.is_new |= tracker.observe(observation, said);
        if said != now {
            watched.is_new |= tracker.refresh(now);
        }
        self.tell_progress(attempt.job, now, step);
    }

    /// What of a report there is no room for.
    pub(super) fn excess(
        &mut self,
        attempt: AttemptId,
        observation: &Observation,
        now: Stamp,
    ) -> Option<Excess> {
        let watched = self.watch(attempt, now)?;
        watched.tracker.progress().excess(observation)
    }

    /// Takes in how long earlier runs took.
    pub(super) fn compare(
        &mut self,
        attempt: AttemptId,
        active_ms: &[u64],
        now: Stamp,
        step: &mut Step,
    ) {
        let ran_ms = self.present(attempt).and_then(|job| ran_ms(job, now));
        let Some(ran_ms) = ran_ms.filter(|_| !active_ms.is_empty()) else {
            return;
        };
        if let Some(watched) = self.watch(attempt, now) {
            let past = PastRuns::new(active_ms);
            watched.tracker.compare(past, ran_ms, now);
            watched.is_new |= watched.tracker.refresh(now);
            self.tell_progress(attempt.job, now, step);
        }
    }

    /// Looks at a job's progress because its time has come.
    pub(super) fn beat(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        let Some(job) = self.jobs.get(&id).cloned() else {
            return;
        };
        let Some(attempt) = job.live_attempt() else {
            return;
        };
        let Some(watched) = self.watch(attempt, now) else {
            return;
        };
        if !watched.is_compared && ran_ms(&job, now).is_some_and(|ms| ms >= COMPARED_AFTER_MS) {
            watched.is_compared = true;
            let same = same_runs(&job);
            step.actions.push(Action::Recall { attempt, same });
        }
        let look_at_ms = watched.look_at_ms.unwrap_or(now.boot_ms);
        if now.boot_ms.saturating_sub(look_at_ms) > LATE_MS {
            watched.tracker.excuse(now);
        }
        watched.is_new |= watched.tracker.refresh(now);
        self.tell_progress(id, now, step);
    }

    /// What is kept of an attempt that is present.
    fn watch(&mut self, attempt: AttemptId, now: Stamp) -> Option<&mut Watched> {
        let job = self.present(attempt)?.clone();
        Some(self.watched.entry(attempt.job).or_insert_with(|| {
            let stored = job.attempt.as_ref().and_then(|it| it.progress.as_deref());
            let mut tracker = stored.cloned().map(Tracker::resume).unwrap_or_default();
            if matches!(job.state, JobState::Paused { .. }) {
                tracker.paused(now);
            }
            Watched {
                attempt,
                tracker,
                told_at_ms: None,
                is_new: false,
                is_compared: false,
                look_at_ms: None,
            }
        }))
    }

    /// Tells what is new, if it may be told now, and sets the time of the next look.
    fn tell_progress(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        let pace_ms = self.pace_ms;
        let may_tell = self.watched.get(&id).is_some_and(|it| {
            let since_ms = it.told_at_ms.map(|at| now.boot_ms.saturating_sub(at));
            it.is_new && since_ms.is_none_or(|ms| ms >= pace_ms)
        });
        if may_tell {
            self.tell_now(id, now, step);
        }
        self.schedule_beat(id, now);
    }

    fn tell_now(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        self.note_progress(id);
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.is_new = false;
            watched.told_at_ms = Some(now.boot_ms);
        }
        let job = self.jobs.get(&id);
        if let Some(event) = job.and_then(|job| Event::progress(job, now.wall_ms)) {
            step.tell(event);
        }
    }

    /// Puts the newest progress into the job, so that it is stored with its next move.
    fn note_progress(&mut self, id: JobId) {
        let Some(watched) = self.watched.get(&id).filter(|it| it.is_new) else {
            return;
        };
        let progress = Box::new(watched.tracker.progress().clone());
        self.mutate(id, |job| {
            if let Some(attempt) = &mut job.attempt {
                attempt.progress = Some(progress);
            }
        });
    }

    /// Before a job moves to `next`: what is known goes with it, and is told where its attempt ends.
    pub(super) fn before_move(&mut self, id: JobId, next: &JobState, now: Stamp, step: &mut Step) {
        if next.holds_place() {
            self.note_progress(id);
            return;
        }
        // What is stored of an attempt that nobody watched since a restart may speak of an end to come.
        let is_watched = self.watched.contains_key(&id);
        let job = self.jobs.get(&id);
        let attempt = job.filter(|job| is_watched || knows_progress(job));
        let Some(attempt) = attempt.and_then(|job| job.live_attempt()) else {
            return;
        };
        if let Some(watched) = self.watch(attempt, now) {
            watched.is_new |= watched.tracker.end();
            if watched.is_new {
                self.tell_now(id, now, step);
            }
            self.watched.remove(&id);
        }
    }

    /// After a job moved: time stands still for its ETA while it is frozen.
    pub(super) fn after_move(&mut self, id: JobId, now: Stamp) {
        let frozen = self
            .jobs
            .get(&id)
            .is_some_and(|job| matches!(job.state, JobState::Paused { .. }));
        if let Some(watched) = self.watched.get_mut(&id) {
            if frozen {
                watched.tracker.paused(now);
            } else {
                watched.tracker.resumed(now);
            }
            watched.is_new |= watched.tracker.refresh(now);
        }
        self.schedule_beat(id, now);
    }

    /// Sets when a job's progress is looked at next, by itself.
    pub(super) fn schedule_beat(&mut self, id: JobId, now: Stamp) {
        self.beats.clear(id);
        let Some(job) = self.jobs.get(&id).filter(|job| job.state.holds_place()) else {
            return;
        };
        let watched = self.watched.get(&id);
        let compared = watched.is_some_and(|it| it.is_compared);
        let running = matches!(job.state, JobState::Running { .. });
        let compare = ran_ms(job, now)
            .filter(|_| running && !compared)
            .map(|ran| now.boot_ms + COMPARED_AFTER_MS.saturating_sub(ran));
        let tell = watched
            .filter(|it| it.is_new)
            .map(|it| it.told_at_ms.map_or(now.boot_ms, |at| at + self.pace_ms));
        let refresh = watched.and_then(|it| it.tracker.next_refresh(now));
        let next = compare.into_iter().chain(tell).chain(refresh).min();
        if let Some(at) = next {
            self.beats.set(id, Due::Boot(at));
        }
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.look_at_ms = next;
        }
    }

    /// Takes over what `before` knew and no row says: the progress of attempts that are still present, and that nothing
    /// is to start.
    pub fn inherit(&mut self, before: Self, now: Stamp) {
        if before.queue.is_closed() {
            self.queue.close();
        }
        self.quota = before.quota;
        for (id, mut watched) in before.watched {
            if self.present(watched.attempt).is_none() || self.watched.contains_key(&id) {
                continue;
            }
            // Whether it was told is unknown: what was decided last went nowhere.
            watched.is_new = true;
            self.watched.insert(id, watched);
            self.note_progress(id);
            self.after_move(id, now);
        }
    }
}

fn knows_progress(job: &Job) -> bool {
    job.attempt.as_ref().is_some_and(|it| it.progress.is_some())
}

/// A name that somebody gave says what runs are the same; that of the program alone does not.
fn same_runs(job: &Job) -> SameRuns {
    let spec = &job.spec;
    let program = spec.command.first().map(String::as_str).unwrap_or_default();
    let is_given = program.rsplit('/').next() != Some(spec.name.as_str());
    SameRuns {
        uid: job.owner.uid,
        name: spec.name.clone(),
        command: (!is_given).then(|| spec.command.clone()),
        kind: spec.kind.clone(),
    }
}

/// How long the present attempt of a job has run by `now`, pauses left out.
fn ran_ms(job: &Job, now: Stamp) -> Option<u64> {
    match &job.state {
        JobState::Running {
            since,
            ran_before_ms,
        } => Some(ran_before_ms.saturating_add(now.since_ms(*since))),
        JobState::Paused { ran_before_ms, .. } => Some(*ran_before_ms),
        JobState::Held { .. }
        | JobState::Queued
        | JobState::Starting { .. }
        | JobState::Stopping { .. }
        | JobState::Backoff { .. }
        | JobState::Completed
        | JobState::Failed { .. }
        | JobState::Cancelled
        | JobState::TimedOut { .. }
        | JobState::Skipped { .. }
        | JobState::Lost { .. } => None,
    }
}
