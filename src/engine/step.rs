//! What one decision asks of the world: changes to commit, then actions to carry out.

use crate::engine::command::SignalTarget;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::id::AttemptId;
use crate::model::job::Job;
use crate::model::progress::SameRuns;
use std::sync::Arc;

/// The outcome of one engine call: commit every change in one transaction, publish, then act.
///
/// Actions are idempotent per attempt: after a crash between commit and act, recovery derives the
/// same actions again from the committed rows.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a dropped step is a lost job"]
pub struct Step {
    /// Facts to store.
    pub changes: Vec<Change>,
    /// Events that are not stored: progress.
    pub telemetry: Vec<Told>,
    /// Effects to carry out after the commit.
    pub actions: Vec<Action>,
}

impl Step {
    /// Adds what a later decision asks.
    pub fn append(&mut self, later: Self) {
        let before = self.changes.len();
        self.changes.extend(later.changes);
        let telemetry = later.telemetry.into_iter().map(|told| Told {
            after: before + told.after,
            ..told
        });
        self.telemetry.extend(telemetry);
        self.actions.extend(later.actions);
    }

    /// Adds an event that is not stored, after all changes so far.
    pub(super) fn tell(&mut self, event: Event) {
        let after = self.changes.len();
        self.telemetry.push(Told { after, event });
    }
}

/// An event that is not stored, and its place among those that are: a job's last progress comes before its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// How many changes of the same step come before it.
    pub after: usize,
    /// The event.
    pub event: Event,
}

/// One effect on the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start the command of an attempt. The attempt's directory admits one start at most.
    Launch {
        /// The job, with the attempt to start as its present one.
        job: Arc<Job>,
    },
    /// After a restart of the daemon: find the shim of an attempt, or its exit record, and report.
    Adopt {
        /// The job, with that attempt as its present one.
        job: Arc<Job>,
    },
    /// Send a signal.
    Signal {
        /// To this attempt.
        attempt: AttemptId,
        /// Number of the signal.
        signal: i32,
        /// Which of its processes.
        to: SignalTarget,
    },
    /// Kill everything the attempt ever forked.
    Kill {
        /// Which.
        attempt: AttemptId,
    },
    /// Freeze every process of an attempt.
    Freeze {
        /// Which.
        attempt: AttemptId,
    },
    /// Let every process of an attempt go on.
    Thaw {
        /// Which.
        attempt: AttemptId,
    },
    /// The end of an attempt is committed: its shim may leave, its directory may go.
    Forget {
        /// Which.
        attempt: AttemptId,
    },
    /// Look up how long earlier completed runs of the same took, and report it as
    /// [`Input::PastRuns`](crate::engine::input::Input::PastRuns). Nothing depends on an answer.
    Recall {
        /// The attempt they are compared with.
        attempt: AttemptId,
        /// Which those are.
        same: SameRuns,
    },
    /// A job was removed: its logs may go.
    RemoveLogs {
        /// The job.
        job: crate::model::id::JobId,
    },
}
