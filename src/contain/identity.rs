//! Identity of a process: (boot id, pid, start time). A bare pid is never signalled, because by
//! the time the signal is sent it may be somebody else's.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Identity of a process within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

/// What `/proc/PID/stat` says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) id: ProcessId,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    /// All threads have ended; only the entry waits for its parent.
    pub(crate) dead: bool,
}

/// The id of the running boot; identities of another boot mean nothing.
pub fn boot_id() -> io::Result<String> {
    let mut buffer = [0; 64];
    let text = read_once("/proc/sys/kernel/random/boot_id", &mut buffer)?;
    Ok(String::from_utf8_lossy(text).trim().to_owned())
}

/// The identity that a pid has now.
pub fn of_pid(pid: u32) -> io::Result<ProcessId> {
    Ok(stat(pid)?.id)
}

/// The identity of the calling process.
pub fn own() -> io::Result<ProcessId> {
    of_pid(std::process::id())
}

/// Whether this very process still runs (one that has ended but is not yet reaped does not).
#[must_use]
pub fn is_alive(process: &ProcessId) -> bool {
    stat(process.pid).is_ok_and(|stat| stat.id == *process && !stat.dead)
}

/// A pidfd of this very process, or `None` when it is gone or its pid is somebody else's now.
pub fn open(process: &ProcessId) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The look at the start time comes after the pidfd was taken: if the pid was recycled in
    // between, the times differ; if it is recycled later, the pidfd does not follow.
    Ok(is_alive(process).then_some(pidfd))
}

/// Send a signal to this very process. Says whether it was there to get it.
pub fn signal(process: &ProcessId, signal: Signal) -> io::Result<bool> {
    let Some(pidfd) = open(process)? else {
        return Ok(false);
    };
    match pidfd_send_signal(&pidfd, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The process group named after this process, while the process itself is there (unreaped is
/// enough: the number cannot be another group's as long).
#[must_use]
pub fn group_of(process: &ProcessId) -> Option<Pid> {
    let same = stat(process.pid).is_ok_and(|stat| stat.id == *process);
    let pid = i32::try_from(process.pid).ok()?;
    same.then(|| Pid::from_raw(pid)).flatten()
}

/// Send a signal to each; those that are gone or not ours are passed over.
pub(crate) fn signal_each(processes: &[ProcessId], with: Signal) -> u32 {
    let reached = processes
        .iter()
        .filter(|process| signal(process, with).unwrap_or(false));
    u32::try_from(reached.count()).unwrap_or(u32::MAX)
}

/// Wait until all of these have ended; `false` when time ran out first.
pub(crate) fn await_end(processes: &[ProcessId], within: Duration) -> bool {
    let start = Instant::now();
    for process in processes {
        let Ok(Some(pidfd)) = open(process) else {
            continue;
        };
        let remaining = within.saturating_sub(start.elapsed());
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        if !poll(&mut fds, Some(&timespec(remaining))).is_ok_and(|ready| ready > 0) {
            return false;
        }
    }
    true
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Read one process's `stat`.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let mut buffer = [0; 1024];
    parse_stat(read_once(&format!("/proc/{pid}/stat"), &mut buffer)?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat has another form"))
}

/// A file of the kernel's that is short and comes whole with one read, which matters where one
/// is read per process of the host.
fn read_once<'a>(path: &str, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let count = File::open(path)?.read(buffer)?;
    Ok(&buffer[..count])
}

/// Every process that can be seen now.
pub(crate) fn all() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(stat) = pid.and_then(|pid| stat(pid).ok()) {
            found.push(stat);
        }
    }
    Ok(found)
}

/// The command name may hold anything, parentheses and newlines included, so fields are counted
/// from the last closing parenthesis.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let pid = std::str::from_utf8(&text[..open])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 of proc(5), the state.
    let state = *fields.first()?;
    let threads: u64 = fields.get(17)?.parse().ok()?;
    Some(Stat {
        id: ProcessId {
            pid,
            start_ticks: fields.get(19)?.parse().ok()?,
        },
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().unwrap_or(0),
        // A thread group whose leader has ended shows `Z` while its other threads run on.
        dead: matches!(state, "Z" | "X" | "x") && threads <= 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "S 41 42 43 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2";

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        for name in ["sh", "a) R 1 1 (b", ") ) (\n", ""] {
            let stat = parse_stat(format!("42 ({name}) {TAIL}").as_bytes()).unwrap();
            assert_eq!(
                stat.id,
                ProcessId {
                    pid: 42,
                    start_ticks: 99887
                },
                "{name:?}"
            );
            assert_eq!((stat.parent, stat.session, stat.dead), (41, 43, false));
        }
        assert_eq!(parse_stat(b"42 (sh"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn another_start_time_is_another_process() {
        let me = own().unwrap();
        assert!(is_alive(&me));
        assert!(open(&me).unwrap().is_some());
        let stranger = ProcessId {
            start_ticks: me.start_ticks + 1,
            ..me
        };
        assert!(!is_alive(&stranger));
        assert!(open(&stranger).unwrap().is_none());
        // Were the pid signalled all the same, this test would not live to say so.
        assert!(!signal(&stranger, Signal::KILL).unwrap());
    }

    #[test]
    fn an_unreaped_process_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = of_pid(child.id()).unwrap();
        assert!(await_end(&[id], Duration::from_secs(10)));
        assert!(!is_alive(&id));
        child.wait().unwrap();
        assert!(!is_alive(&id));
    }

    #[test]
    fn the_boot_has_an_id() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
