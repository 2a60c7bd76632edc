//! What was measured at one time in the past.

use crate::model::entity::{Entity, SeriesKey};
use crate::model::metric::Readings;
use crate::store::error::StoreError;
use crate::store::samples::query::{Query, Range};
use crate::store::samples::seal::HOUR_MS;
use crate::store::samples::{SamplePoint, Samples};
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
    /// hours is left, the last of that hour. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`] where a volume cannot be read.
    pub fn at(
        &self,
        wanted: &dyn Fn(&Entity) -> bool,
        at_ms: i64,
    ) -> Result<BTreeMap<Entity, Moment>, StoreError> {
        let since_ms = at_ms.saturating_sub(LOOK_BACK_MS);
        let series = self.series(wanted, since_ms, at_ms)?;
        let keys: Vec<SeriesKey> = series.into_keys().collect();
        let hour_ms = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
        let of_hour = Range {
            since_ms: hour_ms,
            until_ms: hour_ms + HOUR_MS - 1,
            most: 1,
            percentiles: false,
        };
        let range = if self.has_hours_alone(of_hour) {
            of_hour
        } else {
            Range {
                since_ms,
                until_ms: at_ms,
                most: EACH_VALUE,
                percentiles: false,
            }
        };
        let lines = self.query(&keys, range)?;
        let mut moments: BTreeMap<Entity, Moment> = BTreeMap::new();
        for (key, line) in keys.into_iter().zip(lines) {
            if let Some(SamplePoint { at_ms, spread, .. }) = line.last() {
                let moment = moments.entry(key.entity).or_default();
                moment.at_ms = moment.at_ms.max(*at_ms);
                moment.readings.set(key.metric, spread.last);
            }
        }
        Ok(moments)
    }

    fn has_hours_alone(&self, of_hour: Range) -> bool {
        let shared = &self.owner.shared;
        let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        // What is in memory is of no hour that is rolled up.
        Query::new(&shared.shelf, &[], of_hour).has_hours_alone(of_hour.since_ms)
    }
}
