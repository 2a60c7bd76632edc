//! Flows as they are shown: to everybody the same, like the names and states of jobs.

use crate::model::flow::{Flow, FlowCounts, FlowKey};
use crate::wire::convert::timestamp;
use crate::wire::flow::{FlowCountsView, FlowView};
use crate::wire::job::OwnerView;

/// A flow, without its jobs.
#[must_use]
pub fn flow_view(key: &FlowKey, flow: &Flow) -> FlowView {
    let states = flow.counts.iter();
    FlowView {
        name: key.name.to_string(),
        owner: OwnerView {
            uid: key.uid,
            user: flow.user.clone(),
        },
        counts: counts_view(flow.sums()),
        states: states
            .map(|(state, count)| (state.as_str().to_owned(), *count))
            .collect(),
        percent: flow.percent(),
        eta_seconds: flow.eta_seconds(),
        first_submitted_at: flow.first_submitted_ms.map(timestamp),
        last_finished_at: flow.last_finished_ms.map(timestamp),
        jobs: Vec::new(),
        next: None,
    }
}

fn counts_view(counts: FlowCounts) -> FlowCountsView {
    FlowCountsView {
        total: counts.total,
        pending: counts.pending,
        running: counts.running,
        completed: counts.completed,
        failed: counts.failed,
        cancelled: counts.cancelled,
        skipped: counts.skipped,
    }
}
