//! Where samples are: one database per day of raw ones, per month of minutes, per year of hours. What is too old is
//! unlinked whole, which costs nothing.

use crate::store::samples::aside::ASIDE;
use crate::store::samples::head::SLOT_MS;
use crate::store::samples::seal::{DAY_MS, HOUR_MS};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use std::path::{Path, PathBuf};

/// How fine samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// As they were measured.
    Raw,
    /// By the minute.
    Minute,
    /// By the hour.
    Hour,
}

impl Tier {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Minute, Self::Hour];

    /// Its directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// How much time one row is of.
    pub(super) fn row_ms(self) -> i64 {
        match self {
            Self::Raw => SLOT_MS,
            Self::Minute => HOUR_MS,
            Self::Hour => DAY_MS,
        }
    }

    /// How much time the shortest of its volumes is of.
    pub(super) fn shortest_ms(self) -> i64 {
        match self {
            Self::Raw => DAY_MS,
            Self::Minute => 28 * DAY_MS,
            Self::Hour => 365 * DAY_MS,
        }
    }

    /// The first and the day after the last of the volume that a day belongs to.
    fn span(self, day: Date) -> (Date, Date) {
        let first = match self {
            Self::Raw => day,
            Self::Minute => day.first_of_month(),
            Self::Hour => day.first_of_year(),
        };
        let length = match self {
            Self::Raw => 1.day(),
            Self::Minute => 1.month(),
            Self::Hour => 1.year(),
        };
        (first, first.saturating_add(length))
    }

    fn name(self, first: Date) -> String {
        let text = first.to_string();
        let length = match self {
            Self::Raw => text.len(),
            Self::Minute => text.len().saturating_sub(3),
            Self::Hour => text.len().saturating_sub(6),
        };
        format!("{}.db", text.get(..length).unwrap_or(&text))
    }

    /// The first day of the volume of this name.
    fn first_of(self, name: &str) -> Option<Date> {
        let stem = name.strip_suffix(".db")?;
        let rest = match self {
            Self::Raw => "",
            Self::Minute => "-01",
            Self::Hour => "-01-01",
        };
        let first: Date = format!("{stem}{rest}").parse().ok()?;
        (self.name(first) == name).then_some(first)
    }
}

/// A stretch of time with a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tier: Tier,
    /// When it begins, wall clock, milliseconds since 1970 UTC.
    pub(super) first_ms: i64,
    /// When the next one does.
    pub(super) end_ms: i64,
    pub(super) path: PathBuf,
}

impl Place {
    /// Whether an instant belongs to it.
    pub(super) fn has(&self, at_ms: i64) -> bool {
        (self.first_ms..self.end_ms).contains(&at_ms)
    }

    /// The size of its file.
    pub(super) fn bytes(&self) -> u64 {
        size_of(&self.path)
    }
}

/// The size of a file; one that cannot be looked at has none.
pub(super) fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |data| data.len())
}

/// The directory of all volumes.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
}

fn day_of(at_ms: i64) -> Date {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    });
    Zoned::new(at, TimeZone::UTC).date()
}

fn begin_ms(day: Date) -> i64 {
    let begin = day.to_zoned(TimeZone::UTC);
    begin.map_or(i64::MAX, |it| it.timestamp().as_millisecond())
}

impl Shelf {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of a tier.
    pub(super) fn dir_of(&self, tier: Tier) -> PathBuf {
        self.dir.join(tier.as_str())
    }

    /// The volume that an instant belongs to, whether or not it exists.
    pub(super) fn place(&self, tier: Tier, at_ms: i64) -> Place {
        let (first, after) = tier.span(day_of(at_ms));
        Place {
            tier,
            first_ms: begin_ms(first),
            end_ms: begin_ms(after),
            path: self.dir_of(tier).join(tier.name(first)),
        }
    }

    /// The directory of the logs.
    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The logs that there are, in the order of their names, which begin with when they were begun.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.log_dir()) else {
            return Vec::new();
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| !name_of(path).contains(ASIDE))
            .collect();
        paths.sort();
        paths
    }

    /// The volumes of a tier that exist, oldest first.
    pub(super) fn places(&self, tier: Tier) -> Vec<Place> {
        let Ok(entries) = std::fs::read_dir(self.dir_of(tier)) else {
            return Vec::new();
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let firsts = names.filter_map(|name| tier.first_of(name.to_str()?));
        let mut places: Vec<Place> = firsts
            .map(|first| self.place(tier, begin_ms(first)))
            .collect();
        places.sort();
        places
    }
}

/// What a file is called, for rows that name it.
pub(super) fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Removes a log; where it cannot be, it says why.
pub(super) fn remove_log(path: &Path) {
    // One that was never written is not there.
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a log of samples cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instant_has_one_volume_of_each_tier() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(dir.path());
        let at: Timestamp = "2026-12-31T23:59:59.999Z".parse().unwrap();
        for (tier, name) in [
            (Tier::Raw, "raw/2026-12-31.db"),
            (Tier::Minute, "minute/2026-12.db"),
            (Tier::Hour, "hour/2026.db"),
        ] {
            let place = shelf.place(tier, at.as_millisecond());
            assert_eq!(place.path, dir.path().join(name));
            assert_eq!(place.end_ms, at.as_millisecond() + 1);
            let next = shelf.place(tier, place.end_ms);
            assert_eq!(next.first_ms, place.end_ms);
            std::fs::create_dir_all(shelf.dir_of(tier)).unwrap();
            for place in [&next, &place] {
                std::fs::write(&place.path, "").unwrap();
            }
            std::fs::write(shelf.dir_of(tier).join("2026-13-77.db"), "").unwrap();
            assert_eq!(shelf.places(tier), [place, next]);
        }
    }
}
