//! From stored rows to a running engine. There is no other start: a clean stop leaves nothing more behind.

use crate::engine::Engine;
use crate::engine::deps::Waiters;
use crate::engine::population::Population;
use crate::engine::queue::Queue;
use crate::engine::reports::ask_to_end;
use crate::engine::step::{Action, Step};
use crate::engine::timers::Timers;
use crate::model::access::Quota;
use crate::model::group::{DEFAULT_GROUP, Gates, Group};
use crate::model::id::JobId;
use crate::model::job::Job;
use crate::model::state::JobState;
use crate::model::time::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is stored, and what this host is.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// Which boot of the host this is.
    pub boot_id: String,
    /// The number of the next job.
    pub next_job: JobId,
    /// Every job that is not final, with its newest attempt.
    pub live: Vec<Job>,
    /// The stored groups, and whether the host is drained.
    pub gates: Gates,
    /// Limit of the default group, where it is not stored.
    pub default_parallelism: u32,
    /// Shortest time between two events of one job's progress, milliseconds.
    pub pace_ms: u64,
    /// How many live jobs one user may have.
    pub quota: Quota,
}

impl Engine {
    /// Makes the engine that the stored rows describe, and derives again every action that may have been cut off.
    ///
    /// Attempts that hold a place are adopted: their shims are asked, never presumed dead.
    pub fn recover(recovery: Recovery, now: Stamp) -> (Self, Step) {
        let mut engine = Self {
            boot_id: recovery.boot_id,
            next_job: recovery.next_job,
            jobs: BTreeMap::new(),
            population: Population::default(),
            quota: recovery.quota,
            queue: Queue::default(),
            waiters: Waiters::default(),
            timers: Timers::default(),
            ended: Vec::new(),
            watched: BTreeMap::new(),
            beats: Timers::default(),
            pace_ms: recovery.pace_ms,
        };
        engine.queue.set_group(Group {
            name: DEFAULT_GROUP.to_owned(),
            parallelism: recovery.default_parallelism,
            paused: false,
        });
        engine.queue.set_draining(recovery.gates.draining);
        for group in recovery.gates.groups {
            engine.queue.set_group(group);
        }
        for mut job in recovery.live {
            if job
                .attempt
                .as_ref()
                .is_none_or(|it| it.boot_id != engine.boot_id)
            {
                let longest_wait_ms = job.spec.retry.longest_wait_ms();
                rebase(&mut job.state, longest_wait_ms, now);
            }
            if engine.queue.group(&job.spec.group).is_none() {
                // A group cannot be removed while it has jobs, so this is a repaired database.
                engine.queue.set_group(Group {
                    name: job.spec.group.clone(),
                    parallelism: 1,
                    paused: false,
                });
            }
            engine.admit(job);
        }
        let mut step = Step::default();
        let ids: Vec<JobId> = engine.jobs.keys().copied().collect();
        for id in ids {
            engine.enter(id, now);
            engine.schedule_beat(id, now);
            if let Some(job) = engine.jobs.get(&id) {
                step.actions.extend(cut_off(job));
            }
        }
        engine.settle(now, &mut step);
        (engine, step)
    }
}

/// The actions that the state of a job calls for, should they not have been carried out.
fn cut_off(job: &Arc<Job>) -> Vec<Action> {
    let Some(attempt) = job.live_attempt() else {
        return Vec::new();
    };
    let mut actions = vec![Action::Adopt {
        job: Arc::clone(job),
    }];
    match &job.state {
        JobState::Running { .. } => actions.push(Action::Thaw { attempt }),
        JobState::Paused { .. } => actions.push(Action::Freeze { attempt }),
        JobState::Stopping { .. } => {
            actions.push(Action::Thaw { attempt });
            actions.extend(ask_to_end(job));
        }
        JobState::Held { .. }
        | JobState::Queued
        | JobState::Starting { .. }
        | JobState::Backoff { .. }
        | JobState::Completed
        | JobState::Failed { .. }
        | JobState::Cancelled
        | JobState::TimedOut { .. }
        | JobState::Skipped { .. }
        | JobState::Lost { .. } => {}
    }
    actions
}

/// Moves the instants of a state that was written before a reboot to the boot clock of this one.
///
/// A host whose wall clock starts in another year must not wait for years: no wait is longer than its policy allows.
fn rebase(state: &mut JobState, longest_wait_ms: u64, now: Stamp) {
    match state {
        JobState::Backoff { until, .. } => {
            let longest = now.plus_ms(longest_wait_ms);
            *until = until.rebased(now);
            if until.boot_ms > longest.boot_ms {
                *until = longest;
            }
        }
        JobState::Starting { since }
        | JobState::Running { since, .. }
        | JobState::Paused { since, .. } => *since = since.rebased(now),
        JobState::Stopping { since, kill_at, .. } => {
            *since = since.rebased(now);
            *kill_at = kill_at.rebased(now);
        }
        JobState::Held { .. }
        | JobState::Queued
        | JobState::Completed
        | JobState::Failed { .. }
        | JobState::Cancelled
        | JobState::TimedOut { .. }
        | JobState::Skipped { .. }
        | JobState::Lost { .. } => {}
    }
}
