//! What the archive holds, month by month.

use crate::store::archive::{Month, catalogue, reader};
use crate::store::error::StoreError;
use crate::store::reader::Reader;
use std::collections::BTreeMap;
use std::fs;

/// Whether the file of a month can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonthState {
    /// It is there.
    Present,
    /// It is not, or cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// What a month holds, as the main database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthStatus {
    /// Which.
    pub month: Month,
    /// Jobs in it.
    pub jobs: u64,
    /// Events in it.
    pub events: u64,
    /// How many of its jobs have compressed logs.
    pub compressed: u64,
    /// Size of its file.
    pub bytes: u64,
    /// When its first job finished, on the wall clock.
    pub oldest_ms: Option<i64>,
    /// When its last job finished.
    pub newest_ms: Option<i64>,
    /// Whether its file can be used.
    pub state: MonthState,
}

impl Reader {
    /// Every month of the archive, oldest first. Each file is opened, and closed again.
    ///
    /// # Errors
    /// [`StoreError`] where the main database cannot be read.
    pub fn archive_months(&self) -> Result<Vec<MonthStatus>, StoreError> {
        let mut months = self.counted()?;
        for month in &mut months {
            match reader(self.files(), month.month) {
                Ok(_) => {
                    let path = month.month.path(self.files());
                    month.bytes = fs::metadata(&path).map_or(0, |data| data.len());
                    if let Some(why) = self.files().damage.of(&path) {
                        month.state = MonthState::Unreadable {
                            why: format!("failed to {why}"),
                        };
                    }
                }
                Err(error) => {
                    month.state = MonthState::Unreadable {
                        why: format!("failed to {error}"),
                    };
                }
            }
        }
        Ok(months)
    }

    /// Why some month of the archive cannot be read, where one cannot.
    ///
    /// # Errors
    /// [`StoreError`] where the main database cannot be read.
    pub fn archive_trouble(&self) -> Result<Option<String>, StoreError> {
        let months = self.read(catalogue::months)?;
        let files = self.files();
        let trouble = months
            .into_iter()
            .find_map(|month| match reader(files, month) {
                Ok(_) => files.damage.of(&month.path(files)),
                Err(error) => Some(error.to_string()),
            });
        Ok(trouble.map(|why| format!("failed to {why}")))
    }

    fn counted(&self) -> Result<Vec<MonthStatus>, StoreError> {
        self.read(|connection| {
            let mut months: BTreeMap<Month, MonthStatus> = BTreeMap::new();
            let empty = |month| MonthStatus {
                month,
                jobs: 0,
                events: 0,
                compressed: 0,
                bytes: 0,
                oldest_ms: None,
                newest_ms: None,
                state: MonthState::Present,
            };
            let count = |value: i64| u64::try_from(value).unwrap_or_default();
            let mut statement = connection.prepare_cached(
                "SELECT month, count(*), min(finished_wall_ms), max(finished_wall_ms), sum(logs = 1) \
                 FROM archived GROUP BY month",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let month = Month::of_number(row.get(0)?)?;
                let status = MonthStatus {
                    jobs: count(row.get(1)?),
                    oldest_ms: row.get(2)?,
                    newest_ms: row.get(3)?,
                    compressed: count(row.get(4)?),
                    ..empty(month)
                };
                months.insert(month, status);
            }
            let mut statement =
                connection.prepare_cached("SELECT month, count FROM archived_events")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let month = Month::of_number(row.get(0)?)?;
                months.entry(month).or_insert_with(|| empty(month)).events = count(row.get(1)?);
            }
            Ok(months.into_values().collect())
        })
    }
}
