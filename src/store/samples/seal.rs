//! Sealing: what was in memory goes into its volume, and what is complete is rolled up.
//!
//! Each step is one transaction that says in itself that it was done, so that a daemon that is killed in between does
//! it once all the same: a log is taken into the volume of its day; an hour that is over is rolled up into minutes; a
//! day that is over, into hours. What comes late, because somebody set the clock, is added to what was rolled up: made
//! anew it could not be, where what it was made of is gone.

use crate::model::entity::Entity;
use crate::store::error::StoreError;
use crate::store::samples::chunk::{ABSENT, Chunk, value};
use crate::store::samples::head::{Head, SLOT_MS};
use crate::store::samples::rollup::{self, Rollup, Rollups};
use crate::store::samples::shelf::{Place, Shelf, Tier};
use crate::store::samples::volume::Volume;
use std::collections::BTreeSet;

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// The place in time of a row, in a volume.
pub(super) fn place_in(place: &Place, at_ms: i64) -> i64 {
    (at_ms - place.first_ms).div_euclid(place.tier.row_ms())
}

/// What a stretch that was rolled up is called: by when it began.
pub(super) fn mark(begin_ms: i64) -> String {
    begin_ms.to_string()
}

/// What has to be rolled up yet.
#[derive(Debug, Default)]
pub(super) struct Unrolled {
    /// Hours with raw samples that are not rolled up, by when they began.
    pub(super) hours: BTreeSet<i64>,
    /// Days with hours that are not.
    pub(super) days: BTreeSet<i64>,
}

/// What is said of an hour whose raw rows are gone but for those that came late: what was rolled up knows more.
pub(super) fn partial(hour_ms: i64) -> String {
    format!("{PARTIAL}{hour_ms}")
}

const PARTIAL: &str = "partial ";

impl Unrolled {
    /// A slot was taken in. Where what it belongs to was rolled up already, that shows when it would be done.
    pub(super) fn add(&mut self, slot_ms: i64) {
        self.hours.insert(stretch_of(Tier::Minute, slot_ms));
        self.days.insert(stretch_of(Tier::Hour, slot_ms));
    }

    /// Whether something of a volume is among it.
    pub(super) fn needs(&self, place: &Place) -> bool {
        match place.tier {
            Tier::Raw => self.hours.iter().any(|it| place.has(*it)),
            Tier::Minute => self.days.iter().any(|it| place.has(*it)),
            Tier::Hour => false,
        }
    }
}

/// What a log is called among what was done where it was late for a tier: that was rolled up without it.
fn late(log: &str, tier: Tier) -> String {
    format!("{log}+{}", tier.as_str())
}

/// Takes a head into the volume of its day, once. `log` names it.
///
/// Whether it is late for what was rolled up is decided here and stands in the same transaction: were it asked again
/// after a crash, an hour could have been rolled up with it meanwhile, and would have it twice.
pub(super) fn take(shelf: &Shelf, head: &Head, log: &str) -> Result<(), StoreError> {
    let place = shelf.place(Tier::Raw, head.slot_ms);
    let at = place_in(&place, head.slot_ms);
    let mut late_for = Vec::new();
    for tier in [Tier::Minute, Tier::Hour] {
        if is_rolled(shelf, tier, head.slot_ms)? {
            late_for.push(tier);
        }
    }
    let mut volume = Volume::write(&place)?;
    in_transaction(&mut volume, &place, |volume| {
        if volume.is_done(log)? {
            return Ok(());
        }
        let hour_ms = stretch_of(Tier::Minute, head.slot_ms);
        let hour = place_in(&place, hour_ms)..place_in(&place, hour_ms + HOUR_MS);
        let is_partial = (late_for.contains(&Tier::Minute) && !volume.has_rows(hour)?)
            || (late_for.contains(&Tier::Hour) && !volume.has_rows(0..i64::from(u16::MAX))?);
        if is_partial {
            volume.set_done(&partial(hour_ms))?;
        }
        let mut rows = Vec::with_capacity(head.chunks.len());
        for (entity, chunk) in &head.chunks {
            let metrics = chunk.columns.iter().map(|column| column.metric);
            rows.push((volume.catalogue(entity, metrics)?, chunk));
        }
        // So that pages fill from one end to the other.
        rows.sort_unstable_by_key(|(number, _)| *number);
        for (number, chunk) in rows {
            let blob = chunk.pack(&|metric| volume.number(metric));
            volume.add_row(at, number, &blob)?;
        }
        for tier in &late_for {
            volume.set_done(&late(log, *tier))?;
        }
        volume.set_done(log)
    })
}

/// Adds a head that was [taken](take) to what was rolled up without it, once.
pub(super) fn finish(shelf: &Shelf, head: &Head, log: &str) -> Result<(), StoreError> {
    let place = shelf.place(Tier::Raw, head.slot_ms);
    let Some(volume) = Volume::read(&place)? else {
        return Ok(());
    };
    for tier in [Tier::Minute, Tier::Hour] {
        let is_late = volume.is_done(&late(log, tier));
        if is_late.map_err(|error| StoreError::of(&error, &place.path))? {
            add_late(shelf, head, log, tier)?;
        }
    }
    Ok(())
}

/// When the stretch began that an instant is rolled up with: an hour of minutes, or a day of hours.
fn stretch_of(tier: Tier, at_ms: i64) -> i64 {
    let length_ms = if tier == Tier::Hour { DAY_MS } else { HOUR_MS };
    at_ms.div_euclid(length_ms) * length_ms
}

fn is_rolled(shelf: &Shelf, tier: Tier, at_ms: i64) -> Result<bool, StoreError> {
    let place = shelf.place(tier, at_ms);
    let Some(volume) = Volume::read(&place)? else {
        return Ok(false);
    };
    let is_done = volume.is_done(&mark(stretch_of(tier, at_ms)));
    is_done.map_err(|error| StoreError::of(&error, &place.path))
}

/// Adds what came late to what was rolled up, once: as rows of their own, which belong to the same time.
pub(super) fn add_late(
    shelf: &Shelf,
    head: &Head,
    log: &str,
    tier: Tier,
) -> Result<(), StoreError> {
    let place = shelf.place(tier, head.slot_ms);
    let begin_ms = stretch_of(tier, head.slot_ms);
    let at = place_in(&place, begin_ms);
    let period_ms = if tier == Tier::Hour {
        HOUR_MS
    } else {
        MINUTE_MS
    };
    let mut volume = Volume::write(&place)?;
    in_transaction(&mut volume, &place, |volume| {
        if volume.is_done(log)? {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(head.chunks.len());
        for (entity, chunk) in &head.chunks {
            let mut rollups = Rollups::new();
            add_points(&mut rollups, head.slot_ms - begin_ms, period_ms, chunk);
            rows.extend(row_of(volume, entity, &rollups)?);
        }
        add_rows(volume, at, rows)?;
        volume.set_done(log)
    })
}

/// Forgets which logs were taken in whose files are gone: nobody will ask for them again.
pub(super) fn forget_logs(
    shelf: &Shelf,
    at_ms: i64,
    present: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let place = shelf.place(Tier::Raw, at_ms);
    if Volume::read(&place)?.is_none() {
        return Ok(());
    }
    let mut volume = Volume::write(&place)?;
    in_transaction(&mut volume, &place, |volume| {
        let mut statement = volume.connection.prepare("SELECT name FROM done")?;
        let names: Vec<String> = statement
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        drop(statement);
        let is_here = |name: &str| {
            let log = name.split_once('+').map_or(name, |(log, _)| log);
            present.contains(log) || name.starts_with(PARTIAL)
        };
        for name in names.iter().filter(|name| !is_here(name)) {
            volume.unset_done(name)?;
        }
        Ok(())
    })
}

/// Rolls an hour up into minutes, once.
pub(super) fn roll_hour(shelf: &Shelf, hour_ms: i64) -> Result<(), StoreError> {
    let from = shelf.place(Tier::Raw, hour_ms);
    let Some(raw) = Volume::read(&from)? else {
        return Ok(());
    };
    let slots = place_in(&from, hour_ms)..place_in(&from, hour_ms + HOUR_MS);
    let to = shelf.place(Tier::Minute, hour_ms);
    let mut volume = Volume::write(&to)?;
    roll(&mut volume, &to, hour_ms, |volume| {
        let mut rows = Vec::new();
        for (number, entity) in raw.entities_at(slots.clone())? {
            let mut minutes = Rollups::new();
            for slot in slots.clone() {
                let begin_ms = from.first_ms + slot * SLOT_MS - hour_ms;
                raw.blobs(slot, number, |blob| {
                    match Chunk::unpack(blob, &|it| raw.metric(it), None) {
                        Some(chunk) => add_points(&mut minutes, begin_ms, MINUTE_MS, &chunk),
                        None => tracing::warn!(%entity, "a chunk of samples cannot be read"),
                    }
                })?;
            }
            rows.extend(row_of(volume, &entity, &minutes)?);
        }
        Ok(rows)
    })
    .map_err(|error| blame(error, &raw, &from, &to))
}

/// Adds the points of a chunk that begins so long after the stretch to the periods of the stretch.
fn add_points(rollups: &mut Rollups, begin_ms: i64, period_ms: i64, chunk: &Chunk) {
    for column in &chunk.columns {
        for (time, whole) in chunk.times.iter().zip(&column.values) {
            let at_ms = begin_ms + time;
            let period = u8::try_from(at_ms.div_euclid(period_ms));
            if let Ok(period) = period
                && *whole != ABSENT
            {
                let rollup = Rollup::of(at_ms.rem_euclid(period_ms), value(column.metric, *whole));
                rollup::add(rollups, column.metric, period, rollup);
            }
        }
    }
}

/// Rolls a day up into hours, once.
pub(super) fn roll_day(shelf: &Shelf, day_ms: i64) -> Result<(), StoreError> {
    let from = shelf.place(Tier::Minute, day_ms);
    let Some(minutes) = Volume::read(&from)? else {
        return Ok(());
    };
    let hours_of_day = place_in(&from, day_ms)..place_in(&from, day_ms + DAY_MS);
    let to = shelf.place(Tier::Hour, day_ms);
    let mut volume = Volume::write(&to)?;
    roll(&mut volume, &to, day_ms, |volume| {
        let mut rows = Vec::new();
        for (number, entity) in minutes.entities_at(hours_of_day.clone())? {
            let mut hours = Rollups::new();
            for (hour, row) in (0_u8..).zip(hours_of_day.clone()) {
                minutes.blobs(row, number, |blob| {
                    match rollup::unpack(blob, &|it| minutes.metric(it), None, true) {
                        Some(parts) => add_minutes(&mut hours, hour, &parts),
                        None => tracing::warn!(%entity, "minutes of samples cannot be read"),
                    }
                })?;
            }
            rows.extend(row_of(volume, &entity, &hours)?);
        }
        Ok(rows)
    })
    .map_err(|error| blame(error, &minutes, &from, &to))
}

/// Adds the rows that `make` gives for a stretch, and the mark that this was done; does nothing where it was.
fn roll(
    volume: &mut Volume,
    to: &Place,
    begin_ms: i64,
    make: impl FnOnce(&mut Volume) -> rusqlite::Result<Rows>,
) -> Result<(), StoreError> {
    in_transaction(volume, to, |volume| {
        if volume.is_done(&mark(begin_ms))? {
            return Ok(());
        }
        let rows = make(volume)?;
        add_rows(volume, place_in(to, begin_ms), rows)?;
        volume.set_done(&mark(begin_ms))
    })
}

/// Which of two volumes is the damaged one: where what is written is whole, it is what is read.
fn blame(error: StoreError, read: &Volume, from: &Place, to: &Place) -> StoreError {
    if let StoreError::Corrupt { path, why } = &error
        && *path == to.path
        && !read.is_whole()
    {
        return StoreError::Corrupt {
            path: from.path.clone(),
            why: why.clone(),
        };
    }
    error
}

fn add_minutes(hours: &mut Rollups, hour: u8, minutes: &Rollups) {
    for (metric, periods) in minutes {
        for (minute, part) in periods {
            let mut part = part.clone();
            part.newest_ms += i64::from(*minute) * MINUTE_MS;
            rollup::add(hours, *metric, hour, part);
        }
    }
}

/// Rows to add, each with the number of its entity.
type Rows = Vec<(i64, Vec<u8>)>;

/// The row of an entity, where there is anything to be in it.
fn row_of(
    volume: &mut Volume,
    entity: &Entity,
    rollups: &Rollups,
) -> rusqlite::Result<Option<(i64, Vec<u8>)>> {
    if rollups.is_empty() {
        return Ok(None);
    }
    let number = volume.catalogue(entity, rollups.keys().copied())?;
    let blob = rollup::pack(rollups, &|metric| volume.number(metric));
    Ok(Some((number, blob)))
}

/// Adds rows, so that pages fill from one end to the other.
fn add_rows(volume: &Volume, at: i64, mut rows: Rows) -> rusqlite::Result<()> {
    rows.sort_unstable_by_key(|(number, _)| *number);
    for (number, blob) in rows {
        volume.add_row(at, number, &blob)?;
    }
    Ok(())
}

/// What has to be rolled up yet of the volumes that there are.
pub(super) fn unrolled(shelf: &Shelf) -> Result<Unrolled, StoreError> {
    let mut unrolled = Unrolled::default();
    for place in shelf.places(Tier::Raw) {
        let Some(raw) = Volume::read(&place)? else {
            continue;
        };
        let failed = |error: rusqlite::Error| StoreError::of(&error, &place.path);
        let slots = raw.places_with_rows().map_err(failed)?;
        let minutes = Volume::read(&shelf.place(Tier::Minute, place.first_ms))?;
        let hours = Volume::read(&shelf.place(Tier::Hour, place.first_ms))?;
        let is_done = |volume: &Option<Volume>, begin_ms| {
            let volume = volume.as_ref();
            volume.is_some_and(|it| it.is_done(&mark(begin_ms)).unwrap_or(false))
        };
        for slot in &slots {
            let at_ms = place.first_ms + slot * SLOT_MS;
            let hour_ms = at_ms.div_euclid(HOUR_MS) * HOUR_MS;
            if !is_done(&minutes, hour_ms) {
                unrolled.hours.insert(hour_ms);
            }
        }
        if !slots.is_empty() && !is_done(&hours, place.first_ms) {
            unrolled.days.insert(place.first_ms);
        }
    }
    Ok(unrolled)
}

/// Runs `work` in one transaction of a volume.
fn in_transaction<T>(
    volume: &mut Volume,
    place: &Place,
    work: impl FnOnce(&mut Volume) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::of(&error, &place.path);
    volume
        .connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(failed)?;
    let outcome = work(volume).and_then(|done| {
        volume.connection.execute_batch("COMMIT")?;
        Ok(done)
    });
    if outcome.is_err() {
        // Where it cannot be taken back, closing the connection does it.
        let _taken_back = volume.connection.execute_batch("ROLLBACK");
    }
    outcome.map_err(failed)
}
