//! What was measured: the host, its GPUs, and what jobs use.

use crate::model::entity::Entity;
use crate::model::gpu::{GpuProcess, GpuProcessKind, ShareQuality};
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{ForeignProcess, GpuShare, GpuState, Holder, HostSample, JobSample};
use crate::model::tally::{GpuTally, Tally};
use crate::wire::convert::timestamp;
use crate::wire::host::{
    CoreView, CpuView, DiskView, DisksView, FilesystemView, FilesystemsView, GpuProcessView,
    GpuView, HostView, NetworkView, NetworksView, ProcessView, SensorView, SensorsView, TasksView,
};
use crate::wire::job::{AttemptGpu, AttemptGpuUsage};
use crate::wire::measured::Measured;
use crate::wire::usage::{JobGpuView, JobMetrics, UsageView};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Names of users by number, as far as they are known.
pub type Users = BTreeMap<u32, Arc<str>>;

/// The host.
#[must_use]
pub fn host_view(sample: &HostSample, users: &Users) -> HostView {
    let mut cores = Vec::new();
    let mut disks = Vec::new();
    let mut networks = Vec::new();
    let mut filesystems = Vec::new();
    let mut sensors = Vec::new();
    for (entity, readings) in &sample.parts {
        match entity {
            Entity::Core(core) => cores.push(CoreView {
                core: *core,
                measured: Measured::of(readings),
            }),
            Entity::Disk(name) => disks.push(DiskView {
                name: name.to_string(),
                measured: Measured::of(readings),
            }),
            Entity::Net(name) => networks.push(NetworkView {
                name: name.to_string(),
                measured: Measured::of(readings),
            }),
            Entity::Mount(path) => filesystems.push(FilesystemView {
                path: path.to_string(),
                measured: Measured::of(readings),
            }),
            Entity::Sensor(name) => sensors.push(SensorView {
                name: name.to_string(),
                measured: Measured::of(readings),
            }),
            Entity::Host | Entity::Gpu(_) | Entity::Job(_) | Entity::JobGpu(..) => {}
        }
    }
    let whole: &Readings = &sample.readings;
    HostView {
        time: timestamp(sample.at.wall_ms),
        cpu: CpuView {
            measured: Measured::of(whole),
            cores,
        },
        memory: Measured::of(whole),
        tasks: TasksView {
            measured: Measured::of(whole),
            busiest: sample
                .busiest
                .iter()
                .map(|process| process_view(process, users))
                .collect(),
        },
        disks: DisksView {
            measured: Measured::of(whole),
            items: disks,
        },
        networks: NetworksView { items: networks },
        filesystems: FilesystemsView { items: filesystems },
        sensors: SensorsView { items: sensors },
    }
}

fn process_view(process: &ForeignProcess, users: &Users) -> ProcessView {
    ProcessView {
        pid: process.pid,
        name: process.name.to_string(),
        uid: process.uid,
        user: name_of(process.uid, users),
        cpu_percent: (process.cpu_percent * 10.0).round() / 10.0,
        memory_bytes: process.memory_bytes,
    }
}

fn name_of(uid: u32, users: &Users) -> Option<String> {
    users.get(&uid).map(ToString::to_string)
}

/// A GPU.
#[must_use]
pub fn gpu_view(state: &GpuState, users: &Users) -> GpuView {
    let identity = &state.sample.identity;
    let processes = state.sample.processes.iter().zip(&state.holders);
    GpuView {
        time: timestamp(state.at.wall_ms),
        index: identity.index,
        uuid: identity.uuid.to_string(),
        name: identity.name.clone(),
        vendor: identity.vendor.clone(),
        pci_bus_id: identity.pci_bus_id.clone(),
        driver: identity.driver.clone(),
        part_of: identity.part_of.as_ref().map(ToString::to_string),
        condition: state.sample.condition.as_str().to_owned(),
        condition_since: timestamp(state.since_ms),
        measured: Measured::of(&state.sample.readings),
        processes: processes
            .map(|(process, holder)| gpu_process(process, holder, users))
            .collect(),
    }
}

fn gpu_process(process: &GpuProcess, holder: &Holder, users: &Users) -> GpuProcessView {
    let kind = match process.kind {
        GpuProcessKind::Compute => "compute",
        GpuProcessKind::Graphics => "graphics",
        GpuProcessKind::Mps => "mps",
    };
    let mut view = GpuProcessView {
        pid: process.pid,
        kind: kind.to_owned(),
        memory_bytes: process.memory_bytes,
        utilization_percent: process.utilization_percent,
        job: None,
        attempt: None,
        uid: None,
        user: None,
        name: None,
        unknown: false,
    };
    match holder {
        Holder::Job(attempt) => {
            view.job = Some(attempt.job.0);
            view.attempt = Some(attempt.attempt);
        }
        Holder::Foreign { uid, name } => {
            view.uid = Some(*uid);
            view.user = name_of(*uid, users);
            view.name = Some(name.to_string());
        }
        Holder::Unknown => view.unknown = true,
    }
    view
}

/// What an attempt uses.
#[must_use]
pub fn usage_view(sample: &JobSample) -> UsageView {
    UsageView {
        time: timestamp(sample.at.wall_ms),
        measured: Measured::of(&sample.readings),
        gpus: sample.gpus.iter().map(job_gpu_view).collect(),
    }
}

fn job_gpu_view(share: &GpuShare) -> JobGpuView {
    let quality = match share.quality {
        ShareQuality::Measured => "measured",
        ShareQuality::Sole => "sole",
        ShareQuality::MemoryOnly => "memory_only",
        ShareQuality::Unavailable => "unavailable",
    };
    JobGpuView {
        index: Some(share.index),
        uuid: share.uuid.to_string(),
        quality: quality.to_owned(),
        measured: Measured::of(&share.readings),
    }
}

/// The body of the event that tells what an attempt uses.
#[must_use]
pub fn job_metrics(sample: &JobSample) -> JobMetrics {
    JobMetrics {
        job: sample.attempt.job.0,
        attempt: sample.attempt.attempt,
        usage: usage_view(sample),
    }
}

/// What an attempt used of GPUs and energy.
#[must_use]
pub fn gpu_usage(tally: &Tally) -> AttemptGpuUsage {
    let all = tally.readings();
    let sum = |of: fn(&GpuTally) -> f64| tally.gpus.values().map(of).sum::<f64>();
    let gpus = tally.gpus.iter().map(|(uuid, gpu)| AttemptGpu {
        uuid: uuid.to_string(),
        seconds: tenths(gpu.seconds),
        mean_utilization_percent: mean(gpu.busy_seconds, gpu.known_seconds),
        memory_peak_bytes: Some(gpu.memory_peak_bytes).filter(|bytes| *bytes > 0),
        energy_joules: gpu.energy_joules.map(tenths),
    });
    AttemptGpuUsage {
        gpu_seconds: all.get(Metric::GpuSeconds).map(tenths),
        mean_utilization_percent: mean(sum(|it| it.busy_seconds), sum(|it| it.known_seconds)),
        energy_joules: tally.energy_joules().map(tenths),
        cpu_energy_joules: tally.cpu_energy_joules.map(tenths),
        gpus: gpus.collect(),
    }
}

/// How much of the time in which it was known, percent.
fn mean(busy_seconds: f64, known_seconds: f64) -> Option<f64> {
    (known_seconds > 0.0).then(|| tenths(busy_seconds / known_seconds * 100.0))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gpu::GpuUuid;

    #[test]
    fn what_was_used_of_gpus_is_told_as_far_as_it_is_known() {
        let known = GpuTally {
            seconds: 100.04,
            known_seconds: 50.0,
            busy_seconds: 40.0,
            memory_peak_bytes: 7,
            energy_joules: Some(9_000.0),
        };
        let unknown = GpuTally {
            seconds: 10.0,
            ..GpuTally::default()
        };
        let gpus = [
            (GpuUuid("GPU-1".into()), known),
            (GpuUuid("GPU-2".into()), unknown),
        ];
        let told = gpu_usage(&Tally {
            gpus: gpus.into(),
            cpu_energy_joules: Some(500.0),
            memory_peak_bytes: None,
            memory_charged_peak_bytes: None,
        });
        assert_eq!(told.gpu_seconds, Some(110.0));
        assert_eq!(told.mean_utilization_percent, Some(80.0));
        assert_eq!(told.energy_joules, Some(9_500.0));
        let second = &told.gpus[1];
        assert_eq!(
            (second.mean_utilization_percent, second.memory_peak_bytes),
            (None, None)
        );
        assert_eq!(gpu_usage(&Tally::default()), AttemptGpuUsage::default());
    }
}
