//! How often things are sampled, and when next: faster while somebody looks, slower while nothing happens.

use std::collections::BTreeMap;

/// Shortest and longest time between two samples, milliseconds.
pub const BOUNDS_MS: (u64, u64) = (100, 60_000);

/// What is sampled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The host and its devices.
    Host,
    /// Attempts that run.
    Jobs,
    /// GPUs.
    Gpus,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::Jobs, Self::Gpus];
}

/// How often one source is sampled, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// While jobs run.
    pub normal_ms: u64,
    /// While somebody looks.
    pub watched_ms: u64,
    /// While no job runs and nobody looks.
    pub idle_ms: u64,
    /// On battery, while nobody looks.
    pub battery_ms: u64,
}

/// What decides between the paces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Some job runs.
    pub is_busy: bool,
    /// The host runs on battery.
    pub on_battery: bool,
    /// How often who looks wants to see; `None` where nobody looks, 0 where it is all the same to them.
    pub wanted_ms: Option<u64>,
}

impl Pace {
    /// Time between two samples.
    #[must_use]
    pub fn interval_ms(&self, situation: Situation) -> u64 {
        let unwatched = match situation {
            Situation {
                on_battery: true, ..
            } => self.battery_ms.max(self.normal_ms),
            Situation { is_busy: true, .. } => self.normal_ms,
            Situation { .. } => self.idle_ms,
        };
        let interval = match situation.wanted_ms {
            None => unwatched,
            Some(0) => unwatched.min(self.watched_ms),
            Some(wanted) => unwatched.min(wanted),
        };
        interval.clamp(BOUNDS_MS.0, BOUNDS_MS.1)
    }
}

/// The next time that is due, in milliseconds on the clock of `now_ms`: a multiple of the interval, so that samples
/// do not drift, and none is made up for that was missed.
#[must_use]
pub fn next_due_ms(now_ms: u64, interval_ms: u64) -> u64 {
    let interval_ms = interval_ms.max(1);
    (now_ms / interval_ms + 1).saturating_mul(interval_ms)
}

/// Who looks, and how often they want to see. Each lease lasts until it is given back, or until its time is over.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    next: u64,
    held: BTreeMap<u64, u64>,
    glance_until_ms: Option<u64>,
}

impl Leases {
    /// Somebody looks from now on, and wants to see so often (0: it is all the same). Give the number back at the end.
    pub fn take(&mut self, wanted_ms: u64) -> u64 {
        self.next += 1;
        self.held.insert(self.next, wanted_ms);
        self.next
    }

    /// They look no more.
    pub fn give_back(&mut self, number: u64) {
        self.held.remove(&number);
    }

    /// Somebody looked once, and may do so again until then.
    pub fn glance(&mut self, until_ms: u64) {
        self.glance_until_ms = self.glance_until_ms.max(Some(until_ms));
    }

    /// What they want, together: the shortest time that anybody named, or 0.
    #[must_use]
    pub fn wanted_ms(&self, now_ms: u64) -> Option<u64> {
        let glance = self.glance_until_ms.filter(|until| now_ms < *until);
        let any = !self.held.is_empty() || glance.is_some();
        let named = self.held.values().copied().filter(|wanted| *wanted > 0);
        any.then(|| named.min().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace {
        normal_ms: 2_000,
        watched_ms: 1_000,
        idle_ms: 10_000,
        battery_ms: 20_000,
    };

    #[test]
    fn it_is_faster_while_somebody_looks_and_slower_while_nothing_happens() {
        let busy = Situation {
            is_busy: true,
            ..Situation::default()
        };
        assert_eq!(PACE.interval_ms(Situation::default()), 10_000);
        assert_eq!(PACE.interval_ms(busy), 2_000);
        for (wanted, interval) in [(0, 1_000), (500, 500), (5_000, 2_000), (1, 100)] {
            let watched = Situation {
                wanted_ms: Some(wanted),
                ..busy
            };
            assert_eq!(PACE.interval_ms(watched), interval, "{wanted}");
        }
        let on_battery = Situation {
            on_battery: true,
            ..busy
        };
        assert_eq!(PACE.interval_ms(on_battery), 20_000);
    }

    #[test]
    fn a_lease_counts_as_long_as_it_is_held() {
        let mut leases = Leases::default();
        assert_eq!(leases.wanted_ms(0), None);
        let first = leases.take(0);
        let second = leases.take(250);
        assert_eq!(leases.wanted_ms(0), Some(250));
        leases.give_back(second);
        assert_eq!(leases.wanted_ms(0), Some(0));
        leases.give_back(first);
        leases.give_back(first);
        leases.glance(100);
        leases.glance(50);
        assert_eq!(
            (leases.wanted_ms(99), leases.wanted_ms(100)),
            (Some(0), None)
        );
    }

    proptest! {
        #[test]
        fn ticks_do_not_drift(start in 0_u64..1 << 40, interval in 1_u64..100_000, late in 0_u64..1_000_000) {
            let due = next_due_ms(start, interval);
            prop_assert!(due > start && due <= start + interval);
            prop_assert_eq!(due % interval, 0);
            let after = next_due_ms(due + late, interval);
            prop_assert!(after > due + late, "what was missed is not made up for");
            prop_assert_eq!(after % interval, 0);
        }
    }
}
