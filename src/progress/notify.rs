//! Reads what a job says over its notify socket, in the manner of systemd's `sd_notify`.
//!
//! | field | meaning |
//! |---|---|
//! | `READY=1`, `STOPPING=1` | it has started up, it is ending |
//! | `WATCHDOG=1`, `RELOADING=1`, `EXTEND_TIMEOUT_USEC=…` | it is alive |
//! | `STATUS=…` | a word for people |
//! | `X_STOKED_PROGRESS=500/1000` | units done, of all; `45%` and a bare count are understood too |
//! | `X_STOKED_EPOCH=2/3` | the epoch it is in, of all |
//! | `X_STOKED_METRIC=loss=0.2` | a metric; the field may be repeated |
//! | `X_STOKED_PHASE=…` | what it is at |
//! | `X_STOKED_STEPS=prepare,fit=8,evaluate` | the named steps there will be, each with its weight where that is not 1 |
//! | `X_STOKED_STEP=evaluate:completed` | a step and its state, or its percent; `weight=8` and `kind=epoch` may follow |
//!
//! Whatever else is in it is not about progress.

use crate::model::progress::{MAX_METRICS, MAX_STEPS, Observation, Source, StepReport, StepState};
use crate::progress::number;

/// What a text says, if it concerns progress.
#[must_use]
pub fn read(text: &str) -> Option<Observation> {
    let mut seen = Observation::new(Source::Notify);
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        take(&mut seen, name, value);
    }
    (!seen.is_empty()).then_some(seen)
}

fn take(seen: &mut Observation, name: &str, value: &str) {
    match (name, value) {
        ("READY", "1") => seen.ready = true,
        ("STOPPING", "1") => seen.stopping = true,
        ("WATCHDOG" | "RELOADING", "1") => seen.heartbeat = true,
        ("EXTEND_TIMEOUT_USEC", time) => seen.heartbeat |= time.parse::<u64>().is_ok(),
        ("STATUS", status) => {
            seen.status = Some(status.to_owned());
            seen.message = Some(status.to_owned());
        }
        ("X_STOKED_PROGRESS", progress) => take_progress(seen, progress.trim()),
        ("X_STOKED_EPOCH", epoch) => match number::ratio(epoch) {
            Some((now, total)) => (seen.epoch, seen.total_epochs) = (Some(now), Some(total)),
            None => {
                if let Some(now) = number::plain(epoch.trim()) {
                    (seen.epoch, seen.total_epochs) = (Some(now), None);
                }
            }
        },
        ("X_STOKED_METRIC", metric) => {
            if let Some((name, value)) = metric.split_once('=')
                && let Some(value) = number::measured(value.trim())
            {
                seen.metrics.insert(name.trim().to_owned(), value);
                if seen.metrics.len() > MAX_METRICS {
                    seen.metrics.pop_last();
                    seen.metrics_left_out = true;
                }
            }
        }
        ("X_STOKED_PHASE", phase) => seen.phase = Some(phase.to_owned()),
        ("X_STOKED_STEP", report) => take_steps(seen, step(report)),
        ("X_STOKED_STEPS", names) => take_steps(seen, names.split(',').filter_map(announced)),
        _ => {}
    }
}

/// No more of them than are kept; that there were more is said.
fn take_steps(seen: &mut Observation, steps: impl IntoIterator<Item = StepReport>) {
    for step in steps {
        if seen.steps.len() < MAX_STEPS {
            seen.steps.push(step);
        } else {
            seen.steps_left_out = true;
        }
    }
}

/// `500/1000`, `45%` or `500`.
fn take_progress(seen: &mut Observation, progress: &str) {
    if let Some((step, total)) = number::ratio(progress) {
        (seen.step, seen.total_steps, seen.percent) = (Some(step), Some(total), None);
    } else if let Some(percent) = number::percent(progress) {
        (seen.step, seen.total_steps, seen.percent) = (None, None, Some(percent));
    } else if let Some(step) = number::plain(progress) {
        (seen.step, seen.total_steps, seen.percent) = (Some(step), None, None);
    }
}

/// `fit` or `fit=8`: a step to come, and its weight.
fn announced(text: &str) -> Option<StepReport> {
    let (name, weight) = match text.rsplit_once('=') {
        Some((name, weight)) => (name, Some(number::plain(weight.trim())?)),
        None => (text, None),
    };
    let name = name.trim();
    (!name.is_empty()).then(|| StepReport {
        weight,
        ..StepReport::new(name, StepState::Pending)
    })
}

/// `name:state` or `name:45%`, and after it `weight=8` and `kind=epoch`; the name may have colons itself.
fn step(report: &str) -> Option<StepReport> {
    let (name, rest) = report.rsplit_once(':')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    let percent = number::percent(state);
    let state = match percent {
        Some(_) => StepState::Progress,
        None => StepState::from_word(state)?,
    };
    let mut step = StepReport {
        percent,
        ..StepReport::new(name.trim(), state)
    };
    for word in words {
        match word.split_once('=') {
            Some(("weight", weight)) => step.weight = number::plain(weight),
            Some(("kind", kind)) => step.kind = Some(kind.to_owned()),
            _ => {}
        }
    }
    Some(step)
}

#[cfg(test)]
mod tests;
