//! The streaming message of a job's progress: what is known of it, flat.

use crate::model::event::{GpuFigures, ProgressBody};
use crate::wire::convert::{Audience, progress_view, timestamp};
use crate::wire::message::{GpuFigure, ProgressMessage};
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
        gpu_memory_allocated_gb: metric(&["gpu_memory_allocated_gb"])
            .or_else(|| memory_gb(&body.gpus)),
        gpu_utilization_percent: metric(&["gpu_utilization_percent"])
            .or_else(|| utilization(&body.gpus)),
        gpus: body.gpus.iter().map(gpu_figure).collect(),
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

fn gpu_figure(figures: &GpuFigures) -> GpuFigure {
    GpuFigure {
        index: figures.index,
        uuid: figures.uuid.to_string(),
        utilization_percent: figures.utilization_percent,
        memory_bytes: figures.memory_bytes,
    }
}

/// What is held of all GPUs together, as far as it is known.
fn memory_gb(gpus: &[GpuFigures]) -> Option<f64> {
    let known = gpus.iter().filter_map(|gpu| gpu.memory_bytes);
    let bytes = known.reduce(u64::saturating_add)?;
    Some((bytes as f64 / 1e6).round() / 1e3)
}

/// The mean over all GPUs, where it is known of each.
fn utilization(gpus: &[GpuFigures]) -> Option<f64> {
    let known: Option<Vec<f64>> = gpus.iter().map(|gpu| gpu.utilization_percent).collect();
    let known = known.filter(|known| !known.is_empty())?;
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    Some((mean * 10.0).round() / 10.0)
}

fn first_of(metrics: &BTreeMap<String, f64>, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| metrics.get(*name).copied())
}
