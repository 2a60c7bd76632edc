//! The catalogue of adapters that new attempts are read with, and what is wrong with files that should be in it.
//!
//! Making it takes a while and two megabytes, so it is made when the first attempt wants one, or at once where there
//! are files that may be wrong. Nobody waits for it who need not: neither those who start the daemon nor a job. What
//! reads the output of an attempt does, where the attempt began before the first one was made.

use crate::model::job::Job;
use crate::progress::adapters::load::{self, Loaded};
use crate::progress::adapters::{Catalogue, Hints};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// How many problems are named where there is little room.
const NAMED_PROBLEMS: usize = 3;

/// The present catalogue. An attempt keeps the one it began with.
#[derive(Debug)]
pub(super) struct Shelf {
    directories: Vec<PathBuf>,
    /// Held by whoever makes it: what was read later must not be replaced by what was read before.
    making: Mutex<()>,
    /// Somebody sees to it that the first one is made.
    is_begun: AtomicBool,
    /// Nothing until it was made for the first time.
    loaded: watch::Sender<Option<Arc<Loaded>>>,
}

/// How the output of an attempt is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    began_with: Option<Arc<Loaded>>,
    shelf: watch::Receiver<Option<Arc<Loaded>>>,
    /// What is known of the job.
    pub hints: Hints,
}

impl Reading {
    /// By which adapters; waits until there are any. Nothing where there never will be.
    pub(super) async fn catalogue(&self) -> Option<Arc<Catalogue>> {
        let loaded = match &self.began_with {
            Some(loaded) => Arc::clone(loaded),
            None => {
                let mut shelf = self.shelf.clone();
                let first = shelf.wait_for(Option::is_some).await.ok()?;
                Arc::clone(first.as_ref()?)
            }
        };
        Some(Arc::clone(&loaded.catalogue))
    }
}

impl Shelf {
    /// Will have the adapters in these directories, once they are made.
    #[must_use]
    pub(super) fn of(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            making: Mutex::default(),
            is_begun: AtomicBool::new(false),
            loaded: watch::Sender::new(None),
        }
    }

    /// Makes the adapters of what is in the files now, and tells the log what is wrong with them. Takes long.
    pub(super) fn make(&self) {
        let turn = self.turn();
        self.fill(&turn);
    }

    /// Whether there are files, which may be wrong.
    #[must_use]
    pub(super) fn has_files(&self) -> bool {
        let mut entries = self.directories.iter().map(std::fs::read_dir);
        entries.any(|entries| entries.is_ok_and(|mut it| it.next().is_some()))
    }

    /// Has the first ones made, unless that was begun. `tasks` owns who does it.
    pub(super) fn begin(self: &Arc<Self>, tasks: &TaskTracker) {
        if self.is_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let shelf = Arc::clone(self);
        tasks.spawn_blocking(move || {
            let turn = shelf.turn();
            if shelf.loaded.borrow().is_none() {
                shelf.fill(&turn);
            }
        });
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, _turn: &MutexGuard<'_, ()>) {
        let loaded = load::load(&self.directories);
        tell(&loaded);
        self.loaded.send_replace(Some(Arc::new(loaded)));
    }

    /// How the output of a job's next attempt is read. `tasks` owns who makes the adapters, where this is the first.
    #[must_use]
    pub(super) fn reading(self: &Arc<Self>, job: &Job, tasks: &TaskTracker) -> Reading {
        self.begin(tasks);
        self.reading_of(Hints::new(job.spec.kind.as_deref(), &job.spec.command))
    }

    fn reading_of(&self, hints: Hints) -> Reading {
        Reading {
            began_with: self.loaded.borrow().clone(),
            shelf: self.loaded.subscribe(),
            hints,
        }
    }

    /// How many adapters there are, or what is wrong with some of them.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub(super) fn condition(&self) -> Result<String, String> {
        let Some(loaded) = self.loaded.borrow().clone() else {
            return Ok("the adapters are made when a job needs them".to_owned());
        };
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
    use std::task::{Context, Waker};

    #[test]
    fn problems_are_told_and_gone_once_they_are_mended() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, "[[adapter]]\nname = \"mine\"\nbiultin = \"json\"\n").unwrap();
        let shelf = Shelf::of(vec![dir.path().to_owned(), dir.path().join("none")]);
        shelf.make();
        let why = shelf.condition().unwrap_err();
        assert!(why.contains("mine.toml:3: adapter mine: biultin"), "{why}");
        assert!(why.contains("`builtin`"), "{why}");
        std::fs::write(&file, "[[adapter]]\nname = \"mine\"\nbuiltin = \"json\"\n").unwrap();
        shelf.make();
        assert!(shelf.condition().unwrap().ends_with(" adapters"));
        let loaded = shelf.loaded.borrow().clone().unwrap();
        assert!(loaded.catalogue.find("mine").is_some());
        assert!(loaded.catalogue.find("tqdm").is_some());
    }

    #[tokio::test]
    async fn they_are_made_once_for_the_first_who_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Shelf::of(vec![dir.path().to_owned()]));
        assert!(!shelf.has_files());
        std::fs::write(dir.path().join("mine.toml"), "").unwrap();
        assert!(shelf.has_files());
        let tasks = TaskTracker::new();
        shelf.begin(&tasks);
        shelf.begin(&tasks);
        assert!(tasks.len() <= 1);
        let made = shelf.reading_of(Hints::default()).catalogue().await;
        assert!(made.unwrap().find("tqdm").is_some());
    }

    #[tokio::test]
    async fn who_came_before_there_were_any_adapters_gets_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        let mine = |name: &str| format!("[[adapter]]\nname = \"{name}\"\nbuiltin = \"json\"\n");
        std::fs::write(&file, mine("one")).unwrap();
        let shelf = Shelf::of(vec![dir.path().to_owned()]);
        let early = shelf.reading_of(Hints::default());
        let mut asked = std::pin::pin!(early.catalogue());
        let mut context = Context::from_waker(Waker::noop());
        assert!(asked.as_mut().poll(&mut context).is_pending());
        assert!(shelf.condition().unwrap().contains("when a job needs them"));
        let make = async {
            tokio::task::yield_now().await;
            shelf.make();
        };
        let (found, ()) = tokio::join!(asked, make);
        assert!(found.unwrap().find("one").is_some());
        let later = shelf.reading_of(Hints::default());
        std::fs::write(&file, mine("two")).unwrap();
        shelf.make();
        let kept = later.catalogue().await.unwrap();
        assert!(kept.find("one").is_some() && kept.find("two").is_none());
        drop(shelf);
        assert!(later.catalogue().await.is_some());
    }
}
