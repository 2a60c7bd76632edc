//! Taking the host down: a drained host starts nothing, and what runs ends with the daemon where that is wanted.

use crate::harness::Host;
use crate::http::Ask;
use serde_json::json;

#[test]
fn a_drained_host_starts_nothing_until_it_is_let_and_remembers_that() {
    let mut host = Host::start();
    let gate = host.gate("go");
    let running = host.sh("read x < $W/go");
    host.reaches(running, "running");
    let drain = host.stoke_ok(&["drain"]);
    assert!(drain.contains("no job starts, 1 job runs"), "{drain}");
    let queue = host.health_of("queue");
    assert_eq!(queue["message"], "Drained, nothing starts. Jobs: 1 running");
    let waiting = host.sh("exit 4");
    for restarted in [false, true] {
        if restarted {
            host.restart();
        }
        let job = host.job(waiting);
        let told = (&job["state"], &job["reason"]);
        assert_eq!(told, (&json!("queued"), &json!("Draining")), "{job:#}");
    }
    assert!(host.stoke_ok(&["ls"]).contains("draining"));
    let waits = host.start_stoke(&["drain", "--wait", "--json"]);
    gate.open();
    host.ended(running);
    let waited = host.finish(waits);
    let told: serde_json::Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!(told, json!({"draining": true, "active": 0}));
    assert_eq!(host.job(waiting)["state"], "queued");
    let status = host.stoke_ok(&["drain", "--status"]);
    assert!(status.contains("nothing runs"), "{status}");
    host.stoke_ok(&["drain", "--undo"]);
    assert_eq!(host.ended(waiting)["exit"]["code"], 4);
    let told = host.get("/v1/drain");
    assert_eq!(told, json!({"draining": false, "active": 0}));
}

#[test]
fn whoever_watches_is_told_of_a_drain_once() {
    let host = Host::start();
    let mut events = host.events("channel=daemon/self/drain");
    for draining in [true, true, false] {
        let ask = Ask::new("PUT", "/v1/drain").json(&json!({"draining": draining}));
        host.send(&ask).ok();
    }
    for draining in [true, false] {
        let told = events.until(|message| message.kind == "drain");
        assert_eq!(told.data["body"]["draining"], draining);
    }
}

/// What the daemon is told with a signal, where no service manager started it, is meant for good.
#[test]
fn jobs_end_with_the_daemon_where_the_configuration_says_so() {
    for is_cancelled in [true, false] {
        let policy = if is_cancelled { "cancel" } else { "requeue" };
        let config = format!("jobs.on_stop = \"{policy}\"\njobs.default_parallelism = 1\n");
        let mut host = Host::with_config(&config);
        let _never = host.gate("never");
        let running = host.sh("read x < $W/never");
        host.reaches(running, "running");
        let waiting = host.submit(json!({"command": ["true"], "after_ok": [running]}));
        let next = host.sh("read x < $W/never");
        let process = host.main_process(running);
        host.stop();
        process.ends();
        host.boot();
        // It has a place again before the one that came later, or lost it to that one.
        let (runs, job, other) = if is_cancelled {
            (next, host.ended(running), host.job(waiting))
        } else {
            (running, host.reaches(running, "running"), host.job(next))
        };
        let (state, attempt, of_other) = match is_cancelled {
            true => ("cancelled", 1, "skipped"),
            false => ("running", 2, "queued"),
        };
        assert_eq!(
            (&job["state"], &job["attempt"]),
            (&json!(state), &json!(attempt)),
            "{job:#}"
        );
        assert_eq!(other["state"], of_other, "{other:#}");
        host.reaches(runs, "running");
    }
}

#[test]
fn a_second_signal_does_not_wait_for_what_takes_its_time() {
    let mut host = Host::with_config("jobs.on_stop = \"cancel\"\njobs.default_grace = \"1h\"\n");
    let (up, _never) = (host.gate("up"), host.gate("never"));
    let stubborn = host.sh("trap '' TERM; echo up > $W/up; read x < $W/never");
    up.hear();
    let mut events = host.events(&format!("job={stubborn}"));
    host.terminate();
    events.until(|message| message.is_state(stubborn, "stopping"));
    host.stop();
    host.boot();
    assert_eq!(host.job(stubborn)["state"], "stopping");
    host.act_with(stubborn, "cancel", &json!({"grace": "0s"}));
    assert_eq!(host.ended(stubborn)["state"], "cancelled");
}
