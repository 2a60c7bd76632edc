//! The archive: finished jobs, their progress and old events, in one database per month.
//!
//! A job is where the main database says that it is: in its table `jobs`, or in `archived` with the month whose file has
//! it. A file may hold more, left there by a crash or by a job that was brought back, and that counts for nothing. So
//! moving a job is one transaction of the main database, and everything before and after it can be done again:
//! rows are copied and synced first ([`Archive::copy`]), handed over then ([`Archive::hand_over`]), and what is left over is
//! swept out at last ([`Archive::sweep`]).

mod back;
mod carry;
mod catalogue;
mod check;
pub(crate) mod damage;
mod events;
mod expire;
mod moving;
mod reading;
mod status;
mod take;

#[cfg(test)]
mod tests;

pub use back::Back;
pub use check::Fault;
pub use expire::LogState;
pub use moving::Due;
pub use status::{MonthState, MonthStatus};

pub(crate) use back::{ensure_here, progress_back};
pub(crate) use carry::OF_PROGRESS;
pub(crate) use catalogue::{expire, finished_after, forget, month_of, newest_of_name, owner};
pub(crate) use events::{oldest as oldest_event, page as event_page};
pub(crate) use reading::{Months, adopt_all, past_runs};

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::open::{Files, harden, make_private, private_dir};
use jiff::civil::Date;
use rusqlite::{Connection, OpenFlags};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Marks a file as a month of the archive ("stka").
const APPLICATION_ID: i64 = 0x7374_6b61;

/// The version of its schema.
const VERSION: i64 = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The month of a wall-clock time; times that no calendar has go to the first month or the last one.
    #[must_use]
    pub fn of(at_ms: i64) -> Self {
        let nearest = if at_ms < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(nearest);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// Reads `2026-11`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        let parsed = Self(year.checked_mul(12)?.checked_add(month.checked_sub(1)?)?);
        ((1..=12).contains(&month) && parsed.to_string() == text).then_some(parsed)
    }

    /// When the next one begins, on the wall clock.
    #[must_use]
    pub fn end_ms(self) -> i64 {
        let next = self.0.saturating_add(1);
        let year = i16::try_from(next.div_euclid(12)).unwrap_or(i16::MAX);
        let month = i8::try_from(next.rem_euclid(12) + 1).unwrap_or(1);
        let first =
            Date::new(year, month, 1).and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC));
        first.map_or(i64::MAX, |first| first.timestamp().as_millisecond())
    }

    fn number(self) -> i64 {
        i64::from(self.0)
    }

    fn of_number(number: i64) -> rusqlite::Result<Self> {
        let number = i32::try_from(number);
        number
            .map(Self)
            .map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
    }

    /// Where its file is.
    pub(crate) fn path(self, files: &Files) -> PathBuf {
        files.archive.join(format!("{self}.db"))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:04}-{:02}",
            self.0.div_euclid(12),
            self.0.rem_euclid(12) + 1
        )
    }
}

/// Moves what is old into the archive, and back. Every call blocks: use it on a thread that may.
///
/// One user at a time: two that copy into one month would wait for each other.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Store,
    files: Files,
}

impl Archive {
    pub(crate) fn new(store: Store, files: Files) -> Self {
        Self { store, files }
    }
}

/// Opens the file of a month to write to it, and makes one where there is none.
fn writer(files: &Files, month: Month) -> Result<Connection, StoreError> {
    let path = month.path(files);
    let is_new = !path.exists();
    private_dir(&files.archive)?;
    make_private(&path)?;
    let open = || -> rusqlite::Result<Connection> {
        let connection = connect(&path)?;
        // No write-ahead log: a month is one file, that can be copied while nobody writes.
        connection.execute_batch(
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; PRAGMA cache_size = -2048; \
             PRAGMA secure_delete = ON;",
        )?;
        Ok(connection)
    };
    let connection = open().map_err(|error| StoreError::of(&error, &path))?;
    if is_new || version(&connection, &path)? == 0 {
        let make = || -> rusqlite::Result<()> {
            let transaction = connection.unchecked_transaction()?;
            connection.execute_batch(SCHEMA)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()
        };
        make().map_err(|error| StoreError::of(&error, &path))?;
        sync_directory(&files.archive)?;
    }
    known(&connection, &path)?;
    Ok(connection)
}

/// Opens the file of a month to read it. What is missing is said, never made.
fn reader(files: &Files, month: Month) -> Result<Connection, StoreError> {
    let path = month.path(files);
    if !path.exists() {
        return Err(StoreError::Archived {
            path,
            why: "it is missing".to_owned(),
        });
    }
    open_file(&path)
}

/// Opens a file that should be a month of the archive, to read it.
fn open_file(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> rusqlite::Result<Connection> {
        // Writable where the file is: what a crash left half done in it is undone by whoever reads it first.
        let connection = connect(path)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -256;")?;
        Ok(connection)
    };
    let connection = open().map_err(|error| archived(&error, path))?;
    known(&connection, path)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    harden(&connection)?;
    Ok(connection)
}

fn version(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| archived(&error, path))
}

/// Whether this program understands the file.
fn known(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| archived(&error, path))?;
    let found = version(connection, path)?;
    if id != APPLICATION_ID {
        return Err(StoreError::Archived {
            path: path.to_owned(),
            why: "it is no archive of stoked".to_owned(),
        });
    }
    if found > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// What an error about a month means to somebody who only reads: that month alone cannot be read.
fn archived(error: &rusqlite::Error, path: &Path) -> StoreError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other one means the same here"
    )]
    match StoreError::of(error, path) {
        StoreError::Corrupt { path, why } => StoreError::Archived { path, why },
        StoreError::Rejected { why } => StoreError::Archived {
            path: path.to_owned(),
            why,
        },
        other => other,
    }
}

/// Removes a file. That there is none is success.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::of_io(&error, path)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::of_io(&error, path))
}
