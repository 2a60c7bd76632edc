//! Flows: the jobs that one owner submitted under one name, and how far they are together.

use crate::wire::job::{JobView, OwnerView};
use crate::wire::values::Cursor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The jobs of a flow by what has become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowCountsView {
    /// All of them.
    pub total: u64,
    /// Not started yet, or between two attempts.
    pub pending: u64,
    /// Being started, running, paused or being ended.
    pub running: u64,
    /// Ended well.
    pub completed: u64,
    /// Failed, timed out, or lost.
    pub failed: u64,
    /// Ended on request.
    pub cancelled: u64,
    /// Never ran, because a job they waited for ended badly.
    pub skipped: u64,
}

/// A flow. Also the body of a `flow` event, which comes on `flow/NAME/progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowView {
    /// Its name.
    pub name: String,
    /// Whose it is: several users may use one name.
    pub owner: OwnerView,
    /// How many jobs it has, and what has become of them.
    pub counts: FlowCountsView,
    /// How many jobs are in which state.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, u64>,
    /// The mean over its jobs: 100 for one that completed, the percent of one that runs, as far as it is known, and 0
    /// for every other. One that failed is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// What the longest of its running jobs has left, seconds. Absent while a job waits or a running one does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// When the first of its jobs was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_submitted_at: Option<jiff::Timestamp>,
    /// When the last of those ended that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_finished_at: Option<jiff::Timestamp>,
    /// Its jobs, newest first, where one flow is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobView>,
    /// Where there are more jobs: the `cursor` with which `GET /v1/jobs?flow=NAME&owner=UID` goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Answer of `GET /v1/flows`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowList {
    /// The flows, the one with the newest job first.
    pub items: Vec<FlowView>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The newest event that the list shows the effect of.
    pub as_of: Cursor,
}
