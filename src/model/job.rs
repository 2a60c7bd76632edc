//! A job: its spec, its owner, its state and its present attempt.

use crate::model::attempt::Attempt;
use crate::model::group::Gates;
use crate::model::id::{AttemptId, JobId};
use crate::model::spec::JobSpec;
use crate::model::state::JobState;
use crate::model::time::Stamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who submitted a job, and as whom it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User id, as the kernel reported it for the connection.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Login name, for people.
    pub user: String,
}

/// One command under supervision. Earlier attempts are in the store only.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Whose it is.
    pub owner: Arc<Owner>,
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was submitted.
    pub created: Stamp,
    /// When it reached its final state.
    pub finished: Option<Stamp>,
    /// Its newest attempt, where it had one.
    pub attempt: Option<Attempt>,
    /// Attempts since a person last queued it: what the retry policy counts.
    pub tries: u32,
    /// How many of the jobs it waits for have not completed.
    pub unmet: u32,
}

/// Why a queued job does not run yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum QueueReason {
    /// A job it depends on has not completed.
    Dependency,
    /// What it needs is taken.
    Resources,
    /// A lock it claims is held.
    Lock,
    /// A rate pool is empty.
    Rate,
    /// Its time has not come.
    NotBefore,
    /// All places of its group are taken.
    GroupLimit,
    /// Its group is paused.
    GroupPaused,
    /// The host is drained.
    Draining,
    /// Too many of its kind failed lately.
    BreakerOpen,
    /// More urgent jobs come first.
    Priority,
}

impl QueueReason {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dependency => "Dependency",
            Self::Resources => "Resources",
            Self::Lock => "Lock",
            Self::Rate => "Rate",
            Self::NotBefore => "NotBefore",
            Self::GroupLimit => "GroupLimit",
            Self::GroupPaused => "GroupPaused",
            Self::Draining => "Draining",
            Self::BreakerOpen => "BreakerOpen",
            Self::Priority => "Priority",
        }
    }
}

impl Job {
    /// A new job in the queue, or held.
    #[must_use]
    pub fn new(
        id: JobId,
        owner: Arc<Owner>,
        spec: Arc<JobSpec>,
        state: JobState,
        now: Stamp,
    ) -> Self {
        Self {
            id,
            owner,
            spec,
            state,
            created: now,
            finished: None,
            attempt: None,
            tries: 0,
            unmet: 0,
        }
    }

    /// The attempt that holds its place now.
    #[must_use]
    pub fn live_attempt(&self) -> Option<AttemptId> {
        self.attempt
            .as_ref()
            .filter(|_| self.state.holds_place())
            .map(|attempt| attempt.id)
    }

    /// The identity of the attempt that would come next.
    #[must_use]
    pub fn next_attempt(&self) -> AttemptId {
        AttemptId {
            job: self.id,
            attempt: self.attempt.as_ref().map_or(0, |last| last.id.attempt) + 1,
        }
    }

    /// Why it is not running, where it is queued; without `gates`, as far as that lies in the job itself.
    ///
    /// Derived, never stored: a change of its group would otherwise touch every job in it.
    #[must_use]
    pub fn queue_reason(&self, gates: Option<&Gates>, now_wall_ms: i64) -> Option<QueueReason> {
        if self.state != JobState::Queued {
            return None;
        }
        let early = self.spec.not_before_ms.is_some_and(|at| at > now_wall_ms);
        let is_paused = |gates: &Gates| gates.group(&self.spec.group).is_some_and(|it| it.paused);
        Some(match gates {
            _ if self.unmet > 0 => QueueReason::Dependency,
            _ if early => QueueReason::NotBefore,
            Some(gates) if gates.draining => QueueReason::Draining,
            Some(gates) if is_paused(gates) => QueueReason::GroupPaused,
            Some(_) | None => QueueReason::GroupLimit,
        })
    }
}
