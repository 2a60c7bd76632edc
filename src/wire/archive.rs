//! The archive as clients see it.

use crate::wire::values::Span;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/archive`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveView {
    /// The months, oldest first.
    pub items: Vec<ArchiveMonth>,
    /// Jobs in all of them.
    pub jobs: u64,
    /// Size of all files.
    pub bytes: u64,
    /// What is kept of what was measured, the finest first; it is no part of the months.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<ArchiveSamples>,
    /// Whether something is being archived now.
    pub running: bool,
    /// How the last run went, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<ArchiveRun>,
}

/// One month of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveMonth {
    /// As in `2026-11`.
    pub month: String,
    /// Jobs that finished in it.
    pub jobs: u64,
    /// Events that happened in it.
    pub events: u64,
    /// How many of the jobs have compressed logs.
    pub compressed: u64,
    /// Size of its file.
    pub bytes: u64,
    /// When its first job finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// When its last job finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// What is wrong with its file, where something is: its jobs are left out of lists then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What is kept of what was measured, as finely as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveSamples {
    /// `raw` as it was measured, else by the `minute` or by the `hour`.
    pub tier: String,
    /// Its files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// When the first of them begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// What one run has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveRun {
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Why it ended early; it goes on later from where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Jobs that were moved.
    pub jobs: u64,
    /// Events that were moved.
    pub events: u64,
    /// Jobs whose logs were compressed.
    pub logs_compressed: u64,
    /// Size of those logs before.
    pub log_bytes_before: u64,
    /// Size of those logs after.
    pub log_bytes_after: u64,
    /// Jobs whose logs were deleted.
    pub logs_deleted: u64,
    /// Months that were deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub months_deleted: Vec<String>,
}

/// Body of `POST /v1/archive/now`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveNow {
    /// Move what finished longer ago than this, instead of the configured age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Span>,
}

/// Body of `POST /v1/archive/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveVerify {
    /// Unpack every compressed log as well, which takes its time.
    #[serde(default)]
    pub logs: bool,
}

/// Answer of `POST /v1/archive/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveVerified {
    /// Months that were read through.
    pub months: u64,
    /// Files of what was measured that were read through.
    #[serde(default)]
    pub sample_files: u64,
    /// What is wrong; empty where all is well.
    pub faults: Vec<ArchiveFault>,
}

/// Something that is wrong with the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveFault {
    /// The month it is about; empty where it is about logs or samples.
    pub month: String,
    /// What is wrong, and where.
    pub what: String,
}

/// Body of `POST /v1/archive/restore`: one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRestore {
    /// Jobs to bring back from the archive, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<u64>,
    /// A month whose jobs are brought back, as in `2026-11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// Path of a file of the archive that was lost or moved away and is taken in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Answer of `POST /v1/archive/restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveRestored {
    /// Jobs that are back.
    pub jobs: Vec<u64>,
    /// Those of them whose environment was deleted: they would start with a clean one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_environment: Vec<u64>,
    /// Numbers that no job has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<u64>,
    /// The month that was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// How many archived jobs are known again with it.
    #[serde(default)]
    pub known_again: u64,
}
