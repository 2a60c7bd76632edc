//! A sketch of many values: how often values of about each size were seen, so that percentiles of any stretch of time
//! can be told from the sketches of its parts. Averages of percentiles could not.
//!
//! Buckets grow with the size of what is in them, so that the error is relative: at most [`ERROR`]. The idea is that of
//! DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees",
//! VLDB 2019).

use std::collections::BTreeMap;

/// How far a percentile may be off, as a part of it.
pub const ERROR: f64 = 0.02;

/// What is smaller than this counts as nothing.
const SMALLEST: f64 = 1e-9;

/// How often values of about each size were seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Values that are nothing.
    pub zeros: u64,
    /// Values below nothing, by the bucket of their size.
    pub negative: BTreeMap<i32, u64>,
    /// Values above nothing.
    pub positive: BTreeMap<i32, u64>,
}

fn growth() -> f64 {
    (1.0 + ERROR) / (1.0 - ERROR)
}

/// The bucket of a size.
fn bucket(size: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the logarithm of any finite number to this base is below 20,000"
    )]
    let bucket = (size.ln() / growth().ln()).ceil() as i32;
    bucket
}

/// The size that is nearest to all in a bucket.
fn middle(bucket: i32) -> f64 {
    2.0 * growth().powi(bucket) / (growth() + 1.0)
}

impl Sketch {
    /// Takes a value that was seen so often.
    pub fn add(&mut self, value: f64, times: u64) {
        if value.abs() < SMALLEST || !value.is_finite() {
            self.zeros += times;
        } else if value > 0.0 {
            *self.positive.entry(bucket(value)).or_default() += times;
        } else {
            *self.negative.entry(bucket(-value)).or_default() += times;
        }
    }

    /// Takes all values of another.
    pub fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        for (mine, theirs) in [
            (&mut self.negative, &other.negative),
            (&mut self.positive, &other.positive),
        ] {
            for (bucket, times) in theirs {
                *mine.entry(*bucket).or_default() += times;
            }
        }
    }

    /// How many values it has seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        let sizes = self.negative.values().chain(self.positive.values());
        self.zeros + sizes.sum::<u64>()
    }

    /// The value below which this part (0 to 1) of all values is; `None` where there are none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        let last = count.checked_sub(1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a count is no larger than the count"
        )]
        let rank = (part.clamp(0.0, 1.0) * last as f64).round() as u64;
        let below = self.negative.iter().rev();
        let below = below.map(|(bucket, times)| (-middle(*bucket), *times));
        let above = self.positive.iter();
        let above = above.map(|(bucket, times)| (middle(*bucket), *times));
        let mut passed = 0;
        for (value, times) in below.chain([(0.0, self.zeros)]).chain(above) {
            passed += times;
            if passed > rank {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_near_and_parts_add_up(
            values in prop::collection::vec(prop_oneof![-1e12_f64..1e12, -1.0_f64..1.0, Just(0.0)], 1..300),
            cut in any::<prop::sample::Index>(),
            part in 0.0_f64..=1.0,
        ) {
            let mut whole = Sketch::default();
            let (mut first, mut second) = (Sketch::default(), Sketch::default());
            let cut = cut.index(values.len());
            for (place, value) in values.iter().enumerate() {
                whole.add(*value, 1);
                if place < cut { first.add(*value, 1) } else { second.add(*value, 1) }
            }
            first.merge(&second);
            prop_assert_eq!(&first, &whole);
            let mut sorted = values;
            sorted.sort_by(f64::total_cmp);
            let rank = (part * (sorted.len() - 1) as f64).round() as usize;
            let (exact, told) = (sorted[rank], whole.quantile(part).unwrap());
            prop_assert!((told - exact).abs() <= exact.abs() * ERROR * 1.000_001 + SMALLEST, "{} for {}", told, exact);
        }
    }
}
