//! How well earlier estimates of the same run have held: the doubt that no window shows about itself.

use super::samples::Samples;
use super::seconds;
use super::window::Pace;

/// The next estimate is noted when the run has become so much longer.
const GROWTH: f64 = 1.15;
/// Most estimates remembered.
const MOST: usize = 24;
/// Estimates that were to hold for less than this part of what is left say little about it.
const SHORTEST_PART: f64 = 0.1;
/// However far off one was, it counts for no more, as a logarithm.
const FARTHEST: f64 = 1.0;
/// How much a change that was seen counts for what is still to come, which may change again.
const AGAIN: f64 = 1.7;

/// What was estimated at some time.
#[derive(Clone, Copy, Debug)]
struct Noted {
    work_ms: u64,
    done: f64,
    pace: Pace,
}

/// Estimates at growing distances.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    noted: Vec<Noted>,
    next_span_ms: u64,
}

impl Record {
    /// Whether an estimate is worth noting again.
    pub(super) fn is_due(&self, samples: &Samples) -> bool {
        samples.span_ms() >= self.next_span_ms
    }

    /// Notes an estimate.
    pub(super) fn note(&mut self, samples: &Samples, pace: Pace) {
        let Some(last) = samples.last().filter(|_| pace.rate > 0.0) else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length of time, not negative"
        )]
        let next_ms = (seconds(samples.span_ms()) * 1000.0 * GROWTH) as u64;
        self.next_span_ms = next_ms.max(samples.span_ms() + 1);
        if self.noted.len() == MOST {
            self.noted.remove(0);
        }
        self.noted.push(Noted {
            work_ms: last.work_ms,
            done: last.done,
            pace,
        });
    }

    /// By how much the noted estimates were off, as a deviation of their logarithm, for a rest of `left` seconds.
    pub(super) fn doubt(&self, samples: &Samples, left: f64) -> f64 {
        let Some(last) = samples.last() else {
            return 0.0;
        };
        let (mut sum, mut weights) = (0.0, 0.0);
        for noted in &self.noted {
            let took = seconds(last.work_ms - noted.work_ms);
            let done = last.done - noted.done;
            if took < left * SHORTEST_PART || done <= 0.0 {
                continue;
            }
            let off = (noted.pace.rate * took / done)
                .ln()
                .clamp(-FARTHEST, FARTHEST);
            // What was to be expected anyway is no sign of change.
            let changed = (off.powi(2) - noted.pace.doubt_over(took).powi(2)).max(0.0);
            // Those that were to hold for as long as what is left count most.
            let weight = (took / left).min(left / took);
            sum += weight * changed;
            weights += weight;
        }
        if weights > 0.0 {
            (sum / weights).sqrt() * AGAIN
        } else {
            0.0
        }
    }
}
