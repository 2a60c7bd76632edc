//! What starts when: places, priorities, dependencies, holding, pausing, times and repetitions.

use crate::harness::Host;
use crate::http::Ask;
use crate::stream::Message;
use serde_json::{Value, json};
use std::fs;

/// A group with so many places.
fn group(host: &Host, name: &str, places: u32) {
    let ask = Ask::new("PUT", format!("/v1/groups/{name}")).json(&json!({"parallelism": places}));
    host.send(&ask).ok();
}

/// Everything durable that ever happened.
fn history(host: &Host) -> Vec<Message> {
    let mut events = host.events("after=0");
    let head = events.head();
    let mut history = Vec::new();
    while history.last().and_then(Message::seq) != Some(head) {
        history.push(events.next().unwrap());
    }
    history
}

#[test]
fn urgent_jobs_go_first_and_a_group_keeps_to_its_places() {
    let host = Host::start();
    group(&host, "one", 1);
    let go = host.gate("go");
    let first = host.submit(json!({"command": ["sh", "-c", "read x < $W/go"], "group": "one"}));
    host.reaches(first, "running");
    let spec = |priority: u8| {
        host.complete(json!({"command": ["true"], "group": "one", "priority": priority}))
    };
    let specs: Vec<Value> = [5, 1, 9, 1, 5].map(spec).into();
    let answer = host.post("/v1/jobs", &json!({"jobs": specs})).ok();
    let ids: Vec<u64> = answer["ids"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    for id in &ids {
        let job = host.job(*id);
        assert_eq!(
            (&job["state"], &job["reason"]),
            (&json!("queued"), &json!("GroupLimit")),
            "{job:#}"
        );
    }
    go.open();
    ids.iter().for_each(|id| drop(host.ended(*id)));
    let expected = [first, ids[1], ids[3], ids[0], ids[4], ids[2]];
    let started: Vec<u64> = history(&host)
        .iter()
        .filter_map(|message| message.state())
        .filter_map(|(job, state)| (state == "running").then_some(job))
        .collect();
    assert_eq!(started, expected);
}

#[test]
fn never_more_jobs_run_than_there_are_places() {
    let host = Host::start();
    group(&host, "two", 2);
    let specs: Vec<Value> = (0..20)
        .map(|_| host.complete(json!({"command": ["true"], "group": "two"})))
        .collect();
    host.post("/v1/jobs", &json!({"jobs": specs})).ok();
    (1..=20).for_each(|id| drop(host.ended(id)));
    let mut holding = std::collections::BTreeSet::new();
    let mut most = 0;
    for message in history(&host) {
        match message.state() {
            Some((job, "starting" | "running")) => drop(holding.insert(job)),
            Some((job, "completed")) => drop(holding.remove(&job)),
            _ => {}
        }
        most = most.max(holding.len());
    }
    assert_eq!(most, 2);
    assert!(holding.is_empty());
}

#[test]
fn a_chain_runs_in_order_and_breaks_as_a_whole() {
    let host = Host::start();
    let order = host.path("order");
    let say = |name: &str, code: u8| format!("echo {name} >> {}; exit {code}", order.display());
    let job = |name: &str, code: u8, after: Value| {
        host.complete(
            json!({"name": name, "command": ["sh", "-c", say(name, code)], "after_ok": after}),
        )
    };
    let jobs = json!({"jobs": [
        job("c", 0, json!(["b"])),
        job("b", 0, json!(["a"])),
        job("a", 0, json!([])),
        job("bad", 1, json!(["c"])),
        job("never", 0, json!(["bad"])),
        job("neither", 0, json!(["never"])),
    ]});
    let answer = host.post("/v1/jobs", &jobs).ok();
    assert_eq!(answer["ids"], json!([1, 2, 3, 4, 5, 6]));
    let states: Vec<Value> = (1..=6).map(|id| host.ended(id)["state"].clone()).collect();
    assert_eq!(
        states,
        [
            "completed",
            "completed",
            "completed",
            "failed",
            "skipped",
            "skipped"
        ]
    );
    assert_eq!(fs::read_to_string(&order).unwrap(), "a\nb\nc\nbad\n");
    let skipped = host.job(6);
    assert_eq!(skipped["failure"]["class"], "dependency", "{skipped:#}");
    assert_eq!(host.stoke(&["wait", "5"]).status.code(), Some(123));

    let cycle = json!({"jobs": [job("x", 0, json!(["y"])), job("y", 0, json!(["x"]))]});
    let problem = host.post("/v1/jobs", &cycle).problem("dependency-cycle");
    assert!(
        problem["title"].as_str().unwrap().contains('x'),
        "{problem:#}"
    );
    assert!(problem["hint"].is_string());
    assert_eq!(host.get("/v1/jobs")["items"].as_array().unwrap().len(), 6);
}

#[test]
fn a_held_job_waits_for_its_owner_and_an_unapproved_one_for_approval() {
    let host = Host::start();
    let held = host.submit(json!({"command": ["true"], "hold": true}));
    let asking = host.submit(json!({"command": ["true"], "needs_approval": true}));
    let refused = host.submit(json!({"command": ["true"], "needs_approval": true}));
    // Another job that comes later and runs shows that there was a place for them.
    let other = host.sh("exit 0");
    assert_eq!(host.ended(other)["state"], "completed");
    assert_eq!(
        (&host.job(held)["state"], &host.job(held)["reason"]),
        (&json!("held"), &json!("Owner"))
    );
    assert_eq!(host.job(asking)["reason"], "Approval");
    host.post(&format!("/v1/jobs/{asking}/release"), &json!({}))
        .problem("wrong-state");
    host.act(held, "release");
    host.act(asking, "approve");
    host.act(refused, "reject");
    assert_eq!(host.ended(held)["state"], "completed");
    assert_eq!(host.ended(asking)["state"], "completed");
    assert_eq!(host.ended(refused)["state"], "cancelled");
    assert!(
        host.job(refused)["attempts"].is_null(),
        "a refused job has run"
    );
}

#[test]
fn a_waiting_job_can_be_held_edited_and_let_go() {
    let host = Host::start();
    let gate = host.gate("go");
    group(&host, "one", 1);
    let first = host.submit(json!({"command": ["sh", "-c", "read x < $W/go"], "group": "one"}));
    host.reaches(first, "running");
    let id = host.submit(json!({"command": ["false"], "group": "one"}));
    host.act(id, "hold");
    gate.open();
    host.ended(first);
    let edit = json!({"command": ["sh", "-c", "echo edited"], "name": "new", "priority": 0, "labels": {"k": "v"}});
    let edited = host.act_with(id, "edit", &edit);
    assert_eq!(
        (&edited["name"], &edited["priority"]),
        (&json!("new"), &json!(0)),
        "{edited:#}"
    );
    host.act(id, "release");
    let job = host.ended(id);
    assert_eq!(
        (&job["state"], &job["labels"]["k"]),
        (&json!("completed"), &json!("v"))
    );
    assert_eq!(host.text(id), "edited\n");
    let late = host.post(&format!("/v1/jobs/{id}/edit"), &json!({"priority": 1}));
    late.problem("wrong-state");
}

#[test]
fn a_paused_job_really_stands_still() {
    for config in ["", "[jobs]\ncontainment = \"tree\"\n"] {
        let host = Host::with_config(config);
        let (ask, reply) = (host.gate("ask"), host.gate("reply"));
        let id = host.sh("while read x < $W/ask; do echo $x > $W/reply; done");
        host.reaches(id, "running");
        ask.say("one");
        assert_eq!(reply.hear(), "one");
        host.act(id, "pause");
        assert_eq!(host.reaches(id, "paused")["state"], "paused");
        await_frozen(&host, id);
        ask.say("two");
        // A whole other job comes and goes meanwhile.
        let other = host.sh("exit 0");
        host.ended(other);
        assert!(reply.is_silent(), "a paused job answered");
        host.act(id, "resume");
        assert_eq!(reply.hear(), "two");
        assert_eq!(host.job(id)["state"], "running");
        // A paused job can be ended.
        host.act(id, "pause");
        host.act_with(id, "cancel", &json!({"grace": 0}));
        assert_eq!(host.ended(id)["state"], "cancelled");
    }
}

/// The order to freeze is on its way when the verb is answered: wait for what the kernel says.
fn await_frozen(host: &Host, id: u64) {
    let main = host.job(id)["pid"].as_u64().unwrap();
    let is_frozen = || match host.cgroup() {
        Some(parent) => {
            let events = parent.join(format!("{id}.1/cgroup.events"));
            fs::read_to_string(events).unwrap().contains("frozen 1")
        }
        None => {
            let stat = fs::read_to_string(format!("/proc/{main}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        }
    };
    let patience_ends = std::time::Instant::now() + crate::http::PATIENCE;
    while !is_frozen() {
        assert!(
            std::time::Instant::now() < patience_ends,
            "it is not frozen"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_job_starts_not_before_its_time() {
    let host = Host::start();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(700);
    let id = host.submit(json!({"command": ["true"], "not_before": at.to_string()}));
    let other = host.sh("exit 0");
    host.ended(other);
    let waiting = host.job(id);
    if waiting["state"] == "queued" {
        assert_eq!(waiting["reason"], "NotBefore", "{waiting:#}");
    }
    let started: jiff::Timestamp = host.ended(id)["started_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        started.as_millisecond() >= at.as_millisecond(),
        "{started} is before {at}"
    );
    let far = host.submit(json!({"command": ["true"], "not_before": "2999-01-01T00:00:00Z"}));
    host.act_with(far, "edit", &json!({"not_before": "now"}));
    assert_eq!(host.ended(far)["state"], "completed");
}

#[test]
fn a_job_that_fails_starts_again_after_a_while() {
    let host = Host::start();
    let script = "echo attempt $STOKED_ATTEMPT; test $STOKED_ATTEMPT = 3";
    let id = host.submit(json!({
        "command": ["sh", "-c", script],
        "retry": {"attempts": 5, "backoff": 0.1},
    }));
    let job = host.ended(id);
    let messages = history(&host);
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&json!("completed"), &json!(3)),
        "{job:#}"
    );
    let codes: Vec<_> = job["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["exit"]["code"])
        .collect();
    assert_eq!(codes, [1, 1, 0]);
    let backoffs: Vec<_> = messages
        .iter()
        .filter(|it| it.is_state(id, "backoff"))
        .collect();
    assert_eq!(backoffs.len(), 2, "{messages:#?}");
    for attempt in 1..=3 {
        let log = host.send(&Ask::get(format!("/v1/jobs/{id}/logs?attempt={attempt}")));
        assert_eq!(log.text(), format!("attempt {attempt}\n"));
    }
    let id = host.submit(json!({
        "command": ["sh", "-c", "exit 4"],
        "retry": {"attempts": 3, "backoff": 0, "exit_codes": [75]},
    }));
    assert_eq!(
        host.ended(id)["attempt"],
        1,
        "an exit code that does not count was retried"
    );
}

#[test]
fn a_finished_job_can_be_queued_again_and_removed() {
    let host = Host::start();
    let id = host.sh("echo $STOKED_ATTEMPT; test -e $W/flag");
    assert_eq!(host.ended(id)["state"], "failed");
    fs::write(host.path("flag"), "").unwrap();
    host.act(id, "retry");
    let job = host.ended(id);
    assert_eq!(job["attempt"], 2, "{job:#}");
    assert_eq!(host.text(id), "2\n");
    host.stoke_ok(&["rm", &id.to_string()]);
    host.send(&Ask::get(format!("/v1/jobs/{id}")))
        .problem("not-found");
    assert_eq!(
        host.stoke(&["show", &id.to_string()]).status.code(),
        Some(4)
    );
    assert_eq!(host.sh("exit 0"), id + 1, "a number was used twice");
    host.ended(id + 1);
}

#[test]
fn a_running_job_can_be_begun_anew() {
    let host = Host::start();
    let up = host.gate("up");
    let id = host.sh("echo $STOKED_ATTEMPT > $W/up; exec sleep 1000");
    assert_eq!(up.hear(), "1");
    let first = host.main_process(id);
    host.post(&format!("/v1/jobs/{id}/remove"), &json!({}))
        .problem("wrong-state");
    host.act(id, "restart");
    assert_eq!(up.hear(), "2");
    assert!(!first.is_alive());
    let job = host.reaches(id, "running");
    assert_eq!(job["attempt"], 2);
    host.act(id, "cancel");
    assert_eq!(host.ended(id)["state"], "cancelled");
}
