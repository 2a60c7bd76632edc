//! Cgroup v2 directories: finding where one may be made, and acting on everything in it at once.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Access, access};
use rustix::process::Signal;

use super::identity::{self, ProcessId, signal_each, timespec};
use super::{ContainError, millis};

/// How long a look by the fallback for kernels without `cgroup.kill` waits for the freezer.
const FREEZE_FOR_KILL: Duration = Duration::from_millis(200);

/// Why no cgroup can be used; one sentence for the person who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WhyNot(pub String);

/// A directory in which attempts may have cgroups of their own.
#[derive(Debug, Clone)]
pub struct Base {
    parent: PathBuf,
}

impl Base {
    /// Find the cgroup2 mount and this process's place in it, and make `stoked-<instance>` there,
    /// trying it out for real.
    pub fn probe(instance: &str) -> Result<Self, WhyNot> {
        let own = own()?;
        access(own.join("cgroup.procs"), Access::WRITE_OK).map_err(|error| {
            WhyNot(format!(
                "The cgroup {} may not be written ({error}); start the daemon with Delegate=yes.",
                own.display()
            ))
        })?;
        let parent = own.join(format!("stoked-{instance}"));
        let refused = |error: io::Error| {
            WhyNot(format!(
                "No cgroup can be made in {} ({error}); start the daemon with Delegate=yes.",
                own.display()
            ))
        };
        make_dir(&parent).map_err(refused)?;
        pass_on_controllers(&parent);
        let trial = Cgroup::in_parent(&parent, &format!("probe-{}", std::process::id()));
        trial.create().map_err(refused)?;
        let usable = access(trial.dir().join("cgroup.procs"), Access::WRITE_OK);
        fs::remove_dir(trial.dir()).map_err(refused)?;
        usable.map_err(|error| refused(error.into()))?;
        Ok(Self { parent })
    }

    /// The directory that holds the attempts' cgroups.
    #[must_use]
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// The cgroup of an attempt, whether or not it exists.
    #[must_use]
    pub fn attempt(&self, name: &str) -> Cgroup {
        Cgroup::in_parent(&self.parent, name)
    }

    /// Takes the directory away, unless attempts have their cgroups in it: then it stays for the next daemon.
    pub fn leave(&self) {
        // The kernel refuses what is in use, and whoever comes next makes it again.
        let _kept = fs::remove_dir(&self.parent);
    }

    /// Moves this process to where it is already, which moves nothing.
    ///
    /// Entering a cgroup waits for a grace period of the kernel (about 10 ms on an idle host), unless
    /// somebody has begun to wait for one shortly before. Called a moment ahead of a start, this is that
    /// somebody. It takes as long as the wait itself, so it belongs on a thread of its own.
    pub fn hasten(&self) -> io::Result<()> {
        let own = self.parent.parent().unwrap_or(&self.parent);
        fs::write(own.join("cgroup.procs"), "0")
    }

    /// Names of the cgroups that exist here, for a start that looks for strays.
    pub fn names(&self) -> Result<Vec<String>, ContainError> {
        let failed = |source| ContainError::access(&self.parent, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.parent).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Some(name) = entry.file_name().to_str()
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

/// One attempt's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// The cgroup at this directory.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The cgroup of this name below a parent.
    #[must_use]
    pub fn in_parent(parent: &Path, name: &str) -> Self {
        Self::at(parent.join(name))
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Make it; one that is there already is taken over.
    pub fn create(&self) -> io::Result<()> {
        make_dir(&self.dir)
    }

    /// Move the calling process into it. The kernel may take 10 ms for this.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), "0")
    }

    /// Whether any process lives in it or below; a cgroup that is gone has none.
    pub fn populated(&self) -> Result<bool, ContainError> {
        Ok(self.event("populated")?.unwrap_or(false))
    }

    /// The living processes in it and below.
    pub fn pids(&self) -> Result<Vec<ProcessId>, ContainError> {
        let mut found = Vec::new();
        for dir in self.dirs()? {
            // A directory may vanish, and a threaded one has no list of its own.
            let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) else {
                continue;
            };
            let pids = text.lines().filter_map(|line| line.parse().ok());
            found.extend(
                pids.filter(|pid| *pid != 0)
                    .filter_map(|pid| identity::of_pid(pid).ok().filter(identity::is_alive)),
            );
        }
        Ok(found)
    }

    /// SIGKILL for all of them, forks in progress included.
    pub(crate) fn sweep(&self) -> Result<u32, ContainError> {
        let count = u32::try_from(self.pids()?.len()).unwrap_or(u32::MAX);
        let path = self.dir.join("cgroup.kill");
        match fs::write(&path, "1") {
            Ok(()) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.dir.exists() => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.sweep_frozen(),
            Err(source) => Err(ContainError::access(path, source)),
        }
    }

    /// For kernels before 5.14: nothing can fork while frozen, so one look finds all of them.
    fn sweep_frozen(&self) -> Result<u32, ContainError> {
        let frozen = self.freeze(FREEZE_FOR_KILL);
        let killed = signal_each(&self.pids()?, Signal::KILL);
        self.thaw()?;
        match frozen {
            Ok(()) | Err(ContainError::FreezeTimeout { .. }) => Ok(killed),
            Err(error) => Err(error),
        }
    }

    /// Freeze, and wait until the kernel says that all stand still.
    pub(crate) fn freeze(&self, within: Duration) -> Result<(), ContainError> {
        self.write("cgroup.freeze", "1")?;
        if self.await_event("frozen", true, within)? {
            Ok(())
        } else {
            Err(ContainError::FreezeTimeout {
                waited_ms: millis(within),
            })
        }
    }

    pub(crate) fn thaw(&self) -> Result<(), ContainError> {
        self.write("cgroup.freeze", "0")
    }

    /// Remove it and all below it, waiting for the last processes to leave. One that is gone is
    /// removed.
    pub fn remove(&self, within: Duration) -> Result<(), ContainError> {
        let start = Instant::now();
        loop {
            let failed = match self.remove_dirs() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let remaining = within.saturating_sub(start.elapsed());
            if remaining.is_zero() || !self.await_event("populated", false, remaining)? {
                return Err(ContainError::access(&self.dir, failed));
            }
            if !matches!(failed.kind(), io::ErrorKind::ResourceBusy) {
                return Err(ContainError::access(&self.dir, failed));
            }
        }
    }

    fn remove_dirs(&self) -> io::Result<()> {
        // The common case is one empty directory, and one system call.
        match fs::remove_dir(&self.dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {}
        }
        let dirs = self.dirs().unwrap_or_default();
        for dir in dirs.iter().rev() {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// This directory and all below it, parents first.
    fn dirs(&self) -> Result<Vec<PathBuf>, ContainError> {
        let mut dirs = vec![self.dir.clone()];
        let mut next = 0;
        while let Some(dir) = dirs.get(next).cloned() {
            next += 1;
            match fs::read_dir(&dir) {
                Ok(entries) => dirs.extend(
                    entries
                        .flatten()
                        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                        .map(|entry| entry.path()),
                ),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ContainError::access(dir, source)),
            }
        }
        Ok(dirs)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), ContainError> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(|source| ContainError::access(path, source))
    }

    fn event(&self, key: &str) -> Result<Option<bool>, ContainError> {
        let path = self.dir.join("cgroup.events");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(value(&text, key).map(|number| number != 0)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(ContainError::access(path, source)),
        }
    }

    /// Wait until `cgroup.events` shows this value; the kernel wakes pollers on every change.
    fn await_event(&self, key: &str, wanted: bool, within: Duration) -> Result<bool, ContainError> {
        let start = Instant::now();
        let path = self.dir.join("cgroup.events");
        let failed = |source| ContainError::access(&path, source);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(!wanted),
            Err(error) => return Err(failed(error)),
        };
        loop {
            let mut text = String::new();
            let read = file
                .seek(SeekFrom::Start(0))
                .and_then(|_| file.read_to_string(&mut text));
            match read {
                Ok(_) => {}
                Err(error) if is_gone(&error) => return Ok(!wanted),
                Err(error) => return Err(failed(error)),
            }
            if value(&text, key).is_some_and(|number| (number != 0) == wanted) {
                return Ok(true);
            }
            let remaining = within.saturating_sub(start.elapsed());
            if remaining.is_zero() {
                return Ok(false);
            }
            let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI)];
            match poll(&mut fds, Some(&timespec(remaining))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

/// The kernel answers ENODEV for a file of a cgroup that was removed after it was opened.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// What attempts are counted with, where the host gives it to their parent: without it, samples come from processes.
/// That of CPU time counts by itself, and its controller would share out CPUs by attempts instead of by processes.
const COUNTED: [&str; 3] = ["io", "memory", "pids"];

pub(super) fn pass_on_controllers(parent: &Path) {
    let given = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
    let given = given.split_whitespace().filter(|it| COUNTED.contains(it));
    for controller in given {
        // One that is refused is not there, as on a host that never had it.
        let _refused = fs::write(
            parent.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn value(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, number)| number.trim().parse().ok())
}

/// This process's cgroup2 directory.
pub(super) fn own() -> Result<PathBuf, WhyNot> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|error| WhyNot(format!("{path} cannot be read: {error}.")))
    };
    own_dir(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

/// The same out of what the kernel says. Hybrid hosts mount the tree elsewhere than `/sys/fs/cgroup`,
/// and containers see only a part of it, so both come from what the kernel says.
fn own_dir(mountinfo: &str, cgroup: &str) -> Result<PathBuf, WhyNot> {
    let (root, mount) = mountinfo
        .lines()
        .filter_map(cgroup2_mount)
        .next()
        .ok_or_else(|| WhyNot("No cgroup2 file system is mounted.".to_owned()))?;
    let own = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| WhyNot("This process is in no cgroup v2.".to_owned()))?;
    if own.starts_with("/..") {
        return Err(WhyNot(
            "This process's cgroup lies outside its cgroup namespace.".to_owned(),
        ));
    }
    let below = Path::new(own).strip_prefix(&root).map_err(|_| {
        WhyNot(format!(
            "The cgroup {own} is not below what is mounted here ({root})."
        ))
    })?;
    Ok(mount.join(below))
}

/// Root and mount point of a mountinfo line, if it is of a cgroup2 file system.
fn cgroup2_mount(line: &str) -> Option<(String, PathBuf)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    let root = unescape(fields.next()?);
    let mount = unescape(fields.next()?);
    Some((root, PathBuf::from(mount)))
}

/// Mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    field
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests;
