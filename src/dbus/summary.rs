//! All that a widget shows, in one line of JSON.

use crate::api::local::{Local, Refused};
use crate::auth::Subject;
use crate::dbus::convert::add_parameter;
use crate::dbus::values::Overview;
use crate::model::metric::Metric;
use crate::model::sample::GpuState;
use crate::model::state::StateName;
use crate::wire::job::{JobList, JobView};
use crate::wire::service::HealthView;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most jobs of the caller that are shown.
const MOST_JOBS: usize = 20;

/// The line.
pub(super) async fn summary(
    local: &Local,
    subject: &Arc<Subject>,
    overview: Overview,
) -> Result<String, Refused> {
    let health: HealthView = local.get(subject, "/v1/health").await?;
    let mut query = String::new();
    add_parameter(&mut query, "owner", &subject.uid.to_string());
    add_parameter(&mut query, "limit", &MOST_JOBS.to_string());
    for state in StateName::ALL {
        if state.holds_place() {
            add_parameter(&mut query, "state", state.as_str());
        }
    }
    let mine: JobList = local.get(subject, &format!("/v1/jobs{query}")).await?;
    let newest = local.glance();
    let jobs: Map<String, Value> = overview
        .counts
        .into_iter()
        .map(|(state, count)| (state.as_str().to_owned(), count.into()))
        .collect();
    let summary = json!({
        "version": local.version(),
        "health": health.health,
        "draining": overview.draining,
        "jobs": jobs,
        "gpus": newest.gpus.iter().map(|gpu| gpu_of(gpu)).collect::<Vec<_>>(),
        "mine": mine.items.iter().map(job_of).collect::<Vec<_>>(),
        "mine_has_more": mine.next.is_some(),
    });
    Ok(summary.to_string())
}

fn gpu_of(gpu: &GpuState) -> Value {
    let identity = &gpu.sample.identity;
    let readings = [
        Metric::UtilizationPercent,
        Metric::MemoryUsedBytes,
        Metric::MemoryTotalBytes,
        Metric::TemperatureCelsius,
    ];
    let mut shown = Map::new();
    shown.insert("index".to_owned(), identity.index.into());
    shown.insert("name".to_owned(), identity.name.clone().into());
    shown.insert("condition".to_owned(), gpu.sample.condition.as_str().into());
    for metric in readings {
        if let Some(value) = gpu.sample.readings.get(metric) {
            let value = metric.definition().rounded(value);
            shown.insert(metric.field().to_owned(), value.into());
        }
    }
    shown.into()
}

fn job_of(job: &JobView) -> Value {
    let mut shown = json!({"id": job.id, "name": job.name, "state": job.state});
    let progress = job.progress.as_ref();
    for (name, value) in [
        ("percent", progress.and_then(|it| it.percent)),
        ("eta_seconds", progress.and_then(|it| it.eta_seconds)),
    ] {
        if let Some(value) = value {
            shown[name] = ((value * 10.0).round() / 10.0).into();
        }
    }
    shown
}
