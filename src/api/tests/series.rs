//! Progress over time: curves at a wanted resolution, series by name, and who sees them.

use super::harness::{Daemon, quick_limits, subject};
use crate::auth::Mode;
use crate::model::id::{AttemptId, JobId};
use crate::model::spec::JobSpec;
use crate::store::ProgressPoint;
use axum::http::StatusCode;
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

/// A minute of progress an hour ago, a point for every second.
pub(super) async fn record(daemon: &Daemon, job: u64) {
    let begin = jiff::Timestamp::now().as_millisecond() / 1000 * 1000 - HOUR_MS;
    let attempt = AttemptId {
        job: JobId(job),
        attempt: 1,
    };
    let point = |second: i64| {
        ProgressPoint {
        attempt,
        at_ms: begin + second * 1000,
        body: json!({"percent": second, "step": second, "phase": "fit", "metrics": {"loss": 60 - second, "a_b": 1}})
            .to_string(),
    }
    };
    daemon.store.record_progress((0..60).map(point).collect());
    daemon.store.settle().await.unwrap();
}

#[tokio::test]
async fn what_was_reported_is_in_the_history_at_once() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    for step in [1, 2] {
        let report = json!({"step": step, "total_steps": 4, "metrics": {"loss": 0.5}});
        let reply = daemon.post("/v1/jobs/1/progress", report).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT);
    }
    let last = |history: Value| history["items"].as_array().unwrap().last().unwrap().clone();
    let point = last(daemon.get("/v1/jobs/1/progress").await.json());
    let shown = daemon.get("/v1/jobs/1").await.json();
    assert_eq!(point["progress"], shown["progress"]);
    assert_eq!(point["progress"]["percent"], 50.0);
    let line = daemon
        .get("/v1/series/query?name=job/1/percent")
        .await
        .json();
    assert_eq!(line["items"][0]["points"][0]["last"], 50.0, "{line:#}");
    daemon.ended(job, 1, 0).await;
    let point = last(daemon.get("/v1/jobs/1/progress").await.json());
    let shown = daemon.get("/v1/jobs/1").await.json();
    assert_eq!(point["progress"], shown["attempts"][0]["progress"]);
}

#[tokio::test]
async fn a_curve_has_the_points_and_the_fields_that_were_asked_for() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.run(job).await;
    record(&daemon, job).await;
    let get = async |query: &str| {
        let path = format!("/v1/jobs/{job}/progress?{query}");
        daemon.get(&path).await.json()["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(get("").await.len(), 60);
    let ten = get("points=10").await;
    assert_eq!(ten.len(), 10);
    assert_eq!(ten[9]["progress"]["step"], 59.0);
    assert_eq!(
        ten[9]["spread"]["loss"],
        json!({"min": 1.0, "max": 6.0, "mean": 3.5, "count": 6})
    );
    assert!((3..=4).contains(&get("resolution=20s").await.len()));
    let only = get("points=2&fields=percent,loss").await;
    assert_eq!(
        only[1]["progress"],
        json!({"percent": 59.0, "metrics": {"loss": 1.0}})
    );
    assert!(only[1]["spread"].get("a_b").is_none());
    for (query, field) in [
        ("points=0", "points"),
        ("limit=20000", "limit"),
        ("points=5&limit=5", "limit"),
        ("resolution=soon", "resolution"),
        ("resolution=0s", "resolution"),
        ("field=step", "field"),
    ] {
        let path = format!("/v1/jobs/{job}/progress?{query}");
        let problem = daemon.get(&path).await.problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
}

#[tokio::test]
async fn series_are_found_by_name() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let report = json!({"step": 60, "total_steps": 60, "metrics": {"loss": 0.0, "a_b": 1.0}});
    daemon.post("/v1/jobs/1/progress", report).await;
    daemon.ended(job, 1, 0).await;
    record(&daemon, job).await;
    let list = daemon.get("/v1/series?job=1").await.json();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    let wanted = [
        "job/1/percent",
        "job/1/step",
        "job/1/metric.a_b",
        "job/1/metric.loss",
    ];
    assert_eq!(names, wanted);
    let path = "/v1/series/query?name=job/1/metric.loss,job/1/metric.a_b&name=job/1/rate&points=2";
    let data = daemon.get(path).await.json();
    let [loss, odd, rate] = data["items"].as_array().unwrap().as_slice() else {
        panic!("{data:#}");
    };
    assert_eq!(loss["name"], "job/1/metric.loss");
    // The report came an hour after the recorded minute.
    let first = &loss["points"][0];
    assert_eq!(
        (&first["last"], &first["max"], &first["count"]),
        (&json!(1.0), &json!(60.0), &json!(60))
    );
    assert_eq!(loss["points"][1]["last"], 0.0);
    assert_eq!(odd["points"][0]["last"], 1.0);
    assert_eq!(rate["points"], json!([]));
    for (query, field) in [
        ("series?entity=x", "entity"),
        ("series?job=x", "job"),
        ("series/query", "name"),
        ("series/query?name=percent", "name"),
        ("series/query?name=job/1/loss", "name"),
        ("series/query?name=job/1/percent&points=0", "points"),
    ] {
        let problem = daemon.get(&format!("/v1/{query}")).await.problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
    let missing = daemon.get("/v1/series/query?name=job/7/percent").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_metrics_of_others_are_theirs() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    let job = daemon
        .submit_of(1000, JobSpec::new(vec!["x".into()], "/"))
        .await;
    daemon.started(job, 1).await;
    daemon.ended(job, 1, 0).await;
    record(&daemon, job).await;
    for (uid, metric) in [(1000, StatusCode::OK), (1001, StatusCode::FORBIDDEN)] {
        let get = async |path: &str| daemon.call_as(subject(uid), "GET", path).await;
        let percent = get("/v1/series/query?name=job/1/percent").await;
        assert_eq!(percent.json()["items"][0]["points"][59]["last"], 59.0);
        let loss = get("/v1/series/query?name=job/1/metric.loss").await;
        assert_eq!(loss.status, metric, "{uid}: {loss:?}");
        let curve = get("/v1/jobs/1/progress?points=1").await.text();
        assert_eq!(curve.contains("loss"), uid == 1000, "{uid}: {curve}");
    }
}
