//! What a report must be like: whoever reports over the API is there to be told what is wrong with it.

use crate::api::problem::{Failure, invalid};
use crate::model::progress::{MAX_METRICS, MAX_STEPS, step_name};
use crate::wire::progress::{ProgressReport, StepSubmit};
use std::collections::BTreeSet;

/// Refuses what cannot be true, and more than is kept.
pub(super) fn check(report: &ProgressReport) -> Result<(), Failure> {
    percent("percent", report.percent)?;
    part("step", report.step, "total_steps", report.total_steps)?;
    part("epoch", report.epoch, "total_epochs", report.total_epochs)?;
    amount("rate", report.rate)?;
    amount("eta_seconds", report.eta_seconds)?;
    few("metrics", report.metrics.len(), MAX_METRICS)?;
    few("steps", report.steps.len(), MAX_STEPS)?;
    steps(&report.steps)
}

fn steps(steps: &[StepSubmit]) -> Result<(), Failure> {
    let mut announced = BTreeSet::new();
    for (place, step) in steps.iter().enumerate() {
        let field = |name: &str| format!("steps[{place}].{name}");
        let Some(name) = step_name(&step.name) else {
            return Err(invalid(field("name"), "a step needs a name"));
        };
        percent(&field("percent"), step.percent)?;
        amount(&field("weight"), step.weight)?;
        if step.state == "pending" && !announced.insert(name) {
            let why = format!("{:?} is announced twice", step.name);
            return Err(invalid(field("name"), why));
        }
    }
    Ok(())
}

/// A part and its whole.
fn part(field: &str, part: Option<f64>, of_all: &str, whole: Option<f64>) -> Result<(), Failure> {
    amount(field, part)?;
    amount(of_all, whole)?;
    if whole == Some(0.0) {
        return Err(invalid(
            of_all,
            "of nothing there is no part: it is more than 0",
        ));
    }
    match (part, whole) {
        (Some(part), Some(whole)) if part > whole => Err(invalid(
            field,
            format!("{part} is more than all there are, which is {whole}"),
        )),
        _ => Ok(()),
    }
}

fn percent(field: &str, value: Option<f64>) -> Result<(), Failure> {
    match value {
        Some(value) if !(0.0..=100.0).contains(&value) => {
            Err(invalid(field, "it goes from 0 to 100"))
        }
        _ => Ok(()),
    }
}

fn amount(field: &str, value: Option<f64>) -> Result<(), Failure> {
    match value {
        Some(value) if value < 0.0 => Err(invalid(field, "it is less than nothing")),
        _ => Ok(()),
    }
}

fn few(field: &str, given: usize, most: usize) -> Result<(), Failure> {
    if given > most {
        let why = format!("{given} are given, and no more than {most} are kept of a job");
        return Err(invalid(field, why));
    }
    Ok(())
}
