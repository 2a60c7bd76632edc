//! The state table: which event moves which state where. One arm per allowed move.

use crate::model::failure::{Ending, Failure, FailureClass};
use crate::model::state::{HeldFor, JobState, StateName, StopCause};
use crate::model::time::Stamp;

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// Somebody holds it back.
    Hold,
    /// Its owner lets it go.
    Release,
    /// Somebody approved it.
    Approve,
    /// It was given a place.
    Claimed,
    /// Its command runs.
    Started {
        /// Since when: before now where it is told late, after a restart of the daemon.
        at: Stamp,
    },
    /// Somebody froze it.
    Pause,
    /// Somebody lets it go on.
    Resume,
    /// It shall end: asked first, killed at `kill_at`.
    StopAsked {
        /// Why.
        cause: StopCause,
        /// When its grace is over.
        kill_at: Stamp,
    },
    /// Its grace is over: what it started is killed.
    GraceOver,
    /// Its attempt ended.
    Ended {
        /// How.
        ending: Ending,
        /// When it starts again by itself, where it does.
        retry_at: Option<Stamp>,
        /// Whether it had ended before it was asked to.
        unasked: bool,
    },
    /// Its wait for the next attempt is over.
    RetryDue,
    /// A job it depends on ended badly.
    DependencyFailed {
        /// Which.
        failure: Failure,
    },
    /// Somebody wants it once more.
    Again,
}

/// A move that the table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot be {event}")]
pub struct Illegal {
    /// The state it is in.
    pub from: StateName,
    /// What was wanted, as a participle.
    pub event: &'static str,
}

impl JobEvent {
    /// What happened, as a participle: "a running job cannot be *released*".
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hold => "held",
            Self::Release => "released",
            Self::Approve => "approved",
            Self::Claimed => "claimed",
            Self::Started { .. } => "started",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::StopAsked { .. } => "stopped",
            Self::GraceOver => "killed",
            Self::Ended { .. } => "ended",
            Self::RetryDue => "retried by itself",
            Self::DependencyFailed { .. } => "skipped",
            Self::Again => "queued again",
        }
    }
}

impl JobState {
    /// The state after `event` at `now`.
    ///
    /// # Errors
    /// [`Illegal`] where the table has no such move; the state is then what it was.
    pub fn apply(&self, event: &JobEvent, now: Stamp) -> Result<Self, Illegal> {
        use {JobEvent as E, JobState as S};
        Ok(match (self, event) {
            (S::Queued | S::Backoff { .. }, E::Hold) => S::Held {
                waits_for: HeldFor::Owner,
            },
            (
                S::Held {
                    waits_for: HeldFor::Owner,
                },
                E::Release,
            )
            | (
                S::Held {
                    waits_for: HeldFor::Approval,
                },
                E::Approve,
            ) => S::Queued,
            (S::Queued, E::Claimed) => S::Starting { since: now },
            (S::Starting { .. }, E::Started { at }) => S::Running {
                since: *at,
                ran_before_ms: 0,
            },
            (
                S::Running {
                    since,
                    ran_before_ms,
                },
                E::Pause,
            ) => S::Paused {
                since: now,
                ran_before_ms: ran_before_ms + now.since_ms(*since),
            },
            (S::Paused { ran_before_ms, .. }, E::Resume) => S::Running {
                since: now,
                ran_before_ms: *ran_before_ms,
            },
            (
                S::Held { .. } | S::Queued | S::Backoff { .. },
                E::StopAsked {
                    cause: StopCause::Cancel,
                    ..
                },
            ) => S::Cancelled,
            (S::Backoff { .. }, E::RetryDue)
            | (
                S::Backoff { .. },
                E::StopAsked {
                    cause: StopCause::Restart,
                    ..
                },
            ) => S::Queued,
            (
                S::Starting { .. } | S::Running { .. } | S::Paused { .. },
                E::StopAsked { cause, kill_at },
            ) => stopping(*cause, *kill_at, now),
            // Somebody is more resolute: a cancel overrides a running restart or timeout, and the
            // earlier end of two graces counts.
            (
                S::Stopping {
                    since,
                    cause,
                    kill_at,
                    killed,
                },
                E::StopAsked {
                    cause: wanted,
                    kill_at: sooner,
                },
            ) => S::Stopping {
                since: *since,
                cause: if *wanted == StopCause::Cancel {
                    StopCause::Cancel
                } else {
                    *cause
                },
                kill_at: if sooner.boot_ms < kill_at.boot_ms {
                    *sooner
                } else {
                    *kill_at
                },
                killed: *killed,
            },
            (
                S::Stopping {
                    since,
                    cause,
                    kill_at,
                    killed: false,
                },
                E::GraceOver,
            ) => S::Stopping {
                since: *since,
                cause: *cause,
                kill_at: *kill_at,
                killed: true,
            },
            // Nobody saw the end in time, so the clock ran on: it did not run longer than it may.
            (
                S::Stopping {
                    cause: StopCause::Timeout,
                    ..
                },
                E::Ended {
                    ending,
                    retry_at,
                    unasked: true,
                },
            )
            | (
                S::Starting { .. } | S::Running { .. } | S::Paused { .. },
                E::Ended {
                    ending, retry_at, ..
                },
            ) => after_end(ending, *retry_at),
            (
                S::Stopping { cause, .. },
                E::Ended {
                    ending, retry_at, ..
                },
            ) => after_stop(*cause, ending, *retry_at),
            (S::Held { .. } | S::Queued | S::Backoff { .. }, E::DependencyFailed { failure }) => {
                S::Skipped {
                    failure: failure.clone(),
                }
            }
            (state, E::Again) if state.is_final() => S::Queued,
            _ => {
                return Err(Illegal {
                    from: self.name(),
                    event: event.name(),
                });
            }
        })
    }
}

fn stopping(cause: StopCause, kill_at: Stamp, now: Stamp) -> JobState {
    JobState::Stopping {
        since: now,
        cause,
        kill_at,
        killed: false,
    }
}

/// What becomes of a job that was asked to end, now that it has.
fn after_stop(cause: StopCause, ending: &Ending, retry_at: Option<Stamp>) -> JobState {
    match (cause, ending) {
        // Whether it still ended as asked is not known: the host went down under it.
        (_, Ending::Unseen { failure }) if cause != StopCause::Cancel => JobState::Lost {
            failure: failure.clone(),
        },
        (StopCause::Cancel, _) => JobState::Cancelled,
        (StopCause::Restart, _) => JobState::Queued,
        (StopCause::Timeout, _) => {
            let failure = Failure::new(FailureClass::Timeout, "ran longer than its timeout");
            match retry_at {
                Some(until) => JobState::Backoff { until, failure },
                None => JobState::TimedOut { failure },
            }
        }
    }
}

/// What becomes of a job whose attempt ended by itself.
fn after_end(ending: &Ending, retry_at: Option<Stamp>) -> JobState {
    match (ending, ending.failure()) {
        (_, None) => JobState::Completed,
        (Ending::Unseen { .. }, Some(failure)) => JobState::Lost { failure },
        (_, Some(failure)) => match retry_at {
            Some(until) => JobState::Backoff { until, failure },
            None => JobState::Failed {
                failure,
                exit: ending.exit(),
            },
        },
    }
}

#[cfg(test)]
mod tests;
