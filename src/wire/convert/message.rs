//! The streaming message of a job's progress: what is known of it, flat.

use crate::model::event::ProgressBody;
use crate::wire::convert::{Audience, progress_view, timestamp};
use crate::wire::message::ProgressMessage;
use std::collections::BTreeMap;

/// The message that tells of `body`, which happened at `at_ms`.
#[must_use]
pub fn progress_message(body: &ProgressBody, at_ms: i64, audience: Audience) -> ProgressMessage {
    let view = progress_view(&body.progress, audience);
    let error = body.progress.error.clone();
    let metric = |names: &[&str]| first_of(&view.metrics, names);
    ProgressMessage {
        job: body.job.0,
        name: body.name.clone(),
        attempt: body.attempt,
        status: body.status.as_str().to_owned(),
        progress: view.percent,
        current_epoch: view.epoch,
        total_epochs: view.total_epochs,
        current_step: view.step,
        total_steps: view.total_steps,
        rate: view.rate,
        eta_seconds: view.eta_seconds,
        eta_low_seconds: view.eta_low_seconds,
        eta_high_seconds: view.eta_high_seconds,
        eta_basis: view.eta_basis,
        estimated: view.estimated,
        loss: metric(&["loss"]),
        eval_loss: metric(&["eval_loss"]),
        // Trainers that write a file say the first, those that print for people the second.
        learning_rate: metric(&["learning_rate", "lr"]),
        samples_per_second: metric(&["samples_per_second"]),
        gpu_memory_allocated_gb: metric(&["gpu_memory_allocated_gb"]),
        gpu_utilization_percent: metric(&["gpu_utilization_percent"]),
        error: error.filter(|_| audience == Audience::Owner),
        timestamp: timestamp(at_ms),
        phase: view.phase,
        phase_number: view.phase_number,
        message: view.message,
        unit: view.unit,
        metrics: view.metrics,
        steps: view.steps,
        left_out: view.left_out,
        source: view.source,
    }
}

fn first_of(metrics: &BTreeMap<String, f64>, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| metrics.get(*name).copied())
}
