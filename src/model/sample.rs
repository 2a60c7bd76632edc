//! Samples: what was measured at one time, of the host, of its GPUs, and of each attempt that runs.

use crate::model::entity::Entity;
use crate::model::gpu::{GpuSample, GpuUuid, ShareQuality};
use crate::model::id::AttemptId;
use crate::model::metric::Readings;
use crate::model::time::Stamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The host at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostSample {
    /// When.
    pub at: Stamp,
    /// Of the host as a whole.
    pub readings: Readings,
    /// Of its cores, disks, interfaces, file systems and sensors, in the order of their names.
    pub parts: Vec<(Entity, Readings)>,
    /// The busiest processes that belong to no job, busiest first.
    pub busiest: Vec<ForeignProcess>,
}

/// A process that belongs to no job.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignProcess {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel keeps it: 15 bytes at most.
    pub name: Arc<str>,
    /// As whom it runs.
    pub uid: u32,
    /// CPU time, 100 for each whole core.
    pub cpu_percent: f64,
    /// Memory that is its own or shared, bytes.
    pub memory_bytes: u64,
}

/// An attempt at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSample {
    /// When.
    pub at: Stamp,
    /// Which.
    pub attempt: AttemptId,
    /// What it uses, GPUs taken together.
    pub readings: Readings,
    /// What it uses of each GPU, by index.
    pub gpus: Vec<GpuShare>,
}

/// What an attempt uses of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuShare {
    /// Which GPU.
    pub uuid: GpuUuid,
    /// Its index.
    pub index: u32,
    /// How well it is known.
    pub quality: ShareQuality,
    /// How much.
    pub readings: Readings,
    /// Its processes that use it.
    pub pids: Vec<u32>,
}

/// Who a process that uses a GPU belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An attempt.
    Job(AttemptId),
    /// Nobody that runs here as a job.
    Foreign {
        /// As whom it runs.
        uid: u32,
        /// Its name.
        name: Arc<str>,
    },
    /// It is gone, or of another namespace, and what it held may still be held.
    Unknown,
}

impl Holder {
    /// The attempt, where it is one.
    #[must_use]
    pub fn attempt(&self) -> Option<AttemptId> {
        match self {
            Self::Job(attempt) => Some(*attempt),
            Self::Foreign { .. } | Self::Unknown => None,
        }
    }
}

/// A GPU at one time, with who uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuState {
    /// When.
    pub at: Stamp,
    /// What was measured.
    pub sample: GpuSample,
    /// Whose each of its processes is, in their order.
    pub holders: Vec<Holder>,
    /// Since when it is in its condition, wall clock, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

/// The newest of everything that is measured.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The host.
    pub host: Option<Arc<HostSample>>,
    /// The GPUs, by index.
    pub gpus: Vec<Arc<GpuState>>,
    /// The attempts that run.
    pub jobs: BTreeMap<AttemptId, Arc<JobSample>>,
    /// Names of the users whose processes are in it, as far as they are known.
    pub users: Arc<BTreeMap<u32, Arc<str>>>,
    /// What is wrong with sources of GPUs that do not answer, completing "failed to", by their names.
    pub troubles: BTreeMap<&'static str, String>,
}

/// What one pass over some of the sources gave: only what is new.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// When.
    pub at: Stamp,
    /// The host, where it was its turn.
    pub host: Option<Arc<HostSample>>,
    /// GPUs that answered since the last pass.
    pub gpus: Vec<Arc<GpuState>>,
    /// Attempts.
    pub jobs: Vec<Arc<JobSample>>,
}

impl Pass {
    /// Everything in it that has a series, entity by entity.
    pub fn entities(&self) -> impl Iterator<Item = (Entity, &Readings)> {
        let host = self.host.iter().flat_map(|host| {
            let parts = host.parts.iter();
            let parts = parts.map(|(entity, readings)| (entity.clone(), readings));
            std::iter::once((Entity::Host, &host.readings)).chain(parts)
        });
        let gpus = self.gpus.iter().map(|gpu| {
            let uuid = gpu.sample.identity.uuid.clone();
            (Entity::Gpu(uuid), &gpu.sample.readings)
        });
        let jobs = self.jobs.iter().flat_map(|job| {
            let shares = job.gpus.iter().map(|share| {
                let entity = Entity::JobGpu(job.attempt, share.uuid.clone());
                (entity, &share.readings)
            });
            std::iter::once((Entity::Job(job.attempt), &job.readings)).chain(shares)
        });
        host.chain(gpus).chain(jobs)
    }
}
