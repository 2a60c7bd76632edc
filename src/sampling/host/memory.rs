//! Memory and swap of the host, and what it costs to be short of it.

use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::fields::{lines, pair};
use crate::sampling::files::{Files, Roots, Source};
use crate::sampling::rates::Meter;

use super::Parts;

/// `/proc/meminfo`, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    /// All.
    pub total: Option<u64>,
    /// Not in use.
    pub free: Option<u64>,
    /// To be had without swapping.
    pub available: Option<u64>,
    /// Parts of devices.
    pub buffers: u64,
    /// Parts of files, shared memory among them.
    pub cached: u64,
    /// Shared memory: it is no file that could be read again.
    pub shared: u64,
    /// What the kernel keeps for itself and can give back.
    pub reclaimable: u64,
    /// Waiting to be written to disks.
    pub dirty: Option<u64>,
    /// All swap.
    pub swap_total: Option<u64>,
    /// Swap not in use.
    pub swap_free: Option<u64>,
}

impl MemInfo {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        for (key, kib) in lines(text).filter_map(pair) {
            match key {
                b"MemTotal:" => info.total = Some(kib),
                b"MemFree:" => info.free = Some(kib),
                b"MemAvailable:" => info.available = Some(kib),
                b"Buffers:" => info.buffers = kib,
                b"Cached:" => info.cached = kib,
                b"Shmem:" => info.shared = kib,
                b"SReclaimable:" => info.reclaimable = kib,
                b"Dirty:" => info.dirty = Some(kib),
                b"SwapTotal:" => info.swap_total = Some(kib),
                b"SwapFree:" => info.swap_free = Some(kib),
                _ => {}
            }
        }
        info
    }

    fn tell(&self, to: &mut Readings) {
        let mut set = |metric, kib: Option<u64>| {
            to.set_if(metric, kib.map(|kib| kib as f64 * 1024.0));
        };
        let cached = self.buffers.saturating_add(self.cached);
        let cached = cached.saturating_add(self.reclaimable);
        set(Metric::MemoryTotalBytes, self.total);
        set(
            Metric::MemoryCachedBytes,
            self.total.map(|_| cached.saturating_sub(self.shared)),
        );
        set(Metric::MemoryDirtyBytes, self.dirty);
        set(Metric::SwapTotalBytes, self.swap_total);
        let swap = self.swap_total.zip(self.swap_free);
        set(
            Metric::SwapBytes,
            swap.map(|(total, free)| total.saturating_sub(free)),
        );
        // Kernels before 3.14 do not say what is available.
        let available = self.available.or_else(|| {
            let free = self.free?;
            Some(free.saturating_add(cached.saturating_sub(self.shared)))
        });
        set(Metric::MemoryAvailableBytes, available);
        let used = self
            .total
            .zip(available)
            .map(|(total, available)| total.saturating_sub(available));
        set(Metric::MemoryUsedBytes, used);
        if let Some((used, total)) = used.zip(self.total.filter(|total| *total > 0)) {
            to.set(Metric::MemoryPercent, used as f64 * 100.0 / total as f64);
        }
    }
}

/// `/proc/vmstat`, as much as is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmStat {
    /// Pages read back from swap.
    pub swapped_in: Option<u64>,
    /// Pages written to swap.
    pub swapped_out: Option<u64>,
    /// Page faults that needed a disk.
    pub major_faults: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
}

impl VmStat {
    /// Reads the file.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut stat = Self::default();
        for line in lines(text) {
            // Of almost two hundred lines most need no more than a look at their first letter.
            if !matches!(line[0], b'p' | b'o') {
                continue;
            }
            let Some((key, value)) = pair(line) else {
                continue;
            };
            match key {
                b"pswpin" => stat.swapped_in = Some(value),
                b"pswpout" => stat.swapped_out = Some(value),
                b"pgmajfault" => stat.major_faults = Some(value),
                b"oom_kill" => stat.oom_kills = Some(value),
                _ => {}
            }
        }
        stat
    }
}

/// Reads both.
#[derive(Debug)]
pub(super) struct Memory {
    info: Source,
    stat: Source,
    swapped_in: Meter,
    swapped_out: Meter,
    major_faults: Meter,
    page_bytes: f64,
}

impl Memory {
    pub(super) fn new(roots: &Roots) -> Self {
        Self {
            info: roots.proc("meminfo"),
            stat: roots.proc("vmstat"),
            swapped_in: Meter::default(),
            swapped_out: Meter::default(),
            major_faults: Meter::default(),
            page_bytes: rustix::param::page_size() as f64,
        }
    }

    pub(super) fn read(&mut self, files: &mut Files, at: Stamp, to: &mut Parts) {
        if let Ok(text) = files.read(&mut self.info) {
            MemInfo::parse(text).tell(&mut to.host);
        }
        let stat = files.read(&mut self.stat);
        let stat = stat.map_or_else(|_| VmStat::default(), VmStat::parse);
        let to = &mut to.host;
        let number = |count: Option<u64>| count.map(|count| count as f64);
        let bytes = |pages: Option<f64>| pages.map(|pages| pages * self.page_bytes);
        to.set_if(Metric::SwapInBytes, bytes(number(stat.swapped_in)));
        to.set_if(Metric::SwapOutBytes, bytes(number(stat.swapped_out)));
        to.set_if(Metric::MajorFaults, number(stat.major_faults));
        to.set_if(Metric::OomKills, number(stat.oom_kills));
        let read = self.swapped_in.per_second_of(stat.swapped_in, at);
        to.set_if(Metric::SwapInBytesPerSecond, bytes(read));
        let written = self.swapped_out.per_second_of(stat.swapped_out, at);
        to.set_if(Metric::SwapOutBytesPerSecond, bytes(written));
        let faults = self.major_faults.per_second_of(stat.major_faults, at);
        to.set_if(Metric::MajorFaultsPerSecond, faults);
    }
}
