//! `GET /metrics`: everything that is measured, and how many jobs there are, for scrapers.
//!
//! What is exposed at one time is bounded: the host with its devices, its GPUs, and the active jobs up to a number, with
//! how many are beyond that.
//! Names of jobs and users are labels; what only an owner may see is not among them.

use crate::api::call::Call;
use crate::api::metrics::exposition::{Dialect, Exposition};
use crate::api::routes::{Answer, Content, Route};
use crate::api::service::with_type;
use crate::auth::Action;
use crate::model::entity::Entity;
use crate::model::gpu::GpuCondition;
use crate::model::metric::{Metric, Motion, Readings};
use crate::model::sample::{GpuState, HostSample, JobSample, Snapshot};
use crate::model::state::StateName;
use crate::store::{GroupCount, JobFilter, Page};
use crate::wire::error::ProblemKind;
use axum::http::{Method, StatusCode, header};
use std::collections::BTreeMap;

mod exposition;

/// Most jobs that are exposed one by one.
const MOST_JOBS: usize = 1_000;

/// What is measured of a host and told once more elsewhere.
const ELSEWHERE: &[Metric] = &[
    Metric::CpuPercent,
    Metric::MemoryPercent,
    Metric::SpacePercent,
];

/// What is measured of a job and is the sum over its GPUs, which are told one by one.
const SUMS: &[Metric] = &[
    Metric::GpuPercent,
    Metric::GpuMemoryBytes,
    Metric::GpuSeconds,
    Metric::GpuBusySeconds,
];

pub(super) fn routes() -> Vec<Route> {
    let content = Content::Stream(
        &["application/openmetrics-text", "text/plain"],
        "Samples with their names, units and help.",
    );
    vec![
        Route::new(Method::GET, "/metrics", "metrics", &[], metrics)
            .says("Everything that is measured, for scrapers such as Prometheus")
            .gives(200, content)
            .fails(&[ProblemKind::StorageUnavailable]),
    ]
}

/// What is read of the store.
struct Stored {
    active: Page,
    states: BTreeMap<StateName, u64>,
    groups: Vec<GroupCount>,
}

async fn metrics(call: Call) -> Answer {
    let holding = StateName::ALL.into_iter().filter(|it| it.holds_place());
    let mut filter = JobFilter {
        states: holding.collect(),
        ..JobFilter::default()
    };
    if !call.shared.may(Action::SeeUse, None) {
        filter.only_of(call.subject.uid);
    }
    let always = call.shared.default_group.clone();
    let read = call.shared.read(move |archive| {
        Ok(Stored {
            active: archive.jobs(&filter, None, MOST_JOBS)?,
            states: archive.counts()?.0,
            groups: archive.group_counts(&always)?.0,
        })
    });
    let stored = read.await?;
    let snapshot = call.shared.gauges.newest();
    let mut out = Exposition::default();
    service(&mut out, &call, &stored);
    if let Some(sample) = &snapshot.host {
        host(&mut out, sample);
    }
    for state in &snapshot.gpus {
        gpu(&mut out, state);
    }
    jobs(&mut out, &stored.active, &snapshot);
    let accept = call.headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    let dialect = Dialect::accepted(accept.unwrap_or_default());
    Ok(with_type(
        StatusCode::OK,
        dialect.media_type(),
        out.render(dialect),
    ))
}

fn service(out: &mut Exposition, call: &Call, stored: &Stored) {
    let gauge = |name, help| (name, Motion::Gauge, help);
    let version = call.shared.version.as_str();
    let info = gauge("stoked_build", "The daemon that answers");
    out.add(info, &[("version", version)], 1.0);
    let by_state = gauge("stoked_jobs", "Jobs that are stored, by state");
    for state in StateName::ALL {
        let count = stored.states.get(&state).copied().unwrap_or(0);
        out.add(by_state, &[("state", state.as_str())], count as f64);
    }
    for group in &stored.groups {
        let name = [("group", group.group.name.as_str())];
        let places = gauge(
            "stoked_group_places",
            "How many jobs of a group may run at once",
        );
        out.add(places, &name, f64::from(group.group.parallelism));
        let active = gauge(
            "stoked_group_active_jobs",
            "Jobs of a group that hold a place",
        );
        out.add(active, &name, group.active as f64);
        let waiting = gauge("stoked_group_waiting_jobs", "Jobs of a group that wait");
        out.add(waiting, &name, group.waiting as f64);
    }
    let holding = stored.states.iter();
    let holding = holding.filter(|(state, _)| state.holds_place());
    let holding: u64 = holding.map(|(_, count)| *count).sum();
    let left_out = holding.saturating_sub(stored.active.items.len() as u64);
    let help = "Active jobs that are not exposed one by one: there are too many, or they are hidden from who asks";
    out.add(gauge("stoked_jobs_left_out", help), &[], left_out as f64);
    let (connections, streams) = call.shared.ledger.in_use();
    let help = "Connections to the socket of the daemon";
    out.add(
        gauge("stoked_api_connections", help),
        &[],
        connections as f64,
    );
    let help = "Event streams that are open";
    out.add(gauge("stoked_api_event_streams", help), &[], streams as f64);
}

fn host(out: &mut Exposition, sample: &HostSample) {
    all(out, "host", &sample.readings, &[]);
    for (entity, readings) in &sample.parts {
        match entity {
            Entity::Core(core) => {
                let core = core.to_string();
                all(out, "host_core", readings, &[("core", &core)]);
            }
            Entity::Disk(name) => all(out, "host_disk", readings, &[("device", name)]),
            Entity::Net(name) => all(out, "host_network", readings, &[("device", name)]),
            Entity::Mount(path) => all(out, "host_filesystem", readings, &[("mountpoint", path)]),
            Entity::Sensor(name) => all(out, "host_sensor", readings, &[("sensor", name)]),
            Entity::Host | Entity::Gpu(_) | Entity::Job(_) | Entity::JobGpu(..) => {}
        }
    }
}

fn all(out: &mut Exposition, class: &str, readings: &Readings, labels: &[(&'static str, &str)]) {
    let told = readings.iter().filter(|(metric, _)| {
        // A counter of seconds says more than a share that somebody else computed.
        let is_elsewhere = class.starts_with("host") && ELSEWHERE.contains(metric);
        let is_sum = class == "job" && SUMS.contains(metric);
        !is_elsewhere && !is_sum
    });
    for (metric, value) in told {
        out.measured(class, metric, labels, value);
    }
}

fn gpu(out: &mut Exposition, state: &GpuState) {
    let identity = &state.sample.identity;
    let index = identity.index.to_string();
    let labels = [
        ("gpu", index.as_str()),
        ("uuid", identity.uuid.as_str()),
        ("model", identity.name.as_str()),
    ];
    all(out, "gpu", &state.sample.readings, &labels);
    let up = (
        "stoked_gpu_up",
        Motion::Gauge,
        "Whether the GPU answers; one that sleeps does",
    );
    let is_up = matches!(
        state.sample.condition,
        GpuCondition::Ok | GpuCondition::Asleep
    );
    out.add(up, &labels, f64::from(u8::from(is_up)));
}

fn jobs(out: &mut Exposition, active: &Page, snapshot: &Snapshot) {
    for job in &active.items {
        let sample = job
            .attempt
            .as_ref()
            .and_then(|it| snapshot.jobs.get(&it.id));
        let Some(sample) = sample else { continue };
        let id = job.id.to_string();
        let labels = [
            ("job", id.as_str()),
            ("name", job.spec.name.as_str()),
            ("user", job.owner.user.as_str()),
            ("group", job.spec.group.as_str()),
        ];
        all(out, "job", &sample.readings, &labels);
        shares(out, sample, &labels);
    }
}

fn shares(out: &mut Exposition, sample: &JobSample, labels: &[(&'static str, &str); 4]) {
    for share in &sample.gpus {
        let index = share.index.to_string();
        let [job, name, user, group] = *labels;
        let uuid = share.uuid.as_str();
        let labels = [job, name, user, group, ("gpu", &index), ("uuid", uuid)];
        all(out, "job_gpu", &share.readings, &labels);
    }
}
