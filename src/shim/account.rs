//! What the attempt used, read when nothing of it lives any more: from its cgroup while that is there, and from each
//! child between its end and its burial, when the kernel still tells what it and all it ever waited for have read and
//! written.

use nix::errno::Errno;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::contain::account::{Io, Totals, io_of};
use crate::contain::{Cgroup, Containment};
use crate::wire::shim::ExitRecord;

/// Sums of the children that have ended.
#[derive(Debug, Default)]
pub(super) struct Account {
    io: Io,
    /// The kernel did not tell of all of them.
    has_gaps: bool,
    /// A cgroup has counted for us, and better; decided at the first child.
    is_counted: Option<bool>,
}

impl Account {
    /// The next child to be reaped, after a look at what it leaves behind; none where any will do.
    pub(super) fn next_child(&mut self, containment: &Containment) -> Option<u32> {
        let is_counted = *self.is_counted.get_or_insert_with(|| match containment {
            Containment::Cgroup(cgroup) => cgroup.dir().join("io.stat").exists(),
            Containment::Tree(_) => false,
        });
        if is_counted {
            return None;
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, flags) {
            Ok(status) => {
                let pid = u32::try_from(status.pid()?.as_raw()).ok()?;
                match io_of(pid) {
                    Some(io) => self.io = self.io.plus(io),
                    None => self.has_gaps = true,
                }
                Some(pid)
            }
            Err(Errno::ECHILD | Errno::EINTR) => None,
            // It ended by a signal that has no name.
            Err(_) => {
                self.has_gaps = true;
                None
            }
        }
    }

    /// Enters all that is known, of a cgroup that is still there.
    pub(super) fn enter(&self, containment: &Containment, record: &mut ExitRecord) {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) {
            enter_rusage(&usage, record);
        }
        if !self.has_gaps {
            record.io_read_bytes = Some(self.io.read);
            record.io_write_bytes = Some(self.io.written);
        }
        if let Containment::Cgroup(cgroup) = containment {
            enter_cgroup(cgroup, record);
        }
    }
}

/// Of all that we, or those we waited for, have waited for.
fn enter_rusage(usage: &Usage, record: &mut ExitRecord) {
    let (user_us, system_us) = (micros(usage.user_time()), micros(usage.system_time()));
    record.user_cpu_ms = user_us / 1000;
    record.system_cpu_ms = system_us / 1000;
    record.cpu_us = Some(user_us.saturating_add(system_us));
    let max_rss_kib = u64::try_from(usage.max_rss()).unwrap_or(0);
    record.max_rss_bytes = max_rss_kib.saturating_mul(1024);
}

/// A cgroup also counts those that nobody waited for.
fn enter_cgroup(cgroup: &Cgroup, record: &mut ExitRecord) {
    let totals = Totals::of(cgroup);
    let cpu = totals.cpu;
    if let (Some(usage), Some(user), Some(system)) = (cpu.usage, cpu.user, cpu.system) {
        record.user_cpu_ms = user / 1000;
        record.system_cpu_ms = system / 1000;
        record.cpu_us = Some(usage);
    }
    record.throttled_us = cpu.throttled;
    record.memory_peak_bytes = totals.memory_peak;
    record.oom_kills = totals.oom_kills;
    record.oom_killed = totals.oom_kills.is_some_and(|kills| kills > 0);
    if let Some(io) = totals.io {
        record.io_read_bytes = Some(io.read_bytes);
        record.io_write_bytes = Some(io.written_bytes);
    }
}

fn micros(time: TimeVal) -> u64 {
    u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)
}
