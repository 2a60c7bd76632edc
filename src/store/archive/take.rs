//! Taking a file in that was put back. Whoever is killed meanwhile has left a note that says so, and the next run goes
//! through with it.

use crate::store::archive::{Archive, Month, SCHEMA, archived, connect, moving, open_file};
use crate::store::archive::{reading, remove, sync_directory};
use crate::store::error::StoreError;
use crate::store::open::{integrity, make_private, private_dir, with_suffix};
use rusqlite::Connection;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What a copy is called that may not be whole yet, behind the name that it will have.
const DRAFT: &str = ".new";

/// What the note is called that a file is being taken in, behind the name of that.
const NOTE: &str = ".in";

impl Archive {
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
        let is_there = is_same(path, &target);
        if !is_there && target.exists() {
            return Err(refuse(
                "there is a file of that month already: move that one away first",
            ));
        }
        self.note(month)?;
        if !is_there && let Err(error) = self.copy_in(path, month) {
            self.unnote(month)?;
            return Err(error);
        }
        let jobs = self.enter(month)?;
        self.unnote(month)?;
        Ok((month, jobs))
    }

    /// Goes through with what was being taken in when a daemon was killed, and clears away what was copied in part.
    ///
    /// # Errors
    /// [`StoreError`] where the archive or the main database cannot be written. A month that is damaged waits.
    pub fn finish_taking_in(&self) -> Result<(), StoreError> {
        let entries = fs::read_dir(&self.files.archive).into_iter().flatten();
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let of = |suffix: &str| {
                let stem = name.to_str()?.strip_suffix(suffix)?;
                Month::parse(stem.strip_suffix(".db")?)
            };
            if of(DRAFT).is_some() {
                remove(&path)?;
            }
            let Some(month) = of(NOTE) else { continue };
            // Without the file it was only begun.
            if month.path(&self.files).exists() {
                match self.enter(month) {
                    Ok(jobs) => tracing::info!(%month, jobs, "a month of the archive was taken in"),
                    Err(error @ StoreError::Archived { .. }) => {
                        tracing::warn!(%error, "a month of the archive is not taken in");
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.unnote(month)?;
        }
        Ok(())
    }

    /// Notes that a file is being taken in.
    pub(super) fn note(&self, month: Month) -> Result<(), StoreError> {
        private_dir(&self.files.archive)?;
        make_private(&with_suffix(&month.path(&self.files), NOTE))?;
        sync_directory(&self.files.archive)
    }

    fn unnote(&self, month: Month) -> Result<(), StoreError> {
        remove(&with_suffix(&month.path(&self.files), NOTE))?;
        sync_directory(&self.files.archive)
    }

    /// Copies a file to where files of the archive are; whole, or not at all. Jobs in it are run as whoever it says they
    /// belong to, so it must belong to whoever this daemon runs as.
    pub(super) fn copy_in(&self, path: &Path, month: Month) -> Result<(), StoreError> {
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
        let draft = with_suffix(&target, DRAFT);
        let mut put = || -> io::Result<()> {
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

    /// Its jobs that nobody has are archived jobs. Doing it again changes nothing. Answers how many those are.
    fn enter(&self, month: Month) -> Result<usize, StoreError> {
        self.separate_events(month)?;
        let files = self.files.clone();
        self.store.with_writer(move |writer| {
            let file = open_file(&month.path(&files))?;
            let (jobs, last) = writer.write(|main| reading::adopt_file(main, &file, month))?;
            writer.raise_floor(last)?;
            Ok(jobs)
        })
    }

    /// Events of another main database have the numbers of other events here: they are set aside in their file.
    pub(super) fn separate_events(&self, month: Month) -> Result<(), StoreError> {
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
fn separate_events(path: &Path) -> Result<(), StoreError> {
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
            .find(|name| !moving::has_table(&connection, name).unwrap_or(false))
            .unwrap_or_default();
        let transaction = connection.unchecked_transaction()?;
        connection.execute_batch(&format!(
            "DROP INDEX IF EXISTS events_by_job; ALTER TABLE events RENAME TO {name};"
        ))?;
        connection.execute_batch(SCHEMA)?;
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
