//! Setting a damaged database aside: renamed with the time, never deleted, so that a person can look.

use crate::store::error::StoreError;
use crate::store::open::{Files, with_suffix};
use std::fs;
use std::path::{Path, PathBuf};

/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// A database that was damaged at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was found.
    pub why: String,
    /// How many of its jobs could be read and are in the new one. Those that waited are held now:
    /// what they had become since is not known.
    pub jobs: usize,
}

/// Renames the database and what belongs to it; answers its new name.
pub(crate) fn set_aside(files: &Files) -> Result<PathBuf, StoreError> {
    let aside = free_name(&files.database);
    // The database first: should this be interrupted, a write-ahead log without its database is
    // recognised at the next start, while a database without its log would pass for whole.
    rename(&files.database, &aside)?;
    for companion in COMPANIONS {
        rename(
            &with_suffix(&files.database, companion),
            &with_suffix(&aside, companion),
        )?;
    }
    sync_directory(files)?;
    Ok(aside)
}

/// A write-ahead log without a database was left by an interrupted [`set_aside`]: SQLite would delete it.
pub(crate) fn finish_interrupted(files: &Files) -> Result<(), StoreError> {
    let leftover = |companion| with_suffix(&files.database, companion).exists();
    if files.database.exists() || !COMPANIONS.into_iter().any(leftover) {
        return Ok(());
    }
    let aside = free_name(&files.database);
    for companion in COMPANIONS {
        rename(
            &with_suffix(&files.database, companion),
            &with_suffix(&aside, companion),
        )?;
    }
    sync_directory(files)
}

/// Notes that the database gave itself away as damaged; the next start reads it through.
pub(crate) fn suspect(files: &Files, why: &str) {
    if let Err(error) = fs::write(&files.suspect, why) {
        tracing::warn!(path = %files.suspect.display(), %error, "cannot note that the database is damaged");
    }
}

/// The database was read through, or is a new one.
pub(crate) fn clear_suspicion(files: &Files) -> Result<(), StoreError> {
    match fs::remove_file(&files.suspect) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::of_io(&error, &files.suspect))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `stoked.db.corrupt-<UTC time>`, with a number where two fall into one second.
pub(crate) fn free_name(database: &Path) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let first = with_suffix(database, &format!(".corrupt-{time}"));
    let taken = |path: &PathBuf| {
        path.exists() || COMPANIONS.iter().any(|end| with_suffix(path, end).exists())
    };
    if !taken(&first) {
        return first;
    }
    (2_u32..)
        .map(|number| with_suffix(&first, &format!(".{number}")))
        .find(|path| !taken(path))
        .unwrap_or(first)
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::of_io(&error, from))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_directory(files: &Files) -> Result<(), StoreError> {
    fs::File::open(&files.directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::of_io(&error, &files.directory))
}
