//! What keeps jobs from starting: groups, and a drained host.

use super::harness::*;
use crate::auth::Mode;
use crate::model::spec::JobSpec;
use crate::wire::error::ProblemKind;
use serde_json::{Value, json};

#[tokio::test]
async fn groups_are_made_paused_and_removed() {
    let daemon = Daemon::start();
    let made = daemon
        .call("PUT", "/v1/groups/train", Some(json!({ "parallelism": 2 })))
        .await;
    assert_eq!(
        made.json(),
        json!({ "name": "train", "parallelism": 2, "paused": false, "active": 0, "waiting": 0 })
    );
    daemon.post("/v1/groups/train/pause", json!({})).await;
    daemon
        .post("/v1/jobs", json!({ "command": ["a"], "group": "train" }))
        .await;
    let list = daemon.get("/v1/groups").await.json();
    let train = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["name"] == "train")
        .unwrap()
        .clone();
    assert_eq!(
        (&train["paused"], &train["waiting"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        daemon.get("/v1/jobs/1").await.json()["reason"],
        "GroupPaused"
    );
    let used = daemon
        .call("DELETE", "/v1/groups/train", None)
        .await
        .problem();
    assert!(used.is(ProblemKind::WrongState), "{used:?}");
    let resumed = daemon.post("/v1/groups/train/resume", json!({})).await;
    assert_eq!(resumed.json()["active"], 1);
    let none = daemon
        .post("/v1/groups/none/pause", json!({}))
        .await
        .problem();
    assert!(none.is(ProblemKind::NotFound), "{none:?}");
}

#[tokio::test]
async fn only_who_administers_drains_the_host_and_all_see_why_nothing_starts() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    let put = |uid, body: Value| {
        let body = body.to_string().into();
        daemon.post_as(subject(uid), "PUT", "/v1/drain", body)
    };
    let drain = |uid, draining: bool| put(uid, json!({ "draining": draining }));
    let refused = drain(1000, true).await.problem();
    assert!(refused.is(ProblemKind::NotPermitted), "{refused:?}");
    let told = drain(0, true).await.json();
    assert_eq!(told, json!({"draining": true, "active": 0}));
    let job = daemon
        .submit_of(1000, JobSpec::new(vec!["a".into()], "/"))
        .await;
    let path = format!("/v1/jobs/{job}");
    let seen = daemon.call_as(subject(1001), "GET", &path).await.json();
    assert_eq!(
        (&seen["state"], &seen["reason"]),
        (&json!("queued"), &json!("Draining"))
    );
    let told = drain(0, false).await.json();
    assert_eq!(told, json!({"draining": false, "active": 1}));
    let nonsense = put(0, json!({})).await.problem();
    assert!(nonsense.is(ProblemKind::InvalidRequest), "{nonsense:?}");
}
