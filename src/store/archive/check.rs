//! Checking the archive against the main database.

use crate::store::archive::{Archive, Month, archived, catalogue, reader};
use crate::store::error::StoreError;
use crate::store::open::integrity;
use crate::store::rows::{find_job, job_of};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;

/// Something that is wrong with the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The month it is about.
    pub month: Month,
    /// What is wrong, and where.
    pub what: String,
}

/// Jobs of a month that are named where they are missing.
const MOST_NAMED: usize = 5;

impl Archive {
    /// Reads every file of a month through and compares it with the main database.
    ///
    /// # Errors
    /// [`StoreError`] where the main database cannot be read. What is wrong with a month is an answer.
    pub fn check(&self, month: Month) -> Result<Vec<Fault>, StoreError> {
        let fault = |what: String| Fault { month, what };
        let file = match reader(&self.files, month) {
            Ok(file) => file,
            Err(error) => return Ok(vec![fault(format!("failed to {error}"))]),
        };
        let path = month.path(&self.files);
        let mut faults = Vec::new();
        match integrity(&file) {
            Ok(verdicts) => faults.extend(
                verdicts
                    .into_iter()
                    .map(|verdict| fault(format!("{}: {verdict}", path.display()))),
            ),
            Err(error) => {
                let error = archived(&error, &path);
                self.files.damage.found(&path, &error.to_string());
                return Ok(vec![fault(format!("failed to {error}"))]);
            }
        }
        let known = self
            .store
            .reader()
            .read(|connection| catalogue::of_month(connection, month, i64::MIN, usize::MAX))?;
        let missing = missing(&file, &known);
        if !missing.is_empty() {
            let named: Vec<String> = missing
                .iter()
                .take(MOST_NAMED)
                .map(i64::to_string)
                .collect();
            let rest = missing.len().saturating_sub(MOST_NAMED);
            let more = if rest > 0 {
                format!(" and {rest} more")
            } else {
                String::new()
            };
            faults.push(fault(format!(
                "{}: jobs that should be in it are not: {}{more}",
                path.display(),
                named.join(", ")
            )));
        }
        faults.extend(self.check_events(month, &file)?.map(fault));
        match faults.first() {
            Some(first) => self
                .files
                .damage
                .found(&path, &format!("verify {}", first.what)),
            None => self.files.damage.is_whole(&path),
        }
        Ok(faults)
    }

    fn check_events(&self, month: Month, file: &Connection) -> Result<Option<String>, StoreError> {
        let expected: Option<(i64, i64, i64)> = self.store.reader().read(|connection| {
            connection
                .prepare_cached(
                    "SELECT count, first_seq, last_seq FROM archived_events WHERE month = ?1",
                )?
                .query_row([month.number()], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
        })?;
        let Some((count, first, last)) = expected else {
            return Ok(None);
        };
        let found: i64 = file
            .prepare_cached("SELECT count(*) FROM events WHERE seq BETWEEN ?1 AND ?2")
            .and_then(|mut count| count.query_row([first, last], |row| row.get(0)))
            .unwrap_or_default();
        let path = month.path(&self.files);
        Ok((found < count).then(|| {
            format!(
                "{}: it has {found} events of the {count} that should be in it",
                path.display()
            )
        }))
    }

    /// Every month that something is archived in, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] where the main database cannot be read.
    pub fn all_months(&self) -> Result<Vec<Month>, StoreError> {
        self.store.reader().read(catalogue::months)
    }
}

/// Which of `known` cannot be read as whole jobs.
fn missing(file: &Connection, known: &[i64]) -> Vec<i64> {
    let is_there = |id: &i64| {
        let id = job_of(*id);
        matches!(find_job(file, id), Ok(Some(_)))
    };
    let there: BTreeSet<i64> = known.iter().copied().filter(is_there).collect();
    known
        .iter()
        .copied()
        .filter(|id| !there.contains(id))
        .collect()
}
