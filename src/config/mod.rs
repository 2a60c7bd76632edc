//! Configuration: what the files say, and what the program may rely on ([`Settings`]).
//!
//! Every setting has a default, so nothing here is an `Option`. Files are put one over the other
//! ([`load`]); what they say wrongly is reported all at once, each with its file, line and key.

mod defaults;
mod fragment;
mod keys;
pub mod load;
pub mod paths;
mod validate;
mod values;

pub use defaults::session_variables;

use crate::model::access::Access;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The daemon itself.
    pub daemon: DaemonSettings,
    /// Who may use the daemon of the host, what he learns of others there, and how much he may have.
    pub access: Access,
    /// What jobs get unless they say otherwise.
    pub jobs: JobSettings,
    /// Groups that are made or changed at start, by name.
    pub groups: BTreeMap<String, GroupSettings>,
    /// How progress is told, and found where a job says nothing.
    pub progress: ProgressSettings,
    /// What is measured, and how often.
    pub sampling: SamplingSettings,
    /// The socket API.
    pub api: ApiSettings,
    /// D-Bus.
    pub dbus: DbusSettings,
    /// Events.
    pub events: EventSettings,
    /// The store.
    pub store: StoreSettings,
    /// How long what is over is kept, and where.
    pub retention: RetentionSettings,
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// Where what must not be lost is kept.
    pub state_dir: PathBuf,
    /// Where the socket is.
    pub runtime_dir: PathBuf,
    /// What is logged: a level, or levels by subsystem.
    pub log: String,
}

/// What jobs get unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// Places of the group `default`; 0 means as many as the host has CPUs.
    pub default_parallelism: u32,
    /// Time between the signal that asks a job to end and its kill.
    pub default_grace: Duration,
    /// Most output kept per attempt.
    pub log_limit_bytes: u64,
    /// Whether all output goes to the journal of the host too.
    pub journal: bool,
    /// What keeps the processes of an attempt together.
    pub containment: ContainmentChoice,
    /// What becomes of running jobs when somebody stops the daemon.
    pub on_stop: OnStop,
    /// The service of PAM that opens a session for every attempt; empty for none. It counts for the daemon of the host alone.
    pub pam: String,
    /// Number of the signal that asks a job to end.
    pub stop_signal: i32,
    /// Variables the client does not send, because they mean something in its session only. A name that
    /// ends in `*` stands for every name that begins so.
    pub session_variables: Vec<String>,
}

/// What becomes of running jobs when somebody stops the daemon, and does not only start it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They go on, and the next daemon adopts them.
    Continue,
    /// They end, and are cancelled.
    Cancel,
    /// They end, and begin again with the next daemon.
    Requeue,
}

/// What keeps the processes of an attempt together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainmentChoice {
    /// The best there is on this host.
    Auto,
    /// A unit of systemd; jobs fail where none can be had.
    Service,
    /// A cgroup; jobs fail where none can be made.
    Cgroup,
    /// The tree of processes, although there may be cgroups.
    Tree,
}

/// A group that is made or changed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How many of its jobs may hold a place at once.
    pub parallelism: u32,
}

/// How progress is told, and found where a job says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressSettings {
    /// Whether jobs that say nothing are judged by the files that they have open.
    pub open_files: bool,
    /// How long an attempt has run before its files are looked at.
    pub open_files_after: Duration,
    /// Time between two looks while a file moves.
    pub open_files_interval: Duration,
    /// Names of the programs whose files tell how far a job is.
    pub open_files_programs: Vec<String>,
    /// Kinds of jobs of which the files of every program do.
    pub open_files_kinds: Vec<String>,
    /// Shortest time between two events of one job's progress.
    pub interval: Duration,
}

/// What is measured, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplingSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// Time between two samples of the host while jobs run.
    pub host_interval: Duration,
    /// Time between two samples of the attempts that run.
    pub job_interval: Duration,
    /// Time between two samples of the GPUs while jobs run.
    pub gpu_interval: Duration,
    /// The same, of everything, while somebody looks.
    pub watched_interval: Duration,
    /// The same while no job runs and nobody looks.
    pub idle_interval: Duration,
    /// The same on battery, while nobody looks.
    pub battery_interval: Duration,
    /// Whether GPUs are looked for.
    pub gpus: bool,
    /// How long a GPU may take to answer.
    pub gpu_timeout: Duration,
    /// The library that speaks to NVIDIA's driver; empty is where the host has it.
    pub nvml_library: String,
    /// How many of the busiest processes that belong to no job are named.
    pub busiest: u32,
    /// File systems whose space is looked at instead of the local ones; none is the local ones.
    pub mounts: Vec<String>,
}

/// The socket API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Largest body of a request.
    pub max_body_bytes: u64,
    /// Bodies of one user that are being received.
    pub max_bodies_per_uid_bytes: u64,
    /// Largest head of a request.
    pub max_head_bytes: u64,
    /// Jobs of one request.
    pub max_jobs_per_request: u32,
    /// Connections of all users.
    pub max_connections: u32,
    /// How many of these are kept for root.
    pub max_connections_for_root: u32,
    /// Connections of one user.
    pub max_connections_per_uid: u32,
    /// Event streams of one user.
    pub max_streams_per_uid: u32,
    /// Event streams of one job.
    pub max_streams_per_job: u32,
    /// Channels, types or owners that one stream names.
    pub max_channels_per_stream: u32,
    /// Whether root may take more than the share of one user.
    pub root_is_exempt: bool,
    /// Requests of one user, per second.
    pub requests_per_second_per_uid: u32,
    /// How many of them may come at once.
    pub requests_at_once_per_uid: u32,
    /// Jobs that one user submits, per second.
    pub submissions_per_second_per_uid: u32,
    /// How many of them may come at once.
    pub submissions_at_once_per_uid: u32,
    /// Reads of the store and of logs that go on at once.
    pub max_reads: u32,
    /// How many of them may be of one user.
    pub max_reads_per_uid: u32,
    /// Time a client has to send the head of a request.
    pub header_timeout: Duration,
    /// Time a client has to send the body of a request.
    pub body_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_stall: Duration,
    /// After how much silence a stream says that it is alive.
    pub heartbeat: Duration,
    /// How old the cursor of a stream may get while nothing comes that has one.
    pub bookmark: Duration,
    /// Lifecycle events that may wait for one slow client.
    pub client_queue: u32,
    /// Channels whose newest telemetry may wait for one slow client.
    pub client_channels: u32,
    /// Events of the history that one stream gets per second.
    pub replay_per_second: u32,
}

/// D-Bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbusSettings {
    /// Whether the daemon is on the bus, where there is one.
    pub enabled: bool,
}

/// Events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// Durable events kept in memory for replay.
    pub ring: u32,
    /// Durable events kept in the main database.
    pub keep: u64,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Space kept in reserve for a full disk; 0 keeps none.
    pub ballast_bytes: u64,
    /// How long an idempotency key is remembered.
    pub key_age: Duration,
}

/// How long what is over is kept, and where. An age of nothing stands for "never".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Age at which finished jobs and events move into the archive.
    pub archive_after: Duration,
    /// Age at which months of the archive are deleted, with the logs of their jobs.
    pub delete_archived_after: Duration,
    /// Size of the archive beyond which its oldest month is deleted; 0 is no limit.
    pub archive_max_bytes: u64,
    /// Age at which the logs of archived jobs are compressed.
    pub logs_after: Duration,
    /// Age at which the logs of archived jobs are deleted.
    pub delete_logs_after: Duration,
    /// Size of the logs of archived jobs beyond which those of the oldest are deleted; 0 is no limit.
    pub logs_max_bytes: u64,
    /// Age at which samples are deleted as they were measured, and are left by the minute.
    pub samples_raw: Duration,
    /// Age at which they are deleted by the minute, and are left by the hour.
    pub samples_minute: Duration,
    /// Age at which they are deleted by the hour.
    pub samples_hour: Duration,
    /// Size of all samples beyond which the oldest of the finest are deleted; 0 is no limit.
    pub samples_max_bytes: u64,
}

/// Whether `name` is one of `patterns`; one that ends in `*` stands for every name that begins so.
#[must_use]
pub fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        })
}

impl Settings {
    /// Every setting as `KEY = VALUE`, by key: what `--check-config` shows.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        keys::texts(self)
            .into_iter()
            .map(|(name, text)| format!("{name} = {text}"))
            .collect()
    }

    /// What differs between two settings, by what it takes to apply it.
    #[must_use]
    pub fn live_changes(old: &Self, new: &Self) -> LiveChanges {
        let (old, new) = (keys::texts(old), keys::texts(new));
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut changes = LiveChanges::default();
        for name in names {
            if old.get(name) == new.get(name) {
                continue;
            }
            if keys::is_live(name) {
                changes.applied.push(name.clone());
            } else {
                changes.needs_restart.push(name.clone());
            }
        }
        changes
    }
}

/// What a reload does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChanges {
    /// Keys whose new value holds from now on.
    pub applied: Vec<String>,
    /// Keys whose new value holds after a restart of the daemon.
    pub needs_restart: Vec<String>,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file and line that say it; `None` where it follows from defaults.
    pub place: Option<Place>,
    /// The key, as `section.key`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Where something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place { file, line: 0 }) => write!(f, "{}: ", file.display())?,
            Some(Place { file, line }) => write!(f, "{}:{line}: ", file.display())?,
            None => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong with the configuration, in the order it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the configuration:\n{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

#[cfg(test)]
mod tests;
