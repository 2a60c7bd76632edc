//! The event stream: where it begins, that nothing is missing or twice, and how it ends.

use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::wire::error::ProblemKind;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn seqs(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| message.data["seq"].as_u64())
        .collect()
}

#[tokio::test]
async fn hello_comes_first_and_what_happens_follows() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    let mut client = RawClient::events(&daemon, "channel=job/*/state", "").await;
    let hello = client.message().await;
    assert_eq!(hello.event, "hello");
    let epoch = daemon.bus.epoch();
    assert_eq!(
        (&hello.data["epoch"], &hello.data["head"]),
        (&json!(&*epoch), &json!(2))
    );
    assert_eq!(hello.data["heartbeat_ms"], 15_000);
    daemon.started(job, 1).await;
    let event = client.message().await;
    assert_eq!(event.word(), "1 running");
    assert_eq!(event.id, Some(format!("{epoch}:3")));
    assert_eq!(
        (&event.data["seq"], &event.data["channel"]),
        (&json!(3), &json!("job/1/state"))
    );
    assert_eq!(event.data["body"]["from"], "starting");
}

#[tokio::test]
async fn cursors_at_their_bounds() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    let (oldest, head) = daemon.bus.bounds();
    assert_eq!((oldest.0, head.0), (1, 4));
    daemon.bus.trim(crate::model::id::Seq(3));
    let epoch = daemon.bus.epoch();
    for (cursor, wanted) in [
        (format!("{epoch}:4"), Ok(vec![])),
        (format!("{epoch}:3"), Ok(vec![4])),
        (format!("{epoch}:2"), Ok(vec![3, 4])),
        ("0".to_owned(), Ok(vec![3, 4])),
        (format!("{epoch}:1"), Err(ProblemKind::CursorGone)),
        (format!("{epoch}:5"), Err(ProblemKind::CursorGone)),
        (
            format!("{epoch}:{}", u64::MAX),
            Err(ProblemKind::CursorGone),
        ),
        ("another:3".to_owned(), Err(ProblemKind::CursorGone)),
        ("nonsense".to_owned(), Err(ProblemKind::InvalidRequest)),
    ] {
        match wanted {
            Ok(wanted) => {
                let query = format!("after={cursor}&channel=*");
                let mut client = RawClient::events(&daemon, &query, "").await;
                client.message().await;
                let mut got = Vec::new();
                while got.len() < wanted.len() {
                    got.push(client.message().await.data["seq"].as_u64().unwrap());
                }
                assert_eq!(got, wanted, "{cursor}");
            }
            Err(kind) => {
                let problem = daemon
                    .get(&format!("/v1/events?after={cursor}"))
                    .await
                    .problem();
                assert!(problem.is(kind), "{cursor}: {problem:?}");
                if kind == ProblemKind::CursorGone {
                    assert_eq!(problem.head, Some(format!("{epoch}:4")));
                    assert_eq!(problem.oldest, Some(format!("{epoch}:3")));
                }
            }
        }
    }
    let header = format!("last-event-id: {epoch}:3\r\n");
    let mut browser = RawClient::events(&daemon, "after=0", &header).await;
    browser.message().await;
    assert_eq!(
        browser.message().await.data["seq"],
        4,
        "the header is stronger"
    );
}

#[tokio::test]
async fn replay_and_live_meet_without_gap_or_overlap() {
    // The ring is small, so most of the replay comes from the store.
    let daemon = Daemon::with(quick_limits(), Mode::User { uid: own_uid() }, 16);
    let jobs =
        |count: usize| json!({ "jobs": vec![json!({ "command": ["a"], "hold": true }); count] });
    daemon.post("/v1/jobs", jobs(700)).await;
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (daemon, start) = (&daemon, reader * 200);
            async move {
                let query = format!("after={}:{start}", daemon.bus.epoch());
                let mut client = RawClient::events(daemon, &query, "").await;
                let mut expected = start;
                while expected < 900 {
                    if let Some(seq) = client.message().await.data["seq"].as_u64() {
                        expected += 1;
                        assert_eq!(seq, expected);
                    }
                }
            }
        })
        .collect();
    let writer = async {
        for _ in 0..20 {
            daemon.post("/v1/jobs", jobs(10)).await;
        }
    };
    let [a, b, c, d]: [_; 4] = readers.try_into().ok().unwrap();
    tokio::join!(a, b, c, d, writer);
}

#[tokio::test]
async fn a_snapshot_shows_the_present_and_what_follows_is_newer() {
    let daemon = Daemon::start();
    daemon
        .call("PUT", "/v1/groups/train", Some(json!({ "parallelism": 1 })))
        .await;
    daemon.submit("done").await;
    daemon.run(1).await;
    daemon.submit("works").await;
    daemon.started(2, 1).await;
    daemon
        .post("/v1/jobs", json!({ "command": ["x"], "hold": true }))
        .await;
    daemon
        .post(
            "/v1/jobs/2/progress",
            json!({ "step": 3, "total_steps": 10 }),
        )
        .await;
    let mut client = RawClient::events(&daemon, "snapshot=1", "").await;
    let messages = client.messages_until("snapshot_end").await;
    assert_eq!(
        words(&messages),
        [
            "hello",
            "group",
            "3 held",
            "2 running",
            "progress 3",
            "snapshot_end"
        ]
    );
    assert!(
        seqs(&messages).is_empty(),
        "what is shown did not just happen"
    );
    daemon.ended(2, 1, 0).await;
    assert_eq!(client.message().await.word(), "2 completed");
}

#[tokio::test]
async fn the_stream_of_one_job_ends_with_it() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    let mut live = RawClient::events(&daemon, "job=1", "").await;
    assert_eq!(live.message().await.event, "hello");
    daemon.run(job).await;
    let messages = live.messages_until("end").await;
    assert_eq!(words(&messages), ["1 running", "1 completed", "end"]);
    assert!(
        live.rest().await.ends_with("0\r\n\r\n"),
        "the answer is whole"
    );

    for (query, wanted) in [
        ("job=1".to_owned(), vec!["hello", "1 completed", "end"]),
        (
            "channel=job/1/*&snapshot=1".to_owned(),
            vec!["hello", "snapshot_end", "1 completed", "end"],
        ),
        (
            "job=1&after=0".to_owned(),
            vec![
                "hello",
                "1 queued",
                "1 starting",
                "1 running",
                "1 completed",
                "end",
            ],
        ),
        (
            format!("job=1&after={}:4", daemon.bus.epoch()),
            vec!["hello", "1 completed", "end"],
        ),
    ] {
        let mut client = RawClient::events(&daemon, &query, "").await;
        assert_eq!(
            words(&client.messages_until("end").await),
            wanted,
            "{query}"
        );
    }
    let none = daemon.get("/v1/events?job=9").await.problem();
    assert!(none.is(ProblemKind::NotFound));
}

#[tokio::test]
async fn an_earlier_end_does_not_end_the_stream_of_a_job_that_runs_again() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    daemon.post("/v1/jobs/1/retry", json!({})).await;
    let mut client = RawClient::events(&daemon, "job=1&after=0", "").await;
    daemon.started(1, 2).await;
    daemon.ended(1, 2, 3).await;
    let messages = client.messages_until("end").await;
    let states: Vec<_> = words(&messages);
    assert_eq!(
        states[4..],
        [
            "1 completed",
            "1 queued",
            "1 starting",
            "1 running",
            "1 failed",
            "end"
        ]
    );
}

#[tokio::test]
async fn the_cursor_moves_past_what_a_snapshot_shows_already() {
    let limits = Limits {
        heartbeat: Duration::from_millis(15),
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 8_192);
    // More than the sockets hold: while nobody reads, the last pages of the snapshot are yet to be made.
    let job = json!({ "command": ["a"], "hold": true, "name": "n".repeat(120) });
    let batch = json!({ "jobs": vec![job; 4_000] });
    let submitted = daemon.post("/v1/jobs", batch).await;
    assert!(submitted.status.is_success(), "{submitted:?}");
    let mut client = RawClient::events(&daemon, "snapshot=1", "").await;
    let hello = client.message().await;
    let edited = daemon
        .post("/v1/jobs/1/edit", json!({ "name": "other" }))
        .await;
    assert!(edited.status.is_success(), "{edited:?}");
    let messages = client.messages_until("snapshot_end").await;
    let first = &messages[messages.len() - 2];
    assert_eq!(first.data["body"]["name"], "other", "{first:?}");
    let (_, head) = daemon.bus.bounds();
    assert!(hello.data["head"].as_u64() < Some(head.0));
    // Heartbeats alone are no answer.
    let next = soon(client.message()).await;
    assert_eq!(
        (next.event.as_str(), seqs(std::slice::from_ref(&next))),
        ("bookmark", vec![head.0])
    );
}

#[tokio::test]
async fn filtered_watchers_get_signs_of_life_and_bookmarks() {
    let limits = Limits {
        heartbeat: Duration::from_millis(20),
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let mut client = RawClient::events(&daemon, "channel=group/*/state", "").await;
    client.message().await;
    let quiet = client.until(":\n\n").await;
    assert!(!quiet.contains("event:"), "{quiet}");
    daemon.submit("x").await;
    let bookmark = client.message().await;
    assert_eq!(bookmark.event, "bookmark");
    assert!(bookmark.id.unwrap().starts_with(&*daemon.bus.epoch()));
}

#[tokio::test]
async fn who_comes_back_gets_what_its_channels_show_now() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let report = json!({ "step": 3, "total_steps": 10 });
    daemon.post("/v1/jobs/1/progress", report).await;
    let query = format!("after={}:2", daemon.bus.epoch());
    let mut client = RawClient::events(&daemon, &query, "").await;
    let messages: Vec<_> = [
        client.message().await,
        client.message().await,
        client.message().await,
    ]
    .into();
    assert_eq!(words(&messages), ["hello", "1 running", "progress 3"]);
}

#[tokio::test]
async fn streams_narrow_to_types_classes_and_owners() {
    use crate::model::spec::JobSpec;
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    for uid in [1_000, 1_001] {
        let spec = JobSpec::new(vec!["x".into()], "/");
        let job = daemon.submit_of(uid, spec).await;
        daemon.started(job, 1).await;
        daemon.ended(job, 1, 0).await;
    }
    let root = nix::unistd::User::from_uid(0.into()).unwrap().unwrap().name;
    for (query, wanted) in [
        (
            "owner=1001",
            vec!["2 queued", "2 starting", "2 running", "2 completed"],
        ),
        ("owner=1000&type=edited", vec![]),
        ("class=telemetry", vec![]),
        (&format!("owner={root}"), vec![]),
        // What ends the stream of one job comes whatever is wanted of it.
        ("job=2&type=progress", vec!["2 completed"]),
    ] {
        let mut client = RawClient::events(&daemon, &format!("{query}&after=0"), "").await;
        client.message().await;
        for state in wanted {
            let message = client.past_bookmarks().await;
            assert_eq!(message.word(), state, "{query}");
        }
    }
}

#[tokio::test]
async fn cursors_move_on_also_where_telemetry_never_ends() {
    let limits = Limits {
        heartbeat: Duration::from_secs(60),
        bookmark: Duration::from_millis(50),
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let mut client = RawClient::events(&daemon, "channel=job/*/progress", "").await;
    client.message().await;
    daemon.submit("not wanted").await;
    let (done, is_done) = tokio::sync::oneshot::channel();
    let writer = async {
        let mut is_done = std::pin::pin!(is_done);
        for step in 1.. {
            let report = json!({ "step": step, "total_steps": 1_000_000 });
            tokio::select! {
                biased;
                _ = is_done.as_mut() => return,
                _ = daemon.post("/v1/jobs/1/progress", report) => {}
            }
        }
    };
    let reader = async {
        let messages = client.messages_until("bookmark").await;
        let head = daemon.bus.bounds().1;
        assert_eq!(messages.last().unwrap().data["seq"], head.0);
        done.send(()).unwrap();
    };
    tokio::join!(writer, reader);
}

#[tokio::test]
async fn telemetry_comes_as_often_as_was_asked_for_and_the_last_value_before_the_end() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    daemon.started(job, 1).await;
    let query = "channel=job/*/*&min_interval_ms=60000";
    let mut client = RawClient::events(&daemon, query, "").await;
    client.message().await;
    for step in 1..=20 {
        let report = json!({ "step": step, "total_steps": 20 });
        daemon.post("/v1/jobs/1/progress", report).await;
    }
    daemon.ended(job, 1, 0).await;
    let mut messages = Vec::new();
    while messages
        .last()
        .is_none_or(|last: &Message| last.word() != "1 completed")
    {
        messages.push(client.message().await);
    }
    assert_eq!(
        words(&messages),
        ["progress 1", "progress 20", "1 completed"]
    );
    // Those between the first and the last, and what the engine itself had to say of the time that is left.
    assert!(messages[1].data["coalesced"].as_u64() >= Some(18));
}

#[tokio::test]
async fn a_daemon_that_goes_down_says_goodbye() {
    let daemon = Daemon::start();
    let mut client = RawClient::events(&daemon, "", "").await;
    client.message().await;
    daemon.bus.close(250);
    let bye = client.message().await;
    assert_eq!(
        (bye.event.as_str(), &bye.data),
        ("bye", &json!({ "reason": "shutdown", "retry_ms": 250 }))
    );
}

#[tokio::test]
async fn lines_of_json_carry_the_same() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    let mut client = RawClient::connect(&daemon).await;
    client.write("GET /v1/events?job=1 HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n").await;
    let text = client.rest().await;
    assert!(text.contains("content-type: application/x-ndjson"));
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let events: Vec<_> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(events, ["hello", "completed", "end"]);
}

#[tokio::test]
async fn others_see_states_without_the_reasons() {
    use crate::model::spec::JobSpec;
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    let job = daemon
        .submit_of(1000, JobSpec::new(vec!["x".into()], "/"))
        .await;
    daemon.started(job, 1).await;
    daemon.ended(job, 1, 3).await;
    for (uid, sees) in [(1000, true), (1001, false)] {
        let reply = daemon
            .call_as(subject(uid), "GET", "/v1/events?job=1")
            .await;
        let text = reply.text();
        assert!(text.contains("\"class\":\"exit\""), "{text}");
        assert_eq!(
            text.contains("ended with exit status 3"),
            sees,
            "{uid}: {text}"
        );
    }
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let daemon = Daemon::start();
    let many = "channel=a/b/c&".repeat(51);
    for (query, field) in [
        ("channel=job", "channel"),
        ("channel=", "channel"),
        ("job=x", "job"),
        ("job=1&channel=*", "job"),
        (many.as_str(), "channel"),
        ("chanel=*", "chanel"),
        ("snapshot=2", "snapshot"),
        ("class=progress", "class"),
        ("min_interval_ms=99", "min_interval_ms"),
        ("min_interval_ms=60001", "min_interval_ms"),
        ("min_interval_ms=x", "min_interval_ms"),
        ("owner=nobody-is-called-so", "owner"),
    ] {
        let problem = daemon
            .get(&format!("/v1/events?{}", query.trim_end_matches('&')))
            .await
            .problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
}
