//! Progress with its estimator: what the daemon keeps for every running attempt.

use crate::model::eta::{ActiveClock, Estimator, Eta, PastRuns};
use crate::model::time::Stamp;

use super::{EtaBasis, Observation, Progress, Rank, Source};

/// A job's own word about its pace and its end is not believed for longer than this without a new one.
const CLAIM_HOLDS_MS: u64 = 60_000;
/// An estimate from before a restart of the daemon is believed for a part of its length, within bounds.
const RECALLED_SHARE: f64 = 0.25;
const RECALLED_HOLDS_MAX_MS: u64 = 3_600_000;
/// After so long a silence what is shown is looked at again, and then at every doubling of it.
const FIRST_LOOK_MS: u64 = 5_000;
/// What counts down by earlier runs is shown anew when so much of it has gone by …
const COUNTDOWN_SHARE: f64 = 0.1;
/// … and at least so long.
const COUNTDOWN_MIN_MS: u64 = 3_000;
/// A total that grows by more than this at once belongs to something else that is counted.
const GROWTH_OF_ONE_COUNT: f64 = 2.0;

/// The progress of one attempt and the samples its ETA comes from.
///
/// Only the [`Progress`] is worth storing: after a restart the estimator gathers new samples.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    progress: Progress,
    estimator: Estimator,
    clock: ActiveClock,
    series: Option<Series>,
    /// When the lead last counted, and when it last told an ETA, on the clock of the job.
    counted_ms: Option<u64>,
    claimed_ms: Option<u64>,
    recalled: Option<Recalled>,
    past: PastRuns,
    /// When the attempt began, on the clock of the job, which may lie before its zero.
    began_ms: Option<i64>,
}

/// What the samples in the estimator measure; they may not be mixed with samples of something else.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    source: Option<Source>,
    phase_number: u32,
    measure: Measure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    Percent,
    Units { done: f64, total: Option<f64> },
}

/// The ETA that was shown before a restart of the daemon.
#[derive(Clone, Copy, Debug)]
struct Recalled {
    eta: Eta,
    at_ms: u64,
}

impl Tracker {
    /// Goes on from stored progress.
    #[must_use]
    pub fn resume(progress: Progress) -> Self {
        let recalled = progress
            .eta_seconds
            .filter(|_| progress.eta_basis == Some(EtaBasis::Rate))
            .zip(progress.heard_at)
            .map(|(seconds, at)| Recalled {
                eta: Eta {
                    seconds,
                    low_seconds: progress.eta_low_seconds.unwrap_or(seconds),
                    high_seconds: progress.eta_high_seconds.unwrap_or(seconds),
                },
                at_ms: at.boot_ms,
            });
        let counting = &progress.counting;
        Self {
            counted_ms: counting.lead.as_ref().map(|lead| lead.at.boot_ms),
            claimed_ms: counting.claimed_eta.map(|claim| claim.at.boot_ms),
            recalled,
            progress,
            ..Self::default()
        }
    }

    /// The progress as of the last [`observe`](Self::observe) or [`refresh`](Self::refresh).
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Merges one observation and brings rate and ETA up to date; returns whether anything changed but the
    /// rate and the length of an ETA.
    pub fn observe(&mut self, observation: Observation, at: Stamp) -> bool {
        let before = self.progress.eta_basis;
        let changed = self.progress.observe(observation, at);
        let counting = &self.progress.counting;
        let now_ms = self.clock.active_ms(at.boot_ms);
        let counted = counting.lead.as_ref().is_some_and(|lead| lead.at == at);
        if counting.claimed_eta.is_some_and(|claim| claim.at == at) {
            self.claimed_ms = Some(now_ms);
        }
        if counted {
            self.counted_ms = Some(now_ms);
            self.sample(now_ms);
        } else if counting.lead.is_none() && self.series.take().is_some() {
            // What was estimated was taken back, and so is the pace that it had.
            self.estimator.restart();
            self.recalled = None;
            self.counted_ms = None;
        }
        self.refresh(at);
        changed || before != self.progress.eta_basis
    }

    /// Brings rate and ETA up to `at`: a silent job's ETA runs down, widens and gets lost. Returns whether
    /// they changed.
    pub fn refresh(&mut self, at: Stamp) -> bool {
        let now_ms = self.clock.active_ms(at.boot_ms);
        let estimate = self.estimator.estimate(now_ms);
        let known = estimate
            .and_then(|estimate| estimate.eta)
            .map(|eta| (eta, EtaBasis::Rate))
            .or_else(|| self.told(now_ms))
            .or_else(|| self.by_past_runs(now_ms));
        let in_units = matches!(&self.series, Some(it) if it.measure != Measure::Percent);
        let measured = estimate.map(|estimate| estimate.rate).filter(|_| in_units);
        let claim_holds = self
            .counted_ms
            .is_some_and(|at_ms| now_ms.saturating_sub(at_ms) <= CLAIM_HOLDS_MS);
        let claimed_rate = self.progress.counting.claimed_rate;
        let is_stalled = estimate.is_some_and(|estimate| estimate.rate == 0.0);
        let rate = if self.clock.stands_still() {
            None
        } else if is_stalled {
            // What the job said of its pace holds no longer than what was measured of it.
            (in_units || claimed_rate.is_some()).then_some(0.0)
        } else {
            claimed_rate.filter(|_| claim_holds).or(measured)
        };
        let shown = &mut self.progress;
        let before = (shown.rate, shown.eta_seconds, shown.eta_high_seconds);
        shown.rate = rate;
        shown.show_eta(known);
        before != (shown.rate, shown.eta_seconds, shown.eta_high_seconds)
    }

    /// When, on the boot clock, rate or ETA will have changed by silence alone; `None` while the attempt is
    /// frozen, and when nothing changes any more.
    #[must_use]
    pub fn next_refresh(&self, at: Stamp) -> Option<u64> {
        let now_ms = self.clock.active_ms(at.boot_ms);
        let shown = &self.progress;
        let silence = match shown.eta_basis {
            Some(EtaBasis::History) => return self.clock.boot_ms(self.next_countdown(now_ms)?),
            Some(EtaBasis::Claim) => (self.claimed_ms, CLAIM_HOLDS_MS),
            Some(EtaBasis::Rate) if self.estimator.silent_since_ms().is_none() => {
                let recalled = self.recalled?;
                (Some(recalled.at_ms), recalled.holds_ms())
            }
            Some(EtaBasis::Rate) | None if shown.rate.is_some_and(|rate| rate > 0.0) => {
                match self.estimator.stalls_after_ms() {
                    Some(ms) => (self.estimator.silent_since_ms(), ms),
                    None => (self.counted_ms, CLAIM_HOLDS_MS),
                }
            }
            Some(EtaBasis::Rate) | None => (
                self.estimator.silent_since_ms(),
                self.estimator.stalls_after_ms()?,
            ),
        };
        let (since_ms, until_ms) = (silence.0?, silence.1 + 1);
        let silent_ms = now_ms.saturating_sub(since_ms);
        let looks = std::iter::successors(Some(FIRST_LOOK_MS), |ms| ms.checked_mul(2));
        let next = looks.chain([until_ms]).filter(|ms| *ms > silent_ms);
        let next_ms = next.min().filter(|ms| *ms <= until_ms)?;
        self.clock.boot_ms(since_ms + next_ms)
    }

    /// Nobody listened to the job until `at`, because the daemon itself was stopped: that it was silent says
    /// nothing.
    pub fn excuse(&mut self, at: Stamp) {
        self.estimator.excuse(self.clock.active_ms(at.boot_ms));
    }

    /// The attempt was frozen: time stands still for its ETA.
    pub fn paused(&mut self, at: Stamp) {
        self.clock.paused(at.boot_ms);
    }

    /// The attempt runs again.
    pub fn resumed(&mut self, at: Stamp) {
        self.clock.resumed(at.boot_ms);
    }

    /// Learns how long earlier runs of the same took, and that this one has run for `ran_ms` at `at`.
    pub fn compare(&mut self, past: PastRuns, ran_ms: u64, at: Stamp) {
        let now_ms = self.clock.active_ms(at.boot_ms);
        self.past = past;
        self.began_ms = signed(now_ms).checked_sub(signed(ran_ms));
    }

    /// When an observation that is seen at `now` was said: what lay there unread was said earlier, but after whatever
    /// was heard before it, and not before `began`.
    #[must_use]
    pub fn said_at(&self, observation: &Observation, began: Option<Stamp>, now: Stamp) -> Stamp {
        let said_ms = observation.said_at_ms.unwrap_or(now.wall_ms);
        let late_ms = u64::try_from(now.wall_ms.saturating_sub(said_ms)).unwrap_or(0);
        let earlier = [self.progress.heard_at, began].into_iter().flatten();
        let since_ms = earlier.map(|at| now.since_ms(at));
        now.minus_ms(since_ms.fold(late_ms, u64::min))
    }

    /// The attempt is over: there is nothing left to wait for. Returns whether that changed anything.
    pub fn end(&mut self) -> bool {
        let had_eta = self.progress.eta_seconds.is_some();
        self.progress.show_eta(None);
        had_eta
    }

    fn sample(&mut self, now_ms: u64) {
        let Some(measure) = self.measure() else {
            return;
        };
        let lead = self.progress.counting.lead.as_ref();
        let series = Series {
            source: lead.map(|lead| lead.source.clone()),
            phase_number: self.progress.phase_number,
            measure,
        };
        match &self.series {
            Some(old) if old.goes_on(&series) => {}
            Some(_) => {
                self.estimator.restart();
                self.recalled = None;
            }
            None => {}
        }
        self.series = Some(series);
        let (done, total) = match measure {
            Measure::Percent => (self.progress.percent.unwrap_or(0.0), Some(100.0)),
            Measure::Units { done, total } => (done, total),
        };
        self.estimator.record(now_ms, done, total);
    }

    /// In units where percent is plainly step ÷ total: a total may grow without telling a lie about the pace.
    fn measure(&self) -> Option<Measure> {
        let progress = &self.progress;
        let counting = &progress.counting;
        let lead = counting.lead.as_ref();
        let by_plan = lead.is_some_and(|lead| lead.rank == Rank::Plan);
        let stays_percent = self.series.as_ref().is_some_and(|series| {
            series.measure == Measure::Percent
                && series.phase_number == progress.phase_number
                && series.source.as_ref() == lead.map(|lead| &lead.source)
        });
        match (progress.percent, progress.step, progress.total_steps) {
            (Some(percent), Some(done), Some(total))
                if !counting.steps_in_epoch
                    && !by_plan
                    && !stays_percent
                    && (done / total * 100.0 - percent).abs() < 1.0 =>
            {
                let total = Some(total);
                Some(Measure::Units { done, total })
            }
            (Some(_), ..) => Some(Measure::Percent),
            (None, Some(done), _) => Some(Measure::Units { done, total: None }),
            (None, None, _) => None,
        }
    }

    /// What was said of the time left, by the job itself or by us before a restart, while samples are few.
    fn told(&self, now_ms: u64) -> Option<(Eta, EtaBasis)> {
        if self.estimator.has_enough() && self.estimator.knows_total() {
            return None;
        }
        let claim = self.progress.counting.claimed_eta.zip(self.claimed_ms);
        let claimed = claim.and_then(|(claim, at_ms)| {
            let age_ms = now_ms.saturating_sub(at_ms);
            let left = claim.seconds - seconds(age_ms);
            (age_ms <= CLAIM_HOLDS_MS && left >= 0.0).then_some((left, EtaBasis::Claim))
        });
        if let Some((left, basis)) = claimed {
            let eta = Eta {
                seconds: left,
                low_seconds: left,
                high_seconds: left,
            };
            return Some((eta, basis));
        }
        let recalled = self.recalled?;
        let age_ms = now_ms.saturating_sub(recalled.at_ms);
        let left = |all: f64| (all - seconds(age_ms)).max(0.0);
        let eta = Eta {
            seconds: left(recalled.eta.seconds),
            low_seconds: left(recalled.eta.low_seconds),
            high_seconds: left(recalled.eta.high_seconds),
        };
        (age_ms <= recalled.holds_ms()).then_some((eta, EtaBasis::Rate))
    }

    /// By earlier runs, while the job itself shows nothing that an end could be told from.
    fn by_past_runs(&self, now_ms: u64) -> Option<(Eta, EtaBasis)> {
        if self.estimator.has_enough() && self.progress.percent.is_some() {
            return None;
        }
        let ran_ms = u64::try_from(signed(now_ms).checked_sub(self.began_ms?)?).ok()?;
        Some((self.past.left(ran_ms)?, EtaBasis::History))
    }

    /// When a countdown by earlier runs is worth showing again.
    fn next_countdown(&self, now_ms: u64) -> Option<u64> {
        let began_ms = self.began_ms?;
        let ran_ms = u64::try_from(signed(now_ms).checked_sub(began_ms)?).ok()?;
        let left_ms = self.progress.eta_seconds? * 1000.0 * COUNTDOWN_SHARE;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length of time, not negative; beyond any use it is cut"
        )]
        let later = now_ms.saturating_add((left_ms as u64).max(COUNTDOWN_MIN_MS));
        let outlasted = self.past.next_change_ms(ran_ms)?;
        let outlasted = u64::try_from(began_ms.checked_add(signed(outlasted))?).ok()?;
        Some(later.min(outlasted.max(now_ms + 1)))
    }
}

impl Recalled {
    fn holds_ms(self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length of time, not negative; beyond any use it is cut"
        )]
        let share = (self.eta.seconds * 1000.0 * RECALLED_SHARE) as u64;
        share.clamp(CLAIM_HOLDS_MS, RECALLED_HOLDS_MAX_MS)
    }
}

impl Series {
    /// Whether samples of `next` may follow samples of this one.
    fn goes_on(&self, next: &Self) -> bool {
        if self.source != next.source {
            return false;
        }
        let same_phase = self.phase_number == next.phase_number;
        match (self.measure, next.measure) {
            (Measure::Percent, Measure::Percent) => same_phase,
            (Measure::Units { .. }, Measure::Units { .. }) if same_phase => true,
            // Percent fell because more to do was found, while the count itself went on.
            (
                Measure::Units {
                    done,
                    total: Some(total),
                },
                Measure::Units {
                    done: next_done,
                    total: Some(next_total),
                },
            ) => next_done >= done && next_total <= total * GROWTH_OF_ONE_COUNT,
            _ => false,
        }
    }
}

impl Progress {
    /// The same `age_ms` later, where nothing was heard since: what counts down has gone on.
    #[must_use]
    pub fn aged(mut self, age_ms: u64) -> Self {
        if matches!(self.eta_basis, Some(EtaBasis::History | EtaBasis::Claim)) {
            let later = |left: f64| (left - seconds(age_ms)).max(0.0);
            self.eta_seconds = self.eta_seconds.map(later);
            self.eta_low_seconds = self.eta_low_seconds.map(later);
            self.eta_high_seconds = self.eta_high_seconds.map(later);
        }
        self
    }

    fn show_eta(&mut self, known: Option<(Eta, EtaBasis)>) {
        let has_range = |basis| basis != EtaBasis::Claim;
        let range = known.filter(|(_, basis)| has_range(*basis));
        self.eta_seconds = known.map(|(eta, _)| eta.seconds);
        self.eta_low_seconds = range.map(|(eta, _)| eta.low_seconds);
        self.eta_high_seconds = range.map(|(eta, _)| eta.high_seconds);
        self.eta_basis = known.map(|(_, basis)| basis);
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds stay far below 2^53"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
