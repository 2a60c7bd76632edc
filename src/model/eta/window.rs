//! How far back to look: the longest window that no shorter one contradicts.
//!
//! The rate over a long window is sure and perhaps out of date, over a short one up to date and perhaps chance.
//! Each window says how far it is to be trusted, from how uneven its parts are. Windows are taken from the
//! shortest on, as long as there is a rate that all of them allow.

use super::samples::{Sample, Samples};
use super::seconds;

/// A window is compared in so many parts.
const PARTS: u64 = 8;
/// Fewer steps than this between samples say nothing of how uneven they are.
const FEWEST_STEPS: usize = 4;
/// The next window is so much longer.
const GROWTH: f64 = 1.3;
/// So many deviations a window allows its rate to be off.
const TRUST: f64 = 2.5;
/// However even a window is, it allows for so much, as a logarithm.
const ALWAYS_ALLOWED: f64 = 0.03;

/// How fast it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Units per second.
    pub(super) rate: f64,
    /// Deviation of its logarithm.
    pub(super) doubt: f64,
    /// Length of the window, seconds.
    pub(super) seconds: f64,
}

impl Pace {
    /// The doubt about the next `ahead` seconds: what was uneven so far will be as uneven again, and the less
    /// so the longer it goes on.
    pub(super) fn doubt_over(&self, ahead: f64) -> f64 {
        self.doubt * (1.0 + self.seconds / ahead.max(0.001)).sqrt()
    }
}

/// The pace over the window that tells most.
pub(super) fn choose(samples: &Samples) -> Option<Pace> {
    let points = samples.points();
    let last = *points.last()?;
    let end_ms = last.work_ms;
    let mut chosen = None;
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    let roughness = roughness(points);
    let mut from = points.len().saturating_sub(FEWEST_STEPS + 1);
    loop {
        let mut pace = pace(&points[from..], end_ms)?;
        pace.doubt = pace
            .doubt
            .max((roughness / pace.seconds).sqrt() / pace.rate);
        let middle = pace.rate.ln();
        if !(low..=high).contains(&middle) {
            return chosen;
        }
        let allowed = TRUST * pace.doubt + ALWAYS_ALLOWED;
        low = low.max(middle - allowed);
        high = high.min(middle + allowed);
        chosen = Some(pace);
        if from == 0 {
            return chosen;
        }
        from = longer(points, from, end_ms);
    }
}

/// How much neighbouring samples differ in their rates: the variance of what is done per second, over one
/// second. A rate that changes once hardly shows in it, one that changes all the time does.
fn roughness(points: &[Sample]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for three in points.windows(3) {
        let span = |a: &Sample, b: &Sample| seconds(b.work_ms - a.work_ms);
        let (before, after) = (span(&three[0], &three[1]), span(&three[1], &three[2]));
        let differ =
            (three[1].done - three[0].done) / before - (three[2].done - three[1].done) / after;
        sum += differ.powi(2) / (1.0 / before + 1.0 / after);
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Where the next window begins.
fn longer(points: &[Sample], from: usize, end_ms: u64) -> usize {
    let length = seconds(end_ms - points[from].work_ms) * GROWTH;
    let begins = |point: &Sample| seconds(end_ms - point.work_ms) >= length;
    points[..from].iter().rposition(begins).unwrap_or(0)
}

/// The mean rate from the first point to `end_ms`, and how far it is to be trusted.
fn pace(points: &[Sample], end_ms: u64) -> Option<Pace> {
    let (first, last) = (points.first()?, points.last()?);
    let length_ms = end_ms.checked_sub(first.work_ms).filter(|ms| *ms > 0)?;
    let length = seconds(length_ms);
    let done = last.done - first.done;
    let rate = done / length;
    let (mut parts, mut unevenness) = (0.0, 0.0);
    let mut begin = *first;
    let mut close = |end: Sample| {
        let expected = rate * seconds(end.work_ms - begin.work_ms);
        unevenness += (end.done - begin.done - expected).powi(2);
        parts += 1.0;
        begin = end;
    };
    let mut closed_ms = first.work_ms;
    for point in &points[1..] {
        if point.work_ms - closed_ms >= length_ms / PARTS {
            closed_ms = point.work_ms;
            close(*point);
        }
    }
    if closed_ms < end_ms {
        close(Sample {
            work_ms: end_ms,
            ..*last
        });
    }
    // Few parts show less unevenness than there is.
    let correction: f64 = if parts > 2.0 {
        parts / (parts - 2.0)
    } else {
        9.0
    };
    Some(Pace {
        rate,
        doubt: (unevenness * correction).sqrt() / done,
        seconds: length,
    })
}
