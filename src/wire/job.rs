//! Jobs as clients see them. Absent is absent: never `null`, and never 0 for unknown.

use crate::wire::limits::LimitsView;
use crate::wire::progress::ProgressView;
use crate::wire::usage::UsageView;
use crate::wire::values::{Cursor, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who a job belongs to, and as whom it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    /// User id.
    pub uid: u32,
    /// Login name.
    pub user: String,
}

/// How an attempt's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExitView {
    /// Exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Number of the signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether a core was dumped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub core_dumped: bool,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureView {
    /// Stable class: `exit`, `signal`, `oom`, `timeout`, `stalled`, `spawn`, `gpu`, `dependency`,
    /// `host_lost`, `resource_limit`, `budget`.
    pub class: String,
    /// One sentence for people; only its owner and administrators see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One start of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// Its number, counting from 1.
    pub attempt: u32,
    /// Process id of its main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When it got its place.
    pub claimed_at: jiff::Timestamp,
    /// When its command ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// When its main process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<jiff::Timestamp>,
    /// What keeps its processes together: `cgroup` or `tree`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<String>,
    /// How its main process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitView>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<AttemptUsage>,
    /// What it used of GPUs and energy, where it used any that could be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_usage: Option<AttemptGpuUsage>,
    /// Its last progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
}

/// What an attempt used of GPUs and energy, from its start to its end. Absent is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptGpuUsage {
    /// How long it held GPUs, of all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_seconds: Option<f64>,
    /// How much these computed for it meanwhile, in the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_utilization_percent: Option<f64>,
    /// Energy of GPUs and CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// Energy of CPUs, by its share of their time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_energy_joules: Option<f64>,
    /// Each GPU.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<AttemptGpu>,
}

/// What an attempt used of one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptGpu {
    /// Which GPU.
    pub uuid: String,
    /// How long it held it.
    pub seconds: f64,
    /// How much it computed meanwhile, in the mean, as far as that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_utilization_percent: Option<f64>,
    /// The most memory that it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Its part of the energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
}

/// What an attempt used from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptUsage {
    /// CPU time in user mode.
    pub user_cpu_seconds: f64,
    /// CPU time in the kernel.
    pub system_cpu_seconds: f64,
    /// Largest resident set of one process.
    pub max_rss_bytes: u64,
    /// Processes left behind by the main process, and killed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub killed_leftovers: u32,
    /// Output that was not kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_output_bytes: u64,
    /// CPU time of everything it forked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Time in which a limit kept it from running, of all CPUs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
    /// The most memory that all its processes held at once, without the page cache: out of what the kernel counted, or
    /// else as far as it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The most that was charged to its cgroup at once, page cache included, as its limit counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_charged_peak_bytes: Option<u64>,
    /// Read from disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Written to disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A job. Fields that the caller may not see are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Its number.
    pub id: u64,
    /// Its name; absent where the caller may not see it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What sort of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The queue it belongs to.
    pub group: String,
    /// The flow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Whose it is.
    pub owner: OwnerView,
    /// `held`, `queued`, `starting`, `running`, `paused`, `stopping`, `backoff`, `completed`,
    /// `failed`, `cancelled`, `timed_out`, `skipped` or `lost`; more may come.
    pub state: String,
    /// Why it waits, where it is queued or held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Program and arguments; only for its owner and administrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Working directory; only for its owner and administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Names of the variables of its environment; only for its owner, and only for one job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
    /// 0 (most urgent) to 9; absent where the caller may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Free names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was submitted.
    pub created_at: jiff::Timestamp,
    /// Not started before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<jiff::Timestamp>,
    /// When its present attempt began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// When it reached its final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<jiff::Timestamp>,
    /// When it starts again by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<jiff::Timestamp>,
    /// Number of its present attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Main process of the present attempt, while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Every attempt, oldest first; only when one job is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
    /// How its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitView>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// What its present attempt uses, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// Jobs it waits for, or waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<u64>,
    /// Longest time an attempt may run, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many attempts it makes by itself, where more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Whether it runs on a terminal of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// What each attempt may use, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsView>,
}

/// Answer of `GET /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobList {
    /// The jobs, newest first.
    pub items: Vec<JobView>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The state the list shows: a watch that starts after this misses nothing.
    pub as_of: Cursor,
    /// Months of the archive that cannot be read: their jobs are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable_months: Vec<String>,
}

/// Answer of `POST /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The new jobs, in the order of the request.
    pub ids: Vec<u64>,
    /// Whether the same request had been accepted before, and these are its jobs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}
