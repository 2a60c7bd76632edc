//! Progress over time: points of a curve, whole or in parts, and points of a series.

use crate::model::curve::{CurvePoint, Spread};
use crate::model::phases::{Part, PartTime};
use crate::wire::comparison::{PhaseView, RunPoint};
use crate::wire::convert::{Audience, progress_view, timestamp};
use crate::wire::progress::{MetricSpread, ProgressPoint, ProgressView};
use crate::wire::series::SeriesPoint;
use std::collections::BTreeSet;

/// A point of a curve as `audience` sees it, with nothing but `fields` where some are given.
#[must_use]
pub fn progress_point(
    point: &CurvePoint,
    audience: Audience,
    fields: Option<&BTreeSet<String>>,
) -> ProgressPoint {
    let view = progress_view(&point.progress, audience);
    let view = match fields {
        Some(fields) => only(view, fields),
        None => view,
    };
    let spread = point.spread.iter().filter(|(name, spread)| {
        // One value is what the point shows.
        view.metrics.contains_key(*name) && spread.count > 1
    });
    let spread = spread.map(|(name, spread)| (name.clone(), metric_spread(spread)));
    ProgressPoint {
        time: timestamp(point.at_ms),
        spread: spread.collect(),
        progress: view,
    }
}

fn metric_spread(spread: &Spread) -> MetricSpread {
    MetricSpread {
        min: spread.min,
        max: spread.max,
        mean: spread.mean(),
        count: spread.count,
    }
}

/// Progress without what is not among `fields`: names of its own fields, or of metrics.
fn only(view: ProgressView, fields: &BTreeSet<String>) -> ProgressView {
    let has = |name: &str| fields.contains(name);
    let mut metrics = view.metrics;
    metrics.retain(|name, _| has("metrics") || has(name) || has(&format!("metric.{name}")));
    ProgressView {
        percent: view.percent.filter(|_| has("percent")),
        step: view.step.filter(|_| has("step")),
        total_steps: view.total_steps.filter(|_| has("total_steps")),
        epoch: view.epoch.filter(|_| has("epoch")),
        total_epochs: view.total_epochs.filter(|_| has("total_epochs")),
        phase: view.phase.filter(|_| has("phase")),
        phase_number: if has("phase_number") {
            view.phase_number
        } else {
            0
        },
        message: view.message.filter(|_| has("message")),
        rate: view.rate.filter(|_| has("rate")),
        unit: view.unit.filter(|_| has("unit")),
        eta_seconds: view.eta_seconds.filter(|_| has("eta_seconds")),
        eta_low_seconds: view.eta_low_seconds.filter(|_| has("eta_low_seconds")),
        eta_high_seconds: view.eta_high_seconds.filter(|_| has("eta_high_seconds")),
        eta_basis: view.eta_basis.filter(|_| has("eta_basis")),
        estimated: view.estimated,
        metrics,
        steps: if has("steps") { view.steps } else { Vec::new() },
        left_out: if has("left_out") {
            view.left_out
        } else {
            Vec::new()
        },
        source: view.source.filter(|_| has("source")),
        updated_at: view.updated_at.filter(|_| has("updated_at")),
    }
}

/// A point of a series.
#[must_use]
pub fn series_point(at_ms: i64, spread: &Spread) -> SeriesPoint {
    SeriesPoint {
        time: timestamp(at_ms),
        last: spread.last,
        min: spread.min,
        max: spread.max,
        mean: spread.mean(),
        count: spread.count,
        p50: None,
        p95: None,
        p99: None,
    }
}

/// The values of a quantity of a run in one cell of the axis.
#[must_use]
pub fn run_point(x: f64, spread: &Spread) -> RunPoint {
    RunPoint {
        x,
        last: spread.last,
        min: spread.min,
        max: spread.max,
        mean: spread.mean(),
        count: spread.count,
    }
}

/// A part of an attempt that has run for `ran_ms`.
#[must_use]
pub fn phase_view(time: &PartTime, ran_ms: Option<i64>) -> PhaseView {
    let (kind, name) = match &time.part {
        Part::Phase(name) => ("phase", name.clone()),
        Part::Epoch(number) => ("epoch", number.to_string()),
        Part::Step(name) => ("step", name.clone()),
    };
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let share = |ran_ms: i64| time.total_ms as f64 / ran_ms as f64 * 100.0;
    let percent = ran_ms.filter(|ran_ms| *ran_ms > 0).map(share);
    PhaseView {
        kind: kind.to_owned(),
        name,
        began_at: timestamp(time.began_ms),
        times: time.times,
        total_seconds: seconds(time.total_ms),
        longest_seconds: seconds(time.longest_ms),
        percent: percent.map(|percent| (percent.min(100.0) * 10.0).round() / 10.0),
    }
}
