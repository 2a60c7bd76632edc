//! The processes of an attempt, added up: for hosts where no cgroup tells, and trees of processes without one.
//!
//! Nothing that a process used is lost when it ends: the kernel adds it to the parent that waits for it. What ends up
//! with the shim, which adopts orphans, is in the shim's own sums (CPU time), or was last seen here (input and output).

use std::collections::BTreeMap;
use std::path::Path;

use crate::contain::account::Io;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::files::Source;
use crate::sampling::processes::Process;
use crate::sampling::processes::stat::Stat;
use crate::sampling::rates::Meter;

use super::shares::{Known, Shares};
use super::{Needs, Shared};

/// Processes whose open files are counted.
const MOST_COUNTED: usize = 256;

/// One process of the attempt.
#[derive(Debug)]
struct Member {
    start: u64,
    cpu_ns: u64,
    stat: Stat,
    io: Io,
    files: Option<Box<MemberFiles>>,
    is_seen: bool,
}

#[derive(Debug)]
struct MemberFiles {
    stat: Source,
    io: Source,
}

/// All processes of an attempt.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<u32, Member>,
    /// The shim, for what it has waited for.
    shim: Option<Member>,
    /// Input and output of those that ended as the shim's children.
    ended_io: Io,
    /// What was told before: a sum never falls because a process ended between two looks.
    told_ns: u64,
    told_io: Io,
    cpu: Meter,
    user: Meter,
    system: Meter,
    read: Meter,
    written: Meter,
}

impl Members {
    /// Follows who came, went and moved, and reads the files of those that did. Says how many there are.
    pub(super) fn follow<'a>(
        &mut self,
        own: impl Iterator<Item = &'a Process>,
        needs: Needs,
        shared: &mut Shared,
    ) -> usize {
        let mut count = 0;
        for process in own {
            count += 1;
            let known = self.all.get(&process.pid);
            let is_new = known.is_none_or(|known| known.start != process.start);
            if is_new {
                self.end(process.pid);
                self.all.insert(process.pid, Member::new(process.start));
            }
            let Some(member) = self.all.get_mut(&process.pid) else {
                continue;
            };
            member.is_seen = true;
            // One that has not run has changed nothing.
            if is_new || member.cpu_ns != process.cpu_ns {
                member.cpu_ns = process.cpu_ns;
                member.read(process.pid, needs, shared);
            }
        }
        let gone = self.all.iter().filter(|(_, member)| !member.is_seen);
        let gone: Vec<u32> = gone.map(|(pid, _)| *pid).collect();
        for pid in gone {
            self.end(pid);
        }
        for member in self.all.values_mut() {
            member.is_seen = false;
        }
        count
    }

    /// One has ended. A parent among the others has waited for it, and its sums are in that one's.
    fn end(&mut self, pid: u32) {
        let Some(member) = self.all.remove(&pid) else {
            return;
        };
        let parent = self.all.get(&member.stat.parent);
        if !parent.is_some_and(|parent| parent.is_seen) {
            self.ended_io = self.ended_io.plus(member.io);
        }
    }

    /// Tells what is needed of all together.
    pub(super) fn tell(
        &mut self,
        at: Stamp,
        needs: Needs,
        shim: Option<&Process>,
        shared: &mut Shared,
        to: &mut Readings,
    ) {
        if needs.cpu {
            self.tell_cpu(at, shim, shared, to);
        }
        if needs.memory {
            self.tell_memory(at, &mut shared.shares, to);
        }
        if needs.io {
            self.tell_io(at, to);
        }
        if needs.threads {
            let threads: u64 = self.all.values().map(|it| it.stat.threads).sum();
            to.set(Metric::Threads, threads as f64);
        }
    }

    fn tell_cpu(
        &mut self,
        at: Stamp,
        shim: Option<&Process>,
        shared: &mut Shared,
        to: &mut Readings,
    ) {
        let ended = self.ended_children(shim, shared);
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let mut total_ns = ended_ns(&ended, tick_ns);
        let mut user = ended.children_user;
        let mut system = ended.children_system;
        for member in self.all.values() {
            let stat = &member.stat;
            total_ns = total_ns
                .saturating_add(member.cpu_ns)
                .saturating_add(ended_ns(stat, tick_ns));
            user = user.saturating_add(stat.user.saturating_add(stat.children_user));
            system = system.saturating_add(stat.system.saturating_add(stat.children_system));
        }
        self.told_ns = self.told_ns.max(total_ns);
        let seconds = |ticks: u64| ticks as f64 * tick_ns as f64 / 1e9;
        to.set(Metric::CpuSeconds, self.told_ns as f64 / 1e9);
        to.set(Metric::CpuUserSeconds, seconds(user));
        to.set(Metric::CpuSystemSeconds, seconds(system));
        let share = self.cpu.per_second(self.told_ns, at);
        to.set_if(Metric::CpuPercent, share.map(|ns| ns / 1e7));
        let percent = |ticks: Option<f64>| ticks.map(|ticks| ticks * tick_ns as f64 / 1e7);
        to.set_if(
            Metric::CpuUserPercent,
            percent(self.user.per_second(user, at)),
        );
        let system = self.system.per_second(system, at);
        to.set_if(Metric::CpuSystemPercent, percent(system));
    }

    /// What the shim has waited for, read again when it has run.
    fn ended_children(&mut self, shim: Option<&Process>, shared: &mut Shared) -> Stat {
        if let Some(shim) = shim {
            let known = self.shim.take_if(|known| known.start == shim.start);
            let mut known = known.unwrap_or_else(|| Member::new(shim.start));
            if known.cpu_ns != shim.cpu_ns {
                known.cpu_ns = shim.cpu_ns;
                let needs = Needs {
                    cpu: true,
                    ..Needs::default()
                };
                known.read(shim.pid, needs, shared);
            }
            self.shim = Some(known);
        }
        let shim = self.shim.as_ref();
        shim.map_or_else(Stat::default, |known| known.stat)
    }

    fn tell_memory(&mut self, at: Stamp, shares: &mut Shares, to: &mut Readings) {
        let page_bytes = rustix::param::page_size() as f64;
        let resident = |member: &Member| member.stat.resident_pages as f64 * page_bytes;
        let (mut memory, mut swap) = (0.0, 0.0);
        for (pid, member) in &self.all {
            let bytes = resident(member);
            // The kernel's own threads and processes that have ended have none.
            if bytes <= 0.0 {
                continue;
            }
            memory += match shares.of((*pid, member.start), bytes, at) {
                Known::Told(share) => {
                    swap += share.swap;
                    share.own(bytes)
                }
                Known::Untold => bytes,
                // Whoever was just forked shares all with its parent.
                Known::Nothing => {
                    let parent = self.all.get(&member.stat.parent);
                    (bytes - parent.map_or(0.0, resident)).max(0.0)
                }
            };
        }
        to.set(Metric::MemoryBytes, memory);
        to.set(Metric::SwapBytes, swap);
    }

    fn tell_io(&mut self, at: Stamp, to: &mut Readings) {
        let all = self.all.values().map(|member| member.io);
        let now = all.fold(self.ended_io, Io::plus);
        self.told_io = Io {
            read: self.told_io.read.max(now.read),
            written: self.told_io.written.max(now.written),
        };
        let Io { read, written } = self.told_io;
        to.set(Metric::IoReadBytes, read as f64);
        to.set(Metric::IoWriteBytes, written as f64);
        let rate = self.read.per_second(read, at);
        to.set_if(Metric::IoReadBytesPerSecond, rate);
        let rate = self.written.per_second(written, at);
        to.set_if(Metric::IoWriteBytesPerSecond, rate);
    }

    /// Their ids.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.all.keys().copied()
    }

    /// How many files they have open, of those that tell; absent where none does.
    pub(super) fn open_files(&self, proc: &Path) -> Option<f64> {
        let counts = self.pids().take(MOST_COUNTED);
        let mut counts = counts
            .filter_map(|pid| open_files(&proc.join(format!("{pid}/fd"))))
            .peekable();
        counts.peek()?;
        Some(counts.sum::<u64>() as f64)
    }
}

/// CPU time of children that were waited for. The kernel tells whole ticks only and cuts off the rest, which is half a
/// tick on average.
fn ended_ns(stat: &Stat, tick_ns: u64) -> u64 {
    let rounded = |ticks: u64| match ticks {
        0 => 0,
        ticks => ticks.saturating_mul(tick_ns).saturating_add(tick_ns / 2),
    };
    rounded(stat.children_user).saturating_add(rounded(stat.children_system))
}

/// Newer kernels tell the number as the size of the directory.
fn open_files(fd: &Path) -> Option<u64> {
    let size = rustix::fs::stat(fd).ok()?.st_size;
    match u64::try_from(size) {
        Ok(count) if count > 0 => Some(count),
        _ => Some(std::fs::read_dir(fd).ok()?.count() as u64),
    }
}

impl Member {
    fn new(start: u64) -> Self {
        Self {
            start,
            cpu_ns: 0,
            stat: Stat::default(),
            io: Io::default(),
            files: None,
            is_seen: false,
        }
    }

    fn read(&mut self, pid: u32, needs: Needs, shared: &mut Shared) {
        if needs == Needs::default() {
            return;
        }
        let files = self.files.get_or_insert_with(|| {
            let dir = shared.proc.join(pid.to_string());
            Box::new(MemberFiles {
                stat: Source::new(dir.join("stat")),
                io: Source::new(dir.join("io")),
            })
        });
        if let Ok(Some(stat)) = shared.files.read(&mut files.stat).map(Stat::parse)
            && stat.start == self.start
        {
            self.stat = stat;
        }
        if needs.io
            && let Ok(Some(io)) = shared.files.read(&mut files.io).map(Io::parse)
        {
            self.io = io;
        }
    }
}
