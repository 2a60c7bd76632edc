//! Who uses how much of a GPU: its processes joined with whose they are, and how sure that is.
//!
//! Never a number that nobody measured: where a driver does not say what each process computes, the use of the GPU is
//! a job's only when nobody else is on it.

use crate::model::gpu::{GpuSample, ShareQuality};
use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use crate::model::sample::Holder;
use std::collections::BTreeMap;

/// What an attempt uses of one GPU, at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// How well it is known.
    pub quality: ShareQuality,
    /// How much it computes; absent where that is not known.
    pub utilization_percent: Option<f64>,
    /// Memory that it holds; absent where the driver does not tell of any of its processes.
    pub memory_bytes: Option<u64>,
    /// Which part of the energy of the GPU is its, 0 to 1; absent where others may be on it that are not seen.
    pub energy_part: Option<f64>,
    /// Its processes.
    pub pids: Vec<u32>,
}

/// One process, however often the driver lists it.
#[derive(Default)]
struct Use {
    memory_bytes: Option<u64>,
    utilization_percent: Option<f64>,
}

/// What each attempt uses of a GPU. `holders` says whose its processes are, in their order.
#[must_use]
pub fn shares(sample: &GpuSample, holders: &[Holder]) -> BTreeMap<AttemptId, Share> {
    let mut parties: BTreeMap<Option<AttemptId>, BTreeMap<u32, Use>> = BTreeMap::new();
    for (process, holder) in sample.processes.iter().zip(holders) {
        // Who computes and draws is listed twice, with the same memory.
        let it = parties.entry(holder.attempt()).or_default();
        let it = it.entry(process.pid).or_default();
        it.memory_bytes = it.memory_bytes.max(process.memory_bytes);
        let both = it.utilization_percent.zip(process.utilization_percent);
        it.utilization_percent = match both {
            Some((one, other)) => Some(one.max(other)),
            None => it.utilization_percent.or(process.utilization_percent),
        };
    }
    let parts = if sample.sees_all_processes {
        energy_parts(&parties)
    } else {
        BTreeMap::new()
    };
    let is_sole = parties.len() == 1 && sample.sees_all_processes;
    let device_percent = sample.readings.get(Metric::UtilizationPercent);
    let mut shares = BTreeMap::new();
    for (attempt, uses) in parties {
        let Some(id) = attempt else { continue };
        let known = uses.values().filter_map(|it| it.memory_bytes);
        let memory_bytes = known.reduce(u64::saturating_add);
        // A process that has only just come was not measured yet, and so the sum of it and others is not known.
        let measured: Option<f64> = uses.values().map(|it| it.utilization_percent).sum();
        let (quality, utilization_percent) = if let Some(sum) = measured {
            (ShareQuality::Measured, Some(sum.min(100.0)))
        } else if is_sole && device_percent.is_some() {
            (ShareQuality::Sole, device_percent)
        } else if memory_bytes.is_some() {
            (ShareQuality::MemoryOnly, None)
        } else {
            (ShareQuality::Unavailable, None)
        };
        let share = Share {
            quality,
            utilization_percent,
            memory_bytes,
            energy_part: parts.get(&attempt).copied(),
            pids: uses.into_keys().collect(),
        };
        shares.insert(id, share);
    }
    shares
}

/// Energy goes by what was computed; while nobody computes, by what is kept in memory; and where that is not known
/// either, to all processes alike. What is nobody's job takes its part too.
fn energy_parts(
    parties: &BTreeMap<Option<AttemptId>, BTreeMap<u32, Use>>,
) -> BTreeMap<Option<AttemptId>, f64> {
    let total = |weigh: &dyn Fn(&Use) -> f64| -> BTreeMap<Option<AttemptId>, f64> {
        let sums = parties.iter();
        sums.map(|(party, uses)| (*party, uses.values().map(weigh).sum()))
            .collect()
    };
    let by_use = total(&|it| it.utilization_percent.unwrap_or(0.0));
    let mut all = parties.values().flat_map(BTreeMap::values);
    let is_measured = all.clone().all(|it| it.utilization_percent.is_some());
    let all_told = all.all(|it| it.memory_bytes.is_some());
    // Bytes of memory as a weight need no more than 53 bits.
    let by_memory = total(&|it| it.memory_bytes.unwrap_or(0) as f64);
    let has_any = |weights: &BTreeMap<_, f64>| weights.values().any(|weight| *weight > 0.0);
    let weights = if is_measured && has_any(&by_use) {
        by_use
    } else if all_told && has_any(&by_memory) {
        by_memory
    } else {
        total(&|_| 1.0)
    };
    let sum: f64 = weights.values().sum();
    let parts = weights.into_iter();
    parts.map(|(party, weight)| (party, weight / sum)).collect()
}

#[cfg(test)]
mod tests;
