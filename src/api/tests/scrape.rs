//! What scrapers are given: bounded, and never less without saying so.

use super::harness::*;
use crate::model::metric::{Metric, Readings};
use crate::model::sample::{JobSample, Snapshot};
use axum::http::StatusCode;
use serde_json::json;
use std::sync::Arc;

/// So many jobs are exposed one by one.
const MOST: usize = 1_000;

fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

/// Runs jobs until there are so many, with something measured of each, and scrapes.
async fn scraped(daemon: &Daemon, count: usize) -> String {
    let active = daemon.get("/v1/operations").await.json();
    let more = count - active["jobs"].as_array().unwrap().len();
    let spec = json!({"command": ["true"], "name": "x"});
    let jobs = json!({ "jobs": vec![spec; more] });
    let reply = daemon.post("/v1/jobs", jobs).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let samples = (1..=count as u64).map(|job| {
        let attempt = attempt_id(job, 1);
        let readings: Readings = [(Metric::CpuSeconds, 1.5)].into_iter().collect();
        let sample = JobSample {
            at: now(),
            attempt,
            readings,
            gpus: Vec::new(),
        };
        (attempt, Arc::new(sample))
    });
    *daemon.gauges.newest.lock().unwrap() = Arc::new(Snapshot {
        jobs: samples.collect(),
        ..Snapshot::default()
    });
    daemon.get("/metrics").await.text()
}

#[tokio::test]
async fn jobs_beyond_what_is_exposed_are_counted() {
    let daemon = Daemon::start();
    let group = json!({"parallelism": 2 * MOST});
    daemon.call("PUT", "/v1/groups/default", Some(group)).await;
    for (count, left_out) in [(3, 0.0), (MOST, 0.0), (MOST + 7, 7.0)] {
        let text = scraped(&daemon, count).await;
        let of_jobs = text.lines();
        let of_jobs = of_jobs.filter(|line| line.starts_with("stoked_job_cpu_seconds_total{"));
        assert_eq!(of_jobs.count(), count.min(MOST));
        assert_eq!(value(&text, "stoked_jobs_left_out"), left_out, "of {count}");
        assert_eq!(
            value(&text, "stoked_jobs{state=\"starting\"}"),
            count as f64
        );
    }
}
