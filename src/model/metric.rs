//! What is measured: every quantity of a host, a GPU or a job, with its name, its unit and how exactly it is kept.
//!
//! One table for all: what is stored, told in events, answered over the API and exposed for scrapers has its names and
//! units from here, so that they cannot come apart.

mod readings;

pub use readings::Readings;

use std::fmt;
use std::str::FromStr;

/// What a quantity is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Hundredths; of a job's CPU time 100 is one core.
    Percent,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Occurrences per second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
    /// Watts.
    Watts,
    /// Joules.
    Joules,
    /// Degrees Celsius.
    Celsius,
    /// Megahertz.
    Megahertz,
    /// A number of things.
    Count,
    /// Yes (1) or no (0).
    Flag,
}

impl Unit {
    /// As it is told beside a series.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::PerSecond => "per_second",
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Watts => "watts",
            Self::Joules => "joules",
            Self::Celsius => "celsius",
            Self::Megahertz => "megahertz",
            Self::Count => "count",
            Self::Flag => "flag",
        }
    }
}

/// How a quantity moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// Up and down.
    Gauge,
    /// Up only, from the beginning of what it is of; less than before means that it began anew.
    Counter,
}

/// Whether a quantity's past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is kept, as a series.
    Series,
    /// Its newest value is all there is: another series says the same, or it hardly ever changes.
    Newest,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, with the unit last: `power.watts`.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// How it moves.
    pub motion: Motion,
    /// Digits after the point that are kept.
    pub decimals: u8,
    /// Whether its past is kept.
    pub keep: Keep,
    /// What it is, for people.
    pub help: &'static str,
}

impl Definition {
    /// How many steps a unit has: whole numbers of them are kept.
    #[must_use]
    pub fn scale(&self) -> f64 {
        10_f64.powi(i32::from(self.decimals))
    }

    /// A value as exactly as it is kept: part of a byte is nothing that was measured.
    #[must_use]
    pub fn rounded(&self, value: f64) -> f64 {
        (value * self.scale()).round() / self.scale()
    }
}

/// A text that names no metric.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no such quantity is measured")]
pub struct NotAMetric;

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal, $unit:ident, $motion:ident, $decimals:literal, $keep:ident;)+) => {
        /// A measured quantity. What it is of (a host, one of its disks, a job) is the
        /// [`Entity`](crate::model::entity::Entity) beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Metric {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            const DEFINITIONS: &[Definition] = &[$(Definition {
                name: $name,
                unit: Unit::$unit,
                motion: Motion::$motion,
                decimals: $decimals,
                keep: Keep::$keep,
                help: concat!($($help),+),
            },)+];

            /// Its row in the table.
            #[must_use]
            pub fn definition(self) -> &'static Definition {
                // One row per variant, in the same order: both come from one list.
                &Self::DEFINITIONS[self as usize]
            }
        }
    };
}

metrics! {
    // === CPU: of a host, a core, a job ===
    /// CPU time used, of a host as a share of all its cores, of a job 100 for each whole core
    CpuPercent = "cpu.percent", Percent, Gauge, 1, Series;
    /// CPU time in user mode
    CpuUserPercent = "cpu.user.percent", Percent, Gauge, 1, Series;
    /// CPU time in the kernel
    CpuSystemPercent = "cpu.system.percent", Percent, Gauge, 1, Series;
    /// Time in which CPUs were idle because they waited for disks
    CpuIowaitPercent = "cpu.iowait.percent", Percent, Gauge, 1, Series;
    /// Time that another guest of the same machine was given
    CpuStealPercent = "cpu.steal.percent", Percent, Gauge, 1, Series;
    /// CPU time used since the beginning
    CpuSeconds = "cpu.seconds", Seconds, Counter, 2, Series;
    /// CPU time in user mode since the beginning
    CpuUserSeconds = "cpu.user.seconds", Seconds, Counter, 2, Newest;
    /// CPU time in the kernel since the beginning
    CpuSystemSeconds = "cpu.system.seconds", Seconds, Counter, 2, Newest;
    /// Idle time since the beginning
    CpuIdleSeconds = "cpu.idle.seconds", Seconds, Counter, 2, Newest;
    /// Time spent waiting for disks since the beginning
    CpuIowaitSeconds = "cpu.iowait.seconds", Seconds, Counter, 2, Newest;
    /// Time given to other guests since the beginning
    CpuStealSeconds = "cpu.steal.seconds", Seconds, Counter, 2, Newest;
    /// Time in which a limit kept it from running, as a share of the time
    CpuThrottledPercent = "cpu.throttled.percent", Percent, Gauge, 1, Series;
    /// Time in which a limit kept it from running since the beginning
    CpuThrottledSeconds = "cpu.throttled.seconds", Seconds, Counter, 2, Newest;
    /// Cores that there are
    CpuCount = "cpu.count", Count, Gauge, 0, Newest;
    /// Clock of a core
    CpuClockMegahertz = "cpu.clock.megahertz", Megahertz, Gauge, 0, Newest;
    /// Power of the CPUs
    CpuPowerWatts = "cpu.power.watts", Watts, Gauge, 1, Series;
    /// Energy of the CPUs; of a job its share by CPU time
    CpuEnergyJoules = "cpu.energy.joules", Joules, Counter, 1, Series;
    /// Runnable and waiting tasks, mean of a minute
    Load1 = "load.1", Count, Gauge, 2, Series;
    /// Runnable and waiting tasks, mean of five minutes
    Load5 = "load.5", Count, Gauge, 2, Newest;
    /// Runnable and waiting tasks, mean of a quarter of an hour
    Load15 = "load.15", Count, Gauge, 2, Newest;
    /// Changes from one task to another since the beginning
    ContextSwitches = "context_switches", Count, Counter, 0, Newest;
    /// Changes from one task to another
    ContextSwitchesPerSecond = "context_switches.per_second", PerSecond, Gauge, 0, Series;

    // === Memory ===
    /// Memory that a job holds, without the page cache
    MemoryBytes = "memory.bytes", Bytes, Gauge, 0, Series;
    /// The most memory that a job held at once
    MemoryPeakBytes = "memory.peak.bytes", Bytes, Gauge, 0, Series;
    /// The most memory that was charged to a job at once, page cache included
    MemoryChargedPeakBytes = "memory.charged.peak.bytes", Bytes, Gauge, 0, Newest;
    /// The most memory that a job may use
    MemoryLimitBytes = "memory.limit.bytes", Bytes, Gauge, 0, Newest;
    /// Memory that holds no file
    MemoryAnonymousBytes = "memory.anonymous.bytes", Bytes, Gauge, 0, Newest;
    /// Page cache of a job: parts of files, which can be given back
    MemoryFileBytes = "memory.file.bytes", Bytes, Gauge, 0, Newest;
    /// Memory in use
    MemoryUsedBytes = "memory.used.bytes", Bytes, Gauge, 0, Series;
    /// Memory that can be had without swapping
    MemoryAvailableBytes = "memory.available.bytes", Bytes, Gauge, 0, Series;
    /// Memory that holds parts of files and can be given back
    MemoryCachedBytes = "memory.cached.bytes", Bytes, Gauge, 0, Series;
    /// Memory that waits to be written to disks
    MemoryDirtyBytes = "memory.dirty.bytes", Bytes, Gauge, 0, Series;
    /// All memory
    MemoryTotalBytes = "memory.total.bytes", Bytes, Gauge, 0, Newest;
    /// Memory that the driver keeps for itself
    MemoryReservedBytes = "memory.reserved.bytes", Bytes, Gauge, 0, Newest;
    /// Memory in use, as a share of all
    MemoryPercent = "memory.percent", Percent, Gauge, 1, Newest;
    /// Swap in use
    SwapBytes = "swap.bytes", Bytes, Gauge, 0, Series;
    /// All swap
    SwapTotalBytes = "swap.total.bytes", Bytes, Gauge, 0, Newest;
    /// Read back from swap since the beginning
    SwapInBytes = "swap.in.bytes", Bytes, Counter, 0, Newest;
    /// Written to swap since the beginning
    SwapOutBytes = "swap.out.bytes", Bytes, Counter, 0, Newest;
    /// Read back from swap
    SwapInBytesPerSecond = "swap.in.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Written to swap
    SwapOutBytesPerSecond = "swap.out.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Page faults that needed a disk since the beginning
    MajorFaults = "major_faults", Count, Counter, 0, Newest;
    /// Page faults that needed a disk
    MajorFaultsPerSecond = "major_faults.per_second", PerSecond, Gauge, 1, Series;
    /// Processes killed for want of memory
    OomKills = "oom.kills", Count, Counter, 0, Series;

    // === Pressure: share of the time in which tasks stood still for want of something ===
    /// Some task waited for a CPU
    PressureCpuPercent = "pressure.cpu.some.percent", Percent, Gauge, 1, Series;
    /// Some task waited for memory
    PressureMemoryPercent = "pressure.memory.some.percent", Percent, Gauge, 1, Series;
    /// All tasks waited for memory
    PressureMemoryFullPercent = "pressure.memory.full.percent", Percent, Gauge, 1, Series;
    /// Some task waited for disks
    PressureIoPercent = "pressure.io.some.percent", Percent, Gauge, 1, Series;
    /// All tasks waited for disks
    PressureIoFullPercent = "pressure.io.full.percent", Percent, Gauge, 1, Series;

    // === Tasks ===
    /// Processes
    Processes = "processes.count", Count, Gauge, 0, Series;
    /// Processes that run or could
    ProcessesRunning = "processes.running.count", Count, Gauge, 0, Series;
    /// Processes that wait for a disk
    ProcessesBlocked = "processes.blocked.count", Count, Gauge, 0, Series;
    /// Processes and threads that were begun since the beginning
    Forks = "forks", Count, Counter, 0, Newest;
    /// Processes and threads that were begun
    ForksPerSecond = "forks.per_second", PerSecond, Gauge, 1, Series;
    /// Threads
    Threads = "threads.count", Count, Gauge, 0, Series;
    /// Files that are open
    OpenFiles = "open_files.count", Count, Gauge, 0, Series;
    /// Time since the host started
    UptimeSeconds = "uptime.seconds", Seconds, Counter, 0, Newest;

    // === Input and output ===
    /// Read from disks since the beginning
    IoReadBytes = "io.read.bytes", Bytes, Counter, 0, Series;
    /// Written to disks since the beginning
    IoWriteBytes = "io.write.bytes", Bytes, Counter, 0, Series;
    /// Read from disks
    IoReadBytesPerSecond = "io.read.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Written to disks
    IoWriteBytesPerSecond = "io.write.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Operations that read from disks since the beginning
    IoReads = "io.reads", Count, Counter, 0, Newest;
    /// Operations that wrote to disks since the beginning
    IoWrites = "io.writes", Count, Counter, 0, Newest;
    /// Operations that read
    IoReadsPerSecond = "io.reads.per_second", PerSecond, Gauge, 1, Series;
    /// Operations that wrote
    IoWritesPerSecond = "io.writes.per_second", PerSecond, Gauge, 1, Series;
    /// How long an operation that reads takes
    IoReadMilliseconds = "io.read.latency.milliseconds", Milliseconds, Gauge, 2, Series;
    /// How long an operation that writes takes
    IoWriteMilliseconds = "io.write.latency.milliseconds", Milliseconds, Gauge, 2, Series;
    /// Time in which a disk had something to do
    IoBusyPercent = "io.busy.percent", Percent, Gauge, 1, Series;
    /// Time in which a disk had something to do since the beginning
    IoBusySeconds = "io.busy.seconds", Seconds, Counter, 2, Newest;
    /// Operations that wait or are under way
    IoQueue = "io.queue.count", Count, Gauge, 1, Series;
    /// Space of a file system
    SpaceTotalBytes = "space.total.bytes", Bytes, Gauge, 0, Newest;
    /// Space in use
    SpaceUsedBytes = "space.used.bytes", Bytes, Gauge, 0, Series;
    /// Space that users without privileges can have
    SpaceAvailableBytes = "space.available.bytes", Bytes, Gauge, 0, Series;
    /// Space in use, as a share of what users can have
    SpacePercent = "space.percent", Percent, Gauge, 1, Newest;
    /// Files and directories in use, as a share of what the file system can have
    InodesPercent = "inodes.percent", Percent, Gauge, 1, Series;

    // === Network ===
    /// Received since the beginning
    NetReceiveBytes = "network.receive.bytes", Bytes, Counter, 0, Newest;
    /// Sent since the beginning
    NetTransmitBytes = "network.transmit.bytes", Bytes, Counter, 0, Newest;
    /// Received
    NetReceiveBytesPerSecond = "network.receive.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Sent
    NetTransmitBytesPerSecond = "network.transmit.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Packets received since the beginning
    NetReceivePackets = "network.receive.packets", Count, Counter, 0, Newest;
    /// Packets sent since the beginning
    NetTransmitPackets = "network.transmit.packets", Count, Counter, 0, Newest;
    /// Packets received
    NetReceivePacketsPerSecond = "network.receive.packets.per_second", PerSecond, Gauge, 0, Series;
    /// Packets sent
    NetTransmitPacketsPerSecond = "network.transmit.packets.per_second", PerSecond, Gauge, 0, Series;
    /// Packets that were damaged or thrown away, in both directions, since the beginning
    NetErrors = "network.errors.count", Count, Counter, 0, Series;

    // === GPU ===
    /// Time in which the GPU, or a job on it, computed
    UtilizationPercent = "utilization.percent", Percent, Gauge, 1, Series;
    /// Time in which its memory was read or written
    MemoryUtilizationPercent = "memory.utilization.percent", Percent, Gauge, 1, Series;
    /// Share of its multiprocessors that worked
    SmActivePercent = "sm.active.percent", Percent, Gauge, 1, Series;
    /// Use of its encoders
    EncoderPercent = "encoder.percent", Percent, Gauge, 0, Series;
    /// Use of its decoders
    DecoderPercent = "decoder.percent", Percent, Gauge, 0, Series;
    /// Power
    PowerWatts = "power.watts", Watts, Gauge, 1, Series;
    /// The most power it may draw
    PowerLimitWatts = "power.limit.watts", Watts, Gauge, 1, Newest;
    /// Energy since the driver was loaded; of a job its share since its beginning
    EnergyJoules = "energy.joules", Joules, Counter, 1, Series;
    /// Temperature
    TemperatureCelsius = "temperature.celsius", Celsius, Gauge, 1, Series;
    /// Temperature of the memory
    MemoryTemperatureCelsius = "memory.temperature.celsius", Celsius, Gauge, 1, Series;
    /// The temperature at which it slows down
    TemperatureLimitCelsius = "temperature.limit.celsius", Celsius, Gauge, 0, Newest;
    /// Speed of its fan
    FanPercent = "fan.percent", Percent, Gauge, 0, Series;
    /// Clock of what computes
    ClockMegahertz = "clock.megahertz", Megahertz, Gauge, 0, Series;
    /// Clock of its memory
    MemoryClockMegahertz = "memory.clock.megahertz", Megahertz, Gauge, 0, Series;
    /// The highest clock of what computes
    ClockLimitMegahertz = "clock.limit.megahertz", Megahertz, Gauge, 0, Newest;
    /// Its state of performance, 0 (highest) to 15
    PerformanceState = "performance.state", Count, Gauge, 0, Series;
    /// Slowed down by the limit of its power
    ThrottledByPower = "throttled.power", Flag, Gauge, 0, Series;
    /// Slowed down by heat
    ThrottledByHeat = "throttled.heat", Flag, Gauge, 0, Series;
    /// Slowed down by its hardware: power brake, or too much of heat or current
    ThrottledByHardware = "throttled.hardware", Flag, Gauge, 0, Series;
    /// Received over PCI Express
    PcieReceiveBytesPerSecond = "pcie.receive.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Sent over PCI Express
    PcieTransmitBytesPerSecond = "pcie.transmit.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Generation of the PCI Express link as it runs now
    PcieGeneration = "pcie.generation", Count, Gauge, 0, Newest;
    /// Lanes of the PCI Express link as it runs now
    PcieWidth = "pcie.width", Count, Gauge, 0, Newest;
    /// Packets sent again over PCI Express
    PcieReplays = "pcie.replays", Count, Counter, 0, Series;
    /// Received over NVLink
    NvlinkReceiveBytesPerSecond = "nvlink.receive.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Sent over NVLink
    NvlinkTransmitBytesPerSecond = "nvlink.transmit.bytes_per_second", BytesPerSecond, Gauge, 0, Series;
    /// Errors of memory that were corrected, since the driver was loaded
    EccCorrected = "ecc.corrected.count", Count, Counter, 0, Series;
    /// Errors of memory that could not be corrected, since the driver was loaded
    EccUncorrected = "ecc.uncorrected.count", Count, Counter, 0, Series;
    /// Rows of memory replaced after errors that were corrected
    RowsRemappedCorrected = "rows.remapped.corrected.count", Count, Counter, 0, Newest;
    /// Rows of memory replaced after errors that could not be corrected
    RowsRemappedUncorrected = "rows.remapped.uncorrected.count", Count, Counter, 0, Newest;
    /// A row of memory waits to be replaced
    RowRemapPending = "rows.remap.pending", Flag, Gauge, 0, Series;
    /// A row of memory could not be replaced
    RowRemapFailed = "rows.remap.failed", Flag, Gauge, 0, Series;
    /// Pages of memory that are used no more
    PagesRetired = "pages.retired.count", Count, Counter, 0, Newest;
    /// Errors that the driver told of, since this daemon looks
    Xids = "xids.count", Count, Counter, 0, Series;

    // === What jobs use of GPUs ===
    /// GPUs in use
    Gpus = "gpus.count", Count, Gauge, 0, Series;
    /// Memory of GPUs in use
    GpuMemoryBytes = "gpu.memory.bytes", Bytes, Gauge, 0, Series;
    /// Time of GPUs that were computed on, 100 for each whole GPU
    GpuPercent = "gpu.percent", Percent, Gauge, 1, Series;
    /// Time in which GPUs were held, of all together
    GpuSeconds = "gpu.seconds", Seconds, Counter, 1, Series;
    /// Time in which GPUs computed, of all together
    GpuBusySeconds = "gpu.busy.seconds", Seconds, Counter, 1, Series;
    /// Time in which GPUs were held and what was computed on them was known; absent while that is all of it
    GpuKnownSeconds = "gpu.known.seconds", Seconds, Counter, 1, Series;
}

impl Metric {
    /// Its name, with the unit last: `power.watts`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// Whether its past is kept.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.definition().keep == Keep::Series
    }

    /// Its name as a field of a JSON object: `power_watts`.
    #[must_use]
    pub fn field(self) -> String {
        self.name().replace('.', "_")
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = NotAMetric;

    fn from_str(text: &str) -> Result<Self, NotAMetric> {
        let mut all = Self::ALL.iter().copied();
        all.find(|metric| metric.name() == text).ok_or(NotAMetric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_told_apart_and_read_back() {
        let names: BTreeSet<_> = Metric::ALL.iter().map(|it| it.name()).collect();
        let fields: BTreeSet<_> = Metric::ALL.iter().map(|it| it.field()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        assert_eq!(fields.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse(), Ok(*metric));
        }
        assert_eq!("cpu".parse::<Metric>(), Err(NotAMetric));
    }

    #[test]
    fn names_end_with_their_unit() {
        for metric in Metric::ALL {
            let definition = metric.definition();
            let is_plain = matches!(definition.unit, Unit::Count | Unit::Flag);
            let ends = definition.name.ends_with(definition.unit.as_str());
            assert!(is_plain || ends, "{metric}");
            assert!(!definition.help.ends_with('.'), "{metric}");
        }
    }
}
