//! Makes what a job says about itself harmless: finite numbers, short texts without control
//! characters, a bounded number of names. A job is free to say nonsense, never to hurt a reader.

use std::collections::BTreeMap;

use crate::model::eta::MAX_ETA_SECONDS;

use super::observation::{Observation, StepReport};

/// Longest text kept, in characters.
pub const MAX_TEXT_CHARS: usize = 200;
/// Longest name of a metric, step, unit or kind kept, in characters.
pub const MAX_NAME_CHARS: usize = 64;
/// Most metrics kept for one attempt.
pub const MAX_METRICS: usize = 64;
/// Most steps kept for one attempt.
pub const MAX_STEPS: usize = 200;
/// Largest weight of a step: sums of them stay finite.
const MAX_WEIGHT: f64 = 1e12;

/// Returns the observation with everything unfit left out.
pub(super) fn observation(seen: Observation) -> Observation {
    Observation {
        step: seen.step.and_then(amount),
        total_steps: seen
            .total_steps
            .and_then(amount)
            .filter(|&total| total > 0.0),
        percent: seen.percent.and_then(percent),
        epoch: seen.epoch.and_then(amount),
        total_epochs: seen
            .total_epochs
            .and_then(amount)
            .filter(|&total| total > 0.0),
        phase: text(seen.phase),
        message: text(seen.message),
        rate: seen.rate.and_then(amount),
        unit: name(seen.unit),
        eta_seconds: seen
            .eta_seconds
            .and_then(amount)
            .filter(|&left| left <= MAX_ETA_SECONDS),
        metrics: metrics(seen.metrics),
        status: text(seen.status),
        error: text(seen.error),
        steps: seen
            .steps
            .into_iter()
            .take(MAX_STEPS)
            .filter_map(step)
            .collect(),
        ..seen
    }
}

/// A finite number that is not negative.
fn amount(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}

fn percent(value: f64) -> Option<f64> {
    amount(value).map(|value| value.min(100.0))
}

fn step(report: StepReport) -> Option<StepReport> {
    Some(StepReport {
        name: name(Some(report.name))?,
        kind: name(report.kind),
        percent: report.percent.and_then(percent),
        weight: report
            .weight
            .and_then(amount)
            .map(|weight| weight.min(MAX_WEIGHT)),
        message: text(report.message),
        state: report.state,
    })
}

fn metrics(metrics: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .filter_map(|(name, value)| Some((metric_name(&name)?, value)))
        .take(MAX_METRICS)
        .collect()
}

/// A metric's name becomes part of a series' name and of OpenMetrics labels, hence the narrow alphabet.
fn metric_name(name: &str) -> Option<String> {
    let name: String = name
        .trim()
        .chars()
        .take(MAX_NAME_CHARS)
        .map(|c| {
            if c.is_alphanumeric() || "_-./:@%".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    (!name.is_empty()).then_some(name)
}

fn text(text: Option<String>) -> Option<String> {
    cut(text, MAX_TEXT_CHARS)
}

fn name(text: Option<String>) -> Option<String> {
    cut(text, MAX_NAME_CHARS)
}

fn cut(text: Option<String>, max_chars: usize) -> Option<String> {
    let text: String = text?
        .trim_start()
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\t') {
                ' '
            } else {
                c
            }
        })
        .filter(|&c| !c.is_control() && !turns_direction(c))
        .take(max_chars)
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Direction marks let a text overwrite what stands around it on a terminal or in a browser.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
