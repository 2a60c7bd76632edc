//! Flows: counted, shown with their jobs, found by owner.

use super::harness::{Daemon, quick_limits, subject};
use crate::auth::Mode;
use crate::model::spec::JobSpec;
use axum::http::StatusCode;
use serde_json::{Value, json};

async fn submit(daemon: &Daemon, name: &str, flow: &str) -> u64 {
    let job = json!({"command": ["true"], "name": name, "flow": flow});
    let reply = daemon.post("/v1/jobs", job).await;
    reply.json()["ids"][0].as_u64().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_flow_is_as_far_as_its_jobs_are_together() {
    let daemon = Daemon::start();
    assert_eq!(daemon.get("/v1/flows").await.json()["items"], json!([]));
    for name in ["fetch", "train", "evaluate", "publish"] {
        submit(&daemon, name, "night ly%1").await;
    }
    daemon.submit("outside").await;
    daemon.run(1).await;
    daemon.started(2, 1).await;
    daemon.started(3, 1).await;
    daemon.ended(3, 1, 3).await;
    let report = json!({"step": 1, "total_steps": 5, "eta_seconds": 60});
    daemon.post("/v1/jobs/2/progress", report).await;
    let flow = daemon.get("/v1/flows/night%20ly%251").await.json();
    assert_eq!(
        flow["counts"],
        json!({"total": 4, "pending": 0, "running": 2, "completed": 1, "failed": 1, "cancelled": 0, "skipped": 0})
    );
    assert_eq!(flow["percent"], 30.0, "{flow:#}");
    assert_eq!(
        flow["states"],
        json!({"starting": 1, "running": 1, "completed": 1, "failed": 1})
    );
    assert!(
        flow.get("eta_seconds").is_none(),
        "one of them does not know"
    );
    assert!(flow["first_submitted_at"].is_string() && flow["last_finished_at"].is_string());
    let jobs: Vec<u64> = flow["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_u64().unwrap())
        .collect();
    assert_eq!(jobs, [4, 3, 2, 1]);
    daemon.run(4).await;
    let flow = daemon.get("/v1/flows/night%20ly%251?limit=1").await.json();
    assert_eq!(
        (&flow["percent"], &flow["next"]),
        (&json!(55.0), &json!("4"))
    );
    assert!(
        flow["eta_seconds"].as_f64().is_some_and(|eta| eta <= 60.0),
        "{flow:#}"
    );
    let rest = daemon
        .get("/v1/jobs?flow=night%20ly%251&cursor=4")
        .await
        .json();
    assert_eq!(rest["items"][0]["id"], 3);
}

#[tokio::test]
async fn flows_are_listed_page_by_page_the_newest_first() {
    let daemon = Daemon::start();
    for (name, flow) in [("a", "one"), ("b", "two"), ("c", "three"), ("d", "one")] {
        submit(&daemon, name, flow).await;
    }
    let page = daemon.get("/v1/flows?limit=2").await.json();
    assert_eq!(names(&page), ["one", "three"]);
    assert_eq!(page["items"][0]["counts"]["total"], 2);
    let next = page["next"].as_str().unwrap();
    let page = daemon
        .get(&format!("/v1/flows?limit=2&cursor={next}"))
        .await
        .json();
    assert_eq!((names(&page), page.get("next")), (vec!["two"], None));
    for (query, field) in [
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("flow=x", "flow"),
    ] {
        let problem = daemon.get(&format!("/v1/flows?{query}")).await.problem();
        assert_eq!(problem.field.as_deref(), Some(field), "{query}");
    }
    let missing = daemon.get("/v1/flows/four").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn of_several_flows_of_one_name_everybody_means_their_own() {
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    for uid in [1000, 1001] {
        let mut spec = JobSpec::new(vec!["x".into(), "secret".into()], "/");
        spec.flow = Some("nightly".into());
        daemon.submit_of(uid, spec).await;
    }
    let get = async |uid: u32, path: &str| daemon.call_as(subject(uid), "GET", path).await;
    for uid in [1000, 1001] {
        let flow = get(uid, "/v1/flows/nightly").await.json();
        assert_eq!(flow["owner"]["uid"], uid);
        assert_eq!(flow["counts"]["total"], 1);
    }
    let problem = get(1002, "/v1/flows/nightly").await.problem();
    assert_eq!(problem.field.as_deref(), Some("owner"));
    for owner in ["1001", "user1001"] {
        let flow = get(1002, &format!("/v1/flows/nightly?owner={owner}")).await;
        assert_eq!(flow.json()["owner"]["uid"], 1001);
        assert!(
            !flow.text().contains("secret"),
            "commands are their owner's"
        );
        let list = get(1002, &format!("/v1/flows?owner={owner}")).await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }
    let list = get(1002, "/v1/flows").await.json();
    assert_eq!(names(&list), ["nightly", "nightly"]);
    let nobody = get(1002, "/v1/flows/nightly?owner=nobody").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    assert_eq!(
        names(&get(1002, "/v1/flows?owner=nobody").await.json()),
        [""; 0]
    );
}
