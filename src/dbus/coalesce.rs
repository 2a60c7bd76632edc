//! When what has changed is told: at once where nothing was for a second, else once a second, all that has changed
//! together, and never a value that was told before. No clock in here: the time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Shortest time between two looks at one object, and so between two messages about it.
pub(super) const PACE: Duration = Duration::from_secs(1);

/// Looks that are put off fall on multiples of this, so that one look serves many objects.
const GRID: Duration = Duration::from_millis(250);

/// What of an object is told, by the names of its properties.
pub(super) type Values<V> = BTreeMap<&'static str, V>;

/// Which objects are to be looked at, when, and what was told of each.
#[derive(Debug)]
pub(super) struct Coalescer<K, V> {
    /// From where on the grid counts.
    start: Instant,
    told: BTreeMap<K, Values<V>>,
    looked: BTreeMap<K, Instant>,
    /// Objects that may have changed, with when they are looked at.
    due: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone, V: PartialEq + Clone> Coalescer<K, V> {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            told: BTreeMap::new(),
            looked: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    /// Something of an object may have changed.
    pub(super) fn touch(&mut self, key: K, now: Instant) {
        let free_at = self.looked.get(&key).map(|looked| *looked + PACE);
        let at = match free_at {
            Some(free) if free > now => self.on_grid(free),
            Some(_) | None => now,
        };
        self.due.entry(key).or_insert(at);
    }

    fn on_grid(&self, at: Instant) -> Instant {
        let passed = at.saturating_duration_since(self.start).as_nanos();
        let steps = passed.div_ceil(GRID.as_nanos());
        self.start + GRID * u32::try_from(steps).unwrap_or(u32::MAX)
    }

    /// When there is something to do next; nothing, and so no timer, where nothing has changed.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// Whether an object waits to be looked at.
    pub(super) fn is_due(&self, key: &K) -> bool {
        self.due.contains_key(key)
    }

    /// The objects to look at now, each to be given to [`Self::changes`] as it is.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<K> {
        let (ready, later) = std::mem::take(&mut self.due)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, at)| *at <= now);
        self.due = later;
        for key in ready.keys() {
            self.looked.insert(key.clone(), now);
        }
        ready.into_keys().collect()
    }

    /// What of an object differs from what was told of it last; from now on it counts as told.
    pub(super) fn changes(&mut self, key: &K, values: Values<V>) -> Values<V> {
        let told = self.told.entry(key.clone()).or_default();
        let mut changed = Values::new();
        for (name, value) in values {
            if told.get(name) != Some(&value) {
                changed.insert(name, value.clone());
                told.insert(name, value);
            }
        }
        changed
    }

    /// Somebody may have been shown another value of a property than the one that was told: it is told at the next look,
    /// also where it is as before by then.
    pub(super) fn unsettle(&mut self, key: &K, name: &str, shown: &V) {
        if let Some(told) = self.told.get_mut(key)
            && told.get(name) != Some(shown)
        {
            told.remove(name);
        }
    }

    /// An object that is there from now on, with what was told of it together with that.
    pub(super) fn begin(&mut self, key: K, values: Values<V>, now: Instant) {
        self.looked.insert(key.clone(), now);
        self.told.insert(key, values);
    }

    /// What was told of a property last.
    pub(super) fn told(&self, key: &K, name: &str) -> Option<&V> {
        self.told.get(key)?.get(name)
    }

    /// An object is not there any more.
    pub(super) fn forget(&mut self, key: &K) {
        self.told.remove(key);
        self.looked.remove(key);
        self.due.remove(key);
    }
}

/// Percent to the nearest half: what is told does not change with every step of a long job.
pub(super) fn half_percent(percent: f64) -> f64 {
    (percent.clamp(0.0, 100.0) * 2.0).round() / 2.0
}

/// When a job is expected to end, microseconds since 1970: what was told before, unless it is off by more than a
/// second and by more than a fiftieth of the time that is left.
pub(super) fn steady_end(told_us: Option<u64>, end_us: u64, now_us: u64) -> u64 {
    let Some(told_us) = told_us.filter(|it| *it > 0 && end_us > 0) else {
        return end_us;
    };
    let bearable = (end_us.saturating_sub(now_us) / 50).max(1_000_000);
    if told_us.abs_diff(end_us) <= bearable {
        told_us
    } else {
        end_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&'static str, u32)]) -> Values<u32> {
        pairs.iter().copied().collect()
    }

    #[test]
    fn the_first_change_is_told_at_once_and_those_after_it_once_a_second() {
        let start = Instant::now();
        let mut coalescer: Coalescer<u32, u32> = Coalescer::new(start);
        assert_eq!(coalescer.next_due(), None);
        coalescer.touch(1, start);
        assert_eq!(coalescer.next_due(), Some(start));
        assert_eq!(coalescer.take_due(start), [1]);
        assert_eq!(coalescer.next_due(), None, "no timer is left");

        let soon = start + Duration::from_millis(10);
        coalescer.touch(1, soon);
        coalescer.touch(1, soon);
        assert_eq!(coalescer.next_due(), Some(start + PACE));
        assert!(coalescer.take_due(soon).is_empty());
        assert!(coalescer.is_due(&1));
        assert_eq!(coalescer.take_due(start + PACE), [1]);

        let late = start + 5 * PACE;
        coalescer.touch(1, late);
        assert_eq!(coalescer.take_due(late), [1]);
    }

    #[test]
    fn a_thousand_changes_are_one_look_a_second() {
        let start = Instant::now();
        let mut coalescer: Coalescer<u32, u32> = Coalescer::new(start);
        let mut looks = 0;
        for step in 0..10_000 {
            let now = start + Duration::from_millis(step);
            coalescer.touch(7, now);
            looks += coalescer.take_due(now).len();
        }
        assert_eq!(looks, 10);
    }

    #[test]
    fn what_is_put_off_is_looked_at_together() {
        let start = Instant::now();
        let mut coalescer: Coalescer<u32, u32> = Coalescer::new(start);
        for key in 1..=3 {
            let now = start + Duration::from_millis(u64::from(key) * 20);
            coalescer.touch(key, now);
            assert_eq!(coalescer.take_due(now), [key]);
            coalescer.touch(key, now);
        }
        let next = start + PACE + GRID;
        assert_eq!(coalescer.next_due(), Some(next));
        assert_eq!(coalescer.take_due(next), [1, 2, 3]);
    }

    #[test]
    fn only_what_differs_is_told() {
        let mut coalescer = Coalescer::new(Instant::now());
        let first = values(&[("A", 1), ("B", 2)]);
        assert_eq!(coalescer.changes(&1, first.clone()), first);
        assert_eq!(coalescer.changes(&1, first), values(&[]));
        let changed = coalescer.changes(&1, values(&[("A", 1), ("B", 3)]));
        assert_eq!(changed, values(&[("B", 3)]));
        assert_eq!(coalescer.told(&1, "B"), Some(&3));
        coalescer.forget(&1);
        assert_eq!(coalescer.told(&1, "B"), None);
    }

    #[test]
    fn what_was_shown_in_between_is_set_right() {
        let mut coalescer = Coalescer::new(Instant::now());
        let usual = values(&[("A", 1), ("B", 2)]);
        coalescer.changes(&1, usual.clone());
        coalescer.unsettle(&1, "A", &1);
        assert_eq!(coalescer.changes(&1, usual.clone()), values(&[]));
        coalescer.unsettle(&1, "A", &0);
        assert_eq!(coalescer.changes(&1, usual), values(&[("A", 1)]));
    }

    #[test]
    fn progress_is_told_in_halves_and_ends_as_they_move() {
        let halves = [-1.0, 0.2, 0.3, 33.33, 99.8, 250.0].map(half_percent);
        assert_eq!(halves, [0.0, 0.0, 0.5, 33.5, 100.0, 100.0]);

        let second = 1_000_000;
        let now = 100 * second;
        assert_eq!(steady_end(None, 200 * second, now), 200 * second);
        let told = Some(200 * second);
        assert_eq!(steady_end(told, 201 * second, now), 200 * second);
        assert_eq!(steady_end(told, 203 * second, now), 203 * second);
        assert_eq!(steady_end(told, 0, now), 0, "unknown is told as such");
        assert_eq!(steady_end(Some(0), 200 * second, now), 200 * second);
    }
}
