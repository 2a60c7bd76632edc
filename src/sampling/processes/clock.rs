//! CPU time of a process with one call.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::sampling::fields::{number, words};
use crate::sampling::files::{Files, Missing, Roots};

/// Reads CPU clocks of processes.
#[derive(Debug)]
pub(super) struct Clocks {
    /// Where the processes are of another namespace: their ids mean others to the kernel's call, so that files must do.
    elsewhere: Option<PathBuf>,
}

impl Clocks {
    pub(super) fn new(roots: &Roots) -> Self {
        let is_own = roots.proc == Roots::default().proc;
        Self {
            elsewhere: (!is_own).then(|| roots.proc.clone()),
        }
    }

    /// CPU time that a process used, nanoseconds.
    pub(super) fn read(&self, pid: u32, files: &mut Files) -> Result<u64, Missing> {
        if let Some(proc) = &self.elsewhere {
            let text = files.read_once(&proc.join(format!("{pid}/schedstat")))?;
            return words(text).next().and_then(number).ok_or(Missing::Refused);
        }
        let pid = i32::try_from(pid).map_err(|_| Missing::Gone)?;
        let time = clock_of(Pid::from_raw(pid)).now();
        let is_gone = |error: &Errno| matches!(error, Errno::EINVAL | Errno::ESRCH);
        let time = time.map_err(|error| match is_gone(&error) {
            true => Missing::Gone,
            false => Missing::Refused,
        })?;
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or(0);
        Ok(seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds))
    }
}

/// The clock of a process, as `clock_getcpuclockid` makes it: the kernel's own encoding, which is part of its
/// interface. The library's function asks the kernel first whether the process is there, a call that reading makes
/// needless.
fn clock_of(pid: Pid) -> ClockId {
    const SCHEDULER: i32 = 2;
    ClockId::from_raw((!pid.as_raw() << 3) | SCHEDULER)
}
