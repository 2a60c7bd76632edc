//! A volume: one database of samples, with a catalogue of its own, so that it can be read, moved and deleted by itself.
//!
//! Rows come in the order of time, so that the file only grows at its end: the number of a row is its place in time
//! (slots of a day, hours of a month, days of a year), the number of its entity, and a part, should there be several.
//! A rollback journal serves here better than a write-ahead log: pages that are new need no copy of what was there.

use crate::model::entity::{Entity, SeriesKey};
use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use crate::store::error::StoreError;
use crate::store::open;
use crate::store::samples::Kept;
use crate::store::samples::chunk::Chunk;
use crate::store::samples::shelf::Place;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Marks the file as ours ("stks").
const APPLICATION_ID: i64 = 0x7374_6b73;

/// The version of this format.
const FORMAT: i64 = 2;

/// What SQLite keeps beside a database while it writes to it.
pub(super) const JOURNAL: &str = "-journal";

/// Rows are of some kilobytes: on larger pages less is left empty behind them.
const SCHEMA: &str = "
CREATE TABLE entities (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    job     INTEGER,
    attempt INTEGER
) STRICT;
CREATE INDEX entities_by_job ON entities (job, attempt) WHERE job IS NOT NULL;
CREATE TABLE metrics (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    decimals INTEGER NOT NULL,
    UNIQUE (name, decimals)
) STRICT;
CREATE TABLE series (
    entity INTEGER NOT NULL REFERENCES entities (id),
    metric INTEGER NOT NULL REFERENCES metrics (id),
    PRIMARY KEY (entity, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE rows (
    id   INTEGER PRIMARY KEY,
    blob BLOB NOT NULL
) STRICT;
-- Logs that were taken in, or stretches that were rolled up: what is here is not done again.
CREATE TABLE done (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
";

const PART_BITS: u32 = 16;
const ENTITY_BITS: u32 = 24;
const ENTITIES: i64 = 1 << ENTITY_BITS;

/// The number of a row.
pub(super) fn row_id(place: i64, entity: i64, part: i64) -> i64 {
    (place << (ENTITY_BITS + PART_BITS)) | (entity << PART_BITS) | part
}

/// The place in time and the entity that the number of a row says.
pub(super) fn place_and_entity(row: i64) -> (i64, i64) {
    (
        row >> (ENTITY_BITS + PART_BITS),
        (row >> PART_BITS) & (ENTITIES - 1),
    )
}

/// An open volume.
pub(super) struct Volume {
    pub(super) connection: Connection,
    metrics: BTreeMap<Metric, u64>,
    known: BTreeMap<u64, Metric>,
}

impl Volume {
    /// Opens a volume for writing; makes it where there is none.
    pub(super) fn write(place: &Place) -> Result<Self, StoreError> {
        let path = &place.path;
        open::make_private(path)?;
        let connect = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            open::harden(&connection)?;
            connection.execute_batch(
                "PRAGMA page_size = 8192; PRAGMA journal_mode = DELETE; \
                 PRAGMA synchronous = FULL; PRAGMA cache_size = -512;",
            )?;
            Ok(connection)
        };
        let connection = connect().map_err(|error| StoreError::of(&error, path))?;
        let version = version(&connection, path)?;
        if version == 0 {
            let make = || -> rusqlite::Result<()> {
                let transaction = connection.unchecked_transaction()?;
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", FORMAT)?;
                transaction.commit()
            };
            make().map_err(|error| StoreError::of(&error, path))?;
        }
        Self::of(connection, path)
    }

    /// Opens a volume for reading; `None` where there is none.
    pub(super) fn read(place: &Place) -> Result<Option<Self>, StoreError> {
        let path = &place.path;
        if path.metadata().map_or(0, |data| data.len()) == 0 {
            return Ok(None);
        }
        finish_interrupted(path)?;
        let connection = open::reader(path)?;
        if version(&connection, path)? == 0 {
            return Ok(None);
        }
        Self::of(connection, path).map(Some)
    }

    fn of(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let mut volume = Self {
            connection,
            metrics: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        volume
            .learn_metrics()
            .map_err(|error| StoreError::of_opening(&error, path))?;
        Ok(volume)
    }

    fn learn_metrics(&mut self) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare("SELECT id, name, decimals FROM metrics")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
            let name = row.get_ref(1)?.as_str()?;
            let decimals: u8 = row.get(2)?;
            // Were it kept otherwise than today, its numbers would mean something else.
            let metric = name.parse::<Metric>().ok();
            if let Some(metric) = metric.filter(|it| it.definition().decimals == decimals) {
                self.metrics.insert(metric, id);
                self.known.insert(id, metric);
            }
        }
        Ok(())
    }

    /// The metric of a number in the catalogue, where this version knows it.
    pub(super) fn metric(&self, number: u64) -> Option<Metric> {
        self.known.get(&number).copied()
    }

    /// The number of a metric in the catalogue. Only those that were [learned](Self::catalogue) have one.
    pub(super) fn number(&self, metric: Metric) -> u64 {
        self.metrics.get(&metric).copied().unwrap_or(0)
    }

    /// Makes sure that an entity and its metrics are in the catalogue; answers the number of the entity.
    pub(super) fn catalogue(
        &mut self,
        entity: &Entity,
        metrics: impl Iterator<Item = Metric>,
    ) -> rusqlite::Result<i64> {
        let name = entity.to_string();
        let id = match self.entity(&name)? {
            Some(id) => id,
            None => {
                let attempt = entity.attempt();
                let job = attempt.map(|it| i64::try_from(it.job.0).unwrap_or(i64::MAX));
                let number = attempt.map(|it| it.attempt);
                self.connection
                    .prepare_cached(
                        "INSERT INTO entities (name, job, attempt) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![name, job, number])?;
                self.connection.last_insert_rowid()
            }
        };
        if id >= ENTITIES {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, id));
        }
        for metric in metrics {
            let number = match self.metrics.get(&metric) {
                Some(number) => *number,
                None => self.add_metric(metric)?,
            };
            self.connection
                .prepare_cached("INSERT OR IGNORE INTO series (entity, metric) VALUES (?1, ?2)")?
                .execute(params![id, i64::try_from(number).unwrap_or(i64::MAX)])?;
        }
        Ok(id)
    }

    fn add_metric(&mut self, metric: Metric) -> rusqlite::Result<u64> {
        self.connection
            .prepare_cached("INSERT INTO metrics (name, decimals) VALUES (?1, ?2)")?
            .execute(params![metric.name(), metric.definition().decimals])?;
        let number = u64::try_from(self.connection.last_insert_rowid()).unwrap_or(0);
        self.metrics.insert(metric, number);
        self.known.insert(number, metric);
        Ok(number)
    }

    /// The number of an entity, where it is in the catalogue.
    pub(super) fn entity(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT id FROM entities WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()
    }

    /// Entities whose rows are at places from one up to another.
    pub(super) fn entities_at(
        &self,
        places: std::ops::Range<i64>,
    ) -> rusqlite::Result<Vec<(i64, Entity)>> {
        let ids: BTreeSet<i64> = self
            .connection
            .prepare_cached("SELECT id FROM rows WHERE id >= ?1 AND id < ?2")?
            .query_map(
                [row_id(places.start, 0, 0), row_id(places.end, 0, 0)],
                |row| Ok(place_and_entity(row.get(0)?).1),
            )?
            .collect::<rusqlite::Result<_>>()?;
        let mut entities = Vec::with_capacity(ids.len());
        for id in ids {
            let name: Option<String> = self
                .connection
                .prepare_cached("SELECT name FROM entities WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            let entity = name.and_then(|name| name.parse().ok());
            entities.extend(entity.map(|entity| (id, entity)));
        }
        Ok(entities)
    }

    /// Hands the blobs of an entity at a place to `take`.
    pub(super) fn blobs(
        &self,
        place: i64,
        entity: i64,
        mut take: impl FnMut(&[u8]),
    ) -> rusqlite::Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT blob FROM rows WHERE id >= ?1 AND id < ?2 ORDER BY id")?;
        let first = row_id(place, entity, 0);
        let mut rows = statement.query([first, first + (1 << PART_BITS)])?;
        while let Some(row) = rows.next()? {
            take(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }

    /// Adds a row of an entity at a place, after those that are there.
    pub(super) fn add_row(&self, place: i64, entity: i64, blob: &[u8]) -> rusqlite::Result<()> {
        let first = row_id(place, entity, 0);
        let last: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(id) FROM rows WHERE id >= ?1 AND id < ?2")?
            .query_row([first, first + (1 << PART_BITS)], |row| row.get(0))?;
        self.connection
            .prepare_cached("INSERT INTO rows (id, blob) VALUES (?1, ?2)")?
            .execute(params![last.map_or(first, |last| last + 1), blob])?;
        Ok(())
    }

    /// Whether there is a row at a place from one up to another.
    pub(super) fn has_rows(&self, places: std::ops::Range<i64>) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM rows WHERE id >= ?1 AND id < ?2")?
            .exists([row_id(places.start, 0, 0), row_id(places.end, 0, 0)])
    }

    /// Which places have rows.
    pub(super) fn places_with_rows(&self) -> rusqlite::Result<BTreeSet<i64>> {
        let mut places = BTreeSet::new();
        let mut statement = self
            .connection
            .prepare("SELECT min(id) FROM rows WHERE id >= ?1")?;
        let mut from = 0;
        // From place to place, not from row to row.
        while let Some(id) = statement.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
            let (place, _) = place_and_entity(id);
            places.insert(place);
            from = row_id(place + 1, 0, 0);
        }
        Ok(places)
    }

    /// Whether a log was taken in, or a stretch rolled up.
    pub(super) fn is_done(&self, name: &str) -> rusqlite::Result<bool> {
        self.connection
            .prepare_cached("SELECT 1 FROM done WHERE name = ?1")?
            .exists([name])
    }

    /// Says so.
    pub(super) fn set_done(&self, name: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO done (name) VALUES (?1)")?
            .execute([name])?;
        Ok(())
    }

    /// Does not say so any more.
    pub(super) fn unset_done(&self, name: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM done WHERE name = ?1")?
            .execute([name])?;
        Ok(())
    }

    /// Whether all pages make sense.
    pub(super) fn is_whole(&self) -> bool {
        let check = "PRAGMA quick_check(1)";
        let verdict = self
            .connection
            .query_row(check, [], |row| row.get::<_, String>(0));
        verdict.is_ok_and(|verdict| verdict == "ok")
    }
}

/// Takes back what was being written when a daemon was killed. Whoever only reads may not, and could not read either.
///
/// No transaction is under way in this process: whoever reads and whoever writes keep each other out.
fn finish_interrupted(path: &Path) -> Result<(), StoreError> {
    if !open::with_suffix(path, JOURNAL).exists() {
        return Ok(());
    }
    let finish = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        open::harden(&connection)?;
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT;")
    };
    finish().map_err(|error| StoreError::of(&error, path))
}

/// From when to when there are rows in a volume.
pub(super) fn extent(place: &Place) -> Option<(i64, i64)> {
    let volume = Volume::read(place).ok()??;
    let bounds: (Option<i64>, Option<i64>) = volume
        .connection
        .query_row(
            "SELECT (SELECT min(id) FROM rows), (SELECT max(id) FROM rows)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .ok()?;
    let unit_ms = place.tier.row_ms();
    let begin = |id: i64| place.first_ms + place_and_entity(id).0 * unit_ms;
    Some((begin(bounds.0?), begin(bounds.1?) + unit_ms - 1))
}

/// The version of the format of a file; 0 of one that is new.
fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let pragma = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let read = || -> rusqlite::Result<(i64, i64)> {
        Ok((pragma("user_version")?, pragma("application_id")?))
    };
    let (found, application) = read().map_err(|error| StoreError::of(&error, path))?;
    if found > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    if found > 0 && application != APPLICATION_ID {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            why: "it is a database of something else".to_owned(),
        });
    }
    if found > 0 && found < FORMAT {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            why: format!("its format, {found}, is of no release"),
        });
    }
    Ok(found)
}

/// Adds the series of a volume whose entities `wanted` names.
pub(super) fn series(
    place: &Place,
    wanted: &dyn Fn(&Entity) -> bool,
    found: &mut BTreeMap<SeriesKey, Kept>,
) -> Result<(), StoreError> {
    let Some(volume) = Volume::read(place)? else {
        return Ok(());
    };
    let read = || -> rusqlite::Result<Vec<SeriesKey>> {
        let mut series = Vec::new();
        let sql = "SELECT e.name, s.metric FROM series s JOIN entities e ON e.id = s.entity";
        let mut statement = volume.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let entity = row.get_ref(0)?.as_str()?.parse::<Entity>().ok();
            let number = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            if let Some(entity) = entity.filter(wanted)
                && let Some(metric) = volume.metric(number)
            {
                series.push(SeriesKey { entity, metric });
            }
        }
        Ok(series)
    };
    let series = read().map_err(|error| StoreError::of(&error, &place.path))?;
    let Some((first_ms, last_ms)) = extent(place) else {
        return Ok(());
    };
    for key in series {
        Kept { first_ms, last_ms }.add_to(found, key);
    }
    Ok(())
}

/// An entity with its chunks, each with the number of its slot.
pub(super) type Newest = (Entity, Vec<(i64, Chunk)>);

/// The newest chunks of an attempt and of each of its GPUs, however long ago it used that; of two slots, as not all is
/// measured in each.
pub(super) fn last_of(place: &Place, attempt: AttemptId) -> Result<Vec<Newest>, StoreError> {
    let Some(volume) = Volume::read(place)? else {
        return Ok(Vec::new());
    };
    let read = || -> rusqlite::Result<Vec<Newest>> {
        let newest: Option<i64> =
            volume
                .connection
                .query_row("SELECT max(id) FROM rows", [], |row| row.get(0))?;
        let Some(newest) = newest.map(|id| place_and_entity(id).0) else {
            return Ok(Vec::new());
        };
        let mut statement = volume
            .connection
            .prepare("SELECT id, name FROM entities WHERE job = ?1 AND attempt = ?2")?;
        let job = i64::try_from(attempt.job.0).unwrap_or(i64::MAX);
        let entities: Vec<(i64, String)> = statement
            .query_map(params![job, attempt.attempt], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        let mut found = Vec::new();
        for (id, name) in entities {
            let Ok(entity) = name.parse::<Entity>() else {
                continue;
            };
            let mut chunks: Vec<(i64, Chunk)> = Vec::new();
            for slot in (0..=newest).rev() {
                volume.blobs(slot, id, |blob| {
                    let chunk = Chunk::unpack(blob, &|it| volume.metric(it), None);
                    chunks.extend(chunk.map(|chunk| (slot, chunk)));
                })?;
                if chunks.first().is_some_and(|(last, _)| *last > slot) {
                    break;
                }
            }
            if !chunks.is_empty() {
                found.push((entity, chunks));
            }
        }
        Ok(found)
    };
    read().map_err(|error| StoreError::of(&error, &place.path))
}
