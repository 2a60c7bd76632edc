//! The body of a `progress` event: everything that is known of how far a job is, flat, under the names that a
//! progress file uses. What is unknown is absent.

use crate::wire::progress::{ProgressView, StepView, is_false, is_zero};
use crate::wire::values::Number;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Body of a `progress` event. Absent is unknown.
///
/// Of a job of somebody else one sees how far it is, but neither words nor numbers of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressMessage {
    /// The job.
    pub job: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Which start of it.
    pub attempt: u32,
    /// The state of the job: `running`, `paused`, …
    pub status: String,
    /// Percent done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Present epoch, counting from 1.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "whole"
    )]
    pub current_epoch: Option<f64>,
    /// Epochs in all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "whole"
    )]
    pub total_epochs: Option<f64>,
    /// Steps done.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "whole"
    )]
    pub current_step: Option<f64>,
    /// Steps in all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "whole"
    )]
    pub total_steps: Option<f64>,
    /// Name of the present phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How often `progress` or the count began anew, which it may only do where this grows; absent is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub phase_number: u32,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Steps per second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What a step is (`it`, `B`, `samples`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Time left, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// One in ten times it takes less than this, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_low_seconds: Option<f64>,
    /// One in ten times it takes more than this, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_high_seconds: Option<f64>,
    /// What the time left is known from: `rate`, `claim` or `history`, as in a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_basis: Option<String>,
    /// How far it is was estimated from outside, because nobody says so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// The metric `loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The metric `eval_loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// The metric `learning_rate`, or else `lr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The metric `samples_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples_per_second: Option<f64>,
    /// GPU memory that the job holds, GB (10⁹ bytes): as it reports it itself, else as it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_allocated_gb: Option<f64>,
    /// How busy its GPUs are for it, percent, in the mean: reported or measured as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_utilization_percent: Option<f64>,
    /// What it uses of each GPU, as measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuFigure>,
    /// The newest value of every metric, the ones above among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Its named steps, in the order they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// Of what more was reported than is kept: `steps`, `metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What the job says went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where it comes from: `api`, `file`, `notify`, or the adapter that read the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When this was known.
    pub timestamp: jiff::Timestamp,
}

/// What a job uses of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuFigure {
    /// Index of the GPU.
    pub index: u32,
    /// Its identity.
    #[serde(default)]
    pub uuid: String,
    /// How much it computes for the job, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<f64>,
    /// Memory that the job holds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl ProgressMessage {
    /// The same as it stands in a job.
    #[must_use]
    pub fn into_view(self) -> ProgressView {
        ProgressView {
            percent: self.progress,
            step: self.current_step,
            total_steps: self.total_steps,
            epoch: self.current_epoch,
            total_epochs: self.total_epochs,
            phase: self.phase,
            phase_number: self.phase_number,
            message: self.message,
            rate: self.rate,
            unit: self.unit,
            eta_seconds: self.eta_seconds,
            eta_low_seconds: self.eta_low_seconds,
            eta_high_seconds: self.eta_high_seconds,
            eta_basis: self.eta_basis,
            estimated: self.estimated,
            metrics: self.metrics,
            steps: self.steps,
            left_out: self.left_out,
            source: self.source,
            updated_at: Some(self.timestamp),
        }
    }
}

/// Writes whole numbers as such: whoever counts expects `500`, not `500.0`.
#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn whole<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(Number).serialize(serializer)
}
