//! Sealing: what was in memory goes into its volume, and what is complete is rolled up.
//!
//! Each step is one transaction that says in itself that it was done, so that a daemon that is killed in between does
//! it once all the same: a log is taken into the volume of its day; an hour whose slots are there is rolled up into
//! minutes; a day whose hours are there, into hours. Whatever comes late takes the marks away, and is rolled up anew.

use crate::model::entity::Entity;
use crate::model::metric::Metric;
use crate::store::error::StoreError;
use crate::store::samples::chunk::{ABSENT, Chunk, value};
use crate::store::samples::head::{Head, SLOT_MS};
use crate::store::samples::rollup::{self, Rollup, Rollups};
use crate::store::samples::shelf::{Place, Shelf, Tier};
use crate::store::samples::volume::{Volume, row_id};
use rusqlite::params;
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

/// Takes a head into the volume of its day, once. `log` names it.
pub(super) fn seal(shelf: &Shelf, head: &Head, log: &str) -> Result<(), StoreError> {
    let place = shelf.place(Tier::Raw, head.slot_ms);
    let mut volume = Volume::write(&place)?;
    let at = place_in(&place, head.slot_ms);
    in_transaction(&mut volume, &place, |volume| {
        if volume.is_done(log)? {
            return Ok(());
        }
        for (entity, chunk) in &head.chunks {
            let metrics = chunk.columns.iter().map(|column| column.metric);
            let number = volume.catalogue(entity, metrics)?;
            let blob = chunk.pack(&|metric| volume.number(metric));
            volume.add_row(at, number, &blob)?;
        }
        volume.set_done(log, true)
    })?;
    // What was rolled up lacks this. The day first: it is made of hours.
    let hour_ms = head.slot_ms.div_euclid(HOUR_MS) * HOUR_MS;
    let day_ms = head.slot_ms.div_euclid(DAY_MS) * DAY_MS;
    for (tier, begin_ms) in [(Tier::Hour, day_ms), (Tier::Minute, hour_ms)] {
        let place = shelf.place(tier, begin_ms);
        let rolled = Volume::read(&place)?;
        let name = mark(begin_ms);
        let failed = |error: rusqlite::Error| StoreError::of(&error, &place.path);
        let is_done = rolled.map(|it| it.is_done(&name)).transpose();
        if is_done.map_err(failed)? == Some(true) {
            let mut volume = Volume::write(&place)?;
            in_transaction(&mut volume, &place, |volume| volume.set_done(&name, false))?;
        }
    }
    Ok(())
}

/// Forgets which logs were taken in whose files are gone: nobody will ask for them again.
pub(super) fn forget_logs(
    shelf: &Shelf,
    at_ms: i64,
    present: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let place = shelf.place(Tier::Raw, at_ms);
    let mut volume = Volume::write(&place)?;
    in_transaction(&mut volume, &place, |volume| {
        let mut statement = volume.connection.prepare("SELECT name FROM done")?;
        let names: Vec<String> = statement
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        drop(statement);
        for name in names.iter().filter(|name| !present.contains(*name)) {
            volume.set_done(name, false)?;
        }
        Ok(())
    })
}

/// Rolls an hour up into minutes.
pub(super) fn roll_hour(shelf: &Shelf, hour_ms: i64) -> Result<(), StoreError> {
    let from = shelf.place(Tier::Raw, hour_ms);
    let Some(raw) = Volume::read(&from)? else {
        return Ok(());
    };
    let slots = place_in(&from, hour_ms)..place_in(&from, hour_ms + HOUR_MS);
    let to = shelf.place(Tier::Minute, hour_ms);
    let at = place_in(&to, hour_ms);
    let mut volume = Volume::write(&to)?;
    in_transaction(&mut volume, &to, |volume| {
        clear(volume, at)?;
        for (number, entity) in raw.entities_at(slots.clone())? {
            let mut minutes = Rollups::new();
            for slot in slots.clone() {
                let begin_ms = from.first_ms + slot * SLOT_MS - hour_ms;
                raw.blobs(slot, number, |blob| {
                    match Chunk::unpack(blob, &|it| raw.metric(it), None) {
                        Some(chunk) => add_points(&mut minutes, begin_ms, &chunk),
                        None => tracing::warn!(%entity, "a chunk of samples cannot be read"),
                    }
                })?;
            }
            add_rollups(volume, at, &entity, &minutes)?;
        }
        volume.set_done(&mark(hour_ms), true)
    })
}

/// Adds the points of a chunk that begins so long after the hour to the minutes of the hour.
fn add_points(minutes: &mut Rollups, begin_ms: i64, chunk: &Chunk) {
    for column in &chunk.columns {
        for (time, whole) in chunk.times.iter().zip(&column.values) {
            let at_ms = begin_ms + time;
            let minute = u8::try_from(at_ms.div_euclid(MINUTE_MS));
            if let Ok(minute) = minute
                && *whole != ABSENT
            {
                let rollup = Rollup::of(at_ms.rem_euclid(MINUTE_MS), value(column.metric, *whole));
                rollup::add(minutes, column.metric, minute, rollup);
            }
        }
    }
}

/// Rolls a day up into hours.
pub(super) fn roll_day(shelf: &Shelf, day_ms: i64) -> Result<(), StoreError> {
    let from = shelf.place(Tier::Minute, day_ms);
    let Some(minutes) = Volume::read(&from)? else {
        return Ok(());
    };
    let rows = place_in(&from, day_ms)..place_in(&from, day_ms + DAY_MS);
    let to = shelf.place(Tier::Hour, day_ms);
    let at = place_in(&to, day_ms);
    let mut volume = Volume::write(&to)?;
    in_transaction(&mut volume, &to, |volume| {
        clear(volume, at)?;
        for (number, entity) in minutes.entities_at(rows.clone())? {
            let mut hours = Rollups::new();
            for (hour, row) in (0_u8..).zip(rows.clone()) {
                minutes.blobs(row, number, |blob| {
                    match rollup::unpack(blob, &|it| minutes.metric(it), None) {
                        Some(parts) => add_minutes(&mut hours, hour, &parts),
                        None => tracing::warn!(%entity, "minutes of samples cannot be read"),
                    }
                })?;
            }
            add_rollups(volume, at, &entity, &hours)?;
        }
        volume.set_done(&mark(day_ms), true)
    })
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

fn add_rollups(
    volume: &mut Volume,
    at: i64,
    entity: &Entity,
    rollups: &Rollups,
) -> rusqlite::Result<()> {
    let metrics: Vec<Metric> = rollups.keys().copied().collect();
    if metrics.is_empty() {
        return Ok(());
    }
    let number = volume.catalogue(entity, metrics.into_iter())?;
    let blob = rollup::pack(rollups, &|metric| volume.number(metric));
    volume.add_row(at, number, &blob)
}

/// Removes the rows of a place.
fn clear(volume: &Volume, at: i64) -> rusqlite::Result<()> {
    volume
        .connection
        .prepare_cached("DELETE FROM rows WHERE id >= ?1 AND id < ?2")?
        .execute(params![row_id(at, 0, 0), row_id(at + 1, 0, 0)])?;
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
