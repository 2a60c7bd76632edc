//! What was measured at one time in the past.

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::store::samples::Samples;
use crate::store::samples::query::{Lines, Query, Range};
use crate::store::samples::seal::{HOUR_MS, MINUTE_MS};
use crate::store::samples::shelf::Tier;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// How old a value may be to count as that of a time: a little more than the slowest cadence.
const LOOK_BACK_MS: i64 = 70_000;

/// Cells over an hour, so fine that each has one value of the fastest cadence.
const EACH_VALUE: usize = 36_000;

/// What was measured last of something by a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// When the newest of it was measured, wall clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What was measured.
    pub readings: Readings,
}

impl Samples {
    /// What was measured of the entities that `wanted` names by `at_ms`, and not long before it. Where nothing finer than
    /// minutes or hours is left, the last of that minute or hour. Blocks on the disk.
    #[must_use]
    pub fn at(&self, wanted: &dyn Fn(&Entity) -> bool, at_ms: i64) -> BTreeMap<Entity, Moment> {
        let shared = &self.owner.shared;
        self.wait_until_ready();
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let heads = self.heads(wanted);
        let whole = |length_ms: i64| {
            let begin_ms = at_ms.div_euclid(length_ms) * length_ms;
            range(begin_ms, begin_ms + length_ms - 1, 1)
        };
        let just_before = range(at_ms.saturating_sub(LOOK_BACK_MS), at_ms, EACH_VALUE);
        let range = match Query::new(&shared.shelf, &heads, just_before).finest(at_ms) {
            Tier::Raw => just_before,
            Tier::Minute => whole(MINUTE_MS),
            Tier::Hour => whole(HOUR_MS),
        };
        let mut query = Query::new(&shared.shelf, &heads, range);
        let mut entities = query.entities();
        entities.retain(wanted);
        let all = || Metric::ALL.to_vec();
        let lines = query.lines(entities.iter().map(|entity| (entity, all())).collect());
        lines
            .into_iter()
            .filter_map(|(entity, lines)| Some((entity.clone(), Moment::of(&lines)?)))
            .collect()
    }
}

fn range(since_ms: i64, until_ms: i64, most: usize) -> Range {
    Range {
        since_ms,
        until_ms,
        most,
        percentiles: false,
    }
}

impl Moment {
    /// The last of each line; nothing where there is none.
    fn of(lines: &Lines) -> Option<Self> {
        let mut moment = Self::default();
        for (metric, line) in lines {
            if let Some(point) = line.last() {
                moment.at_ms = moment.at_ms.max(point.at_ms);
                moment.readings.set(*metric, point.spread.last);
            }
        }
        Some(moment).filter(|moment| !moment.readings.is_empty())
    }
}
