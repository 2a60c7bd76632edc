//! When will it be done: an estimate from a robust recent rate, with a range.
//!
//! The total average is not used: it never forgets a slow start, a pause or the part a resumed job
//! did not do itself. Rates are measured over spans of half a window of recent samples; their median is
//! the rate, their 10th and 90th percentile give the range. Pure, in constant memory.

mod clock;
mod history;

pub use clock::ActiveClock;
pub use history::PastRuns;

/// Most samples kept; the one that tells least goes when there are more.
const MAX_SAMPLES: usize = 64;
/// Samples kept even when they are older than the window: a slow job has no others.
const MIN_KEPT: usize = 6;
/// Before an estimate is given there must be so many samples …
const ENOUGH_SAMPLES: u32 = 5;
/// … or samples over so long a time.
const ENOUGH_SPAN_MS: u64 = 3_000;
/// The window is a third of the time run so far, within these bounds.
const WINDOW_SHARE: u64 = 3;
const WINDOW_MIN_MS: u64 = 10_000;
const WINDOW_MAX_MS: u64 = 15 * 60_000;
/// A job is stalled when it is silent for so many times its longest recent gap …
const STALL_GAPS: u64 = 5;
/// … and for at least so long.
const STALL_MIN_MS: u64 = 30_000;
/// Longer than ten years is not an estimate.
const MAX_ETA_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

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

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Milliseconds, pauses left out.
    active_ms: u64,
    done: f64,
}

/// Gathers samples of how much is done and says how long the rest will take.
#[derive(Clone, Debug, Default)]
pub struct Estimator {
    samples: Vec<Sample>,
    first_ms: u64,
    seen: u32,
    total: Option<f64>,
}

impl Estimator {
    /// Forgets all samples, because counting begins anew.
    pub fn restart(&mut self) {
        self.samples.clear();
        self.seen = 0;
        self.total = None;
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
        match self.samples.last_mut() {
            // Only advances are kept: standing still shows in the time since the last one.
            Some(last) if done == last.done => return,
            Some(last) if active_ms <= last.active_ms => last.done = done,
            Some(_) => self.samples.push(Sample { active_ms, done }),
            None => {
                self.first_ms = active_ms;
                self.samples.push(Sample { active_ms, done });
            }
        }
        self.seen = self.seen.saturating_add(1);
        self.thin();
    }

    /// Whether there are samples enough to say anything.
    #[must_use]
    pub fn has_enough(&self) -> bool {
        let span_ms = self.last_ms().unwrap_or(0).saturating_sub(self.first_ms);
        self.samples.len() >= 2 && (self.seen >= ENOUGH_SAMPLES || span_ms >= ENOUGH_SPAN_MS)
    }

    /// Whether it is known how much there is to do.
    #[must_use]
    pub fn knows_total(&self) -> bool {
        self.total.is_some()
    }

    /// When something was last done; `None` before the first sample.
    #[must_use]
    pub fn last_ms(&self) -> Option<u64> {
        self.samples.last().map(|last| last.active_ms)
    }

    /// After how long a silence the job counts as stalled, once there are samples enough.
    #[must_use]
    pub fn stalls_after_ms(&self) -> Option<u64> {
        let gaps_ms = self.longest_gap_ms().saturating_mul(STALL_GAPS);
        self.has_enough().then(|| gaps_ms.max(STALL_MIN_MS))
    }

    /// What can be said at `active_ms`, if anything.
    #[must_use]
    pub fn estimate(&self, active_ms: u64) -> Option<Estimate> {
        if !self.has_enough() {
            return None;
        }
        let now_ms = active_ms;
        let silent_ms = now_ms.saturating_sub(self.last_ms()?);
        let gap_ms = self.longest_gap_ms();
        if silent_ms > self.stalls_after_ms()? {
            return Some(Estimate {
                rate: 0.0,
                eta: None,
            });
        }
        let rates = self.rates((silent_ms > gap_ms).then_some(now_ms));
        let rate = quantile(&rates, 0.5)?;
        let eta = self.eta(&rates, rate, silent_ms, gap_ms);
        Some(Estimate { rate, eta })
    }

    fn eta(&self, rates: &[f64], rate: f64, silent_ms: u64, gap_ms: u64) -> Option<Eta> {
        let left = (self.total? - self.samples.last()?.done).max(0.0);
        if left == 0.0 {
            return Some(Eta {
                seconds: 0.0,
                low_seconds: 0.0,
                high_seconds: 0.0,
            });
        }
        // Up to its usual gap, a silent job has probably done more than it said.
        let unsaid = seconds(silent_ms.min(gap_ms));
        let late = if gap_ms > 0 {
            (seconds(silent_ms) / seconds(gap_ms)).max(1.0)
        } else {
            1.0
        };
        let spread = 1.02 + 1.0 / f64::from(self.seen.max(1));
        let until = |rate: f64| (left / rate - unsaid).max(0.0);
        let point = until(rate);
        let low = until(quantile(rates, 0.9)?).min(point / spread);
        let high = until(quantile(rates, 0.1)?).max(point * spread) * late;
        (point.is_finite() && point <= MAX_ETA_SECONDS).then(|| Eta {
            seconds: point,
            low_seconds: low,
            high_seconds: high.min(MAX_ETA_SECONDS),
        })
    }

    /// The rates over all spans of half the window, sorted; `now_ms` adds that nothing came since.
    fn rates(&self, now_ms: Option<u64>) -> Vec<f64> {
        let mut points = self.samples.clone();
        if let (Some(active_ms), Some(last)) = (now_ms, points.last().copied()) {
            points.push(Sample { active_ms, ..last });
        }
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return Vec::new();
        };
        let half_ms = ((last.active_ms - first.active_ms) / 2).max(1);
        let mut rates: Vec<f64> = points
            .iter()
            .filter_map(|from| {
                let to = points.partition_point(|to| to.active_ms < from.active_ms + half_ms);
                let to = points.get(to)?;
                Some((to.done - from.done) / seconds(to.active_ms - from.active_ms))
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        rates
    }

    /// Drops what lies before the window, then the sample that stands closest to its neighbours.
    fn thin(&mut self) {
        let last_ms = self.last_ms().unwrap_or(0);
        let window_ms =
            ((last_ms - self.first_ms) / WINDOW_SHARE).clamp(WINDOW_MIN_MS, WINDOW_MAX_MS);
        let old = self
            .samples
            .partition_point(|sample| sample.active_ms + window_ms < last_ms)
            .min(self.samples.len().saturating_sub(MIN_KEPT));
        self.samples.drain(..old);
        if self.samples.len() > MAX_SAMPLES {
            let around =
                |at: &usize| self.samples[at + 1].active_ms - self.samples[at - 1].active_ms;
            if let Some(closest) = (1..self.samples.len() - 1).min_by_key(around) {
                self.samples.remove(closest);
            }
        }
    }

    fn longest_gap_ms(&self) -> u64 {
        let gaps = self
            .samples
            .windows(2)
            .map(|pair| pair[1].active_ms - pair[0].active_ms);
        gaps.max().unwrap_or(0)
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
