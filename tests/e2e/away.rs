//! The daemon goes away under its clients, and comes back: nothing is lost, nothing comes twice, and they say so.

use crate::harness::Host;
use crate::heard::Heard;
use crate::http::{Ask, PATIENCE};
use crate::stream::Events;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LOST: &str = "the connection to the daemon is lost";
const BACK: &str = "connected again";

/// The whole lines that are JSON.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let text = std::str::from_utf8(&bytes[..whole]).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn a_watch_misses_nothing_and_repeats_nothing() {
    let mut host = Host::start();
    let watch = Heard::of_a_guest(&host, &["--json", "watch", "job/*/state"]);
    let ends = |id: u64| {
        move |bytes: &[u8]| {
            lines(bytes)
                .iter()
                .any(|it| it["body"]["job"] == id && it["body"]["state"] == "completed")
        }
    };
    // A watch of what is to come has begun when it shows something.
    let mut first = host.sh("true");
    while !seen_within(&watch, Duration::from_millis(500), ends(first)) {
        first = host.sh("true");
    }
    let mut lost = 0;
    for round in 1..=3 {
        let go = host.gate(&format!("go{round}"));
        let id = host.sh(&format!("read x < $W/go{round}"));
        host.reaches(id, "running");
        host.kill9();
        watch.err.hears_after(lost, "\"lost\"");
        // It ends while nobody looks, and more happens before the watch is back.
        go.open();
        host.boot();
        let last = host.sh("true");
        watch.out.until("the last job", ends(last));
        watch.out.until("the one that ran", ends(id));
        lost = watch.err.hears_after(lost, "\"back\"").len();
    }
    let seqs: Vec<u64> = lines(&watch.out.all())
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (seqs[0]..=*seqs.last().unwrap()).collect();
    assert_eq!(seqs, expected);
    for note in lines(&watch.err.all()) {
        assert!(note["connection"].is_string(), "{note}");
    }
}

fn seen_within(client: &Heard, within: Duration, seen: impl Fn(&[u8]) -> bool) -> bool {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if seen(&client.out.all()) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_followed_flood_is_the_same_to_the_byte() {
    let mut host = Host::start();
    let script = "i=0; while [ $i -lt 60 ]; do seq $((i*4000)) $((i*4000+3999)); i=$((i+1)); \
                  test $((i%20)) -ne 0 || read x < $W/go; done; printf 'no line end'";
    let go = host.gate("go");
    let id = host.sh(script);
    let log = Heard::of_a_guest(&host, &["logs", "-f", &id.to_string()]);
    let run_bytes = 400_000;
    for round in 0..3 {
        // In the middle of what is being written, and while it is read.
        log.out
            .until("output", |bytes| bytes.len() > round * run_bytes + 50_000);
        host.kill9();
        go.open();
        host.boot();
    }
    assert_eq!(host.ended(id)["state"], "completed");
    let (out, err) = (log.out.clone(), log.err.clone());
    assert!(log.ends().success());
    let written = host.output(id, "stdout");
    let shown = out.until("all of it", |bytes| bytes.len() >= written.len());
    assert!(shown.len() > 1_300_000 && written.ends_with(b"no line end"));
    assert!(
        shown == written,
        "{} bytes instead of {}",
        shown.len(),
        written.len()
    );
    let said = err.hears(BACK);
    assert_eq!(said.matches(LOST).count(), said.matches(BACK).count());
}

#[test]
fn a_run_is_whole_across_restarts_and_ends_as_its_job() {
    let mut host = Host::start();
    let go = host.gate("go");
    let script =
        "seq 1 20000; read x < $W/go; seq 20001 40000; read x < $W/go; seq 40001 60000; exit 9";
    let run = Heard::of_a_guest(&host, &["run", "--", "sh", "-c", script]);
    for last in ["20000\n", "40000\n"] {
        run.out
            .until(last, |bytes| bytes.ends_with(last.as_bytes()));
        host.kill9();
        run.err.hears(LOST);
        go.open();
        host.boot();
    }
    let (out, err) = (run.out.clone(), run.err.clone());
    assert_eq!(run.ends().code(), Some(9));
    let written = host.output(1, "stdout");
    let shown = out.until("all of it", |bytes| bytes.len() >= written.len());
    assert!(shown == written && shown.ends_with(b"\n60000\n"));
    assert!(err.hears(BACK).contains("the job goes on"));
}

#[test]
fn a_thousand_jobs_are_waited_for_with_one_stream() {
    let mut host = Host::start();
    let spec = host.complete(json!({"command": ["true"], "hold": true}));
    let answer = host.post("/v1/jobs", &json!({"jobs": vec![spec; 1000]}));
    assert_eq!(answer.ok()["ids"].as_array().unwrap().len(), 1000);
    let before = Ask::get("/v1/health").send(&host.socket()).unwrap().json();
    assert_eq!(streams(&before), 0);
    let wait = Heard::of_a_guest(&host, &["--json", "wait", "1-1000"]);
    streams_reach(&host, 1);
    cancel(&host, 1..=400);
    host.kill9();
    wait.err.hears("\"lost\"");
    host.boot();
    cancel(&host, 401..=999);
    wait.err.hears("\"back\"");
    streams_reach(&host, 1);
    cancel(&host, 1000..=1000);
    let out = wait.out.clone();
    assert_eq!(wait.ends().code(), Some(130));
    let results = out.until("the results", |bytes| bytes.ends_with(b"]\n"));
    let results: Vec<Value> = serde_json::from_slice(&results).unwrap();
    let ids: BTreeSet<_> = results.iter().map(|it| it["id"].as_u64()).collect();
    assert_eq!((results.len(), ids.len()), (1000, 1000));
    assert!(results.iter().all(|it| it["state"] == "cancelled"));
}

fn cancel(host: &Host, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        host.act(id, "cancel");
    }
}

fn streams(health: &Value) -> u64 {
    let parts = health["components"].as_array().unwrap();
    let api = parts.iter().find(|it| it["name"] == "api").unwrap();
    let message = api["message"].as_str().unwrap();
    let (_, streams) = message.split_once("connections, ").unwrap();
    streams.split(' ').next().unwrap().parse().unwrap()
}

/// Asks until the daemon has so many streams: nothing tells when one goes.
fn streams_reach(host: &Host, wanted: u64) {
    let patience_ends = Instant::now() + PATIENCE;
    while streams(&host.get("/v1/health")) != wanted {
        assert!(Instant::now() < patience_ends, "{}", host.get("/v1/health"));
        std::thread::yield_now();
    }
}

#[test]
fn killed_clients_leave_nothing_behind() {
    let host = Host::start();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go").to_string();
    let clients = [&["watch"][..], &["wait", &id], &["--json", "watch", &id]];
    let clients = clients.map(|args| Heard::of_a_guest(&host, args));
    streams_reach(&host, 3);
    clients.iter().for_each(|client| client.process().kill());
    streams_reach(&host, 0);
    go.open();
    host.ended(1);
}

#[test]
fn an_own_daemon_is_brought_back_under_every_command_that_stays() {
    let mut host = Host::start();
    let go = host.gate("go");
    let run = host.start_stoke(&["run", "--", "sh", "-c", "read x < $W/go; echo out; exit 4"]);
    host.reaches(1, "running");
    let clients = [
        run,
        host.start_stoke(&["wait", "1"]),
        host.start_stoke(&["logs", "-f", "1"]),
        host.start_stoke(&["watch", "--until-idle", "1"]),
    ];
    // The run, the wait and the watch.
    streams_reach(&host, 3);
    host.kill9();
    // Nobody but them starts it again; a request of the test would not.
    let patience_ends = Instant::now() + PATIENCE;
    while Events::open(&host.socket(), "", None).is_err() {
        assert!(Instant::now() < patience_ends, "no daemon is there");
        std::thread::yield_now();
    }
    go.open();
    let [run, wait, logs, watch] = clients.map(|client| host.finish(client));
    assert_eq!(
        (run.status.code(), run.stdout),
        (Some(4), b"out\n".to_vec())
    );
    assert_eq!(wait.status.code(), Some(4));
    assert_eq!(logs.stdout, b"out\n");
    let watched = String::from_utf8(watch.stdout).unwrap();
    assert_eq!(watched.matches("failed").count(), 1, "{watched}");
}

#[test]
fn a_wish_to_stop_is_heard_while_the_daemon_is_away() {
    let mut host = Host::start();
    let go = host.gate("go");
    let run = Heard::of_a_guest(&host, &["run", "--", "sh", "-c", "read x < $W/go; exit 3"]);
    while host.get("/v1/jobs?state=running")["items"] == json!([]) {
        std::thread::yield_now();
    }
    host.kill9();
    run.err.hears(LOST);
    let asked = Instant::now();
    run.signal(Signal::INT);
    let err = run.err.clone();
    assert_eq!(run.ends().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5));
    err.hears("job 1 goes on: `stoke cancel 1` ends it");
    host.boot();
    go.open();
    assert_eq!(host.ended(1)["exit"]["code"], 3);
}

#[test]
fn why_a_job_waits_is_said_once() {
    let host = Host::start();
    let one = Ask::new("PUT", "/v1/groups/one").json(&json!({"parallelism": 1}));
    host.send(&one).ok();
    let go = host.gate("go");
    let first = host.submit(json!({"command": ["sh", "-c", "read x < $W/go"], "group": "one"}));
    host.reaches(first, "running");
    let run = Heard::of_a_guest(&host, &["run", "-g", "one", "--", "echo", "ran"]);
    let said = run.err.hears("job 2 waits: group one is full");
    assert!(!said.contains(LOST), "{said}");
    go.open();
    let (out, err) = (run.out.clone(), run.err.clone());
    assert!(run.ends().success());
    out.hears("ran\n");
    assert_eq!(
        String::from_utf8_lossy(&err.all()).matches("waits").count(),
        1
    );
}

#[test]
fn without_a_stream_clients_look_for_themselves_and_come_back() {
    let host = Host::with_config("[api]\nmax_streams_per_uid = 1\n");
    let go = host.gate("go");
    let all = host.events("");
    let watch = Heard::of_a_guest(&host, &["watch"]);
    let json = Heard::of_a_guest(&host, &["--json", "watch", "job/*/state"]);
    watch.err.hears("serves no more streams");
    json.err.hears("\"refused\"");
    let id = host.sh("read x < $W/go");
    let wait = Heard::of_a_guest(&host, &["wait", &id.to_string()]);
    wait.err.hears("serves no more streams");
    watch.out.hears("running");
    go.open();
    assert!(wait.ends().success());
    watch.out.hears("completed");
    // Now there is a stream for one of them: people are told nothing twice, programs miss nothing.
    drop((all, json));
    watch.err.hears(BACK);
    let other = host.sh("true");
    let shown = watch.out.hears(&format!("{other} sh  ✔ completed"));
    assert_eq!(shown.matches(&format!("{id} sh  ✔")).count(), 1, "{shown}");
}

#[test]
fn a_program_gets_all_it_missed_while_there_was_no_stream() {
    let host = Host::with_config("[api]\nmax_streams_per_uid = 1\n");
    let all = host.events("");
    let json = Heard::of_a_guest(&host, &["--json", "watch", "job/*/state"]);
    json.err.hears("\"refused\"");
    // It knows where it begins before anything happens.
    let first = host.sh("true");
    let ask = Ask::get(format!("/v1/jobs/{first}"));
    let patience_ends = Instant::now() + PATIENCE;
    while ask.send(&host.socket()).unwrap().json()["state"] != "completed" {
        assert!(Instant::now() < patience_ends);
        std::thread::yield_now();
    }
    drop(all);
    json.err.hears("\"back\"");
    let last = host.sh("true");
    let of_last = |event: &Value| event["body"]["job"] == last && event["type"] == "completed";
    let heard = json
        .out
        .until("the last job", |bytes| lines(bytes).iter().any(of_last));
    let seqs: Vec<u64> = lines(&heard)
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (seqs[0]..=*seqs.last().unwrap()).collect();
    assert_eq!(seqs, expected);
    assert!(
        lines(&heard)
            .iter()
            .any(|event| event["body"]["job"] == first)
    );
}

#[test]
fn a_terminal_shows_bars_and_the_countdown() {
    let mut host = Host::start();
    let go = host.gate("go");
    let spec = json!({"command": ["sh", "-c", "read x < $W/go"], "name": "fit"});
    let ids = [(); 2].map(|()| host.submit(spec.clone()));
    for id in ids {
        host.reaches(id, "running");
    }
    let watch = Heard::at_a_terminal(&host, &["watch"]);
    watch.out.hears("2 fit");
    let evil = json!({"step": 3, "total_steps": 4, "message": "evil\u{1b}]0;title\u{7}\u{9b}2J"});
    host.act_with(ids[0], "progress", &evil);
    let bar = watch.out.hears("75%");
    assert!(bar.contains("████████████░░░░"), "{bar}");
    host.kill9();
    watch.out.hears(LOST);
    watch.out.hears("no connection");
    let shown = watch.out.hears("next try in").len();
    host.boot();
    watch.out.hears_after(shown, BACK);
    let again = json!({"step": 4, "total_steps": 4});
    host.act_with(ids[0], "progress", &again);
    watch.out.hears_after(shown, "100%");
    go.open();
    go.open();
    for id in ids {
        watch
            .out
            .hears_after(shown, &format!("{id} fit  ✔ completed"));
    }
    let all = watch.out.all();
    let text = String::from_utf8_lossy(&all);
    for evil in ["\u{1b}]0;", "\u{7}", "\u{9b}"] {
        assert!(!text.contains(evil), "{text:?}");
    }
    assert!(text.contains("evil"), "{text:?}");
}

#[test]
fn a_run_at_a_terminal_counts_down_too() {
    let mut host = Host::start();
    let go = host.gate("go");
    let script = "echo before; read x < $W/go; echo after";
    let run = Heard::at_a_terminal(&host, &["run", "--", "sh", "-c", script]);
    run.out.hears("before");
    host.kill9();
    run.out.hears("next try in");
    go.open();
    host.boot();
    run.out.hears("after");
    let out = run.out.clone();
    assert!(run.ends().success());
    out.hears(BACK);
}

#[test]
fn a_watch_from_the_oldest_on_tells_all_that_is_kept() {
    let mut host = Host::start();
    let ids = [host.sh("true"), host.sh("exit 3")];
    for id in ids {
        host.ended(id);
    }
    let watch = Heard::of_a_guest(&host, &["--json", "watch", "--after", "0", "job/*/*"]);
    let tells_end = |id: u64, state: &'static str| {
        move |bytes: &[u8]| {
            let is_end = |it: &Value| it["body"]["job"] == id && it["body"]["state"] == state;
            lines(bytes).iter().any(is_end)
        }
    };
    watch
        .out
        .until("the second end", tells_end(ids[1], "failed"));
    host.kill9();
    host.boot();
    let last = host.sh("true");
    watch
        .out
        .until("the last end", tells_end(last, "completed"));
    let told = lines(&watch.out.all());
    let seqs: Vec<u64> = told.iter().filter_map(|it| it["seq"].as_u64()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    // The very first is the one that tells that the first job was submitted.
    assert_eq!(told[0]["body"]["job"], ids[0]);
    assert_eq!(told[0]["body"].get("from"), None, "{}", told[0]);
    let ends = told.iter().filter(|it| it["body"]["exit"].is_object());
    assert_eq!(ends.count(), 3);
}
