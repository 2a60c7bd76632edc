//! Series: one measured quantity over time, each with a name that says what it is of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A series that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesInfo {
    /// Its name: `job/42/percent`, `step`, `epoch`, `rate`, `eta_seconds`, and `job/42/metric.NAME` for every
    /// metric that the job reports.
    pub name: String,
    /// What it is counted in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// When its oldest value is of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<jiff::Timestamp>,
    /// When its newest value is of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<jiff::Timestamp>,
}

/// Answer of `GET /v1/series`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesList {
    /// The series.
    pub items: Vec<SeriesInfo>,
}

/// What a series was during a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesPoint {
    /// When its newest value was seen.
    pub time: jiff::Timestamp,
    /// The newest value.
    pub last: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The mean of all values.
    pub mean: f64,
    /// How many values there are.
    pub count: u64,
    /// Half of them are no larger; where percentiles were asked for, and about 2 % off at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 95 of a hundred are no larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// 99 of a hundred are no larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

/// A series over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// What it is counted in, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its points, oldest first; none where nothing was measured.
    pub points: Vec<SeriesPoint>,
}

/// Answer of `GET /v1/series/query`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesData {
    /// The series, in the order they were asked for.
    pub items: Vec<Series>,
}
