//! The catalogue of adapters that new attempts are read with, and what is wrong with files that should be in it.

use crate::model::job::Job;
use crate::progress::adapters::load::{self, Loaded};
use crate::progress::adapters::{Catalogue, Hints};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many problems are named where there is little room.
const NAMED_PROBLEMS: usize = 3;

/// The present catalogue. An attempt keeps the one it began with.
#[derive(Debug)]
pub(super) struct Shelf {
    directories: Vec<PathBuf>,
    loaded: Mutex<Loaded>,
}

/// How the output of an attempt is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// By which adapters.
    pub catalogue: Arc<Catalogue>,
    /// What is known of the job.
    pub hints: Hints,
}

impl Shelf {
    /// Reads the adapters in these directories, and tells the log what is wrong with them.
    #[must_use]
    pub(super) fn open(directories: Vec<PathBuf>) -> Self {
        let loaded = load::load(&directories);
        tell(&loaded);
        Self {
            directories,
            loaded: Mutex::new(loaded),
        }
    }

    /// Reads them again. Blocks on files.
    pub(super) fn reload(&self) {
        let loaded = load::load(&self.directories);
        tell(&loaded);
        *self.loaded() = loaded;
    }

    /// How the output of a job's next attempt is read.
    #[must_use]
    pub(super) fn reading(&self, job: &Job) -> Reading {
        Reading {
            catalogue: Arc::clone(&self.loaded().catalogue),
            hints: Hints::new(job.spec.kind.as_deref(), &job.spec.command),
        }
    }

    /// How many adapters there are, or what is wrong with some of them.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub(super) fn condition(&self) -> Result<String, String> {
        let loaded = self.loaded();
        let problems = &loaded.problems;
        if problems.is_empty() {
            return Ok(format!("{} adapters", loaded.catalogue.adapters().len()));
        }
        let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let more = lines.len().saturating_sub(NAMED_PROBLEMS);
        lines.truncate(NAMED_PROBLEMS);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        Err(lines.join("; "))
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        // It is replaced as a whole.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(loaded: &Loaded) {
    for problem in &loaded.problems {
        tracing::warn!("an adapter is left out: {problem}");
    }
    tracing::debug!(
        adapters = loaded.catalogue.adapters().len(),
        files = loaded.files.len(),
        "adapters were read"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_and_gone_once_they_are_mended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, "[[adapter]]\nname = \"mine\"\nbiultin = \"json\"\n").unwrap();
        let shelf = Shelf::open(vec![dir.path().to_owned(), dir.path().join("none")]);
        let why = shelf.condition().unwrap_err();
        assert!(why.contains("mine.toml:3: adapter mine: biultin"), "{why}");
        assert!(why.contains("`builtin`"), "{why}");
        std::fs::write(&file, "[[adapter]]\nname = \"mine\"\nbuiltin = \"json\"\n").unwrap();
        shelf.reload();
        assert!(shelf.condition().unwrap().ends_with(" adapters"));
        assert!(shelf.loaded().catalogue.find("mine").is_some());
        assert!(shelf.loaded().catalogue.find("tqdm").is_some());
    }
}
