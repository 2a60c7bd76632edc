//! Progress: what a job reports, and what is shown of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `POST /v1/jobs/{id}/progress`: any part may be given; what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressReport {
    /// Steps done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Steps in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<f64>,
    /// Percent done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Present epoch, counting from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Epochs in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_epochs: Option<f64>,
    /// Name of the present phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Steps per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What a step is (`it`, `B`, `samples`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The job's own estimate of what is left, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// Numbers of its own: loss, accuracy, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Named steps that changed, or are announced. Where all are known, percent follows from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSubmit>,
    /// The attempt that reports; the present one unless given. A report of another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// What a job says about a named part of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepSubmit {
    /// Its name.
    pub name: String,
    /// What sort of step it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where it is: `pending` (announced), `started`, `progress`, `completed` or `failed`.
    pub state: String,
    /// Percent done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Its share of the whole, beside that of the other steps; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A named part of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// What sort of step it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where it is: `pending` (announced), `started`, `progress`, `completed` or `failed`.
    pub state: String,
    /// Percent done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Its share of the whole, beside that of the other steps; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The progress of a job as it is known now. Absent is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressView {
    /// Percent done, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Steps done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Steps in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<f64>,
    /// Present epoch, counting from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Epochs in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_epochs: Option<f64>,
    /// Name of the present phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How often percent or the count began anew, which it may only do where this grows; absent is 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub phase_number: u32,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Steps per second, lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// What a step is.
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
    /// What the time left is known from: `rate` (its pace, measured), `claim` (its own word) or `history`
    /// (how long earlier runs of the same name or kind took).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_basis: Option<String>,
    /// How far it is was estimated from outside, because nobody says so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// The newest value of each metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Its named steps, in the order they began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// Of what more was reported than is kept: `steps`, `metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Where it comes from: `api`, `file`, `notify`, or the adapter that read the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<jiff::Timestamp>,
}

/// One point of an attempt's progress history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressPoint {
    /// When.
    pub time: jiff::Timestamp,
    /// What was known then; of its named steps only what they say now is kept.
    pub progress: ProgressView,
    /// Where this stands for several points: how far each metric went between them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spread: BTreeMap<String, MetricSpread>,
}

/// The values of a metric between two points of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSpread {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// How many.
    pub count: u64,
}

/// Answer of `GET /v1/jobs/{id}/progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressHistory {
    /// The attempt it is of.
    pub attempt: u32,
    /// The points, oldest first.
    pub items: Vec<ProgressPoint>,
}

/// Whether a number need not be written.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
pub(in crate::wire) fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Whether a flag need not be written.
pub(in crate::wire) fn is_false(flag: &bool) -> bool {
    !flag
}
