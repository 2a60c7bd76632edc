//! Progress with its estimator: what the daemon keeps for every running attempt.

use crate::model::eta::Estimator;
use crate::model::time::Stamp;

use super::{Observation, Progress, Source};

/// A job's own ETA is not believed for longer than this without a new one.
const CLAIM_HOLDS_MS: u64 = 60_000;

/// The progress of one attempt and the samples its ETA comes from.
///
/// Only the [`Progress`] is worth storing: after a restart the estimator gathers new samples.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    progress: Progress,
    estimator: Estimator,
    series: Option<Series>,
}

/// What the samples in the estimator measure; they may not be mixed with samples of something else.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    source: Option<Source>,
    phase_number: u32,
    in_percent: bool,
}

impl Tracker {
    /// Goes on from stored progress.
    #[must_use]
    pub fn resume(progress: Progress) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    /// The progress as of the last [`observe`](Self::observe) or [`refresh`](Self::refresh).
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Merges one observation and brings rate and ETA up to date; returns whether anything but
    /// the ETA changed.
    pub fn observe(&mut self, observation: Observation, at: Stamp) -> bool {
        let changed = self.progress.observe(observation, at);
        if self
            .progress
            .counting
            .lead
            .as_ref()
            .is_some_and(|lead| lead.at == at)
        {
            self.sample(at);
        }
        self.refresh(at);
        changed
    }

    /// Brings rate and ETA up to `at`: a silent job's ETA runs down, widens and gets lost.
    pub fn refresh(&mut self, at: Stamp) {
        let in_percent = self.progress.percent.is_some();
        let estimate = self.estimator.estimate(at.boot_ms);
        let ours = estimate.and_then(|estimate| estimate.eta);
        let claim = self
            .claimed_eta(at)
            .filter(|_| !self.estimator.has_enough());
        self.progress.eta_seconds = ours.map(|eta| eta.seconds).or(claim);
        self.progress.eta_low_seconds = ours.map(|eta| eta.low_seconds);
        self.progress.eta_high_seconds = ours.map(|eta| eta.high_seconds);
        let measured = estimate.and_then(|estimate| match self.progress.total_steps {
            Some(total) if in_percent && self.percent_is_steps() => {
                Some(estimate.rate * total / 100.0)
            }
            None if !in_percent => Some(estimate.rate),
            _ => None,
        });
        self.progress.rate = self.progress.counting.claimed_rate.or(measured);
    }

    /// The attempt was frozen: time stands still for its ETA.
    pub fn paused(&mut self, at: Stamp) {
        self.estimator.paused(at.boot_ms);
    }

    /// The attempt runs again.
    pub fn resumed(&mut self, at: Stamp) {
        self.estimator.resumed(at.boot_ms);
    }

    fn sample(&mut self, at: Stamp) {
        let (done, total) = match (self.progress.percent, self.progress.step) {
            (Some(percent), _) => (percent, Some(100.0)),
            (None, Some(step)) => (step, None),
            (None, None) => return,
        };
        let series = Series {
            source: self
                .progress
                .counting
                .lead
                .as_ref()
                .map(|lead| lead.source.clone()),
            phase_number: self.progress.phase_number,
            in_percent: total.is_some(),
        };
        if self.series.as_ref() != Some(&series) {
            self.estimator.restart();
            self.series = Some(series);
        }
        self.estimator.record(at.boot_ms, done, total);
    }

    /// Whether percent is plainly step ÷ total, so that a rate in percent is one in steps.
    fn percent_is_steps(&self) -> bool {
        match (
            self.progress.percent,
            self.progress.step,
            self.progress.total_steps,
        ) {
            (Some(percent), Some(step), Some(total)) => {
                !self.progress.counting.steps_in_epoch
                    && (step / total * 100.0 - percent).abs() < 1.0
            }
            _ => false,
        }
    }

    fn claimed_eta(&self, at: Stamp) -> Option<f64> {
        let claim = self.progress.counting.claimed_eta?;
        let age_ms = at.boot_ms.saturating_sub(claim.at.boot_ms);
        #[expect(clippy::cast_precision_loss, reason = "an age of a minute at most")]
        let left = claim.seconds - age_ms as f64 / 1000.0;
        (age_ms <= CLAIM_HOLDS_MS && left >= 0.0).then_some(left)
    }
}
