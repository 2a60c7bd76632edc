//! What was active at a time in the past, what it used, and what it ran on: from what is kept of it.

use crate::api::call::Call;
use crate::api::jobs::{as_of, newest_progress};
use crate::api::now_ms;
use crate::api::operations::{MOST_JOBS, sentence};
use crate::api::problem::{Failure, invalid};
use crate::api::routes::Answer;
use crate::api::service::json;
use crate::auth::Action;
use crate::model::entity::Entity;
use crate::model::gpu::{GpuCondition, GpuSample, GpuUuid};
use crate::model::id::AttemptId;
use crate::model::sample::{GpuState, HostSample, Snapshot};
use crate::model::state::StateName;
use crate::model::time::Stamp;
use crate::store::archive::Month;
use crate::store::{ActiveThen, Moment, Then};
use crate::wire::convert::{Audience, Surroundings, gpu_view, host_view, job_view, timestamp};
use crate::wire::host::{GpuView, HostView, OperationsView};
use crate::wire::job::JobView;
use crate::wire::measured::Measured;
use crate::wire::usage::{JobGpuView, OperationView, UsageView};
use crate::wire::values::Cursor;
use axum::http::StatusCode;
use std::collections::{BTreeMap, BTreeSet};

/// All that was measured at a time.
type Moments = BTreeMap<Entity, Moment>;

/// How well the share of a GPU was known is not kept.
const RECORDED: &str = "recorded";

/// Answers what was active at `at_ms`.
pub(super) async fn operations(call: &Call, at_ms: i64) -> Answer {
    if at_ms > now_ms() {
        return Err(invalid("at", "that time is still to come"));
    }
    let is_open = call.shared.may(Action::SeeJob, None);
    let only = (!is_open).then_some(call.subject.uid);
    let read = call
        .shared
        .read(move |archive| archive.active_at(at_ms, MOST_JOBS, only));
    let then = read.await?;
    let moments = measured(call, &then, at_ms).await?;
    let newest = call.shared.gauges.newest();
    let view = OperationsView {
        at: Some(timestamp(at_ms)),
        as_of: Cursor {
            epoch: call.shared.bus.epoch().to_string(),
            seq: then.as_of.0,
        },
        unreadable_months: then.unreadable.iter().map(Month::to_string).collect(),
        waiting: then.waiting,
        jobs: then
            .items
            .iter()
            .map(|item| {
                let job = job(call, item, &moments, &newest, at_ms);
                let summary = sentence::of(&job, &[]);
                OperationView { summary, job }
            })
            .collect(),
        host: host(&moments),
        gpus: gpus(&moments, &newest),
    };
    json(StatusCode::OK, &view)
}

/// What was measured of the host, of all GPUs and of what was active.
async fn measured(call: &Call, then: &Then, at_ms: i64) -> Result<Moments, Failure> {
    let attempts = then
        .items
        .iter()
        .filter_map(|item| item.job.attempt.as_ref());
    let attempts: BTreeSet<AttemptId> = attempts.map(|it| it.id).collect();
    let samples = call.shared.samples.clone();
    let read = move || {
        let is_wanted = |entity: &Entity| entity.attempt().is_none_or(|it| attempts.contains(&it));
        samples.at(&is_wanted, at_ms)
    };
    call.shared.blocking(read).await
}

fn job(
    call: &Call,
    item: &ActiveThen,
    moments: &Moments,
    newest: &Snapshot,
    at_ms: i64,
) -> JobView {
    // What was told a moment ago is not stored yet.
    let told = newest_progress(&call.shared, &item.job).filter(|(told_ms, _)| *told_ms <= at_ms);
    let told = told.or_else(|| item.progress.clone());
    let goes_on = item.state == StateName::Running;
    let progress = told.map(|told| as_of(told, goes_on, at_ms));
    let around = Surroundings {
        usage: None,
        gates: None,
        progress: progress.as_ref(),
        now_wall_ms: at_ms,
    };
    let audience = call.audience(item.job.owner.uid);
    let attempt = item.job.attempt.as_ref().map(|it| it.id);
    JobView {
        state: item.state.as_str().to_owned(),
        usage: attempt
            .filter(|_| audience > Audience::Stranger)
            .and_then(|it| usage(it, moments, newest)),
        ..job_view(&item.job, audience, around)
    }
}

fn usage(attempt: AttemptId, moments: &Moments, newest: &Snapshot) -> Option<UsageView> {
    let whole = moments.get(&Entity::Job(attempt))?;
    let gpus = moments.iter().filter_map(|(entity, moment)| {
        let Entity::JobGpu(of, uuid) = entity else {
            return None;
        };
        (*of == attempt).then(|| JobGpuView {
            index: index_of(uuid, newest),
            uuid: uuid.to_string(),
            quality: RECORDED.to_owned(),
            measured: Measured::of(&moment.readings),
        })
    });
    let mut gpus: Vec<JobGpuView> = gpus.collect();
    gpus.sort_by_key(|gpu| (gpu.index.is_none(), gpu.index));
    Some(UsageView {
        time: timestamp(whole.at_ms),
        measured: Measured::of(&whole.readings),
        gpus,
    })
}

fn index_of(uuid: &GpuUuid, newest: &Snapshot) -> Option<u32> {
    let mut known = newest.gpus.iter().map(|gpu| &gpu.sample.identity);
    known.find(|it| it.uuid == *uuid).map(|it| it.index)
}

fn host(moments: &Moments) -> Option<HostView> {
    let whole = moments.get(&Entity::Host)?;
    let parts = moments.iter();
    let parts = parts.map(|(entity, moment)| (entity.clone(), moment.readings.clone()));
    let sample = HostSample {
        at: on_the_wall(whole.at_ms),
        readings: whole.readings.clone(),
        parts: parts.collect(),
        busiest: Vec::new(),
    };
    Some(host_view(&sample, &BTreeMap::new()))
}

/// The GPUs of that time that are still there: of others no more is kept than what they measured.
fn gpus(moments: &Moments, newest: &Snapshot) -> Vec<GpuView> {
    let known = newest.gpus.iter().map(|gpu| &gpu.sample.identity);
    let gpus = known.filter_map(|identity| {
        let moment = moments.get(&Entity::Gpu(identity.uuid.clone()))?;
        let state = GpuState {
            at: on_the_wall(moment.at_ms),
            sample: GpuSample {
                readings: moment.readings.clone(),
                ..GpuSample::unmeasured(identity.clone(), GpuCondition::Ok)
            },
            holders: Vec::new(),
            since_ms: moment.at_ms,
        };
        Some(gpu_view(&state, &BTreeMap::new()))
    });
    gpus.collect()
}

fn on_the_wall(wall_ms: i64) -> Stamp {
    Stamp {
        wall_ms,
        ..Stamp::default()
    }
}
