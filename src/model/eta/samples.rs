//! Samples of how much was done when: dense where it is recent, ever thinner the longer ago.

use super::breaks::{Breaks, is_break};
use super::seconds;

/// Most samples kept.
pub(super) const MOST: usize = 128;
/// What is usual is told from so many of the newest.
const USUAL: usize = 12;
/// What is told after a long time was worked through if it is so much of what that time usually brings.
const WORKED_THROUGH: f64 = 0.5;
/// Gaps among so many of the newest samples are recent ones.
const RECENT: usize = 32;

/// So much was done by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Milliseconds, pauses left out.
    pub(super) active_ms: u64,
    /// The same, with breaks left out as well.
    pub(super) work_ms: u64,
    /// Units.
    pub(super) done: f64,
}

/// Samples in the order of time; done never falls.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    points: Vec<Sample>,
    seen: u32,
    breaks: Breaks,
}

impl Samples {
    /// Takes one in; says whether something was done since the last one. Only advances are kept: standing
    /// still shows in the time since the last one.
    pub(super) fn push(&mut self, active_ms: u64, done: f64) -> bool {
        let mut work_ms = active_ms;
        match self.points.last_mut() {
            Some(last) if done == last.done => return false,
            Some(last) if active_ms <= last.active_ms => {
                last.done = done;
                return false;
            }
            Some(&mut last) => {
                let (before_ms, worked_ms) = (last.active_ms, last.work_ms);
                let step_ms = active_ms - before_ms;
                let usual_ms = self
                    .usual_step_ms()
                    .filter(|usual| is_break(step_ms, *usual))
                    .filter(|_| !self.went_on(step_ms, done));
                match usual_ms {
                    Some(usual_ms) => {
                        work_ms = worked_ms + usual_ms;
                        self.breaks.take(step_ms - usual_ms, done);
                    }
                    None => {
                        work_ms = worked_ms + step_ms;
                        self.breaks.ended();
                    }
                }
            }
            None => {}
        }
        self.points.push(Sample {
            active_ms,
            work_ms,
            done,
        });
        if let Some(lengths_ms) = self.breaks.no_breaks() {
            // Not the job takes breaks, but each of its steps takes longer now.
            let mut missing_ms = 0;
            let from = self.points.len() - lengths_ms.len();
            for (point, length_ms) in self.points[from..].iter_mut().zip(lengths_ms) {
                missing_ms += length_ms;
                point.work_ms += missing_ms;
            }
        }
        self.seen = self.seen.saturating_add(1);
        if self.points.len() > MOST {
            self.thin();
        }
        true
    }

    /// Whether so much was done in `step_ms` that it was worked through, and only told late.
    fn went_on(&self, step_ms: u64, done: f64) -> bool {
        let Some(recent) = self.points.len().checked_sub(USUAL + 1) else {
            return false;
        };
        let (Some(first), Some(last)) = (self.points.get(recent), self.points.last()) else {
            return false;
        };
        let usual_rate = (last.done - first.done) / seconds(last.work_ms - first.work_ms);
        done - last.done > usual_rate * seconds(step_ms) * WORKED_THROUGH
    }

    /// The usual time between two of the newest, once it can be told.
    fn usual_step_ms(&self) -> Option<u64> {
        let recent = self.points.len().checked_sub(USUAL + 1)?;
        let mut steps: Vec<u64> = self.points[recent..]
            .windows(2)
            .map(|pair| pair[1].work_ms - pair[0].work_ms)
            .collect();
        steps.sort_unstable();
        steps.get(USUAL / 2).copied()
    }

    /// Seconds of break for each unit that is done.
    pub(super) fn break_seconds_per_unit(&self) -> f64 {
        self.last()
            .map_or(0.0, |last| self.breaks.seconds_per_unit(last.done))
    }

    /// The longest of the breaks that are remembered.
    pub(super) fn longest_break_ms(&self) -> u64 {
        self.breaks.longest_ms()
    }

    /// Lets that one go whose neighbours are closest together, measured by how long ago it was.
    fn thin(&mut self) {
        let Some(last_ms) = self.last().map(|last| last.work_ms) else {
            return;
        };
        let crowding = |at: usize| {
            let around = seconds(self.points[at + 1].work_ms - self.points[at - 1].work_ms);
            around / seconds(last_ms - self.points[at].work_ms)
        };
        let inner = 1..self.points.len() - 1;
        if let Some(closest) = inner.min_by(|a, b| crowding(*a).total_cmp(&crowding(*b))) {
            self.points.remove(closest);
        }
    }

    pub(super) fn points(&self) -> &[Sample] {
        &self.points
    }

    pub(super) fn last(&self) -> Option<Sample> {
        self.points.last().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// How many there were in all.
    pub(super) fn seen(&self) -> u32 {
        self.seen
    }

    /// From the first to the last.
    pub(super) fn span_ms(&self) -> u64 {
        let ends = self.points.first().zip(self.points.last());
        ends.map_or(0, |(first, last)| last.active_ms - first.active_ms)
    }

    /// The longest time between two of the newest.
    pub(super) fn longest_gap_ms(&self) -> u64 {
        let recent = self.points.len().saturating_sub(RECENT);
        let gaps = self.points[recent..]
            .windows(2)
            .map(|pair| pair[1].active_ms - pair[0].active_ms);
        gaps.max().unwrap_or(0)
    }
}
