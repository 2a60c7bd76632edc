//! Changes: facts to store. The only input of the store, and the only source of durable events.

use crate::model::gpu::GpuFault;
use crate::model::group::Group;
use crate::model::id::{AttemptId, EnvId, JobId};
use crate::model::job::Job;
use crate::model::spec::JobSpec;
use crate::model::state::StateName;
use crate::model::tally::Tally;
use crate::model::time::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The content of an environment: names and values of one `execve`.
pub type Environment = BTreeMap<String, String>;

/// What makes a repeated submission the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdempotencyKey {
    /// Whose key it is; keys of different users never meet.
    pub uid: u32,
    /// The client's key.
    pub key: String,
    /// Hash of the request, so that a key reused for something else is noticed.
    pub fingerprint: String,
}

/// One fact to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An environment that jobs of the same step refer to; stored once per content.
    EnvironmentSeen {
        /// Hash of the content.
        id: EnvId,
        /// The content.
        content: Arc<Environment>,
    },
    /// A job was submitted.
    JobAdded {
        /// The job, complete.
        job: Arc<Job>,
    },
    /// A job moved to another state. `job` is how it is now, with its present attempt.
    JobMoved {
        /// The job after the move.
        job: Arc<Job>,
        /// The state it came from.
        from: StateName,
        /// When.
        at: Stamp,
    },
    /// What a waiting job asks for was edited.
    JobEdited {
        /// The job after the edit.
        job: Arc<Job>,
        /// What it asked for before.
        before: Arc<JobSpec>,
        /// When.
        at: Stamp,
    },
    /// What an attempt used of GPUs and energy is known, which ended before that. No event.
    Tallied {
        /// The attempt.
        attempt: AttemptId,
        /// What it used.
        tally: Box<Tally>,
    },
    /// The driver of a GPU told of an error.
    GpuFailed {
        /// What it told.
        fault: GpuFault,
    },
    /// A dependency of a waiting job completed. No event: it is seen when it starts.
    DependencyMet {
        /// The job that waits.
        job: JobId,
        /// How many it still waits for.
        unmet: u32,
    },
    /// A finished job was removed with its history.
    JobRemoved {
        /// The job.
        job: JobId,
        /// Its owner, for the event.
        uid: u32,
        /// When.
        at: Stamp,
    },
    /// A finished job that is archived went with its month. Where it is back from there, it stays, and no event follows.
    JobExpired {
        /// The job.
        job: JobId,
        /// Its owner, for the event.
        uid: u32,
        /// When.
        at: Stamp,
    },
    /// A group was made or changed.
    GroupSet {
        /// The group as it is now.
        group: Group,
        /// When.
        at: Stamp,
    },
    /// A group was removed.
    GroupRemoved {
        /// Its name.
        name: String,
        /// When.
        at: Stamp,
    },
    /// The host is drained from now on, or is not any more.
    DrainSet {
        /// Whether nothing new starts.
        draining: bool,
        /// When.
        at: Stamp,
    },
    /// A submission carried a key; a repetition will be answered with the same jobs.
    KeyUsed {
        /// The key.
        key: IdempotencyKey,
        /// The jobs it made.
        ids: Vec<JobId>,
        /// When.
        at: Stamp,
    },
}
