//! How long to wait before the next attempt to connect.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The first attempt comes at once, so to say: a daemon that restarts is back within a second.
const QUICK: Duration = Duration::from_millis(100);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next attempt; longer with every call.
    pub(crate) fn pause(&mut self) -> Duration {
        self.pause_with(random_unit())
    }

    /// It worked: the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// `luck` in 0..1 spreads clients that were all cut off at the same moment.
    fn pause_with(&mut self, luck: f64) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let base = match failures {
            0 => QUICK,
            _ => FIRST
                .saturating_mul(1 << (failures - 1).min(10))
                .min(LONGEST),
        };
        base.mul_f64(0.5 + luck).min(LONGEST)
    }
}

/// About `usual`: half of it to one and a half, so that many clients do not come at the same moment.
pub(crate) fn spread(usual: Duration) -> Duration {
    usual.mul_f64(0.5 + random_unit())
}

/// 64 bits that nobody can foresee: the hasher's keys come from the kernel.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn random_unit() -> f64 {
    random_bits() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| backoff.pause_with(0.5).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [100, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(150));
        for _ in 0..100 {
            assert!(backoff.pause() <= LONGEST);
        }
        assert_ne!(random_bits(), random_bits());
    }
}
