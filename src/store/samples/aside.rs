//! Files that are damaged: set aside, never deleted, so that new ones can be begun in their place.

use crate::store::error::StoreError;
use crate::store::open;
use crate::store::samples::volume::JOURNAL;
use std::path::Path;

/// What is damaged has this in its name.
pub(super) const ASIDE: &str = ".damaged-";

/// Does something once more where what it found was damaged and is set aside.
pub(super) fn again_if_damaged<T>(
    work: impl Fn() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match work() {
        Err(StoreError::Corrupt { path, why }) => {
            set_aside(&path, &why);
            work()
        }
        outcome => outcome,
    }
}

/// Whether a file is one that was set aside; what SQLite left beside it goes with it.
pub(super) fn is_aside(path: &Path) -> bool {
    let name = path.file_name().map(std::ffi::OsStr::to_string_lossy);
    name.is_some_and(|name| name.contains(ASIDE) && !name.ends_with(JOURNAL))
}

/// Renames what is damaged: never deleted, and in nobody's way.
pub(super) fn set_aside(path: &Path, why: &str) {
    let suffix = format!("{ASIDE}{}", jiff::Timestamp::now().as_millisecond());
    let aside = open::with_suffix(path, &suffix);
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::error!(
            why,
            path = %aside.display(),
            "samples were damaged; the file is set aside and a new one begun"
        ),
        Err(error) => tracing::error!(why, %error, path = %path.display(), "samples are damaged"),
    }
    // What was being written to it says nothing about a new one.
    let journal = open::with_suffix(path, JOURNAL);
    if journal.exists()
        && let Err(error) = std::fs::rename(&journal, open::with_suffix(&aside, JOURNAL))
    {
        tracing::error!(%error, path = %journal.display(), "a journal cannot be set aside");
    }
}
