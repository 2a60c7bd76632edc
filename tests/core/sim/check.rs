//! What must hold after every input, whatever happened: recomputed naively from rows and host.

use crate::sim::host::Host;
use crate::sim::store::Store;
use std::sync::Arc;
use stoked::engine::Engine;
use stoked::engine::command::SignalTarget;
use stoked::engine::step::{Action, Step};
use stoked::model::change::Change;
use stoked::model::failure::{Ending, FailureClass};
use stoked::model::group::{DEFAULT_GROUP, Group};
use stoked::model::job::{Job, QueueReason};
use stoked::model::state::{JobState, StateName};
use stoked::model::time::Stamp;

/// Everything that must hold between two inputs.
pub(crate) fn world(engine: &Engine, store: &Store, host: &Host, now: Stamp) {
    rows(engine, store, host);
    groups(engine, store, now);
    for job in engine.live() {
        queued(job, engine, store, now);
        stopping(job, now);
        obeyed(job, host);
    }
    wakeup(engine, store, now);
}

/// The engine holds exactly what is committed and not final.
fn rows(engine: &Engine, store: &Store, host: &Host) {
    assert_eq!(engine.live().count(), store.live.len(), "live jobs");
    for uid in store.live.values().map(|job| job.owner.uid) {
        let own = store.live.values().filter(|job| job.owner.uid == uid);
        assert_eq!(engine.live_of(uid), own.count() as u64, "jobs of {uid}");
    }
    for (held, row) in engine.live().zip(store.live.values()) {
        if Arc::ptr_eq(held, row) {
            continue;
        }
        let mut held = (**held).clone();
        let elsewhere = |job: &Job| job.attempt.as_ref().map(|it| it.boot_id != host.boot_id);
        if elsewhere(&held).unwrap_or(true) && held.state.name() == row.state.name() {
            // Instants from before a reboot are moved to the clock of this boot, in memory only.
            held.state.clone_from(&row.state);
        }
        if let (Some(mine), Some(stored)) = (&mut held.attempt, &row.attempt) {
            // The newest progress is telemetry: it reaches the row with the next move.
            mine.progress.clone_from(&stored.progress);
        }
        assert_eq!(
            held, **row,
            "the engine holds something else than the store"
        );
    }
}

/// Groups are as stored, places are counted right, and none stays free while a job could start.
fn groups(engine: &Engine, store: &Store, now: Stamp) {
    let held = engine.gates();
    assert_eq!(held, store.gates(), "groups");
    for group in &held.groups {
        let taken = store.taken(&group.name);
        assert_eq!(engine.places_taken(&group.name), taken, "{}", group.name);
        if held.draining || group.paused || taken >= group.parallelism {
            continue;
        }
        let idle = store
            .live
            .values()
            .find(|job| job.spec.group == group.name && store.startable(job, now));
        assert!(idle.is_none(), "a place is free in {group:?} for {idle:?}");
    }
}

/// A waiting job waits for a reason, and says the true one.
fn queued(job: &Job, engine: &Engine, store: &Store, now: Stamp) {
    let waits = !job.state.holds_place();
    let unmet = if waits { store.unmet(job) } else { 0 };
    assert_eq!(job.unmet, unmet, "job {} counts wrong", job.id);
    if job.state != JobState::Queued {
        return;
    }
    let gates = engine.gates();
    let group = gates.group(&job.spec.group).expect("every job has a group");
    let truth = if unmet > 0 {
        QueueReason::Dependency
    } else if job.spec.not_before_ms.is_some_and(|at| at > now.wall_ms) {
        QueueReason::NotBefore
    } else if gates.draining {
        QueueReason::Draining
    } else if group.paused {
        QueueReason::GroupPaused
    } else {
        QueueReason::GroupLimit
    };
    let said = job.queue_reason(Some(&gates), now.wall_ms);
    assert_eq!(said, Some(truth), "job {} says why it waits", job.id);
}

/// No grace is overdue.
fn stopping(job: &Job, now: Stamp) {
    if let JobState::Stopping {
        kill_at,
        killed: false,
        ..
    } = &job.state
    {
        assert!(kill_at.boot_ms > now.boot_ms, "job {} was spared", job.id);
    }
}

/// What is paused is frozen, and nothing else is; what shall end was told so.
fn obeyed(job: &Job, host: &Host) {
    let Some(proc) = job.live_attempt().and_then(|attempt| host.running(attempt)) else {
        return;
    };
    let state = job.state.name();
    assert!(
        state != StateName::Paused || proc.frozen,
        "job {} is paused and runs",
        job.id
    );
    assert!(
        state != StateName::Running || !proc.frozen,
        "job {} runs frozen",
        job.id
    );
    let known = job
        .attempt
        .as_ref()
        .is_some_and(|it| it.main == Some(proc.main));
    if let JobState::Stopping { killed, .. } = job.state
        && known
    {
        let told = proc.killed || (!killed && proc.asked.is_some() && !proc.frozen);
        assert!(told, "job {} was asked to end before it could hear", job.id);
    }
}

/// The engine wakes up for the next thing that is due, not later, and not for nothing.
fn wakeup(engine: &Engine, store: &Store, now: Stamp) {
    let next = engine.next_wakeup(now);
    let mut earliest = None;
    let mut needed = None;
    let gates = engine.gates();
    for job in engine.live() {
        let Some(at) = due(job, store, now) else {
            continue;
        };
        let full = gates.draining
            || gates.group(&job.spec.group).is_none_or(|group| {
                group.paused || engine.places_taken(&group.name) >= group.parallelism
            });
        earliest = min(earliest, at);
        // Without a free place its time may come unseen: nothing could follow from it.
        if job.state != JobState::Queued || !full {
            needed = min(needed, at);
        }
    }
    assert!(
        needed.is_none_or(|at| next.is_some_and(|next| next <= at)),
        "wakes at {next:?}, something is due at {needed:?}"
    );
    // Progress of a job that runs may be looked at by itself; without one there is nothing else to wake for.
    let runs = engine.live().any(|job| job.state.holds_place());
    assert!(
        runs || next.is_none_or(|next| earliest.is_some_and(|at| at <= next)),
        "wakes at {next:?} for nothing, the next is {earliest:?}"
    );
    assert!(next.is_none_or(|next| next > now.boot_ms), "overdue");
}

fn min(least: Option<u64>, at: u64) -> Option<u64> {
    Some(least.map_or(at, |least| least.min(at)))
}

fn due(job: &Job, store: &Store, now: Stamp) -> Option<u64> {
    if let JobState::Running {
        since,
        ran_before_ms,
    } = &job.state
    {
        let left = job.spec.timeout_ms?.saturating_sub(*ran_before_ms);
        return Some(since.boot_ms.saturating_add(left));
    }
    if let JobState::Stopping {
        kill_at,
        killed: false,
        ..
    } = &job.state
    {
        return Some(kill_at.boot_ms);
    }
    if let JobState::Backoff { until, .. } = &job.state {
        return Some(until.boot_ms);
    }
    if job.state != JobState::Queued || store.unmet(job) > 0 {
        return None;
    }
    let ahead = job.spec.not_before_ms? - now.wall_ms;
    (ahead > 0).then(|| now.boot_ms + ahead.unsigned_abs())
}

/// What one step must be, before it is committed: moves and actions belong together.
pub(crate) fn step(step: &Step, host: &Host) {
    for change in &step.changes {
        let Change::JobMoved { job, from, .. } = change else {
            continue;
        };
        let attempt = job.attempt.as_ref().map(|attempt| attempt.id);
        if let JobState::Stopping { killed, .. } = job.state {
            let attempt = attempt.expect("only attempts are stopped");
            let kill = Action::Kill { attempt };
            let ask = Action::Signal {
                attempt,
                signal: job.spec.stop.signal,
                to: SignalTarget::Group,
            };
            let asked = step.actions.iter().filter(|action| **action == ask).count();
            // Before its command runs there is nobody to ask; then it is asked when it starts, which
            // is a move from `stopping` to `stopping` with the main process known.
            let runs = job.attempt.as_ref().is_some_and(|it| it.main.is_some());
            assert!(
                step.actions.contains(&kill) || killed || !runs || asked == 1,
                "job {} was asked to end and never heard of it",
                job.id
            );
            assert!(asked <= 1, "job {} was asked {asked} times at once", job.id);
        }
        if from.holds_place() && !job.state.holds_place() {
            ending(job, host);
        }
        if job.state.name() == StateName::Starting && *from == StateName::Queued {
            let launch =
                |action: &Action| matches!(action, Action::Launch { job: it } if it == job);
            assert!(
                step.actions.iter().any(launch),
                "job {} never starts",
                job.id
            );
        }
    }
}

/// How an attempt is said to have ended is how it ended.
fn ending(job: &Job, host: &Host) {
    let attempt = job.attempt.as_ref().expect("an attempt ended");
    let said = attempt.ending.as_ref().expect("it ended somehow");
    match host.truth(attempt.id) {
        Some(truth) => assert_eq!(said, truth, "attempt {}", attempt.id),
        None => {
            assert!(!host.knows(attempt.id), "{} ended unseen", attempt.id);
            assert!(matches!(said, Ending::NotStarted { .. }), "{said:?}");
        }
    }
    let timed_out = job
        .state
        .failure()
        .filter(|it| it.class == FailureClass::Timeout);
    if let (Some(_), Some(ran_ms)) = (timed_out, host.really_ran_ms(attempt.id)) {
        let timeout_ms = job.spec.timeout_ms.expect("it has a timeout");
        assert!(
            ran_ms >= timeout_ms,
            "attempt {} ran {ran_ms} ms and timed out after {timeout_ms} ms: {said:?}",
            attempt.id
        );
    }
    if said.failure().is_some() {
        assert_ne!(job.state, JobState::Completed, "{said:?}");
    }
}

/// Jobs that may rightly still be live when everything has come to rest.
pub(crate) fn stuck(engine: &Engine) -> Vec<Arc<Job>> {
    let mut excused: Vec<_> = Vec::new();
    let mut rest: Vec<Arc<Job>> = engine.live().cloned().collect();
    let gates = engine.gates();
    loop {
        let before = rest.len();
        rest.retain(|job| {
            let waits = job.spec.after_ok.iter().any(|id| excused.contains(id));
            let group = gates.group(&job.spec.group);
            let closed = gates.draining || group.is_some_and(|it| it.paused || it.parallelism == 0);
            let held = matches!(job.state, JobState::Held { .. });
            let fine = held || (job.state == JobState::Queued && (waits || closed));
            if fine {
                excused.push(job.id);
            }
            !fine
        });
        if rest.len() == before {
            return rest;
        }
    }
}

/// The group that is there before anybody makes one.
pub(crate) fn default_group(parallelism: u32) -> Group {
    Group {
        name: DEFAULT_GROUP.to_owned(),
        parallelism,
        paused: false,
    }
}
