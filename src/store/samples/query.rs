//! Reading samples: over any stretch of time, as finely as somebody can use, from whatever holds them.
//!
//! The grid decides how fine; where the finer is gone the coarser serves, and where the coarser is not made yet the
//! finer does. Every value is read from one place only: an hour from its raw rows or from its minutes, a day from
//! those or from its hours. What was not measured is not there.

use crate::model::curve::{Grid, Spread};
use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::model::sketch::Sketch;
use crate::store::error::StoreError;
use crate::store::samples::chunk::{ABSENT, Chunk, value};
use crate::store::samples::head::{Head, SLOT_MS};
use crate::store::samples::rollup::{self, Rollups};
use crate::store::samples::seal::{DAY_MS, HOUR_MS, MINUTE_MS, mark, place_in};
use crate::store::samples::shelf::{Place, Shelf, Tier};
use crate::store::samples::volume::{self, Volume};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What a series was in one cell of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplePoint {
    /// When its newest value was measured, wall clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Its values.
    pub spread: Spread,
    /// How its values are spread, for percentiles; where these were asked for.
    pub sketch: Option<Sketch>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From this time on, wall clock, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Up to and with this time.
    pub until_ms: i64,
    /// Points of a series at most.
    pub most: usize,
    /// Whether percentiles are wanted.
    pub percentiles: bool,
}

/// The points of some metrics of one entity.
pub(super) type Lines = BTreeMap<Metric, Vec<SamplePoint>>;

/// One query.
pub(super) struct Query<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) heads: &'a [Arc<Head>],
    pub(super) range: Range,
    volumes: BTreeMap<PathBuf, Option<Volume>>,
    raw: Vec<Place>,
    grid: Grid,
    tier: Tier,
}

/// What is gathered of an entity.
struct Gathering<'w> {
    name: String,
    wanted: &'w [Metric],
    lines: Lines,
}

impl<'a> Query<'a> {
    pub(super) fn new(shelf: &'a Shelf, heads: &'a [Arc<Head>], mut range: Range) -> Self {
        let (oldest, newest) = extent(shelf, heads).unwrap_or_default();
        range.since_ms = range.since_ms.max(oldest);
        range.until_ms = range.until_ms.min(newest);
        let span_ms = range.until_ms.saturating_sub(range.since_ms);
        let width_ms = span_ms / i64::try_from(range.most.max(1)).unwrap_or(i64::MAX);
        let tier = match width_ms {
            HOUR_MS.. => Tier::Hour,
            MINUTE_MS..HOUR_MS => Tier::Minute,
            _ => Tier::Raw,
        };
        Self {
            shelf,
            heads,
            range,
            volumes: BTreeMap::new(),
            raw: shelf.places(Tier::Raw),
            grid: Grid::over(range.since_ms, range.until_ms, 1, range.most),
            tier,
        }
    }

    /// The points of some metrics of an entity.
    pub(super) fn lines(
        &mut self,
        entity: &Entity,
        wanted: &[Metric],
    ) -> Result<Lines, StoreError> {
        let mut gathering = Gathering {
            name: entity.to_string(),
            wanted,
            lines: wanted.iter().map(|metric| (*metric, Vec::new())).collect(),
        };
        let Range {
            since_ms, until_ms, ..
        } = self.range;
        let mut day_ms = since_ms.div_euclid(DAY_MS) * DAY_MS;
        while since_ms <= until_ms && day_ms <= until_ms {
            self.day(day_ms, &mut gathering)?;
            day_ms += DAY_MS;
        }
        for head in self.heads {
            if let Some(chunk) = head.chunks.get(entity) {
                self.add_chunk(head.slot_ms, chunk, &mut gathering);
            }
        }
        Ok(gathering.lines)
    }

    fn day(&mut self, day_ms: i64, to: &mut Gathering<'_>) -> Result<(), StoreError> {
        if self.tier == Tier::Hour && self.is_rolled(Tier::Hour, day_ms)? {
            return self.rollups(Tier::Hour, day_ms, day_ms..day_ms + DAY_MS, to);
        }
        let has_raw = self.raw.iter().any(|place| place.first_ms == day_ms);
        for hour in 0..24 {
            let hour_ms = day_ms + hour * HOUR_MS;
            if hour_ms + HOUR_MS <= self.range.since_ms || hour_ms > self.range.until_ms {
                continue;
            }
            let finest = self.tier == Tier::Raw && has_raw;
            if !finest && self.is_rolled(Tier::Minute, hour_ms)? {
                self.rollups(Tier::Minute, hour_ms, hour_ms..hour_ms + HOUR_MS, to)?;
            } else if has_raw {
                self.raw_hour(hour_ms, to)?;
            } else if self.is_rolled(Tier::Hour, day_ms)? {
                self.rollups(Tier::Hour, day_ms, hour_ms..hour_ms + HOUR_MS, to)?;
            }
        }
        Ok(())
    }

    /// The volume that an instant belongs to, where there is one.
    fn volume(&mut self, tier: Tier, at_ms: i64) -> Result<(Place, Option<&Volume>), StoreError> {
        let place = self.shelf.place(tier, at_ms);
        if !self.volumes.contains_key(&place.path) {
            // One that cannot be read must not hide all the others.
            let volume = Volume::read(&place).unwrap_or_else(|error| {
                tracing::warn!(%error, "samples of a time cannot be read");
                None
            });
            self.volumes.insert(place.path.clone(), volume);
        }
        let volume = self.volumes.get(&place.path).and_then(Option::as_ref);
        Ok((place, volume))
    }

    fn is_rolled(&mut self, tier: Tier, begin_ms: i64) -> Result<bool, StoreError> {
        let (place, volume) = self.volume(tier, begin_ms)?;
        let Some(volume) = volume else {
            return Ok(false);
        };
        let done = volume.is_done(&mark(begin_ms));
        done.map_err(|error| StoreError::of(&error, &place.path))
    }

    fn raw_hour(&mut self, hour_ms: i64, to: &mut Gathering<'_>) -> Result<(), StoreError> {
        let (since_ms, until_ms) = (self.range.since_ms, self.range.until_ms);
        let mut found: Vec<(i64, Chunk)> = Vec::new();
        let (place, volume) = self.volume(Tier::Raw, hour_ms)?;
        if let Some(volume) = volume {
            let failed = |error: rusqlite::Error| StoreError::of(&error, &place.path);
            let Some(number) = volume.entity(&to.name).map_err(failed)? else {
                return Ok(());
            };
            for slot in 0..HOUR_MS / SLOT_MS {
                let slot_ms = hour_ms + slot * SLOT_MS;
                if slot_ms + SLOT_MS <= since_ms || slot_ms > until_ms {
                    continue;
                }
                let at = place_in(&place, slot_ms);
                let take = |blob: &[u8]| {
                    let chunk = Chunk::unpack(blob, &|it| volume.metric(it), Some(to.wanted));
                    match chunk {
                        Some(chunk) => found.push((slot_ms, chunk)),
                        None => tracing::warn!(entity = to.name, "a chunk cannot be read"),
                    }
                };
                volume.blobs(at, number, take).map_err(failed)?;
            }
        }
        for (slot_ms, chunk) in found {
            self.add_chunk(slot_ms, &chunk, to);
        }
        Ok(())
    }

    fn add_chunk(&self, slot_ms: i64, chunk: &Chunk, to: &mut Gathering<'_>) {
        for column in &chunk.columns {
            let Some(line) = to.lines.get_mut(&column.metric) else {
                continue;
            };
            for (time, whole) in chunk.times.iter().zip(&column.values) {
                if *whole != ABSENT {
                    let value = value(column.metric, *whole);
                    self.add(line, slot_ms + time, &Spread::of(value), None);
                }
            }
        }
    }

    /// Adds the rollups of an hour or a day that begin within `within`.
    fn rollups(
        &mut self,
        tier: Tier,
        begin_ms: i64,
        within: std::ops::Range<i64>,
        to: &mut Gathering<'_>,
    ) -> Result<(), StoreError> {
        let mut found: Vec<Rollups> = Vec::new();
        let (place, volume) = self.volume(tier, begin_ms)?;
        if let Some(volume) = volume {
            let failed = |error: rusqlite::Error| StoreError::of(&error, &place.path);
            let Some(number) = volume.entity(&to.name).map_err(failed)? else {
                return Ok(());
            };
            let take = |blob: &[u8]| {
                let rollups = rollup::unpack(blob, &|it| volume.metric(it), Some(to.wanted));
                match rollups {
                    Some(rollups) => found.push(rollups),
                    None => tracing::warn!(entity = to.name, "rollups cannot be read"),
                }
            };
            let at = place_in(&place, begin_ms);
            volume.blobs(at, number, take).map_err(failed)?;
        }
        let period_ms = if tier == Tier::Hour {
            HOUR_MS
        } else {
            MINUTE_MS
        };
        for (metric, periods) in found.into_iter().flatten() {
            let Some(line) = to.lines.get_mut(&metric) else {
                continue;
            };
            for (period, rollup) in periods {
                let period_begin_ms = begin_ms + i64::from(period) * period_ms;
                if within.contains(&period_begin_ms) {
                    let at_ms = period_begin_ms + rollup.newest_ms;
                    self.add(line, at_ms, &rollup.spread, Some(&rollup.sketch));
                }
            }
        }
        Ok(())
    }

    /// Adds values to the cell that they belong to.
    fn add(
        &self,
        line: &mut Vec<SamplePoint>,
        at_ms: i64,
        spread: &Spread,
        sketch: Option<&Sketch>,
    ) {
        if at_ms < self.range.since_ms || at_ms > self.range.until_ms {
            return;
        }
        let cell = self.grid.cell(at_ms);
        // Times ascend, unless somebody set the clock back meanwhile.
        let after = line.partition_point(|point| self.grid.cell(point.at_ms) <= cell);
        let place = match after.checked_sub(1) {
            Some(before) if line.get(before).map(|it| self.grid.cell(it.at_ms)) == Some(cell) => {
                before
            }
            Some(_) | None => {
                let point = SamplePoint {
                    at_ms,
                    spread: *spread,
                    sketch: self.range.percentiles.then(|| sketch_of(spread, sketch)),
                };
                return line.insert(after, point);
            }
        };
        let Some(point) = line.get_mut(place) else {
            return;
        };
        let last = point.spread.last;
        point.spread.merge(spread);
        if at_ms < point.at_ms {
            point.spread.last = last;
        }
        point.at_ms = point.at_ms.max(at_ms);
        if let Some(all) = &mut point.sketch {
            all.merge(&sketch_of(spread, sketch));
        }
    }
}

/// From when to when there may be samples.
fn extent(shelf: &Shelf, heads: &[Arc<Head>]) -> Option<(i64, i64)> {
    let in_memory = heads.iter().filter(|head| !head.is_empty());
    let in_memory = in_memory.map(|head| (head.slot_ms, head.slot_ms + SLOT_MS - 1));
    let stored = Tier::ALL.iter().flat_map(|tier| {
        let places = shelf.places(*tier);
        let ends = [places.first(), places.last()];
        let extents = ends.into_iter().flatten().filter_map(volume::extent);
        extents.collect::<Vec<_>>()
    });
    in_memory
        .chain(stored)
        .reduce(|all, next| (all.0.min(next.0), all.1.max(next.1)))
}

/// The sketch of some values; without one it is a single value.
fn sketch_of(spread: &Spread, sketch: Option<&Sketch>) -> Sketch {
    sketch.cloned().unwrap_or_else(|| {
        let mut one = Sketch::default();
        one.add(spread.last, spread.count);
        one
    })
}
