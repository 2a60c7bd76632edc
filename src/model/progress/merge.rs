//! How observations of several sources become one [`Progress`].

use std::collections::BTreeMap;

use crate::model::time::Stamp;

use super::clean::{self, MAX_METRICS, MAX_STEPS};
use super::{ClaimedEta, Lead, Observation, Progress, Rank, ReportedStep, StepReport};

/// A lead that has said nothing for so long may be replaced by another source of its rank.
const LEAD_SILENT_MS: u64 = 30_000;
/// An adapter's percent that falls by no more than this is noise (several processes that draw the
/// same bar), not a new phase.
const NOISE_PERCENT: f64 = 5.0;

/// The counts an observation would lead to.
struct Candidate {
    step: Option<f64>,
    total_steps: Option<f64>,
    percent: Option<f64>,
}

impl Progress {
    /// Merges one observation; returns whether anything a reader sees changed.
    ///
    /// - One source at a time, the *lead*, says how far the job is. Explicit sources (API, file, notify)
    ///   outrank adapters, and among adapters units outrank bare epochs. A higher rank takes the
    ///   lead at once, an equal one when the lead has been silent for 30 s (an adapter's also when it has come
    ///   to 100 %), a lower one never takes it from an explicit source.
    /// - Everybody may add metrics, messages and steps. An adapter names the phase only where no
    ///   explicit source ever did. Epochs of another adapter are shown where the lead has none.
    /// - Percent is the source's own, else step ÷ total, else from epochs; where steps start again in
    ///   every epoch (said so, or seen once) it is `(epochs done + step ÷ total) ÷ epochs`.
    /// - Percent never falls within a phase: a fall starts a new phase, except that an adapter's small
    ///   fall is taken for noise and ignored.
    pub fn observe(&mut self, observation: Observation, at: Stamp) -> bool {
        let seen = clean::observation(observation);
        let mut changed = self.take_counts(&seen, at);
        changed |= self.take_phase(&seen);
        changed |= put(&mut self.message, seen.message);
        changed |= put(&mut self.status, seen.status);
        changed |= put(&mut self.error, seen.error);
        changed |= self.take_metrics(seen.metrics);
        for report in seen.steps {
            changed |= self.take_step(report, at);
        }
        changed |= (seen.ready && !self.ready) || (seen.stopping && !self.stopping);
        self.ready |= seen.ready;
        self.stopping |= seen.stopping;
        self.heard_at = Some(at);
        if changed {
            self.updated_at_ms = Some(at.wall_ms);
        }
        changed
    }

    fn take_counts(&mut self, seen: &Observation, at: Stamp) -> bool {
        let Some(rank) = Rank::of(seen) else {
            return false;
        };
        if !self.may_lead(seen, rank, at) {
            return self.fill_epoch(seen, rank);
        }
        let changed_lead = self.follow(seen, rank, at);
        self.learn(seen);
        let next = self.candidate(seen, changed_lead);
        if self.is_noise(seen, &next, changed_lead) {
            return false;
        }
        let mut changed = false;
        if self.runs_backwards(&next) {
            self.begin_phase();
            changed = true;
        }
        changed |= self.take_epoch(seen);
        let moved = self.step != next.step || self.percent != next.percent;
        if moved {
            self.advanced_at = Some(at);
        }
        changed |= moved || self.total_steps != next.total_steps;
        self.step = next.step;
        self.total_steps = next.total_steps;
        self.percent = next.percent;
        if seen.step.is_some() {
            self.counting.epoch_of_step = self.epoch;
        }
        changed | self.take_claims(seen, at)
    }

    fn may_lead(&self, seen: &Observation, rank: Rank, at: Stamp) -> bool {
        let Some(lead) = &self.counting.lead else {
            return true;
        };
        let silent = at.boot_ms.saturating_sub(lead.at.boot_ms) >= LEAD_SILENT_MS;
        if lead.source == seen.source {
            return true;
        }
        match rank.cmp(&lead.rank) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => silent || self.makes_way(lead, seen),
            std::cmp::Ordering::Less => false,
        }
    }

    /// Whether the lead has come to its end, and the other one has not: the next program of the job.
    fn makes_way(&self, lead: &Lead, seen: &Observation) -> bool {
        let part = ratio(seen.step, seen.total_steps).map(|part| part * 100.0);
        let is_whole = seen
            .percent
            .or(part)
            .is_some_and(|percent| percent >= 100.0);
        self.percent == Some(100.0) && !is_whole && !lead.source.is_explicit()
    }

    /// Makes the source the lead; returns whether that was somebody else before.
    fn follow(&mut self, seen: &Observation, rank: Rank, at: Stamp) -> bool {
        let before = self.counting.lead.take();
        let same = before
            .as_ref()
            .is_some_and(|lead| lead.source == seen.source);
        let rank = before
            .as_ref()
            .filter(|_| same)
            .map_or(rank, |lead| lead.rank.max(rank));
        if let Some(before) = before.filter(|_| !same) {
            self.counting.steps_in_epoch = false;
            self.counting.epoch_of_step = None;
            self.total_steps = None;
            self.unit = None;
            if rank == Rank::Explicit || before.rank == Rank::Explicit {
                self.epoch = None;
                self.total_epochs = None;
                self.counting.epochs_from_zero = false;
            }
        }
        self.counting.lead = Some(Lead {
            source: seen.source.clone(),
            rank,
            at,
        });
        !same
    }

    /// Learns how the job counts: its epochs from 0, its steps from the start of each epoch.
    fn learn(&mut self, seen: &Observation) {
        self.counting.epochs_from_zero |= seen.epoch == Some(0.0);
        self.counting.steps_in_epoch |= seen.steps_in_epoch;
        let epoch = seen.epoch.or(self.epoch);
        let next_epoch =
            matches!((self.counting.epoch_of_step, epoch), (Some(old), Some(new)) if new > old);
        let fell = matches!((self.step, seen.step), (Some(old), Some(new)) if new < old);
        self.counting.steps_in_epoch |= next_epoch && fell;
    }

    fn candidate(&self, seen: &Observation, changed_lead: bool) -> Candidate {
        let epoch = seen.epoch.or(self.epoch);
        let total_epochs = seen.total_epochs.or(self.total_epochs);
        let stale = changed_lead
            || seen.percent.is_some()
            || (self.counting.steps_in_epoch && epoch != self.counting.epoch_of_step);
        // An adapter always sees a whole bar; somebody who reports by hand may tell a part.
        let step = seen.step.or(self.step.filter(|_| !stale));
        let total_steps = if seen.step.is_some() && !seen.source.is_explicit() {
            seen.total_steps
        } else {
            seen.total_steps
                .or(self.total_steps.filter(|_| step.is_some()))
        };
        let steps = ratio(step, total_steps);
        let derived = match (self.counting.steps_in_epoch, steps) {
            (true, within) if total_epochs.is_some() => {
                self.epochs_done(epoch, total_epochs, within.unwrap_or(0.0))
            }
            (_, Some(steps)) => Some(steps),
            (_, None) if step.is_none() => self.epochs_done(epoch, total_epochs, 0.0),
            (_, None) => None,
        };
        let keeps_percent = seen.source.is_explicit() || !seen.has_steps();
        let percent = seen.percent.or(derived.map(|part| part * 100.0));
        Candidate {
            step,
            total_steps,
            percent: percent.or(self.percent.filter(|_| keeps_percent && !changed_lead)),
        }
    }

    /// The part of all epochs that is done, with `within` of the present one.
    fn epochs_done(&self, epoch: Option<f64>, total: Option<f64>, within: f64) -> Option<f64> {
        let (epoch, total) = (epoch?, total?);
        let done = if epoch.fract() != 0.0 || self.counting.epochs_from_zero {
            epoch
        } else {
            (epoch - 1.0).max(0.0)
        };
        Some(((done + within) / total).min(1.0))
    }

    fn is_noise(&self, seen: &Observation, next: &Candidate, changed_lead: bool) -> bool {
        if seen.source.is_explicit() || changed_lead || self.total_steps != next.total_steps {
            return false;
        }
        match (self.percent, next.percent) {
            (Some(old), Some(new)) => new < old && old - new <= NOISE_PERCENT,
            _ => false,
        }
    }

    fn runs_backwards(&self, next: &Candidate) -> bool {
        match (self.percent, next.percent) {
            (Some(old), Some(new)) => new < old,
            (Some(_), None) => true,
            (None, _) => matches!((self.step, next.step), (Some(old), Some(new)) if new < old),
        }
    }

    fn begin_phase(&mut self) {
        self.phase_number = self.phase_number.saturating_add(1);
        if !self.counting.phase_is_explicit {
            self.phase = None;
        }
    }

    fn take_epoch(&mut self, seen: &Observation) -> bool {
        put(&mut self.epoch, seen.epoch) | put(&mut self.total_epochs, seen.total_epochs)
    }

    /// Shows another adapter's epochs where the lead, an adapter too, has none of its own.
    fn fill_epoch(&mut self, seen: &Observation, rank: Rank) -> bool {
        let guessed = |lead: &Lead| lead.rank == Rank::GuessedSteps;
        rank == Rank::GuessedEpochs
            && self.counting.lead.as_ref().is_some_and(guessed)
            && self.take_epoch(seen)
    }

    /// The lead's own rate and ETA, replaced as a whole: an old claim beside new counts misleads.
    fn take_claims(&mut self, seen: &Observation, at: Stamp) -> bool {
        let before = self.counting.claimed_eta.map(|claim| claim.seconds);
        let changed = before != seen.eta_seconds || self.counting.claimed_rate != seen.rate;
        self.counting.claimed_rate = seen.rate;
        self.counting.claimed_eta = seen.eta_seconds.map(|seconds| ClaimedEta { seconds, at });
        self.rate = seen.rate;
        self.eta_seconds = seen.eta_seconds;
        self.eta_low_seconds = None;
        self.eta_high_seconds = None;
        put(&mut self.unit, seen.unit.clone()) || changed
    }

    fn take_phase(&mut self, seen: &Observation) -> bool {
        if seen.phase.is_none() {
            return false;
        }
        let explicit = seen.source.is_explicit();
        if !explicit && self.counting.phase_is_explicit {
            return false;
        }
        self.counting.phase_is_explicit |= explicit;
        put(&mut self.phase, seen.phase.clone())
    }

    fn take_metrics(&mut self, metrics: BTreeMap<String, f64>) -> bool {
        let mut changed = false;
        for (name, value) in metrics {
            if self.metrics.len() < MAX_METRICS || self.metrics.contains_key(&name) {
                changed |= self.metrics.insert(name, value) != Some(value);
            }
        }
        changed
    }

    fn take_step(&mut self, report: StepReport, at: Stamp) -> bool {
        let ended = report.state.is_final().then_some(at.wall_ms);
        if let Some(known) = self
            .steps
            .iter_mut()
            .find(|step| step.report.name == report.name)
        {
            let report = StepReport {
                kind: report.kind.or_else(|| known.report.kind.clone()),
                ..report
            };
            let changed = known.report != report;
            if known.report.state.is_final() && ended.is_none() {
                known.started_at_ms = at.wall_ms;
            }
            known.report = report;
            known.finished_at_ms = ended.map(|now| known.finished_at_ms.unwrap_or(now));
            return changed;
        }
        if self.steps.len() >= MAX_STEPS {
            // The oldest step that is over makes room: what still runs is what people look for.
            let Some(over) = self
                .steps
                .iter()
                .position(|step| step.report.state.is_final())
            else {
                return false;
            };
            self.steps.remove(over);
        }
        self.steps.push(ReportedStep {
            report,
            started_at_ms: at.wall_ms,
            finished_at_ms: ended,
        });
        true
    }
}

impl Rank {
    fn of(seen: &Observation) -> Option<Self> {
        match (
            seen.has_counts(),
            seen.source.is_explicit(),
            seen.has_steps(),
        ) {
            (false, ..) if seen.source.is_explicit() && seen.total_steps.is_some() => {
                Some(Self::Explicit)
            }
            (false, ..) => None,
            (true, true, _) => Some(Self::Explicit),
            (true, false, true) => Some(Self::GuessedSteps),
            (true, false, false) => Some(Self::GuessedEpochs),
        }
    }
}

/// Sets what is known; returns whether it is new.
fn put<T: PartialEq>(slot: &mut Option<T>, value: Option<T>) -> bool {
    if value.is_none() || *slot == value {
        return false;
    }
    *slot = value;
    true
}

fn ratio(step: Option<f64>, total: Option<f64>) -> Option<f64> {
    Some((step? / total?).min(1.0))
}
