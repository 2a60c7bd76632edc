//! The daemon's directories: made private, and held by one daemon at a time.

use crate::config::paths::HELD_BY_ANOTHER;
use crate::contain::identity;
use anyhow::{Context, Result, bail};
use rustix::event::{Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the last child of a killed daemon may hold its lock.
const INHERITANCE: Duration = Duration::from_secs(5);
/// How soon it is looked at again whether it still does: 5 ms.
const LOOK_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Where this daemon keeps things.
#[derive(Clone, Debug)]
pub(super) struct Dirs {
    /// Database, logs, attempts.
    pub state: PathBuf,
    /// The socket.
    pub runtime: PathBuf,
}

impl Dirs {
    /// Makes what is missing, with `mode` for the runtime directory; everything else is for the daemon alone.
    ///
    /// # Errors
    /// With the directory that cannot be made, and why.
    pub(super) fn make(&self, runtime_mode: u32) -> Result<()> {
        make(&self.state, 0o700)?;
        make(&self.attempts(), 0o700)?;
        make(&self.logs(), 0o700)?;
        make(&self.runtime, runtime_mode)
    }

    /// Directory of the attempts' directories.
    #[must_use]
    pub(super) fn attempts(&self) -> PathBuf {
        self.state.join("attempts")
    }

    /// Directory of the attempts' logs.
    #[must_use]
    pub(super) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Directory of the directories in which jobs of other users report: unlike the state, it can be passed through.
    #[must_use]
    pub(super) fn reports(&self) -> PathBuf {
        self.runtime.join("reports")
    }

    /// The API socket.
    #[must_use]
    pub(super) fn socket(&self) -> PathBuf {
        self.runtime.join(crate::config::paths::SOCKET_NAME)
    }

    /// The log of a daemon that has left its terminal.
    #[must_use]
    pub(super) fn daemon_log(&self) -> PathBuf {
        self.state.join("stoked.log")
    }
}

fn make(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("failed to make the directory {}", path.display()))
}

/// The claim of one daemon on one state directory; ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the state directory, or says who has it.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be written.
    pub(super) fn take(state: &Path) -> Result<Self> {
        Self::take_within(state, INHERITANCE)
    }

    fn take_within(state: &Path, patience: Duration) -> Result<Self> {
        let path = state.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("failed to open {}", path.display()))?;
        let patience_ends = Instant::now() + patience;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = holder(&mut file);
            if !pid.is_some_and(is_dead) || Instant::now() > patience_ends {
                bail!(
                    "{HELD_BY_ANOTHER}{} serves {}: use it, or end it first",
                    pid.map(|pid| format!(" (process {pid})"))
                        .unwrap_or_default(),
                    state.display()
                );
            }
            poll(&mut [], Some(&LOOK_EVERY)).context("failed to wait for the lock")?;
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = written {
            // A full disk must not keep the daemon from supervising what runs.
            tracing::warn!(%error, "cannot note the process id in the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// The daemon that noted itself in the lock file.
fn holder(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    // The lock itself says all that counts; this only tells who.
    file.rewind().ok()?;
    file.read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

/// Whether the daemon that noted itself is gone. One that was killed while it was starting a shim has a child that
/// holds its files open until it executes the shim, a moment later. Who waits for that looks again and again: of several
/// that wait, the first one to get the lock notes itself, and the others must not outlive their refusal.
fn is_dead(pid: u32) -> bool {
    !identity::of_pid(pid).is_ok_and(|process| identity::is_alive(&process))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number: the kernel gives none above 2²².
    const NOBODY: &str = "4194305";
    const FOR_EVER: Duration = Duration::from_secs(1 << 20);

    /// A lock that somebody holds, with what is noted in it.
    fn held(state: &Path, pid: &str) -> File {
        let mut file = File::create(state.join("lock")).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        write!(file, "{pid}").unwrap();
        file
    }

    #[test]
    fn the_lock_of_a_dead_daemon_is_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let child = held(state.path(), NOBODY);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| Lock::take_within(state.path(), FOR_EVER).unwrap());
            drop(child);
            let _lock = taken.join().unwrap();
            let noted = std::fs::read_to_string(state.path().join("lock")).unwrap();
            assert_eq!(noted, std::process::id().to_string());
        });
    }

    #[test]
    fn who_waits_is_refused_once_another_one_has_it() {
        let state = tempfile::tempdir().unwrap();
        let mut child = held(state.path(), NOBODY);
        std::thread::scope(|scope| {
            let refused = scope.spawn(|| Lock::take_within(state.path(), FOR_EVER).unwrap_err());
            let own = std::process::id();
            child.rewind().unwrap();
            write!(child, "{own}").unwrap();
            child.set_len(own.to_string().len() as u64).unwrap();
            let refused = refused.join().unwrap().to_string();
            assert!(refused.contains(&format!("(process {own})")), "{refused}");
        });
    }

    #[test]
    fn nobody_waits_for_ever() {
        let state = tempfile::tempdir().unwrap();
        let _child = held(state.path(), NOBODY);
        let refused = Lock::take_within(state.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(NOBODY), "{refused}");
    }
}
