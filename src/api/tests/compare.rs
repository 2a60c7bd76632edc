//! Runs side by side, over each axis.

use super::harness::*;
use crate::model::id::{AttemptId, JobId};
use crate::store::ProgressPoint;
use serde_json::{Value, json};

/// Ten seconds of a job that is as quick as this: so many steps of a hundred in a second.
async fn told(daemon: &Daemon, job: u64, pace: i64) {
    let begin_ms = jiff::Timestamp::now().as_second() * 1_000 - 3_600_000;
    let attempt = AttemptId {
        job: JobId(job),
        attempt: 1,
    };
    let point = |second: i64| {
        let step = second * pace;
        let body = json!({"percent": step, "step": step * 10, "total_steps": 1_000, "metrics": {"loss": 100 - step}});
        ProgressPoint {
            attempt,
            at_ms: begin_ms + second * 1_000,
            body: body.to_string(),
        }
    };
    daemon.store.record_progress((1..=10).map(point).collect());
    daemon.store.settle().await.unwrap();
}

/// Where each run was on the axis, and what it told there.
fn points(comparison: &Value, run: usize, quantity: usize) -> Vec<(f64, f64)> {
    let points = &comparison["runs"][run]["quantities"][quantity]["points"];
    let points = points.as_array().unwrap().iter();
    points
        .map(|it| (it["x"].as_f64().unwrap(), it["last"].as_f64().unwrap()))
        .collect()
}

#[tokio::test]
async fn runs_of_different_pace_meet_where_they_did_the_same() {
    let daemon = Daemon::start();
    for pace in [1, 2] {
        let job = daemon.submit("x").await;
        daemon.run(job).await;
        told(&daemon, job, pace).await;
    }
    let ask = async |x: &str| {
        let path = format!(
            "/v1/compare?run=1&run=2.1&x={x}&quantity=metric.loss&quantity=step&points=10000"
        );
        let answer = daemon.get(&path).await.json();
        assert_eq!(answer["x"], x);
        answer
    };
    let pace = |pace: i64, scale: i64, value: fn(i64) -> i64| -> Vec<(f64, f64)> {
        let steps = (1..=10).map(|second| second * pace);
        let points = steps.map(|step| ((step * scale) as f64, value(step) as f64));
        points.collect()
    };
    for (x, scale) in [("step", 10), ("percent", 1)] {
        let answer = ask(x).await;
        for (run, quick) in [(0, 1), (1, 2)] {
            // The same loss at the same place, however long it took to get there.
            let loss = points(&answer, run, 0);
            assert_eq!(
                loss,
                pace(quick, scale, |step| 100 - step),
                "{x} {answer:#}"
            );
            let steps = points(&answer, run, 1);
            assert_eq!(steps, pace(quick, scale, |step| step * 10), "{x}");
        }
        assert_eq!(answer["runs"][1]["quantities"][0]["name"], "metric.loss");
    }
    let over_time = ask("time").await;
    assert_ne!(points(&over_time, 0, 0), points(&ask("step").await, 0, 0));
    // Both are cut into the same cells: five of them from 1 to 20 percent.
    let path = "/v1/compare?run=1&run=2&x=percent&quantity=metric.loss&points=5";
    let coarse = daemon.get(path).await.json();
    let places = |run| -> Vec<f64> {
        let points = points(&coarse, run, 0).into_iter();
        points.map(|(x, _)| x).collect()
    };
    assert_eq!(places(0), [4.0, 8.0, 10.0]);
    assert_eq!(places(1), [4.0, 8.0, 12.0, 16.0, 20.0]);
    let wrong = daemon.get("/v1/compare?run=1&x=epoch").await.problem();
    assert_eq!(wrong.field.as_deref(), Some("x"), "{wrong:?}");
}
