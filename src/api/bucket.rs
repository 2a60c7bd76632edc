//! A bucket of permits that fills again over time: how a rate is limited and a burst allowed.

use std::time::{Duration, Instant};

/// The rate at which a bucket fills, and how much is in it at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// What is left of it for one user.
#[derive(Debug)]
pub(crate) struct Bucket {
    left: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self {
            left: f64::from(rate.burst),
            filled_at: now,
        }
    }

    /// Takes `count`, or says how long it takes until they are there.
    ///
    /// More than a full bucket is let through by a full one, which is then in debt: a request that is
    /// allowed by its size must be possible at some time.
    pub(crate) fn take(&mut self, count: f64, rate: Rate, now: Instant) -> Result<(), Duration> {
        let per_second = f64::from(rate.per_second.max(1));
        let burst = f64::from(rate.burst.max(1));
        let passed = now.saturating_duration_since(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        self.left = (self.left + passed.as_secs_f64() * per_second).min(burst);
        let missing = count.min(burst) - self.left;
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / per_second));
        }
        self.left -= count;
        Ok(())
    }

    /// Whether it is as good as a new one by now.
    pub(crate) fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at);
        self.left + passed.as_secs_f64() * f64::from(rate.per_second) >= f64::from(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10,
        burst: 5,
    };

    #[test]
    fn a_burst_and_then_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::full(RATE, now);
        for _ in 0..5 {
            assert_eq!(bucket.take(1.0, RATE, now), Ok(()));
        }
        assert_eq!(bucket.take(1.0, RATE, now), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(3.0, RATE, now), Err(Duration::from_millis(300)));
        let later = now + Duration::from_millis(250);
        assert!(!bucket.is_full(RATE, later));
        assert_eq!(bucket.take(2.0, RATE, later), Ok(()));
        assert!(bucket.take(1.0, RATE, later).is_err());
        assert!(bucket.take(1.0, RATE, now).is_err(), "no clock goes back");
        assert!(bucket.is_full(RATE, later + Duration::from_millis(460)));
    }

    #[test]
    fn what_is_larger_than_the_bucket_goes_through_a_full_one() {
        let now = Instant::now();
        let mut bucket = Bucket::full(RATE, now);
        assert_eq!(bucket.take(25.0, RATE, now), Ok(()));
        assert_eq!(
            bucket.take(1.0, RATE, now),
            Err(Duration::from_millis(2_100))
        );
    }
}
