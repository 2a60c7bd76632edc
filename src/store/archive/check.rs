//! Checking the archive against the main database, and taking a file in that was put back.

use crate::store::archive::{Archive, Month, archived, catalogue, connect, open_file, reader};
use crate::store::archive::{reading, sync_directory};
use crate::store::error::StoreError;
use crate::store::open::with_suffix;
use crate::store::rows::{find_job, job_of};
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

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

    /// Takes in the file of a month that was lost, moved away or comes from a backup: its jobs that nobody has are
    /// archived jobs from now on. Answers its month and how many jobs that are. The file itself stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] where it is no month of the archive, belongs to somebody else, or a file of that month is there.
    pub fn take_in(&self, path: &Path) -> Result<(Month, usize), StoreError> {
        let refuse = |why: &str| refused(path, why);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let month = stem.and_then(Month::parse);
        let month = month.ok_or_else(|| refuse("it is not called YYYY-MM.db; give it the name that it had in the archive, as in 2026-11.db"))?;
        let target = month.path(&self.files);
        if !is_same(path, &target) {
            if target.exists() {
                return Err(refuse(
                    "there is a file of that month already: move that one away first",
                ));
            }
            self.copy_in(path, month)?;
        }
        self.separate_events(month)?;
        let files = self.files.clone();
        let jobs = self.store.with_writer(move |writer| {
            let file = open_file(&month.path(&files))?;
            let (jobs, last) = writer.write(|main| reading::adopt_file(main, &file, month))?;
            writer.raise_floor(last)?;
            Ok(jobs)
        })?;
        Ok((month, jobs))
    }

    /// Copies a file to where files of the archive are; whole, or not at all. Jobs in it are run as whoever it says they
    /// belong to, so it must belong to whoever this daemon runs as.
    fn copy_in(&self, path: &Path, month: Month) -> Result<(), StoreError> {
        let fail = |error: io::Error| StoreError::of_io(&error, path);
        let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(no_follow.bits()).unwrap_or_default();
        let mut from = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(fail)?;
        let data = from.metadata().map_err(fail)?;
        if !data.is_file() || data.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused(
                path,
                "it must be a file of the user that stoked runs as",
            ));
        }
        let target = month.path(&self.files);
        let draft = with_suffix(&target, ".new");
        let mut put = || -> io::Result<()> {
            fs::DirBuilder::new()
                .recursive(true)
                .create(&self.files.archive)?;
            let mut to = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()
        };
        put().map_err(|error| StoreError::of_io(&error, &draft))?;
        if let Err(error) = open_file(&draft).and_then(|file| sound(&file, &draft)) {
            // A draft that stays is written over by the next one.
            let _removed = fs::remove_file(&draft);
            if let StoreError::Archived { why, .. } = &error {
                return Err(refused(path, why));
            }
            return Err(error);
        }
        fs::rename(&draft, &target).map_err(|error| StoreError::of_io(&error, &target))?;
        sync_directory(&self.files.archive)
    }

    /// Events of another main database have the numbers of other events here: they are set aside in their file.
    fn separate_events(&self, month: Month) -> Result<(), StoreError> {
        let known = self.store.reader().read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM archived_events WHERE month = ?1")?
                .exists([month.number()])
        })?;
        if known {
            return Ok(());
        }
        separate_events(&month.path(&self.files))
    }
}

/// Renames the table of events where it holds any, and makes an empty one.
pub(super) fn separate_events(path: &Path) -> Result<(), StoreError> {
    let separate = || -> rusqlite::Result<()> {
        let connection = connect(path)?;
        if !connection
            .prepare("SELECT 1 FROM events LIMIT 1")?
            .exists([])?
        {
            return Ok(());
        }
        let name: String = (1_u32..)
            .map(|number| format!("events_before_{number}"))
            .find(|name| !super::moving::has_table(&connection, name).unwrap_or(false))
            .unwrap_or_default();
        let transaction = connection.unchecked_transaction()?;
        connection.execute_batch(&format!(
            "DROP INDEX IF EXISTS events_by_job; ALTER TABLE events RENAME TO {name};"
        ))?;
        connection.execute_batch(super::SCHEMA)?;
        transaction.commit()
    };
    separate().map_err(|error| archived(&error, path))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

fn refused(path: &Path, why: &str) -> StoreError {
    StoreError::Refused {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn sound(file: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdicts = integrity(file).map_err(|error| archived(&error, path))?;
    match verdicts.into_iter().next() {
        None => Ok(()),
        Some(why) => Err(StoreError::Archived {
            path: path.to_owned(),
            why,
        }),
    }
}

/// What SQLite finds wrong; nothing where all is well.
fn integrity(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let verdicts: Vec<String> = file
        .prepare("PRAGMA integrity_check(10)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(verdicts
        .into_iter()
        .filter(|verdict| verdict != "ok")
        .collect())
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
