//! How far estimates are from the truth: ours, the plain average, and a moving average as bars have it.

use super::traces::Trace;
use stoked::model::eta::{ActiveClock, Estimator};

/// Instants at which a run is looked at, from 5 % to 95 % of its time.
const LOOKS: u64 = 181;

/// Shorter than this nobody minds, seconds.
const SHORTEST: f64 = 1.0;

/// Mean |log(ETA ÷ truth)|, and how often the range holds the truth.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    /// Ours.
    pub(crate) ours: f64,
    /// Elapsed ÷ done × left.
    pub(crate) naive: f64,
    /// A moving average of rates with a weight of 0.3, as tqdm has it.
    pub(crate) moving: f64,
    /// Share of instants at which the truth is between p10 and p90.
    pub(crate) covered: f64,
    /// Mean width of the range, as log(p90 ÷ p10).
    pub(crate) width: f64,
    /// Share of instants at which there was an estimate.
    pub(crate) known: f64,
}

/// The moving average of a progress bar.
#[derive(Default)]
struct Moving {
    last: Option<(u64, f64)>,
    units: f64,
    seconds: f64,
}

impl Moving {
    fn record(&mut self, at: u64, done: f64) {
        if let Some((before, was)) = self.last {
            if at <= before || done <= was {
                return;
            }
            let mix = |old: f64, new: f64| {
                if old == 0.0 {
                    new
                } else {
                    0.7 * old + 0.3 * new
                }
            };
            self.units = mix(self.units, done - was);
            self.seconds = mix(self.seconds, (at - before) as f64 / 1000.0);
        }
        self.last = Some((at, done));
    }

    fn eta(&self, left: f64) -> Option<f64> {
        (self.units > 0.0).then(|| left * self.seconds / self.units)
    }
}

/// Plays a trace and looks at the estimates.
pub(crate) fn score(trace: &Trace) -> Score {
    let end = trace.active_ms(trace.end_ms());
    let (mut estimator, mut clock, mut moving) = (
        Estimator::default(),
        ActiveClock::default(),
        Moving::default(),
    );
    let mut pause = trace.pause;
    let mut points = trace.points.iter().peekable();
    let (mut ours, mut naive, mut plain) = (Mean::default(), Mean::default(), Mean::default());
    let (mut covered, mut width) = (Mean::default(), Mean::default());
    let mut last = (0, 0.0);
    for look in 0..LOOKS {
        // Active time goes on evenly; where the run was frozen, the clock on the wall jumps.
        let active = end / 20 + end * 9 / 10 * look / (LOOKS - 1);
        let at = match trace.pause {
            Some((from, to)) if active > from => active + (to - from),
            _ => active,
        };
        while let Some((seen, done)) = points.next_if(|(seen, _)| *seen <= at) {
            if let Some((from, to)) = pause.take_if(|(from, _)| *seen > *from) {
                clock.paused(from);
                clock.resumed(to);
            }
            estimator.record(clock.active_ms(*seen), *done, Some(trace.total));
            moving.record(*seen, *done);
            last = (*seen, *done);
        }
        let truth = ((end - active) as f64 / 1000.0).max(SHORTEST);
        let error = |eta: f64| (eta.max(SHORTEST) / truth).ln().abs();
        let left = trace.total - last.1;
        if last.1 > 0.0 {
            naive.add(error(at as f64 / 1000.0 / last.1 * left));
        }
        if let Some(eta) = moving.eta(left) {
            plain.add(error(eta));
        }
        let eta = estimator.estimate(active).and_then(|it| it.eta);
        if let Some(eta) = eta {
            ours.add(error(eta.seconds));
            let inside = (eta.low_seconds..=eta.high_seconds).contains(&truth);
            covered.add(f64::from(u8::from(inside)));
            width.add((eta.high_seconds.max(SHORTEST) / eta.low_seconds.max(SHORTEST)).ln());
        }
    }
    Score {
        ours: ours.mean(),
        naive: naive.mean(),
        moving: plain.mean(),
        covered: covered.mean(),
        width: width.mean(),
        known: ours.count / LOOKS as f64,
    }
}

/// The mean of some scores.
pub(crate) fn mean(scores: &[Score]) -> Score {
    let of = |field: fn(&Score) -> f64| {
        let mut mean = Mean::default();
        scores.iter().for_each(|score| mean.add(field(score)));
        mean.mean()
    };
    Score {
        ours: of(|it| it.ours),
        naive: of(|it| it.naive),
        moving: of(|it| it.moving),
        covered: of(|it| it.covered),
        width: of(|it| it.width),
        known: of(|it| it.known),
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1.0;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }
}
