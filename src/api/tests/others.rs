//! What somebody learns of the jobs of others, door by door: by the setting, and by nothing else.

use super::harness::*;
use super::operations::{set, snapshot};
use super::series::record;
use crate::auth::{Mode, Policy, Subject};
use crate::control::command::{Command, Verb};
use crate::model::access::Others;
use crate::model::event::Event;
use crate::model::id::JobId;
use crate::model::progress::{Observation, Source};
use crate::model::sample::Pass;
use crate::model::spec::JobSpec;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// Whose the job is, and somebody else.
const OWNER: u32 = 4_000_000;
const STRANGER: u32 = 4_000_001;

/// All that is private of the job has this in it.
const PRIVATE: &str = "private";

/// A daemon that tells so much of others, and a job that runs in it and uses a GPU.
async fn world(others: Others) -> Daemon {
    let mut policy = Policy::new(Mode::System);
    policy.access.others = others;
    let daemon = Daemon::under(policy, quick_limits(), 8_192);
    let mut spec = JobSpec::new(vec!["private-command".to_owned()], "/private-directory");
    "private-name".clone_into(&mut spec.name);
    spec.kind = Some("private-kind".to_owned());
    spec.flow = Some("private-flow".to_owned());
    spec.labels
        .insert("private-label".to_owned(), "private-value".to_owned());
    assert_eq!(daemon.submit_of(OWNER, spec).await, 1);
    daemon.started(1, 1).await;
    let observation = Observation {
        percent: Some(50.0),
        message: Some("private-message".to_owned()),
        ..Observation::new(Source::Api)
    };
    let verb = Verb::Report {
        attempt: None,
        observation: Box::new(observation),
    };
    let id = JobId(1);
    let reply = daemon.control.command(Command::Job { id, verb }).await;
    assert!(reply.is_ok(), "{reply:?}");
    record(&daemon, 1).await;
    let measured = snapshot(1);
    daemon.shared.samples.append(&Pass {
        at: now(),
        host: measured.host.clone(),
        gpus: measured.gpus.clone(),
        jobs: measured.jobs.values().cloned().collect(),
    });
    set(&daemon, measured);
    daemon
}

async fn get(daemon: &Daemon, subject: Subject, path: &str) -> Answered {
    daemon.call_as(subject, "GET", path).await
}

/// What can be asked about one job, and how that is answered to a stranger who sees its use, its state or nothing.
const DOORS: &[(&str, &str, [u16; 3])] = &[
    ("GET", "/v1/jobs/1", [200, 200, 404]),
    ("GET", "/v1/jobs/1/logs", [403, 403, 404]),
    ("GET", "/v1/jobs/1/progress", [200, 403, 404]),
    ("GET", "/v1/jobs/1/phases", [200, 403, 404]),
    ("GET", "/v1/compare?run=1&quantity=percent", [200, 403, 404]),
    (
        "GET",
        "/v1/compare?run=1.1&quantity=cpu.percent",
        [200, 403, 404],
    ),
    ("GET", "/v1/series?job=1", [200, 403, 404]),
    ("GET", "/v1/series?entity=job/1.1", [200, 200, 200]),
    (
        "GET",
        "/v1/series/query?name=job/1/percent",
        [200, 403, 404],
    ),
    (
        "GET",
        "/v1/series/query?name=job/1/cpu.percent",
        [200, 403, 404],
    ),
    (
        "GET",
        "/v1/series/query?name=job/1.1/cpu.percent",
        [200, 403, 200],
    ),
    ("POST", "/v1/jobs/1/hold", [403, 403, 404]),
    ("POST", "/v1/jobs/1/progress", [403, 403, 404]),
    ("DELETE", "/v1/jobs/1", [403, 403, 404]),
];

#[tokio::test]
async fn one_job_is_told_of_as_much_as_the_setting_says() {
    let levels = [Others::Usage, Others::States, Others::Nothing];
    for (level, others) in levels.into_iter().enumerate() {
        let daemon = world(others).await;
        for (method, path, wanted) in DOORS {
            let answer = daemon.call_as(subject(STRANGER), method, path).await;
            let status = answer.status.as_u16();
            assert_eq!(status, wanted[level], "{others:?} {path}: {answer:?}");
            if others == Others::Usage {
                continue;
            }
            assert!(!answer.text().contains(PRIVATE), "{path}: {answer:?}");
            if others == Others::Nothing {
                // Word for word what is said of a number that was never given.
                let never = path.replace("/1", "/999").replace("=1", "=999");
                let never = daemon.call_as(subject(STRANGER), method, &never).await;
                let same = never.text().replace("999", "1");
                assert_eq!(
                    (never.status.as_u16(), same),
                    (status, answer.text()),
                    "{path}"
                );
            } else if status == 403 {
                let problem = answer.problem();
                let hint = problem.hint.unwrap();
                assert!(hint.contains("add you to the group stoked"), "{hint}");
            }
        }
        // Whose it is, who administers and root see it whole.
        let mut admin = subject(STRANGER);
        admin.in_admin_group = true;
        for who in [subject(OWNER), admin, subject(0)] {
            let shown = get(&daemon, who.clone(), "/v1/jobs/1").await.text();
            assert!(shown.contains("private-command"), "{others:?}: {shown}");
            for path in [
                "/v1/jobs?name=private-name&label=private-label",
                "/v1/flows",
            ] {
                let list = get(&daemon, who.clone(), path).await.json();
                assert_eq!(
                    list["items"].as_array().unwrap().len(),
                    1,
                    "{others:?} {path}"
                );
            }
            let gpus = get(&daemon, who.clone(), "/v1/gpus").await.json();
            assert_eq!(gpus["items"][0]["processes"][0]["job"], 1);
            let exposed = get(&daemon, who, "/metrics").await.text();
            assert!(exposed.contains("name=\"private-name\""), "{others:?}");
        }
    }
}

#[tokio::test]
async fn of_a_state_nothing_is_told_but_that() {
    let daemon = world(Others::States).await;
    let stranger = || subject(STRANGER);
    let shown = get(&daemon, stranger(), "/v1/jobs/1").await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let attempt = &shown["attempts"][0];
    let wanted = json!({
        "id": 1, "group": "default", "owner": {"uid": OWNER, "user": format!("user{OWNER}")}, "state": "running",
        "created_at": text(&shown["created_at"]), "started_at": text(&shown["started_at"]), "attempt": 1,
        "attempts": [{
            "attempt": 1, "claimed_at": text(&attempt["claimed_at"]), "started_at": text(&attempt["started_at"])
        }]
    });
    assert_eq!(shown, wanted);
    let operations = get(&daemon, stranger(), "/v1/operations").await.json();
    assert_eq!(operations["jobs"][0]["summary"], "job 1 is running");
    assert!(operations["jobs"][0].get("usage").is_none());
    let at = jiff::Timestamp::now();
    let then = get(&daemon, stranger(), &format!("/v1/operations?at={at}")).await;
    assert_eq!(then.json()["jobs"][0]["id"], 1);
    assert!(!then.text().contains(PRIVATE) && then.json()["jobs"][0].get("usage").is_none());
    daemon.ended(1, 1, 7).await;
    let events = get(&daemon, stranger(), "/v1/events?job=1").await.text();
    assert!(events.contains("\"state\":\"failed\""), "{events}");
    let shown = get(&daemon, stranger(), "/v1/jobs/1").await.text();
    for text in [events, shown] {
        for hidden in [PRIVATE, "exit", "failure", "progress"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}

/// Lists and figures of all jobs: how many entries of them a stranger gets at each level.
const LISTS: &[(&str, &str, [usize; 3])] = &[
    ("/v1/jobs", "/items", [1, 1, 0]),
    ("/v1/jobs?owner=4000000&state=running", "/items", [1, 1, 0]),
    ("/v1/jobs?owner=user4000000", "/items", [1, 1, 0]),
    ("/v1/jobs?id=1", "/items", [1, 1, 0]),
    // What is hidden cannot be asked for.
    ("/v1/jobs?name=private-name", "/items", [1, 0, 0]),
    ("/v1/jobs?kind=private-kind", "/items", [1, 0, 0]),
    ("/v1/jobs?flow=private-flow", "/items", [1, 0, 0]),
    ("/v1/jobs?label=private-label", "/items", [0, 0, 0]),
    (
        "/v1/jobs?label=private-label=private-value",
        "/items",
        [0, 0, 0],
    ),
    ("/v1/flows", "/items", [1, 0, 0]),
    ("/v1/flows?owner=4000000", "/items", [1, 0, 0]),
    ("/v1/operations", "/jobs", [1, 1, 0]),
    ("/v1/operations", "/gpus/0/processes", [3, 2, 2]),
    ("/v1/gpus", "/items/0/processes", [3, 2, 2]),
];

#[tokio::test]
async fn lists_leave_out_what_is_not_to_be_known() {
    let levels = [Others::Usage, Others::States, Others::Nothing];
    for (level, others) in levels.into_iter().enumerate() {
        let daemon = world(others).await;
        for (path, place, wanted) in LISTS {
            let answer = get(&daemon, subject(STRANGER), path).await;
            let list = answer.json();
            let items = list.pointer(place).and_then(Value::as_array);
            let count = items.map_or(usize::MAX, Vec::len);
            assert_eq!(count, wanted[level], "{others:?} {path}: {list}");
            let may_be_private = others == Others::Usage;
            assert!(may_be_private || !answer.text().contains(PRIVATE), "{path}");
        }
        let at = jiff::Timestamp::now();
        let then = get(
            &daemon,
            subject(STRANGER),
            &format!("/v1/operations?at={at}"),
        )
        .await;
        let then = then.json()["jobs"].as_array().unwrap().len();
        assert_eq!(then, usize::from(others != Others::Nothing), "{others:?}");
        let is_usage = others == Others::Usage;
        let exposed = get(&daemon, subject(STRANGER), "/metrics").await.text();
        assert_eq!(exposed.contains("job=\"1\""), is_usage, "{others:?}");
        assert!(
            exposed.contains("stoked_jobs{state=\"running\"} 1"),
            "counts are told"
        );
        let series = get(&daemon, subject(STRANGER), "/v1/series").await.text();
        assert_eq!(series.contains("job/1"), is_usage, "{others:?}: {series}");
        assert!(series.contains("host/cpu.percent"), "{series}");
        for path in [
            "private-flow",
            "private-flow?owner=4000000",
            "private-flow?owner=user4000000",
        ] {
            let flow = get(&daemon, subject(STRANGER), &format!("/v1/flows/{path}")).await;
            assert_eq!(flow.status == 200, is_usage, "{others:?} {path}");
            if !is_usage {
                let never = path.replace("private", "never");
                let never = get(&daemon, subject(STRANGER), &format!("/v1/flows/{never}")).await;
                assert_eq!(flow.text(), never.text().replace("never", "private"));
            }
        }
    }
}

/// All that a stranger is told by a stream, up to the last of what is there when it begins.
async fn told(daemon: &Daemon, query: &str, last: &str) -> String {
    let path = format!("/v1/events?{query}");
    let stream = daemon
        .ask_as(subject(STRANGER), "GET", &path, Body::empty())
        .await;
    let mut body = stream.into_body();
    let mut text = String::new();
    while !text.contains(last) {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn streams_tell_no_more_than_lists() {
    for others in [Others::Usage, Others::States, Others::Nothing] {
        let daemon = world(others).await;
        // Nobody's, and it names a job all the same.
        let process = json!({"pid": 7, "job": 1, "attempt": 1, "name": "private-process"});
        daemon.bus.publish(&[Event {
            seq: None,
            at_ms: 0,
            channel: "gpu/0/metrics".into(),
            kind: "metrics".into(),
            uid: None,
            is_final: false,
            body: json!({"processes": [process]}).to_string().into(),
        }]);
        let mut spec = JobSpec::new(vec!["x".to_owned()], "/");
        spec.not_before_ms = Some(i64::MAX);
        "own-job".clone_into(&mut spec.name);
        daemon.submit_of(STRANGER, spec).await;
        for (query, last) in [
            ("after=0&channel=*/*/*", "own-job"),
            ("channel=*/*/*&snapshot=1", "snapshot_end"),
            ("channel=job/*/*&after=0", "own-job"),
        ] {
            let text = told(&daemon, query, last).await;
            let case = format!("{others:?} {query}: {text}");
            let sees = others != Others::Nothing;
            assert_eq!(text.contains("job/1/state"), sees, "{case}");
            assert_eq!(
                text.contains("private-name"),
                others == Others::Usage,
                "{case}"
            );
            if others != Others::Usage {
                assert!(
                    !text.contains(PRIVATE) && !text.contains("job/1/progress"),
                    "{case}"
                );
            }
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_what_he_may_not_know_of() {
    let body = || Body::from(r#"{"command": ["x"], "after_ok": [1]}"#);
    for (others, wanted) in [(Others::States, 201), (Others::Nothing, 400)] {
        let daemon = world(others).await;
        let asked = daemon.post_as(subject(STRANGER), "POST", "/v1/jobs", body());
        let answer = asked.await;
        assert_eq!(answer.status.as_u16(), wanted, "{answer:?}");
        let own = daemon.post_as(subject(OWNER), "POST", "/v1/jobs", body());
        assert_eq!(own.await.status, 201);
    }
}

#[tokio::test]
async fn a_denial_says_what_is_needed() {
    let daemon = world(Others::Usage).await;
    for (path, privilege) in [
        ("/v1/jobs/1/hold", "manage-others"),
        ("/v1/groups/default/pause", "set-limits"),
    ] {
        let denied = daemon.call_as(subject(STRANGER), "POST", path).await;
        let wanted = format!(
            "needs io.stoked.Stoked1.{privilege}: run it with sudo, or ask an administrator to add you to the group stoked"
        );
        assert_eq!(denied.problem().hint, Some(wanted));
    }
    let denied = get(&daemon, subject(STRANGER), "/v1/jobs/1/logs").await;
    assert!(denied.problem().hint.unwrap().contains("read-others"));
}
