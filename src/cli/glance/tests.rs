//! One look, and the events after it.

use super::*;
use serde_json::{Value, json};

const TIME: &str = "2026-11-22T12:00:00Z";

pub(crate) fn glance(seen: &Value, failed: &[Value]) -> Glance {
    let read = |job: &Value| serde_json::from_value(job.clone()).unwrap();
    let seen = serde_json::from_value(seen.clone()).unwrap();
    Glance::of(seen, failed.iter().map(read).collect())
}

pub(crate) fn job(id: u64, name: &str, state: &str) -> Value {
    json!({"id": id, "name": name, "state": state, "group": "default", "priority": 5,
        "owner": {"uid": 1, "user": "ann"}, "created_at": TIME, "summary": ""})
}

fn heard(glance: &mut Glance, seq: u64, channel: &str, body: Value) -> Change {
    let event = EventView {
        time: TIME.parse().unwrap(),
        channel: channel.into(),
        kind: "x".into(),
        seq: (seq > 0).then_some(seq),
        coalesced: None,
        body,
    };
    let cursor = event.seq.map(|seq| format!("e:{seq}").parse().unwrap());
    glance.hear(&event, cursor.as_ref())
}

fn moves(glance: &mut Glance, seq: u64, id: u64, from: Option<&str>, state: &str) -> Change {
    let body = json!({"job": id, "name": "n", "from": from, "state": state});
    heard(glance, seq, &format!("job/{id}/state"), body)
}

#[test]
fn events_count_from_where_the_look_ended() {
    let seen = json!({"as_of": "e:10", "jobs": [job(1, "a", "running")], "waiting": 2, "gpus": []});
    let mut glance = glance(&seen, &[]);
    let counts = |glance: &Glance| (glance.jobs.len(), glance.waiting);
    // What the look has seen already.
    assert_eq!(moves(&mut glance, 10, 3, None, "queued"), Change::Nothing);
    assert_eq!(counts(&glance), (1, 2));
    for (seq, id, from, state, counted) in [
        (11, 4, None, "queued", (1, 3)),
        (12, 4, Some("queued"), "starting", (2, 2)),
        (13, 4, Some("starting"), "running", (2, 2)),
        (14, 1, Some("running"), "backoff", (1, 3)),
        (15, 5, None, "held", (1, 4)),
        (16, 5, Some("held"), "cancelled", (1, 3)),
        (17, 4, Some("running"), "completed", (0, 3)),
    ] {
        assert_eq!(moves(&mut glance, seq, id, from, state), Change::Seen);
        assert_eq!(counts(&glance), counted, "{state}");
    }
    // Whose job it was is found out by looking.
    let failed = moves(&mut glance, 18, 6, Some("running"), "failed");
    assert_eq!(failed, Change::LookAgain);
}

#[test]
fn what_is_measured_belongs_to_jobs_that_are_there() {
    let seen = json!({"as_of": "e:1", "jobs": [job(1, "a", "running")], "waiting": 0, "gpus": []});
    let mut glance = glance(&seen, &[]);
    let progress = |percent: f64| json!({"job": 1, "attempt": 1, "status": "running", "progress": percent, "timestamp": TIME});
    let usage = json!({"job": 1, "attempt": 1, "time": TIME, "memory_bytes": 7});
    let gpu = json!({"time": TIME, "index": 0, "uuid": "u", "name": "g", "vendor": "nvidia", "condition": "ok",
        "condition_since": TIME});
    let mut says = |channel: &str, body: Value| heard(&mut glance, 0, channel, body);
    assert_eq!(says("job/1/progress", progress(40.0)), Change::Seen);
    assert_eq!(says("job/1/metrics", usage.clone()), Change::Seen);
    assert_eq!(says("gpu/0/metrics", gpu), Change::Seen);
    assert_eq!(says("job/9/progress", progress(40.0)), Change::Nothing);
    assert_eq!(says("gpu/0/metrics", json!({"new": 1})), Change::Nothing);
    assert_eq!(says("host/cpu/metrics", json!({})), Change::Nothing);
    assert_eq!(glance.jobs[&1].progress.percent, Some(40.0));
    assert!(glance.jobs[&1].usage.is_some() && glance.gpus.len() == 1);
    // What an earlier attempt reached is no progress of the next one.
    moves(&mut glance, 2, 1, Some("queued"), "starting");
    assert_eq!(glance.jobs[&1].progress.percent, None);
}

#[test]
fn failures_are_forgotten_in_time_and_when_somebody_cares() {
    let failed = |id: u64, at: &str| {
        let mut job = job(id, "f", "failed");
        job["finished_at"] = at.into();
        job
    };
    let seen = json!({"as_of": "e:1", "jobs": [], "waiting": 0, "gpus": []});
    let times = [
        "2026-11-22T12:03:00Z",
        "2026-11-22T12:01:00Z",
        "2026-11-22T12:02:00Z",
    ];
    let list = [
        failed(1, times[0]),
        failed(2, times[1]),
        failed(3, times[2]),
    ];
    let mut glance = glance(&seen, &list);
    assert_eq!(glance.oldest_failure(), times[1].parse().ok());
    glance.forget_failures(times[1].parse().unwrap());
    assert_eq!(glance.oldest_failure(), times[2].parse().ok());
    // It is tried again.
    moves(&mut glance, 2, 3, Some("failed"), "queued");
    assert_eq!(glance.oldest_failure(), times[0].parse().ok());
    let event = EventView {
        time: TIME.parse().unwrap(),
        channel: "job/1/state".into(),
        kind: "removed".into(),
        seq: Some(3),
        coalesced: None,
        body: json!({"job": 1}),
    };
    glance.hear(&event, Some(&"e:3".parse().unwrap()));
    assert_eq!(glance.oldest_failure(), None);
}
