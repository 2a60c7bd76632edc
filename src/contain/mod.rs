//! Containment of an attempt's processes: a cgroup v2 directory where one may be written, else the
//! process tree; and the identity of a process.
//!
//! The shim uses it while it lives, the daemon's supervision when the shim is dead. What the kernel has counted for
//! an attempt is read here as well, for both and for who samples. Nothing here
//! ever signals a process that it has not first recognised.

pub mod account;
pub mod cgroup;
pub mod fields;
pub mod identity;
pub mod inherited;
pub mod service;
pub mod socket;
pub mod tree;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

pub use cgroup::Cgroup;
pub use identity::ProcessId;
pub use tree::Tree;

/// What can go wrong while a whole attempt is acted upon; completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ContainError {
    /// A file of the kernel's could not be read or written.
    #[error("access {path}")]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The processes did not stand still in time.
    #[error("freeze within {waited_ms} ms: some processes are in an uninterruptible wait")]
    FreezeTimeout {
        /// How long was waited.
        waited_ms: u64,
    },
    /// Processes outlived SIGKILL.
    #[error("end {left} processes within {waited_ms} ms: they are in an uninterruptible wait")]
    Unkillable {
        /// How many are left.
        left: usize,
        /// How long was waited.
        waited_ms: u64,
    },
}

impl ContainError {
    pub(crate) fn access(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Access {
            path: path.into(),
            source,
        }
    }
}

/// All processes of one attempt.
#[derive(Debug, Clone)]
pub enum Containment {
    /// Those in a cgroup v2 directory and below.
    Cgroup(Cgroup),
    /// Those that descend from the shim or carry the attempt's token.
    Tree(Tree),
}

impl Containment {
    /// SIGKILL for every process of the attempt, without waiting for their ends. Says how many
    /// were found alive.
    pub fn sweep(&self) -> Result<u32, ContainError> {
        match self {
            Self::Cgroup(cgroup) => cgroup.sweep(),
            Self::Tree(tree) => tree.sweep(),
        }
    }

    /// Kill every process of the attempt and wait until none is left. Says how many there were.
    pub fn kill(&self, within: Duration) -> Result<u32, ContainError> {
        let start = Instant::now();
        let mut killed = self.sweep()?;
        loop {
            let left = self.pids()?;
            if left.is_empty() {
                return Ok(killed);
            }
            let Some(remaining) = within.checked_sub(start.elapsed()) else {
                return Err(ContainError::Unkillable {
                    left: left.len(),
                    waited_ms: millis(within),
                });
            };
            if identity::await_end(&left, remaining.min(RESWEEP)) {
                continue;
            }
            // Something was still forking when it was swept, or entered the cgroup meanwhile.
            killed = killed.max(self.sweep()?);
        }
    }

    /// Stop every process where it stands, and wait until all do.
    pub fn freeze(&self, within: Duration) -> Result<(), ContainError> {
        match self {
            Self::Cgroup(cgroup) => cgroup.freeze(within),
            Self::Tree(tree) => tree.freeze(),
        }
    }

    /// Let them go on.
    pub fn thaw(&self) -> Result<(), ContainError> {
        match self {
            Self::Cgroup(cgroup) => cgroup.thaw(),
            Self::Tree(tree) => tree.signal_all(Signal::CONT).map(|_| ()),
        }
    }

    /// Send a signal to every process of the attempt. Says how many got it.
    pub fn signal_all(&self, signal: Signal) -> Result<u32, ContainError> {
        Ok(identity::signal_each(&self.pids()?, signal))
    }

    /// The living processes of the attempt.
    pub fn pids(&self) -> Result<Vec<ProcessId>, ContainError> {
        match self {
            Self::Cgroup(cgroup) => cgroup.pids(),
            Self::Tree(tree) => tree.pids(),
        }
    }

    /// Whether no process of the attempt is alive.
    pub fn is_empty(&self) -> Result<bool, ContainError> {
        Ok(self.pids()?.is_empty())
    }
}

/// How long one wait for killed processes lasts before they are looked for again.
const RESWEEP: Duration = Duration::from_millis(50);

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
