//! What jobs use, now and altogether.

use crate::wire::job::JobView;
use crate::wire::measured::{Measured, OfJob, OfJobGpu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the present attempt of a job uses. Absent is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageView {
    /// When this was measured.
    pub time: jiff::Timestamp,
    /// What was measured, GPUs taken together.
    #[serde(flatten)]
    pub measured: Measured<OfJob>,
    /// The GPUs that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<JobGpuView>,
}

/// What an attempt uses of a GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobGpuView {
    /// Its index; absent where it was used in the past and is not there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Its identity.
    pub uuid: String,
    /// How well its share is known: `measured` (process by process), `sole` (nobody else is on it), `memory_only`
    /// or `unavailable`; of the past `recorded`, as that is not kept.
    pub quality: String,
    /// How much.
    #[serde(flatten)]
    pub measured: Measured<OfJobGpu>,
}

impl JobGpuView {
    /// What people call it: its index, else its identity.
    #[must_use]
    pub fn label(&self) -> String {
        let index = self.index.map(|index| index.to_string());
        index.unwrap_or_else(|| self.uuid.clone())
    }
}

/// Body of a `job/N/metrics` event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMetrics {
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// What it uses, as in the job itself.
    #[serde(flatten)]
    pub usage: UsageView,
}

/// An active job with what it uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationView {
    /// What it does, uses and needs yet, in one sentence for people.
    pub summary: String,
    /// The job, with its progress and usage.
    #[serde(flatten)]
    pub job: JobView,
}
