//! The border of the API: what it is told of the daemon's health and of what is measured, where the output of attempts
//! is, and who archives.
//!
//! What is stored it reads from [`crate::store::Reader`], on threads for blocking work.

use crate::logs::watch::{Watch, Watcher};
use crate::model::id::{AttemptId, JobId};
use crate::model::sample::Snapshot;
use crate::store::StoreError;
use crate::store::archive::Month;
use crate::wire::archive::{ArchiveRestored, ArchiveRun, ArchiveVerified};
use crate::wire::service::ComponentView;
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How well the parts of the daemon are.
pub trait HealthSource: Send + Sync + 'static {
    /// Every part but the API itself. May look at files, and belongs on a thread that may block.
    fn components(&self) -> Vec<ComponentView>;

    /// Whether what an attempt may use can be limited here.
    ///
    /// # Errors
    /// With a sentence, where it cannot.
    fn can_limit(&self) -> Result<(), String>;
}

/// What is measured, and who looks at it.
pub trait Gauges: Send + Sync + 'static {
    /// The newest of everything.
    fn newest(&self) -> Arc<Snapshot>;

    /// Somebody looked once, and may do so again soon.
    fn glance(&self);

    /// Publishes what was measured last, as somebody listens now; while nobody did, nothing was published.
    fn tell(&self);

    /// Somebody looks for as long as this is kept, and wants to see new values so often; 0 where it is all the same.
    fn look(&self, every: Duration) -> Look;
}

/// Kept by somebody who looks at what is measured.
pub type Look = Box<dyn Any + Send + Sync>;

/// Where the output of attempts is, and who tells when it grows.
#[derive(Clone, Debug)]
pub struct Output {
    /// Directory of the attempts' log directories.
    pub dir: PathBuf,
    /// Watches files.
    pub watcher: Watcher,
}

impl Output {
    /// The log directory of an attempt.
    #[must_use]
    pub fn of(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(attempt.to_string())
    }

    /// Watches the output of an attempt, from before anything that is read after this call.
    #[must_use]
    pub fn watch(&self, attempt: AttemptId) -> Watch {
        self.watcher.watch(&self.of(attempt))
    }
}

/// How archiving stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiving {
    /// Whether something is being archived now.
    pub running: bool,
    /// How the last run went.
    pub last: Option<ArchiveRun>,
}

/// The answer to an errand.
pub type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the one who archives is asked to do.
#[derive(Debug)]
pub enum Errand {
    /// Archive what is older than so many milliseconds, or as configured.
    Now {
        /// The age.
        older_than_ms: Option<u64>,
        /// How it went; what went wrong is in it.
        answer: Answer<ArchiveRun>,
    },
    /// Look whether everything is there.
    Verify {
        /// Whether logs are unpacked too.
        logs: bool,
        /// What is wrong.
        answer: Answer<ArchiveVerified>,
    },
    /// Bring jobs back.
    BringBack {
        /// Which.
        jobs: Vec<JobId>,
        /// What came back.
        answer: Answer<ArchiveRestored>,
    },
    /// Bring the jobs of a month back.
    BringBackMonth {
        /// Which.
        month: Month,
        /// What came back.
        answer: Answer<ArchiveRestored>,
    },
    /// Take a file in.
    TakeIn {
        /// Where it is.
        path: PathBuf,
        /// What is known again.
        answer: Answer<ArchiveRestored>,
    },
}

/// The way to the one who archives.
#[derive(Clone, Debug)]
pub struct ArchiveDesk {
    errands: mpsc::UnboundedSender<Errand>,
    standing: watch::Receiver<Archiving>,
}

impl ArchiveDesk {
    /// A desk, and what the one behind it takes errands from and says how it stands with.
    #[must_use]
    pub fn new() -> (
        Self,
        mpsc::UnboundedReceiver<Errand>,
        watch::Sender<Archiving>,
    ) {
        let (errands, inbox) = mpsc::unbounded_channel();
        let (sender, standing) = watch::channel(Archiving::default());
        (Self { errands, standing }, inbox, sender)
    }

    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Archiving {
        self.standing.borrow().clone()
    }

    /// Asks for something, and waits until it is done; it is done also where nobody waits any more.
    ///
    /// # Errors
    /// What the errand failed with; [`StoreError::Stopped`] while the daemon goes down.
    pub async fn ask<T>(&self, errand: impl FnOnce(Answer<T>) -> Errand) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        // An errand that nobody takes drops its answer, and that is read as "stopped".
        drop(self.errands.send(errand(answer)));
        answered.await.unwrap_or(Err(StoreError::Stopped))
    }
}
