//! Flows: the common progress of jobs, as it happens, through restarts, and to the end.

use crate::harness::Host;
use crate::http::Ask;
use crate::stream::Message;
use serde_json::{Value, json};

fn counts(message: &Message) -> [u64; 3] {
    let counts = &message.data["body"]["counts"];
    ["pending", "running", "completed"].map(|sort| counts[sort].as_u64().unwrap())
}

fn in_flow(host: &Host, script: &str) -> u64 {
    host.submit(json!({"command": ["sh", "-c", script], "flow": "nightly"}))
}

#[test]
fn a_flow_is_told_as_it_gets_on() {
    let mut host = Host::start();
    let go = host.gate("go");
    let half = "printf '[1/2]\\n'; read x < $W/go";
    let first = in_flow(&host, half);
    host.reaches(first, "running");
    let mut events = host.events("channel=flow/*/progress&snapshot=1");
    let told = events.until(|it| it.kind == "flow" && it.data["body"]["percent"] == 50.0);
    assert_eq!(told.data["channel"], "flow/nightly/progress");
    assert!(
        told.seq().is_none() && told.id.is_none(),
        "it is not durable"
    );
    let held = host.submit(json!({"command": ["true"], "flow": "nightly", "hold": true}));
    let told = events.until(|it| it.data["body"]["percent"] == 25.0);
    assert_eq!(counts(&told), [1, 1, 0]);
    host.kill9();
    host.boot();
    let mut events = host.events("channel=flow/nightly/progress&snapshot=1");
    let told = events.until(|it| it.data["body"]["percent"] == 25.0);
    assert_eq!(counts(&told), [1, 1, 0]);
    go.open();
    events.until(|it| it.data["body"]["percent"] == 50.0 && counts(it) == [1, 0, 1]);
    host.act(held, "release");
    let last = events.until(|it| counts(it) == [0, 0, 2]);
    assert_eq!(last.data["body"]["percent"], 100.0);
    // What is over is of the past: a late joiner hears nothing of it, but can ask.
    let mut late = host.events("channel=flow/*/progress&snapshot=1");
    assert_eq!(late.next().unwrap().kind, "snapshot_end");
    let flow = host.get("/v1/flows/nightly");
    assert_eq!(flow["percent"], 100.0, "{flow:#}");
    assert_eq!(host.get("/v1/flows")["items"][0]["counts"]["completed"], 2);
    // It goes on with another job, and knows those before it.
    let again = in_flow(&host, "read x < $W/go");
    let told = late.until(|it| counts(it) == [0, 1, 2]);
    assert_eq!(told.data["body"]["counts"]["total"], 3);
    go.open();
    host.ended(again);
    // Somebody removes what is over while nothing of it runs: it is counted anew.
    let removed = host.send(&Ask::new("DELETE", format!("/v1/jobs/{again}")));
    assert_eq!(removed.status, 204, "{}", removed.text());
    assert_eq!(host.get("/v1/flows/nightly")["counts"]["total"], 2);
}

#[test]
fn the_client_shows_flows_and_waits_for_them() {
    let host = Host::start();
    for script in ["true", "exit 3", "true"] {
        host.ended(in_flow(&host, script));
    }
    let list: Value = serde_json::from_str(&host.stoke_ok(&["flows", "--json"])).unwrap();
    assert_eq!(list["items"][0]["counts"]["failed"], 1, "{list:#}");
    let page = host.stoke_ok(&["flows", "nightly"]);
    assert!(
        page.contains("✘ 1 failed  ✔ 2 completed") && page.contains("66%"),
        "{page}"
    );
    let status = |args: &[&str]| host.stoke(args).status.code();
    assert_eq!(status(&["wait", "--flow", "nightly"]), Some(3));
    assert_eq!(status(&["flows", "weekly"]), Some(4));
    assert_eq!(status(&["wait", "--flow", "weekly"]), Some(4));
}

/// Whoever watches one job is told its end by name, with what it measured, and then that this was all: also late, also
/// after a restart, also again.
#[test]
fn the_end_of_a_job_is_its_last_word() {
    let mut host = Host::start();
    let fails = "printf '{\"current_step\": 1, \"total_steps\": 4, \"loss\": 0.5, \"error\": \"out of memory\"}' \
                 > $STOKED_PROGRESS_FILE; read x < $W/go; exit 3";
    let go = host.gate("go");
    let id = host.sh(fails);
    let mut events = host.events(&format!("job={id}&snapshot=1"));
    let told = events.until(|it| it.kind == "progress");
    let body = &told.data["body"];
    assert_eq!(
        (&body["loss"], &body["current_step"], &body["progress"]),
        (&json!(0.5), &json!(1), &json!(25.0)),
        "{body:#}"
    );
    assert_eq!(
        (&body["status"], &body["error"]),
        (&json!("running"), &json!("out of memory"))
    );
    go.open();
    let is_end = |messages: Vec<Message>| {
        let [.., last, end] = messages.as_slice() else {
            panic!("{messages:#?}");
        };
        assert_eq!((last.kind.as_str(), end.kind.as_str()), ("failed", "end"));
        assert_eq!(last.data["type"], "failed");
        assert_eq!(last.data["channel"], format!("job/{id}/state"));
        let body = &last.data["body"];
        assert_eq!(body["metrics"], json!({"loss": 0.5}), "{body:#}");
        assert_eq!(
            (&body["progress"], &body["error"]),
            (&json!(25.0), &json!("out of memory"))
        );
        assert_eq!(
            (&body["state"], &body["exit"]["code"]),
            (&json!("failed"), &json!(3))
        );
        let others = messages.iter().filter(|it| it.state().is_some());
        let kinds: Vec<&str> = others.map(|it| it.kind.as_str()).collect();
        assert_eq!(
            kinds.iter().filter(|kind| **kind != "state").count(),
            1,
            "{kinds:?}"
        );
    };
    is_end(events.rest());
    is_end(host.events(&format!("job={id}")).rest());
    host.restart();
    is_end(host.events(&format!("job={id}")).rest());
    is_end(host.events(&format!("job={id}&after=0")).rest());
}
