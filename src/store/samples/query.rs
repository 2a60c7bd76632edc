//! Reading samples: over any stretch of time, as finely as somebody can use, from whatever holds them.
//!
//! The grid decides how fine; where the finer is gone the coarser serves, and where the coarser is not made yet the
//! finer does. Every value is read from one place only: an hour from its raw rows or from its minutes, a day from
//! those or from its hours. What was not measured is not there.

use crate::model::curve::{Grid, Spread};
use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::model::sketch::Sketch;
use crate::store::samples::chunk::{ABSENT, Chunk, value};
use crate::store::samples::head::{Head, SLOT_MS};
use crate::store::samples::rollup::{self, Rollup};
use crate::store::samples::seal::{DAY_MS, HOUR_MS, MINUTE_MS, mark, partial, place_in};
use crate::store::samples::shelf::{Place, Shelf, Tier};
use crate::store::samples::volume::{self, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range as Interval;
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

impl Range {
    pub(super) fn has(&self, at_ms: i64) -> bool {
        (self.since_ms..=self.until_ms).contains(&at_ms)
    }

    /// Whether a period is in it from its beginning to its end.
    fn has_all_of(&self, begin_ms: i64, length_ms: i64) -> bool {
        begin_ms >= self.since_ms && begin_ms + length_ms - 1 <= self.until_ms
    }

    fn touches(&self, begin_ms: i64, length_ms: i64) -> bool {
        begin_ms + length_ms > self.since_ms && begin_ms <= self.until_ms
    }
}

/// The points of some metrics of one entity.
pub(super) type Lines = BTreeMap<Metric, Vec<SamplePoint>>;

/// One query.
pub(super) struct Query<'a> {
    shelf: &'a Shelf,
    heads: &'a [Arc<Head>],
    range: Range,
    volumes: BTreeMap<Place, Option<Volume>>,
    grid: Grid,
    tier: Tier,
}

/// What is gathered of an entity.
struct Gathering<'w> {
    entity: &'w Entity,
    name: String,
    wanted: Vec<Metric>,
    lines: Lines,
}

/// Hours of a day, or minutes of an hour, by when they begin; and when the newest value in them was.
type Take<'t> = &'t dyn Fn(i64, i64) -> bool;

impl<'a> Query<'a> {
    pub(super) fn new(shelf: &'a Shelf, heads: &'a [Arc<Head>], mut range: Range) -> Self {
        let (oldest, newest) = extent(shelf, heads).unwrap_or_default();
        range.since_ms = range.since_ms.max(oldest);
        range.until_ms = range.until_ms.min(newest);
        let span_ms = range.until_ms.saturating_sub(range.since_ms);
        let width_ms = span_ms / i64::try_from(range.most.max(1)).unwrap_or(i64::MAX);
        // A tier is fine enough where it gives more than half of the points that somebody can use.
        let tier = match width_ms.saturating_mul(2) {
            HOUR_MS.. => Tier::Hour,
            MINUTE_MS..HOUR_MS => Tier::Minute,
            _ => Tier::Raw,
        };
        Self {
            shelf,
            heads,
            range,
            volumes: BTreeMap::new(),
            grid: Grid::over(range.since_ms, range.until_ms, 1, range.most),
            tier,
        }
    }

    /// The points of some metrics of some entities.
    pub(super) fn lines<'w>(
        &mut self,
        wanted: BTreeMap<&'w Entity, Vec<Metric>>,
    ) -> BTreeMap<&'w Entity, Lines> {
        let empty = |metrics: &[Metric]| metrics.iter().map(|it| (*it, Vec::new())).collect();
        let gatherings = wanted.into_iter().map(|(entity, metrics)| Gathering {
            entity,
            name: entity.to_string(),
            lines: empty(&metrics),
            wanted: metrics,
        });
        let mut gatherings: Vec<Gathering<'_>> = gatherings.collect();
        for day_ms in self.days() {
            for to in &mut gatherings {
                self.day(day_ms, to);
            }
            // Of many days no more than one is open at a time.
            self.volumes
                .retain(|place, _| place.end_ms > day_ms + DAY_MS);
        }
        for head in self.heads {
            for to in &mut gatherings {
                if let Some(chunk) = head.chunks.get(to.entity) {
                    self.add_chunk(head.slot_ms, chunk, i64::MIN..i64::MAX, to);
                }
            }
        }
        let lines = gatherings.into_iter().map(|it| (it.entity, it.lines));
        lines.collect()
    }

    /// The days of the range that some volume is of: a clock that once was years off must not make us look for every
    /// day between.
    fn days(&self) -> BTreeSet<i64> {
        let Range {
            since_ms, until_ms, ..
        } = self.range;
        let mut days = BTreeSet::new();
        for place in Tier::ALL.iter().flat_map(|tier| self.shelf.places(*tier)) {
            let mut day_ms = place.first_ms.max(since_ms).div_euclid(DAY_MS) * DAY_MS;
            while day_ms < place.end_ms && day_ms <= until_ms {
                days.insert(day_ms);
                day_ms += DAY_MS;
            }
        }
        days
    }

    /// Takes each hour from the coarsest tier that is fine enough, and where there is none, from the finest there is.
    /// What is only partly in the range is taken from a finer one, where that is still there.
    fn day(&mut self, day_ms: i64, to: &mut Gathering<'_>) {
        let has_hours = self.is_rolled(Tier::Hour, day_ms);
        let mut from_hours = [false; 24];
        for (hour_ms, from_hours) in (day_ms..).step_by(HOUR_MS as usize).zip(&mut from_hours) {
            if !self.range.touches(hour_ms, HOUR_MS) {
                continue;
            }
            let is_inside = self.range.has_all_of(hour_ms, HOUR_MS);
            let is_enough = has_hours && self.tier == Tier::Hour && is_inside;
            *from_hours = is_enough || !self.hour(hour_ms, has_hours, to);
        }
        if has_hours && from_hours.contains(&true) {
            let range = self.range;
            let take = |begin_ms: i64, newest_ms: i64| {
                let hour = usize::try_from((begin_ms - day_ms).div_euclid(HOUR_MS));
                let is_taken = hour.ok().and_then(|hour| from_hours.get(hour));
                is_taken == Some(&true)
                    && (range.has_all_of(begin_ms, HOUR_MS) || range.has(newest_ms))
            };
            let found = self.rollups(Tier::Hour, day_ms, to, &take);
            self.add_rollups(found, to);
        }
    }

    /// Takes an hour from its minutes or its raw rows; answers whether either is there.
    fn hour(&mut self, hour_ms: i64, has_hours: bool, to: &mut Gathering<'_>) -> bool {
        let has_minutes = self.is_rolled(Tier::Minute, hour_ms);
        let is_rolled = has_minutes || has_hours;
        let has_raw = self.has_raw(hour_ms) && !(is_rolled && self.is_partial(hour_ms));
        if !has_minutes || (has_raw && self.tier == Tier::Raw) {
            if has_raw {
                self.raw(hour_ms, hour_ms..hour_ms + HOUR_MS, to);
            }
            return has_raw;
        }
        let range = self.range;
        let take = |begin_ms: i64, newest_ms: i64| {
            range.has_all_of(begin_ms, MINUTE_MS) || (!has_raw && range.has(newest_ms))
        };
        let found = self.rollups(Tier::Minute, hour_ms, to, &take);
        self.add_rollups(found, to);
        if has_raw {
            let ends = [range.since_ms, range.until_ms];
            let minutes = ends.map(|end_ms| end_ms.div_euclid(MINUTE_MS) * MINUTE_MS);
            for minute_ms in BTreeSet::from(minutes) {
                let is_of_hour = (hour_ms..hour_ms + HOUR_MS).contains(&minute_ms);
                if is_of_hour && !range.has_all_of(minute_ms, MINUTE_MS) {
                    self.raw(hour_ms, minute_ms..minute_ms + MINUTE_MS, to);
                }
            }
        }
        true
    }

    /// The volume that an instant belongs to, where there is one that can be read.
    fn volume(&mut self, tier: Tier, at_ms: i64) -> Option<(Place, &Volume)> {
        let place = self.shelf.place(tier, at_ms);
        if !self.volumes.contains_key(&place) {
            // One that cannot be read must not hide all the others.
            let volume = Volume::read(&place).unwrap_or_else(|error| {
                tracing::warn!(%error, "samples of a time cannot be read");
                None
            });
            self.volumes.insert(place.clone(), volume);
        }
        let volume = self.volumes.get(&place)?.as_ref()?;
        Some((place, volume))
    }

    /// What `read` finds in a volume. One that turns out to be damaged counts as absent from then on.
    fn ask<T: Default>(
        &mut self,
        tier: Tier,
        at_ms: i64,
        read: impl FnOnce(&Place, &Volume) -> rusqlite::Result<T>,
    ) -> T {
        let Some((place, volume)) = self.volume(tier, at_ms) else {
            return T::default();
        };
        match read(&place, volume) {
            Ok(found) => found,
            Err(error) => {
                let path = place.path.display();
                tracing::warn!(%path, %error, "samples of a time cannot be read");
                self.volumes.insert(place, None);
                T::default()
            }
        }
    }

    /// The entities that have rows where the range is read from.
    pub(super) fn entities(&mut self) -> BTreeSet<Entity> {
        let in_memory = self
            .heads
            .iter()
            .flat_map(|head| head.chunks.keys().cloned());
        let mut entities: BTreeSet<Entity> = in_memory.collect();
        let tiers: &[Tier] = match self.tier {
            Tier::Hour => &[Tier::Hour],
            Tier::Minute | Tier::Raw => &[Tier::Minute, Tier::Raw],
        };
        for tier in tiers {
            let row_ms = tier.row_ms();
            let first_ms = self.range.since_ms.div_euclid(row_ms) * row_ms;
            for begin_ms in (first_ms..=self.range.until_ms).step_by(row_ms as usize) {
                let found = self.ask(*tier, begin_ms, |place, volume| {
                    let place = place_in(place, begin_ms);
                    volume.entities_at(place..place + 1)
                });
                entities.extend(found.into_iter().map(|(_, entity)| entity));
            }
        }
        entities
    }

    /// The finest that is left of a time.
    pub(super) fn finest(&mut self, at_ms: i64) -> Tier {
        let begin_ms = |length_ms: i64| at_ms.div_euclid(length_ms) * length_ms;
        let (hour_ms, day_ms) = (begin_ms(HOUR_MS), begin_ms(DAY_MS));
        if self.has_raw(hour_ms) {
            Tier::Raw
        } else if self.is_rolled(Tier::Minute, hour_ms) {
            Tier::Minute
        } else if self.is_rolled(Tier::Hour, day_ms) {
            Tier::Hour
        } else {
            // What is not rolled up yet is in memory.
            Tier::Raw
        }
    }

    fn is_rolled(&mut self, tier: Tier, begin_ms: i64) -> bool {
        self.ask(tier, begin_ms, |_, volume| volume.is_done(&mark(begin_ms)))
    }

    fn has_raw(&mut self, hour_ms: i64) -> bool {
        self.ask(Tier::Raw, hour_ms, |place, volume| {
            volume.has_rows(place_in(place, hour_ms)..place_in(place, hour_ms + HOUR_MS))
        })
    }

    /// Whether the raw rows of an hour are not all that was measured in it.
    fn is_partial(&mut self, hour_ms: i64) -> bool {
        let name = partial(hour_ms);
        self.ask(Tier::Raw, hour_ms, |_, volume| volume.is_done(&name))
    }

    /// Takes what is within a part of an hour from its raw rows.
    fn raw(&mut self, hour_ms: i64, within: Interval<i64>, to: &mut Gathering<'_>) {
        let slots = (hour_ms..hour_ms + HOUR_MS).step_by(SLOT_MS as usize);
        let range = self.range;
        let slots = slots.filter(|slot_ms| {
            let is_within = *slot_ms < within.end && *slot_ms + SLOT_MS > within.start;
            is_within && range.touches(*slot_ms, SLOT_MS)
        });
        let slots: Vec<i64> = slots.collect();
        let (name, wanted) = (&to.name, &to.wanted);
        let found = self.ask(Tier::Raw, hour_ms, |place, volume| {
            let mut found: Vec<(i64, Chunk)> = Vec::new();
            let Some(number) = volume.entity(name)? else {
                return Ok(found);
            };
            for slot_ms in slots {
                volume.blobs(
                    place_in(place, slot_ms),
                    number,
                    |blob| match Chunk::unpack(blob, &|it| volume.metric(it), Some(wanted)) {
                        Some(chunk) => found.push((slot_ms, chunk)),
                        None => tracing::warn!(entity = name, "a chunk cannot be read"),
                    },
                )?;
            }
            Ok(found)
        });
        for (slot_ms, chunk) in found {
            self.add_chunk(slot_ms, &chunk, within.clone(), to);
        }
    }

    fn add_chunk(
        &self,
        slot_ms: i64,
        chunk: &Chunk,
        within: Interval<i64>,
        to: &mut Gathering<'_>,
    ) {
        for column in &chunk.columns {
            let Some(line) = to.lines.get_mut(&column.metric) else {
                continue;
            };
            for (time, whole) in chunk.times.iter().zip(&column.values) {
                let at_ms = slot_ms + time;
                if *whole != ABSENT && within.contains(&at_ms) && self.range.has(at_ms) {
                    let value = value(column.metric, *whole);
                    self.add(line, at_ms, &Spread::of(value), None);
                }
            }
        }
    }

    /// The rollups of an hour or a day, of those periods that `take` wants, each with when its newest value was.
    fn rollups(
        &mut self,
        tier: Tier,
        begin_ms: i64,
        to: &Gathering<'_>,
        take: Take<'_>,
    ) -> Vec<(Metric, i64, Rollup)> {
        let period_ms = if tier == Tier::Hour {
            HOUR_MS
        } else {
            MINUTE_MS
        };
        let (name, wanted) = (&to.name, &to.wanted);
        let percentiles = self.range.percentiles;
        self.ask(tier, begin_ms, |place, volume| {
            let mut found = Vec::new();
            let Some(number) = volume.entity(name)? else {
                return Ok(found);
            };
            volume.blobs(place_in(place, begin_ms), number, |blob| {
                let rollups =
                    rollup::unpack(blob, &|it| volume.metric(it), Some(wanted), percentiles);
                let Some(rollups) = rollups else {
                    return tracing::warn!(entity = name, "rollups cannot be read");
                };
                for (metric, periods) in rollups {
                    for (period, rollup) in periods {
                        let period_begin_ms = begin_ms + i64::from(period) * period_ms;
                        let newest_ms = period_begin_ms + rollup.newest_ms;
                        if take(period_begin_ms, newest_ms) {
                            found.push((metric, newest_ms, rollup));
                        }
                    }
                }
            })?;
            Ok(found)
        })
    }

    fn add_rollups(&self, found: Vec<(Metric, i64, Rollup)>, to: &mut Gathering<'_>) {
        for (metric, newest_ms, rollup) in found {
            if let Some(line) = to.lines.get_mut(&metric) {
                self.add(line, newest_ms, &rollup.spread, Some(&rollup.sketch));
            }
        }
    }

    /// Adds values to the cell that they belong to.
    fn add(
        &self,
        line: &mut Vec<SamplePoint>,
        at_ms: i64,
        spread: &Spread,
        sketch: Option<&Sketch>,
    ) {
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
