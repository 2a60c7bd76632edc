//! What clients may ask of the engine, and what it answers. Permission was checked before.

use crate::model::access::Quota;
use crate::model::change::{Environment, IdempotencyKey};
use crate::model::group::Group;
use crate::model::id::{EnvId, JobId};
use crate::model::job::{Job, Owner};
use crate::model::limits::LimitChanges;
use crate::model::progress::{Excess, Observation};
use crate::model::retry::RetryPolicy;
use crate::model::spec::JobSpec;
use crate::model::state::{HeldFor, StateName, StopCause};
use crate::model::time::Stamp;
use crate::model::transition::Illegal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One thing a client wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// New jobs: all of them, or none.
    Submit(Submission),
    /// Something with one job.
    Job {
        /// Which.
        id: JobId,
        /// What.
        verb: Verb,
    },
    /// Makes or changes a group.
    SetGroup {
        /// Its name.
        name: String,
        /// New limit; `None` keeps it.
        parallelism: Option<u32>,
        /// Pause or let go on; `None` keeps it.
        paused: Option<bool>,
    },
    /// Removes an empty group.
    RemoveGroup {
        /// Its name.
        name: String,
    },
    /// Keeps everything from starting that has not, or lets it start again.
    Drain {
        /// Whether nothing new starts.
        draining: bool,
    },
    /// The daemon goes down, and what runs with it: nothing starts any more, and all that holds a place is asked to end.
    GoDown {
        /// To be over, or to begin again with the next daemon.
        cause: StopCause,
    },
    /// Forgets finished jobs that are too old, each with its owner. Those that live again stay.
    Expire {
        /// Which.
        jobs: Vec<(JobId, u32)>,
    },
    /// Says how many live jobs one user may have from now on. Those there are stay.
    SetQuota(Quota),
}

/// New jobs of one owner.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Whose they are.
    pub owner: Arc<Owner>,
    /// The jobs, in the order their numbers will have.
    pub jobs: Vec<Draft>,
    /// The environments the specs name, by the hash of their content.
    pub environments: BTreeMap<EnvId, Arc<Environment>>,
    /// Makes a repetition the same submission.
    pub key: Option<IdempotencyKey>,
    /// Whether they may wait for jobs of others: else these are not there.
    pub sees_others: bool,
}

/// A job to be: its spec, and what the engine still has to resolve.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What was asked for; `after_ok` is still empty.
    pub spec: JobSpec,
    /// Whom it waits for, where it is held from the start.
    pub held: Option<HeldFor>,
    /// The jobs that must complete before it starts.
    pub after_ok: Vec<Dependency>,
}

/// A job that another one waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// By number.
    Id(JobId),
    /// By name: of the same submission first, else the owner's newest.
    Name(String),
}

/// What a client wants of one job.
#[derive(Clone, Debug)]
pub enum Verb {
    /// End it, and keep it from starting.
    Cancel {
        /// Grace instead of its own, milliseconds; 0 kills at once.
        grace_ms: Option<u64>,
    },
    /// End it, and queue it again. A finished job is queued again as with `Retry`.
    Restart {
        /// Grace instead of its own, milliseconds.
        grace_ms: Option<u64>,
    },
    /// Send a signal; changes no state.
    Signal {
        /// Number of the signal.
        signal: i32,
        /// Who gets it.
        to: SignalTarget,
    },
    /// Freeze it.
    Pause,
    /// Let it go on.
    Resume,
    /// Keep it from starting.
    Hold,
    /// Undo `Hold`.
    Release,
    /// Let a job go that waits for approval.
    Approve,
    /// Cancel a job that waits for approval.
    Reject,
    /// Queue a finished job again, as its next attempt.
    Retry,
    /// Change what a waiting job asks for.
    Edit(Box<Edit>),
    /// Forget a finished job with its history.
    Remove,
    /// Report progress from inside the job.
    Report {
        /// The attempt that reports; the present one unless given.
        attempt: Option<u32>,
        /// What it reports.
        observation: Box<Observation>,
    },
}

/// Which processes of a job get a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalTarget {
    /// The main process alone.
    Main,
    /// The main process's group.
    Group,
    /// Every process of the job.
    All,
}

/// Changes to a waiting job; `None` keeps what is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// New command.
    pub command: Option<Vec<String>>,
    /// New name.
    pub name: Option<String>,
    /// New kind, or none.
    pub kind: Option<Option<String>>,
    /// New group.
    pub group: Option<String>,
    /// New working directory.
    pub cwd: Option<String>,
    /// New priority.
    pub priority: Option<u8>,
    /// New earliest start, or none.
    pub not_before_ms: Option<Option<i64>>,
    /// New timeout, or none.
    pub timeout_ms: Option<Option<u64>>,
    /// New grace, milliseconds.
    pub grace_ms: Option<u64>,
    /// Labels to set; an empty value removes one.
    pub labels: BTreeMap<String, String>,
    /// New retry policy.
    pub retry: Option<RetryPolicy>,
    /// Limits that change.
    pub limits: LimitChanges,
}

/// What the engine answers when it does what was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The jobs of a submission.
    Submitted {
        /// Their numbers, in the order of the submission.
        ids: Vec<JobId>,
        /// Whether an earlier, equal submission made them.
        repeated: bool,
    },
    /// The job as it is now.
    Job(Arc<Job>),
    /// What was to go is gone.
    Removed,
    /// The group as it is now.
    Group(Group),
    /// The host is drained, or is not.
    Draining(bool),
    /// What runs was asked to end; what does not is killed by then, on the boot clock.
    GoingDown {
        /// When the last of it is killed; now where nothing runs.
        killed_by: Stamp,
    },
    /// It holds from now on.
    Noted,
}

/// Why the engine does not do what was asked. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such job.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// No such group.
    #[error("there is no group \"{0}\"")]
    UnknownGroup(String),
    /// A group that jobs still wait or run in, or the default group.
    #[error("group \"{name}\" cannot be removed: {why}")]
    GroupInUse {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// A dependency that does not exist.
    #[error("there is no job {0} to wait for")]
    UnknownDependency(String),
    /// Dependencies that form a cycle, named in order.
    #[error("the dependencies form a cycle: {}", .0.join(" -> "))]
    DependencyCycle(Vec<String>),
    /// A job cannot be queued again before the one it waits for.
    #[error("job {id} waits for job {dependency}, which is {state}")]
    DependencyEndedBadly {
        /// The job.
        id: JobId,
        /// The one it waits for.
        dependency: JobId,
        /// What became of that.
        state: StateName,
    },
    /// The table has no such move.
    #[error("job {id} is {}, it cannot be {}", .illegal.from, .illegal.event)]
    WrongState {
        /// The job.
        id: JobId,
        /// The move.
        illegal: Illegal,
    },
    /// A report of an attempt that is not the present one.
    #[error("attempt {attempt} of job {id} does not run")]
    NotThisAttempt {
        /// The job.
        id: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A report of more than is kept of an attempt.
    #[error("job {id} would have more than {} {excess}", .excess.limit())]
    TooMuchReported {
        /// The job.
        id: JobId,
        /// Of what.
        excess: Excess,
    },
    /// The owner would have more live jobs than one user may.
    #[error(
        "user {user} may have {most} unfinished jobs, has {live}, and {more} more would be too many"
    )]
    TooManyJobs {
        /// Name of the owner.
        user: String,
        /// How many there are.
        live: u64,
        /// How many were to come.
        more: u64,
        /// How many there may be.
        most: u32,
    },
    /// The key came with another request before.
    #[error("the idempotency key \"{0}\" was used for another request")]
    KeyReused(String),
}
