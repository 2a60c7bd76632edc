//! The pure state machine that decides everything: `handle(now, input) -> Step`.
//!
//! The four doors: [`Engine::recover`] makes one from what is stored; [`Engine::command`] and
//! [`Engine::handle`] take what clients want and what observers saw; [`Engine::next_wakeup`] says when
//! to look again. No I/O, no clock, no chance: the same calls always give the same steps.
//!
//! Only live jobs are in here. Due timers run with every call, so a flood of reports cannot starve them.

pub mod command;
mod deps;
pub mod input;
pub mod needs;
mod population;
mod progress;
mod queue;
pub mod recover;
mod reports;
pub mod step;
mod submit;
mod timers;
mod verbs;

use crate::engine::deps::Waiters;
use crate::engine::population::Population;
use crate::engine::progress::Watched;
use crate::engine::queue::Queue;
use crate::engine::step::{Action, Step};
use crate::engine::timers::{Due, Timers};
use crate::model::access::Quota;
use crate::model::attempt::Attempt;
use crate::model::change::Change;
use crate::model::failure::{Failure, FailureClass};
use crate::model::group::Gates;
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::state::{JobState, StateName};
use crate::model::time::Stamp;
use crate::model::transition::{Illegal, JobEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that is decided, and nothing else.
#[derive(Debug)]
pub struct Engine {
    /// Which boot of the host this is; attempts carry it.
    boot_id: String,
    next_job: JobId,
    jobs: BTreeMap<JobId, Arc<Job>>,
    population: Population,
    /// How many of them one user may have.
    quota: Quota,
    queue: Queue,
    waiters: Waiters,
    timers: Timers,
    /// Jobs that ended in this call and whose waiters were not told yet. A list instead of recursion:
    /// a chain of dependent jobs may be long.
    ended: Vec<(JobId, StateName)>,
    /// Progress of present attempts that are watched; the job carries what is worth storing.
    watched: BTreeMap<JobId, Watched>,
    /// When progress is looked at next, by itself; beside the timers, because these decide nothing.
    beats: Timers,
    /// Shortest time between two events of one job's progress, milliseconds.
    pace_ms: u64,
}

impl Engine {
    /// When to call again with [`input::Input::Tick`], on the boot clock as it runs now; `None` when nothing is due ever.
    #[must_use]
    pub fn next_wakeup(&self, now: Stamp) -> Option<u64> {
        let decided = self.timers.next(now);
        decided.into_iter().chain(self.beats.next(now)).min()
    }

    /// The live jobs, by number.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// The live job called `id`.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// The groups, by name, and whether the host is drained.
    #[must_use]
    pub fn gates(&self) -> Gates {
        Gates {
            groups: self.queue.groups().cloned().collect(),
            draining: self.queue.is_draining(),
        }
    }

    /// How many jobs of a group hold a place.
    #[must_use]
    pub fn places_taken(&self, group: &str) -> u32 {
        self.queue.taken(group)
    }

    /// Runs what is due and fills free places: the end of every call.
    fn settle(&mut self, now: Stamp, step: &mut Step) {
        // First, and again after each timer: until its waiters are told, they count a job that is gone.
        self.tell_all_waiters(now, step);
        while let Some(id) = self.timers.pop_due(now) {
            self.timer_due(id, now, step);
            self.tell_all_waiters(now, step);
        }
        while let Some(id) = self.queue.next() {
            self.claim(id, now, step);
        }
        while let Some(id) = self.beats.pop_due(now) {
            self.beat(id, now, step);
        }
    }

    /// Gives a queued job its place and starts its next attempt.
    fn claim(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        if self.jobs.get(&id).is_some_and(|job| is_early(job, now)) {
            // Somebody set the wall clock back since its time had come: it waits for it again.
            self.leave(id);
            self.enter(id, now);
            return;
        }
        let boot_id = self.boot_id.clone();
        let moved = self.shift(id, &JobEvent::Claimed, now, step, |job| {
            job.attempt = Some(Attempt::claimed(job.next_attempt(), &boot_id, now));
            job.tries += 1;
        });
        match moved {
            Ok(job) => step.actions.push(Action::Launch { job }),
            // Cannot happen: only queued jobs are ready. Dropping it from the queue keeps even a bug
            // from becoming an endless loop.
            Err(_) => {
                if let Some(job) = self.jobs.get(&id) {
                    let (group, priority) = (job.spec.group.clone(), job.spec.priority);
                    self.queue.remove_ready(&group, priority, id);
                }
            }
        }
    }

    /// Moves a live job by `event`, applies `change` to it, stores it, and follows up on what that means for others.
    fn shift(
        &mut self,
        id: JobId,
        event: &JobEvent,
        now: Stamp,
        step: &mut Step,
        change: impl FnOnce(&mut Job),
    ) -> Result<Arc<Job>, Illegal> {
        let Some(job) = self.jobs.get(&id) else {
            return Err(Illegal {
                from: StateName::Lost,
                event: event.name(),
            });
        };
        let next = job.state.apply(event, now)?;
        let from = job.state.name();
        self.before_move(id, &next, now, step);
        self.leave(id);
        let job = self.mutate(id, |job| {
            change(job);
            if next.is_final() {
                job.finished = Some(now);
            }
            job.state = next;
        });
        let Some(job) = job else {
            return Err(Illegal {
                from,
                event: event.name(),
            });
        };
        if job.state.is_final() {
            self.dismiss(id);
        } else {
            self.enter(id, now);
        }
        self.after_move(id, now);
        let job = self.jobs.get(&id).map_or(job, Arc::clone);
        step.changes.push(Change::JobMoved {
            job: Arc::clone(&job),
            from,
            at: now,
        });
        if job.state.is_final() {
            self.ended.push((id, job.state.name()));
        }
        Ok(job)
    }

    fn mutate(&mut self, id: JobId, change: impl FnOnce(&mut Job)) -> Option<Arc<Job>> {
        let job = self.jobs.get_mut(&id)?;
        change(Arc::make_mut(job));
        Some(Arc::clone(job))
    }

    /// Takes a job out of every index, before it changes.
    fn leave(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id).cloned() else {
            return;
        };
        let group = job.spec.group.as_str();
        self.timers.clear(id);
        self.queue.count_member(group, false);
        self.queue.remove_ready(group, job.spec.priority, id);
        if job.state.holds_place() {
            self.queue.count_place(group, false);
        } else {
            self.waiters.remove(id, &job.spec.after_ok);
        }
    }

    /// Puts a live job into the indexes its state calls for.
    fn enter(&mut self, id: JobId, now: Stamp) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let unmet = job
            .spec
            .after_ok
            .iter()
            .filter(|dependency| self.jobs.contains_key(dependency))
            .count();
        let unmet = u32::try_from(unmet).unwrap_or(u32::MAX);
        let waits = !job.state.holds_place();
        let stored = if waits { unmet } else { 0 };
        let job = if job.unmet == stored {
            Arc::clone(job)
        } else {
            match self.mutate(id, |job| job.unmet = stored) {
                Some(job) => job,
                None => return,
            }
        };
        let spec = &job.spec;
        self.queue.count_member(&spec.group, true);
        if waits {
            self.waiters.add(id, &spec.after_ok);
        } else {
            self.queue.count_place(&spec.group, true);
        }
        self.line_up(&job, now);
        if let Some(at) = deadline(&job) {
            self.timers.set(id, Due::Boot(at));
        }
    }

    /// Puts a queued job that waits for no other one into its lane, or sets the timer for its earliest start.
    fn line_up(&mut self, job: &Job, now: Stamp) {
        let spec = &job.spec;
        if job.state != JobState::Queued || job.unmet > 0 {
            return;
        }
        match spec.not_before_ms.filter(|at| *at > now.wall_ms) {
            Some(at) => self.timers.set(job.id, Due::Wall(at)),
            None => self.queue.add_ready(&spec.group, spec.priority, job.id),
        }
    }

    fn tell_all_waiters(&mut self, now: Stamp, step: &mut Step) {
        while let Some((id, state)) = self.ended.pop() {
            self.tell_waiters(id, state, now, step);
        }
    }

    /// Lets those go on that waited for a job that ended, or skips them.
    fn tell_waiters(&mut self, ended: JobId, state: StateName, now: Stamp, step: &mut Step) {
        for waiter in self.waiters.of(ended) {
            if state == StateName::Completed {
                self.one_met(waiter, now, step);
                continue;
            }
            let failure = Failure::new(
                FailureClass::Dependency,
                format!("job {ended}, which it waited for, is {state}"),
            );
            let event = JobEvent::DependencyFailed { failure };
            // Whoever waits is held, queued or in backoff, and each of these can be skipped.
            let _skipped = self.shift(waiter, &event, now, step, |_| {});
        }
    }

    /// One of the jobs that `id` waits for completed. Counted down instead of counted again: a job may
    /// wait for thousands, and all of them tell it.
    fn one_met(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        let met = self.mutate(id, |job| job.unmet = job.unmet.saturating_sub(1));
        if let Some(job) = met {
            step.changes.push(Change::DependencyMet {
                job: id,
                unmet: job.unmet,
            });
            self.line_up(&job, now);
        }
    }

    /// Counts again what a waiting job waits for, and stores it where it changed.
    fn recount(&mut self, id: JobId, step: &mut Step, now: Stamp) {
        let before = self.jobs.get(&id).map(|job| job.unmet);
        self.leave(id);
        self.enter(id, now);
        if let Some(job) = self.jobs.get(&id)
            && Some(job.unmet) != before
        {
            step.changes.push(Change::DependencyMet {
                job: id,
                unmet: job.unmet,
            });
        }
    }
}

/// Whether the earliest start of a job has not come.
fn is_early(job: &Job, now: Stamp) -> bool {
    job.spec.not_before_ms.is_some_and(|at| at > now.wall_ms)
}

/// When something is due for a job in the state it is in, on the boot clock.
fn deadline(job: &Job) -> Option<u64> {
    match &job.state {
        JobState::Running {
            since,
            ran_before_ms,
        } => job.spec.timeout_ms.map(|timeout| {
            let left = timeout.saturating_sub(*ran_before_ms);
            since.boot_ms.saturating_add(left)
        }),
        JobState::Stopping {
            kill_at,
            killed: false,
            ..
        } => Some(kill_at.boot_ms),
        JobState::Backoff { until, .. } => Some(until.boot_ms),
        JobState::Held { .. }
        | JobState::Queued
        | JobState::Starting { .. }
        | JobState::Paused { .. }
        | JobState::Stopping { killed: true, .. }
        | JobState::Completed
        | JobState::Failed { .. }
        | JobState::Cancelled
        | JobState::TimedOut { .. }
        | JobState::Skipped { .. }
        | JobState::Lost { .. } => None,
    }
}
