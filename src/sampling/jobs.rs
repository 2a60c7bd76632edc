//! Attempts: what each uses, from the files of its cgroup where they tell, else from those of its processes.

pub mod cgroup;

mod members;
mod network;
mod shares;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::id::AttemptId;
use crate::model::metric::{Metric, Readings};
use crate::model::sample::JobSample;
use crate::model::time::Stamp;
use crate::sampling::files::{Files, Roots};
use crate::sampling::processes::{Processes, Watch};
use crate::sampling::rates::is_due;

use cgroup::Cgroup;
use members::Members;
use network::Network;
use shares::Shares;

/// How often is read what changes little or costs much: open files, limits, namespaces, and what an idle job may have
/// changed without CPU time.
const RARELY_MS: u64 = 10_000;

/// What the processes of an attempt have to tell, since its cgroup does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Needs {
    cpu: bool,
    memory: bool,
    io: bool,
    threads: bool,
}

/// What readers of attempts share.
#[derive(Debug)]
struct Shared {
    files: Files,
    shares: Shares,
    proc: PathBuf,
}

/// Reads all attempts that are watched.
#[derive(Debug)]
pub struct Jobs {
    roots: Roots,
    shared: Shared,
    readers: BTreeMap<AttemptId, JobReader>,
}

impl Jobs {
    /// Watches none yet. Descriptors are kept together with those of the table.
    #[must_use]
    pub fn new(roots: &Roots, processes: &Processes) -> Self {
        Self {
            roots: roots.clone(),
            shared: Shared {
                files: Files::new(processes.descriptors().clone()),
                shares: Shares::new(roots),
                proc: roots.proc.clone(),
            },
            readers: BTreeMap::new(),
        }
    }

    /// Watches an attempt from now on.
    pub fn watch(&mut self, watch: &Watch, processes: &mut Processes) {
        processes.watch(watch);
        let reader = JobReader::new(&self.roots, watch);
        self.readers.insert(watch.attempt, reader);
    }

    /// The attempt is over.
    pub fn forget(&mut self, attempt: AttemptId, at: Stamp, processes: &mut Processes) {
        self.readers.remove(&attempt);
        processes.forget(attempt, at);
    }

    /// Which are watched.
    pub fn watched(&self) -> impl Iterator<Item = AttemptId> + '_ {
        self.readers.keys().copied()
    }

    /// Reads each of them, right after a pass over the table of processes. One that is gone has no sample.
    pub fn read(&mut self, at: Stamp, processes: &Processes) -> Vec<JobSample> {
        self.shared.shares.hear(at);
        let shared = &mut self.shared;
        let samples = self.readers.values_mut();
        samples
            .filter_map(|reader| reader.read(at, processes, shared))
            .collect()
    }
}

/// Reads one attempt.
#[derive(Debug)]
struct JobReader {
    attempt: AttemptId,
    cgroup: Option<Cgroup>,
    members: Members,
    network: Network,
    rarely: Option<Stamp>,
    before: Option<Stamp>,
    peak_bytes: f64,
    open_files: Option<f64>,
    /// Its cgroup has told something.
    is_counted: bool,
}

impl JobReader {
    fn new(roots: &Roots, watch: &Watch) -> Self {
        Self {
            attempt: watch.attempt,
            cgroup: watch
                .cgroup
                .as_deref()
                .map(|dir| Cgroup::new(roots, dir, watch.is_adopted)),
            members: Members::default(),
            network: Network::default(),
            rarely: None,
            before: None,
            peak_bytes: 0.0,
            open_files: None,
            is_counted: false,
        }
    }

    /// So much earlier its second turn comes: a thousand jobs that were adopted at once must not have it in one pass.
    fn turn_ms(&self) -> u64 {
        self.attempt.job.0.wrapping_mul(997) % RARELY_MS
    }

    fn read(&mut self, at: Stamp, processes: &Processes, shared: &mut Shared) -> Option<JobSample> {
        let pass_ms = self.before.replace(at).map_or(0, |then| at.since_ms(then));
        let is_rare = is_due(self.rarely, at, RARELY_MS, pass_ms);
        if is_rare {
            let is_first = self.rarely.is_none();
            let ahead_ms = if is_first { self.turn_ms() } else { 0 };
            self.rarely = Some(Stamp {
                boot_ms: at.boot_ms.saturating_sub(ahead_ms),
                ..at
            });
        }
        let told = self
            .cgroup
            .as_mut()
            .map(|cgroup| cgroup.read(&mut shared.files, at, is_rare));
        let mut to = match told {
            Some(Some(told)) => {
                self.is_counted = true;
                told.clone()
            }
            // The attempt ends with its cgroup; what its last processes tell by themselves would be less than before.
            Some(None) if self.is_counted => return None,
            Some(None) | None => Readings::default(),
        };
        let needs = Needs {
            cpu: to.get(Metric::CpuSeconds).is_none(),
            memory: to.get(Metric::MemoryBytes).is_none(),
            io: to.get(Metric::IoReadBytes).is_none(),
            threads: to.get(Metric::Threads).is_none(),
        };
        let own = processes.of(self.attempt);
        let count = self.members.follow(own, needs, shared);
        if count == 0 && to.is_empty() {
            return None;
        }
        to.set(Metric::Processes, count as f64);
        let shim = processes.shim_of(self.attempt);
        self.members.tell(at, needs, shim, shared, &mut to);
        if is_rare {
            self.open_files = self.members.open_files(&shared.proc);
            self.network.look(&shared.proc, self.members.pids());
        }
        to.set_if(Metric::OpenFiles, self.open_files);
        self.network.read(&mut shared.files, at, &mut to);
        let known = to.get(Metric::MemoryPeakBytes).unwrap_or(0.0);
        let used = to.get(Metric::MemoryBytes).unwrap_or(0.0);
        self.peak_bytes = self.peak_bytes.max(known).max(used);
        if self.peak_bytes > 0.0 {
            to.set(Metric::MemoryPeakBytes, self.peak_bytes);
        }
        Some(JobSample {
            at,
            attempt: self.attempt,
            readings: to,
            gpus: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests;
