//! The daemon's directories: made private, and held by one daemon at a time.

use crate::config::paths::HELD_BY_ANOTHER;
use crate::contain::identity;
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// How long the last child of a killed daemon may hold its lock.
const INHERITANCE: Duration = Duration::from_secs(5);

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
        let path = state.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("failed to open {}", path.display()))?;
        let is_taken = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        if is_taken && !inherits(&mut file)? {
            let pid = holder(&mut file);
            bail!(
                "{HELD_BY_ANOTHER}{} serves {}: use it, or end it first",
                pid.map(|pid| format!(" (process {pid})"))
                    .unwrap_or_default(),
                state.display()
            );
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

/// Waits for the lock of a daemon that is dead already. One that was killed while it was starting a shim has
/// a child that holds its files open until it executes the shim, a moment later.
fn inherits(file: &mut File) -> Result<bool> {
    let is_alive = |pid| identity::of_pid(pid).is_ok_and(|process| identity::is_alive(&process));
    if holder(file).is_none_or(is_alive) {
        return Ok(false);
    }
    let file = file.try_clone().context("failed to wait for the lock")?;
    let (taken, is_taken) = mpsc::channel();
    let waiting = move || {
        // Nobody listens any more where it took too long; the process is about to end then.
        let _heard = taken.send(flock(&file, FlockOperation::LockExclusive));
    };
    std::thread::Builder::new()
        .name("lock".to_owned())
        .spawn(waiting)
        .context("failed to wait for the lock")?;
    Ok(matches!(is_taken.recv_timeout(INHERITANCE), Ok(Ok(()))))
}
