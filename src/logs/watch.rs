//! Tells async subscribers that a file or directory changed, at the cost of one thread and one inotify instance.
//!
//! It says *that* something changed, never what: the subscriber looks for itself. A path is
//! watched only until its next change and again from the moment the subscriber takes note
//! of that ([`Watch::changed`]), so that a job that writes without end costs nothing until somebody
//! has looked at what it wrote. Nothing wakes up when nothing happens.
//!
//! A path need not exist: then its nearest existing directory is watched for the next name on the way.
//! Not seen are changes that inotify does not see: writes through a memory map, writes on another
//! host of a network file system, and the renaming of a directory further up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags};
use rustix::io::Errno;

mod place;
mod registry;
mod thread_loop;

#[cfg(test)]
mod tests;

use registry::Signal;
use thread_loop::Shared;

/// Why a path is told as changed once a second instead of being watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchProblem {
    /// There is no inotify instance.
    #[error("use inotify: {source} (raise fs.inotify.max_user_instances?)")]
    NoInstance {
        /// What the kernel said.
        source: Errno,
    },
    /// No more paths can be watched.
    #[error("watch {}: fs.inotify.max_user_watches is used up", path.display())]
    NoMoreWatches {
        /// The path.
        path: PathBuf,
    },
    /// This path cannot be watched.
    #[error("watch {}: {source}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
}

/// The watching thread. Clones share it; it ends with the last of them and the last [`Watch`].
#[derive(Debug, Clone)]
pub struct Watcher {
    owner: Arc<Owner>,
}

/// One subscription to one path. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    owner: Arc<Owner>,
    signal: Arc<Signal>,
    id: u64,
}

impl Watcher {
    /// Starts the thread. Without inotify it still works, by telling a change once a second: see [`Watcher::problem`].
    pub fn start() -> io::Result<Watcher> {
        Watcher::start_on(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK))
    }

    fn start_on(inotify: Result<OwnedFd, Errno>) -> io::Result<Watcher> {
        let shared = Arc::new(Shared::new(inotify)?);
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || theirs.run())?;
        Ok(Watcher {
            owner: Arc::new(Owner {
                shared,
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Watches `path` from now on: what changes after this call is told. The path may be missing. Blocks for
    /// as long as the path's disk does not answer, and nobody but the caller.
    pub fn watch(&self, path: &Path) -> Watch {
        let signal = Arc::new(Signal::default());
        let id = self.owner.shared.add(path, Arc::clone(&signal));
        self.owner.shared.arm(id);
        Watch {
            owner: Arc::clone(&self.owner),
            signal,
            id,
        }
    }

    /// Why nothing can be watched and everything is told once a second, if so.
    pub fn problem(&self) -> Option<WatchProblem> {
        self.owner.shared.no_instance()
    }

    /// How often the thread has woken up.
    pub fn wakeups(&self) -> u64 {
        self.owner.shared.wakeups.load(Ordering::Relaxed)
    }
}

impl Watch {
    /// Waits for the next change; returns at once when there was one since the last return.
    ///
    /// Many changes may be told as one, and one that is none may be told. Look at the path after this returns,
    /// not before. May be dropped while it waits without losing a change. Blocks where the path's disk does.
    pub async fn changed(&mut self) {
        self.told().await;
        // Before the subscriber looks, so that nothing falls between its look and this.
        self.arm();
    }

    /// The first half of [`changed`](Self::changed), which never blocks: waits for the next change. After it
    /// nothing is told before [`arm`](Self::arm).
    pub async fn told(&mut self) {
        while !self.signal.take() {
            self.signal.told().await;
        }
    }

    /// The second half: watches on, from now. Blocks for as long as the path's disk does not answer, and
    /// nobody but the caller; look at the path after this returns.
    pub fn arm(&mut self) {
        self.owner.shared.arm(self.id);
    }

    /// Why this path is told once a second instead of being watched, if so.
    pub fn problem(&self) -> Option<WatchProblem> {
        self.owner.shared.problem(self.id)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.owner.shared.remove(self.id);
    }
}

/// Ends the thread when nobody can hear it any more. The thread itself never holds one of these.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stop();
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // It panicked or it did not: either way it is gone, which is what is wanted here.
            thread.join().ok();
        }
    }
}
