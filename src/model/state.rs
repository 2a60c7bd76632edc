//! The states of a job. What belongs to a state lives inside its variant.

use crate::model::failure::{Exit, Failure};
use crate::model::time::Stamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who a held job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldFor {
    /// Its owner, who lets it go with `release`.
    Owner,
    /// An approval: `approve` lets it go, `reject` cancels it.
    Approval,
}

/// Why a job was asked to end; decides what it becomes when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Somebody cancelled it: it becomes `cancelled`.
    Cancel,
    /// It ran longer than it may: it becomes `timed_out`, or waits for its next attempt.
    Timeout,
    /// Somebody restarts it: it goes back to the queue.
    Restart,
}

/// The state of a job (DESIGN §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum JobState {
    /// Waits for a person.
    Held {
        /// Whom it waits for.
        waits_for: HeldFor,
    },
    /// Waits for its turn; why is derived when asked ([`crate::model::job::QueueReason`]).
    Queued,
    /// Has its place; its command is being started.
    Starting {
        /// When it got its place.
        since: Stamp,
    },
    /// Its command runs.
    Running {
        /// When it began to run, or went on after a pause.
        since: Stamp,
        /// Time it had run before that in this attempt, milliseconds.
        ran_before_ms: u64,
    },
    /// Frozen, with its place kept.
    Paused {
        /// When it was frozen.
        since: Stamp,
        /// Time it had run until then in this attempt, milliseconds.
        ran_before_ms: u64,
    },
    /// Asked to end; killed when its grace is over.
    Stopping {
        /// When it was asked.
        since: Stamp,
        /// Why.
        cause: StopCause,
        /// When everything it started is killed.
        kill_at: Stamp,
        /// Whether that has happened.
        killed: bool,
    },
    /// Failed, and starts again by itself.
    Backoff {
        /// When.
        until: Stamp,
        /// What it failed with.
        failure: Failure,
    },
    /// Ended with status 0.
    Completed,
    /// Failed for good.
    Failed {
        /// Why.
        failure: Failure,
        /// Status of its last attempt, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<Exit>,
    },
    /// Ended because somebody asked.
    Cancelled,
    /// Ended because it ran longer than it may.
    TimedOut {
        /// What was exceeded.
        failure: Failure,
    },
    /// Never ran, because a job it depends on ended badly.
    Skipped {
        /// Which.
        failure: Failure,
    },
    /// Its end was not seen: it may have succeeded or failed.
    Lost {
        /// What is known.
        failure: Failure,
    },
}

/// The name of a state, as the API, the CLI and the database spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Waits for a person.
    Held,
    /// Waits for its turn.
    Queued,
    /// Being started.
    Starting,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Asked to end.
    Stopping,
    /// Waits for its next attempt.
    Backoff,
    /// Ended well.
    Completed,
    /// Failed for good.
    Failed,
    /// Ended on request.
    Cancelled,
    /// Ran too long.
    TimedOut,
    /// Never ran: a dependency ended badly.
    Skipped,
    /// End not seen.
    Lost,
}

impl StateName {
    /// Every state, live ones first, in the order of DESIGN §2.
    pub const ALL: [Self; 13] = [
        Self::Held,
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Backoff,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::Skipped,
        Self::Lost,
    ];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
            Self::Lost => "lost",
        }
    }

    /// The state called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether a job in this state will not change by itself any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        self >= Self::Completed
    }

    /// Whether a job in this state holds a place in its group, and may have processes.
    #[must_use]
    pub fn holds_place(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Paused | Self::Stopping
        )
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl JobState {
    /// The name of this state.
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Held { .. } => StateName::Held,
            Self::Queued => StateName::Queued,
            Self::Starting { .. } => StateName::Starting,
            Self::Running { .. } => StateName::Running,
            Self::Paused { .. } => StateName::Paused,
            Self::Stopping { .. } => StateName::Stopping,
            Self::Backoff { .. } => StateName::Backoff,
            Self::Completed => StateName::Completed,
            Self::Failed { .. } => StateName::Failed,
            Self::Cancelled => StateName::Cancelled,
            Self::TimedOut { .. } => StateName::TimedOut,
            Self::Skipped { .. } => StateName::Skipped,
            Self::Lost { .. } => StateName::Lost,
        }
    }

    /// Whether it will not change by itself any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.name().is_final()
    }

    /// Whether it holds a place in its group.
    #[must_use]
    pub fn holds_place(&self) -> bool {
        self.name().holds_place()
    }

    /// Why it failed, or failed last, where it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Backoff { failure, .. }
            | Self::Failed { failure, .. }
            | Self::TimedOut { failure }
            | Self::Skipped { failure }
            | Self::Lost { failure } => Some(failure),
            Self::Held { .. }
            | Self::Queued
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Paused { .. }
            | Self::Stopping { .. }
            | Self::Completed
            | Self::Cancelled => None,
        }
    }
}
