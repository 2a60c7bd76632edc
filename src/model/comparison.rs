//! Several runs drawn over one axis: time since each began, the step it was at, or how much of it was done.
//!
//! What is measured besides progress has times only; its place on the other axes is where the run was when it had told
//! that last, as nothing is known in between.

use crate::model::curve::Spread;
use std::fmt;
use std::str::FromStr;

/// What runs are compared over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Seconds since the attempt began to run.
    Time,
    /// Units done.
    Step,
    /// How much is done, percent.
    Percent,
}

/// A text that names no axis.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is time, step and percent")]
pub struct NotAnAxis;

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Step => "step",
            Self::Percent => "percent",
        })
    }
}

impl FromStr for Axis {
    type Err = NotAnAxis;

    fn from_str(text: &str) -> Result<Self, NotAnAxis> {
        let mut all = [Self::Time, Self::Step, Self::Percent].into_iter();
        all.find(|axis| axis.to_string() == text).ok_or(NotAnAxis)
    }
}

/// Where a run was on the axis, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track(Vec<(i64, f64)>);

impl Track {
    /// Takes the next place, of a later time.
    pub fn add(&mut self, at_ms: i64, x: f64) {
        if x.is_finite() {
            self.0.push((at_ms, x));
        }
    }

    /// Where it was at a time, as far as it had told by then.
    #[must_use]
    pub fn at(&self, at_ms: i64) -> Option<f64> {
        let after = self.0.partition_point(|(told_ms, _)| *told_ms <= at_ms);
        let (_, x) = self.0.get(after.checked_sub(1)?)?;
        Some(*x)
    }
}

/// Values of one quantity of one run, by their place on the axis.
pub type Scatter = Vec<(f64, Spread)>;

/// Gathers every run into the same cells of the axis, at most `most`. A cell's place is that of its newest value.
#[must_use]
pub fn align(runs: Vec<Scatter>, most: usize) -> Vec<Scatter> {
    let places = || runs.iter().flatten().map(|(x, _)| *x);
    let least = places().fold(f64::INFINITY, f64::min);
    let greatest = places().fold(f64::NEG_INFINITY, f64::max);
    let most = most.max(1);
    let width = (greatest - least) / most as f64;
    let cell_of = |x: f64| {
        if width > 0.0 && width.is_finite() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, as no place is less than the least, and bounded below"
            )]
            let cell = ((x - least) / width) as usize;
            cell.min(most - 1)
        } else {
            0
        }
    };
    let gathered = runs.into_iter().map(|run| {
        let mut cells: Vec<(usize, f64, Spread)> = Vec::new();
        // A job that began anew went over the same places again; what it did last stands.
        for (x, spread) in run {
            let cell = cell_of(x);
            match cells.binary_search_by_key(&cell, |(it, ..)| *it) {
                Ok(found) => {
                    let (_, place, all) = &mut cells[found];
                    *place = x;
                    all.merge(&spread);
                }
                Err(place) => cells.insert(place, (cell, x, spread)),
            }
        }
        let points = cells.into_iter();
        points.map(|(_, x, spread)| (x, spread)).collect()
    });
    gathered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn axes_have_names_that_read_back() {
        for axis in [Axis::Time, Axis::Step, Axis::Percent] {
            assert_eq!(axis.to_string().parse(), Ok(axis));
        }
        assert_eq!("x".parse::<Axis>(), Err(NotAnAxis));
    }

    #[test]
    fn a_place_holds_until_the_next_is_told() {
        let mut track = Track::default();
        track.add(100, 1.0);
        track.add(200, f64::NAN);
        track.add(300, 5.0);
        let places = [99, 100, 299, 300, 9_999].map(|at_ms| track.at(at_ms));
        assert_eq!(places, [None, Some(1.0), Some(1.0), Some(5.0), Some(5.0)]);
    }

    #[test]
    fn runs_share_their_cells() {
        let run = |values: &[(f64, f64)]| -> Scatter {
            values.iter().map(|(x, y)| (*x, Spread::of(*y))).collect()
        };
        let aligned = align(
            vec![
                run(&[(0.0, 1.0), (4.0, 3.0), (9.0, 2.0)]),
                run(&[(6.0, 8.0), (10.0, 7.0)]),
            ],
            2,
        );
        assert_eq!(aligned[0].len(), 2);
        let (x, first) = aligned[0][0];
        assert_eq!(
            (x, first.min, first.max, first.last, first.count),
            (4.0, 1.0, 3.0, 3.0, 2)
        );
        assert_eq!(aligned[1].len(), 1);
        assert_eq!(align(vec![run(&[(3.0, 1.0), (3.0, 2.0)])], 10)[0].len(), 1);
        assert_eq!(align(vec![Scatter::new()], 10), [Scatter::new()]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_on_the_way(
            runs in prop::collection::vec(prop::collection::vec((-1e6_f64..1e6, -1e3_f64..1e3), 0..60), 1..4),
            most in 1_usize..30,
        ) {
            let scatters: Vec<Scatter> = runs
                .iter()
                .map(|run| run.iter().map(|(x, y)| (*x, Spread::of(*y))).collect())
                .collect();
            for (run, aligned) in runs.iter().zip(align(scatters, most)) {
                prop_assert!(aligned.len() <= most);
                let count: u64 = aligned.iter().map(|(_, it)| it.count).sum();
                prop_assert_eq!(count, run.len() as u64);
                let max = aligned.iter().map(|(_, it)| it.max).reduce(f64::max);
                prop_assert_eq!(max, run.iter().map(|(_, y)| *y).reduce(f64::max));
                prop_assert!(aligned.is_sorted_by(|a, b| a.0 <= b.0));
            }
        }
    }
}
