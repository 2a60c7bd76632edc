//! What one client may not do to the others.

use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::wire::error::ProblemKind;
use axum::http::{Request, StatusCode};
use http_body_util::Full;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn daemon(limits: Limits) -> Daemon {
    Daemon::with(limits, Mode::User { uid: own_uid() }, 64)
}

#[tokio::test]
async fn half_requests_are_ended_and_hold_nobody_up() {
    let daemon = daemon(Limits {
        header_time: Duration::from_millis(50),
        idle_time: Duration::from_millis(80),
        body_time: Duration::from_millis(50),
        ..quick_limits()
    });
    let mut halves = Vec::new();
    for half in [
        "GET /v1/ver",
        "GET /v1/version HTTP/1.1\r\nhost: x\r\n",
        "",
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"com",
    ] {
        let mut client = RawClient::connect(&daemon).await;
        client.write(half).await;
        halves.push((half, client));
    }
    assert_eq!(daemon.get("/v1/version").await.status, StatusCode::OK);
    for (half, client) in halves {
        let answer = client.rest().await;
        if half.is_empty() {
            assert_eq!(answer, "", "a connection that is kept is just closed");
        } else {
            assert!(answer.starts_with("HTTP/1.1 400"), "{half:?}: {answer}");
            assert!(
                answer.contains("did not come in time"),
                "{half:?}: {answer}"
            );
        }
    }
    let items = daemon.get("/v1/jobs").await.json()["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(items, 0);
}

#[tokio::test]
async fn a_kept_connection_serves_one_request_after_the_other() {
    let daemon = daemon(Limits {
        header_time: Duration::from_millis(200),
        ..quick_limits()
    });
    let mut client = RawClient::connect(&daemon).await;
    for _ in 0..20 {
        client
            .write("GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n")
            .await;
        client.until("\r\n\r\n").await;
        client.until("}").await;
        tokio::time::timeout(Duration::from_millis(25), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let daemon = daemon(Limits {
        connections_per_uid: 2,
        ..quick_limits()
    });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(&daemon).await;
        client
            .write("GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n")
            .await;
        client.until("\r\n\r\n").await;
        held.push(client);
    }
    let mut third = RawClient::connect(&daemon).await;
    drop(
        third
            .stream
            .write_all(b"GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n")
            .await,
    );
    let answer = third.rest().await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    assert!(answer.contains("stoked:limit-reached"), "{answer}");
    drop(held.pop());
    // The place is free once the daemon has noticed; asking again is all a client can do.
    let mut client = RawClient::connect(&daemon).await;
    loop {
        drop(
            client
                .stream
                .write_all(b"GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await,
        );
        if client.rest().await.starts_with("HTTP/1.1 200") {
            break;
        }
        client = RawClient::connect(&daemon).await;
    }
}

#[tokio::test]
async fn streams_requests_and_sizes_have_limits() {
    let daemon = daemon(Limits {
        streams_per_uid: 1,
        body_bytes: 1_000,
        ..quick_limits()
    });
    let mut stream = RawClient::events(&daemon, "", "").await;
    stream.message().await;
    let second = daemon.get("/v1/events").await;
    assert!(second.problem().is(ProblemKind::LimitReached));
    assert_eq!(second.headers["retry-after"], "5");

    let large = Request::post("http://stoked/v1/jobs")
        .header("host", "x")
        .body(Full::from(vec![b' '; 1_001]))
        .unwrap();
    let refused = daemon.send(large).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(refused.problem().hint.is_some());
    let header = "h".repeat(20 << 10);
    let wide = Request::get("http://stoked/v1/version")
        .header("host", "x")
        .header("x", header)
        .body(Full::default())
        .unwrap();
    assert!(daemon.send(wide).await.problem().is(ProblemKind::TooLarge));
}

#[tokio::test]
async fn too_many_requests_are_refused_for_a_moment() {
    let daemon = daemon(Limits {
        requests_per_second: 1,
        request_burst: 3,
        ..quick_limits()
    });
    let mut refused = None;
    for _ in 0..5 {
        let reply = daemon.get("/v1/version").await;
        if reply.status != StatusCode::OK {
            refused = Some(reply);
        }
    }
    let refused = refused.unwrap();
    assert!(refused.problem().is(ProblemKind::LimitReached));
    assert_eq!(refused.headers["stoked-api"], "1");
}

#[tokio::test]
async fn who_takes_nothing_is_let_go() {
    let daemon = daemon(Limits {
        write_stall: Duration::from_millis(50),
        ..quick_limits()
    });
    // Far more answers than the sockets hold, and nobody reads them.
    let mut client = RawClient::connect(&daemon).await;
    let ask = "GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let asking = async { while client.stream.write_all(ask.as_bytes()).await.is_ok() {} };
    soon(asking).await;
}

#[tokio::test]
async fn strangers_are_shown_the_door() {
    let daemon = Daemon::with(quick_limits(), Mode::User { uid: 4_000_000 }, 64);
    if own_uid() == 0 {
        // Root may come in everywhere.
        assert_eq!(daemon.get("/v1/version").await.status, StatusCode::OK);
        let reply = daemon
            .post("/v1/jobs", serde_json::json!({ "command": ["a"] }))
            .await;
        assert!(reply.problem().is(ProblemKind::NotPermitted));
    } else {
        let answer = RawClient::connect(&daemon).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_turn_to_read_holds_nobody_else_up() {
    let daemon = daemon(Limits {
        reads_at_once: 0,
        ..quick_limits()
    });
    let others = async {
        for _ in 0..200 {
            assert_eq!(daemon.get("/v1/version").await.status, 200);
        }
    };
    tokio::select! {
        biased;
        read = daemon.get("/v1/jobs") => panic!("read without a turn: {}", read.text()),
        () = soon(others) => {}
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_who_does_nothing() {
    let daemon = daemon(quick_limits());
    let mut idle = Vec::new();
    for half in [
        "",
        "GET /v1/ver",
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"com",
    ] {
        let mut client = RawClient::connect(&daemon).await;
        client.write(half).await;
        idle.push((half, client));
    }
    // One that has far more to read than its socket holds, and reads nothing.
    let job = serde_json::json!({ "command": ["a"], "hold": true, "name": "n".repeat(100) });
    let batch = vec![job; 2_000];
    let jobs = serde_json::json!({ "jobs": batch });
    daemon.post("/v1/jobs", jobs).await;
    let mut deaf = RawClient::events(&daemon, "after=0", "").await;
    deaf.message().await;
    assert_eq!(daemon.get("/v1/version").await.status, StatusCode::OK);
    let began = tokio::time::Instant::now();
    daemon.bus.close(100);
    daemon.stop.cancel();
    daemon.tracker.close();
    soon(daemon.tracker.wait()).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    for (half, client) in idle {
        let answer = client.rest().await;
        if half.contains("\r\n\r\n") {
            assert!(answer.starts_with("HTTP/1.1 503"), "{half:?}: {answer}");
            assert!(answer.contains("going down"), "{answer}");
        }
    }
}
