//! What is active, and what it uses: the host, its GPUs, and every job that holds a place.

use crate::api::call::{Call, Param};
use crate::api::jobs::view;
use crate::api::problem::Failure;
use crate::api::routes::{Answer, Content, Route, schema};
use crate::api::service::json;
use crate::auth::Action;
use crate::model::gpu::GpuCondition;
use crate::model::group::Gates;
use crate::model::id::JobId;
use crate::model::sample::Snapshot;
use crate::model::state::StateName;
use crate::store::{JobFilter, Page};
use crate::wire::convert::{gpu_view, host_view};
use crate::wire::error::{Problem, ProblemKind};
use crate::wire::host::{GpuList, GpuView, HostView, OperationsView};
use crate::wire::usage::OperationView;
use crate::wire::values::Cursor;
use axum::http::{Method, StatusCode};
use std::collections::BTreeSet;

mod past;
mod sentence;

/// Most jobs of one answer; who has more active ones uses the list.
const MOST_JOBS: usize = 10_000;

const AT: &[Param] = &[Param {
    name: "at",
    of_type: "string",
    repeatable: false,
    summary: "A time in the past (RFC 3339): what was active then, and what it used",
}];

pub(super) fn routes() -> Vec<Route> {
    use ProblemKind as P;
    vec![
        Route::new(Method::GET, "/v1/operations", "operations", AT, operations)
            .says("Everything that is active with what it uses, and what it runs on; or that was, at any time")
            .gives(200, Content::Json(schema::<OperationsView>))
            .fails(&[P::InvalidRequest, P::StorageUnavailable]),
        Route::new(Method::GET, "/v1/host", "host", &[], host)
            .says("The host as it was measured last")
            .gives(200, Content::Json(schema::<HostView>))
            .fails(&[P::NotFound]),
        Route::new(Method::GET, "/v1/gpus", "gpus", &[], gpus)
            .says("The GPUs as they were measured last, with who uses them")
            .gives(200, Content::Json(schema::<GpuList>)),
    ]
}

async fn host(call: Call) -> Answer {
    call.shared.gauges.glance();
    let newest = call.shared.gauges.newest();
    match &newest.host {
        Some(sample) => json(StatusCode::OK, &host_view(sample, &newest.users)),
        None => {
            let problem = Problem::new(ProblemKind::NotFound, "the host was not measured yet");
            let hint = "ask again in a moment; the setting sampling.enabled says whether it is measured at all";
            Err(problem.hint(hint).into())
        }
    }
}

async fn gpus(call: Call) -> Answer {
    call.shared.gauges.glance();
    let items = gpu_views(&call, &call.shared.gauges.newest()).await?;
    json(StatusCode::OK, &GpuList { items })
}

/// The GPUs with those who use them, as far as the caller may know that.
async fn gpu_views(call: &Call, snapshot: &Snapshot) -> Result<Vec<GpuView>, Failure> {
    let states = snapshot.gpus.iter();
    let views = states.map(|state| gpu_view(state, &snapshot.users));
    let mut views: Vec<GpuView> = views.collect();
    if call.shared.may(Action::SeeUse, None) {
        return Ok(views);
    }
    let processes = views.iter().flat_map(|view| &view.processes);
    let jobs: BTreeSet<JobId> = processes.filter_map(|it| it.job.map(JobId)).collect();
    let seen = call.shared.seen_in_use(jobs).await?;
    for view in &mut views {
        let is_seen = |job| seen.contains(&JobId(job));
        view.processes.retain(|it| it.job.is_none_or(is_seen));
    }
    Ok(views)
}

async fn operations(call: Call) -> Answer {
    if let Some(at_ms) = call.instant_ms("at")? {
        return past::operations(&call, at_ms).await;
    }
    call.shared.gauges.glance();
    let holding = StateName::ALL.into_iter().filter(|it| it.holds_place());
    let mut filter = JobFilter {
        states: holding.collect(),
        ..JobFilter::default()
    };
    call.shared.narrow(&mut filter);
    let read = call.shared.read(move |archive| {
        let page = archive.jobs(&filter, None, MOST_JOBS)?;
        let (counts, _) = archive.counts()?;
        Ok((page, counts))
    });
    let (page, counts) = read.await?;
    let waiting = counts.iter();
    let waiting = waiting.filter(|(state, _)| !state.is_final() && !state.holds_place());
    let waiting = waiting.map(|(_, count)| count).sum();
    let snapshot = call.shared.gauges.newest();
    let view = OperationsView {
        at: None,
        unreadable_months: Vec::new(),
        as_of: Cursor {
            epoch: call.shared.bus.epoch().to_string(),
            seq: page.as_of.0,
        },
        jobs: active(&call, &page),
        waiting,
        host: snapshot
            .host
            .as_deref()
            .map(|sample| host_view(sample, &snapshot.users)),
        gpus: gpu_views(&call, &snapshot).await?,
    };
    json(StatusCode::OK, &view)
}

fn active(call: &Call, page: &Page) -> Vec<OperationView> {
    let snapshot = call.shared.gauges.newest();
    let broken = |id: JobId| {
        let gpus = snapshot.gpus.iter();
        let broken = gpus.filter(|gpu| gpu.sample.condition != GpuCondition::Ok);
        let shares = snapshot
            .jobs
            .iter()
            .filter(|(attempt, _)| attempt.job == id);
        let used: Vec<_> = shares
            .flat_map(|(_, it)| &it.gpus)
            .map(|it| &it.uuid)
            .collect();
        broken
            .filter(|gpu| used.contains(&&gpu.sample.identity.uuid))
            .map(|gpu| (gpu.sample.identity.index, gpu.sample.condition))
            .collect::<Vec<_>>()
    };
    let jobs = page.items.iter().map(|job| {
        let shown = view(call, job, &Gates::default());
        let sees = call.shared.may(Action::SeeUse, Some(job.owner.uid));
        let broken = if sees { broken(job.id) } else { Vec::new() };
        OperationView {
            summary: sentence::of(&shown, &broken),
            job: shown,
        }
    });
    jobs.collect()
}
