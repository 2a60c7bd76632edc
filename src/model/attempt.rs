//! One start of a job: who ran it, when, and how it ended.

use crate::model::failure::Ending;
use crate::model::id::AttemptId;
use crate::model::progress::Progress;
use crate::model::tally::Tally;
use crate::model::time::Stamp;
use serde::{Deserialize, Serialize};

/// Identity of a process within one boot of the host. A bare pid is never enough: pids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
}

/// What an attempt used, from its first to its last process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, milliseconds.
    pub user_cpu_ms: u64,
    /// CPU time in the kernel, milliseconds.
    pub system_cpu_ms: u64,
    /// Largest resident set of one process, bytes.
    pub max_rss_bytes: u64,
    /// Processes that were still there when the main process ended, and were killed.
    pub killed_leftovers: u32,
    /// Output bytes that were not kept.
    pub dropped_output_bytes: u64,
    /// CPU time, microseconds, as exactly as the kernel knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Time in which a limit kept it from running, of all CPUs together, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// The most memory that all its processes held at once, bytes; absent where the kernel did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The most that was charged to it at once, page cache included, bytes; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_charged_peak_bytes: Option<u64>,
    /// Read from disks, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Written to disks, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
    /// Processes that the kernel killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
}

/// One start of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Job and number.
    pub id: AttemptId,
    /// The boot of the host it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// When it was given its place.
    pub claimed: Stamp,
    /// When its command ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Stamp>,
    /// When its main process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Stamp>,
    /// The main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<Process>,
    /// What keeps its processes together, in words (`cgroup`, `tree`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What it used, known at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What it used that the kernel does not count: GPUs and energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Box<Tally>>,
    /// Its last progress; while it runs the newest is in the engine, not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Box<Progress>>,
}

impl Attempt {
    /// An attempt that has its place and was not started yet.
    #[must_use]
    pub fn claimed(id: AttemptId, boot_id: &str, now: Stamp) -> Self {
        Self {
            id,
            boot_id: boot_id.to_owned(),
            claimed: now,
            started: None,
            ended: None,
            main: None,
            containment: None,
            ending: None,
            usage: None,
            tally: None,
            progress: None,
        }
    }
}
