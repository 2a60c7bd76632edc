//! What the attempt used, read when nothing of it lives any more: from its cgroup while that is there, and from each
//! child between its end and its burial, when the kernel still tells what it and all it ever waited for have read and
//! written.

use nix::errno::Errno;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::contain::Containment;
use crate::contain::account::{Io, IoStat, Totals, io_in, io_of};
use crate::wire::shim::ExitRecord;
use std::fs::File;

/// Sums of the children that have ended.
#[derive(Debug, Default)]
pub(super) struct Account {
    io: Io,
    /// The main process, and where the kernel tells of its input and output.
    main: Option<(u32, File)>,
    /// The kernel did not tell of all of them.
    has_gaps: bool,
}

impl Account {
    /// The main process is there. Of one that has ended only root may open the file; who opened it before may read it.
    pub(super) fn follow(&mut self, pid: u32) {
        let file = File::open(format!("/proc/{pid}/io")).ok();
        self.main = file.map(|file| (pid, file));
    }

    fn io_of(&mut self, pid: u32) -> Option<Io> {
        match self.main.take_if(|(main, _)| *main == pid) {
            Some((_, file)) => io_in(file),
            None => io_of(pid),
        }
    }

    /// The next child to be reaped, after a look at what it leaves behind; none where any will do.
    pub(super) fn next_child(&mut self) -> Option<u32> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, flags) {
            Ok(status) => {
                let pid = u32::try_from(status.pid()?.as_raw()).ok()?;
                match self.io_of(pid) {
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
        let totals = match containment {
            Containment::Cgroup(cgroup) => Totals::of(cgroup),
            Containment::Tree(_) => Totals::default(),
        };
        enter_totals(&totals, record);
        self.enter_io(totals.io, record);
    }

    /// Neither counts all: processes of other users may not be asked, and a cgroup learns of what is written when it
    /// is, which may be after its end, and not at all where another had written to the same file before.
    fn enter_io(&self, counted: Option<IoStat>, record: &mut ExitRecord) {
        if self.has_gaps && counted.is_none() {
            return;
        }
        let counted = counted.unwrap_or_default();
        record.io_read_bytes = Some(self.io.read.max(counted.read_bytes));
        record.io_write_bytes = Some(self.io.written.max(counted.written_bytes));
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
fn enter_totals(totals: &Totals, record: &mut ExitRecord) {
    let cpu = totals.cpu;
    if let (Some(usage), Some(user), Some(system)) = (cpu.usage, cpu.user, cpu.system) {
        record.user_cpu_ms = user / 1000;
        record.system_cpu_ms = system / 1000;
        record.cpu_us = Some(usage);
    }
    record.throttled_us = cpu.throttled;
    record.memory_charged_peak_bytes = totals.memory_charged_peak;
    let cache = totals.memory_cache.unwrap_or(0);
    let held = |most: u64| most.saturating_sub(cache);
    record.memory_peak_bytes = totals.memory_charged_peak.map(held);
    record.oom_kills = totals.oom_kills;
    record.oom_killed = totals.oom_kills.is_some_and(|kills| kills > 0);
}

fn micros(time: TimeVal) -> u64 {
    u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)
}
