//! Reading samples through: whether all rows of all volumes are whole and of what their catalogue knows.

use crate::store::error::StoreError;
use crate::store::open;
use crate::store::samples::Samples;
use crate::store::samples::chunk::Chunk;
use crate::store::samples::rollup;
use crate::store::samples::shelf::{Place, Tier};
use crate::store::samples::volume::{Volume, place_and_entity};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::PoisonError;

/// What was found when samples were read through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedSamples {
    /// Volumes that were read.
    pub volumes: u64,
    /// What is wrong with them, where, and what to do.
    pub faults: Vec<String>,
}

impl Samples {
    /// Reads every volume through. Blocks on the disk, and keeps what is measured from its volumes for as long as one
    /// of them takes.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] once `is_over` says so. What is wrong with a volume is an answer.
    pub fn verify(&self, is_over: &dyn Fn() -> bool) -> Result<VerifiedSamples, StoreError> {
        let shared = &self.owner.shared;
        self.wait_until_ready();
        let mut verified = VerifiedSamples::default();
        for place in Tier::ALL.iter().flat_map(|tier| shared.shelf.places(*tier)) {
            if is_over() {
                return Err(StoreError::Stopped);
            }
            let _gate = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
            // It may have grown too old meanwhile.
            if place.path.exists() {
                verified.volumes += 1;
                verified.faults.extend(faults(&place));
            }
        }
        let aside = self.set_aside();
        verified.faults.extend(aside.iter().map(|path| {
            let path = path.display();
            format!(
                "{path}: it was damaged and is set aside, and another was begun; remove it when you need it no more"
            )
        }));
        Ok(verified)
    }
}

/// What is wrong with a volume.
fn faults(place: &Place) -> Vec<String> {
    let path = &place.path;
    match found(place) {
        Ok(found) if found.is_empty() => Vec::new(),
        Ok(mut found) => {
            found.push(
                "what can be read of it is; put a copy of it from a backup in its place, or leave it"
                    .to_owned(),
            );
            vec![format!("{}: {}", path.display(), found.join("; "))]
        }
        Err(StoreError::Corrupt { why, .. }) => vec![unreadable(path, place.tier, &why)],
        Err(error) => vec![format!("failed to {error}")],
    }
}

fn unreadable(path: &Path, tier: Tier, why: &str) -> String {
    let otherwise = match tier {
        Tier::Raw => "the minutes of that time are read instead",
        Tier::Minute => "the hours of that time are read instead",
        Tier::Hour => "nothing else is left of that time once finer samples are gone",
    };
    format!(
        "{}: it cannot be read ({why}); put a copy of it from a backup in its place, or move it away: {otherwise}",
        path.display()
    )
}

/// What is wrong with a volume that can be opened.
fn found(place: &Place) -> Result<Vec<String>, StoreError> {
    let Some(volume) = Volume::read(place)? else {
        return Ok(Vec::new());
    };
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut found = open::integrity(&volume.connection)?;
        found.extend(wrong_rows(place, &volume)?);
        Ok(found)
    };
    read().map_err(|error| StoreError::of_opening(&error, &place.path))
}

/// The catalogue of a volume: what its rows may be of.
struct Catalogue {
    entities: BTreeSet<i64>,
    metrics: BTreeSet<i64>,
    series: BTreeSet<(i64, i64)>,
}

impl Catalogue {
    fn of(volume: &Volume) -> rusqlite::Result<Self> {
        let numbers = |sql| -> rusqlite::Result<BTreeSet<i64>> {
            let mut statement = volume.connection.prepare(sql)?;
            let numbers = statement.query_map([], |row| row.get(0))?;
            numbers.collect()
        };
        let mut series = volume
            .connection
            .prepare("SELECT entity, metric FROM series")?;
        let series = series.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self {
            entities: numbers("SELECT id FROM entities")?,
            metrics: numbers("SELECT id FROM metrics")?,
            series: series.collect::<rusqlite::Result<_>>()?,
        })
    }

    /// Whether all that is said to be measured is of something.
    fn is_whole(&self) -> bool {
        let is_known = |(entity, metric): &(i64, i64)| {
            self.entities.contains(entity) && self.metrics.contains(metric)
        };
        self.series.iter().all(is_known)
    }
}

/// How many rows are wrong, in each way in which some are.
fn wrong_rows(place: &Place, volume: &Volume) -> rusqlite::Result<Vec<String>> {
    let catalogue = Catalogue::of(volume)?;
    let places = 0..(place.end_ms - place.first_ms).div_euclid(place.tier.row_ms());
    let (mut all, mut unreadable, mut unknown, mut misplaced) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut statement = volume.connection.prepare("SELECT id, blob FROM rows")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (at, entity) = place_and_entity(row.get(0)?);
        all += 1;
        misplaced += u64::from(!places.contains(&at));
        match metrics_in(place.tier, volume, row.get_ref(1)?.as_blob()?) {
            None => unreadable += 1,
            Some(metrics) => {
                let is_known = |metric: &i64| catalogue.series.contains(&(entity, *metric));
                unknown += u64::from(!metrics.iter().all(is_known));
            }
        }
    }
    let mut found = Vec::new();
    let mut tell = |count: u64, what: &str| {
        if count > 0 {
            found.push(format!("of {all} rows {count} {what}"));
        }
    };
    tell(unreadable, "cannot be unpacked");
    tell(unknown, "are of what its catalogue does not know");
    tell(misplaced, "are of another time");
    if !catalogue.is_whole() {
        found.push("its catalogue is not whole".to_owned());
    }
    Ok(found)
}

/// The numbers of the metrics in a row; `None` where it cannot be unpacked.
fn metrics_in(tier: Tier, volume: &Volume, blob: &[u8]) -> Option<Vec<i64>> {
    let numbers = RefCell::new(Vec::new());
    let metric = |number: u64| {
        let number_there = i64::try_from(number).unwrap_or(i64::MAX);
        numbers.borrow_mut().push(number_there);
        volume.metric(number)
    };
    match tier {
        Tier::Raw => drop(Chunk::unpack(blob, &metric, None)?),
        Tier::Minute | Tier::Hour => drop(rollup::unpack(blob, &metric, None, true)?),
    }
    Some(numbers.into_inner())
}
