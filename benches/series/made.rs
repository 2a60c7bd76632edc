//! A month that was never measured: a host with 16 cores and 8 GPUs on which 100 jobs ran, some at a time.
//!
//! Values move as real ones do: some stand still, some walk, some count up, some are noise of one decimal.

use std::sync::Arc;

use stoked::model::entity::Entity;
use stoked::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid, ShareQuality};
use stoked::model::id::{AttemptId, JobId};
use stoked::model::metric::{Metric, Motion, Readings, Unit};
use stoked::model::sample::{GpuShare, GpuState, JobSample, Pass};
use stoked::model::time::Stamp;

use crate::trace::pass;

pub(crate) const GPUS: usize = 8;
pub(crate) const JOBS: u64 = 100;
const CORES: u32 = 16;
/// How many jobs run at once, at most.
const AT_ONCE: u64 = 6;

const OF_HOST: &[Metric] = &[
    Metric::CpuPercent,
    Metric::CpuUserPercent,
    Metric::CpuSystemPercent,
    Metric::CpuIowaitPercent,
    Metric::CpuSeconds,
    Metric::Load1,
    Metric::ContextSwitchesPerSecond,
    Metric::MemoryUsedBytes,
    Metric::MemoryAvailableBytes,
    Metric::MemoryCachedBytes,
    Metric::MemoryDirtyBytes,
    Metric::SwapBytes,
    Metric::MajorFaultsPerSecond,
    Metric::OomKills,
    Metric::PressureCpuPercent,
    Metric::PressureMemoryPercent,
    Metric::PressureIoPercent,
    Metric::Processes,
    Metric::ProcessesRunning,
    Metric::ForksPerSecond,
    Metric::OpenFiles,
];
const OF_CORE: &[Metric] = &[Metric::CpuPercent];
const OF_DISK: &[Metric] = &[
    Metric::IoReadBytesPerSecond,
    Metric::IoWriteBytesPerSecond,
    Metric::IoReadsPerSecond,
    Metric::IoWritesPerSecond,
    Metric::IoReadMilliseconds,
    Metric::IoWriteMilliseconds,
    Metric::IoBusyPercent,
];
const OF_GPU: &[Metric] = &[
    Metric::UtilizationPercent,
    Metric::MemoryUtilizationPercent,
    Metric::MemoryUsedBytes,
    Metric::PowerWatts,
    Metric::EnergyJoules,
    Metric::TemperatureCelsius,
    Metric::MemoryTemperatureCelsius,
    Metric::FanPercent,
    Metric::ClockMegahertz,
    Metric::MemoryClockMegahertz,
    Metric::PerformanceState,
    Metric::ThrottledByPower,
    Metric::ThrottledByHeat,
    Metric::PcieReceiveBytesPerSecond,
    Metric::PcieTransmitBytesPerSecond,
    Metric::EccCorrected,
    Metric::EccUncorrected,
    Metric::Xids,
];
const OF_JOB: &[Metric] = &[
    Metric::CpuPercent,
    Metric::CpuSeconds,
    Metric::MemoryBytes,
    Metric::MemoryPeakBytes,
    Metric::Processes,
    Metric::Threads,
    Metric::OpenFiles,
    Metric::IoReadBytes,
    Metric::IoWriteBytes,
    Metric::IoReadBytesPerSecond,
    Metric::IoWriteBytesPerSecond,
    Metric::Gpus,
    Metric::GpuMemoryBytes,
    Metric::GpuPercent,
    Metric::GpuSeconds,
    Metric::GpuBusySeconds,
    Metric::EnergyJoules,
];
const OF_SHARE: &[Metric] = &[
    Metric::UtilizationPercent,
    Metric::MemoryBytes,
    Metric::EnergyJoules,
];

/// Numbers that are the same in every run.
pub(crate) struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// From 0 up to 1.
    fn part(&mut self) -> f64 {
        self.next() as f64 / (1_u64 << 31) as f64
    }
}

/// One thing whose values move.
struct Mover {
    metrics: &'static [Metric],
    values: Vec<f64>,
}

impl Mover {
    fn new(metrics: &'static [Metric], chance: &mut Chance) -> Self {
        let values = metrics
            .iter()
            .map(|metric| middle(*metric) * (0.5 + chance.part()));
        Self {
            metrics,
            values: values.map(f64::round).collect(),
        }
    }

    fn step(&mut self, seconds: f64, chance: &mut Chance) -> Readings {
        for (metric, value) in self.metrics.iter().zip(&mut self.values) {
            move_on(*metric, value, seconds, chance);
        }
        self.metrics
            .iter()
            .copied()
            .zip(self.values.iter().copied())
            .collect()
    }
}

/// What a metric is about.
fn middle(metric: Metric) -> f64 {
    match metric.definition().unit {
        Unit::Percent => 50.0,
        Unit::Bytes => 8e9,
        Unit::BytesPerSecond => 2e6,
        Unit::Watts => 300.0,
        Unit::Celsius => 60.0,
        Unit::Megahertz => 1_700.0,
        Unit::PerSecond | Unit::Count => 40.0,
        Unit::Seconds | Unit::Joules | Unit::Milliseconds => 5.0,
        Unit::Flag => 0.0,
    }
}

fn move_on(metric: Metric, value: &mut f64, seconds: f64, chance: &mut Chance) {
    let definition = metric.definition();
    let middle = middle(metric);
    let still = chance.part();
    match (definition.motion, definition.unit) {
        (Motion::Counter, Unit::Seconds | Unit::Joules) => {
            *value += middle / 10.0 * seconds * chance.part();
        }
        (Motion::Counter, Unit::Bytes) if still < 0.3 => {
            *value += (chance.part() * 500.0).round() * 4_096.0;
        }
        (Motion::Counter, _) => {}
        (Motion::Gauge, Unit::Flag) => {
            if still < 0.001 {
                *value = 1.0 - *value;
            }
        }
        (Motion::Gauge, Unit::Bytes) => {
            if still < 0.4 {
                *value += ((chance.part() - 0.5) * 200.0).round() * 4_096.0;
                *value = value.clamp(0.0, 8e10);
            }
        }
        (Motion::Gauge, Unit::Count | Unit::Megahertz | Unit::Celsius) => {
            if still < 0.2 {
                *value = (*value + (chance.part() - 0.5) * middle / 10.0)
                    .clamp(0.0, middle * 2.0)
                    .round();
            }
        }
        (Motion::Gauge, Unit::BytesPerSecond) if still < 0.5 => *value = 0.0,
        (Motion::Gauge, _) => {
            let wanted = middle * (0.6 + 0.8 * chance.part());
            *value += (wanted - *value) * 0.3;
        }
    }
}

/// A job that runs from one time to another, on one GPU.
struct Job {
    attempt: AttemptId,
    ends_at: u64,
    gpu: usize,
    own: Mover,
    share: Mover,
}

/// A host, pass by pass.
pub(crate) struct World {
    chance: Chance,
    parts: Vec<(Entity, Mover)>,
    gpus: Vec<Mover>,
    running: Vec<Job>,
    begun: u64,
    /// Passes of one job, such that all of them have run when the time is over.
    passes_per_job: u64,
    number: u64,
    step_ms: i64,
}

pub(crate) fn gpu(index: usize) -> GpuUuid {
    GpuUuid(format!("GPU-5ca1ab1e-0000-4000-8000-00000000000{index}").into())
}

pub(crate) fn job(number: u64) -> AttemptId {
    AttemptId {
        job: JobId(number),
        attempt: 1,
    }
}

impl World {
    /// One that is looked at so many times, so far apart.
    pub(crate) fn new(passes: u64, step_ms: i64) -> Self {
        let mut chance = Chance(42);
        let mut parts = vec![(Entity::Host, Mover::new(OF_HOST, &mut chance))];
        for core in 0..CORES {
            parts.push((Entity::Core(core), Mover::new(OF_CORE, &mut chance)));
        }
        for disk in ["nvme0n1", "nvme1n1"] {
            parts.push((Entity::Disk(disk.into()), Mover::new(OF_DISK, &mut chance)));
        }
        let gpus = (0..GPUS).map(|_| Mover::new(OF_GPU, &mut chance)).collect();
        Self {
            parts,
            gpus,
            running: Vec::new(),
            begun: 0,
            passes_per_job: passes * AT_ONCE / JOBS,
            number: 0,
            step_ms,
            chance,
        }
    }

    /// How many series there are now.
    pub(crate) fn series(&self) -> usize {
        let parts: usize = self
            .parts
            .iter()
            .map(|(_, mover)| mover.metrics.len())
            .sum();
        let each = OF_JOB.len() + OF_SHARE.len();
        parts + self.gpus.len() * OF_GPU.len() + self.running.len() * each
    }

    /// The next pass.
    pub(crate) fn next(&mut self, at_ms: i64) -> Pass {
        self.begin_and_end();
        self.number += 1;
        let seconds = self.step_ms as f64 / 1_000.0;
        let chance = &mut self.chance;
        let parts = self.parts.iter_mut();
        let parts = parts.map(|(entity, mover)| (entity.clone(), mover.step(seconds, chance)));
        let mut pass = pass(at_ms, parts.collect());
        for (index, mover) in self.gpus.iter_mut().enumerate() {
            let readings = mover.step(seconds, chance);
            pass.gpus.push(Arc::new(state(pass.at, index, readings)));
        }
        for job in &mut self.running {
            let share = GpuShare {
                uuid: gpu(job.gpu),
                index: u32::try_from(job.gpu).unwrap_or(0),
                quality: ShareQuality::Measured,
                readings: job.share.step(seconds, chance),
                pids: Vec::new(),
            };
            pass.jobs.push(Arc::new(JobSample {
                at: pass.at,
                attempt: job.attempt,
                readings: job.own.step(seconds, chance),
                gpus: vec![share],
            }));
        }
        pass
    }

    fn begin_and_end(&mut self) {
        let number = self.number;
        self.running.retain(|job| job.ends_at > number);
        let is_time = number >= self.begun * self.passes_per_job / AT_ONCE;
        if is_time && self.begun < JOBS {
            self.begun += 1;
            self.running.push(Job {
                attempt: job(self.begun),
                ends_at: number + self.passes_per_job,
                gpu: usize::try_from(self.begun).unwrap_or(0) % GPUS,
                own: Mover::new(OF_JOB, &mut self.chance),
                share: Mover::new(OF_SHARE, &mut self.chance),
            });
        }
    }
}

fn state(at: Stamp, index: usize, readings: Readings) -> GpuState {
    GpuState {
        at,
        sample: GpuSample {
            readings,
            ..GpuSample::unmeasured(
                GpuIdentity::new(
                    gpu(index),
                    u32::try_from(index).unwrap_or(0),
                    "nvidia",
                    "Made",
                ),
                GpuCondition::Ok,
            )
        },
        holders: Vec::new(),
        since_ms: 0,
    }
}
