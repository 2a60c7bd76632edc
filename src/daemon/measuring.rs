//! What is measured, on its way to those who want it: as events on the bus, and to whoever asks.

use crate::api::ports::{Gauges, Look};
use crate::config::SamplingSettings;
use crate::control::Handle;
use crate::engine::input::Input;
use crate::events::Bus;
use crate::model::attempt::Usage;
use crate::model::cadence::{Pace, Source};
use crate::model::entity::Entity;
use crate::model::event::{Channel, Event, GpuFigures};
use crate::model::id::AttemptId;
use crate::model::metric::Metric;
use crate::model::sample::{JobSample, Pass, Snapshot};
use crate::model::tally::{GpuTally, Tally};
use crate::model::time::Stamp;
use crate::sampling::{Found, Rules, Sampler, Sink, Watched};
use crate::store::Samples;
use crate::wire::convert::{gpu_view, host_view, job_metrics};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whose each attempt is that is sampled.
pub(super) type Owners = Arc<Mutex<BTreeMap<AttemptId, u32>>>;

/// Who samples attempts, and where it is kept what they used.
#[derive(Clone, Debug)]
pub(super) struct Measuring {
    /// Samples them.
    pub sampler: Sampler,
    /// Keeps what was measured.
    pub samples: Samples,
    /// Whose they are.
    pub owners: Owners,
}

impl Measuring {
    /// Samples an attempt from now on. One that is adopted goes on from what was stored of it.
    pub(super) async fn begin(&self, watched: Watched, owner: u32) {
        let attempt = watched.watch.attempt;
        let mut before = Tally::default();
        if watched.watch.is_adopted {
            let samples = self.samples.clone();
            let read = tokio::task::spawn_blocking(move || tally_before(&samples, attempt));
            before = read.await.unwrap_or_default();
        }
        self.lock_owners().insert(attempt, owner);
        self.sampler.watch(watched, before);
    }

    /// Samples it no more: what it used, as far as that is known. `usage` is what the kernel counted.
    pub(super) fn end(&self, attempt: AttemptId, at: Stamp, usage: Option<&Usage>) -> Tally {
        let cpu_us = usage.and_then(|usage| usage.cpu_us);
        let cpu_seconds = cpu_us.map(|us| us as f64 / 1e6);
        let tally = self.sampler.end(attempt, at, cpu_seconds);
        self.lock_owners().remove(&attempt);
        tally
    }

    fn lock_owners(&self) -> MutexGuard<'_, BTreeMap<AttemptId, u32>> {
        // The map is whole after every statement.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the settings say of sampling.
pub(super) fn rules(sampling: &SamplingSettings) -> Rules {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let pace = |normal: Duration| Pace {
        normal_ms: ms(normal),
        watched_ms: ms(sampling.watched_interval),
        idle_ms: ms(sampling.idle_interval),
        battery_ms: ms(sampling.battery_interval),
    };
    let mut paces = BTreeMap::new();
    if sampling.enabled {
        paces.insert(Source::Host, pace(sampling.host_interval));
        paces.insert(Source::Jobs, pace(sampling.job_interval));
        if sampling.gpus {
            paces.insert(Source::Gpus, pace(sampling.gpu_interval));
        }
    }
    Rules {
        paces,
        gpu_deadline_ms: ms(sampling.gpu_timeout),
        busiest: usize::try_from(sampling.busiest).unwrap_or(usize::MAX),
        mounts: sampling.mounts.clone(),
    }
}

/// Takes what the sampler finds: tells it, and reports to the engine what is to be kept with jobs.
pub(super) fn sink(bus: Bus, control: Handle, samples: Samples, owners: Owners) -> Sink {
    Box::new(move |found, snapshot| match found {
        Found::Pass(pass) => {
            samples.append(&pass);
            // Writing down for nobody what was measured would be most of what measuring costs.
            if bus.metrics_subscribers() > 0 {
                let owners = owners.lock().unwrap_or_else(PoisonError::into_inner);
                bus.publish(&events(&pass, snapshot, &owners));
            }
        }
        Found::Settled(attempt, tally) => control.report(Input::Tallied {
            attempt,
            tally: Box::new(tally),
        }),
        Found::Fault(fault) => control.report(Input::GpuFailed { fault }),
    })
}

/// A pass, as events: what has changed since the one before cannot be told from here, so all of it.
fn events(pass: &Pass, snapshot: &Snapshot, owners: &BTreeMap<AttemptId, u32>) -> Vec<Event> {
    let mut events = Vec::new();
    if let Some(sample) = &pass.host {
        let view = host_view(sample, &snapshot.users);
        let at_ms = sample.at.wall_ms;
        let mut tell = |part: &str, body: String| {
            events.push(event(("host", part), None, at_ms, body));
        };
        tell("cpu", json(&view.cpu));
        tell("memory", json(&view.memory));
        tell("tasks", json(&view.tasks));
        tell("disks", json(&view.disks));
        tell("networks", json(&view.networks));
        tell("filesystems", json(&view.filesystems));
        tell("sensors", json(&view.sensors));
    }
    for gpu in &pass.gpus {
        let body = json(&gpu_view(gpu, &snapshot.users));
        let index = gpu.sample.identity.index.to_string();
        events.push(event(("gpu", &index), None, gpu.at.wall_ms, body));
    }
    for job in &pass.jobs {
        // Whose it is is known from before it is sampled until it is not sampled any more.
        if let Some(owner) = owners.get(&job.attempt) {
            let body = json(&job_metrics(job));
            let id = job.attempt.job.to_string();
            events.push(event(("job", &id), Some(*owner), job.at.wall_ms, body));
        }
    }
    events
}

fn event((entity, id): (&'static str, &str), uid: Option<u32>, at_ms: i64, body: String) -> Event {
    let channel = Channel {
        entity,
        id: id.to_owned(),
        topic: "metrics",
    };
    Event {
        seq: None,
        at_ms,
        channel: channel.to_string().into(),
        kind: "metrics".into(),
        uid,
        is_final: false,
        body: body.into(),
    }
}

fn json<T: Serialize>(body: &T) -> String {
    // Plain data with string keys always has a JSON text.
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}

/// What an attempt had used when an earlier daemon sampled it last. Blocks on the disk.
fn tally_before(samples: &Samples, attempt: AttemptId) -> Tally {
    let last = samples.last_of(attempt).unwrap_or_else(|error| {
        tracing::warn!(%attempt, %error, "what it used of GPUs before is not known");
        Vec::new()
    });
    let mut tally = Tally::default();
    for (entity, readings) in last {
        match entity {
            Entity::Job(_) => {
                tally.cpu_energy_joules = readings.get(Metric::CpuEnergyJoules);
                let peak = readings.get(Metric::MemoryPeakBytes);
                tally.memory_peak_bytes = peak.map(|bytes| bytes as u64);
            }
            Entity::JobGpu(_, uuid) => {
                tally.gpus.insert(uuid, GpuTally::of_readings(&readings));
            }
            Entity::Host
            | Entity::Core(_)
            | Entity::Disk(_)
            | Entity::Net(_)
            | Entity::Mount(_)
            | Entity::Sensor(_)
            | Entity::Gpu(_) => {}
        }
    }
    tally
}

/// What an attempt uses of GPUs, to go with its progress.
pub(super) fn gpu_figures(job: &JobSample) -> Vec<GpuFigures> {
    let shares = job.gpus.iter();
    let figures = shares.map(|share| GpuFigures {
        index: share.index,
        uuid: share.uuid.clone(),
        utilization_percent: share.readings.get(Metric::UtilizationPercent),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size in bytes is whole and not negative"
        )]
        memory_bytes: share.readings.get(Metric::MemoryBytes).map(|it| it as u64),
    });
    figures.collect()
}

/// The sampler, as the API asks it.
#[derive(Debug)]
pub(super) struct SamplerGauges {
    /// Who measures.
    pub(super) sampler: Sampler,
    /// Where events are published.
    pub(super) bus: Bus,
    /// Whose the attempts are.
    pub(super) owners: Owners,
}

impl Gauges for SamplerGauges {
    fn newest(&self) -> Arc<Snapshot> {
        self.sampler.newest()
    }

    fn glance(&self) {
        self.sampler.glance();
    }

    fn tell(&self) {
        // While others listen all of it is told anyway.
        if self.bus.metrics_subscribers() > 1 {
            return;
        }
        // Held over both, so that what comes later is published later.
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.sampler.newest();
        let pass = Pass {
            at: Stamp::default(),
            host: newest.host.clone(),
            gpus: newest.gpus.clone(),
            jobs: newest.jobs.values().cloned().collect(),
        };
        self.bus.publish(&events(&pass, &newest, &owners));
    }

    fn look(&self, every: Duration) -> Look {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        Box::new(self.sampler.look(every_ms))
    }
}
