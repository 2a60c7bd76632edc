//! Why the store did not do what was asked: one error per cause that calls for another way out.

use rusqlite::ErrorCode;
use std::fmt;
use std::path::{Path, PathBuf};

/// Below this much free space a failed write is put down to a full disk, whatever it was called.
const HARDLY_FREE_BYTES: u64 = 64 * 1024;

/// Why the store failed. Each reads as the end of "failed to …". A failed write has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space is left.
    #[error(
        "write {}: the disk is full; free some space, then it goes on by itself",
        path.display()
    )]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// It may not be written.
    #[error(
        "write {}: it is read-only; make it writable for the user stoked runs as, then it goes on by itself",
        path.display()
    )]
    ReadOnly {
        /// The database or its directory.
        path: PathBuf,
    },
    /// Its content makes no sense.
    #[error(
        "use {}: it is damaged ({why}); restart stoked, which sets the file aside and begins a new one",
        path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// It was written by a newer version.
    #[error(
        "open {}: a newer stoked wrote it (schema {found}, this one knows {known}); install that version again",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Version of its schema.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// A file of the archive cannot be used; everything else can.
    #[error(
        "read {}: {why}; put it back from a backup (`stoke archive restore FILE`), or go on without it",
        path.display()
    )]
    Archived {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file that was to become part of the archive cannot.
    #[error("take in {}: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
    /// The store is not well, and what can wait waits.
    #[error("archive while the store is not well: {why}")]
    Postponed {
        /// What is wrong with the store.
        why: String,
    },
    /// Another process keeps it locked.
    #[error(
        "use {}: another process has locked it; close whatever else has it open (`fuser` names it)",
        path.display()
    )]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("use {}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
    /// What was to be stored contradicts what is stored: a defect of the caller.
    #[error("store a change that does not fit what is stored: {why}")]
    Rejected {
        /// Which, and why.
        why: String,
    },
    /// The store is going down, or its writer is gone.
    #[error("reach the store: it is going down")]
    Stopped,
}

impl StoreError {
    /// What an error of SQLite about the database at `path` means.
    pub(crate) fn of(error: &rusqlite::Error, path: &Path) -> Self {
        let path = path.to_owned();
        let why = error.to_string();
        let Some(code) = code(error) else {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "every other one is a wrong use of the library, in whatever way"
            )]
            return match error {
                // What was read is not what is written there: the bytes changed under us.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::QueryReturnedNoRows => Self::Corrupt { path, why },
                _ => Self::Rejected { why },
            };
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "SQLite may add codes; every other one is reported in its own words"
        )]
        match code {
            ErrorCode::DiskFull => Self::Full { path },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly { path },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt { path, why },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy { path },
            ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig => {
                Self::Rejected { why }
            }
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Self::of_refused_io(path, why),
            _ => Self::Io { path, why },
        }
    }

    /// The same while a database is opened: there, a table or column that is missing although the
    /// version says otherwise is damage too.
    pub(crate) fn of_opening(error: &rusqlite::Error, path: &Path) -> Self {
        match code(error) {
            Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
                Self::Corrupt {
                    path: path.to_owned(),
                    why: error.to_string(),
                }
            }
            _ => Self::of(error, path),
        }
    }

    /// A refused read or write: the file system knows better than SQLite why.
    fn of_refused_io(path: PathBuf, why: String) -> Self {
        let directory = path.parent().unwrap_or(Path::new("."));
        match rustix::fs::statvfs(directory) {
            Ok(fs) if fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => {
                Self::ReadOnly { path }
            }
            Ok(fs) if fs.f_bavail.saturating_mul(fs.f_frsize) < HARDLY_FREE_BYTES => {
                Self::Full { path }
            }
            Ok(_) if rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err() => {
                Self::ReadOnly { path }
            }
            Ok(_) | Err(_) => Self::Io { path, why },
        }
    }

    /// What an error of the operating system about the file at `path` means.
    pub(crate) fn of_io(error: &std::io::Error, path: &Path) -> Self {
        let path = path.to_owned();
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the standard library may add kinds; every other one is reported in its own words"
        )]
        match error.kind() {
            std::io::ErrorKind::StorageFull => Self::Full { path },
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path }
            }
            _ => Self::Io {
                path,
                why: error.to_string(),
            },
        }
    }
}

/// What SQLite called it, also where it refused a statement before running it.
pub(crate) fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    if let rusqlite::Error::SqlInputError { error, .. } = error {
        return Some(error.code);
    }
    error.sqlite_error_code()
}

/// Whether the store takes what it is given; see [`crate::store::Store::condition`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    #[default]
    Healthy,
    /// Writes fail, or the reserve for a full disk is used up.
    Degraded {
        /// What is wrong and what to do.
        why: String,
    },
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Degraded { why } => f.write_str(why),
        }
    }
}
