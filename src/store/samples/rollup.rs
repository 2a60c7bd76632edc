//! Rollups: what a metric was during each minute of an hour, or each hour of a day.
//!
//! One blob for all metrics of an entity, packed as chunks are: for each metric its number in the catalogue, how many
//! bytes it takes, which of the periods have values, and columns of when the newest of these was (milliseconds after the
//! period began), how many, the newest, how far the smallest and the largest are from it, and their sum; then, where not
//! all of a period's values are alike, a sketch of them for percentiles.

use crate::model::curve::Spread;
use crate::model::metric::Metric;
use crate::model::sketch::Sketch;
use crate::store::samples::bytes::{Sink, Source, read_column, write_column};
use crate::store::samples::chunk::{packed, unpacked, value, whole};
use crate::store::samples::seal::DAY_MS;
use std::collections::BTreeMap;

/// Most periods of one blob: the minutes of an hour.
const MOST_PERIODS: usize = 60;

/// What a metric was during a period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rollup {
    /// When the newest value was, milliseconds after the period began.
    pub(super) newest_ms: i64,
    pub(super) spread: Spread,
    pub(super) sketch: Sketch,
}

/// Of each metric its rollups, by the number of the period.
pub(super) type Rollups = BTreeMap<Metric, BTreeMap<u8, Rollup>>;

impl Rollup {
    /// Of a value seen so long after the period began.
    pub(super) fn of(after_ms: i64, value: f64) -> Self {
        let mut sketch = Sketch::default();
        sketch.add(value, 1);
        Self {
            newest_ms: after_ms,
            spread: Spread::of(value),
            sketch,
        }
    }

    /// Takes another, whose period began so much later than this one's. The newest of both is the newest.
    pub(super) fn merge(&mut self, later_ms: i64, other: &Self) {
        let newest_ms = other.newest_ms.saturating_add(later_ms);
        let last = self.spread.last;
        self.spread.merge(&other.spread);
        if newest_ms < self.newest_ms {
            self.spread.last = last;
        }
        self.newest_ms = self.newest_ms.max(newest_ms);
        self.sketch.merge(&other.sketch);
    }
}

/// Nobody measures more often than that, and sums of such numbers are still numbers.
fn is_plausible(count: &u64) -> bool {
    *count < 1 << 40
}

/// Adds `rollup` to those of a metric.
pub(super) fn add(to: &mut Rollups, metric: Metric, period: u8, rollup: Rollup) {
    match to.entry(metric).or_default().entry(period) {
        std::collections::btree_map::Entry::Occupied(mut known) => {
            known.get_mut().merge(0, &rollup);
        }
        std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(rollup)),
    }
}

/// As a blob. `number` gives the number of a metric in the catalogue.
pub(super) fn pack(rollups: &Rollups, number: &dyn Fn(Metric) -> u64) -> Vec<u8> {
    let mut sink = Sink::default();
    for (metric, periods) in rollups {
        sink.number(number(*metric));
        let mut body = Sink::default();
        write_metric(&mut body, *metric, periods);
        sink.bytes(&body.0);
    }
    packed(sink.0)
}

/// From a blob; of `wanted` metrics alone, with empty sketches unless they are wanted as well. `None` where it makes
/// no sense.
pub(super) fn unpack(
    blob: &[u8],
    metric: &dyn Fn(u64) -> Option<Metric>,
    wanted: Option<&[Metric]>,
    sketches: bool,
) -> Option<Rollups> {
    let bytes = unpacked(blob)?;
    let mut source = Source(&bytes);
    let mut rollups = Rollups::new();
    while !source.0.is_empty() {
        let number = source.number()?;
        let mut body = Source(source.bytes()?);
        let Some(metric) = metric(number) else {
            continue;
        };
        if wanted.is_none_or(|wanted| wanted.contains(&metric)) {
            rollups.insert(metric, read_metric(&mut body, metric, sketches)?);
        }
    }
    Some(rollups)
}

/// What is in a rollup as whole numbers, in the order of its columns.
fn columns(metric: Metric, rollup: &Rollup) -> [i64; 6] {
    let Spread {
        last,
        min,
        max,
        sum,
        count,
    } = rollup.spread;
    let last = whole(metric, last);
    [
        rollup.newest_ms,
        i64::try_from(count).unwrap_or(i64::MAX),
        last,
        last.saturating_sub(whole(metric, min)),
        whole(metric, max).saturating_sub(last),
        whole(metric, sum),
    ]
}

fn write_metric(sink: &mut Sink, metric: Metric, periods: &BTreeMap<u8, Rollup>) {
    sink.number(periods.len() as u64);
    let places: Vec<i64> = periods.keys().map(|period| i64::from(*period)).collect();
    write_column(sink, &places);
    let rows: Vec<[i64; 6]> = periods.values().map(|it| columns(metric, it)).collect();
    for place in 0..6 {
        let column: Vec<i64> = rows.iter().map(|row| row[place]).collect();
        write_column(sink, &column);
    }
    for (row, rollup) in rows.iter().zip(periods.values()) {
        if row[3] != 0 || row[4] != 0 {
            write_sketch(sink, &rollup.sketch);
        }
    }
}

fn read_metric(
    source: &mut Source<'_>,
    metric: Metric,
    sketches: bool,
) -> Option<BTreeMap<u8, Rollup>> {
    let count = source.count(MOST_PERIODS)?;
    let places = read_column(source, count)?;
    let columns: Option<Vec<Vec<i64>>> = (0..6).map(|_| read_column(source, count)).collect();
    let columns = columns?;
    let mut periods = BTreeMap::new();
    for (row, place) in places.into_iter().enumerate() {
        let column = |at: usize| columns.get(at)?.get(row).copied();
        let (last, below, above) = (column(2)?, column(3)?, column(4)?);
        let count = u64::try_from(column(1)?).ok().filter(is_plausible)?;
        let newest_ms = column(0)?;
        if !(0..DAY_MS).contains(&newest_ms) {
            return None;
        }
        let last_value = value(metric, last);
        let sketch = if !sketches {
            Sketch::default()
        } else if below == 0 && above == 0 {
            let mut sketch = Sketch::default();
            sketch.add(last_value, count);
            sketch
        } else {
            read_sketch(source)?
        };
        let rollup = Rollup {
            newest_ms,
            spread: Spread {
                last: last_value,
                min: value(metric, last.saturating_sub(below)),
                max: value(metric, last.saturating_add(above)),
                sum: value(metric, column(5)?),
                count,
            },
            sketch,
        };
        periods.insert(u8::try_from(place).ok()?, rollup);
    }
    Some(periods)
}

fn write_sketch(sink: &mut Sink, sketch: &Sketch) {
    sink.number(sketch.zeros);
    for buckets in [&sketch.negative, &sketch.positive] {
        sink.number(buckets.len() as u64);
        let mut before = 0;
        for (bucket, times) in buckets {
            sink.signed(i64::from(*bucket) - before);
            before = i64::from(*bucket);
            sink.number(*times);
        }
    }
}

fn read_sketch(source: &mut Source<'_>) -> Option<Sketch> {
    let mut sketch = Sketch {
        zeros: source.number().filter(is_plausible)?,
        ..Sketch::default()
    };
    for buckets in [&mut sketch.negative, &mut sketch.positive] {
        let mut before = 0_i64;
        for _ in 0..source.count(source.0.len())? {
            before = before.checked_add(source.signed()?)?;
            let times = source.number().filter(is_plausible)?;
            buckets.insert(i32::try_from(before).ok()?, times);
        }
    }
    Some(sketch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(metric: Metric) -> u64 {
        metric as u64
    }

    fn metric(number: u64) -> Option<Metric> {
        Metric::ALL.get(usize::try_from(number).ok()?).copied()
    }

    proptest! {
        #[test]
        fn rollups_read_back(values in prop::collection::vec((0_u8..60, 0_i64..60_000, -1_000_i64..1_000), 0..200)) {
            let mut rollups = Rollups::new();
            let metrics = [Metric::CpuPercent, Metric::MemoryBytes];
            for (place, (period, after_ms, value)) in values.into_iter().enumerate() {
                add(&mut rollups, metrics[place % 2], period, Rollup::of(after_ms, value as f64));
            }
            let back = unpack(&pack(&rollups, &number), &metric, None, true).unwrap();
            prop_assert_eq!(&back, &rollups);
            let one = unpack(&pack(&rollups, &number), &metric, Some(&metrics[..1]), true).unwrap();
            prop_assert_eq!(one.get(&metrics[0]), rollups.get(&metrics[0]));
            prop_assert_eq!(one.get(&metrics[1]), None);
        }

        #[test]
        fn any_bytes_are_read_without_harm(mut blob in prop::collection::vec(any::<u8>(), 0..300), how in 0_u8..3) {
            blob.insert(0, how);
            let _some = unpack(&blob, &metric, None, true);
        }
    }

    #[test]
    fn the_newest_stays_the_newest() {
        let mut rollup = Rollup::of(5_000, 1.0);
        rollup.merge(0, &Rollup::of(3_000, 9.0));
        assert_eq!(
            (rollup.newest_ms, rollup.spread.last, rollup.spread.max),
            (5_000, 1.0, 9.0)
        );
        rollup.merge(60_000, &Rollup::of(1, 4.0));
        assert_eq!(
            (rollup.newest_ms, rollup.spread.last, rollup.spread.count),
            (60_001, 4.0, 3)
        );
    }
}
