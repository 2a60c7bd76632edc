//! How long a run will take, given how long earlier runs of the same took.

use super::{Eta, quantile, seconds};

/// So much wider than the middle the range is at least, for one run; with more runs it may be narrower.
const SPREAD_OF_ONE: f64 = 0.5;

/// Active times of earlier runs that completed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastRuns {
    /// Seconds, shortest first.
    seconds: Vec<f64>,
}

impl PastRuns {
    /// From milliseconds, in any order.
    #[must_use]
    pub fn new(active_ms: &[u64]) -> Self {
        let mut seconds: Vec<f64> = active_ms.iter().copied().map(super::seconds).collect();
        seconds.sort_by(f64::total_cmp);
        Self { seconds }
    }

    /// What is left for a run that has lasted `active_ms`: as the runs went on that lasted longer than that.
    /// `None` where none did.
    #[must_use]
    pub fn left(&self, active_ms: u64) -> Option<Eta> {
        let now = seconds(active_ms);
        let over = self.seconds.partition_point(|run| *run <= now);
        let longer = self.seconds.get(over..)?;
        let point = quantile(longer, 0.5)? - now;
        #[expect(clippy::cast_precision_loss, reason = "a few dozen runs")]
        let spread = 1.0 + SPREAD_OF_ONE / longer.len() as f64;
        Some(Eta {
            seconds: point,
            low_seconds: (quantile(longer, 0.1)? - now).min(point / spread),
            high_seconds: (quantile(longer, 0.9)? - now).max(point * spread),
        })
    }

    /// When what [`left`](Self::left) says changes by more than the time that passes: the length of the
    /// next run that will have been outlasted.
    #[must_use]
    pub fn next_change_ms(&self, active_ms: u64) -> Option<u64> {
        let now = seconds(active_ms);
        let next = self.seconds.iter().find(|run| **run > now)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length of time, not negative"
        )]
        Some((next * 1000.0).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_was_left_for_those_that_lasted_longer() {
        let runs = PastRuns::new(&[100_000, 60_000, 80_000, 120_000, 90_000]);
        let fresh = runs.left(0).unwrap();
        assert_eq!(fresh.seconds, 90.0);
        assert!(fresh.low_seconds >= 60.0 && fresh.high_seconds <= 120.0);
        assert_eq!(runs.left(85_000).unwrap().seconds, 15.0);
        assert_eq!(runs.left(110_000).unwrap().seconds, 10.0);
        assert_eq!(runs.left(120_000), None, "longer than all of them");
        assert_eq!(PastRuns::new(&[]).left(0), None);
        assert_eq!(runs.next_change_ms(60_000), Some(80_000));
        assert_eq!(runs.next_change_ms(120_000), None);
    }

    #[test]
    fn one_run_says_little() {
        let one = PastRuns::new(&[100_000]).left(20_000).unwrap();
        assert_eq!(one.seconds, 80.0);
        assert!(one.low_seconds < 60.0 && one.high_seconds >= 120.0);
    }
}
