//! Progress over time: the quantities that can be drawn, and points gathered into the cells of a grid, so that a
//! curve has as many points as somebody can use, and each says what it stands for.

use crate::model::progress::Progress;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// One number of a job's progress that changes over time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// How much is done, percent.
    Percent,
    /// Units done.
    Step,
    /// The epoch it is in.
    Epoch,
    /// Units per second.
    Rate,
    /// Seconds that are left.
    EtaSeconds,
    /// A metric of the job's own.
    Metric(String),
}

/// A text that names no quantity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is percent, step, epoch, rate, eta_seconds, and metric.NAME for every metric")]
pub struct NotAQuantity;

/// What the name of a metric begins with, so that it cannot be taken for one of ours.
const METRIC: &str = "metric.";

impl Quantity {
    /// What every job may have, metrics aside.
    pub const PLAIN: [Self; 5] = [
        Self::Percent,
        Self::Step,
        Self::Epoch,
        Self::Rate,
        Self::EtaSeconds,
    ];

    /// Its value in `progress`, where it is known.
    #[must_use]
    pub fn of(&self, progress: &Progress) -> Option<f64> {
        match self {
            Self::Percent => progress.percent,
            Self::Step => progress.step,
            Self::Epoch => progress.epoch,
            Self::Rate => progress.rate,
            Self::EtaSeconds => progress.eta_seconds,
            Self::Metric(name) => progress.metrics.get(name).copied(),
        }
    }

    /// Everything that is known in `progress`.
    pub fn all_of(progress: &Progress) -> impl Iterator<Item = Self> {
        let plain = Self::PLAIN.into_iter();
        let metrics = progress.metrics.keys().cloned().map(Self::Metric);
        plain
            .filter(|quantity| quantity.of(progress).is_some())
            .chain(metrics)
    }

    /// What it is counted in, where that is always the same.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        match self {
            Self::Percent => Some("percent"),
            Self::EtaSeconds => Some("seconds"),
            Self::Step | Self::Epoch | Self::Rate | Self::Metric(_) => None,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent => f.write_str("percent"),
            Self::Step => f.write_str("step"),
            Self::Epoch => f.write_str("epoch"),
            Self::Rate => f.write_str("rate"),
            Self::EtaSeconds => f.write_str("eta_seconds"),
            Self::Metric(name) => write!(f, "{METRIC}{name}"),
        }
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let metric = text.strip_prefix(METRIC).filter(|name| !name.is_empty());
        let plain = Self::PLAIN.into_iter().find(|it| it.to_string() == text);
        plain
            .or_else(|| Some(Self::Metric(metric?.to_owned())))
            .ok_or(NotAQuantity)
    }
}

/// How a stretch of time is cut into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    origin_ms: i64,
    width_ms: i64,
}

impl Grid {
    /// A grid over the time from `first_ms` to `last_ms` with at most `most` cells, none shorter than `resolution_ms`.
    ///
    /// Cells of the wanted resolution begin at multiples of it, so that asking again later cuts the same time the
    /// same way; only where there would be too many are they wider.
    #[must_use]
    pub fn over(first_ms: i64, last_ms: i64, resolution_ms: i64, most: usize) -> Self {
        let most = i64::try_from(most).unwrap_or(i64::MAX).max(1);
        let resolution_ms = resolution_ms.max(1);
        let aligned = Self {
            origin_ms: 0,
            width_ms: resolution_ms,
        };
        let cells = aligned.cell(last_ms).saturating_sub(aligned.cell(first_ms));
        if cells < most {
            return aligned;
        }
        let span = last_ms.saturating_sub(first_ms);
        Self {
            origin_ms: first_ms,
            width_ms: (span / most).saturating_add(1).max(resolution_ms),
        }
    }

    /// The cell that an instant falls into.
    #[must_use]
    pub fn cell(self, at_ms: i64) -> i64 {
        at_ms
            .saturating_sub(self.origin_ms)
            .div_euclid(self.width_ms)
    }
}

/// The values of one quantity in one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The newest.
    pub last: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All of them together.
    pub sum: f64,
    /// How many.
    pub count: u64,
}

impl Spread {
    /// Of one value.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self {
            last: value,
            min: value,
            max: value,
            sum: value,
            count: 1,
        }
    }

    /// Takes a newer value.
    pub fn add(&mut self, value: f64) {
        self.last = value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }

    /// Takes the values of another, which are newer.
    pub fn merge(&mut self, newer: &Self) {
        self.last = newer.last;
        self.min = self.min.min(newer.min);
        self.max = self.max.max(newer.max);
        self.sum += newer.sum;
        self.count += newer.count;
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let mean = self.sum / self.count as f64;
        if mean.is_nan() {
            // The sum went beyond all numbers, in both directions.
            return self.last;
        }
        // Rounding must not carry it out of the range.
        mean.clamp(self.min, self.max)
    }
}

/// What a cell of a curve shows.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvePoint {
    /// When its newest value was seen.
    pub at_ms: i64,
    /// The newest progress in it.
    pub progress: Progress,
    /// Of each metric all values in it; empty where the cell has but one point.
    pub spread: BTreeMap<String, Spread>,
}

/// The progress of an attempt, gathered point by point, oldest first.
#[derive(Clone, Debug)]
pub struct Curve {
    grid: Grid,
    points: Vec<CurvePoint>,
}

impl Curve {
    /// An empty one.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self {
            grid,
            points: Vec::new(),
        }
    }

    /// Takes the next point.
    pub fn add(&mut self, at_ms: i64, progress: Progress) {
        let cell = self.grid.cell(at_ms);
        match self.points.last_mut() {
            Some(last) if self.grid.cell(last.at_ms) == cell => {
                if last.spread.is_empty() {
                    last.spread = spread_of(&last.progress);
                }
                for (name, value) in &progress.metrics {
                    match last.spread.get_mut(name) {
                        Some(spread) => spread.add(*value),
                        None => {
                            last.spread.insert(name.clone(), Spread::of(*value));
                        }
                    }
                }
                last.at_ms = at_ms;
                last.progress = progress;
            }
            Some(_) | None => self.points.push(CurvePoint {
                at_ms,
                progress,
                spread: BTreeMap::new(),
            }),
        }
    }

    /// When the newest point was seen.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        self.points.last().map(|point| point.at_ms)
    }

    /// The points, oldest first.
    #[must_use]
    pub fn into_points(self) -> Vec<CurvePoint> {
        self.points
    }
}

fn spread_of(progress: &Progress) -> BTreeMap<String, Spread> {
    let metrics = progress.metrics.iter();
    metrics
        .map(|(name, value)| (name.clone(), Spread::of(*value)))
        .collect()
}

/// One quantity over time, gathered value by value, oldest first.
#[derive(Clone, Debug)]
pub struct Line {
    grid: Grid,
    points: Vec<(i64, Spread)>,
}

impl Line {
    /// An empty one.
    #[must_use]
    pub fn new(grid: Grid) -> Self {
        Self {
            grid,
            points: Vec::new(),
        }
    }

    /// Takes the next value.
    pub fn add(&mut self, at_ms: i64, value: f64) {
        match self.points.last_mut() {
            Some((newest_ms, spread)) if self.grid.cell(*newest_ms) == self.grid.cell(at_ms) => {
                *newest_ms = at_ms;
                spread.add(value);
            }
            Some(_) | None => self.points.push((at_ms, Spread::of(value))),
        }
    }

    /// The points, oldest first, each with the time of its newest value.
    #[must_use]
    pub fn into_points(self) -> Vec<(i64, Spread)> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn progress(step: f64, loss: f64) -> Progress {
        Progress {
            step: Some(step),
            metrics: [("loss".to_owned(), loss)].into(),
            ..Progress::default()
        }
    }

    #[test]
    fn a_cell_shows_its_newest_value_and_how_far_the_metrics_went() {
        let mut curve = Curve::new(Grid::over(0, 3_000, 1_000, 100));
        for (at_ms, step, loss) in [
            (0, 1.0, 4.0),
            (400, 2.0, 9.0),
            (900, 3.0, 2.0),
            (2_500, 4.0, 1.0),
        ] {
            curve.add(at_ms, progress(step, loss));
        }
        let points = curve.into_points();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].at_ms, points[0].progress.step), (900, Some(3.0)));
        let loss = points[0].spread["loss"];
        assert_eq!(
            (loss.last, loss.min, loss.max, loss.count),
            (2.0, 2.0, 9.0, 3)
        );
        assert_eq!(loss.mean(), 5.0);
        assert!(points[1].spread.is_empty(), "one point says all of itself");
    }

    #[test]
    fn quantities_have_names_that_read_back() {
        let metric = Quantity::Metric("eval.loss".into());
        for quantity in Quantity::PLAIN.into_iter().chain([metric]) {
            assert_eq!(quantity.to_string().parse(), Ok(quantity));
        }
        for text in ["", "loss", "metric.", "metric", "Percent"] {
            assert_eq!(text.parse::<Quantity>(), Err(NotAQuantity), "{text}");
        }
        let names: Vec<String> = Quantity::all_of(&progress(1.0, 2.0))
            .map(|it| it.to_string())
            .collect();
        assert_eq!(names, ["step", "metric.loss"]);
    }

    proptest! {
        #[test]
        fn a_grid_has_no_more_cells_than_wanted_and_covers_all(
            first in -1_000_000_i64..1_000_000,
            span in 0_i64..1_000_000,
            resolution in 0_i64..10_000,
            most in 1_usize..50,
        ) {
            let last = first + span;
            let grid = Grid::over(first, last, resolution, most);
            let cells = grid.cell(last) - grid.cell(first) + 1;
            prop_assert!(cells >= 1 && cells <= i64::try_from(most).unwrap(), "{cells} cells");
        }

        #[test]
        fn a_line_loses_no_extreme_and_ends_with_the_last_value(
            values in prop::collection::vec(-1e6_f64..1e6, 1..200),
            most in 1_usize..20,
        ) {
            let last_ms = i64::try_from(values.len()).unwrap() * 37;
            let mut line = Line::new(Grid::over(0, last_ms, 0, most));
            for (at_ms, value) in (0..).step_by(37).zip(&values) {
                line.add(at_ms, *value);
            }
            let points = line.into_points();
            prop_assert!(points.len() <= most);
            let count: u64 = points.iter().map(|(_, spread)| spread.count).sum();
            prop_assert_eq!(count, values.len() as u64);
            let all = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
            let min = points.iter().map(|(_, it)| it.min).reduce(f64::min);
            let max = points.iter().map(|(_, it)| it.max).reduce(f64::max);
            prop_assert_eq!((min, max), (all(f64::min), all(f64::max)));
            prop_assert_eq!(points.last().map(|(_, it)| it.last), values.last().copied());
            for (_, it) in &points {
                prop_assert!(it.min <= it.mean() && it.mean() <= it.max);
            }
        }
    }
}
