//! What attempts have used of GPUs, and of energy, since they began.
//!
//! Between two samples of a GPU, its energy and time are shared out among those that were on it (see
//! [`shares`]), each for as much of that time as its attempt lived. So what an attempt used
//! between its last sample and its end counts too, once the next sample is there. Energy of the CPUs is shared out
//! likewise, by CPU time.

use crate::model::attempt::Usage;
use crate::model::attribution::{Share, shares};
use crate::model::gpu::{GpuSample, GpuUuid};
use crate::model::id::AttemptId;
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{GpuShare, Holder};
use crate::model::time::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Two looks that are further apart than this say nothing of the time between them, milliseconds: nobody looks so
/// rarely, so the host slept, or whoever looks was held up.
const LONGEST_MS: u64 = 70_000;

/// An attempt is sampled a moment after it began. What it has used by then it used just now, milliseconds.
const MOMENT_MS: u64 = 2_000;

/// What an attempt has used of one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuTally {
    /// How long it was on it.
    pub seconds: f64,
    /// For how long of that what it computes was known.
    pub known_seconds: f64,
    /// How long it computed, of the known time.
    pub busy_seconds: f64,
    /// The most memory that it held.
    pub memory_peak_bytes: u64,
    /// Its part of the energy; absent where the GPU tells neither energy nor power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
}

/// What an attempt has used that the kernel did not count at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Of each GPU.
    pub gpus: BTreeMap<GpuUuid, GpuTally>,
    /// Its part of the energy of the CPUs; absent where that cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_energy_joules: Option<f64>,
    /// The most memory that all its processes held at once, where only looking tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The most that was charged to it when it was looked at last, page cache included. What was charged later is not
    /// in the other.
    #[serde(skip)]
    pub memory_charged_peak_bytes: Option<u64>,
}

impl GpuTally {
    /// As what is measured of a job on a GPU.
    fn readings(&self) -> Readings {
        let mut readings = Readings::default();
        readings.set(Metric::GpuSeconds, self.seconds);
        if self.known_seconds > 0.0 {
            readings.set(Metric::GpuBusySeconds, self.busy_seconds);
        }
        // Most of the time it is all of it, and need not be kept twice.
        let is_part = self.known_seconds > 0.0 && self.known_seconds < self.seconds;
        readings.set_if(
            Metric::GpuKnownSeconds,
            is_part.then_some(self.known_seconds),
        );
        if self.memory_peak_bytes > 0 {
            readings.set(Metric::MemoryPeakBytes, self.memory_peak_bytes as f64);
        }
        readings.set_if(Metric::EnergyJoules, self.energy_joules);
        readings
    }

    /// What was there before, from what was stored of it.
    #[must_use]
    pub fn of_readings(readings: &Readings) -> Self {
        let get = |metric| readings.get(metric);
        let busy = get(Metric::GpuBusySeconds);
        let seconds = get(Metric::GpuSeconds).unwrap_or(0.0);
        Self {
            seconds,
            known_seconds: busy.map_or(0.0, |_| get(Metric::GpuKnownSeconds).unwrap_or(seconds)),
            busy_seconds: busy.unwrap_or(0.0),
            // A size in bytes is no larger than 2^53.
            memory_peak_bytes: get(Metric::MemoryPeakBytes).unwrap_or(0.0) as u64,
            energy_joules: get(Metric::EnergyJoules),
        }
    }
}

impl Tally {
    /// Whether it used none of all this.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_devices() && self.memory_peak_bytes.is_none()
    }

    /// Whether anything is known of GPUs and energy.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        !self.gpus.is_empty() || self.cpu_energy_joules.is_some()
    }

    /// Makes one of what was seen of its memory and of what the kernel told at its end, and leaves that with what the
    /// kernel told.
    pub fn settle_memory(&mut self, usage: &mut Usage) {
        let Some(told) = usage.memory_peak_bytes else {
            return;
        };
        let seen = self.memory_peak_bytes.take();
        // What was charged before the last look was judged then, when it was known how much of it was cache.
        let is_news = usage.memory_charged_peak_bytes > self.memory_charged_peak_bytes;
        let told = Some(told).filter(|_| is_news || seen.is_none());
        usage.memory_peak_bytes = told.max(seen);
    }

    /// All of it together, as what is measured of a job.
    #[must_use]
    pub fn readings(&self) -> Readings {
        let mut readings = Readings::default();
        let all = self.gpus.values();
        if !self.gpus.is_empty() {
            readings.set(Metric::GpuSeconds, all.clone().map(|it| it.seconds).sum());
        }
        if all.clone().any(|it| it.known_seconds > 0.0) {
            let busy = all.clone().map(|it| it.busy_seconds).sum();
            readings.set(Metric::GpuBusySeconds, busy);
        }
        readings.set_if(Metric::CpuEnergyJoules, self.cpu_energy_joules);
        readings.set_if(Metric::EnergyJoules, self.energy_joules());
        readings
    }

    /// Energy of GPUs and CPUs, as far as it is known.
    #[must_use]
    pub fn energy_joules(&self) -> Option<f64> {
        let gpus = self.gpus.values().filter_map(|it| it.energy_joules);
        gpus.chain(self.cpu_energy_joules).reduce(|a, b| a + b)
    }
}

/// How a GPU was when it was looked at last.
#[derive(Clone, Debug)]
struct Seen {
    at_ms: u64,
    energy_joules: Option<f64>,
    power_watts: Option<f64>,
    index: u32,
    /// The whole board that it is a part of.
    part_of: Option<GpuUuid>,
    shares: BTreeMap<AttemptId, Share>,
}

#[derive(Clone, Debug)]
struct Life {
    began_ms: u64,
    ended_ms: Option<u64>,
    /// GPUs that have to be looked at once more before all is known.
    awaited: Vec<GpuUuid>,
    /// CPU time that it has used, as far as that was told, seconds.
    cpu_seconds: Option<f64>,
    /// CPU time of which the energy has been shared out.
    counted_seconds: f64,
    /// The energy of the rest of it is not known yet.
    awaits_energy: bool,
    tally: Tally,
}

impl Life {
    /// It ended, and all is known.
    fn is_settled(&self) -> bool {
        self.ended_ms.is_some() && self.awaited.is_empty() && !self.awaits_energy
    }
}

/// The counters of the CPUs when their energy was shared out last.
#[derive(Clone, Copy, Debug)]
struct Counters {
    at_ms: u64,
    joules: f64,
    seconds: f64,
}

/// The tallies of all attempts that run, and of those that ended a moment ago.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    gpus: BTreeMap<GpuUuid, Seen>,
    cpus: Option<Counters>,
    lives: BTreeMap<AttemptId, Life>,
}

impl Ledger {
    /// An attempt runs since `began`, and had used `before` when somebody looked last.
    pub fn begin(&mut self, attempt: AttemptId, began: Stamp, before: Tally) {
        let life = Life {
            began_ms: began.boot_ms,
            ended_ms: None,
            awaited: Vec::new(),
            cpu_seconds: None,
            counted_seconds: 0.0,
            awaits_energy: false,
            tally: before,
        };
        self.lives.insert(attempt, life);
    }

    /// An attempt ended. Answers what it used as far as that is known now, and whether a look at its GPUs or at the CPUs
    /// is awaited that will tell more: see [`settled`](Self::settled).
    pub fn end(&mut self, attempt: AttemptId, ended: Stamp) -> (Tally, bool) {
        let holds = |seen: &Seen| seen.shares.contains_key(&attempt);
        let awaited = self.gpus.iter().filter(|(_, seen)| holds(seen));
        let awaited: Vec<GpuUuid> = awaited.map(|(uuid, _)| uuid.clone()).collect();
        let Some(life) = self.lives.get_mut(&attempt) else {
            return (Tally::default(), false);
        };
        life.ended_ms = Some(ended.boot_ms);
        life.awaited = awaited;
        let is_counted = |used: f64| used <= life.counted_seconds;
        life.awaits_energy = self.cpus.is_some() && !life.cpu_seconds.is_none_or(is_counted);
        if life.is_settled() {
            let life = self.lives.remove(&attempt);
            return (life.map(|it| it.tally).unwrap_or_default(), false);
        }
        (life.tally.clone(), true)
    }

    /// Attempts that ended and of which all is known now.
    pub fn settled(&mut self) -> Vec<(AttemptId, Tally)> {
        let settled = self.lives.extract_if(.., |_, life| life.is_settled());
        settled
            .map(|(attempt, life)| (attempt, life.tally))
            .collect()
    }

    /// How many attempts and GPUs are in it.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.lives.len(), self.gpus.len())
    }

    /// What an attempt used so far.
    #[must_use]
    pub fn tally(&self, attempt: AttemptId) -> Option<&Tally> {
        self.lives.get(&attempt).map(|life| &life.tally)
    }

    /// Takes a look at a GPU. `holders` says whose its processes are, in their order.
    pub fn look(&mut self, at: Stamp, sample: &GpuSample, holders: &[Holder]) {
        let uuid = &sample.identity.uuid;
        let now = Seen {
            at_ms: at.boot_ms,
            energy_joules: sample.readings.get(Metric::EnergyJoules),
            power_watts: sample.readings.get(Metric::PowerWatts),
            index: sample.identity.index,
            part_of: sample.identity.part_of.clone(),
            shares: shares(sample, holders),
        };
        for (attempt, share) in &now.shares {
            if let Some(life) = self.lives.get_mut(attempt) {
                let gpu = life.tally.gpus.entry(uuid.clone()).or_default();
                let held = share.memory_bytes.unwrap_or(0);
                gpu.memory_peak_bytes = gpu.memory_peak_bytes.max(held);
            }
        }
        if let Some(before) = self.gpus.remove(uuid) {
            self.share_out(uuid, &before, &now);
        }
        for life in self.lives.values_mut() {
            life.awaited.retain(|awaited| awaited != uuid);
        }
        self.gpus.insert(uuid.clone(), now);
    }

    /// A GPU does not answer, or is gone: what happens until it is looked at again is nobody's.
    pub fn lose(&mut self, uuid: &GpuUuid) {
        self.gpus.remove(uuid);
        for life in self.lives.values_mut() {
            life.awaited.retain(|awaited| awaited != uuid);
        }
    }

    /// Nobody looks at GPUs any more.
    pub fn lose_all(&mut self) {
        self.gpus.clear();
        for life in self.lives.values_mut() {
            life.awaited.clear();
        }
    }

    fn share_out(&mut self, uuid: &GpuUuid, before: &Seen, now: &Seen) {
        let span_ms = now.at_ms.saturating_sub(before.at_ms);
        let energy_joules = energy(before, now, span_ms);
        // Of a board in parts, time is counted on its parts.
        let is_board = self
            .gpus
            .values()
            .any(|it| it.part_of.as_ref() == Some(uuid));
        // Who is gone now was there for a part of the time, as it was before.
        let gone = before.shares.iter();
        let gone = gone.filter(|(attempt, _)| !now.shares.contains_key(attempt));
        let parties: Vec<(AttemptId, &Share, u64)> = now
            .shares
            .iter()
            .chain(gone)
            .filter_map(|(attempt, share)| {
                let life = self.lives.get(attempt)?;
                let from_ms = life.began_ms.max(before.at_ms);
                let to_ms = life.ended_ms.unwrap_or(now.at_ms).min(now.at_ms);
                Some((*attempt, share, to_ms.saturating_sub(from_ms)))
            })
            .collect();
        let part_of = |share: &Share, lived_ms: u64| Some(share.energy_part? * lived_ms as f64);
        let parts = parties
            .iter()
            .filter_map(|(_, share, ms)| part_of(share, *ms));
        // One that came and one that went may both count for the time between; then there is too much.
        let whole = parts.sum::<f64>().max(span_ms as f64);
        let known = parties
            .into_iter()
            .filter(|(_, _, lived_ms)| is_known(*lived_ms));
        for (attempt, share, lived_ms) in known {
            let Some(life) = self.lives.get_mut(&attempt) else {
                continue;
            };
            let seconds = lived_ms as f64 / 1_000.0;
            let gpu = life.tally.gpus.entry(uuid.clone()).or_default();
            if !is_board {
                gpu.seconds += seconds;
            }
            if let Some(percent) = share.utilization_percent.filter(|_| !is_board) {
                gpu.known_seconds += seconds;
                gpu.busy_seconds += seconds * percent / 100.0;
            }
            if let Some(joules) = energy_joules
                && let Some(part) = part_of(share, lived_ms)
                && whole > 0.0
            {
                *gpu.energy_joules.get_or_insert(0.0) += joules * part / whole;
            }
        }
    }

    /// Takes a look at the memory of an attempt: the most that was held at once, and that was charged.
    pub fn memory(&mut self, attempt: AttemptId, peak_bytes: u64, charged_bytes: Option<u64>) {
        if let Some(life) = self.lives.get_mut(&attempt) {
            let peak = &mut life.tally.memory_peak_bytes;
            *peak = (*peak).max(Some(peak_bytes));
            life.tally.memory_charged_peak_bytes = charged_bytes;
        }
    }

    /// So much CPU time an attempt has used, seconds.
    pub fn cpu_time(&mut self, attempt: AttemptId, seconds: f64) {
        let Some(life) = self.lives.get_mut(&attempt) else {
            return;
        };
        if life.cpu_seconds.is_none() {
            // Of what an older one used before the CPUs were looked at, the energy is gone.
            let news_ms = life.began_ms.saturating_add(MOMENT_MS);
            let is_older = self.cpus.is_some_and(|cpus| news_ms < cpus.at_ms);
            life.counted_seconds = if is_older { seconds } else { 0.0 };
        }
        let known = life.cpu_seconds.get_or_insert(seconds);
        *known = known.max(seconds);
    }

    /// Takes a look at the counters of the CPUs: energy, and CPU time of everybody. What they have used since the look
    /// before is shared out by the CPU time that each attempt has used since.
    pub fn cpu_energy(&mut self, at: Stamp, joules: f64, seconds: f64) {
        let now = Counters {
            at_ms: at.boot_ms,
            joules,
            seconds,
        };
        let before = self.cpus.replace(now);
        let before = before.filter(|it| joules >= it.joules && seconds > it.seconds);
        for life in self.lives.values_mut() {
            life.awaits_energy = false;
            let Some(used) = life.cpu_seconds else {
                continue;
            };
            let grown = (used - life.counted_seconds).max(0.0);
            life.counted_seconds += grown;
            if let Some(before) = before {
                let part = (grown / (seconds - before.seconds)).min(1.0);
                let energy = life.tally.cpu_energy_joules.get_or_insert(0.0);
                *energy += (joules - before.joules) * part;
            }
        }
    }

    /// The energy of the CPUs cannot be read, or nobody looks at it any more.
    pub fn lose_cpu_energy(&mut self) {
        self.cpus = None;
        for life in self.lives.values_mut() {
            life.awaits_energy = false;
        }
    }

    /// What an attempt uses of each GPU, by index; of a board in parts, of its parts.
    #[must_use]
    pub fn shares_of(&self, attempt: AttemptId) -> Vec<GpuShare> {
        let tally = self.tally(attempt);
        let boards: Vec<&GpuUuid> = self
            .gpus
            .values()
            .filter_map(|it| it.part_of.as_ref())
            .collect();
        let mut found = Vec::new();
        for (uuid, seen) in self.gpus.iter().filter(|(uuid, _)| !boards.contains(uuid)) {
            let Some(share) = seen.shares.get(&attempt) else {
                continue;
            };
            let gpu = tally.and_then(|tally| tally.gpus.get(uuid));
            let mut readings = gpu.map(GpuTally::readings).unwrap_or_default();
            readings.set_if(Metric::UtilizationPercent, share.utilization_percent);
            readings.set_if(Metric::MemoryBytes, share.memory_bytes.map(|it| it as f64));
            found.push(GpuShare {
                uuid: uuid.clone(),
                index: seen.index,
                quality: share.quality,
                readings,
                pids: share.pids.clone(),
            });
        }
        found.sort_by(|a, b| (a.index, &a.uuid).cmp(&(b.index, &b.uuid)));
        found
    }
}

/// Energy that a GPU used between two looks: from its counter, unless that began anew; else from its power.
fn energy(before: &Seen, now: &Seen, span_ms: u64) -> Option<f64> {
    if let (Some(earlier), Some(later)) = (before.energy_joules, now.energy_joules) {
        return (later >= earlier).then_some(later - earlier);
    }
    let mean = (before.power_watts? + now.power_watts?) / 2.0;
    is_known(span_ms).then_some(mean * span_ms as f64 / 1_000.0)
}

/// Whether two looks that are so far apart tell what was between them. What is longer is a gap, whatever was there
/// before and after it.
fn is_known(span_ms: u64) -> bool {
    span_ms <= LONGEST_MS
}

#[cfg(test)]
mod tests;
