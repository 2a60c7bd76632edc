//! Breaks: times in which nothing is done although the job runs, such as an evaluation after each epoch.
//!
//! Breaks that come again and again are part of what the rest will take. One that came once is not, and
//! neither says anything about the pace between them.

use super::seconds;
use std::collections::VecDeque;

/// A step is a break when it takes so many times what is usual …
const TIMES_USUAL: u64 = 6;
/// … and at least so long.
const SHORTEST_MS: u64 = 700;
/// So many in a row are no breaks: each step takes longer now.
const IN_A_ROW: usize = 3;
/// Most breaks remembered.
const MOST: usize = 24;

/// Whether `step_ms` is a break, where `usual_ms` is usual.
pub(super) fn is_break(step_ms: u64, usual_ms: u64) -> bool {
    step_ms >= SHORTEST_MS && step_ms > usual_ms.saturating_mul(TIMES_USUAL)
}

#[derive(Clone, Copy, Debug)]
struct Break {
    length_ms: u64,
    /// Units done when it was over.
    done: f64,
}

/// The newest breaks of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaks {
    known: VecDeque<Break>,
    in_a_row: usize,
}

impl Breaks {
    /// One is over.
    pub(super) fn take(&mut self, length_ms: u64, done: f64) {
        if self.known.len() == MOST {
            self.known.pop_front();
        }
        self.known.push_back(Break { length_ms, done });
        self.in_a_row += 1;
    }

    /// A step was none.
    pub(super) fn ended(&mut self) {
        self.in_a_row = 0;
    }

    /// The longest that is remembered.
    pub(super) fn longest_ms(&self) -> u64 {
        let lengths_ms = self.known.iter().map(|it| it.length_ms);
        lengths_ms.max().unwrap_or(0)
    }

    /// The lengths of the newest ones, where they turn out to be no breaks. They are forgotten then.
    pub(super) fn no_breaks(&mut self) -> Option<Vec<u64>> {
        if self.in_a_row < IN_A_ROW {
            return None;
        }
        self.in_a_row = 0;
        let from = self.known.len().saturating_sub(IN_A_ROW);
        Some(self.known.drain(from..).map(|it| it.length_ms).collect())
    }

    /// What they add to each unit: whole rounds are counted, from the end of one break to that of another.
    pub(super) fn seconds_per_unit(&self, done: f64) -> f64 {
        let (Some(first), Some(last)) = (self.known.front(), self.known.back()) else {
            return 0.0;
        };
        let rounds = self.known.len() - 1;
        if rounds == 0 {
            return 0.0;
        }
        let lengths: f64 = self
            .known
            .iter()
            .skip(1)
            .map(|it| seconds(it.length_ms))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let round = (last.done - first.done) / rounds as f64;
        // Longer than a round without one: they may have ceased.
        let units = if done - last.done > round {
            done - first.done - round
        } else {
            last.done - first.done
        };
        if units > 0.0 { lengths / units } else { 0.0 }
    }
}
