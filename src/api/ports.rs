//! The border of the API: what it reads from the store and from the logs, and what it is told of
//! the daemon's health. The daemon implements these with the adapters, tests with lists.
//!
//! Reads block, so they run on threads for blocking work; none takes longer than one short transaction.

use crate::model::attempt::Attempt;
use crate::model::event::Event;
use crate::model::group::Group;
use crate::model::id::{AttemptId, EnvId, JobId, Seq};
use crate::model::job::Job;
use crate::model::state::StateName;
use crate::wire::service::ComponentView;
use std::future::Future;
use std::pin::Pin;

/// Why something stored could not be read: a sentence for people, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadTrouble(pub String);

/// Which jobs a list shows. What is empty or absent does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states.
    pub states: Vec<StateName>,
    /// Of one of these users.
    pub uids: Vec<u32>,
    /// Of one of these users, by name.
    pub users: Vec<String>,
    /// In one of these groups.
    pub groups: Vec<String>,
    /// Of one of these kinds.
    pub kinds: Vec<String>,
    /// With all of these labels; without a value, any value will do.
    pub labels: Vec<(String, Option<String>)>,
    /// Of this flow.
    pub flow: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// Submitted at this time or later, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Submitted before this time.
    pub until_ms: Option<i64>,
}

/// One page of a list, newest job first.
#[derive(Clone, Debug, PartialEq)]
pub struct JobPage {
    /// The jobs, each with its newest attempt.
    pub items: Vec<Job>,
    /// Whether older ones follow.
    pub more: bool,
    /// The newest event that the page shows.
    pub as_of: Seq,
}

/// A job with its history.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// The job, with its newest attempt.
    pub job: Job,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// The newest event that the record shows.
    pub as_of: Seq,
}

/// A group with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// The group.
    pub group: Group,
    /// Jobs that hold a place.
    pub active: u64,
    /// Jobs that wait.
    pub waiting: u64,
}

/// One stored point of an attempt's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressRecord {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// JSON of a [`crate::model::progress::Progress`].
    pub body: String,
}

/// What is stored. Every call sees one state of the store.
pub trait Archive: Send + Sync + 'static {
    /// Jobs with numbers below `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`ReadTrouble`] when the store cannot be read; so for every call.
    fn jobs(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, ReadTrouble>;

    /// A job with its attempts.
    fn job(&self, id: JobId) -> Result<Option<JobRecord>, ReadTrouble>;

    /// Whose a job is: all that is needed before a command.
    fn owner(&self, id: JobId) -> Result<Option<u32>, ReadTrouble>;

    /// Names of the variables of an environment, in order.
    fn environment_names(&self, id: &EnvId) -> Result<Vec<String>, ReadTrouble>;

    /// The groups by name; cheap.
    fn groups(&self) -> Result<Vec<Group>, ReadTrouble>;

    /// The groups by name, with how many jobs each has.
    fn group_records(&self) -> Result<Vec<GroupRecord>, ReadTrouble>;

    /// Durable events after `after` up to and with `up_to`, at most `limit`, without a hole.
    fn events(&self, after: Seq, up_to: Seq, limit: usize) -> Result<Vec<Event>, ReadTrouble>;

    /// Progress of an attempt in a time range, oldest first, thinned to at most `most` points.
    fn progress(
        &self,
        attempt: AttemptId,
        since_ms: Option<i64>,
        until_ms: Option<i64>,
        most: usize,
    ) -> Result<Vec<ProgressRecord>, ReadTrouble>;
}

/// Which streams of a job's output are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSelection {
    /// Standard output alone.
    Stdout,
    /// Standard error alone.
    Stderr,
    /// Both, in the order they were written.
    Both,
}

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// At the first byte.
    Start,
    /// At the last so many lines.
    Tail(u64),
    /// At what was written then, milliseconds since 1970 UTC.
    Since(i64),
    /// Where another reader stood, in its own words ([`LogReader::cursor`]).
    Cursor(String),
}

/// What was written, or lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogContent {
    /// Bytes as the job wrote them.
    Bytes(Vec<u8>),
    /// So many bytes were not kept.
    Gap(u64),
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// Its place in that stream, bytes.
    pub offset: u64,
    /// When it was written, milliseconds since 1970 UTC.
    pub at_wall_ms: i64,
    /// What it holds.
    pub content: LogContent,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogTrouble {
    /// The cursor is not one.
    #[error("\"{0}\" is not a cursor of a log")]
    BadCursor(String),
    /// It could not be read.
    #[error("the log cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// A place in the output of one attempt.
pub trait LogReader: Send + 'static {
    /// The next piece of at most `max_bytes`; `None` when there is no more now.
    ///
    /// # Errors
    /// What reading the files gave.
    fn next_chunk(&mut self, max_bytes: usize) -> std::io::Result<Option<LogChunk>>;

    /// Where this reader stands, without line ends or control characters.
    fn cursor(&self) -> String;
}

/// Tells that there may be more output.
pub trait LogWatch: Send + 'static {
    /// Ends after the next change since the last call; a change between two calls counts.
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The output of attempts.
pub trait LogStore: Send + Sync + 'static {
    /// Opens the output of an attempt. One without output, or that never started, is empty.
    ///
    /// # Errors
    /// [`LogTrouble`].
    fn open(
        &self,
        attempt: AttemptId,
        selection: LogSelection,
        start: &LogStart,
    ) -> Result<Box<dyn LogReader>, LogTrouble>;

    /// Watches the output of an attempt, from before anything that is read after this call.
    fn watch(&self, attempt: AttemptId) -> Box<dyn LogWatch>;
}

/// How well the parts of the daemon are.
pub trait HealthSource: Send + Sync + 'static {
    /// Every part but the API itself.
    fn components(&self) -> Vec<ComponentView>;
}
