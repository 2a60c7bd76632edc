//! Limits of a job: checked as they are asked for, and as they are changed.

use super::{Place, positive};
use crate::api::call::harmless;
use crate::api::problem::Failure;
use crate::model::limits::{LAST_CPU, LimitChanges, Limits, WEIGHTS, parse_numbers};
use crate::wire::limits::{ALL, GpusEdit, LimitsEdit, LimitsSubmit};

/// Checks what an attempt shall use at most.
pub(super) fn limits(limits: LimitsSubmit, at: Place<'_>) -> Result<Limits, Failure> {
    let most = |value: Option<u64>, field: &str| {
        let checked = value.map(|most| positive(most, &format!("limits.{field}"), at));
        checked.transpose()
    };
    let weighed = |value: Option<u64>, field| value.map(|it| weight(it, field, at)).transpose();
    let cpus = limits.allowed_cpus.map(|text| cpus(&text, at));
    Ok(Limits {
        memory_max_bytes: most(limits.memory_max_bytes, "memory_max_bytes")?,
        cpu_weight: weighed(limits.cpu_weight, "cpu_weight")?,
        io_weight: weighed(limits.io_weight, "io_weight")?,
        tasks_max: most(limits.tasks_max, "tasks_max")?,
        allowed_cpus: cpus.transpose()?.unwrap_or_default(),
        gpus: limits.gpus.map(each_once),
    })
}

/// Checks changes to limits: 0, and `all` of what is named, takes one away.
pub(super) fn limit_changes(limits: LimitsEdit, at: Place<'_>) -> Result<LimitChanges, Failure> {
    let most = |value: Option<u64>| value.map(|most| Some(most).filter(|most| *most > 0));
    let weighed = |value: Option<u64>, field| match value {
        None => Ok(None),
        Some(0) => Ok(Some(None)),
        Some(value) => weight(value, field, at).map(|it| Some(Some(it))),
    };
    let cpus = limits.allowed_cpus.map(|text| match text.as_str() {
        ALL => Ok(Vec::new()),
        text => cpus(text, at),
    });
    let gpus = limits.gpus.map(|gpus| match gpus {
        GpusEdit::Only(gpus) => Ok(Some(each_once(gpus))),
        GpusEdit::Word(word) if word == ALL => Ok(None),
        GpusEdit::Word(_) => Err(at.wrong("limits.gpus", "write a list of indices, or all")),
    });
    Ok(LimitChanges {
        memory_max_bytes: most(limits.memory_max_bytes),
        cpu_weight: weighed(limits.cpu_weight, "cpu_weight")?,
        io_weight: weighed(limits.io_weight, "io_weight")?,
        tasks_max: most(limits.tasks_max),
        allowed_cpus: cpus.transpose()?,
        gpus: gpus.transpose()?,
    })
}

fn weight(weight: u64, field: &str, at: Place<'_>) -> Result<u64, Failure> {
    if WEIGHTS.contains(&weight) {
        return Ok(weight);
    }
    let why = format!("weights go from {} to {}", WEIGHTS.start(), WEIGHTS.end());
    Err(at.wrong(format_args!("limits.{field}"), why))
}

fn cpus(text: &str, at: Place<'_>) -> Result<Vec<u32>, Failure> {
    parse_numbers(text, LAST_CPU).ok_or_else(|| {
        let why = format!(
            "\"{}\" names no CPUs: write them as in 0-3,8",
            harmless(text)
        );
        at.wrong("limits.allowed_cpus", why)
    })
}

fn each_once(mut gpus: Vec<u32>) -> Vec<u32> {
    gpus.sort_unstable();
    gpus.dedup();
    gpus
}
