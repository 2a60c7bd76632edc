//! The border of the API: what it is told of the daemon's health and of what is measured, and where the output of
//! attempts is.
//!
//! What is stored it reads from [`crate::store::Reader`], on threads for blocking work.

use crate::logs::watch::{Watch, Watcher};
use crate::model::id::AttemptId;
use crate::model::sample::Snapshot;
use crate::wire::service::ComponentView;
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How well the parts of the daemon are.
pub trait HealthSource: Send + Sync + 'static {
    /// Every part but the API itself.
    fn components(&self) -> Vec<ComponentView>;
}

/// What is measured, and who looks at it.
pub trait Gauges: Send + Sync + 'static {
    /// The newest of everything.
    fn newest(&self) -> Arc<Snapshot>;

    /// Somebody looked once, and may do so again soon.
    fn glance(&self);

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
