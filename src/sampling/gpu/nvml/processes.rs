//! Who uses a GPU, and how much each process computes.
//!
//! The driver keeps a ring of samples of each process. What it gives for "since ever" is a mean over all of the ring,
//! in which a process computes on long after it ended: so the newest time that was seen is remembered, and only what
//! is later counts. What the ring holds may be nonsense, and is taken only of processes that are there.

use super::asked::Asked;
use crate::model::gpu::{GpuProcess, GpuProcessKind};
use nvml_wrapper::Device;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::{ProcessInfo, ProcessUtilizationSample};
use std::collections::BTreeMap;

/// The driver takes a sample of each process about so often: who asks more often would hear that nobody computes.
const PERIOD_US: u64 = 1_000_000;

/// Reads the ring of one GPU.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The newest valid sample; its times are of the wall clock.
    newest_us: Option<u64>,
    asked_us: u64,
    shares: Option<BTreeMap<u32, Shares>>,
    /// The processes that are there, and since when.
    present: BTreeMap<u32, u64>,
}

/// What a process used of the units of a GPU, percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    at_us: u64,
    sm: f64,
    encoder: f64,
    decoder: f64,
}

/// The processes on a GPU, with their memory.
///
/// # Errors
/// Where the GPU as a whole does not answer.
pub(super) fn list(asked: &mut Asked, device: &Device<'_>) -> Result<Vec<GpuProcess>, NvmlError> {
    let lists = [
        (
            GpuProcessKind::Compute,
            asked.ask("compute", || device.running_compute_processes())?,
        ),
        (
            GpuProcessKind::Graphics,
            asked.ask("graphics", || device.running_graphics_processes())?,
        ),
        (
            GpuProcessKind::Mps,
            asked.ask("mps", || device.mps_running_compute_processes())?,
        ),
    ];
    let mut processes: Vec<GpuProcess> = Vec::new();
    for (kind, list) in lists {
        for info in list.into_iter().flatten().filter(|info| info.pid != 0) {
            let is_known = processes
                .iter()
                .any(|it| it.pid == info.pid && it.kind == kind);
            if !is_known {
                processes.push(process(kind, &info));
            }
        }
    }
    Ok(processes)
}

fn process(kind: GpuProcessKind, info: &ProcessInfo) -> GpuProcess {
    GpuProcess {
        pid: info.pid,
        kind,
        memory_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
        utilization_percent: None,
        encoder_percent: None,
        decoder_percent: None,
    }
}

impl Ring {
    /// Adds to processes what they compute, as far as that is known. `now_us` is the wall clock.
    ///
    /// # Errors
    /// Where the GPU as a whole does not answer.
    pub(super) fn measure(
        &mut self,
        asked: &mut Asked,
        device: &Device<'_>,
        processes: &mut [GpuProcess],
        now_us: u64,
    ) -> Result<(), NvmlError> {
        let is_early = now_us
            .checked_sub(self.asked_us)
            .is_some_and(|us| us < PERIOD_US * 9 / 10);
        let has_new = self.meet(processes, now_us);
        if !is_early || has_new || self.shares.is_none() {
            self.shares = self.read(asked, device, processes, now_us)?;
            self.asked_us = now_us;
        }
        let Some(shares) = &self.shares else {
            return Ok(());
        };
        for process in processes.iter_mut() {
            let share = shares.get(&process.pid);
            process.utilization_percent = match share {
                Some(share) => Some(share.sm),
                None => self.was_long_there(process.pid).then_some(0.0),
            };
            process.encoder_percent = share.map(|it| it.encoder).filter(|it| *it > 0.0);
            process.decoder_percent = share.map(|it| it.decoder).filter(|it| *it > 0.0);
        }
        Ok(())
    }

    /// Remembers since when processes are there. Says whether some are new.
    fn meet(&mut self, processes: &[GpuProcess], now_us: u64) -> bool {
        let before = std::mem::take(&mut self.present);
        for process in processes {
            // Where somebody set the clock back, it came now.
            let since_us = before.get(&process.pid).copied().unwrap_or(now_us);
            self.present.insert(process.pid, since_us.min(now_us));
        }
        self.present.keys().any(|pid| !before.contains_key(pid))
    }

    /// Whether the driver would have had a sample of a process when it was asked last, if it computed.
    fn was_long_there(&self, pid: u32) -> bool {
        let since_us = self.present.get(&pid);
        since_us.is_some_and(|since_us| self.asked_us >= since_us.saturating_add(PERIOD_US))
    }

    fn read(
        &mut self,
        asked: &mut Asked,
        device: &Device<'_>,
        processes: &[GpuProcess],
        now_us: u64,
    ) -> Result<Option<BTreeMap<u32, Shares>>, NvmlError> {
        let since_us = self.since_us(now_us);
        let samples = asked.ask("shares", || {
            match device.process_utilization_stats(since_us) {
                // A process began between the two calls of which this one is made.
                Err(NvmlError::InsufficientSize(_)) => device.process_utilization_stats(since_us),
                outcome => outcome,
            }
            .or_else(none_computed)
        })?;
        let Some(samples) = samples else {
            return Ok(None);
        };
        let is_there = |pid: u32| processes.iter().any(|it| it.pid == pid);
        let mut shares = BTreeMap::new();
        for sample in samples.iter().filter(|it| is_there(it.pid)) {
            let Some(share) = valid(sample, since_us, now_us) else {
                continue;
            };
            self.newest_us = self.newest_us.max(Some(share.at_us));
            let newest: &mut Shares = shares.entry(sample.pid).or_insert(share);
            if share.at_us > newest.at_us {
                *newest = share;
            }
        }
        Ok(Some(shares))
    }

    /// From when on samples are news. Where somebody set the clock back, what was seen says nothing.
    fn since_us(&mut self, now_us: u64) -> u64 {
        self.newest_us = self.newest_us.filter(|newest| *newest <= now_us);
        self.newest_us.unwrap_or(now_us.saturating_sub(PERIOD_US))
    }
}

/// The ring is empty when nobody computes, which is no error.
fn none_computed(error: NvmlError) -> Result<Vec<ProcessUtilizationSample>, NvmlError> {
    if matches!(error, NvmlError::NotFound) {
        Ok(Vec::new())
    } else {
        Err(error)
    }
}

/// How much later than now the time of a sample may be: clocks are read one after the other.
const AHEAD_US: u64 = 1_000_000;

fn valid(sample: &ProcessUtilizationSample, since_us: u64, now_us: u64) -> Option<Shares> {
    let all = [
        sample.sm_util,
        sample.mem_util,
        sample.enc_util,
        sample.dec_util,
    ];
    let is_new = sample.timestamp > since_us && sample.timestamp <= now_us.saturating_add(AHEAD_US);
    (is_new && all.iter().all(|percent| *percent <= 100)).then(|| Shares {
        at_us: sample.timestamp,
        sm: f64::from(sample.sm_util),
        encoder: f64::from(sample.enc_util),
        decoder: f64::from(sample.dec_util),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pid: u32, timestamp: u64, sm_util: u32) -> ProcessUtilizationSample {
        ProcessUtilizationSample {
            pid,
            timestamp,
            sm_util,
            mem_util: 0,
            enc_util: 0,
            dec_util: 0,
        }
    }

    #[test]
    fn nonsense_is_not_taken() {
        assert!(valid(&sample(1, 101, 100), 100, 200).is_some());
        assert!(valid(&sample(1, 100, 50), 100, 200).is_none());
        assert!(valid(&sample(1, 101, 101), 100, 200).is_none());
        assert!(valid(&sample(1, 300 + AHEAD_US, 5), 100, 200).is_none());
    }

    #[test]
    fn nobody_says_of_a_process_that_just_came_that_it_is_idle() {
        let mut ring = Ring::default();
        let one = |pid| GpuProcess {
            pid,
            kind: GpuProcessKind::Compute,
            memory_bytes: None,
            utilization_percent: None,
            encoder_percent: None,
            decoder_percent: None,
        };
        assert!(ring.meet(&[one(1)], PERIOD_US));
        ring.asked_us = PERIOD_US;
        assert!(!ring.was_long_there(1));
        assert!(!ring.meet(&[one(1)], 2 * PERIOD_US));
        ring.asked_us = 2 * PERIOD_US;
        assert!(ring.was_long_there(1));
        assert!(ring.meet(&[one(1), one(2)], 3 * PERIOD_US));
        assert!(!ring.was_long_there(2));
        // A number that was given to another process begins anew.
        assert!(!ring.meet(&[], 4 * PERIOD_US));
        assert!(ring.meet(&[one(1)], 5 * PERIOD_US));
        ring.asked_us = 5 * PERIOD_US;
        assert!(!ring.was_long_there(1));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_end_it() {
        let mut ring = Ring::default();
        let now_us = 10 * PERIOD_US;
        assert_eq!(ring.since_us(now_us), 9 * PERIOD_US);
        ring.newest_us = Some(now_us);
        assert_eq!(ring.since_us(now_us + 5), now_us);
        assert_eq!(ring.since_us(5 * PERIOD_US), 4 * PERIOD_US);
    }
}
