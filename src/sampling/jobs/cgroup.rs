//! The files of an attempt's cgroup, as many as its controllers give.
//!
//! As long as the kernel has counted no CPU time, nothing in it ran; then only those files are read again that had
//! changed at the last look, because memory is also taken back, and pages are also written, when nobody runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::contain::account::{CpuStat, IoStat, MemoryStat, find, is_lowest, sum_io};
use crate::contain::fields::sole;
use crate::model::metric::{Metric, Readings};
use crate::model::peak::{Charge, Peak};
use crate::model::time::Stamp;
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::host::pressure::{Gauge, Stalls};
use crate::sampling::rates::Meter;

/// Takes a value away again.
const NONE: f64 = f64::NAN;

/// Reads one cgroup.
#[derive(Debug)]
pub struct Cgroup {
    cpu: Source,
    usage: Option<u64>,
    cpu_meters: [Meter; 4],
    memory: Memory,
    io: Io,
    tasks: Source,
    pressures: [Pressure; 3],
    /// What was told last; what is not read again still holds.
    told: Readings,
}

#[derive(Debug)]
struct Memory {
    current: Source,
    peak: Source,
    swap: Source,
    stat: Source,
    events: Source,
    limit: Source,
    most: Peak,
    last: Option<u64>,
    is_moving: bool,
}

#[derive(Debug)]
struct Io {
    source: Source,
    meters: [Meter; 4],
    last: IoStat,
    is_moving: bool,
    block: PathBuf,
    counted: HashMap<Vec<u8>, bool>,
}

#[derive(Debug)]
struct Pressure {
    gauge: Gauge,
    last: Stalls,
    is_moving: bool,
}

impl Cgroup {
    /// The cgroup at this directory, of an attempt that began a moment ago or `is_adopted`.
    #[must_use]
    pub fn new(roots: &Roots, dir: &Path, is_adopted: bool) -> Self {
        let file = |name: &str| Source::new(dir.join(name));
        let pressure = |gauge| Pressure {
            gauge,
            last: Stalls::default(),
            is_moving: true,
        };
        Self {
            cpu: file("cpu.stat"),
            usage: None,
            cpu_meters: Default::default(),
            memory: Memory {
                current: file("memory.current"),
                peak: file("memory.peak"),
                swap: file("memory.swap.current"),
                stat: file("memory.stat"),
                events: file("memory.events"),
                limit: file("memory.max"),
                most: is_adopted.then(Peak::of_adopted).unwrap_or_default(),
                last: None,
                is_moving: true,
            },
            io: Io {
                source: file("io.stat"),
                meters: Default::default(),
                last: IoStat::default(),
                is_moving: true,
                block: roots.sys.join("dev/block"),
                counted: HashMap::new(),
            },
            tasks: file("pids.current"),
            pressures: [
                pressure(Gauge::cpu(file("cpu.pressure"))),
                pressure(Gauge::memory(file("memory.pressure"))),
                pressure(Gauge::io(file("io.pressure"))),
            ],
            told: Readings::default(),
        }
    }

    /// Reads it; `is_rare` is the turn of what changes little. Nothing is told of one that is gone.
    pub fn read(&mut self, files: &mut Files, at: Stamp, is_rare: bool) -> Option<&Readings> {
        let stat = CpuStat::parse(files.read(&mut self.cpu).ok()?);
        let has_moved = self.usage != stat.usage || stat.usage.is_none();
        self.usage = stat.usage;
        self.tell_cpu(&stat, at);
        let is_read = has_moved || is_rare;
        self.memory.read(files, is_read, is_rare, &mut self.told);
        self.io.read(files, at, is_read, &mut self.told);
        if is_read {
            let tasks = files.read(&mut self.tasks).ok().and_then(sole);
            let tasks = tasks.map_or(NONE, |tasks| tasks as f64);
            self.told.set(Metric::Threads, tasks);
        }
        for pressure in &mut self.pressures {
            pressure.read(files, at, is_read, &mut self.told);
        }
        Some(&self.told)
    }

    fn tell_cpu(&mut self, stat: &CpuStat, at: Stamp) {
        let CpuStat {
            usage,
            user,
            system,
            throttled,
        } = *stat;
        let values = [
            (Metric::CpuSeconds, Metric::CpuPercent, usage),
            (Metric::CpuUserSeconds, Metric::CpuUserPercent, user),
            (Metric::CpuSystemSeconds, Metric::CpuSystemPercent, system),
            (
                Metric::CpuThrottledSeconds,
                Metric::CpuThrottledPercent,
                throttled,
            ),
        ];
        for ((total, share, us), meter) in values.into_iter().zip(&mut self.cpu_meters) {
            let seconds = us.map_or(NONE, |us| us as f64 / 1e6);
            self.told.set(total, seconds);
            let percent = meter.per_second_of(us, at).map_or(NONE, |us| us / 1e4);
            // Each CPU is throttled by itself, and all of their times are added up.
            let is_throttling = share == Metric::CpuThrottledPercent;
            let most = if is_throttling { 100.0 } else { f64::MAX };
            // Of not-a-number and a bound `min` would make the bound.
            let percent = if percent > most { most } else { percent };
            self.told.set(share, percent);
        }
    }
}

impl Memory {
    fn read(&mut self, files: &mut Files, is_read: bool, is_rare: bool, to: &mut Readings) {
        if !is_read && !self.is_moving {
            return;
        }
        let mut value = |source: &mut Source| files.read(source).ok().and_then(sole);
        let current = value(&mut self.current);
        self.is_moving = current.is_some() && current != self.last;
        self.last = current;
        let told = |value: Option<u64>| value.map_or(NONE, |bytes| bytes as f64);
        let Some(now) = current else {
            // Without its controller there are none of the others either.
            to.set(Metric::MemoryBytes, NONE);
            return;
        };
        let most = value(&mut self.peak);
        to.set(Metric::MemoryChargedPeakBytes, told(most));
        to.set(Metric::SwapBytes, told(value(&mut self.swap)));
        let mut charge = Charge {
            now,
            most,
            ..Charge::default()
        };
        if let Ok(text) = files.read(&mut self.stat) {
            let stat = MemoryStat::parse(text);
            charge.cache = stat.cache;
            to.set(Metric::MemoryAnonymousBytes, told(stat.anonymous));
            to.set(Metric::MemoryFileBytes, charge.cache as f64);
        }
        to.set(Metric::MemoryBytes, charge.held() as f64);
        let most = self.most.look(charge);
        to.set(Metric::MemoryPeakBytes, most as f64);
        if let Ok(text) = files.read(&mut self.events) {
            let kills = find(text, b"oom_kill");
            to.set_if(Metric::OomKills, kills.map(|kills| kills as f64));
        }
        if !is_rare {
            return;
        }
        // No limit is a word, and no number.
        let limit = files.read(&mut self.limit).ok().and_then(sole);
        to.set(Metric::MemoryLimitBytes, told(limit));
    }
}

impl Io {
    fn read(&mut self, files: &mut Files, at: Stamp, is_read: bool, to: &mut Readings) {
        if !is_read && !self.is_moving {
            if to.get(Metric::IoReadBytes).is_some() {
                to.set(Metric::IoReadBytesPerSecond, 0.0);
                to.set(Metric::IoWriteBytesPerSecond, 0.0);
                to.set(Metric::IoReadsPerSecond, 0.0);
                to.set(Metric::IoWritesPerSecond, 0.0);
            }
            return;
        }
        let Self { block, counted, .. } = self;
        let sum = files.read(&mut self.source).ok().map(|text| {
            sum_io(text, |device| match counted.get(device) {
                Some(is_counted) => *is_counted,
                None => {
                    let is_counted = is_lowest(block, device);
                    counted.insert(device.to_vec(), is_counted);
                    is_counted
                }
            })
        });
        let now = sum.unwrap_or_default();
        self.is_moving = sum.is_some() && now != self.last;
        self.last = now;
        let values = [
            (
                Metric::IoReadBytes,
                Metric::IoReadBytesPerSecond,
                now.read_bytes,
            ),
            (
                Metric::IoWriteBytes,
                Metric::IoWriteBytesPerSecond,
                now.written_bytes,
            ),
            (Metric::IoReads, Metric::IoReadsPerSecond, now.reads),
            (Metric::IoWrites, Metric::IoWritesPerSecond, now.writes),
        ];
        for ((total, rate, value), meter) in values.into_iter().zip(&mut self.meters) {
            let value = sum.map(|_| value);
            to.set(total, value.map_or(NONE, |value| value as f64));
            to.set(rate, meter.per_second_of(value, at).unwrap_or(NONE));
        }
    }
}

impl Pressure {
    fn read(&mut self, files: &mut Files, at: Stamp, is_read: bool, to: &mut Readings) {
        if !is_read && !self.is_moving {
            self.gauge.still(to);
            return;
        }
        self.gauge.clear(to);
        let now = self.gauge.read(files, at, to).unwrap_or_default();
        self.is_moving = now != self.last;
        self.last = now;
    }
}
