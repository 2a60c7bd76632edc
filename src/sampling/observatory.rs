//! What is sampled when, and how it is tied together. It has no clock and no thread: each turn is told the time.
//!
//! A pass begins when a source is due. The GPUs are asked first and the host and the attempts are read meanwhile; the
//! pass waits a moment for their answers, so that what jobs use of them is of the same time, and goes on without those
//! that are late.

use crate::model::cadence::{Pace, Situation, Source};
use crate::model::gpu::{GpuCondition, GpuFault, GpuUuid, ShareQuality, Xid};
use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use crate::model::sample::{GpuState, Holder, HostSample, JobSample, Pass, Snapshot};
use crate::model::tally::Ledger;
use crate::model::time::Stamp;
use crate::sampling::{Found, GpuAnswer, Senses, Watched, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use turns::Turns;

mod turns;

/// How long a pass waits for the answers of GPUs, milliseconds.
const GPU_PATIENCE_MS: u64 = 50;

/// When the host is looked at again after the first time, milliseconds.
const FIRST_RATES_MS: u64 = 1_000;

/// What is sampled, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of each source that is sampled.
    pub paces: BTreeMap<Source, Pace>,
    /// How long a GPU may take to answer before it counts as not responding, milliseconds.
    pub gpu_deadline_ms: u64,
    /// How many of the busiest processes are named.
    pub busiest: usize,
    /// File systems whose space is looked at instead of the local ones, by where they are mounted.
    pub mounts: Vec<String>,
}

/// What a turn gave.
#[derive(Debug)]
pub struct Outcome {
    /// What is new.
    pub found: Vec<Found>,
    /// The newest of everything.
    pub snapshot: Snapshot,
}

/// A pass that waits for GPUs.
#[derive(Debug)]
struct Pending {
    at: Stamp,
    host: Option<Arc<HostSample>>,
    jobs: Option<Vec<JobSample>>,
    gpus: Vec<Arc<GpuState>>,
    awaited: usize,
    until_ms: u64,
}

/// The state of the sampler.
#[derive(Debug)]
pub struct Observatory<S> {
    senses: S,
    rules: Rules,
    turns: Turns,
    wanted_ms: Option<u64>,
    /// Something is due sooner than it was.
    is_restless: bool,
    watched: BTreeSet<AttemptId>,
    pending: Option<Pending>,
    snapshot: Snapshot,
    /// The GPUs of each source of them.
    gpus: BTreeMap<(u32, GpuUuid), Arc<GpuState>>,
    /// Errors that drivers told of, by GPU.
    xids: BTreeMap<GpuUuid, u64>,
}

impl<S: Senses> Observatory<S> {
    /// One that has seen nothing. Everything is due at once.
    pub fn new(mut senses: S, rules: Rules, now: Stamp) -> Self {
        senses.tune(&rules);
        Self {
            senses,
            turns: Turns::of(rules.paces.keys().copied(), now.boot_ms),
            rules,
            wanted_ms: None,
            is_restless: false,
            watched: BTreeSet::new(),
            pending: None,
            snapshot: Snapshot::default(),
            gpus: BTreeMap::new(),
            xids: BTreeMap::new(),
        }
    }

    /// Samples an attempt from now on: as soon as may be, so that a short one is seen too.
    pub fn watch(&mut self, watched: &Watched) {
        self.senses.watch(watched);
        self.watched.insert(watched.watch.attempt);
        self.turns.hurry(Source::Jobs);
        self.turns.hurry(Source::Gpus);
        self.is_restless = true;
    }

    /// Samples it no more.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.senses.forget(attempt);
        self.watched.remove(&attempt);
        self.snapshot.jobs.remove(&attempt);
    }

    /// Other settings hold from now on.
    pub fn tune(&mut self, rules: Rules, ledger: &Mutex<Ledger>) {
        self.senses.tune(&rules);
        self.turns.tune(rules.paces.keys().copied());
        self.rules = rules;
        self.is_restless = true;
        // What is not sampled any more is not shown any more, and what it would have told is not waited for.
        if !self.turns.has(Source::Host) {
            self.snapshot.host = None;
            lock(ledger).lose_cpu_energy();
        }
        if !self.turns.has(Source::Jobs) {
            self.snapshot.jobs.clear();
        }
        if !self.turns.has(Source::Gpus) {
            self.gpus.clear();
            self.snapshot.gpus.clear();
            self.snapshot.troubles.clear();
            lock(ledger).lose_all();
            // It still says what jobs use of them.
            self.turns.hurry(Source::Jobs);
        }
    }

    /// The newest of everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// When something is due next, on the boot clock; `None` while nothing is sampled. `wanted_ms` is what those want
    /// who look.
    pub fn due_ms(&mut self, now: Stamp, wanted_ms: Option<u64>) -> Option<u64> {
        if self.wanted_ms != wanted_ms || self.is_restless {
            self.wanted_ms = wanted_ms;
            self.is_restless = false;
            for source in self.turns.sources() {
                let interval_ms = self.interval_ms(source);
                self.turns.quicken(source, now.boot_ms, interval_ms);
            }
        }
        let patience_ms = self.pending.as_ref().map(|pending| pending.until_ms);
        // While one pass is under way no other begins. Without attempts there is nothing to read of them.
        let due = self.turns.all().filter(|(source, _)| {
            patience_ms.is_none() && (*source != Source::Jobs || !self.watched.is_empty())
        });
        let due: Option<u64> = due.map(|(_, at_ms)| at_ms).min();
        let all = [due, patience_ms, self.senses.gpus_due_ms()];
        all.into_iter().flatten().min()
    }

    fn interval_ms(&mut self, source: Source) -> u64 {
        let situation = Situation {
            is_busy: !self.watched.is_empty(),
            on_battery: self.senses.on_battery(),
            wanted_ms: self.wanted_ms,
        };
        let pace = self.rules.paces.get(&source);
        pace.map_or(u64::MAX, |pace| pace.interval_ms(situation))
    }

    /// Does what is due, and takes what GPUs answered.
    pub fn turn(&mut self, now: Stamp, ledger: &Mutex<Ledger>) -> Outcome {
        let mut found = Vec::new();
        if self.pending.is_none() {
            self.begin(now, ledger);
        }
        let answers = self.senses.gpu_answers();
        // What was asked before they were switched off is told to nobody.
        if self.turns.has(Source::Gpus) {
            for answer in answers {
                self.take(answer, ledger);
            }
        }
        for xid in self.senses.xids() {
            found.push(Found::Fault(self.fault(xid, now)));
        }
        let is_ripe =
            |pending: &mut Pending| pending.awaited == 0 || now.boot_ms >= pending.until_ms;
        if let Some(pending) = self.pending.take_if(is_ripe) {
            found.extend(self.complete(pending, ledger).map(Found::Pass));
        }
        let settled = lock(ledger).settled();
        found.extend(
            settled
                .into_iter()
                .map(|(id, tally)| Found::Settled(id, tally)),
        );
        Outcome {
            found,
            snapshot: self.snapshot(),
        }
    }

    /// Counts an error, and finds out whose it was.
    fn fault(&mut self, xid: Xid, now: Stamp) -> GpuFault {
        if let Some(uuid) = &xid.uuid {
            *self.xids.entry(uuid.clone()).or_default() += 1;
        }
        let mut gpus = self.snapshot.gpus.iter().map(|gpu| &gpu.sample.identity);
        let index = gpus.find(|gpu| Some(&gpu.uuid) == xid.uuid.as_ref());
        let index = index.map(|gpu| gpu.index);
        let holder = xid.pid.map(|pid| self.senses.culprit(pid, now));
        GpuFault {
            attempt: holder.and_then(|holder| holder.attempt()),
            index,
            xid,
        }
    }

    /// Begins a pass over what is due.
    fn begin(&mut self, now: Stamp, ledger: &Mutex<Ledger>) {
        let sources = self.turns.due(now.boot_ms);
        if sources.is_empty() {
            return;
        }
        for source in &sources {
            let is_first = *source == Source::Host && self.snapshot.host.is_none();
            // The first sample has no rates, which are what most want to see.
            let interval_ms = if is_first {
                FIRST_RATES_MS
            } else {
                self.interval_ms(*source)
            };
            let is_looked = *source != Source::Jobs || !self.watched.is_empty();
            self.turns
                .pass(*source, now.boot_ms, interval_ms, is_looked);
        }
        self.senses.begin(now, &sources);
        let awaited = if sources.contains(&Source::Gpus) {
            self.senses.ask_gpus(now)
        } else {
            0
        };
        let host = sources
            .contains(&Source::Host)
            .then(|| Arc::new(self.senses.host(now)));
        let jobs = (sources.contains(&Source::Jobs) && !self.watched.is_empty())
            .then(|| self.senses.jobs(now));
        let mut known = lock(ledger);
        for job in jobs.iter().flatten() {
            if let Some(seconds) = job.readings.get(Metric::CpuSeconds) {
                known.cpu_time(job.attempt, seconds);
            }
        }
        if let Some(HostSample { readings, .. }) = host.as_deref() {
            let joules = readings.get(Metric::CpuEnergyJoules);
            match joules.zip(readings.get(Metric::CpuSeconds)) {
                Some((joules, seconds)) => known.cpu_energy(now, joules, seconds),
                None => known.lose_cpu_energy(),
            }
        }
        drop(known);
        self.pending = Some(Pending {
            at: now,
            host,
            jobs,
            gpus: Vec::new(),
            awaited,
            until_ms: now.boot_ms + GPU_PATIENCE_MS,
        });
    }

    /// Takes what GPUs answered: into the pass that waits for it, or else into the next one.
    fn take(&mut self, answer: GpuAnswer, ledger: &Mutex<Ledger>) {
        let GpuAnswer {
            source,
            at,
            gpus,
            has_outer_pids,
        } = answer;
        let present: BTreeSet<GpuUuid> = gpus.iter().map(|it| it.identity.uuid.clone()).collect();
        let is_gone = |(of, uuid): &(u32, GpuUuid)| *of == source && !present.contains(uuid);
        for ((_, uuid), _) in self.gpus.extract_if(.., |key, _| is_gone(key)) {
            lock(ledger).lose(&uuid);
        }
        let mut states = Vec::with_capacity(gpus.len());
        for mut sample in gpus {
            let uuid = sample.identity.uuid.clone();
            let pids = sample.processes.iter().map(|process| process.pid);
            let holders = pids.map(|pid| {
                if has_outer_pids {
                    Holder::Unknown
                } else {
                    self.senses.holder(pid)
                }
            });
            let holders: Vec<_> = holders.collect();
            if sample.condition == GpuCondition::Ok {
                lock(ledger).look(at, &sample, &holders);
            } else {
                lock(ledger).lose(&uuid);
            }
            // Who counts must see the count before the first of them.
            if sample.tells_xids && !self.xids.contains_key(&uuid) {
                self.xids.insert(uuid.clone(), 0);
            }
            if let Some(count) = self.xids.get(&uuid) {
                sample.readings.set(Metric::Xids, *count as f64);
            }
            let key = (source, uuid);
            let before = self.gpus.get(&key);
            let since_ms = before
                .filter(|before| before.sample.condition == sample.condition)
                .map_or(at.wall_ms, |before| before.since_ms);
            let state = Arc::new(GpuState {
                at,
                sample,
                holders,
                since_ms,
            });
            states.push(Arc::clone(&state));
            self.gpus.insert(key, state);
        }
        let pending = self.pending.get_or_insert_with(|| Pending {
            at,
            host: None,
            jobs: None,
            gpus: Vec::new(),
            awaited: 0,
            until_ms: at.boot_ms,
        });
        pending.awaited = pending.awaited.saturating_sub(1);
        pending.gpus.extend(states);
    }

    /// Puts a pass together; `None` where nothing was measured.
    fn complete(&mut self, pending: Pending, ledger: &Mutex<Ledger>) -> Option<Arc<Pass>> {
        let mut ledger = lock(ledger);
        for job in pending.jobs.iter().flatten() {
            if let Some(bytes) = job.readings.get(Metric::MemoryPeakBytes) {
                // A size in bytes is not negative, and no larger than 2^53.
                let charged = job.readings.get(Metric::MemoryChargedPeakBytes);
                ledger.memory(job.attempt, bytes as u64, charged.map(|it| it as u64));
            }
        }
        let jobs = pending.jobs.map(|jobs| {
            let jobs = jobs
                .into_iter()
                .filter(|job| self.watched.contains(&job.attempt));
            jobs.map(|job| Arc::new(with_gpus(job, &ledger)))
                .collect::<Vec<_>>()
        });
        drop(ledger);
        if let Some(host) = &pending.host {
            self.snapshot.host = Some(Arc::clone(host));
        }
        if !pending.gpus.is_empty() || self.snapshot.gpus.len() != self.gpus.len() {
            let mut gpus: Vec<_> = self.gpus.values().cloned().collect();
            gpus.sort_by_key(|gpu| gpu.sample.identity.index);
            self.snapshot.gpus = gpus;
        }
        for job in jobs.iter().flatten() {
            self.snapshot.jobs.insert(job.attempt, Arc::clone(job));
        }
        self.snapshot.users = self.senses.users();
        if self.turns.has(Source::Gpus) {
            self.snapshot.troubles = self.senses.troubles();
        }
        let pass = Pass {
            at: pending.at,
            host: pending.host,
            gpus: pending.gpus,
            jobs: jobs.unwrap_or_default(),
        };
        let is_empty = pass.host.is_none() && pass.gpus.is_empty() && pass.jobs.is_empty();
        (!is_empty).then(|| Arc::new(pass))
    }
}

/// What an attempt uses, with what it uses of GPUs and of energy.
fn with_gpus(mut job: JobSample, ledger: &Ledger) -> JobSample {
    let Some(tally) = ledger.tally(job.attempt) else {
        return job;
    };
    for (metric, value) in tally.readings().iter() {
        job.readings.set(metric, value);
    }
    job.gpus = ledger.shares_of(job.attempt);
    if job.gpus.is_empty() {
        return job;
    }
    let sum = |metric| {
        let values = job
            .gpus
            .iter()
            .filter_map(|share| share.readings.get(metric));
        values.reduce(|a, b| a + b)
    };
    let (memory, percent) = (sum(Metric::MemoryBytes), sum(Metric::UtilizationPercent));
    let all_known = job
        .gpus
        .iter()
        .all(|share| matches!(share.quality, ShareQuality::Measured | ShareQuality::Sole));
    job.readings.set(Metric::Gpus, job.gpus.len() as f64);
    job.readings.set_if(Metric::GpuMemoryBytes, memory);
    // A sum of which a part is unknown would be a number that nobody measured.
    job.readings
        .set_if(Metric::GpuPercent, percent.filter(|_| all_known));
    job
}

#[cfg(test)]
mod tests;
