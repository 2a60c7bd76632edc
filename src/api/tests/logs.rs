//! Output: ranges, tails, cursors, and following until the end.

use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::logs::Stream;
use crate::logs::write::AttemptLog;
use crate::model::id::JobId;
use crate::wire::error::ProblemKind;
use crate::wire::log::{HEARTBEAT_HEADER, LogPiece};
use serde_json::json;
use std::time::Duration;

fn log(daemon: &Daemon, job: u64, attempt: u32) -> AttemptLog {
    let directory = daemon.log_directory(attempt_id(job, attempt));
    std::fs::create_dir_all(directory.parent().unwrap()).unwrap();
    AttemptLog::open(&directory, 1 << 20)
}

fn pieces(text: &str) -> Vec<LogPiece> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The body of a chunked answer.
fn unchunked(answer: &str) -> (String, bool) {
    let (_, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    (body, false)
}

#[tokio::test]
async fn output_comes_as_it_was_written() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    assert_eq!(daemon.get(&format!("/v1/jobs/{job}/logs")).await.text(), "");
    daemon.started(job, 1).await;
    let mut log = log(&daemon, job, 1);
    log.append(Stream::Stdout, b"one\ntwo\n", 1_000);
    log.append(Stream::Stderr, b"oops\n", 2_000);
    log.append(Stream::Stdout, b"three \xff\n", 3_000);
    log.finish();
    let path = format!("/v1/jobs/{job}/logs");
    let both = daemon.get(&path).await;
    assert_eq!(both.body, b"one\ntwo\noops\nthree \xff\n");
    assert_eq!(both.headers["content-type"], "text/plain; charset=utf-8");
    let get = async |query: &str| daemon.get(&format!("{path}?{query}")).await.body;
    assert_eq!(get("stream=stderr").await, b"oops\n");
    assert_eq!(get("tail=2").await, b"oops\nthree \xff\n");
    assert_eq!(
        get("since=1970-01-01T00:00:02Z").await,
        b"oops\nthree \xff\n"
    );

    let json = daemon.get(&format!("{path}?format=json")).await;
    assert_eq!(json.headers["content-type"], "application/x-ndjson");
    let pieces = pieces(&json.text());
    let last = pieces.last().unwrap();
    assert!(last.end && last.text.is_none(), "{last:?}");
    assert_eq!(pieces[0].text.as_deref(), Some("one\ntwo\n"));
    assert_eq!(pieces[1].stream.as_deref(), Some("stderr"));
    assert_eq!(pieces[2].base64.as_deref(), Some("dGhyZWUg/wo="));
    let cursor = pieces[0].cursor.clone().unwrap();
    assert_eq!(
        get(&format!("offset={cursor}")).await,
        b"oops\nthree \xff\n"
    );
    assert!(
        get(&format!("offset={}", last.cursor.clone().unwrap()))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn wrong_questions_about_output_are_named() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    for (query, field) in [
        ("stream=stdin", "stream"),
        ("format=xml", "format"),
        ("tail=x", "tail"),
        ("tail=1&since=2026-01-01T00:00:00Z", "offset"),
        ("offset=1", "offset"),
        ("offset=1:x", "offset"),
        ("offset=0:1.0.0.0", "offset"),
        ("attempt=x", "attempt"),
        ("follow=maybe", "follow"),
        ("attempt=2&offset=1:1.0.0.0", "offset"),
        ("lines=3", "lines"),
    ] {
        let problem = daemon
            .get(&format!("/v1/jobs/{job}/logs?{query}"))
            .await
            .problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
    for path in [
        format!("/v1/jobs/{job}/logs?attempt=7"),
        "/v1/jobs/99/logs".into(),
        format!("/v1/jobs/{}/logs", u64::MAX),
    ] {
        assert!(
            daemon.get(&path).await.problem().is(ProblemKind::NotFound),
            "{path}"
        );
    }
}

#[tokio::test]
async fn following_ends_with_the_attempt_and_misses_nothing() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    let mut client = RawClient::connect(&daemon).await;
    let head = format!(
        "GET /v1/jobs/{job}/logs?follow=1&format=json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    client.write(&head).await;
    client.until("\r\n\r\n").await;
    daemon.started(job, 1).await;
    let mut log = log(&daemon, job, 1);
    for word in ["first", "second"] {
        log.append(Stream::Stdout, word.as_bytes(), 1_000);
        let got = client.until("\n\r\n").await;
        assert!(got.contains(&format!("\"text\":\"{word}\"")), "{got}");
    }
    log.append(Stream::Stdout, b"last", 1_000);
    log.finish();
    daemon.ended(job, 1, 0).await;
    let rest = client.rest().await;
    assert!(rest.contains("\"text\":\"last\""), "{rest}");
    assert!(
        rest.contains("\"end\":true") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn every_attempt_is_followed_when_asked() {
    let daemon = Daemon::start();
    let retry = json!({ "command": ["x"], "retry": { "attempts": 1 } });
    daemon.post("/v1/jobs", retry).await;
    daemon.started(1, 1).await;
    let mut first = log(&daemon, 1, 1);
    first.append(Stream::Stdout, b"one ", 1_000);
    first.finish();
    daemon.ended(1, 1, 7).await;
    daemon.post("/v1/jobs/1/retry", json!({})).await;
    let mut client = RawClient::connect(&daemon).await;
    let head =
        "GET /v1/jobs/1/logs?attempt=all&follow=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write(head).await;
    client.until("one ").await;
    daemon.started(1, 2).await;
    let mut second = log(&daemon, 1, 2);
    second.append(Stream::Stdout, b"two", 2_000);
    second.finish();
    daemon.ended(1, 2, 0).await;
    let rest = client.rest().await;
    assert!(
        rest.contains("two") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    let newest = daemon.get("/v1/jobs/1/logs").await.text();
    assert_eq!(newest, "two");
    let all = daemon.get("/v1/jobs/1/logs?attempt=all").await.text();
    assert_eq!(all, "one two");
}

#[tokio::test]
async fn a_silent_job_is_told_from_a_daemon_that_is_gone() {
    let limits = Limits {
        heartbeat: Duration::from_millis(15),
        ..quick_limits()
    };
    let mode = Mode::User { uid: own_uid() };
    let daemon = Daemon::with(limits, mode, 64);
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let path = format!("/v1/jobs/{job}/logs?format=json");
    let once = daemon.get(&path).await;
    assert!(once.headers.get(HEARTBEAT_HEADER).is_none(), "{once:?}");
    let mut client = RawClient::connect(&daemon).await;
    client
        .write(&format!(
            "GET {path}&follow=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
        .await;
    let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("stoked-heartbeat-ms: 15\r\n"), "{head}");
    for _ in 0..3 {
        assert_eq!(client.until("\n\r\n").await, "1\r\n\n\r\n");
    }
    let mut log = log(&daemon, job, 1);
    log.append(Stream::Stdout, b"word", 1_000);
    client.until("\"text\":\"word\"").await;
    log.finish();
    daemon.ended(job, 1, 0).await;
    assert!(client.rest().await.contains("\"end\":true"));
}

#[tokio::test]
async fn a_follower_that_left_costs_nothing_even_if_the_job_is_silent() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let head = format!("GET /v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut followers = Vec::new();
    // The second one has asked for more already, so that nobody reads on from it while it is answered.
    for words in [head.clone(), format!("{head}{head}")] {
        let mut client = RawClient::connect(&daemon).await;
        client.write(&words).await;
        let answer = client.until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(!answer.contains(HEARTBEAT_HEADER), "{answer}");
        followers.push(client);
    }
    assert_eq!(daemon.bus.subscribers(), followers.len());
    drop(followers);
    soon(async {
        loop {
            // The one that asks is a connection, too.
            let health = daemon.get("/v1/health").await.text();
            if daemon.bus.subscribers() == 0 && health.contains("\"1 connections") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_only_stops_sending_gets_its_answer_and_what_follows() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    for path in [
        "/v1/jobs",
        "/v1/health",
        "/v1/groups",
        "/v1/jobs/1/progress",
        "/v1/nothing",
    ] {
        let mut client = RawClient::connect(&daemon).await;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write(&head).await;
        client.stop_sending().await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer:?}");
    }
    let mut client = RawClient::connect(&daemon).await;
    client
        .write(&format!(
            "GET /v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n"
        ))
        .await;
    client.stop_sending().await;
    client.until("\r\n\r\n").await;
    let mut log = log(&daemon, job, 1);
    log.append(Stream::Stdout, b"later", 1_000);
    client.until("later").await;
    drop(client);
    soon(async {
        while daemon.bus.subscribers() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    log.finish();
}

#[tokio::test]
async fn a_daemon_that_goes_down_breaks_a_follower_off() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let mut client = RawClient::connect(&daemon).await;
    let head = format!("GET /v1/jobs/{job}/logs?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write(&head).await;
    let head = client.until("\r\n\r\n").await;
    daemon.bus.close(100);
    daemon.stop.cancel();
    let (body, whole) = unchunked(&format!("{head}{}", client.rest().await));
    assert_eq!((body.as_str(), whole), ("", false));
    assert_eq!(
        daemon.store.reader().owner(JobId(job)).unwrap(),
        Some(own_uid())
    );
}
