//! What the outside world reports to the engine.

use crate::model::attempt::{Process, Usage};
use crate::model::failure::Ending;
use crate::model::gpu::GpuFault;
use crate::model::id::AttemptId;
use crate::model::progress::Observation;
use crate::model::tally::Tally;
use crate::model::time::Stamp;

/// One report. Reports about an attempt that is no longer the present one change nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The command of an attempt runs.
    Started {
        /// Which.
        attempt: AttemptId,
        /// Its main process.
        main: Process,
        /// What keeps its processes together.
        containment: String,
        /// When it began to run.
        at: Stamp,
    },
    /// An attempt ended. Its shim keeps the record until it is told that the end is committed.
    Ended {
        /// Which.
        attempt: AttemptId,
        /// How.
        ending: Ending,
        /// What it used, where that is known.
        usage: Option<Box<Usage>>,
        /// When.
        at: Stamp,
    },
    /// After a restart: no shim ever claimed this attempt, so its command never ran.
    NeverStarted {
        /// Which.
        attempt: AttemptId,
    },
    /// A source of progress saw something.
    Observed {
        /// Of which attempt.
        attempt: AttemptId,
        /// What.
        observation: Box<Observation>,
    },
    /// How long earlier runs took: the answer to [`Action::Recall`](crate::engine::step::Action::Recall).
    PastRuns {
        /// The attempt they are compared with.
        attempt: AttemptId,
        /// Their active times, milliseconds, in any order.
        active_ms: Vec<u64>,
    },
    /// What an attempt used of GPUs and energy, as far as that is known. Comes before its end, and again when more is
    /// known after it.
    Tallied {
        /// Which.
        attempt: AttemptId,
        /// What it used.
        tally: Box<Tally>,
    },
    /// The driver of a GPU told of an error.
    GpuFailed {
        /// What it told.
        fault: GpuFault,
    },
    /// Time passed, or the wall clock was set: look again at what is due.
    Tick,
}
