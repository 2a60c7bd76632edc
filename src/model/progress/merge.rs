//! How observations of several sources become one [`Progress`].

use std::collections::BTreeMap;

use crate::model::time::Stamp;

use super::clean::{self, MAX_METRICS};
use super::{ClaimedEta, EtaBasis, Lead, Observation, Progress, Rank, Source};

/// The adapter that looks for numbers in texts of which it knows nothing.
const GENERIC_ADAPTER: &str = "ratio";
/// A lead that has said nothing for so long may be replaced by another source of its rank.
const LEAD_SILENT_MS: u64 = 30_000;
/// An adapter's percent that falls by no more than this is noise (several processes that draw the
/// same bar), not a new phase.
const NOISE_PERCENT: f64 = 5.0;

/// Percents that differ by less are the same.
const SAME_PERCENT: f64 = 1e-9;
/// Steps may be so many epochs ahead before they are taken for those of one epoch: epochs are often
/// printed rounded.
const OUTRUN_SLACK_EPOCHS: f64 = 0.02;

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
    ///   outrank adapters; adapters that know a program outrank the generic one, units outrank bare
    ///   epochs, and anything that was said outranks what is estimated from outside. A higher rank
    ///   takes the lead at once, an equal one when the lead has been silent for 30 s or, of adapters, has
    ///   come to 100 %, a lower one only from an adapter that has come to 100 % and been silent for 30 s.
    /// - Named steps lead where the job told all of them and counts nothing else itself: percent is
    ///   then the share of their weights that is done.
    /// - Everybody may add metrics, messages and steps. An adapter names the phase only where no
    ///   explicit source ever did. Epochs of another adapter are shown where the lead has none.
    /// - Percent is the source's own, else step ÷ total, else from epochs; where steps start again in
    ///   every epoch (said so, seen once, or plain because they ran ahead of the epochs) it is
    ///   `(epochs done + step ÷ total) ÷ epochs`.
    /// - An estimate that is of something else than before, by its phase, begins anew; one without counts takes
    ///   back what was estimated.
    /// - Percent never falls within a phase: a fall starts a new phase, except that an adapter's small
    ///   fall is taken for noise and ignored.
    pub fn observe(&mut self, observation: Observation, at: Stamp) -> bool {
        let seen = clean::observation(observation);
        self.take_plan(&seen);
        let mut changed = self.take_counts(&seen, at);
        changed |= self.take_phase(&seen);
        changed |= put(&mut self.message, seen.message);
        changed |= put(&mut self.status, seen.status);
        changed |= put(&mut self.error, seen.error);
        changed |= self.take_metrics(seen.metrics);
        changed |= self.take_steps(seen.steps, &seen.source, at);
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
        if seen.estimated && !seen.has_counts() {
            return self.withdraw();
        }
        let Some(rank) = self.rank_of(seen) else {
            return false;
        };
        if !self.may_lead(&seen.source, rank, at) && !self.makes_way(seen, rank) {
            return self.fill_epoch(seen, rank);
        }
        let changed_lead = self.follow(&seen.source, rank, at);
        self.learn(seen);
        let mut next = self.candidate(seen, changed_lead);
        next.percent = next.percent.map(|percent| self.held(percent));
        if self.is_noise(seen, &next, changed_lead) {
            return false;
        }
        let mut changed = false;
        if self.runs_backwards(&next) || (!changed_lead && self.is_of_another(seen)) {
            self.begin_phase();
            changed = true;
        }
        changed |= self.take_epoch(seen);
        changed |= self.estimated != seen.estimated;
        self.estimated = seen.estimated;
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

    /// What the counts of an observation are worth, where it has any.
    fn rank_of(&self, seen: &Observation) -> Option<Rank> {
        let explicit = seen.source.is_explicit();
        if !seen.has_counts() {
            // A bare total is the beginning of a count, unless it counts the named steps.
            let begins = explicit && seen.total_steps.is_some();
            let has_steps = !self.steps.is_empty() || !seen.steps.is_empty();
            return (begins && !has_steps).then_some(Rank::Explicit);
        }
        let is_generic = seen.source == Source::Adapter(GENERIC_ADAPTER.to_owned());
        Some(match (seen.estimated, explicit, seen.has_steps()) {
            (true, ..) => Rank::Estimated,
            (_, true, _) => Rank::Explicit,
            (_, _, false) => Rank::GuessedEpochs,
            (..) if is_generic => Rank::GuessedSteps,
            (..) => Rank::NamedSteps,
        })
    }

    fn may_lead(&self, source: &Source, rank: Rank, at: Stamp) -> bool {
        let Some(lead) = &self.counting.lead else {
            return true;
        };
        let silent = at.boot_ms.saturating_sub(lead.at.boot_ms) >= LEAD_SILENT_MS;
        if lead.source == *source {
            return true;
        }
        match rank.cmp(&lead.rank) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => silent,
            // The next program of a script may be one that nobody knows: what is over is not shown for ever.
            std::cmp::Ordering::Less => {
                silent && self.percent == Some(100.0) && !lead.source.is_explicit()
            }
        }
    }

    /// Whether the lead, an adapter, has come to its end and the other one has not: the next program of the job.
    fn makes_way(&self, seen: &Observation, rank: Rank) -> bool {
        let Some(lead) = &self.counting.lead else {
            return true;
        };
        let part = ratio(seen.step, seen.total_steps).map(|part| part * 100.0);
        let is_whole = seen
            .percent
            .or(part)
            .is_some_and(|percent| percent >= 100.0);
        lead.rank == rank
            && self.percent == Some(100.0)
            && !is_whole
            && !lead.source.is_explicit()
            && !seen.source.is_explicit()
    }

    /// Makes the source the lead; returns whether that was somebody else before. Counts and named steps
    /// of one source are not the same: neither goes on where the other was.
    pub(super) fn follow(&mut self, source: &Source, rank: Rank, at: Stamp) -> bool {
        let before = self.counting.lead.take();
        let same = before.as_ref().is_some_and(|lead| {
            let by_plan = (lead.rank == Rank::Plan, rank == Rank::Plan);
            by_plan == (true, true) || (lead.source == *source && by_plan == (false, false))
        });
        let rank = before
            .as_ref()
            .filter(|_| same)
            .map_or(rank, |lead| lead.rank.max(rank));
        if let Some(before) = before.filter(|_| !same) {
            self.counting.steps_in_epoch = false;
            self.counting.steps_outran = false;
            self.counting.epoch_of_step = None;
            self.total_steps = None;
            self.unit = None;
            if rank >= Rank::Plan || before.rank >= Rank::Plan {
                self.epoch = None;
                self.total_epochs = None;
                self.counting.epochs_from_zero = false;
            }
        }
        self.counting.lead = Some(Lead {
            source: source.clone(),
            rank,
            at,
        });
        !same
    }

    /// Learns how the job counts: its epochs from 0, its steps from the start of each epoch.
    fn learn(&mut self, seen: &Observation) {
        let epoch = seen.epoch.or(self.epoch);
        let next_epoch =
            matches!((self.counting.epoch_of_step, epoch), (Some(old), Some(new)) if new > old);
        let moved = self.step.zip(seen.step);
        let fell = moved.is_some_and(|(old, new)| new < old);
        let rose = moved.is_some_and(|(old, new)| new > old);
        let outruns = self.steps_outrun_epochs(seen);
        let counting = &mut self.counting;
        counting.epochs_from_zero |= seen.epoch == Some(0.0);
        counting.epochs_in_parts |= seen.epoch.is_some_and(|epoch| epoch.fract() != 0.0);
        if next_epoch && rose && counting.steps_outran && !outruns {
            // They went on counting into the next epoch, so it had only looked otherwise.
            counting.steps_in_epoch = false;
            counting.steps_outran = false;
        }
        if seen.steps_in_epoch || (next_epoch && fell) {
            counting.steps_in_epoch = true;
            counting.steps_outran = false;
        } else if outruns && !counting.steps_in_epoch {
            counting.steps_in_epoch = true;
            counting.steps_outran = true;
        }
    }

    /// Whether steps, taken for those of all epochs, would claim more than the epochs begun allow.
    fn steps_outrun_epochs(&self, seen: &Observation) -> bool {
        let total = seen.total_steps.or(self.total_steps);
        let epoch = seen.epoch.or(self.epoch);
        let epochs = self.epochs_with(seen);
        let (Some(steps), Some(epoch), Some(epochs)) = (ratio(seen.step, total), epoch, epochs)
        else {
            return false;
        };
        let counting = &self.counting;
        let counts_done = epoch.fract() != 0.0 || epoch == 0.0;
        let begun = if counts_done || counting.epochs_from_zero || counting.epochs_in_parts {
            epoch.floor() + 1.0
        } else {
            epoch
        };
        steps * epochs > begun + OUTRUN_SLACK_EPOCHS
    }

    fn candidate(&self, seen: &Observation, changed_lead: bool) -> Candidate {
        let epoch = seen.epoch.or(self.epoch);
        let total_epochs = self.epochs_with(seen);
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

    /// `percent`, or what was known where they differ by less than means anything: what is stored as text
    /// may lose its last digit.
    pub(super) fn held(&self, percent: f64) -> f64 {
        match self.percent {
            Some(old) if old > percent && old - percent < SAME_PERCENT => old,
            _ => percent,
        }
    }

    fn runs_backwards(&self, next: &Candidate) -> bool {
        match (self.percent, next.percent) {
            (Some(old), Some(new)) => new < old,
            (Some(_), None) => true,
            (None, _) => matches!((self.step, next.step), (Some(old), Some(new)) if new < old),
        }
    }

    /// Whether what is estimated is not what was estimated before: another file, say, of which nothing is done yet.
    fn is_of_another(&self, seen: &Observation) -> bool {
        let is_ours = seen.estimated && !self.counting.phase_is_explicit;
        is_ours && seen.phase.is_some() && seen.phase != self.phase
    }

    /// Nothing can be estimated any more. What was is not known to be so any longer.
    fn withdraw(&mut self) -> bool {
        if !self.estimated {
            return false;
        }
        self.begin_phase();
        self.counting.lead = None;
        self.estimated = false;
        self.step = None;
        self.total_steps = None;
        self.percent = None;
        self.unit = None;
        self.rate = None;
        self.eta_seconds = None;
        self.eta_low_seconds = None;
        self.eta_high_seconds = None;
        true
    }

    pub(super) fn begin_phase(&mut self) {
        self.phase_number = self.phase_number.saturating_add(1);
        if !self.counting.phase_is_explicit {
            self.phase = None;
        }
    }

    fn take_epoch(&mut self, seen: &Observation) -> bool {
        let total = self.epochs_with(seen);
        let changed = self.total_epochs != total;
        self.total_epochs = total;
        put(&mut self.epoch, seen.epoch) || changed
    }

    /// How many epochs there are after an observation: not as many as were said before, where there are more by now.
    fn epochs_with(&self, seen: &Observation) -> Option<f64> {
        let known = self.total_epochs;
        let holds = |total: &f64| seen.epoch.is_none_or(|epoch| epoch <= *total);
        seen.total_epochs.or(known.filter(holds))
    }

    /// Shows another adapter's epochs where the lead, an adapter too, has none of its own.
    fn fill_epoch(&mut self, seen: &Observation, rank: Rank) -> bool {
        let guessed = |lead: &Lead| matches!(lead.rank, Rank::GuessedSteps | Rank::NamedSteps);
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
        self.eta_basis = seen.eta_seconds.map(|_| EtaBasis::Claim);
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
