//! Rates from counters: how much one grew over the time that really went by between two readings.

use crate::model::time::Stamp;

/// A counter as it was last read. A first reading has no rate, and neither has one that is less than before: the
/// counter began anew, or wrapped, and what went by is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    last: Option<(u64, u64)>,
}

impl Meter {
    /// How much it grew per second since the reading before.
    pub fn per_second(&mut self, value: u64, at: Stamp) -> Option<f64> {
        let (before, then_ms) = self.last.replace((value, at.boot_ms))?;
        let grown = value.checked_sub(before)?;
        let ms = at.boot_ms.checked_sub(then_ms).filter(|ms| *ms > 0)?;
        Some(grown as f64 * 1000.0 / ms as f64)
    }

    /// As [`Meter::per_second`], where there is a value; without one the next reading is a first one.
    pub fn per_second_of(&mut self, value: Option<u64>, at: Stamp) -> Option<f64> {
        let Some(value) = value else {
            self.last = None;
            return None;
        };
        self.per_second(value, at)
    }
}

/// A counter that began before it was first read, or that begins anew, made one that only grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    last: Option<u64>,
    sum: u64,
}

impl Total {
    /// What it grew since the first reading. `wrap` is what it counts up to before it begins at 0 again, where that
    /// is known; else what went by around such a moment is left out.
    pub fn add(&mut self, value: u64, wrap: Option<u64>) -> u64 {
        if let Some(before) = self.last.replace(value) {
            let grown = match value.checked_sub(before) {
                Some(grown) => grown,
                None => wrap
                    .and_then(|wrap| wrap.checked_sub(before))
                    .map_or(0, |rest| rest.saturating_add(value)),
            };
            self.sum = self.sum.saturating_add(grown);
        }
        self.sum
    }
}

/// Whether it is a source's turn: the first time, and when so much time has gone by since its last turn that the next
/// pass would be further from the wanted one than this.
#[must_use]
pub fn is_due(last: Option<Stamp>, now: Stamp, every_ms: u64, pass_ms: u64) -> bool {
    last.is_none_or(|last| now.since_ms(last) + pass_ms / 2 >= every_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ms: u64) -> Stamp {
        Stamp {
            wall_ms: 0,
            boot_ms,
        }
    }

    #[test]
    fn a_rate_needs_two_readings_and_an_interval() {
        let mut meter = Meter::default();
        assert_eq!(meter.per_second(1_000, at(10_000)), None);
        assert_eq!(meter.per_second(1_500, at(12_500)), Some(200.0));
        // It began anew: a gap, and then it goes on.
        assert_eq!(meter.per_second(100, at(13_500)), None);
        assert_eq!(meter.per_second(300, at(14_500)), Some(200.0));
        // Twice at one instant is no interval.
        assert_eq!(meter.per_second(400, at(14_500)), None);
        // A reading is missing: what went by meanwhile is not told as one interval.
        assert_eq!(meter.per_second_of(None, at(15_500)), None);
        assert_eq!(meter.per_second_of(Some(900), at(16_500)), None);
        assert_eq!(meter.per_second_of(Some(901), at(17_500)), Some(1.0));
    }

    #[test]
    fn a_total_only_grows() {
        let mut total = Total::default();
        assert_eq!(total.add(900, Some(1_000)), 0);
        assert_eq!(total.add(950, Some(1_000)), 50);
        assert_eq!(total.add(20, Some(1_000)), 120);
        assert_eq!(total.add(10, None), 120);
        assert_eq!(total.add(15, None), 125);
    }

    #[test]
    fn turns_fall_on_the_nearest_pass() {
        assert!(is_due(None, at(0), 10_000, 2_000));
        assert!(!is_due(Some(at(0)), at(8_000), 10_000, 2_000));
        assert!(is_due(Some(at(0)), at(9_300), 10_000, 2_000));
        assert!(is_due(Some(at(0)), at(60_000), 10_000, 0));
    }
}
