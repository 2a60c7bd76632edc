//! Where the time of an attempt went: how long it was in each phase, epoch and step of its own.

use crate::model::progress::{Progress, ReportedStep};
use std::collections::BTreeMap;

/// What a time belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A phase, by name.
    Phase(String),
    /// An epoch, by number.
    Epoch(u64),
    /// A step that the job reported, by name.
    Step(String),
}

/// How long an attempt was in one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTime {
    /// Which.
    pub part: Part,
    /// When it began first, wall clock, milliseconds since 1970 UTC.
    pub began_ms: i64,
    /// How often it was in it.
    pub times: u32,
    /// How long in all, milliseconds.
    pub total_ms: u64,
    /// How long at most without a break, milliseconds.
    pub longest_ms: u64,
}

/// Adds up the time between points of progress, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    times: BTreeMap<Part, PartTime>,
    /// What it is in, and since when.
    open: Vec<(Part, i64)>,
}

impl Phases {
    /// Takes the next point.
    pub fn add(&mut self, at_ms: i64, progress: &Progress) {
        let present: Vec<Part> = parts(progress).collect();
        let left = self
            .open
            .extract_if(.., |(part, _)| !present.contains(part));
        let left: Vec<(Part, i64)> = left.collect();
        for (part, since_ms) in left {
            self.close(part, since_ms, at_ms);
        }
        for part in present {
            if !self.open.iter().any(|(open, _)| *open == part) {
                self.open.push((part, at_ms));
            }
        }
    }

    fn close(&mut self, part: Part, since_ms: i64, until_ms: i64) {
        let took_ms = u64::try_from(until_ms.saturating_sub(since_ms)).unwrap_or(0);
        let time = self.times.entry(part.clone()).or_insert(PartTime {
            part,
            began_ms: since_ms,
            times: 0,
            total_ms: 0,
            longest_ms: 0,
        });
        time.times += 1;
        time.total_ms = time.total_ms.saturating_add(took_ms);
        time.longest_ms = time.longest_ms.max(took_ms);
    }

    /// All parts, the one that took longest first. The attempt ended, or is looked at, at `end_ms`. `steps` are those
    /// that it told of last, each with its times: points do not have them.
    #[must_use]
    pub fn finish(mut self, end_ms: i64, steps: &[ReportedStep]) -> Vec<PartTime> {
        for (part, since_ms) in std::mem::take(&mut self.open) {
            self.close(part, since_ms, end_ms);
        }
        for step in steps {
            if let Some(began_ms) = step.started_at_ms {
                let until_ms = step.finished_at_ms.unwrap_or(end_ms);
                let part = Part::Step(step.report.name.clone());
                self.close(part, began_ms, until_ms);
            }
        }
        let mut times: Vec<PartTime> = self.times.into_values().collect();
        times.sort_by(|a, b| (b.total_ms, &a.part).cmp(&(a.total_ms, &b.part)));
        times
    }
}

fn parts(progress: &Progress) -> impl Iterator<Item = Part> {
    let phase = progress.phase.clone().map(Part::Phase);
    let epoch = progress.epoch.filter(|epoch| *epoch >= 0.0);
    // Trainers tell parts of an epoch too (1.25); it is in the second then.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast to an integer saturates"
    )]
    let epoch = epoch.map(|epoch| Part::Epoch(epoch.ceil() as u64));
    phase.into_iter().chain(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::progress::{StepReport, StepState};

    fn at(phase: &str, epoch: f64) -> Progress {
        Progress {
            phase: Some(phase.to_owned()),
            epoch: Some(epoch),
            ..Progress::default()
        }
    }

    #[test]
    fn time_is_added_up_by_what_it_was_spent_on() {
        let mut phases = Phases::default();
        phases.add(0, &at("train", 1.0));
        phases.add(10_000, &at("train", 1.0));
        phases.add(60_000, &at("eval", 1.0));
        phases.add(70_000, &at("train", 2.0));
        let steps = [ReportedStep {
            report: StepReport {
                name: "checkpoint".to_owned(),
                kind: None,
                state: StepState::Completed,
                percent: None,
                weight: None,
                message: None,
            },
            started_at_ms: Some(71_000),
            finished_at_ms: Some(74_000),
        }];
        phases.add(80_000, &at("train", 2.0));
        let times = phases.finish(100_000, &steps);
        let told: Vec<_> = times
            .iter()
            .map(|it| (it.part.clone(), it.times, it.total_ms, it.longest_ms))
            .collect();
        let phase = |name: &str| Part::Phase(name.to_owned());
        assert_eq!(
            told,
            [
                (phase("train"), 2, 90_000, 60_000),
                (Part::Epoch(1), 1, 70_000, 70_000),
                (Part::Epoch(2), 1, 30_000, 30_000),
                (phase("eval"), 1, 10_000, 10_000),
                (Part::Step("checkpoint".to_owned()), 1, 3_000, 3_000),
            ]
        );
    }

    #[test]
    fn a_clock_that_was_set_back_takes_no_time() {
        let mut phases = Phases::default();
        phases.add(10_000, &at("a", 1.0));
        phases.add(5_000, &at("b", 1.0));
        let times = phases.finish(6_000, &[]);
        assert!(times.iter().all(|it| it.total_ms <= 1_000), "{times:?}");
    }
}
