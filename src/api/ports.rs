//! The border of the API: what it is told of the daemon's health, and where the output of attempts is.
//!
//! What is stored it reads from [`crate::store::Reader`], on threads for blocking work.

use crate::logs::watch::{Watch, Watcher};
use crate::model::id::AttemptId;
use crate::wire::service::ComponentView;
use std::path::PathBuf;

/// How well the parts of the daemon are.
pub trait HealthSource: Send + Sync + 'static {
    /// Every part but the API itself.
    fn components(&self) -> Vec<ComponentView>;
}

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
