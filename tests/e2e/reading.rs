//! Reading: logs by tail, offset and following; the stream of events by cursor; repeated submissions.

use crate::harness::Host;
use crate::http::Ask;
use crate::stream::Events;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

#[test]
fn logs_have_a_tail_and_go_on_where_one_was() {
    let host = Host::start();
    let id = host.sh("for i in 1 2 3 4 5; do echo line $i; done; echo wrong >&2");
    host.ended(id);
    let get = |query: &str| host.send(&Ask::get(format!("/v1/jobs/{id}/logs?{query}")));
    assert_eq!(get("stream=stdout&tail=2").text(), "line 4\nline 5\n");
    assert_eq!(get("stream=stderr").text(), "wrong\n");
    assert_eq!(
        host.stoke_ok(&["logs", "--stdout", "-n", "1", "@"]),
        "line 5\n"
    );
    let text = get("format=json&stream=stdout").text();
    let pieces: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(pieces.last().unwrap()["end"], true);
    let cursor = pieces[0]["cursor"].as_str().unwrap();
    let read: usize = pieces[0]["text"].as_str().unwrap().len();
    let rest = get(&format!("stream=stdout&offset={cursor}")).text();
    assert_eq!(rest, "line 1\nline 2\nline 3\nline 4\nline 5\n"[read..]);
    get("offset=nonsense").problem("invalid-request");
    get("attempt=2").problem("not-found");
    get("stream=sideways").problem("invalid-request");
}

#[test]
fn a_log_is_followed_to_the_end_of_the_attempt() {
    let host = Host::start();
    let go = host.gate("go");
    let id = host.sh("while read x < $W/go; do echo $x; test $x = last && exit; done");
    host.reaches(id, "running");
    let ask = Ask::get(format!("/v1/jobs/{id}/logs?follow=1"));
    let (status, mut body) = ask.open(&host.socket()).unwrap();
    assert_eq!(status, 200);
    for word in ["first", "second"] {
        go.say(word);
        let mut heard = vec![0; word.len() + 1];
        body.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), format!("{word}\n"));
    }
    let client = host.start_stoke(&["logs", "-f", &id.to_string()]);
    go.say("last");
    let mut rest = String::new();
    body.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last\n");
    let output = host.finish(client);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "first\nsecond\nlast\n"
    );
}

#[test]
fn a_client_follows_across_a_restart() {
    let mut host = Host::start();
    let go = host.gate("go");
    let echo = "while read x < $W/go; do echo $x; test $x = last && exit 9; done";
    let mut client = host.guest(&["run", "--", "sh", "-c", echo]);
    client.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut shown = client.stdout.take().unwrap();
    let mut hear = |word: &str| {
        let mut heard = vec![0; word.len()];
        shown.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), word);
    };
    go.say("before");
    hear("before\n");
    host.kill9();
    go.say("meanwhile");
    host.boot();
    hear("meanwhile\n");
    go.say("last");
    hear("last\n");
    assert_eq!(host.finish(client).status.code(), Some(9));
}

#[test]
fn the_same_key_is_the_same_submission() {
    let mut host = Host::start();
    let spec = host.complete(json!({"command": ["true"]}));
    let with_key = |host: &Host, key: &str, spec: &Value| {
        host.send(&Ask::post("/v1/jobs", spec).header("Idempotency-Key", key))
    };
    let first = with_key(&host, "k", &spec).ok();
    assert!(first["repeated"].is_null());
    let again = with_key(&host, "k", &spec).ok();
    assert_eq!(
        (&again["ids"], &again["repeated"]),
        (&first["ids"], &json!(true))
    );
    host.restart();
    assert_eq!(with_key(&host, "k", &spec).ok()["ids"], first["ids"]);
    let other = host.complete(json!({"command": ["false"]}));
    let problem = with_key(&host, "k", &other).problem("key-reused");
    assert!(problem["hint"].is_string());
    assert_eq!(with_key(&host, "other", &spec).ok()["ids"], json!([2]));
    host.ended(1);
    host.ended(2);
}

#[test]
fn a_cursor_replays_what_came_after_it_and_nothing_else() {
    let mut host = Host::start();
    for _ in 0..3 {
        let id = host.sh("exit 0");
        host.ended(id);
    }
    let whole = replay(&host, 0);
    let head = whole.len() as u64;
    assert_eq!(whole, (1..=head).collect::<Vec<_>>(), "gaps");
    host.restart();
    for after in [0, 1, head / 2, head - 1] {
        let expected: Vec<u64> = (after + 1..=head).collect();
        assert_eq!(replay(&host, after), expected, "after {after}");
    }
}

/// Numbers of the durable events after `after`.
fn replay(host: &Host, after: u64) -> Vec<u64> {
    let epoch = host.events("").epoch().to_owned();
    let mut events = Events::open(&host.socket(), "", Some(&format!("{epoch}:{after}"))).unwrap();
    let head = events.head();
    let mut seen = Vec::new();
    while seen.last() != Some(&head) {
        let message = events.next().unwrap();
        let seq = message.seq().unwrap_or_else(|| panic!("{message:?}"));
        assert_eq!(message.id, Some(format!("{epoch}:{seq}")));
        seen.push(seq);
    }
    seen
}

#[test]
fn cursors_that_mean_nothing_here_are_refused() {
    let host = Host::start();
    let id = host.sh("exit 0");
    host.ended(id);
    let hello = host.events("").hello;
    let (epoch, head) = (
        hello["epoch"].as_str().unwrap(),
        hello["head"].as_u64().unwrap(),
    );
    let refused = |cursor: &str| Events::open(&host.socket(), "", Some(cursor)).unwrap_err();
    for cursor in [
        format!("{epoch}:{}", head + 1),
        format!("{epoch}:{}", u64::MAX),
        "other:1".to_owned(),
    ] {
        let answer = refused(&cursor);
        assert_eq!(answer.status, 410, "{cursor}");
        let problem = answer.problem("cursor-gone");
        assert_eq!(problem["head"], format!("{epoch}:{head}"), "{problem:#}");
        assert!(problem["oldest"].is_string() && problem["hint"].is_string());
    }
    for cursor in ["garbage", "x:-1", ":", "x:99999999999999999999"] {
        refused(cursor).problem("invalid-request");
    }
    let target = "/v1/events?after=other:1";
    assert_eq!(host.send(&Ask::get(target)).status, 410);
}

#[test]
fn the_stream_of_a_finished_job_ends_at_once() {
    let host = Host::start();
    let id = host.sh("exit 6");
    host.ended(id);
    for query in [
        format!("job={id}"),
        format!("job={id}&after=0"),
        format!("channel=job/{id}/*&snapshot=1"),
    ] {
        let messages = host.events(&query).rest();
        let last = messages
            .iter()
            .rfind(|it| it.kind != "end" && it.kind != "snapshot_end");
        let body = &last.unwrap().data["body"];
        assert_eq!(
            (&body["state"], &body["exit"]["code"]),
            (&json!("failed"), &json!(6)),
            "{query}"
        );
        assert_eq!(messages.last().unwrap().kind, "end", "{query}");
    }
    let answer = host.send(&Ask::get("/v1/events?job=99"));
    answer.problem("not-found");
}

#[test]
fn a_shutdown_says_good_bye_and_jobs_go_on() {
    let mut host = Host::start();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go; exit 4");
    let main = host.main_process(id);
    let mut events = host.events("");
    host.stop();
    let bye = events.until(|it| it.kind == "bye");
    assert!(bye.data["retry_ms"].is_u64());
    assert!(events.next().is_none());
    assert!(main.is_alive());
    host.boot();
    assert_eq!(host.main_process(id), main);
    go.open();
    assert_eq!(host.ended(id)["exit"]["code"], 4);
}

#[test]
fn a_client_that_reads_nothing_stops_nobody() {
    let host = Host::start();
    let mut stuck = UnixStream::connect(host.socket()).unwrap();
    stuck
        .write_all(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let specs: Vec<Value> = (0..300)
        .map(|_| host.complete(json!({"command": ["true"]})))
        .collect();
    host.post("/v1/jobs", &json!({"jobs": specs})).ok();
    let last = host.ended(300);
    assert_eq!(last["state"], "completed");
    stuck.shutdown(Shutdown::Both).unwrap();
    (1..300).for_each(|id| drop(host.ended(id)));
}
