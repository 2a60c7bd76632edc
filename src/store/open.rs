//! Opening: where the files are, what a connection may do, and whether the content can be trusted.
//!
//! Roles are enforced by the connection: one writer, and readers that SQLite itself keeps from writing.

use crate::model::id::JobId;
use crate::store::archive::damage::Damage;
use crate::store::aside::{self, SetAside};
use crate::store::error::StoreError;
use crate::store::recover::{self, Recovered};
use crate::store::{Options, archive, migrate, salvage};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection waits for a lock that another process holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Statements kept prepared by the writer; it has about thirty.
const WRITER_STATEMENTS: usize = 48;

/// A larger database is not read through at start: 5 ms per MiB would be felt. What recovery reads is
/// checked by reading it, and whatever else is damaged is found when it is used.
const CHECKED_BYTES: u64 = 32 << 20;

/// The smallest page that SQLite knows.
const SMALLEST_PAGE_BYTES: u64 = 512;

/// Where the files of a store are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The state directory.
    pub(crate) directory: PathBuf,
    /// The main database.
    pub(crate) database: PathBuf,
    /// Progress history.
    pub(crate) progress: PathBuf,
    /// Directory of the months that were archived.
    pub(crate) archive: PathBuf,
    /// What is wrong with these.
    pub(crate) damage: Damage,
    /// Space to give back when the disk is full.
    pub(crate) ballast: PathBuf,
    /// Present when damage was seen at run time: the next start checks everything.
    pub(crate) suspect: PathBuf,
}

impl Files {
    pub(crate) fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            database: directory.join("stoked.db"),
            progress: directory.join("progress.db"),
            archive: directory.join("archive"),
            damage: Damage::default(),
            ballast: directory.join("ballast"),
            suspect: directory.join("stoked.db.suspect"),
        }
    }
}

/// `path` with `suffix` after its last character.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

/// Opens the store in `files`, sets a damaged one aside, and makes one where there is none.
pub(crate) fn open(
    files: &Files,
    options: &Options,
) -> Result<(Connection, Recovered, Option<SetAside>), StoreError> {
    prepare_directory(files)?;
    aside::finish_interrupted(files)?;
    let (connection, recovered, set_aside) = match establish(files, options.id_floor) {
        Ok((connection, recovered)) => (connection, recovered, None),
        Err(StoreError::Corrupt { why, .. }) => {
            let path = aside::set_aside(files)?;
            let saved = salvage::read(&path);
            let floor = options.id_floor.max(saved.last_job);
            let (mut connection, _) = establish(files, floor)?;
            let jobs = salvage::write(&mut connection, &files.database, &saved)?;
            adopt_archive(&mut connection, files)?;
            let recovered = recover::read(&connection)
                .map_err(|error| StoreError::of(&error, &files.database))?;
            (connection, recovered, Some(SetAside { path, why, jobs }))
        }
        Err(error) => return Err(error),
    };
    aside::clear_suspicion(files)?;
    Ok((connection, recovered, set_aside))
}

/// A new main database knows nothing of the archive: what is in its files is entered again.
fn adopt_archive(connection: &mut Connection, files: &Files) -> Result<(), StoreError> {
    let mut adopt = || -> rusqlite::Result<usize> {
        let transaction = connection.transaction()?;
        let (jobs, largest) = archive::adopt_all(&transaction, files)?;
        recover::raise_floor(&transaction, largest)?;
        transaction.commit()?;
        Ok(jobs)
    };
    let jobs = adopt().map_err(|error| StoreError::of(&error, &files.database))?;
    if jobs > 0 {
        tracing::info!(jobs, "archived jobs are known again");
    }
    Ok(())
}

/// The directory exists, is ours alone, and can be written: said now, by name, and not at the first job.
fn prepare_directory(files: &Files) -> Result<(), StoreError> {
    let directory = &files.directory;
    private_dir(directory)?;
    rustix::fs::access(
        directory,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|error| StoreError::of_io(&error.into(), directory))
}

/// Makes a directory that is its owner's alone, where it is missing.
pub(crate) fn private_dir(dir: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StoreError::of_io(&error, dir))
}

fn establish(files: &Files, floor: JobId) -> Result<(Connection, Recovered), StoreError> {
    let path = &files.database;
    // SQLite takes a file that is shorter than any page for a new one, and would write over it.
    let bytes = path.metadata().map_or(0, |data| data.len());
    if (1..SMALLEST_PAGE_BYTES).contains(&bytes) {
        return Err(StoreError::Corrupt {
            path: path.clone(),
            why: format!("it is cut off after {bytes} bytes"),
        });
    }
    let mut connection = writer(path)?;
    check(&connection, files)?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    migrate::migrate(&mut connection, path, now_ms)?;
    let_shrink(&connection, bytes);
    let recovered = recover::raise_floor(&connection, floor)
        .and_then(|()| recover::read(&connection))
        .map_err(|error| StoreError::of_opening(&error, path))?;
    Ok((connection, recovered))
}

/// A database of before space could be given back is written anew once, where that is quick. A larger one goes on as it
/// is: what is freed in it is used again.
fn let_shrink(connection: &Connection, bytes: u64) {
    let shrink = || -> rusqlite::Result<()> {
        let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
        if mode == 0 && bytes <= CHECKED_BYTES {
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
        }
        Ok(())
    };
    if let Err(error) = shrink() {
        // It needs as much space again for a moment, and nothing depends on it.
        tracing::info!(%error, "the database keeps the space that becomes free in it");
    }
}

/// The connection that writes the main database; makes the file where there is none.
pub(crate) fn writer(path: &Path) -> Result<Connection, StoreError> {
    make_private(path)?;
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // Checkpoints are the writer's, at times it chooses; and a damaged file shall be set aside as
        // it was found.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        harden(&connection)?;
        connection.execute_batch(
            "PRAGMA auto_vacuum = INCREMENTAL; \
             PRAGMA journal_mode = WAL; \
             PRAGMA synchronous = FULL; \
             PRAGMA foreign_keys = ON; \
             PRAGMA cache_size = -512; \
             PRAGMA wal_autocheckpoint = 0; \
             PRAGMA journal_size_limit = 4194304; \
             PRAGMA secure_delete = ON;",
        )?;
        connection.set_prepared_statement_cache_capacity(WRITER_STATEMENTS);
        Ok(connection)
    };
    let connection = connect().map_err(|error| StoreError::of(&error, path))?;
    // SQLite quietly falls back to reading where it may not write.
    if connection.is_readonly("main").unwrap_or(true) {
        return Err(StoreError::ReadOnly {
            path: path.to_owned(),
        });
    }
    Ok(connection)
}

/// A connection that reads, and that SQLite keeps from writing.
pub(crate) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let connect = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        harden(&connection)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -256;")?;
        Ok(connection)
    };
    connect().map_err(|error| StoreError::of(&error, path))
}

/// What every connection has: patience, small memory, and distrust of what a file says about itself.
pub(crate) fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; \
         PRAGMA temp_store = MEMORY;",
    )
}

/// Makes the file readable by its owner alone before SQLite does; its -wal and -shm inherit that.
///
/// Only where it is missing: closing a second descriptor of an open database would drop its locks.
pub(crate) fn make_private(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|error| StoreError::of_io(&error, path))
}

/// What SQLite finds wrong with a database; nothing where all is well.
pub(crate) fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let verdicts: Vec<String> = connection
        .prepare("PRAGMA integrity_check(10)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(verdicts
        .into_iter()
        .filter(|verdict| verdict != "ok")
        .collect())
}

/// Reads the database through, where that is cheap or there is a reason to.
fn check(connection: &Connection, files: &Files) -> Result<(), StoreError> {
    let path = &files.database;
    let bytes = path.metadata().map_or(0, |data| data.len());
    let pragma = if files.suspect.exists() {
        "integrity_check"
    } else if bytes <= CHECKED_BYTES {
        "quick_check"
    } else {
        return Ok(());
    };
    let verdict: String = connection
        .query_row(&format!("PRAGMA {pragma}(1)"), [], |row| row.get(0))
        .map_err(|error| StoreError::of(&error, path))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        why: verdict,
    })
}
