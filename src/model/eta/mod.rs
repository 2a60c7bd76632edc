//! When will it be done: an estimate from the recent rate, with a range.
//!
//! The total average never forgets a slow start, a pause or the part that a resumed job did not do itself; a
//! short window follows every whim. So the window is chosen: the longest one that no shorter one contradicts
//! ([`window`]). Its own unevenness, and how well the estimates so far have held, give the range. Pure, in
//! constant memory.

mod breaks;
mod clock;
mod history;
mod record;
mod samples;
mod window;

pub use clock::ActiveClock;
pub use history::PastRuns;

use record::Record;
use samples::Samples;

/// Before an estimate is given there must be so many samples …
const ENOUGH_SAMPLES: u32 = 5;
/// … or samples over so long a time.
const ENOUGH_SPAN_MS: u64 = 3_000;
/// A job is stalled when it is silent for so many times its longest recent gap …
const STALL_GAPS: u64 = 5;
/// … and so many times its longest break …
const STALL_BREAKS: u64 = 2;
/// … and for at least so long.
const STALL_MIN_MS: u64 = 10_000;
/// Longer than ten years is not an estimate, whoever says so.
pub const MAX_ETA_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;
/// The 10th and 90th percentile of a bell curve lie so many deviations from its middle.
const TENTH: f64 = 1.2816;
/// Nobody knows the future better than this, as a deviation of a logarithm.
const LEAST_DOUBT: f64 = 0.01;
/// What one interval alone leaves open, as a deviation of a logarithm; with each further one it is less.
const DOUBT_OF_ONE: f64 = 0.6;
/// More doubt than this is no estimate's business any more.
const MOST_DOUBT: f64 = 2.0;

/// What can be said at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Units per second, lately.
    pub rate: f64,
    /// When it will be done; absent when the total is unknown or the job is stalled.
    pub eta: Option<Eta>,
}

/// A time to the end, with a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eta {
    /// The median.
    pub seconds: f64,
    /// The 10th percentile.
    pub low_seconds: f64,
    /// The 90th percentile.
    pub high_seconds: f64,
}

/// Gathers samples of how much is done and says how long the rest will take.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    samples: Samples,
    record: Record,
    total: Option<f64>,
    /// Until then nobody listened.
    excused_ms: u64,
}

impl Estimator {
    /// Forgets all samples, because counting begins anew.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Takes in how much was done at `active_ms`. A fall means that counting began anew.
    pub fn record(&mut self, active_ms: u64, done: f64, total: Option<f64>) {
        if !done.is_finite() {
            return;
        }
        if self.samples.last().is_some_and(|last| done < last.done) {
            self.restart();
        }
        self.total = total.filter(|total| total.is_finite());
        if self.samples.push(active_ms, done)
            && self.has_enough()
            && self.record.is_due(&self.samples)
            && let Some(pace) = window::choose(&self.samples)
        {
            self.record.note(&self.samples, pace);
        }
    }

    /// Whether there are samples enough to say anything.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        let samples = &self.samples;
        samples.len() >= 2
            && (samples.seen() >= ENOUGH_SAMPLES || samples.span_ms() >= ENOUGH_SPAN_MS)
    }

    /// Whether it is known how much there is to do.
    #[must_use]
    pub fn knows_total(&self) -> bool {
        self.total.is_some()
    }

    /// Since when the job is silent; `None` before the first sample.
    #[must_use]
    pub fn silent_since_ms(&self) -> Option<u64> {
        let last = self.samples.last()?;
        Some(last.active_ms.max(self.excused_ms))
    }

    /// Nobody listened until `active_ms`: a silence up to then says nothing of the job.
    pub fn excuse(&mut self, active_ms: u64) {
        self.excused_ms = self.excused_ms.max(active_ms);
    }

    /// After how long a silence the job counts as stalled, once there are samples enough.
    #[must_use]
    pub fn stalls_after_ms(&self) -> Option<u64> {
        let gaps_ms = self.samples.longest_gap_ms().saturating_mul(STALL_GAPS);
        let break_ms = self.samples.longest_break_ms().saturating_mul(STALL_BREAKS);
        self.has_enough()
            .then(|| gaps_ms.max(break_ms).max(STALL_MIN_MS))
    }

    /// What can be said at `active_ms`, if anything.
    #[must_use]
    pub fn estimate(&self, active_ms: u64) -> Option<Estimate> {
        let last = self.samples.last()?;
        let silent_ms = active_ms.saturating_sub(self.silent_since_ms()?);
        if silent_ms > self.stalls_after_ms()? {
            return Some(Estimate {
                rate: 0.0,
                eta: None,
            });
        }
        let gap_ms = self.samples.longest_gap_ms();
        let pace = window::choose(&self.samples)?;
        let left = self.total.map(|total| (total - last.done).max(0.0));
        let eta = left.and_then(|left| self.eta(left, &pace, silent_ms, gap_ms));
        Some(Estimate {
            rate: pace.rate,
            eta,
        })
    }

    fn eta(&self, left: f64, pace: &window::Pace, silent_ms: u64, gap_ms: u64) -> Option<Eta> {
        if left == 0.0 {
            return Some(Eta {
                seconds: 0.0,
                low_seconds: 0.0,
                high_seconds: 0.0,
            });
        }
        // Up to its usual gap, a silent job has probably done more than it said.
        let unsaid = seconds(silent_ms.min(gap_ms));
        let whole = left / pace.rate + left * self.samples.break_seconds_per_unit();
        let point = (whole - unsaid).max(0.0);
        let own = pace.doubt_over(whole);
        let held = self.record.doubt(&self.samples, whole);
        let doubt = own
            .hypot(held)
            .max(self.doubt_of_few())
            .clamp(LEAST_DOUBT, MOST_DOUBT);
        // Beyond it, it may as well be silent for as long again; how fast it works that does not say.
        let late = seconds(silent_ms.saturating_sub(gap_ms));
        let spread = (TENTH * doubt).exp();
        (point.is_finite() && point <= MAX_ETA_SECONDS).then(|| Eta {
            seconds: point,
            low_seconds: (whole / spread - unsaid).max(0.0).min(point),
            high_seconds: ((whole * spread - unsaid).max(point) + late).min(MAX_ETA_SECONDS),
        })
    }

    /// Few intervals show less unevenness than there is.
    #[expect(clippy::cast_precision_loss, reason = "a few dozen samples")]
    fn doubt_of_few(&self) -> f64 {
        let intervals = self.samples.len().saturating_sub(1).max(1) as f64;
        DOUBT_OF_ONE / intervals.powf(1.5)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds stay far below 2^53"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The quantile of sorted values, between neighbours in proportion.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a few dozen values"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * (sorted.len().checked_sub(1)?) as f64;
    let below = at.floor() as usize;
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * at.fract())
}

#[cfg(test)]
mod tests;
