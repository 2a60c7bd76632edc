//! What was active at a time in the past, and what it used.

use super::harness::*;
use crate::auth::Mode;
use crate::model::entity::Entity;
use crate::model::gpu::{GpuCondition, GpuIdentity, GpuSample, GpuUuid, ShareQuality};
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{GpuShare, GpuState, HostSample, JobSample, Pass, Snapshot};
use crate::model::spec::JobSpec;
use crate::model::time::Stamp;
use crate::store::ProgressPoint;
use crate::wire::convert::timestamp;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

fn readings(values: &[(Metric, f64)]) -> Readings {
    values.iter().copied().collect()
}

fn gpu(at: Stamp) -> Arc<GpuState> {
    let identity = GpuIdentity::new(GpuUuid("GPU-1".into()), 3, "nvidia", "Made");
    Arc::new(GpuState {
        at,
        sample: GpuSample {
            readings: readings(&[(Metric::UtilizationPercent, 60.0)]),
            ..GpuSample::unmeasured(identity, GpuCondition::Ok)
        },
        holders: Vec::new(),
        since_ms: 0,
    })
}

/// Takes down what was measured at a time of the host, a GPU, and a job that uses it and another one.
fn measure(daemon: &Daemon, at: Stamp, job: u64, percent: f64) {
    let share = |uuid: &str, index| GpuShare {
        uuid: GpuUuid(uuid.into()),
        index,
        quality: ShareQuality::Measured,
        readings: readings(&[(Metric::UtilizationPercent, 85.0)]),
        pids: Vec::new(),
    };
    daemon.shared.samples.append(&Pass {
        at,
        host: Some(Arc::new(HostSample {
            at,
            readings: readings(&[(Metric::CpuPercent, percent)]),
            parts: vec![(Entity::Core(0), readings(&[(Metric::CpuPercent, percent)]))],
            busiest: Vec::new(),
        })),
        gpus: vec![gpu(at)],
        jobs: vec![Arc::new(JobSample {
            at,
            attempt: attempt_id(job, 1),
            readings: readings(&[(Metric::CpuPercent, percent)]),
            gpus: vec![share("GPU-0", 0), share("GPU-1", 3)],
        })],
    });
}

async fn then(daemon: &Daemon, at: Stamp) -> Value {
    let at = timestamp(at.wall_ms);
    let answer = daemon.get(&format!("/v1/operations?at={at}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// Takes down how far a job was.
async fn tell(daemon: &Daemon, job: u64, at_ms: i64, step: i64) {
    let body = json!({"step": step, "total_steps": 4, "counting": {}}).to_string();
    daemon.store.record_progress(vec![ProgressPoint {
        attempt: attempt_id(job, 1),
        at_ms,
        body,
    }]);
    daemon.store.settle().await.unwrap();
}

/// Later than all that has happened, by the clock that events are stamped with.
async fn later() -> Stamp {
    let before = now();
    while now().wall_ms <= before.wall_ms + 1 {
        tokio::task::yield_now().await;
    }
    let at = now();
    while now().wall_ms <= at.wall_ms + 1 {
        tokio::task::yield_now().await;
    }
    at
}

#[tokio::test]
async fn what_was_active_is_known_with_what_it_used() {
    let daemon = Daemon::start();
    let before = later().await;
    let job = daemon.submit("train").await;
    let mut spec = JobSpec::new(vec!["true".to_owned()], "/");
    spec.not_before_ms = Some(i64::MAX);
    daemon.submit_of(own_uid(), spec).await;
    daemon.started(job, 1).await;
    let running = later().await;
    measure(&daemon, running, job, 150.0);
    tell(&daemon, job, running.wall_ms, 1).await;
    daemon
        .post(&format!("/v1/jobs/{job}/pause"), json!({}))
        .await;
    let paused = later().await;
    measure(&daemon, paused, job, 0.0);
    daemon.ended(job, 1, 0).await;
    let after = later().await;
    // The first one is gone by now.
    *daemon.gauges.newest.lock().unwrap() = Arc::new(Snapshot {
        gpus: vec![gpu(after)],
        ..Snapshot::default()
    });

    let shown = then(&daemon, before).await;
    assert_eq!((&shown["jobs"], &shown["waiting"]), (&json!([]), &json!(0)));
    let shown = then(&daemon, after).await;
    assert_eq!((&shown["jobs"], &shown["waiting"]), (&json!([]), &json!(1)));
    let shown = then(&daemon, paused).await;
    assert_eq!(shown["jobs"][0]["state"], "paused", "{shown:#}");
    assert_eq!(shown["jobs"][0]["usage"]["cpu_percent"], 0);

    let shown = then(&daemon, running).await;
    assert_eq!(shown["at"], timestamp(running.wall_ms).to_string());
    assert_eq!(shown["waiting"], 1);
    let [then] = &shown["jobs"].as_array().unwrap()[..] else {
        panic!("{shown:#}");
    };
    assert_eq!(
        (&then["id"], &then["state"]),
        (&json!(job), &json!("running"))
    );
    assert_eq!(then.get("finished_at"), None, "that came later");
    assert_eq!(then.get("exit"), None);
    assert_eq!(then["progress"]["step"], 1.0, "{shown:#}");
    let usage = &then["usage"];
    assert_eq!(usage["cpu_percent"], 150);
    assert_eq!(usage["time"], timestamp(running.wall_ms).to_string());
    assert_eq!(
        usage["gpus"],
        json!([
            {"index": 3, "uuid": "GPU-1", "quality": "recorded", "utilization_percent": 85},
            {"uuid": "GPU-0", "quality": "recorded", "utilization_percent": 85},
        ])
    );
    assert_eq!(
        then["summary"],
        "train is using GPUs 3 (85 %), GPU-0 (85 %); step 1/4"
    );
    assert_eq!(shown["host"]["cpu"]["cores"][0]["cpu_percent"], 150);
    assert_eq!(shown["gpus"][0]["index"], 3);
    assert_eq!(shown["gpus"][0]["utilization_percent"], 60);
}

#[tokio::test]
async fn the_past_of_others_is_as_hidden_as_their_present() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 8_192);
    let spec = JobSpec::new(vec!["secret".to_owned()], "/");
    let job = daemon.submit_of(4_000_000, spec).await;
    daemon.started(job, 1).await;
    let at = timestamp(later().await.wall_ms);
    daemon.ended(job, 1, 0).await;
    let path = format!("/v1/operations?at={at}");
    let answer = daemon.call_as(subject(1_234), "GET", &path).await;
    assert_eq!(answer.json()["jobs"][0]["id"], job, "{answer:?}");
    assert!(answer.json()["jobs"][0].get("cwd").is_none());
    assert!(!answer.text().contains("command"));
}

#[tokio::test]
async fn what_is_still_to_come_is_not_told() {
    let daemon = Daemon::start();
    let answer = daemon.get("/v1/operations?at=2999-01-01T00:00:00Z").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.problem().field.as_deref(), Some("at"));
    let answer = daemon.get("/v1/operations?at=yesterday").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
