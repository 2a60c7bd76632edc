//! Whose turn it is: when each source is due, and how soon at the earliest it is looked at again.

use crate::model::cadence::{BOUNDS_MS, Source, next_due_ms};
use std::collections::{BTreeMap, BTreeSet};

/// Whatever comes in between, the shortest pace is the shortest time between two turns of a source, milliseconds.
const FLOOR_MS: u64 = BOUNDS_MS.0;

/// One source. Times are milliseconds on the boot clock.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    due_ms: u64,
    looked_ms: Option<u64>,
}

impl Turn {
    fn earliest_ms(&self) -> u64 {
        let looked_ms = self.looked_ms;
        looked_ms.map_or(0, |looked_ms| looked_ms.saturating_add(FLOOR_MS))
    }
}

/// The turns of all sources that are sampled.
#[derive(Debug)]
pub(super) struct Turns(BTreeMap<Source, Turn>);

impl Turns {
    /// All of them are due now.
    pub(super) fn of(sources: impl Iterator<Item = Source>, now_ms: u64) -> Self {
        let turn = Turn {
            due_ms: now_ms,
            looked_ms: None,
        };
        Self(sources.map(|source| (source, turn)).collect())
    }

    /// These are sampled from now on. One that is new is due at once.
    pub(super) fn tune(&mut self, sources: impl Iterator<Item = Source>) {
        let before = std::mem::take(&mut self.0);
        let turn = |source| before.get(&source).copied().unwrap_or_default();
        self.0 = sources.map(|source| (source, turn(source))).collect();
    }

    /// Whether it is sampled.
    pub(super) fn has(&self, source: Source) -> bool {
        self.0.contains_key(&source)
    }

    /// What is sampled.
    pub(super) fn sources(&self) -> Vec<Source> {
        self.0.keys().copied().collect()
    }

    /// When each is due.
    pub(super) fn all(&self) -> impl Iterator<Item = (Source, u64)> + '_ {
        self.0.iter().map(|(source, turn)| (*source, turn.due_ms))
    }

    /// Those whose turn it is.
    pub(super) fn due(&self, now_ms: u64) -> BTreeSet<Source> {
        let due = self.all().filter(|(_, due_ms)| *due_ms <= now_ms);
        due.map(|(source, _)| source).collect()
    }

    /// There is something new to see: it is due as soon as may be.
    pub(super) fn hurry(&mut self, source: Source) {
        if let Some(turn) = self.0.get_mut(&source) {
            turn.due_ms = turn.due_ms.min(turn.earliest_ms());
        }
    }

    /// It is to be looked at so often, and so may be due sooner than it was.
    pub(super) fn quicken(&mut self, source: Source, now_ms: u64, interval_ms: u64) {
        if let Some(turn) = self.0.get_mut(&source) {
            let after_ms = now_ms.max(turn.earliest_ms().saturating_sub(1));
            turn.due_ms = turn.due_ms.min(next_due_ms(after_ms, interval_ms));
        }
    }

    /// It had its turn, whether or not there was something to look at, and has the next one after so long.
    pub(super) fn pass(&mut self, source: Source, now_ms: u64, interval_ms: u64, is_looked: bool) {
        let Some(turn) = self.0.get_mut(&source) else {
            return;
        };
        // A turn that comes a little late does not put off the next one.
        let is_regular = turn.due_ms.is_multiple_of(interval_ms.max(1));
        let since_ms = match now_ms.saturating_sub(turn.due_ms) {
            late_ms if is_regular && late_ms < FLOOR_MS => turn.due_ms,
            _ => now_ms,
        };
        let after_ms = now_ms.max(since_ms.saturating_add(FLOOR_MS - 1));
        turn.due_ms = next_due_ms(after_ms, interval_ms);
        turn.looked_ms = is_looked.then_some(now_ms).or(turn.looked_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCE: Source = Source::Jobs;

    #[test]
    fn turns_that_come_a_little_late_are_as_many() {
        let mut turns = Turns::of([SOURCE].into_iter(), 0);
        for tick in 0..50 {
            let due_ms = tick * FLOOR_MS;
            assert_eq!(turns.all().next(), Some((SOURCE, due_ms)));
            turns.pass(SOURCE, due_ms + tick, FLOOR_MS, true);
        }
    }

    proptest! {
        /// Whatever is asked for: no two looks are nearer than the floor when each is in time, and who is hurried or
        /// quickened never waits longer.
        #[test]
        fn no_source_is_looked_at_more_often_than_the_floor(
            steps in proptest::collection::vec((0_u8..4, 0_u64..400, 100_u64..3_000), 1..200)
        ) {
            let mut turns = Turns::of([SOURCE].into_iter(), 0);
            let (mut now_ms, mut looked_ms) = (0, None);
            for (step, wait_ms, interval_ms) in steps {
                now_ms += wait_ms;
                let due_ms = turns.all().next().unwrap().1;
                if due_ms <= now_ms {
                    // It has its turn when it is due.
                    let at_ms = due_ms.max(looked_ms.unwrap_or(0));
                    if let Some(before_ms) = looked_ms {
                        prop_assert!(at_ms >= before_ms + FLOOR_MS, "{before_ms} and {at_ms}");
                    }
                    looked_ms = Some(at_ms);
                    turns.pass(SOURCE, at_ms, interval_ms, true);
                }
                match step {
                    0 => turns.hurry(SOURCE),
                    1 => turns.quicken(SOURCE, now_ms, interval_ms),
                    _ => {}
                }
                prop_assert!(step > 0 || turns.all().next().unwrap().1 <= now_ms.max(looked_ms.map_or(0, |it| it + FLOOR_MS)));
            }
        }
    }
}
