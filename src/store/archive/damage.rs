//! What was found to be wrong with files of the archive by those who read them, until these are other files: one read
//! finds out, and everybody is told, but the log once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A version of a file.
type Version = (Option<SystemTime>, u64);

/// The files that are damaged, and how. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Arc<Mutex<BTreeMap<PathBuf, (Version, String)>>>);

impl Damage {
    /// Somebody found this file to be damaged.
    pub(crate) fn found(&self, path: &Path, why: &str) {
        let version = version(path);
        let known = self
            .lock()
            .insert(path.to_owned(), (version, why.to_owned()));
        if known.is_none_or(|(before, _)| before != version) {
            tracing::error!(path = %path.display(), why, "a month of the archive is damaged");
        }
    }

    /// Somebody read all of it, and it is whole.
    pub(crate) fn is_whole(&self, path: &Path) {
        self.lock().remove(path);
    }

    /// What is known to be wrong with it.
    pub(crate) fn of(&self, path: &Path) -> Option<String> {
        let known = self.lock().get(path).cloned();
        let (then, why) = known?;
        (then == version(path)).then_some(why)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (Version, String)>> {
        // The map is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(path: &Path) -> Version {
    let data = fs::metadata(path).ok();
    let length = data.as_ref().map_or(0, fs::Metadata::len);
    (data.and_then(|data| data.modified().ok()), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_known_until_the_file_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("2026-11.db");
        fs::write(&path, "one").unwrap();
        let damage = Damage::default();
        assert_eq!(damage.of(&path), None);
        damage.found(&path, "job 7 is not in it");
        assert_eq!(
            damage.clone().of(&path).as_deref(),
            Some("job 7 is not in it")
        );
        fs::write(&path, "another").unwrap();
        assert_eq!(damage.of(&path), None);
        damage.found(&path, "again");
        damage.is_whole(&path);
        assert_eq!(damage.of(&path), None);
    }
}
