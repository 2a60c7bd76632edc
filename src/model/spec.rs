//! What a user asked for: the command and how to run it.

use crate::model::group::DEFAULT_GROUP;
use crate::model::id::{EnvId, JobId};
use crate::model::limits::Limits;
use crate::model::retry::RetryPolicy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Priorities run from 0, the most urgent, to 9; this is the one nobody has to name.
pub const DEFAULT_PRIORITY: u8 = 5;

/// The least urgent priority.
pub const LAST_PRIORITY: u8 = 9;

/// How a job is asked to end before it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// Number of the signal that asks it to end.
    pub signal: i32,
    /// Time it then has before everything it started is killed, milliseconds.
    pub grace_ms: u64,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self {
            signal: 15,
            grace_ms: 10_000,
        }
    }
}

/// A job as it was asked for, complete: names are resolved, defaults are filled in.
///
/// The environment is not here: it is stored once per distinct content and named by `env`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// Name for people; the program's base name unless given.
    pub name: String,
    /// What sort of work it is: free text, for statistics, defaults and adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The queue it waits in.
    pub group: String,
    /// The flow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Free names and values for finding it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// 0 (most urgent) to 9.
    pub priority: u8,
    /// Environment of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvId>,
    /// Not started before this wall-clock time, milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<i64>,
    /// Started only after all of these completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after_ok: Vec<JobId>,
    /// Longest time an attempt may run, milliseconds; time frozen does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How it is asked to end.
    pub stop: StopPolicy,
    /// When it starts again by itself.
    pub retry: RetryPolicy,
    /// File its standard input is read from; none means an empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether it runs on a terminal of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// File creation mask of the submitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// File the job writes its progress to, where it is not the one stoked names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_file: Option<String>,
    /// Most output kept per attempt, bytes; the daemon's setting unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit_bytes: Option<u64>,
    /// Whether its output goes to the journal of the host, beside its log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub journal: bool,
    /// What each attempt may use.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

impl JobSpec {
    /// A spec with every default, for `command` in `cwd`.
    #[must_use]
    pub fn new(command: Vec<String>, cwd: impl Into<String>) -> Self {
        let name = default_name(&command);
        Self {
            command,
            cwd: cwd.into(),
            name,
            kind: None,
            group: DEFAULT_GROUP.to_owned(),
            flow: None,
            labels: BTreeMap::new(),
            priority: DEFAULT_PRIORITY,
            env: None,
            not_before_ms: None,
            after_ok: Vec::new(),
            timeout_ms: None,
            stop: StopPolicy::default(),
            retry: RetryPolicy::default(),
            stdin: None,
            tty: false,
            umask: None,
            progress_file: None,
            log_limit_bytes: None,
            journal: false,
            limits: Limits::default(),
        }
    }
}

/// The name of a job nobody named: the program's base name, or of the script an interpreter runs.
#[must_use]
pub fn default_name(command: &[String]) -> String {
    let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let program = command.first().map(base).unwrap_or_default();
    let interprets = ["python", "bash", "sh", "node", "perl", "ruby"]
        .iter()
        .any(|name| program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') == *name);
    let script = command
        .get(1)
        .filter(|argument| interprets && !argument.starts_with('-'));
    let name: String = script
        .map_or(program, base)
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    if name.is_empty() {
        "job".to_owned()
    } else {
        name
    }
}
