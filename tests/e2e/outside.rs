//! What the kernel says about processes: the daemon's own word is what is being tested.

use crate::http::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use stoked::contain::identity::{self, ProcessId};

/// A process that was seen alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process(pub(crate) ProcessId);

impl Process {
    pub(crate) fn of(pid: u64) -> Self {
        let pid = u32::try_from(pid).unwrap();
        Self(identity::of_pid(pid).unwrap_or_else(|error| panic!("no process {pid}: {error}")))
    }

    pub(crate) fn is_alive(self) -> bool {
        identity::is_alive(&self.0)
    }

    pub(crate) fn kill(self) {
        // One that has gone is as dead as is wanted.
        let _was_there = identity::signal(&self.0, Signal::KILL);
    }

    /// Whether it ends within this time. A zombie has ended.
    pub(crate) fn ends_within(self, within: Duration) -> bool {
        let Ok(Some(pidfd)) = identity::open(&self.0) else {
            return true;
        };
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&Timespec::try_from(left).unwrap())) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn ends(self) {
        assert!(self.ends_within(PATIENCE), "{self:?} is still there");
    }

    /// Its command line, for messages.
    pub(crate) fn words(self) -> String {
        let words = fs::read(format!("/proc/{}/cmdline", self.0.pid)).unwrap_or_default();
        String::from_utf8_lossy(&words).replace('\0', " ")
    }
}

/// Every living process that has to do with `root`: its environment, directory or an open file says so.
pub(crate) fn processes_of(root: &Path) -> Vec<Process> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own && belongs(*pid, root))
        .filter_map(|pid| identity::of_pid(pid).ok())
        .filter(identity::is_alive)
        .map(Process)
        .collect()
}

fn belongs(pid: u32, root: &Path) -> bool {
    let text = root.to_str().unwrap().as_bytes();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    if environment.windows(text.len()).any(|window| window == text) {
        return true;
    }
    let is_below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(root));
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    is_below(Path::new(&format!("/proc/{pid}/cwd")))
        || files.is_ok_and(|mut files| files.any(|it| it.is_ok_and(|it| is_below(&it.path()))))
}
