//! The most memory that an attempt held at once, out of what the kernel tells of its cgroup.
//!
//! What the kernel charges to a cgroup has the page cache in it: a job that writes a large file would seem to use all
//! memory there is, and nothing would be said of what it needs. So the cache is taken off. The kernel keeps only the
//! most that was charged, though, not how much of that was cache; that is known at each look. When the most has grown
//! since the look before, the larger cache of the two is taken off: this may be too much, and so tell too little, but
//! it tells no memory that was a file's.

/// What is charged to a cgroup, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Now: `memory.current`.
    pub now: u64,
    /// The most so far: `memory.peak`. Absent before Linux 5.19.
    pub most: Option<u64>,
    /// How much of it is page cache now: `active_file` and `inactive_file` of `memory.stat`.
    pub cache: u64,
}

impl Charge {
    /// What is held without the page cache.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.now.saturating_sub(self.cache)
    }
}

/// The most that was held, from look to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    before: Option<Charge>,
    is_late: bool,
    bytes: u64,
}

impl Peak {
    /// Of an attempt that has run for a while: how much cache there was when its most was charged, nobody knows.
    #[must_use]
    pub fn of_adopted() -> Self {
        Self {
            is_late: true,
            ..Self::default()
        }
    }

    /// Takes a look; answers the most that was held, as far as is known by now.
    pub fn look(&mut self, charge: Charge) -> u64 {
        let before = self.before.replace(charge);
        let has_grown = before.map_or(!self.is_late, |before| charge.most > before.most);
        if let Some(most) = charge.most.filter(|_| has_grown) {
            let cache = before.map_or(0, |before| before.cache).max(charge.cache);
            self.bytes = self.bytes.max(most.saturating_sub(cache));
        }
        self.bytes = self.bytes.max(charge.held());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn charge(now: u64, most: u64, cache: u64) -> Charge {
        let most = Some(most);
        Charge { now, most, cache }
    }

    #[test]
    fn what_files_take_is_not_held() {
        let mut peak = Peak::default();
        assert_eq!(peak.look(charge(110, 110, 10)), 100);
        // It writes a large file, and takes that away again.
        assert_eq!(peak.look(charge(5_100, 5_100, 5_000)), 100);
        assert_eq!(peak.look(charge(100, 5_100, 0)), 100);
        assert_eq!(peak.look(charge(90, 5_100, 0)), 100);
    }

    #[test]
    fn what_was_held_between_two_looks_is_found() {
        let mut peak = Peak::default();
        peak.look(charge(10, 10, 5));
        assert_eq!(peak.look(charge(10, 1_010, 10)), 1_000);
        let mut first = Peak::default();
        assert_eq!(first.look(charge(10, 1_000, 0)), 1_000);
    }

    #[test]
    fn of_the_time_before_an_adoption_nothing_is_guessed() {
        let mut peak = Peak::of_adopted();
        assert_eq!(peak.look(charge(100, 9_000, 10)), 90);
        assert_eq!(peak.look(charge(100, 9_000, 10)), 90);
        assert_eq!(peak.look(charge(100, 9_500, 500)), 9_000);
    }

    #[test]
    fn without_a_most_only_looks_count() {
        let mut peak = Peak::default();
        let look = |now| Charge {
            now,
            ..Charge::default()
        };
        assert_eq!(peak.look(look(70)), 70);
        assert_eq!(peak.look(look(50)), 70);
    }

    proptest! {
        /// Memory and cache go up and down, and only some of it is looked at: told is never more than was held, as
        /// long as cache that was there between two looks is there at one of them; and never less than at a look.
        #[test]
        fn no_more_is_told_than_was_held(
            steps in proptest::collection::vec((0_u64..1_000, 0_u64..200, any::<bool>()), 1..40)
        ) {
            let (mut peak, mut most, mut cache, mut held_most) = (Peak::default(), 0, 0, 0);
            for (held, written, is_looked_at) in steps {
                cache += written;
                most = most.max(held + cache);
                held_most = held_most.max(held);
                if is_looked_at {
                    let told = peak.look(charge(held + cache, most, cache));
                    prop_assert!(told <= held_most && told >= held, "{told} of {held_most}, now {held}");
                }
            }
        }
    }
}
