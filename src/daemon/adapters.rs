//! The catalogue of adapters that new attempts are read with, and what is wrong with files that should be in it.
//!
//! Making it takes a while, so nobody waits for it who need not: neither those who start the daemon nor a job. What
//! reads the output of an attempt does, where the attempt began before the first one was made.

use crate::model::job::Job;
use crate::progress::adapters::load::{self, Loaded};
use crate::progress::adapters::{Catalogue, Hints};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// How many problems are named where there is little room.
const NAMED_PROBLEMS: usize = 3;

/// The present catalogue. An attempt keeps the one it began with.
#[derive(Debug)]
pub(super) struct Shelf {
    directories: Vec<PathBuf>,
    /// Held by whoever makes it: what was read later must not be replaced by what was read before.
    making: Mutex<()>,
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
            loaded: watch::Sender::new(None),
        }
    }

    /// Makes the adapters of what is in the files now, and tells the log what is wrong with them. Takes long.
    pub(super) fn make(&self) {
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = load::load(&self.directories);
        tell(&loaded);
        self.loaded.send_replace(Some(Arc::new(loaded)));
    }

    /// How the output of a job's next attempt is read.
    #[must_use]
    pub(super) fn reading(&self, job: &Job) -> Reading {
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
            return Ok("the adapters are being made ready".to_owned());
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
        assert!(shelf.condition().unwrap().contains("being made ready"));
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
