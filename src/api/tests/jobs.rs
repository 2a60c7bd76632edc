//! Submit, list, show, verbs, progress, groups — and who sees what of it.

use super::harness::*;
use crate::auth::Mode;
use crate::control::command::{Command, Reply};
use crate::model::access::Quota;
use crate::model::spec::JobSpec;
use crate::wire::error::ProblemKind;
use axum::http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_goes_its_whole_way() {
    let daemon = Daemon::start();
    let reply = daemon
        .post("/v1/jobs", json!({
            "command": ["python", "train.py"], "name": "train", "cwd": "/tmp", "kind": "train",
            "env": { "TOKEN": "secret", "PATH": "/bin" }, "labels": { "a": "b" }, "timeout": "1h",
            "retry": { "attempts": 3 }
        }))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.headers["stoked-api"], "1");
    assert_eq!(reply.json(), json!({ "ids": [1] }));

    daemon.started(1, 1).await;
    let report = json!({ "step": 500, "total_steps": 1000, "metrics": { "loss": 0.5 } });
    let reply = daemon.post("/v1/jobs/1/progress", report).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{reply:?}");
    let job = daemon.get("/v1/jobs/1").await.json();
    assert_eq!(job["state"], "running");
    assert_eq!(job["progress"]["percent"], 50.0);
    assert_eq!(job["progress"]["source"], "api");
    assert_eq!(job["env_names"], json!(["PATH", "TOKEN"]));
    assert_eq!(
        (&job["pid"], &job["max_attempts"], &job["timeout"]),
        (&json!(4711), &json!(3), &json!(3600))
    );
    assert!(!job.to_string().contains("secret"));

    daemon.ended(1, 1, 0).await;
    let job = daemon.get("/v1/jobs/1").await.json();
    assert_eq!(
        (&job["state"], &job["exit"]["code"]),
        (&json!("completed"), &json!(0))
    );
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    let again = daemon.post("/v1/jobs/1/retry", json!({})).await;
    assert_eq!(again.status, StatusCode::OK, "{again:?}");
    let gone = daemon.call("DELETE", "/v1/jobs/1", None).await;
    assert!(gone.problem().is(ProblemKind::WrongState));
    let reply = daemon
        .post("/v1/jobs/1/cancel", json!({ "grace": 0 }))
        .await;
    assert_eq!(reply.json()["state"], "stopping", "{reply:?}");
}

#[tokio::test]
async fn finished_jobs_can_be_removed() {
    let daemon = Daemon::start();
    for how in ["POST /v1/jobs/1/remove", "DELETE /v1/jobs/2"] {
        let (method, path) = how.split_once(' ').unwrap();
        let job = daemon.submit("x").await;
        daemon.run(job).await;
        let reply = daemon.call(method, path, None).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{reply:?}");
        let gone = daemon.get(&format!("/v1/jobs/{job}")).await;
        assert!(gone.problem().is(ProblemKind::NotFound));
    }
}

#[tokio::test]
async fn a_key_makes_a_repetition_the_same_submission() {
    let daemon = Daemon::start();
    let submit = async |key: &str, body: &'static str| {
        let request = Request::post("http://stoked/v1/jobs")
            .header("host", "stoked")
            .header("idempotency-key", key)
            .body(Full::from(body))
            .unwrap();
        daemon.send(request).await
    };
    let body = "{\"jobs\": [{\"command\": [\"a\"]}, {\"command\": [\"b\"]}]}";
    assert_eq!(submit("k", body).await.json(), json!({ "ids": [1, 2] }));
    assert_eq!(
        submit("k", body).await.json(),
        json!({ "ids": [1, 2], "repeated": true })
    );
    let other = submit("k", "{\"command\": [\"c\"]}").await;
    assert!(other.problem().is(ProblemKind::KeyReused));
    let long = submit(&"k".repeat(300), body).await.problem();
    assert_eq!(long.field.as_deref(), Some("Idempotency-Key"));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let daemon = Daemon::start();
    for (body, field) in [
        (json!({ "command": [] }), "command"),
        (json!({ "command": [""] }), "command"),
        (json!({ "command": ["a", "b\u{0}"] }), "command[1]"),
        (json!({ "command": ["a"], "comand": 1 }), "comand"),
        (json!({ "command": ["a"], "name": "x\u{1b}[31m" }), "name"),
        (json!({ "command": ["a"], "name": "x\u{202e}y" }), "name"),
        (json!({ "command": ["a"], "name": " " }), "name"),
        (json!({ "command": ["a"], "name": "n".repeat(129) }), "name"),
        (json!({ "command": ["a"], "name": "12" }), "name"),
        (json!({ "command": ["a"], "name": "5-9" }), "name"),
        (json!({ "command": ["a"], "name": "@" }), "name"),
        (json!({ "command": ["a"], "name": "a,b" }), "name"),
        (json!({ "command": ["a"], "flow": "a/b" }), "flow"),
        (json!({ "command": ["a"], "cwd": "work" }), "cwd"),
        (json!({ "command": ["a"], "priority": 10 }), "priority"),
        (json!({ "command": ["a"], "timeout": 0 }), "timeout"),
        (json!({ "command": ["a"], "timeout": "soon" }), "timeout"),
        (
            json!({ "command": ["a"], "stop_signal": "TREM" }),
            "stop_signal",
        ),
        (json!({ "command": ["a"], "env": { "A=B": "" } }), "env"),
        (
            json!({ "command": ["a"], "env": { "A": "x\u{0}" } }),
            "env.A",
        ),
        (
            json!({ "command": ["a"], "labels": { "k": "v".repeat(300) } }),
            "labels.k",
        ),
        (
            json!({ "command": ["a"], "retry": { "attempts": 0 } }),
            "retry.attempts",
        ),
        (
            json!({ "command": ["a"], "retry": { "attempts": 2, "on": ["opm"] } }),
            "retry.on[0]",
        ),
        (
            json!({ "command": ["a"], "hold": true, "needs_approval": true }),
            "hold",
        ),
        (json!({ "command": ["a"], "umask": 512 }), "umask"),
        (json!({ "command": ["a"], "group": "a/b" }), "group"),
        (json!({ "command": ["a"], "after_ok": [99] }), "after_ok"),
        (
            json!({ "jobs": [{ "command": ["a"] }, { "command": ["a"], "priority": 11 }] }),
            "jobs[1].priority",
        ),
        (json!({ "jobs": [] }), "jobs"),
    ] {
        let reply = daemon.post("/v1/jobs", body.clone()).await;
        let problem = reply.problem();
        assert!(
            problem.is(ProblemKind::InvalidRequest),
            "{body}: {problem:?}"
        );
        assert_eq!(problem.field.as_deref(), Some(field), "{body}: {problem:?}");
    }
    let unknown = daemon
        .post("/v1/jobs", json!({ "command": ["a"], "group": "none" }))
        .await
        .problem();
    assert!(
        unknown.is(ProblemKind::NotFound) && unknown.hint.is_some(),
        "{unknown:?}"
    );
    assert_eq!(daemon.get("/v1/jobs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn bodies_of_another_type_and_torn_ones_are_refused() {
    let daemon = Daemon::start();
    let form = Request::post("http://stoked/v1/jobs")
        .header("host", "stoked")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from("command=a"))
        .unwrap();
    let problem = daemon.send(form).await.problem();
    assert_eq!(problem.field.as_deref(), Some("Content-Type"));
    assert!(problem.hint.unwrap().contains("application/json"));
    let torn = Request::post("http://stoked/v1/jobs")
        .header("host", "stoked")
        .body(Full::from("{\"command\": [\"a\""))
        .unwrap();
    assert_eq!(
        daemon.send(torn).await.problem().title,
        "the body is not JSON"
    );
    let nothing = daemon.call("POST", "/v1/jobs", None).await;
    assert!(nothing.problem().is(ProblemKind::InvalidRequest));
}

#[tokio::test]
async fn lists_are_filtered_paged_and_say_when_they_were_true() {
    let daemon = Daemon::start();
    let mut jobs = Vec::new();
    for index in 0..5 {
        let kind = if index % 2 == 0 { "even" } else { "odd" };
        jobs.push(json!({ "command": ["a"], "name": format!("n{index}"), "kind": kind, "labels": { "i": index.to_string() } }));
    }
    daemon.post("/v1/jobs", json!({ "jobs": jobs })).await;
    daemon.run(1).await;
    let ids = async |query: &str| {
        let list = daemon.get(&format!("/v1/jobs?{query}")).await.json();
        let items = list["items"]
            .as_array()
            .unwrap_or_else(|| panic!("{list}"))
            .clone();
        items
            .iter()
            .map(|job| job["id"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [5, 4, 3, 2, 1]);
    assert_eq!(ids("state=completed").await, [1]);
    assert_eq!(ids("state=live").await, [5, 4, 3, 2]);
    assert_eq!(ids("state=starting,completed&kind=even").await, [5, 3, 1]);
    assert_eq!(ids("label=i=3").await, [4]);
    assert_eq!(ids("label=i&name=n0").await, [1]);
    assert_eq!(ids(&format!("owner={}", own_uid())).await.len(), 5);
    assert_eq!(ids("owner=nobody-there").await.len(), 0);
    assert_eq!(ids("id=2-3,5,7-10").await, [5, 3, 2]);
    assert_eq!(ids("id=2-900&kind=even&limit=1").await, [5]);
    assert_eq!(
        ids("since=2001-01-01T00:00:00Z&until=2002-01-01T00:00:00Z")
            .await
            .len(),
        0
    );
    let first = daemon.get("/v1/jobs?limit=2").await.json();
    assert_eq!(first["next"], "4");
    assert_eq!(ids("limit=2&cursor=4").await, [3, 2]);
    let last = daemon.get("/v1/jobs?limit=2&cursor=2").await.json();
    assert!(last.get("next").is_none(), "{last}");
    let (_, head) = daemon.bus.bounds();
    assert_eq!(first["as_of"], format!("{}:{head}", daemon.bus.epoch()));
    assert_eq!(first["items"][0]["reason"], Value::Null);

    for (query, field) in [
        ("stat=queued", "stat"),
        ("state=runing", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("since=yesterday", "since"),
        ("limit=1&limit=2", "limit"),
        ("id=x", "id"),
        ("id=3-2", "id"),
        ("id=-2", "id"),
        ("id=1-10001", "id"),
        ("id=1-9999,20000-20001", "id"),
    ] {
        let problem = daemon.get(&format!("/v1/jobs?{query}")).await.problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
}

#[tokio::test]
async fn verbs_are_refused_with_the_state_that_forbids_them() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    for (verb, body) in [
        ("release", json!({})),
        ("resume", json!({})),
        ("edit", json!({ "name": "y" })),
        ("remove", json!({})),
    ] {
        let problem = daemon
            .post(&format!("/v1/jobs/{job}/{verb}"), body)
            .await
            .problem();
        assert!(problem.is(ProblemKind::WrongState), "{verb}: {problem:?}");
        assert!(problem.title.contains("running"), "{verb}: {problem:?}");
    }
    for (verb, body, field) in [
        ("signal", json!({ "signal": "USR9" }), "signal"),
        ("signal", json!({ "signal": "65" }), "signal"),
        ("cancel", json!({ "grase": 1 }), "grase"),
        ("pause", json!({ "now": true }), "now"),
        ("edit", json!({}), "body"),
    ] {
        let problem = daemon
            .post(&format!("/v1/jobs/{job}/{verb}"), body)
            .await
            .problem();
        assert_eq!(problem.field.as_deref(), Some(field), "{verb}: {problem:?}");
    }
    let reply = daemon
        .post(
            &format!("/v1/jobs/{job}/signal"),
            json!({ "signal": "usr1", "to": "all" }),
        )
        .await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    for (path, title) in [
        ("/v1/jobs/99/cancel", "there is no job 99"),
        ("/v1/jobs/train/cancel", "there is no job \"train\""),
    ] {
        let problem = daemon.call("POST", path, None).await.problem();
        assert!(
            problem.is(ProblemKind::NotFound) && problem.title.starts_with(title),
            "{problem:?}"
        );
    }
}

#[tokio::test]
async fn a_report_of_another_attempt_is_refused() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let path = format!("/v1/jobs/{job}/progress");
    let problem = daemon
        .post(&path, json!({ "step": 1, "attempt": 2 }))
        .await
        .problem();
    assert!(problem.is(ProblemKind::WrongState), "{problem:?}");
    let problem = daemon
        .post(&path, json!({ "percent": 101 }))
        .await
        .problem();
    assert_eq!(problem.field.as_deref(), Some("percent"));
    let problem = daemon
        .post(
            &path,
            json!({ "steps": [{ "name": "a", "state": "almost" }] }),
        )
        .await
        .problem();
    assert_eq!(problem.field.as_deref(), Some("steps[0].state"));
    let history = daemon.get(&path).await.json();
    assert_eq!(history["attempt"], 1);
    let missing = daemon.get(&format!("{path}?attempt=2")).await.problem();
    assert!(missing.is(ProblemKind::NotFound));
}

#[tokio::test]
async fn a_report_that_cannot_be_true_or_kept_is_refused() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let path = format!("/v1/jobs/{job}/progress");
    let metrics = |from: u32, to: u32| -> serde_json::Value {
        let metrics = (from..to).map(|number| (number.to_string(), json!(1)));
        serde_json::Value::Object(metrics.collect())
    };
    let steps = |from: u32, to: u32| -> Vec<serde_json::Value> {
        let step = |number: u32| json!({ "name": number.to_string(), "state": "pending" });
        (from..to).map(step).collect()
    };
    let twice = [steps(0, 1), steps(0, 1)].concat();
    for (report, field) in [
        (json!({ "step": 5, "total_steps": 3 }), "step"),
        (json!({ "step": -1 }), "step"),
        (json!({ "epoch": 5, "total_epochs": 3 }), "epoch"),
        (json!({ "epoch": 0, "total_epochs": 0 }), "total_epochs"),
        (
            json!({ "steps": [{ "name": " ", "state": "started" }] }),
            "steps[0].name",
        ),
        (json!({ "steps": twice }), "steps[1].name"),
        (json!({ "steps": steps(0, 300) }), "steps"),
        (json!({ "metrics": metrics(0, 65) }), "metrics"),
    ] {
        let problem = daemon.post(&path, report).await.problem();
        assert!(problem.is(ProblemKind::InvalidRequest), "{problem:?}");
        assert_eq!(problem.field.as_deref(), Some(field), "{problem:?}");
    }
    let most = json!({ "steps": steps(0, 200), "metrics": metrics(0, 64) });
    assert_eq!(daemon.post(&path, most.clone()).await.status, 204);
    assert_eq!(daemon.post(&path, most).await.status, 204);
    for (report, title) in [
        (json!({ "steps": steps(200, 201) }), "200 steps"),
        (json!({ "metrics": { "one more": 1 } }), "64 metrics"),
    ] {
        let problem = daemon.post(&path, report).await.problem();
        assert!(problem.title.ends_with(title), "{problem:?}");
        assert_eq!(problem.status, 400);
    }
}

#[tokio::test]
async fn strangers_see_names_and_states_only() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    let mut spec = JobSpec::new(vec!["train".into(), "secret".into()], "/home/secret");
    spec.labels.insert("secret".into(), "secret".into());
    let job = daemon.submit_of(1000, spec).await;
    for (uid, sees_all) in [(1000, true), (0, true), (1001, false)] {
        for path in [format!("/v1/jobs/{job}"), "/v1/jobs".to_owned()] {
            let reply = daemon.call_as(subject(uid), "GET", &path).await;
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.text().contains("secret"), sees_all, "{uid} {path}");
            assert!(reply.text().contains("starting"));
        }
        for (method, path) in [
            ("GET", format!("/v1/jobs/{job}/logs")),
            ("POST", format!("/v1/jobs/{job}/hold")),
        ] {
            let reply = daemon.call_as(subject(uid), method, &path).await;
            assert_eq!(
                reply.status == StatusCode::FORBIDDEN,
                !sees_all,
                "{uid} {path}: {reply:?}"
            );
        }
    }
    for (uid, may) in [(0, true), (1000, false)] {
        let reply = daemon
            .call_as(subject(uid), "POST", "/v1/groups/default/pause")
            .await;
        assert_eq!(reply.status == StatusCode::OK, may, "{uid}: {reply:?}");
    }
}

#[tokio::test]
async fn limits_of_a_waiting_job_are_changed_one_by_one() {
    let daemon = Daemon::that_limits();
    let limits = json!({ "memory_max_bytes": 1_000, "tasks_max": 7, "gpus": [0] });
    let spec = json!({ "command": ["a"], "hold": true, "limits": limits });
    assert_eq!(daemon.post("/v1/jobs", spec).await.status, 201);
    let edit = async |limits: Value| {
        let body = json!({ "limits": limits });
        daemon.post("/v1/jobs/1/edit", body).await
    };
    let change = json!({
        "memory_max_bytes": 2_000, "cpu_weight": 50, "io_weight": 20, "allowed_cpus": "0-1,1", "gpus": [2, 1, 1]
    });
    let wanted = json!({
        "memory_max_bytes": 2_000, "cpu_weight": 50, "io_weight": 20, "tasks_max": 7, "allowed_cpus": "0-1", "gpus": [1, 2]
    });
    assert_eq!(edit(change).await.json()["limits"], wanted);
    let none = json!({
        "memory_max_bytes": 0, "cpu_weight": 0, "io_weight": 0, "tasks_max": 0, "allowed_cpus": "all", "gpus": "all"
    });
    assert_eq!(edit(none).await.json().get("limits"), None);
    let shown = daemon.get("/v1/jobs/1").await.json();
    assert_eq!(shown.get("limits"), None, "{shown}");
    for (limits, field) in [
        (json!({ "cpu_weight": 10_001 }), "limits.cpu_weight"),
        (json!({ "io_weight": 10_001 }), "limits.io_weight"),
        (json!({ "allowed_cpus": "x" }), "limits.allowed_cpus"),
        (json!({ "gpus": "none" }), "limits.gpus"),
        (json!({ "memory": 1 }), "limits.memory"),
    ] {
        let refused = edit(limits).await.problem();
        assert_eq!(refused.field.as_deref(), Some(field), "{refused:?}");
    }
}

#[tokio::test]
async fn a_limit_that_nobody_would_keep_is_refused_and_one_that_is_taken_away_is_not() {
    let daemon = Daemon::start();
    daemon
        .post("/v1/jobs", json!({ "command": ["a"], "hold": true }))
        .await;
    let edit = async |limits: Value| {
        let body = json!({ "limits": limits });
        daemon.post("/v1/jobs/1/edit", body).await
    };
    let refused = edit(json!({ "tasks_max": 7 })).await.problem();
    assert_eq!(refused.field.as_deref(), Some("limits"), "{refused:?}");
    let refused = edit(json!({ "gpus": [] })).await.problem();
    assert_eq!(refused.field.as_deref(), Some("limits"), "{refused:?}");
    let taken = edit(json!({ "tasks_max": 0, "gpus": "all" })).await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
}

#[tokio::test]
async fn too_many_jobs_of_one_user_are_refused_together() {
    let daemon = Daemon::start();
    let quota = Quota {
        most: Some(2),
        root_is_exempt: false,
    };
    let reply = daemon.control.command(Command::SetQuota(quota)).await;
    assert!(matches!(reply, Ok(Reply::Noted)), "{reply:?}");
    daemon.submit("one").await;
    let two = json!({ "jobs": [{ "command": ["a"] }, { "command": ["b"] }] });
    let refused = daemon.post("/v1/jobs", two).await.problem();
    assert!(refused.is(ProblemKind::LimitReached), "{refused:?}");
    assert!(
        refused.title.contains("may have 2 unfinished jobs, has 1"),
        "{refused:?}"
    );
    let hint = refused.hint.unwrap();
    assert!(hint.contains("access.max_jobs_per_user"), "{hint}");
    assert_eq!(refused.retry_after_ms, None, "time alone does not help");
    let list = daemon.get("/v1/jobs").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    daemon.submit("two").await;
}
