//! What observers saw: attempts that started or ended, progress, and timers that are due.

use crate::engine::Engine;
use crate::engine::command::SignalTarget;
use crate::engine::input::Input;
use crate::engine::step::{Action, Step};
use crate::model::attempt::{Process, Usage};
use crate::model::change::Change;
use crate::model::failure::{Ending, Failure, FailureClass};
use crate::model::id::{AttemptId, JobId};
use crate::model::job::Job;
use crate::model::state::{JobState, StateName, StopCause};
use crate::model::tally::Tally;
use crate::model::time::Stamp;
use crate::model::transition::JobEvent;
use std::sync::Arc;

impl Engine {
    /// Takes a report. A stale one changes nothing; the end of a stale attempt is forgotten, so that its shim leaves.
    pub fn handle(&mut self, now: Stamp, input: Input) -> Step {
        let mut step = Step::default();
        match input {
            Input::Started {
                attempt,
                main,
                containment,
                at,
            } => self.started(attempt, main, &containment, at, now, &mut step),
            Input::Ended {
                attempt,
                ending,
                usage,
                at,
            } => self.ended(
                attempt,
                &ending,
                usage.as_deref().copied(),
                at,
                now,
                &mut step,
            ),
            Input::NeverStarted { attempt } => self.never_started(attempt, now, &mut step),
            Input::Observed {
                attempt,
                observation,
            } => {
                self.observed(attempt, *observation, now, &mut step);
            }
            Input::PastRuns { attempt, active_ms } => {
                self.compare(attempt, &active_ms, now, &mut step);
            }
            Input::Tallied { attempt, tally } => self.tallied(attempt, tally, &mut step),
            Input::GpuFailed { fault } => step.changes.push(Change::GpuFailed { fault }),
            Input::Tick => {}
        }
        self.settle(now, &mut step);
        step
    }

    /// The live job whose present attempt this is.
    pub(super) fn present(&self, attempt: AttemptId) -> Option<&Arc<Job>> {
        self.jobs
            .get(&attempt.job)
            .filter(|job| job.live_attempt() == Some(attempt))
    }

    /// What is known of an attempt that runs is stored with its end; what is known later, at once.
    fn tallied(&mut self, attempt: AttemptId, tally: Box<Tally>, step: &mut Step) {
        let is_live = self.present(attempt).is_some();
        let job = self.jobs.get(&attempt.job);
        let is_newest = job.and_then(|job| job.attempt.as_ref()).map(|it| it.id) == Some(attempt);
        if is_newest {
            self.mutate(attempt.job, |job| {
                if let Some(attempt) = &mut job.attempt {
                    attempt.tally = Some(tally.clone());
                }
            });
        }
        if !is_live {
            step.changes.push(Change::Tallied { attempt, tally });
        }
    }

    fn started(
        &mut self,
        attempt: AttemptId,
        main: Process,
        containment: &str,
        at: Stamp,
        now: Stamp,
        step: &mut Step,
    ) {
        let Some(job) = self.present(attempt) else {
            return;
        };
        let known = job.attempt.as_ref().is_some_and(|it| it.main == Some(main));
        let from = job.state.name();
        let starts = matches!(job.state, JobState::Starting { .. });
        if known && !starts {
            return;
        }
        let note = |job: &mut Job| {
            if let Some(attempt) = &mut job.attempt {
                attempt.started = Some(at);
                attempt.main = Some(main);
                attempt.containment = Some(containment.to_owned());
            }
        };
        if starts {
            // `apply` allows this move for every job that is starting.
            let began = JobEvent::Started {
                at: if at.boot_ms < now.boot_ms { at } else { now },
            };
            let _running = self.shift(attempt.job, &began, now, step, note);
        } else if let Some(job) = self.mutate(attempt.job, note) {
            // It was asked to end while it was being started: the facts count, its state stays, and
            // now there is somebody to ask.
            step.actions.extend(ask_to_end(&job));
            step.changes.push(Change::JobMoved { job, from, at: now });
        }
    }

    pub(super) fn ended(
        &mut self,
        attempt: AttemptId,
        ending: &Ending,
        usage: Option<Usage>,
        at: Stamp,
        now: Stamp,
        step: &mut Step,
    ) {
        if let Some(job) = self.present(attempt) {
            let unasked = self.ended_unasked(job, at);
            let event = JobEvent::Ended {
                ending: ending.clone(),
                retry_at: retry_at(job, ending, unasked, now),
                unasked,
            };
            // `apply` allows this move for every job that holds a place.
            let _ended = self.shift(attempt.job, &event, now, step, |job| {
                if let JobState::Stopping {
                    cause: StopCause::Restart,
                    ..
                } = job.state
                    && !matches!(ending, Ending::Unseen { .. })
                {
                    // A person queues it again, so the retry policy counts anew.
                    job.tries = 0;
                }
                if let Some(attempt) = &mut job.attempt {
                    attempt.ended = Some(at);
                    attempt.ending = Some(ending.clone());
                    attempt.usage = usage;
                }
            });
        }
        step.actions.push(Action::Forget { attempt });
    }

    /// Whether an attempt that ended `at` had not been asked to before: the report may come late,
    /// above all from a record that waited for a new daemon.
    fn ended_unasked(&self, job: &Job, at: Stamp) -> bool {
        let JobState::Stopping { since, cause, .. } = &job.state else {
            return true;
        };
        let attempt = job.attempt.as_ref();
        if attempt.is_some_and(|attempt| attempt.boot_id == self.boot_id) {
            return at.boot_ms < since.boot_ms;
        }
        // It ran in an earlier boot, so its timeout may have been noticed only now, on a wall clock
        // that is not to be trusted. How long it ran is known from its own boot.
        let started = attempt.and_then(|attempt| attempt.started);
        let in_time = started
            .zip(job.spec.timeout_ms)
            .is_some_and(|(started, timeout_ms)| {
                *cause == StopCause::Timeout && at.since_ms(started) < timeout_ms
            });
        in_time || at.wall_ms < since.wall_ms
    }

    fn never_started(&mut self, attempt: AttemptId, now: Stamp, step: &mut Step) {
        let Some(job) = self.present(attempt).cloned() else {
            return;
        };
        let has_run = job.attempt.as_ref().is_some_and(|it| it.main.is_some());
        if matches!(job.state, JobState::Starting { .. }) {
            let job = self.in_this_boot(job, now, step);
            step.actions.push(Action::Launch { job });
            return;
        }
        let ending = if matches!(job.state, JobState::Stopping { .. }) && !has_run {
            let why = "was asked to end before its command ran";
            Ending::NotStarted {
                failure: Failure::new(FailureClass::Spawn, why),
            }
        } else {
            let why = "nothing is left of it: neither its shim nor a record of its end";
            Ending::Unseen {
                failure: Failure::new(FailureClass::HostLost, why),
            }
        };
        self.ended(attempt, &ending, None, now, now, step);
    }

    /// The job with its attempt moved to this boot of the host, where it was claimed in an earlier one.
    ///
    /// What starts now belongs to this boot: otherwise the next start of the daemon would take it for
    /// something that the host took down with it.
    fn in_this_boot(&mut self, job: Arc<Job>, now: Stamp, step: &mut Step) -> Arc<Job> {
        let boot_id = self.boot_id.clone();
        if job.attempt.as_ref().is_none_or(|it| it.boot_id == boot_id) {
            return job;
        }
        let moved = self.mutate(job.id, |job| {
            if let Some(attempt) = &mut job.attempt {
                attempt.boot_id = boot_id;
                attempt.claimed = attempt.claimed.rebased(now);
            }
        });
        let job = moved.unwrap_or(job);
        step.changes.push(Change::JobMoved {
            job: Arc::clone(&job),
            from: job.state.name(),
            at: now,
        });
        job
    }

    /// What was due for a job: each state has at most one timer.
    pub(super) fn timer_due(&mut self, id: JobId, now: Stamp, step: &mut Step) {
        let Some(job) = self.jobs.get(&id).cloned() else {
            return;
        };
        let state = job.state.name();
        if state == StateName::Running {
            let grace_ms = job.spec.stop.grace_ms;
            self.stop(&job, StopCause::Timeout, grace_ms, now, step);
        } else if state == StateName::Stopping {
            self.kill(&job, now, step);
        } else if state == StateName::Backoff {
            let _queued = self.shift(id, &JobEvent::RetryDue, now, step, |_| {});
        } else {
            // The earliest start of a queued job has come: look again.
            self.recount(id, step, now);
        }
    }

    /// Asks a job with an attempt to end, and kills it at once where it has no grace.
    pub(super) fn stop(
        &mut self,
        job: &Arc<Job>,
        cause: StopCause,
        grace_ms: u64,
        now: Stamp,
        step: &mut Step,
    ) {
        let Some(attempt) = job.live_attempt() else {
            return;
        };
        let event = JobEvent::StopAsked {
            cause,
            kill_at: now.plus_ms(grace_ms),
        };
        let Ok(stopping) = self.shift(job.id, &event, now, step, |_| {}) else {
            return;
        };
        let killed = matches!(stopping.state, JobState::Stopping { killed: true, .. });
        if grace_ms == 0 && !killed {
            self.kill(&stopping, now, step);
            return;
        }
        step.actions.extend(ask_to_end(&stopping));
        if matches!(job.state, JobState::Paused { .. }) {
            // Frozen processes do not see a signal before they go on.
            step.actions.push(Action::Thaw { attempt });
        }
    }

    fn kill(&mut self, job: &Arc<Job>, now: Stamp, step: &mut Step) {
        let killed = self.shift(job.id, &JobEvent::GraceOver, now, step, |_| {});
        if let (Ok(_), Some(attempt)) = (killed, job.live_attempt()) {
            step.actions.push(Action::Kill { attempt });
        }
    }
}

/// What a job that is stopping must be sent. Before its command runs a signal would reach nobody: it is
/// sent when the start is reported, and so just once.
pub(super) fn ask_to_end(job: &Job) -> Option<Action> {
    let attempt = job.live_attempt()?;
    let JobState::Stopping { killed, .. } = job.state else {
        return None;
    };
    let runs = job.attempt.as_ref().is_some_and(|it| it.main.is_some());
    if killed {
        Some(Action::Kill { attempt })
    } else if runs {
        Some(Action::Signal {
            attempt,
            signal: job.spec.stop.signal,
            to: SignalTarget::Group,
        })
    } else {
        None
    }
}

/// When the next attempt of `job` begins by itself, given how the present one ended.
fn retry_at(job: &Job, ending: &Ending, unasked: bool, now: Stamp) -> Option<Stamp> {
    let attempt = job.live_attempt()?;
    let cause = if let JobState::Stopping { cause, .. } = &job.state {
        Some(*cause)
    } else {
        None
    };
    let failure = match cause {
        Some(StopCause::Cancel | StopCause::Restart) => return None,
        Some(StopCause::Timeout) if !unasked => Failure::new(FailureClass::Timeout, ""),
        Some(StopCause::Timeout) | None => ending.failure()?,
    };
    let wait = job
        .spec
        .retry
        .wait_ms(attempt, job.tries, &failure, ending.exit())?;
    Some(now.plus_ms(wait))
}
