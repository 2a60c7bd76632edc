//! Runs side by side, and where their time went.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// What they are compared over: `time` (seconds since each began to run), `step` or `percent`.
    pub x: String,
    /// The runs, in the order they were asked for.
    pub runs: Vec<Run>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The job.
    pub job: u64,
    /// Which start of it.
    pub attempt: u32,
    /// Its name.
    pub name: String,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// What was asked for of it.
    pub quantities: Vec<RunQuantity>,
}

/// One quantity of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunQuantity {
    /// Its name: `percent`, `metric.loss`, `cpu.percent`, …
    pub name: String,
    /// What it is counted in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its values, along the axis; all runs are cut into the same cells.
    pub points: Vec<RunPoint>,
}

/// The values of a quantity in one cell of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunPoint {
    /// Where the newest of them is on the axis.
    pub x: f64,
    /// The newest.
    pub last: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their mean.
    pub mean: f64,
    /// How many there are.
    pub count: u64,
}

/// Answer of `GET /v1/jobs/{id}/phases`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseList {
    /// Which start of the job.
    pub attempt: u32,
    /// Its parts, the one that took longest first.
    pub items: Vec<PhaseView>,
}

/// How long an attempt was in one of its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseView {
    /// What sort of part: `phase`, `epoch` or `step`.
    pub kind: String,
    /// Its name, or the number of the epoch.
    pub name: String,
    /// When it began first.
    pub began_at: jiff::Timestamp,
    /// How often the attempt was in it.
    pub times: u32,
    /// How long in all, seconds.
    pub total_seconds: f64,
    /// How long at most without a break, seconds.
    pub longest_seconds: f64,
    /// Its part of the time that the attempt has run, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
}
